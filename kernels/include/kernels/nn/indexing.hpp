// Kernels that read and write elements by number: gathers, scatters, selections. Every number is checked against its axis.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>

#include "kernels/nn/cast.hpp"
#include "kernels/nn/functions.hpp"
#include "kernels/nn/movement.hpp"
#include "kernels/nn/tensor.hpp"
#include "kernels/nn/types.hpp"

namespace kernels {
namespace nn {

// What a scatter does with the number that is there and the one that comes.
namespace scattering {
struct Replace {
  template <class T>
  static T combine(const T&, const T& update) {
    return update;
  }
};
#define KERNELS_NN_SCATTERING(name, function)                                                                         \
  struct name {                                                                                                       \
    template <class T>                                                                                                \
    static T combine(const T& old, const T& update) {                                                                 \
      return static_cast<T>(fn::function(static_cast<computed_t<T>>(old), static_cast<computed_t<T>>(update)));       \
    }                                                                                                                 \
  };
KERNELS_NN_SCATTERING(Add, add)
KERNELS_NN_SCATTERING(Mul, mul)
KERNELS_NN_SCATTERING(Max, max)
KERNELS_NN_SCATTERING(Min, min)
#undef KERNELS_NN_SCATTERING
}  // namespace scattering

// Calls f(position, place) for each index, in order: its number, and the element it points to, which stands where the index does but along `axis`.
template <std::size_t rank, class I, class F>
inline void each_element(const std::array<std::int64_t, rank>& shape, std::size_t axis, const I* indices, const std::array<std::int64_t, rank>& index_shape,
                         const char* beyond, const F& f) {
  auto steps = row_major(shape);
  const std::int64_t size = shape[axis], pitch = steps[axis];
  steps[axis] = 0;
  constexpr std::size_t last = rank - 1;
  const std::int64_t width = index_shape[last];
  std::int64_t rows = width > 0 ? 1 : 0;
  for (std::size_t i = 0; i < last; ++i) rows *= index_shape[i];
  std::array<std::int64_t, rank> index{};
  std::int64_t position = 0, start = 0;
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t j = 0; j < width; ++j, ++position) {
      f(position, start + j * steps[last] + pitch * wrapped(static_cast<std::int64_t>(indices[position]), size, beyond));
    }
    for (std::size_t i = last; i-- > 0;) {
      start += steps[i];
      if (++index[i] < index_shape[i]) break;
      start -= steps[i] * index_shape[i];
      index[i] = 0;
    }
  }
}

template <class T, std::size_t rank, class I>
inline void gather_elements(const T* from, const std::array<std::int64_t, rank>& shape, std::size_t axis, const I* indices,
                            const std::array<std::int64_t, rank>& index_shape, T* to) {
  each_element(shape, axis, indices, index_shape, "GatherElements is given an index beyond its axis",
               [&](std::int64_t position, std::int64_t place) { to[position] = from[place]; });
}
template <class How, class T, std::size_t rank, class I>
inline void scatter_elements(const T* updates, const std::array<std::int64_t, rank>& shape, std::size_t axis, const I* indices,
                             const std::array<std::int64_t, rank>& index_shape, T* to) {
  each_element(shape, axis, indices, index_shape, "ScatterElements is given an index beyond its axis",
               [&](std::int64_t position, std::int64_t place) { to[place] = How::combine(to[place], updates[position]); });
}

// The slice that a tuple of numbers points to.
template <std::size_t depth>
inline std::int64_t tuple_place(const std::int64_t* tuple, const std::array<std::int64_t, depth>& sizes, const char* beyond) {
  std::int64_t place = 0;
  for (std::size_t i = 0; i < depth; ++i) place = place * sizes[i] + wrapped(tuple[i], sizes[i], beyond);
  return place;
}

// In each part of a batch `count` tuples of numbers, which pick slices of `inner` elements out of `sizes`.
template <class T, std::size_t depth>
inline void gather_nd(const T* from, std::int64_t batch, const std::array<std::int64_t, depth>& sizes, std::int64_t inner, const std::int64_t* indices,
                      std::int64_t count, T* to) {
  const std::int64_t part = product(sizes) * inner;
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t i = 0; i < count; ++i, indices += depth, to += inner) {
      copy(from + b * part + tuple_place(indices, sizes, "GatherND is given an index beyond its axis") * inner, inner, to);
    }
  }
}
template <class How, class T, std::size_t depth>
inline void scatter_nd(const T* updates, const std::array<std::int64_t, depth>& sizes, std::int64_t inner, const std::int64_t* indices, std::int64_t count,
                       T* to) {
  for (std::int64_t i = 0; i < count; ++i, indices += depth, updates += inner) {
    T* const slice = to + tuple_place(indices, sizes, "ScatterND is given an index beyond its axis") * inner;
    for (std::int64_t j = 0; j < inner; ++j) slice[j] = How::combine(slice[j], updates[j]);
  }
}

// Writes `n` slices of `inner` elements into an axis of `size` from a place on that each part of the batch has for itself; `places` may be null.
template <class T>
inline void tensor_scatter(const T* updates, std::int64_t batch, std::int64_t outer, std::int64_t n, std::int64_t size, std::int64_t inner,
                           const std::int64_t* places, bool circular, T* to) {
  for (std::int64_t b = 0; b < batch; ++b) {
    const std::int64_t place = places ? places[b] : 0;
    require(place >= 0 && (circular || (n <= size && place <= size - n)), "TensorScatter writes beyond its axis");
    for (std::int64_t o = 0; o < outer; ++o, to += size * inner) {
      for (std::int64_t i = 0; i < n; ++i, updates += inner) {
        const std::int64_t at = circular ? (place % size + i) % size : place + i;
        copy(updates, inner, to + at * inner);
      }
    }
  }
}

template <class I>
inline std::int64_t as_index(const I& index) {
  return convert<I, std::int64_t>(index, true, Rounding::up);
}

// values[1] where the index stands, counted from the end where it is negative; values[0] elsewhere.
template <class I, class T>
inline void one_hot(const I* indices, std::int64_t outer, std::int64_t inner, std::int64_t depth, const T* values, T* to) {
  fill(to, outer * depth * inner, values[0]);
  for (std::int64_t i = 0; i < outer; ++i) {
    for (std::int64_t j = 0; j < inner; ++j) {
      const std::int64_t index = as_index(indices[i * inner + j]);
      if (index >= -depth && index < depth) to[(i * depth + (index < 0 ? index + depth : index)) * inner + j] = values[1];
    }
  }
}

template <class T>
inline bool truth(const T& x) {
  if constexpr (std::is_same<T, std::string>::value) return !x.empty();
  else return static_cast<computed_t<T>>(x) != 0;
}
template <class T>
inline std::int64_t count_nonzero(const T* from, std::int64_t count) {
  std::int64_t found = 0;
  for (std::int64_t i = 0; i < count; ++i) found += truth(from[i]);
  return found;
}
// to[rank, found]: the places of elements that are not zero, axis by axis.
template <class T, std::size_t rank>
inline void nonzero(const T* from, const std::array<std::int64_t, rank>& shape, std::int64_t found, std::int64_t* to) {
  if constexpr (rank > 0) {
    std::array<std::int64_t, rank> index{};
    const std::int64_t count = product(shape);
    for (std::int64_t i = 0; i < count; ++i) {
      if (truth(from[i])) {
        for (std::size_t axis = 0; axis < rank; ++axis) to[static_cast<std::int64_t>(axis) * found] = index[axis];
        ++to;
      }
      for (std::size_t axis = rank; axis-- > 0;) {
        if (++index[axis] < shape[axis]) break;
        index[axis] = 0;
      }
    }
  }
}

// The slices of an axis for which a condition holds; conditions may be fewer than slices, but those beyond the axis may not hold.
inline std::int64_t count_selected(const bool* condition, std::int64_t n, std::int64_t size) {
  std::int64_t found = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    require(!condition[i] || i < size, "Compress selects beyond its axis");
    found += condition[i];
  }
  return found;
}
template <class T>
inline void compress(const T* from, std::int64_t outer, std::int64_t size, std::int64_t inner, const bool* condition, std::int64_t n, T* to) {
  for (std::int64_t o = 0; o < outer; ++o, from += size * inner) {
    for (std::int64_t i = 0; i < smaller(n, size); ++i) {
      if (condition[i]) {
        copy(from + i * inner, inner, to);
        to += inner;
      }
    }
  }
}

// Whether a stands before b in ascending order; NaN stands last.
template <class T>
inline bool before(const T& a, const T& b) {
  if constexpr (std::is_same<T, std::string>::value) {
    return a < b;
  } else {
    const auto x = static_cast<computed_t<T>>(a), y = static_cast<computed_t<T>>(b);
    return x < y || (x == x && y != y);
  }
}

// The slices of an axis that differ: `first` where each stands first, `inverse` which of them each slice is, `counts` how often each is there; all have room
// for n numbers, as `order` has. They are in ascending order, or in that of their first places. Returns how many there are.
template <class T>
inline std::int64_t unique(const T* from, std::int64_t outer, std::int64_t n, std::int64_t inner, bool sorted, std::int64_t* first, std::int64_t* inverse,
                           std::int64_t* counts, std::int64_t* order) {
  const auto compare = [&](std::int64_t a, std::int64_t b) {
    for (std::int64_t o = 0; o < outer; ++o) {
      const T *x = from + (o * n + a) * inner, *y = from + (o * n + b) * inner;
      for (std::int64_t i = 0; i < inner; ++i) {
        if (before(x[i], y[i])) return -1;
        if (before(y[i], x[i])) return 1;
      }
    }
    return 0;
  };
  for (std::int64_t i = 0; i < n; ++i) order[i] = i;
  std::sort(order, order + n, [&](std::int64_t a, std::int64_t b) {
    const int difference = compare(a, b);
    return difference != 0 ? difference < 0 : a < b;
  });
  std::int64_t found = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    if (i == 0 || compare(order[i - 1], order[i]) != 0) {
      first[found] = order[i];
      counts[found] = 0;
      ++found;
    }
    inverse[order[i]] = found - 1;
    ++counts[found - 1];
  }
  if (sorted) return found;
  // The number of a slice among those that stand first: counted along the axis. `order` keeps the counts meanwhile.
  for (std::int64_t i = 0; i < found; ++i) order[i] = counts[i];
  std::int64_t next = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t group = inverse[i];
    if (first[group] == i) {
      counts[next] = order[group];
      order[group] = next++;
    }
    inverse[i] = order[group];
  }
  std::sort(first, first + found);
  return found;
}

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

// Along an axis whose elements stand `inner` apart. `row` has room for n + k elements where inner is not 1, `order` for n + k numbers.
template <bool largest, class T>
inline void top_k(const T* from, std::int64_t outer, std::int64_t n, std::int64_t inner, std::int64_t k, T* numbers, std::int64_t* places, T* row,
                  std::int64_t* order) {
  for (std::int64_t o = 0; o < outer; ++o) {
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

// A box by its corners.
struct Box {
  float low[2], high[2];

  Box(const float* given, bool by_center) {
    for (int i = 0; i < 2; ++i) {
      if (by_center) {
        low[i] = given[i] - given[i + 2] / 2;
        high[i] = given[i] + given[i + 2] / 2;
      } else {
        low[i] = given[i] < given[i + 2] ? given[i] : given[i + 2];
        high[i] = given[i] < given[i + 2] ? given[i + 2] : given[i];
      }
    }
  }
  float area() const { return (high[0] - low[0]) * (high[1] - low[1]); }
};
// Whether intersection over union is above a limit.
inline bool overlap(const Box& a, const Box& b, float limit) {
  float shared = 1;
  for (int i = 0; i < 2; ++i) {
    const float low = a.low[i] > b.low[i] ? a.low[i] : b.low[i], high = a.high[i] < b.high[i] ? a.high[i] : b.high[i];
    if (!(high > low)) return false;
    shared *= high - low;
  }
  const float both = a.area() + b.area() - shared;
  return shared > 0 && a.area() > 0 && b.area() > 0 && both > 0 && shared / both > limit;
}

// Boxes of each class in order of their scores, without those that overlap one that is taken: triples of batch, class and box. `to` has room for
// min(most, n_boxes) triples for each class of each batch, `order` for n_boxes numbers. Returns how many there are.
inline std::int64_t non_max_suppression(const float* boxes, const float* scores, std::int64_t n_batches, std::int64_t n_classes, std::int64_t n_boxes,
                                        bool by_center, std::int64_t most, float overlap_limit, const float* score_limit, std::int64_t* order,
                                        std::int64_t* to) {
  const std::int64_t* const start = to;
  for (std::int64_t batch = 0; batch < n_batches; ++batch) {
    for (std::int64_t kind = 0; kind < n_classes; ++kind) {
      const float *score = scores + (batch * n_classes + kind) * n_boxes, *box = boxes + batch * n_boxes * 4;
      std::int64_t n = 0;
      for (std::int64_t i = 0; i < n_boxes; ++i) {
        if (score_limit == nullptr || score[i] > *score_limit) order[n++] = i;
      }
      std::sort(order, order + n, [&](std::int64_t a, std::int64_t b) {
        if (before(score[b], score[a])) return true;
        return !before(score[a], score[b]) && a < b;
      });
      const std::int64_t* const mine = to;
      for (std::int64_t i = 0; i < n && (to - mine) / 3 < most; ++i) {
        const Box candidate(box + order[i] * 4, by_center);
        bool keep = true;
        for (const std::int64_t* taken = mine; keep && taken < to; taken += 3) keep = !overlap(candidate, Box(box + taken[2] * 4, by_center), overlap_limit);
        if (!keep) continue;
        *to++ = batch;
        *to++ = kind;
        *to++ = order[i];
      }
    }
  }
  return (to - start) / 3;
}

}  // namespace nn
}  // namespace kernels
