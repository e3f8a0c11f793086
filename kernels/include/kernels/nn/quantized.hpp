// Quantised numbers: from and to real ones, products and convolutions of them.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels/nn/convolution.hpp"
#include "kernels/nn/functions.hpp"
#include "kernels/nn/types.hpp"

namespace kernels {
namespace nn {

// Which of the scales and zero points belongs to which element of a tensor, (outer, n, inner) around the axis of quantisation: one for all
// (axis_step and inner_step 0), one for each place of the axis (axis_step 1), or one for each block of them.
struct Granularity {
  std::int64_t outer, n, inner, block, outer_step, block_step, inner_step;
};

// Calls f(element, scale) for runs of inner elements: f(first element, first scale, how many, step of the scale).
template <class F>
inline void each_run(const Granularity& g, const F& f) {
  for (std::int64_t o = 0; o < g.outer; ++o) {
    for (std::int64_t i = 0; i < g.n; ++i) {
      f((o * g.n + i) * g.inner, o * g.outer_step + i / g.block * g.block_step, g.inner, g.inner_step);
    }
  }
}

// A number that went through a type of fewer bits.
template <class D, class R>
inline R through(R x) {
  if constexpr (std::is_same<D, R>::value) return x;
  else return static_cast<R>(static_cast<computed_t<D>>(static_cast<D>(x)));
}

// The whole number nearest to x, halves to the even neighbour, plus the zero point, held in a range. NaN gives the lowest.
template <class R>
inline R rounded_into(R x, R zero, R low, R high) {
  const R y = std::nearbyint(x) + zero;
  return y > low ? (y < high ? y : high) : low;
}

// y = round(x / scale) + zero, held in a range, for whole numbers. D is the type that quotients are rounded to; `zero` may be null.
template <class R, class D, class T, class S, class Y>
inline void quantize(const Granularity& g, const T* x, const S* scale, const Y* zero, R low, R high, Y* y) {
  each_run(g, [&](std::int64_t first, std::int64_t k, std::int64_t n, std::int64_t step) {
    for (std::int64_t i = 0; i < n; ++i, k += step) {
      const R quotient = through<D>(static_cast<R>(static_cast<computed_t<T>>(x[first + i])) / static_cast<R>(static_cast<computed_t<S>>(scale[k])));
      const R shift = zero == nullptr ? R(0) : static_cast<R>(static_cast<computed_t<Y>>(zero[k]));
      y[first + i] = static_cast<Y>(rounded_into(quotient, shift, low, high));
    }
  });
}
// The same for floating-point numbers of few bits: `encode` rounds to one.
template <class R, class D, class T, class S, class Y, class F>
inline void quantize_float(const Granularity& g, const T* x, const S* scale, const Y* zero, const F& encode, Y* y) {
  each_run(g, [&](std::int64_t first, std::int64_t k, std::int64_t n, std::int64_t step) {
    for (std::int64_t i = 0; i < n; ++i, k += step) {
      const R quotient = through<D>(static_cast<R>(static_cast<computed_t<T>>(x[first + i])) / static_cast<R>(static_cast<computed_t<S>>(scale[k])));
      const R shift = zero == nullptr ? R(0) : static_cast<R>(static_cast<computed_t<Y>>(zero[k]));
      y[first + i] = encode(static_cast<float>(quotient + shift));
    }
  });
}

// y = (x - zero) * scale; `zero` may be null.
template <class R, class T, class S, class Y>
inline void dequantize(const Granularity& g, const T* x, const S* scale, const T* zero, Y* y) {
  each_run(g, [&](std::int64_t first, std::int64_t k, std::int64_t n, std::int64_t step) {
    for (std::int64_t i = 0; i < n; ++i, k += step) {
      const R shift = zero == nullptr ? R(0) : static_cast<R>(static_cast<computed_t<T>>(zero[k]));
      const R value = static_cast<R>(static_cast<computed_t<T>>(x[first + i])) - shift;
      y[first + i] = static_cast<Y>(value * static_cast<R>(static_cast<computed_t<S>>(scale[k])));
    }
  });
}

// 8-bit numbers whose range is that of the tensor and zero, with the scale and zero point that give it.
inline void dynamic_quantize(std::int64_t n, const float* x, std::uint8_t* y, float* scale, std::uint8_t* zero) {
  float low = 0, high = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    low = fn::min(low, x[i]);
    high = fn::max(high, x[i]);
  }
  const float step = low == high ? 1.0f : (high - low) / 255.0f;
  const float shift = rounded_into(-low / step, 0.0f, 0.0f, 255.0f);
  *scale = step;
  *zero = static_cast<std::uint8_t>(shift);
  for (std::int64_t i = 0; i < n; ++i) y[i] = static_cast<std::uint8_t>(rounded_into(x[i] / step, shift, 0.0f, 255.0f));
}

// What stands for a zero point that is not there.
template <class T>
struct Lines {  // one number for all rows or columns (step 0), or one for each
  const T* data;
  std::int64_t step;
  computed_t<T> operator[](std::int64_t i) const { return data == nullptr ? computed_t<T>(0) : static_cast<computed_t<T>>(data[i * step]); }
};
template <class T>
inline Lines<T> lines(const T* data, std::int64_t step) {
  return {data, step};
}

// What products of quantised numbers are summed in: 32-bit whole numbers, or floats for floating-point ones.
template <class A, class B>
using quantized_sum = std::conditional_t<std::is_integral<A>::value && std::is_integral<B>::value, std::int32_t, float>;

// Calls finish(i, row) for each row of (a - a_zero) (b - b_zero), of row-major matrices; `row` has room for n sums.
template <class A, class B, class S, class Finish>
inline void matmul_quantized(std::int64_t m, std::int64_t k, std::int64_t n, const A* a, const B* b, Lines<A> a_zero, Lines<B> b_zero, S* row,
                             const Finish& finish) {
  for (std::int64_t i = 0; i < m; ++i) {
    fill(row, n, S(0));
    for (std::int64_t l = 0; l < k; ++l) {
      const S x = static_cast<S>(static_cast<S>(static_cast<computed_t<A>>(a[i * k + l])) - static_cast<S>(a_zero[i]));
      const B* const from = b + l * n;
      if (b_zero.step == 0) {
        const S zero = static_cast<S>(b_zero[0]);
        for (std::int64_t j = 0; j < n; ++j) row[j] = fn::add(row[j], fn::mul(x, static_cast<S>(static_cast<S>(static_cast<computed_t<B>>(from[j])) - zero)));
      } else {
        for (std::int64_t j = 0; j < n; ++j) {
          row[j] = fn::add(row[j], fn::mul(x, static_cast<S>(static_cast<S>(static_cast<computed_t<B>>(from[j])) - static_cast<S>(b_zero[j]))));
        }
      }
    }
    finish(i, row);
  }
}

template <class A, class B>
inline void matmul_integer(std::int64_t m, std::int64_t k, std::int64_t n, const A* a, const B* b, Lines<A> a_zero, Lines<B> b_zero, std::int32_t* y,
                           std::int32_t* row) {
  matmul_quantized(m, k, n, a, b, a_zero, b_zero, row, [&](std::int64_t i, const std::int32_t* from) { copy(from, n, y + i * n); });
}

// y = quantised (sums * a_scale * b_scale / y_scale + y_zero); `encode` makes an element of a number that has not been rounded.
template <class A, class B, class C, class S, class Sum, class F>
inline void qlinear_matmul(std::int64_t m, std::int64_t k, std::int64_t n, const A* a, const B* b, Lines<A> a_zero, Lines<B> b_zero, Lines<S> a_scale,
                           Lines<S> b_scale, const S* y_scale, const C* y_zero, const F& encode, C* y, Sum* row) {
  const float zero = static_cast<float>(static_cast<computed_t<C>>(*y_zero));
  matmul_quantized(m, k, n, a, b, a_zero, b_zero, row, [&](std::int64_t i, const Sum* from) {
    for (std::int64_t j = 0; j < n; ++j) {
      const S product = static_cast<S>(a_scale[i] * b_scale[j]);
      const S factor = static_cast<S>(static_cast<computed_t<S>>(product) / static_cast<computed_t<S>>(*y_scale));
      y[i * n + j] = encode(static_cast<float>(from[j]) * static_cast<float>(static_cast<computed_t<S>>(factor)), zero);
    }
  });
}

// The convolution of quantised numbers; `bias`, of sums, may be null.
template <std::size_t D, class X, class W, class Weight, class Y>
inline void qlinear_conv(const Windows<D>& w, const Channels& c, const X* x, const W* weights, Shifted read, const Weight& weight_of,
                         const float* x_scale, Lines<float> w_scale, const float* y_scale, const Y* y_zero, const std::int32_t* bias, Y* y,
                         std::int32_t* row) {
  const std::int64_t width = w.out[D - 1];
  const float zero = static_cast<float>(*y_zero);
  constexpr float low = std::numeric_limits<Y>::min(), high = std::numeric_limits<Y>::max();
  convolve<std::int32_t>(
      w, c, x, weights, read, weight_of, [&](std::int64_t channel, std::int32_t* to) { start_row(bias, channel, width, to); },
      [&](std::int64_t channel, std::int64_t place, const std::int32_t* from) {
        const float factor = *x_scale * w_scale[channel] / *y_scale;
        for (std::int64_t o = 0; o < width; ++o) {
          y[place + o] = static_cast<Y>(rounded_into(static_cast<float>(from[o]) * factor, zero, low, high));
        }
      },
      row);
}

}  // namespace nn
}  // namespace kernels
