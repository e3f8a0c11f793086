// The k best along an axis, in order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "kernels/nn/functions.hpp"
#include "kernels/nn/types.hpp"
#include "kernels/nn/vector.hpp"

namespace kernels {
namespace nn {

// The order that TopK asks for: the larger (or smaller) first, NaN as the largest; of equals the first.
template <bool largest, class T>
inline bool better(T a, T b) {
  if (largest) return a > b || (a != a && b == b);
  return a < b || (a == a && b != b);
}

// Whole numbers in one of the target's vectors, of 32 bytes at most: masks of longer ones cost more than they save. They are no function's argument: targets pass them in different ways.
#if defined(__AVX2__)
using Lanes __attribute__((vector_size(32))) = std::int32_t;
#else
using Lanes __attribute__((vector_size(16))) = std::int32_t;
#endif

// The k best of a row of floats, k at most C, by ranks instead of insertions: no branch depends on the numbers, which a processor cannot guess.
// Numbers are compared as whole numbers of the same order. The k-th best of the best of some columns is no better than the k-th of all, so that
// what is worse than it is left out; each of the others is counted against all of them, and the count is its place. False, with nothing
// written, where too many are left (many equal numbers).
template <bool largest, int C>
inline bool top_k_ranked(const float* x, std::int64_t n, std::int64_t k, float* numbers, std::int64_t* places, std::int32_t* keys) {
  constexpr int most = 64, block = 16, W = static_cast<int>(sizeof(Lanes) / sizeof(std::int32_t)), V = C / W;
  constexpr std::int32_t lowest = std::numeric_limits<std::int32_t>::min();
  for (std::int64_t i = 0; i < n; ++i) {
    const float value = x[i];
    std::int32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    bits = bits == lowest ? 0 : bits;  // both zeros are equal
    bits ^= bits >> 31 & std::numeric_limits<std::int32_t>::max();
    bits = value != value ? std::numeric_limits<std::int32_t>::max() : bits;
    keys[i] = largest ? bits : ~bits;
  }
  const std::int64_t whole = (n + block - 1) / block * block;
  for (std::int64_t i = n; i < whole; ++i) keys[i] = lowest;
  std::int32_t bound = lowest;
  if (whole > C) {
    Lanes best[V];
    std::memcpy(best, keys, sizeof best);
    std::int64_t i = C;
    for (; i + C <= whole; i += C) {
      for (int v = 0; v < V; ++v) {
        Lanes next;
        std::memcpy(&next, keys + i + v * W, sizeof next);
        best[v] = next > best[v] ? next : best[v];
      }
    }
    // Of those that fewer than k are better than, the worst: the k-th, equal ones counted.
    Lanes rank[V] = {};
    for (int l = 0; l < C; ++l) {
      const std::int32_t one = best[l / W][l % W];
      for (int v = 0; v < V; ++v) rank[v] -= one > best[v];
    }
    Lanes worst = Lanes{} + std::numeric_limits<std::int32_t>::max();
    for (int v = 0; v < V; ++v) worst = ((rank[v] < static_cast<std::int32_t>(k)) & (best[v] < worst)) ? best[v] : worst;
    bound = worst[0];
    for (int j = 1; j < W; ++j) bound = worst[j] < bound ? worst[j] : bound;
  }
  std::int32_t kept[most + block] = {}, place[most + block];
  int count = 0;
  for (std::int64_t i = 0; i < n; i += block) {
    if (n > 128) {
      bool any = false;
      for (int j = 0; j < block; ++j) any |= keys[i + j] >= bound;
      if (!any) continue;
    }
    const int width = n - i < block ? static_cast<int>(n - i) : block;
    for (int j = 0; j < width; ++j) {
      kept[count] = keys[i + j];
      place[count] = static_cast<std::int32_t>(i + j);
      count += keys[i + j] >= bound;
    }
    if (count > most) return false;
  }
  std::int32_t at[most + block];
  for (int first = 0; first < count; first += W) {
    Lanes rank = {}, number = {}, own;
    std::memcpy(&own, kept + first, sizeof own);
    for (int j = 0; j < W; ++j) number[j] = first + j;
    // Better ones, and of equal ones those that stand before.
    const int end = first + W < count ? first + W : count;
    int l = 0;
    for (; l < first; ++l) rank -= kept[l] >= own;
    for (; l < end; ++l) rank -= (kept[l] > own) | ((kept[l] == own) & (l < number));
    for (; l < count; ++l) rank -= kept[l] > own;
    std::memcpy(at + first, &rank, sizeof rank);
  }
  std::int32_t sorted[most + block];
  for (int i = 0; i < count; ++i) sorted[at[i]] = place[i];
  for (std::int64_t i = 0; i < k; ++i) {
    places[i] = sorted[i];
    numbers[i] = x[sorted[i]];
  }
  return true;
}

// The k best of a row in order. `numbers` and `places` have room for k, `order` for n numbers where k is large.
template <bool largest, class T>
inline void top_k_row(const T* x, std::int64_t n, std::int64_t k, T* numbers, std::int64_t* places, std::int64_t* order) {
  using S = computed_t<T>;
  if (k == 0) return;
  if constexpr (std::is_same_v<T, float>) {
    // `order` has room for twice as many keys. More than some 24 leave too many to be counted; the best alone is found by going along.
    if (k > 1 && k <= 24 && n >= 16 && n < std::numeric_limits<std::int32_t>::max() / 2) {
      std::int32_t* const keys = reinterpret_cast<std::int32_t*>(order);
      if (k <= 6 ? top_k_ranked<largest, 16>(x, n, k, numbers, places, keys) : top_k_ranked<largest, 32>(x, n, k, numbers, places, keys)) return;
    }
  }
  if (k > 64) {
    for (std::int64_t i = 0; i < n; ++i) order[i] = i;
    std::partial_sort(order, order + k, order + n, [x](std::int64_t a, std::int64_t b) {
      const S left = static_cast<S>(x[a]), right = static_cast<S>(x[b]);
      return better<largest>(left, right) || (!better<largest>(right, left) && a < b);
    });
    for (std::int64_t i = 0; i < k; ++i) {
      places[i] = order[i];
      numbers[i] = x[order[i]];
    }
    return;
  }
  std::int64_t held = 0;
  const auto insert = [&](std::int64_t i) {
    const S value = static_cast<S>(x[i]);
    std::int64_t at = held < k ? held++ : k - 1;
    for (; at > 0 && better<largest>(value, static_cast<S>(numbers[at - 1])); --at) {
      numbers[at] = numbers[at - 1];
      places[at] = places[at - 1];
    }
    numbers[at] = x[i];
    places[at] = i;
  };
  std::int64_t i = 0;
  for (; i < k; ++i) insert(i);
  constexpr std::int64_t block = 16;
  for (; i + block <= n; i += block) {
    // Most blocks hold nothing that is better than the worst of the best, which vectors tell at once.
    const S worst = static_cast<S>(numbers[k - 1]);
    bool any = false;
    for (std::int64_t j = 0; j < block; ++j) {
      const S value = static_cast<S>(x[i + j]);
      any |= largest ? !(value <= worst) : !(value >= worst);
    }
    if (!any) continue;
    for (std::int64_t j = i; j < i + block; ++j) {
      if (better<largest>(static_cast<S>(x[j]), static_cast<S>(numbers[k - 1]))) insert(j);
    }
  }
  for (; i < n; ++i) {
    if (better<largest>(static_cast<S>(x[i]), static_cast<S>(numbers[k - 1]))) insert(i);
  }
}

// L rows of n floats at a time, one in each lane: each number passes the K best so far, and what is better stays. A number and its place are one whole
// number, in the order that is asked for, so that the pass is a maximum and a minimum. No branch depends on the numbers.
template <bool largest, int K>
inline void top_k_lanes(const float* x, std::int64_t n, std::int64_t k, float* numbers, std::int64_t* places) {
  using V = vec<float>;
  constexpr int L = V::lanes, H = L / 2;
  typedef std::int64_t wide __attribute__((vector_size(vector_bytes)));
  typedef std::uint64_t wide_bits __attribute__((vector_size(vector_bytes)));
  typedef std::int32_t narrow __attribute__((vector_size(vector_bytes / 2)));
  constexpr std::int64_t lowest = std::numeric_limits<std::int64_t>::min(), all = 0xFFFFFFFF;
  wide best[2][K];
  for (auto& half : best) {
    for (wide& each : half) each = wide{} + lowest;
  }
  for (std::int64_t i = 0; i < n; i += L) {
    const int width = n - i < L ? static_cast<int>(n - i) : L;
    V column[L];
    KERNELS_NN_UNROLL for (int r = 0; r < L; ++r) column[r] = width == L ? V::load(x + r * n + i) : V::load(x + r * n + i, width);
    transpose(column);
    for (int j = 0; j < width; ++j) {
      typename V::ints bits;
      std::memcpy(&bits, &column[j], sizeof bits);
      bits = column[j].v == 0.0f ? typename V::ints{} : bits;  // both zeros are equal
      bits ^= bits >> 31 & std::numeric_limits<std::int32_t>::max();
      bits = column[j].v != column[j].v ? typename V::ints{} + std::numeric_limits<std::int32_t>::max() : bits;
      if (!largest) bits = ~bits;
      narrow half[2];
      std::memcpy(half, &bits, sizeof half);
      KERNELS_NN_UNROLL for (int h = 0; h < 2; ++h) {
        wide key = reinterpret_cast<wide>(reinterpret_cast<wide_bits>(__builtin_convertvector(half[h], wide)) << 32) + (all - (i + j));
        KERNELS_NN_UNROLL for (int s = 0; s < K; ++s) {
          const wide old = best[h][s];
          best[h][s] = key > old ? key : old;
          key = key > old ? old : key;
        }
      }
    }
  }
  for (int r = 0; r < L; ++r) {
    for (std::int64_t s = 0; s < k; ++s) {
      const std::int64_t place = all - (best[r / H][s][r % H] & all);
      places[r * k + s] = place;
      numbers[r * k + s] = x[r * n + place];
    }
  }
}

// Along an axis whose elements stand `inner` apart. `row` has room for n + k elements where inner is not 1, `order` for n + k numbers.
template <bool largest, class T>
inline void top_k(const T* from, std::int64_t outer, std::int64_t n, std::int64_t inner, std::int64_t k, T* numbers, std::int64_t* places, T* row,
                  std::int64_t* order) {
  std::int64_t in_lanes = 0;
#if defined(KERNELS_NN_AVX512) || defined(KERNELS_NN_AVX2)
  if constexpr (std::is_same_v<T, float>) {
    // Beyond these sizes most numbers are left out before they are ranked, which costs less than the passes of all.
    constexpr int L = vec<float>::lanes;
    if (inner == 1 && k > 1 && k <= L && n <= 128) {
      in_lanes = outer / L * L;
      for (std::int64_t first = 0; first < in_lanes; first += L) {
        const float* const rows = from + first * n;
        float* const best = numbers + first * k;
        if (k <= 4) top_k_lanes<largest, 4>(rows, n, k, best, places + first * k);
        else if (k <= 8) top_k_lanes<largest, 8>(rows, n, k, best, places + first * k);
        else top_k_lanes<largest, L>(rows, n, k, best, places + first * k);
      }
    }
  }
#endif
  for (std::int64_t o = in_lanes; o < outer; ++o) {
    if (inner == 1) {
      top_k_row<largest>(from + o * n, n, k, numbers + o * k, places + o * k, order);
      continue;
    }
    for (std::int64_t j = 0; j < inner; ++j) {
      for (std::int64_t i = 0; i < n; ++i) row[i] = from[(o * n + i) * inner + j];
      top_k_row<largest>(row, n, k, row + n, order + n, order);
      for (std::int64_t i = 0; i < k; ++i) {
        numbers[(o * k + i) * inner + j] = row[n + i];
        places[(o * k + i) * inner + j] = order[n + i];
      }
    }
  }
}

}  // namespace nn
}  // namespace kernels
