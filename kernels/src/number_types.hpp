// The types of numbers that columns and records are made of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace kernels {

// In the order of `NUMBER_TYPES` in kernels/columns.py.
enum class NumberType : std::uint8_t {
  kBool, kInt8, kUint8, kInt16, kUint16, kInt32, kUint32, kInt64, kUint64, kFloat16, kFloat32, kFloat64
};

inline constexpr int n_number_types = 12;

// log2 of the bytes of a number.
inline int size_log2(NumberType type) {
  constexpr std::uint8_t logs[n_number_types] = {0, 0, 0, 1, 1, 2, 2, 3, 3, 1, 2, 3};
  return logs[static_cast<int>(type)];
}

inline std::int64_t size_of(NumberType type) { return std::int64_t{1} << size_log2(type); }

}  // namespace kernels
