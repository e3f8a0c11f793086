// Matrix products of any element type, in the order of the rows: what has no faster kernel.
#pragma once

#include <cstdint>

#include "kernels/nn/functions.hpp"
#include "kernels/nn/types.hpp"

namespace kernels {
namespace nn {

// c[m, n] = sum over k of a[m, k] b[k, n]; element (i, j) of a stands at i * a_row + j * a_column, and so for b. Sums are taken in order of k, in the type
// that elements are computed in. `row` has room for n of those.
template <class A, class B, class C>
inline void matmul(std::int64_t m, std::int64_t k, std::int64_t n, const A* a, std::int64_t a_row, std::int64_t a_column, const B* b,
                   std::int64_t b_row, std::int64_t b_column, C* c, computed_t<C>* row) {
  using T = computed_t<C>;
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) row[j] = T(0);
    for (std::int64_t l = 0; l < k; ++l) {
      const T x = static_cast<T>(static_cast<computed_t<A>>(a[i * a_row + l * a_column]));
      const B* y = b + l * b_row;
      for (std::int64_t j = 0; j < n; ++j) {
        row[j] = fn::add(row[j], fn::mul(x, static_cast<T>(static_cast<computed_t<B>>(y[j * b_column]))));
      }
    }
    for (std::int64_t j = 0; j < n; ++j) c[i * n + j] = static_cast<C>(row[j]);
  }
}

}  // namespace nn
}  // namespace kernels
