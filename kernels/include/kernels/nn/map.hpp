// Elementwise loops: one function over rows of numbers, some of which are the same number all along. Floats and doubles go through
// in vectors.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/nn/math.hpp"
#include "kernels/nn/types.hpp"

namespace kernels {
namespace nn {

// What a function in vectors of T is given for an operand: numbers of T as a vector, truths as a mask.
template <class T, class U>
using lanes_of = std::conditional_t<std::is_same<U, bool>::value, vmask<T>, vec<T>>;

template <class T>
struct Row {
  using element = T;
  const T* data;
  computed_t<T> operator[](std::int64_t i) const { return static_cast<computed_t<T>>(data[i]); }

  template <class V>
  KERNELS_NN_INLINE lanes_of<V, T> lanes(std::int64_t i) const {
    if constexpr (std::is_same<T, bool>::value) return truths<V>(data + i, vec<V>::lanes);
    else return vec<V>::load(data + i);
  }
  template <class V>
  KERNELS_NN_INLINE lanes_of<V, T> lanes(std::int64_t i, std::int64_t n) const {
    if constexpr (std::is_same<T, bool>::value) return truths<V>(data + i, n);
    else return vec<V>::load(data + i, n);
  }
  template <class V>
  KERNELS_NN_INLINE static vmask<V> truths(const bool* p, std::int64_t n) {
    vmask<V> m{};
    for (std::int64_t i = 0; i < n; ++i) m.v[i] = -static_cast<lane_int<V>>(p[i]);
    return m;
  }
};
template <class T>
struct Same {
  using element = T;
  computed_t<T> value;
  computed_t<T> operator[](std::int64_t) const { return value; }

  template <class V>
  KERNELS_NN_INLINE lanes_of<V, T> lanes(std::int64_t, std::int64_t = 0) const {
    if constexpr (std::is_same<T, bool>::value) return vmask<V>{-static_cast<lane_int<V>>(value) - typename vmask<V>::raw{}};
    else return vec<V>(value);
  }
};

template <class T>
inline Row<T> row(const T* data) {
  return {data};
}
template <class T>
inline Same<T> same(const T* data) {
  return {static_cast<computed_t<T>>(*data)};
}

// Whether a loop runs in vectors: results and operands of one type of floats, besides truths.
template <class Out, class... In>
inline constexpr bool in_vectors =
    std::is_floating_point<Out>::value && ((std::is_same<In, Out>::value || std::is_same<In, bool>::value) && ...);

// out[i] = f(operands[i]...)
template <class Out, class F, class... In>
inline void map(std::int64_t n, Out* out, const F& f, const In&... operands) {
  if constexpr (in_vectors<Out, typename In::element...>) {
    constexpr std::int64_t step = vec<Out>::lanes;
    std::int64_t i = 0;
    for (; i + step <= n; i += step) f(operands.template lanes<Out>(i)...).store(out + i);
    if (i < n) f(operands.template lanes<Out>(i, n - i)...).store(out + i, n - i);
  } else {
    for (std::int64_t i = 0; i < n; ++i) out[i] = static_cast<Out>(f(operands[i]...));
  }
}

}  // namespace nn
}  // namespace kernels
