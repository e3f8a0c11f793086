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
// The same with one number as all updates.
template <class How, class T, std::size_t depth>
inline void scatter_nd_number(const T& update, const std::array<std::int64_t, depth>& sizes, std::int64_t inner, const std::int64_t* indices,
                              std::int64_t count, T* to) {
  for (std::int64_t i = 0; i < count; ++i, indices += depth) {
    T* const slice = to + tuple_place(indices, sizes, "ScatterND is given an index beyond its axis") * inner;
    for (std::int64_t j = 0; j < inner; ++j) slice[j] = How::combine(slice[j], update);
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
