// Reductions: many numbers along some axes of a tensor become one.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels/nn/cast.hpp"
#include "kernels/nn/math.hpp"
#include "kernels/nn/tensor.hpp"
#include "kernels/nn/types.hpp"

namespace kernels {
namespace nn {

namespace fn {
#define KERNELS_NN_PACKED_1(name)                                  \
  template <class T, int N>                                        \
  KERNELS_NN_INLINE pack_of<T, N> name(pack_of<T, N> a) {          \
    for (int i = 0; i < N; ++i) a.v[i] = name(a.v[i]);             \
    return a;                                                      \
  }
#define KERNELS_NN_PACKED_2(name)                                              \
  template <class T, int N>                                                    \
  KERNELS_NN_INLINE pack_of<T, N> name(pack_of<T, N> a, pack_of<T, N> b) {     \
    for (int i = 0; i < N; ++i) a.v[i] = name(a.v[i], b.v[i]);                 \
    return a;                                                                  \
  }
KERNELS_NN_PACKED_1(abs)
KERNELS_NN_PACKED_1(sqrt)
KERNELS_NN_PACKED_1(log)
KERNELS_NN_PACKED_2(add)
KERNELS_NN_PACKED_2(mul)
KERNELS_NN_PACKED_2(div)
KERNELS_NN_PACKED_2(max)
KERNELS_NN_PACKED_2(min)
#undef KERNELS_NN_PACKED_1
#undef KERNELS_NN_PACKED_2
}  // namespace fn

// Which axes are reduced: mask(true, false, ...).
template <class... B>
constexpr std::array<bool, sizeof...(B)> mask(B... flags) {
  return {static_cast<bool>(flags)...};
}

// The mask of axes that are found out when the code runs. None are all, unless `none_is_none`.
template <std::size_t rank>
inline std::array<bool, rank> reduced_axes(const std::int64_t* axes, std::int64_t n, bool none_is_none) {
  std::array<bool, rank> result{};
  if (n == 0) {
    for (std::size_t axis = 0; axis < rank; ++axis) result[axis] = !none_is_none;
    return result;
  }
  bool marked[rank + 1];
  mark_axes(axes, n, static_cast<std::int64_t>(rank), marked);
  for (std::size_t axis = 0; axis < rank; ++axis) result[axis] = marked[axis];
  return result;
}

// The sizes that are left, of those that are kept or also of the others, which become 1.
template <std::size_t rank>
inline void reduced_shape(const std::array<std::int64_t, rank>& shape, const std::array<bool, rank>& reduced, bool keep, std::int64_t* to) {
  for (std::size_t axis = 0; axis < rank; ++axis) {
    if (!reduced[axis]) *to++ = shape[axis];
    else if (keep) *to++ = 1;
  }
}

// What reductions do. `compute(fold, n)` is given n, the number of elements of a set, and a function fold(start, step, join): from `start`, which changes
// nothing, each element is taken in by `step`, and parts that were begun apart are put together by `join`. `accumulator` is the type that elements
// of a type are taken in as.
namespace reduction {

template <class T>
using wide = std::conditional_t<std::is_floating_point<T>::value, T, double>;

struct Adding {
  template <class V>
  KERNELS_NN_INLINE V operator()(V a, V b) const {
    return fn::add(a, b);
  }
};
struct AddingSquare {
  template <class V>
  KERNELS_NN_INLINE V operator()(V a, V x) const {
    return fn::add(a, fn::mul(x, x));
  }
};

struct Sum {
  template <class T>
  using accumulator = T;
  template <class T, class Fold>
  KERNELS_NN_INLINE static auto compute(const Fold& fold, std::int64_t) {
    return fold(T(0), Adding{}, Adding{});
  }
};
struct Mean {
  template <class T>
  using accumulator = std::conditional_t<std::is_floating_point<T>::value, T, std::conditional_t<std::is_signed<T>::value, std::int64_t, std::uint64_t>>;
  template <class T, class Fold>
  KERNELS_NN_INLINE static auto compute(const Fold& fold, std::int64_t n) {
    const auto total = fold(T(0), Adding{}, Adding{});
    return fn::div(total, decltype(total)(static_cast<T>(n)));
  }
};
struct Prod {
  template <class T>
  using accumulator = T;
  template <class T, class Fold>
  KERNELS_NN_INLINE static auto compute(const Fold& fold, std::int64_t) {
    const auto multiply = [](auto a, auto b) { return fn::mul(a, b); };
    return fold(T(1), multiply, multiply);
  }
};
struct Max {
  template <class T>
  using accumulator = T;
  template <class T>
  static constexpr T start() {
    return std::numeric_limits<T>::has_infinity ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::lowest();
  }
  template <class T, class Fold>
  KERNELS_NN_INLINE static auto compute(const Fold& fold, std::int64_t) {
    const auto choose = [](auto a, auto b) { return fn::max(a, b); };
    return fold(start<T>(), choose, choose);
  }
};
struct Min {
  template <class T>
  using accumulator = T;
  template <class T, class Fold>
  KERNELS_NN_INLINE static auto compute(const Fold& fold, std::int64_t) {
    const auto choose = [](auto a, auto b) { return fn::min(a, b); };
    return fold(std::numeric_limits<T>::has_infinity ? std::numeric_limits<T>::infinity() : std::numeric_limits<T>::max(), choose, choose);
  }
};
struct L1 {
  template <class T>
  using accumulator = T;
  template <class T, class Fold>
  KERNELS_NN_INLINE static auto compute(const Fold& fold, std::int64_t) {
    return fold(T(0), [](auto a, auto x) { return fn::add(a, fn::abs(x)); }, Adding{});
  }
};
struct SumSquare {
  template <class T>
  using accumulator = T;
  template <class T, class Fold>
  KERNELS_NN_INLINE static auto compute(const Fold& fold, std::int64_t) {
    return fold(T(0), AddingSquare{}, Adding{});
  }
};
struct L2 {
  template <class T>
  using accumulator = wide<T>;
  template <class T, class Fold>
  KERNELS_NN_INLINE static auto compute(const Fold& fold, std::int64_t) {
    return fn::sqrt(fold(T(0), AddingSquare{}, Adding{}));
  }
};
struct LogSum {
  template <class T>
  using accumulator = wide<T>;
  template <class T, class Fold>
  KERNELS_NN_INLINE static auto compute(const Fold& fold, std::int64_t) {
    return fn::log(fold(T(0), Adding{}, Adding{}));
  }
};
// log sum e^x = m + log sum e^(x - m) with the largest number m, where that is finite.
struct LogSumExp {
  template <class T>
  using accumulator = wide<T>;
  template <class T, class Fold>
  KERNELS_NN_INLINE static auto compute(const Fold& fold, std::int64_t n) {
    const auto top = Max::compute<T>(fold, n);
    using V = std::decay_t<decltype(top)>;
    const V zero(T(0)), infinity(std::numeric_limits<T>::infinity());
    const V shift = fn::where(fn::equal(fn::abs(top), infinity), zero, top);
    return fn::add(shift, fn::log(fold(T(0), [shift](auto a, auto x) { return fn::add(a, fn::exp(fn::sub(x, decltype(x)(shift)))); }, Adding{})));
  }
};

// Axes that are reduced, or kept, and lie as one: the innermost first, with the step between elements.
struct Axes {
  int n = 0;
  std::int64_t sizes[16], steps[16];

  void add(std::int64_t size, std::int64_t step, bool joins) {
    if (joins) {
      sizes[n - 1] *= size;
    } else {
      sizes[n] = size;
      steps[n] = step;
      ++n;
    }
  }
  std::int64_t count(int from) const {
    std::int64_t result = 1;
    for (int i = from; i < n; ++i) result *= sizes[i];
    return result;
  }
};

// Calls f(offset) for each element of the axes from number `from` on, in order. None are one element.
template <class F>
KERNELS_NN_INLINE void each(const Axes& axes, int from, const F& f) {
  const std::int64_t inner = axes.n > from ? axes.sizes[from] : 1, step = axes.n > from ? axes.steps[from] : 0;
  const std::int64_t outer = axes.count(from + 1 < axes.n ? from + 1 : axes.n);
  std::int64_t index[16] = {}, start = 0;
  for (std::int64_t i = 0; i < outer; ++i) {
    for (std::int64_t j = 0; j < inner; ++j) f(start + j * step);
    for (int axis = from + 1; axis < axes.n; ++axis) {
      start += axes.steps[axis];
      if (++index[axis] < axes.sizes[axis]) break;
      start -= axes.steps[axis] * axes.sizes[axis];
      index[axis] = 0;
    }
  }
}

template <class T, class S>
KERNELS_NN_INLINE T stored(S value) {
  if constexpr (std::is_same<T, S>::value || !std::is_integral<T>::value || std::is_integral<S>::value) return static_cast<T>(value);
  else return convert<S, T>(value, true, Rounding::up);
}

// Parts of a set that are put together in pairs, pairs of pairs, and so on: rounding grows with the logarithm of their number (N. J. Higham, SIAM
// J. Sci. Comput. 14 (1993) 783, Sec. 3).
template <class V>
struct Pairs {
  static constexpr std::int64_t elements = 256;  // of one part
  V part[56];
  int n = 0;
  std::int64_t count = 0;

  template <class Join>
  KERNELS_NN_INLINE void add(V value, const Join& join) {
    for (std::int64_t bits = count++; bits & 1; bits >>= 1) value = join(part[--n], value);
    part[n++] = value;
  }
  template <class Join>
  KERNELS_NN_INLINE V total(V value, const Join& join) {
    while (n > 0) value = join(part[--n], value);
    return value;
  }
};

// One set whose innermost axis is a run of elements.
template <class S, class T>
struct FoldRows {
  const T* from;
  const Axes& axes;

  template <class Step, class Join>
  KERNELS_NN_INLINE S operator()(S start, const Step& step, const Join& join) const {
    const std::int64_t n = axes.sizes[0];
    if (axes.n == 1 && n <= block) return run(from, n, start, step, join);
    S result = start;
    Pairs<S> pairs;
    std::int64_t taken = 0;
    each(axes, 1, [&](std::int64_t offset) {
      for (std::int64_t i = 0; i < n; i += block) {
        const std::int64_t width = smaller(block, n - i);
        result = join(result, run(from + offset + i, width, start, step, join));
        taken += width;
        if (taken >= Pairs<S>::elements) {
          pairs.add(result, join);
          result = start;
          taken = 0;
        }
      }
    });
    return pairs.total(result, join);
  }

 private:
  static constexpr bool in_vectors = std::is_floating_point<T>::value && std::is_same<S, T>::value;
  // Elements that are taken one after the other, in sixteen sums or more.
  static constexpr std::int64_t block = in_vectors ? 1024 : Pairs<S>::elements;

  template <class Step, class Join>
  KERNELS_NN_INLINE static S run(const T* x, std::int64_t n, S start, const Step& step, const Join& join) {
    if constexpr (in_vectors) {
      constexpr std::int64_t L = vec<T>::lanes;
      std::int64_t i = 0;
      // Several sums, so that additions need not wait for each other.
      vec<T> part(start);
      if (n >= 4 * L) {
        vec<T> parts[4] = {vec<T>(start), vec<T>(start), vec<T>(start), vec<T>(start)};
        for (; i + 4 * L <= n; i += 4 * L) {
          for (int p = 0; p < 4; ++p) parts[p] = step(parts[p], vec<T>::load(x + i + p * L));
        }
        part = join(join(parts[0], parts[1]), join(parts[2], parts[3]));
      }
      for (; i + L <= n; i += L) part = step(part, vec<T>::load(x + i));
      if (i < n) part = select(first_lanes<T>(n - i), step(part, vec<T>::load(x + i, n - i)), part);
      return across(part, join);
    } else {
      S result = start;
      for (std::int64_t i = 0; i < n; ++i) result = step(result, static_cast<S>(static_cast<computed_t<T>>(x[i])));
      return result;
    }
  }
};

// A set whose elements are got one after the other.
template <class V, class Step, class Join, class Get>
KERNELS_NN_INLINE V folded(const Axes& axes, V start, const Step& step, const Join& join, const Get& get) {
  V result = start;
  Pairs<V> pairs;
  std::int64_t taken = 0;
  each(axes, 0, [&](std::int64_t offset) {
    result = step(result, get(offset));
    if (++taken == Pairs<V>::elements) {
      pairs.add(result, join);
      result = start;
      taken = 0;
    }
  });
  return pairs.total(result, join);
}

// Neighbouring sets side by side, as many as a vector has lanes or fewer.
template <class T>
struct FoldColumns {
  const T* from;
  const Axes& axes;
  std::int64_t width;

  template <class Step, class Join>
  KERNELS_NN_INLINE vec<T> operator()(T start, const Step& step, const Join& join) const {
    if (width == vec<T>::lanes) return folded(axes, vec<T>(start), step, join, [&](std::int64_t offset) { return vec<T>::load(from + offset); });
    return folded(axes, vec<T>(start), step, join, [&](std::int64_t offset) { return vec<T>::load(from + offset, width); });
  }
};

// Four vectors of neighbouring sets: whole lines of cache are read.
template <class T>
struct FoldWide {
  static constexpr int N = 4;
  const T* from;
  const Axes& axes;

  template <class Step, class Join>
  KERNELS_NN_INLINE pack_of<T, N> operator()(T start, const Step& step, const Join& join) const {
    const auto each_step = [&](pack_of<T, N> a, const T* x) {
      for (int i = 0; i < N; ++i) a.v[i] = step(a.v[i], vec<T>::load(x + i * vec<T>::lanes));
      return a;
    };
    return folded(axes, pack_of<T, N>(start), each_step, join, [&](std::int64_t offset) { return from + offset; });
  }
};

// One set, element by element.
template <class S, class T>
struct FoldOne {
  const T* from;
  const Axes& axes;

  template <class Step, class Join>
  KERNELS_NN_INLINE S operator()(S start, const Step& step, const Join& join) const {
    return folded(axes, start, step, join, [&](std::int64_t offset) { return static_cast<S>(static_cast<computed_t<T>>(from[offset])); });
  }
};

}  // namespace reduction

// Reduces the axes that are marked. The result has the others, in order.
template <class Op, class T, std::size_t rank>
inline void reduce(const T* from, const std::array<std::int64_t, rank>& shape, const std::array<bool, rank>& reduced, T* to) {
  using S = typename Op::template accumulator<computed_t<T>>;
  static_assert(rank <= 16, "tensors have at most 16 axes");
  reduction::Axes kept, gone;
  bool rows = false, joins = false, last = false;
  std::int64_t step = 1;
  for (std::size_t axis = rank; axis-- > 0;) {
    const std::int64_t size = shape[axis];
    if (size == 1) continue;
    if (!joins) rows = reduced[axis];
    (reduced[axis] ? gone : kept).add(size, step, joins && last == reduced[axis]);
    joins = true;
    last = reduced[axis];
    step *= size;
  }
  const std::int64_t n = gone.count(0);
  if (rows) {
    reduction::each(kept, 0, [&](std::int64_t offset) {
      *to++ = reduction::stored<T>(Op::template compute<S>(reduction::FoldRows<S, T>{from + offset, gone}, n));
    });
    return;
  }
  const std::int64_t inner = kept.n > 0 ? kept.sizes[0] : 1;
  reduction::each(kept, 1, [&](std::int64_t offset) {
    std::int64_t i = 0;
    if constexpr (std::is_floating_point<T>::value && std::is_same<S, T>::value) {
      constexpr std::int64_t L = vec<T>::lanes;
      if constexpr (!std::is_same<Op, reduction::LogSumExp>::value) {
        constexpr int N = reduction::FoldWide<T>::N;
        for (; i + N * L <= inner; i += N * L) {
          const auto found = Op::template compute<S>(reduction::FoldWide<T>{from + offset + i, gone}, n);
          for (int p = 0; p < N; ++p) found.v[p].store(to + i + p * L);
        }
      }
      for (; i + L <= inner; i += L) Op::template compute<S>(reduction::FoldColumns<T>{from + offset + i, gone, L}, n).store(to + i);
      if (i < inner) {
        Op::template compute<S>(reduction::FoldColumns<T>{from + offset + i, gone, inner - i}, n).store(to + i, inner - i);
      }
    } else {
      for (; i < inner; ++i) to[i] = reduction::stored<T>(Op::template compute<S>(reduction::FoldOne<S, T>{from + offset + i, gone}, n));
    }
    to += inner;
  });
}

// Where the largest or smallest element of each set stands, NaN before all others; the first of equals, or the last.
template <bool largest, bool last, class T>
inline void arg(const T* from, std::int64_t outer, std::int64_t n, std::int64_t inner, std::int64_t* to) {
  require(n > 0 || outer * inner == 0, "ArgMax and ArgMin need an axis that is not empty");
  for (std::int64_t i = 0; i < outer; ++i) {
    for (std::int64_t j = 0; j < inner; ++j) {
      const T* x = from + i * n * inner + j;
      auto best = static_cast<computed_t<T>>(x[0]);
      std::int64_t place = 0;
      for (std::int64_t k = 1; k < n; ++k) {
        const auto other = static_cast<computed_t<T>>(x[k * inner]);
        const bool better = largest ? other > best : other < best, nan = other != other;
        const bool equal = nan ? best != best : other == best;
        if (better || (nan && best == best) || (last && equal)) {
          best = other;
          place = k;
        }
      }
      to[i * inner + j] = place;
    }
  }
}

// An axis of a tensor that is found out when the code runs, with the elements before and behind it.
struct AxisSplit {
  std::int64_t outer = 1, n = 1, inner = 1;
};
template <std::size_t rank>
inline AxisSplit split_at(const std::array<std::int64_t, rank>& shape, std::int64_t axis) {
  AxisSplit result;
  const std::int64_t at = wrapped(axis, static_cast<std::int64_t>(rank), "there is no such axis");
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(rank); ++i) {
    const std::int64_t size = shape[static_cast<std::size_t>(i)];
    (i < at ? result.outer : i > at ? result.inner : result.n) *= size;
  }
  return result;
}

// Sums or products of all elements up to each, without it where `exclusive`, from the end where `reverse`. Floats of 16 bits are summed in float.
template <class Op, class T>
inline void cumulate(const T* from, AxisSplit axis, bool exclusive, bool reverse, T* to) {
  using S = computed_t<T>;
  constexpr bool adds = std::is_same<Op, reduction::Sum>::value;
  const auto combine = [](S a, S b) {
    if constexpr (adds) return fn::add(a, b);
    else return fn::mul(a, b);
  };
  const std::int64_t pitch = reverse ? -axis.inner : axis.inner;
  for (std::int64_t i = 0; i < axis.outer; ++i) {
    const std::int64_t first = (i * axis.n + (reverse ? axis.n - 1 : 0)) * axis.inner;
    if constexpr (std::is_same<S, T>::value) {
      // Row by row, so that neighbours go along.
      for (std::int64_t k = 0; k < axis.n; ++k) {
        const std::int64_t at = first + k * pitch;
        if (k == 0) {
          for (std::int64_t j = 0; j < axis.inner; ++j) to[at + j] = exclusive ? S(adds ? 0 : 1) : from[at + j];
        } else {
          const T* more = from + at - (exclusive ? pitch : 0);
          for (std::int64_t j = 0; j < axis.inner; ++j) to[at + j] = combine(to[at - pitch + j], more[j]);
        }
      }
    } else {
      for (std::int64_t j = 0; j < axis.inner; ++j) {
        S total(adds ? 0 : 1);
        for (std::int64_t k = 0; k < axis.n; ++k) {
          const std::int64_t at = first + k * pitch + j;
          const S next = combine(total, static_cast<S>(from[at]));
          to[at] = static_cast<T>(exclusive ? total : next);
          total = next;
        }
      }
    }
  }
}

}  // namespace nn
}  // namespace kernels
