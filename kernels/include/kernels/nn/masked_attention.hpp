// Scaled dot-product attention with everything that ONNX's operator may ask for: shared keys and values, masks, causal and sliding windows,
// caches, capped scores, and a look at the scores on the way. Vaswani et al., arXiv:1706.03762, Eq. 1.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels/nn/gemm.hpp"
#include "kernels/nn/map.hpp"
#include "kernels/nn/sums.hpp"

namespace kernels {
namespace nn {

// Where the rows of each head stand: steps in elements from batch to batch, head to head, row to row.
struct HeadSteps {
  std::int64_t batch, head, row;
};
struct AttentionSizes {
  std::int64_t batch, heads, shared_heads, rows, width;
};

// An element as what is added to a score: truths let a key through or do not.
template <class R, class M>
inline R added_by(M mask) {
  if constexpr (std::is_same<M, bool>::value) return mask ? R(0) : -std::numeric_limits<R>::infinity();
  else return static_cast<R>(static_cast<computed_t<M>>(mask));
}

// What is added to the scores: `data` may be null; columns from `width` on are masked.
template <class M>
struct AttentionMask {
  const M* data;
  HeadSteps steps;
  std::int64_t width;
};
// A key may be `left` before and `right` behind its query's place (negative: any distance), and not behind it where `causal`. The place of
// query i is i + offset; with `lengths`, the keys of each batch beyond its length are masked, and its last query stands at its last key.
struct AttentionWindow {
  bool causal;
  std::int64_t left, right, offset;
  const std::int64_t* lengths;
};

enum class Scores { raw, capped, masked, probabilities };

// Rows of a past and of new keys or values, one behind the other: to is (batch, heads, past + rows, columns).
template <class T>
inline void join_cache(std::int64_t batch, std::int64_t heads, std::int64_t past, std::int64_t rows, std::int64_t columns, const T* before, const T* fresh,
                       HeadSteps steps, T* to) {
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t h = 0; h < heads; ++h) {
      if (past > 0) copy(before + (b * heads + h) * past * columns, past * columns, to);
      to += past * columns;
      for (std::int64_t i = 0; i < rows; ++i, to += columns) copy(fresh + b * steps.batch + h * steps.head + i * steps.row, columns, to);
    }
  }
}

// Numbers of a row as they are after they were stored as T: the operator is defined by steps that each give tensors of its own type.
template <class T, class R>
inline void store_and_load(R* row, std::int64_t n) {
  if constexpr (std::is_class<T>::value) {
    for (std::int64_t i = 0; i < n; ++i) row[i] = static_cast<R>(static_cast<computed_t<T>>(static_cast<T>(row[i])));
  }
}
template <class T, class R>
inline R scaled_element(T x, R scale) {
  R value = static_cast<R>(static_cast<computed_t<T>>(x)) * scale;
  store_and_load<T>(&value, 1);
  return value;
}

// Packs element (k, n) of b at k * row + n * column, converted and scaled.
template <class R, class T>
inline void pack_scaled(const T* b, std::int64_t k, std::int64_t n, std::int64_t row, std::int64_t column, R scale, R* to) {
  for (std::int64_t block = 0; block < n; block += block_columns) {
    const std::int64_t width = smaller(n - block, block_columns);
    for (std::int64_t l = 0; l < k; ++l, to += block_columns) {
      for (std::int64_t j = 0; j < width; ++j) to[j] = scaled_element(b[l * row + (block + j) * column], scale);
      for (std::int64_t j = width; j < block_columns; ++j) to[j] = R(0);
    }
  }
}

constexpr std::int64_t attention_block = 32;

// Numbers that `masked_attention` needs.
constexpr std::int64_t masked_attention_room(std::int64_t width, std::int64_t depth, std::int64_t columns) {
  return packed_size(depth, width) + packed_size(width, columns) + attention_block * (width + depth + columns);
}

// y = softmax(cap(scale q k^T) + mask) v for each head; `looked_at` are the scores that are handed out, (batch, heads, rows, width), where
// `scores` is not null. Rows without a key are zero. `scratch` has `masked_attention_room`.
template <class R, class D, class E, class Q, class V, class M>
inline void masked_attention(const AttentionSizes& s, D depth, E columns, const Q* q, HeadSteps q_steps, const Q* k, HeadSteps k_steps, const V* v,
                             HeadSteps v_steps, Q* y, HeadSteps y_steps, const AttentionMask<M>& mask, const AttentionWindow& window, R scale, R cap,
                             Scores looked_at, Q* scores, R* scratch) {
  constexpr R nothing = -std::numeric_limits<R>::infinity();
  // Queries and keys are both scaled, by the root.
  R root = std::sqrt(scale);
  store_and_load<Q>(&root, 1);
  const std::int64_t width = s.width, group = s.shared_heads > 0 ? s.heads / s.shared_heads : 0;
  R* const keys = scratch;
  R* const values = keys + packed_size(depth, width);
  R* const block = values + packed_size(width, columns);
  R* const queries = block + attention_block * width;
  R* const results = queries + attention_block * depth;
  const auto hand_out = [&](Scores now, const R* row, std::int64_t place) {
    if (scores == nullptr || now != looked_at) return;
    for (std::int64_t j = 0; j < width; ++j) scores[place * width + j] = static_cast<Q>(row[j]);
  };
  for (std::int64_t b = 0; b < s.batch; ++b) {
    const std::int64_t length = window.lengths == nullptr ? width : smaller(larger(window.lengths[b], 0), width);
    const std::int64_t offset = window.lengths == nullptr ? window.offset : window.lengths[b] - s.rows;
    for (std::int64_t h = 0; h < s.heads; ++h) {
      if (h % group == 0) {
        pack_scaled(k + b * k_steps.batch + h / group * k_steps.head, depth, width, 1, k_steps.row, root, keys);
        pack_scaled(v + b * v_steps.batch + h / group * v_steps.head, width, columns, v_steps.row, 1, R(1), values);
      }
      for (std::int64_t first = 0; first < s.rows; first += attention_block) {
        const std::int64_t count = smaller(attention_block, s.rows - first);
        for (std::int64_t i = 0; i < count; ++i) {
          const Q* const from = q + b * q_steps.batch + h * q_steps.head + (first + i) * q_steps.row;
          for (std::int64_t j = 0; j < depth; ++j) queries[i * depth + j] = scaled_element(from[j], root);
        }
        gemm(count, width, depth, static_cast<const R*>(queries), depth, static_cast<const R*>(keys),
             finish(block, width, width, [](auto x) { return x; }));
        store_and_load<Q>(block, count * width);
        for (std::int64_t i = 0; i < count; ++i) {
          R* const row = block + i * width;
          const std::int64_t query = first + i, place = (b * s.heads + h) * s.rows + query;
          hand_out(Scores::raw, row, place);
          if (cap > R(0)) {
            map(width, row, [cap](auto x) { return fn::mul(fn::tanh(fn::div(x, decltype(x)(cap))), decltype(x)(cap)); },
                nn::row(static_cast<const R*>(row)));
          }
          store_and_load<Q>(row, width);
          hand_out(Scores::capped, row, place);
          // Keys in [low, high) are not masked by their place.
          std::int64_t low = 0, high = smaller(length, mask.width);
          if (window.causal) high = smaller(high, query + offset + 1);
          if (window.right >= 0) high = smaller(high, query + offset + window.right + 1);
          if (window.left >= 0) low = larger(low, query + offset - window.left);
          high = larger(high, 0);
          low = smaller(low, high);
          bool any = low < high && mask.data == nullptr;
          if (mask.data != nullptr) {
            const M* const more = mask.data + b * mask.steps.batch + h * mask.steps.head + query * mask.steps.row;
            for (std::int64_t j = low; j < high; ++j) {
              const R value = added_by<R>(more[j]);
              any = any || value != nothing;
              row[j] += value;
            }
          }
          fill(row, low, nothing);
          fill(row + high, width - high, nothing);
          store_and_load<Q>(row, width);
          hand_out(Scores::masked, row, place);
          R top = nothing;
          for (std::int64_t j = low; j < high; ++j) top = fn::max(top, row[j]);
          if (!any || top == nothing) {
            fill(row, width, R(0));
          } else {
            R* const open = row + low;
            map(high - low, open, [top](auto x) { return fn::sub(x, decltype(x)(top)); }, nn::row(static_cast<const R*>(open)));
            store_and_load<Q>(open, high - low);
            map(high - low, open, [](auto x) { return fn::exp(x); }, nn::row(static_cast<const R*>(open)));
            store_and_load<Q>(open, high - low);
            R total = sum_of<R>(high - low, [&](std::int64_t j) { return open[j]; });
            store_and_load<Q>(&total, 1);
            map(high - low, open, [total](auto x) { return fn::div(x, decltype(x)(total)); }, nn::row(static_cast<const R*>(open)));
            fill(row, low, R(0));
            fill(row + high, width - high, R(0));
            store_and_load<Q>(row, width);
          }
          hand_out(Scores::probabilities, row, place);
        }
        gemm(count, columns, width, static_cast<const R*>(block), width, static_cast<const R*>(values),
             finish(results, columns, columns, [](auto x) { return x; }));
        for (std::int64_t i = 0; i < count; ++i) {
          Q* const to = y + b * y_steps.batch + h * y_steps.head + (first + i) * y_steps.row;
          for (std::int64_t j = 0; j < columns; ++j) to[j] = static_cast<Q>(results[i * columns + j]);
        }
      }
    }
  }
}

// Pairs of numbers turned by angles, whose cosines and sines are given for each place: x is (batch, heads, rows, size) by its steps, of which the
// first `turned` numbers take part. Caches are (places, turned / 2) by the numbers in `places`, (batch, rows), or where that is null,
// (batch, rows, turned / 2). Su et al., arXiv:2104.09864, Eq. 34.
template <class T>
inline void rotate(std::int64_t batch, std::int64_t heads, std::int64_t rows, std::int64_t size, std::int64_t turned, bool interleaved,
                   std::int64_t n_places, const T* x, HeadSteps steps, const T* cosines, const T* sines, const std::int64_t* places, T* y) {
  using R = computed_t<T>;
  const std::int64_t half = turned / 2;
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t i = 0; i < rows; ++i) {
      std::int64_t place = b * rows + i;
      if (places != nullptr) place = wrapped(places[place], n_places, "RotaryEmbedding has a place beyond its caches");
      const T* const cosine = cosines + place * half;
      const T* const sine = sines + place * half;
      for (std::int64_t h = 0; h < heads; ++h) {
        const std::int64_t start = b * steps.batch + h * steps.head + i * steps.row;
        for (std::int64_t j = 0; j < half; ++j) {
          const std::int64_t one = start + (interleaved ? 2 * j : j), other = start + (interleaved ? 2 * j + 1 : j + half);
          const R c = static_cast<R>(cosine[j]), s = static_cast<R>(sine[j]), a = static_cast<R>(x[one]), d = static_cast<R>(x[other]);
          y[one] = static_cast<T>(c * a - s * d);
          y[other] = static_cast<T>(s * a + c * d);
        }
        copy(x + start + turned, size - turned, y + start + turned);
      }
    }
  }
}

}  // namespace nn
}  // namespace kernels
