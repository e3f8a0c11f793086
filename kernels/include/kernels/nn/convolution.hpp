// Convolutions of any rank and element type, with groups, strides, dilations and padding: row by row of the output, so that
// the innermost loop runs over neighbours.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/nn/functions.hpp"
#include "kernels/nn/types.hpp"
#include "kernels/nn/windows.hpp"

namespace kernels {
namespace nn {

// An element as it is computed with, and one of a quantised tensor, whose zero point is taken off.
struct Plain {
  template <class T>
  computed_t<T> operator()(T x) const {
    return static_cast<computed_t<T>>(x);
  }
};
struct Shifted {
  std::int32_t zero;
  template <class T>
  std::int32_t operator()(T x) const {
    return static_cast<std::int32_t>(x) - zero;
  }
};

template <class T>
inline Shifted shifted(const T* zero) {
  return {static_cast<std::int32_t>(*zero)};
}
inline Shifted unshifted() { return {0}; }

// The zero points of the outputs' weights: one for all, or one for each output channel.
template <class T>
struct ZeroPoints {
  const T* zeros;
  std::int64_t step;
  Shifted operator()(std::int64_t channel) const { return {static_cast<std::int32_t>(zeros[channel * step])}; }
};
template <class T>
inline ZeroPoints<T> zero_points(const T* zeros, std::int64_t step) {
  return {zeros, step};
}
struct NoZeroPoints {
  Plain operator()(std::int64_t) const { return {}; }
};

// Sizes of a convolution besides those of its windows: batch, groups, channels of input and output in each group.
struct Channels {
  std::int64_t batch, groups, in, out;
};

// For every output row calls start(channel, row), adds the products of the taps, and calls finish(channel, place, row), where
// place counts output elements. `row` has room for the last axis of the output.
template <class Sum, std::size_t D, class X, class W, class Read, class Weight, class Start, class Finish>
inline void convolve(const Windows<D>& w, const Channels& c, const X* x, const W* weights, const Read& read, const Weight& weight_of,
                     const Start& start, const Finish& finish, Sum* row) {
  constexpr std::size_t last = D - 1;
  const std::int64_t plane = product(w.in), taps = product(w.kernel), rows = n_rows(w.out), width = w.out[last];
  for (std::int64_t n = 0; n < c.batch; ++n) {
    for (std::int64_t channel = 0; channel < c.groups * c.out; ++channel) {
      const X* const sources = x + (n * c.groups + channel / c.out) * c.in * plane;
      const W* const own = weights + channel * c.in * taps;
      const auto weight = weight_of(channel);
      typename Windows<D>::Sizes at{};
      for (std::int64_t r = 0; r < rows; ++r, advance<last>(at, w.out)) {
        start(channel, row);
        for (std::int64_t source = 0; source < c.in; ++source) {
          each_row(w, at, [&](std::int64_t kernel_row, std::int64_t input_row) {
            for (std::int64_t k = 0; k < w.kernel[last]; ++k) {
              const Sum factor = static_cast<Sum>(weight(own[source * taps + kernel_row * w.kernel[last] + k]));
              const Range range = reach(w, last, k);
              const std::int64_t step = w.strides[last];
              const X* from = sources + source * plane + input_row * w.in[last];
              const std::int64_t offset = k * w.dilations[last] - w.before[last];
              if (step == 1) {
                for (std::int64_t o = range.first; o < range.last; ++o) {
                  row[o] = fn::add(row[o], fn::mul(factor, static_cast<Sum>(read(from[o + offset]))));
                }
              } else {
                for (std::int64_t o = range.first; o < range.last; ++o) {
                  row[o] = fn::add(row[o], fn::mul(factor, static_cast<Sum>(read(from[o * step + offset]))));
                }
              }
            }
          });
        }
        finish(channel, ((n * c.groups * c.out + channel) * rows + r) * width, row);
      }
    }
  }
}

// A row of one number: the channel's bias, or zero.
template <class T, class Sum>
inline void start_row(const T* bias, std::int64_t channel, std::int64_t width, Sum* row) {
  const Sum value = bias == nullptr ? Sum(0) : static_cast<Sum>(static_cast<computed_t<T>>(bias[channel]));
  for (std::int64_t o = 0; o < width; ++o) row[o] = value;
}

// The convolution of floating-point numbers; `bias` may be null.
template <std::size_t D, class T>
inline void conv(const Windows<D>& w, const Channels& c, const T* x, const T* weights, const T* bias, T* y, computed_t<T>* row) {
  const std::int64_t width = w.out[D - 1];
  convolve<computed_t<T>>(
      w, c, x, weights, Plain{}, NoZeroPoints{}, [&](std::int64_t channel, auto* to) { start_row(bias, channel, width, to); },
      [&](std::int64_t, std::int64_t place, const auto* from) {
        for (std::int64_t o = 0; o < width; ++o) y[place + o] = static_cast<T>(from[o]);
      },
      row);
}

// The convolution of quantised numbers, as 32-bit sums.
template <std::size_t D, class X, class W, class Weight>
inline void conv_integer(const Windows<D>& w, const Channels& c, const X* x, const W* weights, Shifted read, const Weight& weight_of,
                         std::int32_t* y, std::int32_t* row) {
  const std::int64_t width = w.out[D - 1];
  convolve<std::int32_t>(
      w, c, x, weights, read, weight_of, [&](std::int64_t, auto* to) { fill(to, width, 0); },
      [&](std::int64_t, std::int64_t place, const auto* from) { copy(from, width, y + place); }, row);
}

// The transposed convolution: every input adds its multiple of the kernel to the output. `w` describes the convolution that it is
// the transpose of: w.in are the sizes of y, w.out those of x. Weights stand as (groups * in, out, kernel).
template <std::size_t D, class T>
inline void conv_transpose(const Windows<D>& w, const Channels& c, const T* x, const T* weights, const T* bias, T* y, computed_t<T>* row) {
  using Sum = computed_t<T>;
  constexpr std::size_t last = D - 1;
  const std::int64_t plane = product(w.out), taps = product(w.kernel), rows = n_rows(w.in), width = w.in[last];
  for (std::int64_t n = 0; n < c.batch; ++n) {
    for (std::int64_t channel = 0; channel < c.groups * c.out; ++channel) {
      const std::int64_t group = channel / c.out, own = channel % c.out;
      typename Windows<D>::Sizes at{};
      for (std::int64_t r = 0; r < rows; ++r, advance<last>(at, w.in)) {
        start_row(bias, channel, width, row);
        for (std::int64_t source = 0; source < c.in; ++source) {
          const T* const from = x + ((n * c.groups + group) * c.in + source) * plane;
          const T* const factors = weights + ((group * c.in + source) * c.out + own) * taps;
          each_source_row(w, at, [&](std::int64_t kernel_row, std::int64_t input_row) {
            for (std::int64_t k = 0; k < w.kernel[last]; ++k) {
              const Sum factor = static_cast<Sum>(factors[kernel_row * w.kernel[last] + k]);
              const Range range = reach(w, last, k);
              const T* const values = from + input_row * w.out[last];
              const std::int64_t step = w.strides[last], offset = k * w.dilations[last] - w.before[last];
              for (std::int64_t i = range.first; i < range.last; ++i) row[i * step + offset] += factor * static_cast<Sum>(values[i]);
            }
          });
        }
        T* const to = y + ((n * c.groups * c.out + channel) * rows + r) * width;
        for (std::int64_t o = 0; o < width; ++o) to[o] = static_cast<T>(row[o]);
      }
    }
  }
}

// The value between the elements of a plane, weighted by distance along each axis; elements outside are zero.
template <std::size_t D, class T>
inline computed_t<T> between(const T* plane, const std::array<std::int64_t, D>& shape, const std::array<computed_t<T>, D>& place) {
  using R = computed_t<T>;
  std::array<std::int64_t, D> corner;
  std::array<R, D> rest;
  for (std::size_t axis = 0; axis < D; ++axis) {
    // What is NaN or far outside fails this test, and would be no index.
    if (!(place[axis] > R(-1) && place[axis] < static_cast<R>(shape[axis]))) return R(0);
    const R below = std::floor(place[axis]);
    corner[axis] = static_cast<std::int64_t>(below);
    rest[axis] = place[axis] - below;
  }
  R sum = 0;
  for (std::size_t choice = 0; choice < (std::size_t(1) << D); ++choice) {
    R factor = 1;
    std::int64_t index = 0;
    bool is_inside = true;
    for (std::size_t axis = 0; axis < D; ++axis) {
      const bool upper = choice >> axis & 1;
      const std::int64_t i = corner[axis] + (upper ? 1 : 0);
      is_inside = is_inside && i >= 0 && i < shape[axis];
      factor *= upper ? rest[axis] : R(1) - rest[axis];
      index = index * shape[axis] + i;
    }
    if (is_inside && factor != R(0)) sum += factor * static_cast<R>(plane[index]);
  }
  return sum;
}

// A convolution whose taps are moved by offsets, (batch, offset groups * taps * D, out), and weighted by a mask,
// (batch, offset groups * taps, out), which may be null. Dai et al., arXiv:1703.06211, Eq. 2; Zhu et al., arXiv:1811.11168, Eq. 1.
template <std::size_t D, class T>
inline void deform_conv(const Windows<D>& w, const Channels& c, std::int64_t offset_groups, const T* x, const T* weights, const T* offsets,
                        const T* bias, const T* mask, T* y) {
  using R = computed_t<T>;
  const std::int64_t plane = product(w.in), taps = product(w.kernel), places = product(w.out), channels = c.groups * c.in;
  const std::int64_t per_offset = channels / offset_groups;
  for (std::int64_t n = 0; n < c.batch; ++n) {
    for (std::int64_t channel = 0; channel < c.groups * c.out; ++channel) {
      typename Windows<D>::Sizes at{};
      for (std::int64_t o = 0; o < places; ++o, advance<D>(at, w.out)) {
        R sum = bias == nullptr ? R(0) : static_cast<R>(bias[channel]);
        for (std::int64_t source = 0; source < c.in; ++source) {
          const std::int64_t from = channel / c.out * c.in + source, group = from / per_offset;
          typename Windows<D>::Sizes tap{};
          for (std::int64_t k = 0; k < taps; ++k, advance<D>(tap, w.kernel)) {
            const std::int64_t offset = (n * offset_groups + group) * taps + k;
            std::array<R, D> place;
            for (std::size_t axis = 0; axis < D; ++axis) {
              place[axis] = static_cast<R>(w.start(axis, at[axis]) + tap[axis] * w.dilations[axis]) +
                            static_cast<R>(offsets[(offset * static_cast<std::int64_t>(D) + static_cast<std::int64_t>(axis)) * places + o]);
            }
            R value = between(x + (n * channels + from) * plane, w.in, place) * static_cast<R>(weights[(channel * c.in + source) * taps + k]);
            if (mask != nullptr) value *= static_cast<R>(mask[offset * places + o]);
            sum += value;
          }
        }
        y[(n * c.groups * c.out + channel) * places + o] = static_cast<T>(sum);
      }
    }
  }
}

// Columns of windows added up to the images that they were taken from: columns stand as (batch, channels, taps, windows).
template <std::size_t D, class T>
inline void col2im(const Windows<D>& w, std::int64_t batch, std::int64_t channels, const T* columns, T* y, computed_t<T>* row) {
  constexpr std::size_t last = D - 1;
  const std::int64_t taps = product(w.kernel), places = product(w.out), rows = n_rows(w.in), width = w.in[last];
  for (std::int64_t image = 0; image < batch * channels; ++image) {
    typename Windows<D>::Sizes at{};
    for (std::int64_t r = 0; r < rows; ++r, advance<last>(at, w.in)) {
      fill(row, width, computed_t<T>(0));
      each_source_row(w, at, [&](std::int64_t kernel_row, std::int64_t input_row) {
        for (std::int64_t k = 0; k < w.kernel[last]; ++k) {
          const Range range = reach(w, last, k);
          const T* const from = columns + (image * taps + kernel_row * w.kernel[last] + k) * places + input_row * w.out[last];
          const std::int64_t step = w.strides[last], offset = k * w.dilations[last] - w.before[last];
          for (std::int64_t i = range.first; i < range.last; ++i) {
            auto& sum = row[i * step + offset];
            sum = fn::add(sum, static_cast<computed_t<T>>(from[i]));
          }
        }
      });
      T* const to = y + (image * rows + r) * width;
      for (std::int64_t o = 0; o < width; ++o) to[o] = static_cast<T>(row[o]);
    }
  }
}

// The number of windows along each axis, which have to be as many as there are columns.
template <std::size_t D>
inline std::array<std::int64_t, D> col2im_windows(const std::array<std::int64_t, D>& image, const std::array<std::int64_t, D>& kernel,
                                                  const std::array<std::int64_t, D>& strides, const std::array<std::int64_t, D>& dilations,
                                                  const std::array<std::int64_t, D>& padding, std::int64_t columns) {
  std::array<std::int64_t, D> out;
  std::int64_t count = 1;
  for (std::size_t axis = 0; axis < D; ++axis) {
    constexpr std::int64_t most = std::int64_t(1) << 31;
    require(image[axis] >= 0 && image[axis] < most && kernel[axis] > 0 && kernel[axis] < most, "Col2Im is given a size out of range");
    const std::int64_t free = image[axis] + padding[axis] - ((kernel[axis] - 1) * dilations[axis] + 1);
    require(free >= 0, "Col2Im has a block that is larger than its image");
    out[axis] = free / strides[axis] + 1;
    require(out[axis] <= larger(columns, 1), "Col2Im is given fewer columns than its image has windows");
    count *= out[axis];
    require(count <= columns, "Col2Im is given fewer columns than its image has windows");
  }
  require(count == columns, "Col2Im is given more columns than its image has windows");
  return out;
}

// A causal convolution of each channel with a kernel of its own. What stands before the input comes from `past`, (batch,
// channels, taps - 1), which may be null: zeros. `state` gets the last taps - 1 of past and input.
template <class T, class F>
inline void causal_conv(std::int64_t batch, std::int64_t channels, std::int64_t length, std::int64_t taps, const T* x, const T* weights,
                        const T* bias, const T* past, T* y, T* state, const F& activation) {
  using R = computed_t<T>;
  const std::int64_t before = taps - 1;
  for (std::int64_t n = 0; n < batch; ++n) {
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      const std::int64_t row = n * channels + channel;
      const auto at = [&](std::int64_t i) {
        if (i >= 0) return x[row * length + i];
        return past == nullptr ? T(R(0)) : past[row * before + before + i];
      };
      for (std::int64_t o = 0; o < length; ++o) {
        R sum = bias == nullptr ? R(0) : static_cast<R>(bias[channel]);
        for (std::int64_t k = 0; k < taps; ++k) sum += static_cast<R>(weights[channel * taps + k]) * static_cast<R>(at(o - before + k));
        y[row * length + o] = static_cast<T>(activation(sum));
      }
      if (state == nullptr) continue;
      for (std::int64_t i = 0; i < before; ++i) state[row * before + i] = at(length - before + i);
    }
  }
}

}  // namespace nn
}  // namespace kernels
