// Scaled dot-product attention, a block of queries at a time: their scores stay in cache (A. Vaswani et al., arXiv:1706.03762, eq. 1).
#pragma once

#include <cstdint>

#include "kernels/nn/gemm.hpp"

namespace kernels {
namespace nn {

constexpr std::int64_t attention_rows = 32;

// e^(x - largest) of a row in place; the sum. Zeros fill the row up to a whole vector.
KERNELS_NN_INLINE float exponentials(float* x, std::int64_t n) {
  constexpr std::int64_t L = vec<float>::lanes;
  vec<float> top(-std::numeric_limits<float>::infinity());
  std::int64_t i = 0;
  for (; i + L <= n; i += L) top = fn::max(top, vec<float>::load(x + i));
  float largest_value = largest(top);
  for (; i < n; ++i) largest_value = fn::max(largest_value, x[i]);
  // A row of nothing but minus infinity: every difference would be NaN, and so they are in the definition.
  const vec<float> shift(largest_value);
  vec<float> total(0.0f);
  for (i = 0; i + L <= n; i += L) {
    const vec<float> e = fn::exp(vec<float>::load(x + i) - shift);
    e.store(x + i);
    total = total + e;
  }
  float result = sum(total);
  if (i < n) {
    const vec<float> e = fn::exp(vec<float>::load(x + i, n - i) - shift);
    e.store(x + i, n - i);
    for (std::int64_t j = i; j < n; ++j) result += x[j];
  }
  return result;
}

// result[T, e] = softmax(scale q[T, d] k[S, d]^T + added) v[S, e]; rows of each lie the given steps apart. `added` may be null; else element (t, s)
// stands at t * added_row + s * added_column. `scratch` has room for k and v packed, `attention_rows` rows of scores and a number for each of these.
template <class T, class S, class D, class E>
inline void attention(T rows, S width, D depth, E columns, const float* q, std::int64_t q_row, const float* k, std::int64_t k_row, const float* v,
                      std::int64_t v_row, float* result, std::int64_t result_row, float scale, const float* added, std::int64_t added_row,
                      std::int64_t added_column, float* scratch) {
  const std::int64_t n = width, pitch = (n + block_columns - 1) / block_columns * block_columns;
  float* const keys = scratch;
  float* const values = keys + packed_size(depth, n);
  float* const scores = values + packed_size(n, columns);
  float* const inverse = scores + attention_rows * pitch;
  pack(k, depth, n, 1, k_row, keys);
  pack(v, n, columns, v_row, 1, values);
  const auto block = [&](auto count, std::int64_t first) {
    const vec<float> factor(scale);
    gemm(count, width, depth, q + first * q_row, q_row, keys,
         finish(scores, pitch, width, [factor](auto x) { return x * factor; }));
    for (std::int64_t t = 0; t < count; ++t) {
      float* const row = scores + t * pitch;
      if (added != nullptr) {
        const float* const more = added + (first + t) * added_row;
        for (std::int64_t s = 0; s < n; ++s) row[s] += more[s * added_column];
      }
      inverse[t] = 1.0f / exponentials(row, n);
    }
    gemm(count, columns, width, scores, pitch, values,
         finish(result + first * result_row, result_row, columns, [](auto x, auto scale_of_row) { return x * scale_of_row; }, each<float>(inverse, 1)));
  };
  if constexpr (is_fixed_v<T>) {
    // Blocks of one size, as many rows as come out even below the limit.
    constexpr std::int64_t parts = (T::value + attention_rows - 1) / attention_rows;
    if constexpr (parts > 0) {
      constexpr std::int64_t size = (T::value + parts - 1) / parts, rest = T::value - size * (parts - 1);
      std::int64_t first = 0;
      for (; first + size < T::value || (rest == size && first < T::value); first += size) block(fixed<size>{}, first);
      if constexpr (rest != size && rest > 0) block(fixed<rest>{}, first);
    }
  } else {
    for (std::int64_t first = 0; first < rows; first += attention_rows) {
      const std::int64_t left = rows - first;
      block(left < attention_rows ? left : attention_rows, first);
    }
  }
}

}  // namespace nn
}  // namespace kernels
