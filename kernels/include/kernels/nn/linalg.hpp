// Determinants.
#pragma once

#include <cmath>
#include <cstdint>
#include <utility>

#include "kernels/nn/tensor.hpp"
#include "kernels/nn/types.hpp"

namespace kernels {
namespace nn {

// Determinants of matrices m x m, by elimination with row pivots in double precision; `work` has room for one matrix.
template <class T>
inline void determinants(const T* from, std::int64_t batch, std::int64_t m, double* work, T* to) {
  for (std::int64_t b = 0; b < batch; ++b, from += m * m) {
    for (std::int64_t i = 0; i < m * m; ++i) work[i] = static_cast<double>(from[i]);
    double result = 1;
    for (std::int64_t column = 0; column < m && result != 0; ++column) {
      std::int64_t pivot = column;
      for (std::int64_t row = column + 1; row < m; ++row) {
        if (std::fabs(work[row * m + column]) > std::fabs(work[pivot * m + column])) pivot = row;
      }
      if (pivot != column) {
        for (std::int64_t i = column; i < m; ++i) std::swap(work[pivot * m + i], work[column * m + i]);
        result = -result;
      }
      const double leading = work[column * m + column];
      result *= leading;
      if (leading == 0) break;
      for (std::int64_t row = column + 1; row < m; ++row) {
        const double factor = work[row * m + column] / leading;
        for (std::int64_t i = column + 1; i < m; ++i) work[row * m + i] -= factor * work[column * m + i];
      }
    }
    to[b] = static_cast<T>(result);
  }
}

}  // namespace nn
}  // namespace kernels
