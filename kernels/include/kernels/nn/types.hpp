// Element types that C++ has not: 16-bit floating-point numbers. They are stored as bits and computed in float.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace kernels {
namespace nn {

inline std::uint32_t bits_of(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline float float_of(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// IEEE 754 binary16.
struct float16 {
  std::uint16_t bits = 0;

  float16() = default;
  float16(float x) : bits(encoded(x)) {}
  operator float() const { return decoded(bits); }

  static float decoded(std::uint16_t h) {
    const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000) << 16;
    const std::uint32_t rest = h & 0x7FFF;
    if (rest >= 0x7C00) return float_of(sign | 0x7F800000 | (rest & 0x3FF) << 13);
    // Multiplying by 2^112 moves the exponent's bias, and normalises what has no leading one.
    return float_of(bits_of(float_of(rest << 13) * 0x1p112f) | sign);
  }
  static std::uint16_t encoded(float x) {
    const std::uint32_t all = bits_of(x), sign = all >> 16 & 0x8000, rest = all & 0x7FFFFFFF;
    if (rest > 0x7F800000) return static_cast<std::uint16_t>(sign | 0x7E00 | (rest >> 13 & 0x3FF));  // NaN
    if (rest >= 0x477FF000) return static_cast<std::uint16_t>(sign | 0x7C00);                        // rounds to infinity
    if (rest < 0x38800000) {
      // Subnormal: adding 0.5 leaves the number, rounded to its last place, in the low bits.
      return static_cast<std::uint16_t>(sign | (bits_of(float_of(rest) + 0.5f) - bits_of(0.5f)));
    }
    const std::uint32_t odd = rest >> 13 & 1;
    return static_cast<std::uint16_t>(sign | (rest - 0x38000000 + 0xFFF + odd) >> 13);
  }
};

// The upper half of a float.
struct bfloat16 {
  std::uint16_t bits = 0;

  bfloat16() = default;
  bfloat16(float x) : bits(encoded(x)) {}
  operator float() const { return float_of(static_cast<std::uint32_t>(bits) << 16); }

  static std::uint16_t encoded(float x) {
    const std::uint32_t all = bits_of(x);
    if ((all & 0x7FFFFFFF) > 0x7F800000) return static_cast<std::uint16_t>(all >> 16 | 0x40);
    return static_cast<std::uint16_t>((all + 0x7FFF + (all >> 16 & 1)) >> 16);
  }
};

// What a type is computed in: itself, or float for types of fewer bits.
template <class T, class = void>
struct computed {
  using type = T;
};
template <class T>
struct computed<T, std::enable_if_t<std::is_class<T>::value && std::is_convertible<T, float>::value>> {
  using type = float;
};
template <class T>
using computed_t = typename computed<T>::type;

}  // namespace nn
}  // namespace kernels
