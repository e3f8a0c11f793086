// Rows of features, and what every engine needs of the compiler.
#pragma once

#include <cstddef>

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

}  // namespace kernels
