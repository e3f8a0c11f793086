// Scaled dot-product attention, a block of queries at a time: their scores stay in cache (A. Vaswani et al., arXiv:1706.03762, eq. 1).
#pragma once

#include <cstdint>

#include "kernels/nn/gemm.hpp"
#include "kernels/nn/tensor.hpp"

namespace kernels {
namespace nn {

constexpr std::int64_t attention_rows = 32;

// A size, up to whole blocks of columns.
template <std::int64_t N>
constexpr auto whole(fixed<N>) {
  return fixed<(N + block_columns - 1) / block_columns * block_columns>{};
}
constexpr std::int64_t whole(std::int64_t n) { return (n + block_columns - 1) / block_columns * block_columns; }

// e^(x - largest) in place in R rows, `pitch` apart, side by side so that they need not wait for themselves; inverse[r]: one over the sum of row r.
// Zeros fill each row up to whole vectors, which it has to have room for.
template <int R, class N>
KERNELS_NN_INLINE void exponentials(float* x, std::int64_t pitch, N n, float* inverse) {
  constexpr std::int64_t L = vec<float>::lanes;
  const std::int64_t last = (n - 1) / L * L;
  const vmask<float> open = first_lanes<float>(n - last);
  // NaN may get lost here: it comes back through the sum. A row of nothing but minus infinity is one of NaN, as in the definition.
  const auto larger = [](vec<float> a, vec<float> b) { return larger_or_second(a, b); };
  vec<float> top[R], total[R];
  KERNELS_NN_UNROLL for (int r = 0; r < R; ++r) {
    top[r] = select(open, vec<float>::load(x + r * pitch + last), vec<float>(-std::numeric_limits<float>::infinity()));
  }
  for (std::int64_t i = 0; i < last; i += L) {
    KERNELS_NN_UNROLL for (int r = 0; r < R; ++r) top[r] = larger(top[r], vec<float>::load(x + r * pitch + i));
  }
  KERNELS_NN_UNROLL for (int r = 0; r < R; ++r) top[r] = joined_lanes<L / 2>(top[r], larger);
  KERNELS_NN_UNROLL for (int r = 0; r < R; ++r) {
    float* const row = x + r * pitch;
    total[r] = select(open, fn::share(vec<float>::load(row + last) - top[r]), vec<float>(0.0f));
    total[r].store(row + last);
  }
  for (std::int64_t i = 0; i < last; i += L) {
    KERNELS_NN_UNROLL for (int r = 0; r < R; ++r) {
      float* const row = x + r * pitch;
      const vec<float> e = fn::share(vec<float>::load(row + i) - top[r]);
      e.store(row + i);
      total[r] = total[r] + e;
    }
  }
  KERNELS_NN_UNROLL for (int r = 0; r < R; ++r) inverse[r] = 1.0f / sum(total[r]);
}

// x[i] += more[i * step]
KERNELS_NN_INLINE void add_row(float* x, std::int64_t n, const float* more, std::int64_t step) {
  constexpr std::int64_t L = vec<float>::lanes;
  std::int64_t i = 0;
  if (step <= 1) {
    for (; i + L <= n; i += L) (vec<float>::load(x + i) + (step == 1 ? vec<float>::load(more + i) : vec<float>(*more))).store(x + i);
  }
  for (; i < n; ++i) x[i] += more[i * step];
}

// result[T, e] = softmax(scale q[T, d] k[S, d]^T + added) v[S, e]; rows of each lie the given steps apart. `added` may be null; else element (t, s)
// stands at t * added_row + s * added_column. `scratch` has room for k and v packed, `attention_rows` rows of scores and a number for each of these.
template <class T, class S, class D, class E>
inline void attention(T rows, S width, D depth, E columns, const float* q, std::int64_t q_row, const float* k, std::int64_t k_row, const float* v,
                      std::int64_t v_row, float* result, std::int64_t result_row, float scale, const float* added, std::int64_t added_row,
                      std::int64_t added_column, float* scratch) {
  const std::int64_t n = width, pitch = whole(width);
  float* const keys = scratch;
  float* const values = keys + packed_size(depth, n);
  float* const scores = values + packed_size(n, columns);
  float* const inverse = scores + attention_rows * pitch;
  pack(k, depth, n, 1, k_row, keys);
  pack(v, n, columns, v_row, 1, values);
  const auto block = [&](auto count, std::int64_t first) {
    const vec<float> factor(scale);
    gemm(count, width, depth, q + first * q_row, q_row, keys,
         finish(scores, whole(width), whole(width), [factor](auto x) { return x * factor; }));
    if (added != nullptr) {
      for (std::int64_t t = 0; t < count; ++t) add_row(scores + t * pitch, n, added + (first + t) * added_row, added_column);
    }
    if (n > 0) {
      std::int64_t t = 0;
      for (; t + 2 <= count; t += 2) exponentials<2>(scores + t * pitch, pitch, width, inverse + t);
      if (t < count) exponentials<1>(scores + t * pitch, pitch, width, inverse + t);
    } else {
      fill(inverse, count, 0.0f);  // over no keys, a sum of nothing
    }
    gemm(count, columns, width, scores, pitch, values,
         finish(result + first * result_row, result_row, columns, [](auto x, auto scale_of_row) { return x * scale_of_row; }, each(static_cast<const float*>(inverse), fixed<1>{})));
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
