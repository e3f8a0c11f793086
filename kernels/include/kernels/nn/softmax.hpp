// Softmax and its relatives, along an axis of n elements that stand `inner` apart, and the division by a norm.
#pragma once

#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels/nn/math.hpp"
#include "kernels/nn/reduce.hpp"
#include "kernels/nn/tensor.hpp"
#include "kernels/nn/types.hpp"

namespace kernels {
namespace nn {

namespace normalizing {

// The larger of two numbers. NaN may get lost: where the maximum is subtracted, it comes back through the sum.
struct Larger {
  template <class T>
  KERNELS_NN_INLINE vec<T> operator()(vec<T> a, vec<T> x) const {
    return larger_or_second(x, a);
  }
  float operator()(float a, float x) const { return x > a ? x : a; }
};

// e^(x - m) / sum, with the largest number m.
struct Softmax {
  template <class Values>
  KERNELS_NN_INLINE static void apply(Values& values) {
    const auto top = values.fold(reduction::Max::start<typename Values::number>(), Larger{});
    const auto total = values.replace_and_sum([&](auto x) { return fn::share(fn::sub(x, decltype(x)(top))); });
    const auto scale = fn::div(decltype(total)(1), total);
    values.replace([&](auto e) { return fn::mul(e, decltype(e)(scale)); });
  }
};

// x - m - log sum e^(x - m).
struct LogSoftmax {
  template <class Values>
  KERNELS_NN_INLINE static void apply(Values& values) {
    const auto top = values.fold(reduction::Max::start<typename Values::number>(), Larger{});
    const auto total = values.fold_sum([&](auto x) { return fn::share(fn::sub(x, decltype(x)(top))); });
    const auto shift = fn::log(total);
    values.replace([&](auto x) { return fn::sub(fn::sub(x, decltype(x)(top)), decltype(x)(shift)); });
  }
};

// x / norm; zero where the norm is zero.
template <int p>
struct Lp {
  template <class Values>
  KERNELS_NN_INLINE static void apply(Values& values) {
    const auto total = values.fold_sum([](auto x) {
      if constexpr (p == 1) return fn::abs(x);
      else return fn::mul(x, x);
    });
    auto norm = total;
    if constexpr (p == 2) norm = fn::sqrt(total);
    using V = decltype(norm);
    // Zeros divided by infinity stay zero.
    const V zero(0), divisor = fn::where(fn::equal(norm, zero), V(std::numeric_limits<typename Values::number>::infinity()), norm);
    values.replace([&](auto x) { return fn::div(x, decltype(x)(divisor)); });
  }
};

// The elements of one set, in a row, read from `from` until they are replaced.
template <class T>
struct VectorRow {
  using number = T;
  static constexpr std::int64_t L = vec<T>::lanes;
  const T* from;
  std::int64_t n;
  T* to;

  template <class F>
  KERNELS_NN_INLINE T fold(T start, const F& f) const {
    vec<T> part(start), other(start);
    std::int64_t i = 0;
    for (; i + 2 * L <= n; i += 2 * L) {
      part = f(part, vec<T>::load(from + i));
      other = f(other, vec<T>::load(from + i + L));
    }
    for (; i + L <= n; i += L) part = f(part, vec<T>::load(from + i));
    if (i < n) other = select(first_lanes<T>(n - i), f(other, vec<T>::load(from + i, n - i)), other);
    return across(f(part, other), f);
  }
  template <class F>
  KERNELS_NN_INLINE T fold_sum(const F& f) const {
    vec<T> total(T(0));
    std::int64_t i = 0;
    for (; i + L <= n; i += L) total = total + f(vec<T>::load(from + i));
    if (i < n) total = total + select(first_lanes<T>(n - i), f(vec<T>::load(from + i, n - i)), vec<T>(T(0)));
    return across(total, reduction::Adding{});
  }
  template <class F>
  KERNELS_NN_INLINE T replace_and_sum(const F& f) {
    vec<T> total(T(0));
    std::int64_t i = 0;
    for (; i + L <= n; i += L) {
      const vec<T> y = f(vec<T>::load(from + i));
      y.store(to + i);
      total = total + y;
    }
    if (i < n) {
      const vec<T> y = f(vec<T>::load(from + i, n - i));
      y.store(to + i, n - i);
      total = total + select(first_lanes<T>(n - i), y, vec<T>(T(0)));
    }
    from = to;
    return across(total, reduction::Adding{});
  }
  template <class F>
  KERNELS_NN_INLINE void replace(const F& f) {
    std::int64_t i = 0;
    for (; i + L <= n; i += L) f(vec<T>::load(from + i)).store(to + i);
    if (i < n) f(vec<T>::load(from + i, n - i)).store(to + i, n - i);
    from = to;
  }
};

// Sets that stand side by side, as many as a vector has lanes or fewer.
template <class T>
struct VectorColumns {
  using number = T;
  const T* from;
  std::int64_t n, pitch, width;
  T* to;

  KERNELS_NN_INLINE vec<T> get(std::int64_t i) const {
    return width == vec<T>::lanes ? vec<T>::load(from + i * pitch) : vec<T>::load(from + i * pitch, width);
  }
  KERNELS_NN_INLINE void put(std::int64_t i, vec<T> x) const {
    if (width == vec<T>::lanes) x.store(to + i * pitch);
    else x.store(to + i * pitch, width);
  }
  template <class F>
  KERNELS_NN_INLINE vec<T> fold(T start, const F& f) const {
    vec<T> result(start);
    for (std::int64_t i = 0; i < n; ++i) result = f(result, get(i));
    return result;
  }
  template <class F>
  KERNELS_NN_INLINE vec<T> fold_sum(const F& f) const {
    vec<T> result(T(0));
    for (std::int64_t i = 0; i < n; ++i) result = result + f(get(i));
    return result;
  }
  template <class F>
  KERNELS_NN_INLINE vec<T> replace_and_sum(const F& f) {
    vec<T> result(T(0));
    for (std::int64_t i = 0; i < n; ++i) {
      const vec<T> y = f(get(i));
      put(i, y);
      result = result + y;
    }
    from = to;
    return result;
  }
  template <class F>
  KERNELS_NN_INLINE void replace(const F& f) {
    for (std::int64_t i = 0; i < n; ++i) put(i, f(get(i)));
    from = to;
  }
};

// One set of numbers that are computed in float: what replaces them is rounded once, so numbers in between are computed anew.
template <class T>
struct Scalars {
  using number = computed_t<T>;
  const T* from;
  std::int64_t n, pitch;
  T* to;

  template <class F>
  number fold(number start, const F& f) const {
    for (std::int64_t i = 0; i < n; ++i) start = f(start, static_cast<number>(from[i * pitch]));
    return start;
  }
  template <class F>
  number fold_sum(const F& f) const {
    number result(0);
    for (std::int64_t i = 0; i < n; ++i) result += f(static_cast<number>(from[i * pitch]));
    return result;
  }
  template <class F>
  void replace(const F& f) {
    for (std::int64_t i = 0; i < n; ++i) to[i * pitch] = static_cast<T>(f(static_cast<number>(from[i * pitch])));
  }
};

}  // namespace normalizing

// softmax<normalizing::Softmax>(...), and the others.
template <class Op, class T>
inline void normalize(const T* from, std::int64_t outer, std::int64_t n, std::int64_t inner, T* to) {
  for (std::int64_t i = 0; i < outer; ++i, from += n * inner, to += n * inner) {
    if constexpr (!std::is_floating_point<T>::value) {
      for (std::int64_t j = 0; j < inner; ++j) {
        normalizing::Scalars<T> values{from + j, n, inner, to + j};
        if constexpr (std::is_same<Op, normalizing::Softmax>::value) {
          // Each step is rounded, as in ONNX's definition, whose body is one node a step.
          const auto rounded = [](float x) { return static_cast<float>(static_cast<T>(x)); };
          const float top = values.fold(reduction::Max::start<float>(), normalizing::Larger{});
          const auto exponential = [&](float x) { return rounded(fn::exp(rounded(x - top))); };
          const float total = rounded(values.fold_sum(exponential));
          values.replace([&](float x) { return exponential(x) / total; });
        } else {
          Op::apply(values);
        }
      }
    } else if (inner == 1) {
      normalizing::VectorRow<T> values{from, n, to};
      Op::apply(values);
    } else {
      constexpr std::int64_t L = vec<T>::lanes;
      for (std::int64_t j = 0; j < inner; j += L) {
        normalizing::VectorColumns<T> values{from + j, n, inner, smaller(L, inner - j), to + j};
        Op::apply(values);
      }
    }
  }
}

// One where the first of the largest elements stands, zero elsewhere.
template <class T>
inline void hardmax(const T* from, std::int64_t outer, std::int64_t n, std::int64_t inner, T* to) {
  fill(to, outer * n * inner, T(0));
  for (std::int64_t i = 0; i < outer; ++i) {
    for (std::int64_t j = 0; n > 0 && j < inner; ++j) {
      const T* x = from + i * n * inner + j;
      std::int64_t best = 0;
      for (std::int64_t k = 1; k < n; ++k) {
        if (static_cast<computed_t<T>>(x[k * inner]) > static_cast<computed_t<T>>(x[best * inner])) best = k;
      }
      to[(i * n + best) * inner + j] = T(1);
    }
  }
}

}  // namespace nn
}  // namespace kernels
