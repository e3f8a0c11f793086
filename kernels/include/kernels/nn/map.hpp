// Elementwise loops: one function over rows of numbers, some of which are the same number all along.
#pragma once

#include <cstdint>

#include "kernels/nn/types.hpp"

namespace kernels {
namespace nn {

template <class T>
struct Row {
  const T* data;
  computed_t<T> operator[](std::int64_t i) const { return static_cast<computed_t<T>>(data[i]); }
};
template <class T>
struct Same {
  computed_t<T> value;
  computed_t<T> operator[](std::int64_t) const { return value; }
};

template <class T>
inline Row<T> row(const T* data) {
  return {data};
}
template <class T>
inline Same<T> same(const T* data) {
  return {static_cast<computed_t<T>>(*data)};
}

// out[i] = f(operands[i]...)
template <class Out, class F, class... In>
inline void map(std::int64_t n, Out* out, const F& f, const In&... operands) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = static_cast<Out>(f(operands[i]...));
}

}  // namespace nn
}  // namespace kernels
