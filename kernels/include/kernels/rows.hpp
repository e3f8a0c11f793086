// Rows of features, and what every engine needs of the compiler.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#define KERNELS_INLINE inline __attribute__((always_inline))
#define KERNELS_NOINLINE __attribute__((noinline))

namespace kernels {

// n_rows rows of features with any strides, counted in elements.
template <class X>
struct Rows {
  const X* data = nullptr;
  std::size_t n_rows = 0;
  std::ptrdiff_t row_stride = 0;
  std::ptrdiff_t column_stride = 0;
};

// A compiler told that there is no NaN (-ffast-math) must not be trusted with comparisons of one.
inline bool is_nan(float x) {
#if defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return (bits & 0x7fffffffu) > 0x7f800000u;
#else
  return x != x;
#endif
}
inline bool is_nan(double x) {
#if defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__
  std::uint64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return (bits & 0x7fffffffffffffffu) > 0x7ff0000000000000u;
#else
  return x != x;
#endif
}

// The largest R at or below a bound that is not negative.
template <class R>
inline R at_or_below(double bound) {
  R nearest = static_cast<R>(bound);
  if (sizeof(R) == 4 && static_cast<double>(nearest) > bound) {
    std::uint32_t bits;
    std::memcpy(&bits, &nearest, 4);
    --bits;
    std::memcpy(&nearest, &bits, 4);
  }
  return nearest;
}

}  // namespace kernels
