// Sizes that are known to the compiler, and sizes that are not, in one kernel.
#pragma once

#include <cstdint>
#include <type_traits>

namespace kernels {
namespace nn {

// A size as a type: a kernel that is given one is compiled for it.
template <std::int64_t N>
struct fixed {
  static constexpr std::int64_t value = N;
  constexpr operator std::int64_t() const { return N; }
};

template <class S>
struct is_fixed : std::false_type {};
template <std::int64_t N>
struct is_fixed<fixed<N>> : std::true_type {};
template <class S>
inline constexpr bool is_fixed_v = is_fixed<std::decay_t<S>>::value;

}  // namespace nn
}  // namespace kernels
