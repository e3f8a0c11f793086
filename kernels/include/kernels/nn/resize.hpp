// Resampling: Resize and Upsample, axis by axis; GridSample at places that are given; AffineGrid.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/nn/functions.hpp"
#include "kernels/nn/types.hpp"

namespace kernels {
namespace nn {

// ---- sizes

// How one axis is resized: its sizes, the factor between them, and the part of the input (from 0 to 1) that is cut out.
struct ResizedAxis {
  std::int64_t in, out;
  double scale;
  float start, end;
};

template <std::size_t R>
using ResizedAxes = std::array<ResizedAxis, R>;

template <std::size_t R>
inline ResizedAxes<R> resized_axes(const std::array<std::int64_t, R>& shape) {
  ResizedAxes<R> result;
  for (std::size_t axis = 0; axis < R; ++axis) result[axis] = {shape[axis], shape[axis], 1.0, 0.0f, 1.0f};
  return result;
}

// A number rounded down to a size.
inline std::int64_t floored_size(float x) {
  require(x >= 0 && x < 9.0e15f, "Resize is given a scale that makes no size");
  return static_cast<std::int64_t>(x);
}

// Cuts out a part of each named axis: n starts, then n ends.
template <std::size_t R, class T, std::size_t N>
inline void crop_axes(ResizedAxes<R>& axes, const T* roi, const std::array<std::int64_t, N>& named) {
  for (std::size_t i = 0; i < N; ++i) {
    ResizedAxis& axis = axes[static_cast<std::size_t>(named[i])];
    axis.start = static_cast<float>(roi[i]);
    axis.end = static_cast<float>(roi[N + i]);
  }
}
// Sizes from scales: floor(in * (end - start) * scale).
template <std::size_t R, std::size_t N>
inline void scale_axes(ResizedAxes<R>& axes, const float* scales, const std::array<std::int64_t, N>& named) {
  for (std::size_t i = 0; i < N; ++i) {
    ResizedAxis& axis = axes[static_cast<std::size_t>(named[i])];
    require(scales[i] > 0, "Resize is given a scale that is not positive");
    axis.scale = scales[i];
    axis.out = floored_size(static_cast<float>(axis.in) * (axis.end - axis.start) * scales[i]);
  }
}
// Scales from sizes. policy 0 takes the sizes as they are; 1 and 2 keep the ratio of the axes, with no size above (1) or below (2)
// those that are asked for.
template <std::size_t R, std::size_t N>
inline void size_axes(ResizedAxes<R>& axes, const std::int64_t* sizes, const std::array<std::int64_t, N>& named, int policy) {
  double common = policy == 1 ? std::numeric_limits<double>::infinity() : 0;
  for (std::size_t i = 0; i < N; ++i) {
    ResizedAxis& axis = axes[static_cast<std::size_t>(named[i])];
    require(sizes[i] >= 0, "Resize is given a negative size");
    require(axis.in > 0 || sizes[i] == 0, "Resize makes something of nothing");
    const double scale = axis.in == 0 ? 1 : static_cast<double>(sizes[i]) / static_cast<double>(axis.in);
    axis.out = sizes[i];
    axis.scale = scale;
    common = policy == 1 ? (scale < common ? scale : common) : (scale > common ? scale : common);
  }
  if (policy == 0) return;
  for (std::size_t i = 0; i < N; ++i) {
    ResizedAxis& axis = axes[static_cast<std::size_t>(named[i])];
    axis.scale = common;
    axis.out = floored_size(static_cast<float>(std::floor(common * static_cast<double>(axis.in) + 0.5)));
  }
}

// ---- coordinates

enum class Coordinates { half_pixel, half_pixel_symmetric, pytorch_half_pixel, align_corners, asymmetric, tf_crop_and_resize };
enum class Nearest { round_prefer_floor, round_prefer_ceil, floor, ceil };

// Where output element o of an axis stands among its input elements.
template <class R>
inline R source_of(const ResizedAxis& axis, Coordinates mode, std::int64_t o) {
  const R x = static_cast<R>(o), in = static_cast<R>(axis.in), out = static_cast<R>(axis.out), scale = static_cast<R>(axis.scale);
  switch (mode) {
    case Coordinates::half_pixel:
      return (x + R(0.5)) / scale - R(0.5);
    case Coordinates::half_pixel_symmetric:
      return in / R(2) * (R(1) - out / (scale * in)) + (x + R(0.5)) / scale - R(0.5);
    case Coordinates::pytorch_half_pixel:
      return axis.out > 1 ? (x + R(0.5)) / scale - R(0.5) : R(0);
    case Coordinates::align_corners: {
      // The length is what the scale says, before it is rounded down.
      const R length = scale * in;
      return axis.out <= 1 || length == R(1) ? R(0) : x * (in - R(1)) / (length - R(1));
    }
    case Coordinates::asymmetric:
      return x / scale;
    case Coordinates::tf_crop_and_resize:
      break;
  }
  const R start = static_cast<R>(axis.start), end = static_cast<R>(axis.end);
  return axis.out > 1 ? start * (in - R(1)) + x * (end - start) * (in - R(1)) / (out - R(1)) : R(0.5) * (start + end) * (in - R(1));
}

// A coordinate held where it is an index of 64 bits; what is no number is before everything.
template <class R>
inline R held(R x) {
  const R most = R(1) * static_cast<R>(std::int64_t(1) << 52);
  return x > -most ? (x < most ? x : most) : -most;
}
inline std::int64_t clamped(std::int64_t i, std::int64_t size) { return smaller(larger(i, 0), size - 1); }

// ---- nearest

// The input of each output of an axis; -1 where it lies outside, for tf_crop_and_resize.
template <class R>
inline void nearest_indices(const ResizedAxis& axis, Coordinates mode, Nearest rounding, std::int64_t* indices) {
  for (std::int64_t o = 0; o < axis.out; ++o) {
    const R x = held(source_of<R>(axis, mode, o));
    if (mode == Coordinates::tf_crop_and_resize && (x < R(0) || x > static_cast<R>(axis.in - 1))) {
      indices[o] = -1;
      continue;
    }
    R near = std::floor(x);
    switch (rounding) {
      case Nearest::round_prefer_floor:
        near = std::ceil(x - R(0.5));
        break;
      case Nearest::round_prefer_ceil:
        near = std::floor(x + R(0.5));
        break;
      case Nearest::ceil:
        near = std::ceil(x);
        break;
      case Nearest::floor:
        break;
    }
    indices[o] = clamped(static_cast<std::int64_t>(near), axis.in);
  }
}

// y[o...] = x[indices of o...]; the tables of the axes stand one behind the other.
template <std::size_t axis = 0, std::size_t R, class T>
inline T* resize_nearest(const ResizedAxes<R>& axes, const std::int64_t* indices, const T* x, std::int64_t place, const T& outside, T* y) {
  const std::int64_t out = axes[axis].out;
  if constexpr (axis + 1 == R) {
    for (std::int64_t o = 0; o < out; ++o) y[o] = place < 0 || indices[o] < 0 ? outside : x[place + indices[o]];
    return y + out;
  } else {
    for (std::int64_t o = 0; o < out; ++o) {
      // A place is counted in rows of the axes that follow.
      const std::int64_t next = place < 0 || indices[o] < 0 ? -1 : (place + indices[o]) * axes[axis + 1].in;
      y = resize_nearest<axis + 1>(axes, indices + out, x, next, outside, y);
    }
    return y;
  }
}

// ---- linear and cubic

// How an axis is interpolated. `outside_counts` is false where only elements inside have weights.
struct Interpolation {
  Coordinates mode;
  bool cubic, antialias, outside_counts;
  double cubic_a, extrapolation;
};

// The weight of an element at a distance: a triangle, or Keys' cubic, IEEE Trans. ASSP 29 (1981) 1153, Eq. 4.
template <class R>
inline R filter(R distance, bool cubic, R a) {
  const R d = std::fabs(distance);
  if (!cubic) return d < R(1) ? R(1) - d : R(0);
  if (d <= R(1)) return ((a + R(2)) * d - (a + R(3))) * d * d + R(1);
  return d < R(2) ? ((a * d - R(5) * a) * d + R(8) * a) * d - R(4) * a : R(0);
}

// The elements that an output takes, from `first` on, with their weights.
struct Taps {
  std::int64_t first, count;
};
template <class R>
inline Taps taps_of(const ResizedAxis& axis, const Interpolation& how, R x, R* weights) {
  const R stretch = how.antialias ? std::fmin(static_cast<R>(axis.scale), R(1)) : R(1);
  const R reach = R(how.cubic ? 2 : 1) / stretch;
  require(reach < R(1 << 24), "Resize is given a scale that is too small");
  const std::int64_t from = static_cast<std::int64_t>(std::floor(x - reach)) + 1, to = static_cast<std::int64_t>(std::ceil(x + reach));
  const std::int64_t first = clamped(from, axis.in), last = clamped(to - 1, axis.in);
  for (std::int64_t i = first; i <= last; ++i) weights[i - first] = R(0);
  R total = 0;
  for (std::int64_t i = from; i < to; ++i) {
    if (!how.outside_counts && (i < 0 || i >= axis.in)) continue;
    const R weight = filter((static_cast<R>(i) - x) * stretch, how.cubic, static_cast<R>(how.cubic_a));
    weights[clamped(i, axis.in) - first] += weight;
    total += weight;
  }
  if (how.antialias || !how.outside_counts) {
    for (std::int64_t i = first; i <= last; ++i) weights[i - first] /= total;
  }
  return {first, last - first + 1};
}

// A computed number as an element: whole numbers are cut off, and held in their range.
template <class T, class R>
inline T as_element(R x) {
  if constexpr (std::is_same<T, bool>::value) {
    return x != R(0);
  } else if constexpr (std::is_integral<T>::value) {
    const R low = static_cast<R>(std::numeric_limits<T>::min()), high = static_cast<R>(std::numeric_limits<T>::max());
    return x >= high ? std::numeric_limits<T>::max() : x > low ? static_cast<T>(x) : std::numeric_limits<T>::min();
  } else {
    return static_cast<T>(x);
  }
}

// One axis of (outer, in, inner) is resized. `weights` has room for `in` numbers.
template <class R, class A, class B>
inline void resize_axis(std::int64_t outer, const ResizedAxis& axis, std::int64_t inner, const Interpolation& how, const A* x, B* y, R* weights) {
  for (std::int64_t o = 0; o < axis.out; ++o) {
    const R place = held(source_of<R>(axis, how.mode, o));
    const bool is_outside = how.mode == Coordinates::tf_crop_and_resize && !(place >= R(0) && place <= static_cast<R>(axis.in - 1));
    const Taps taps = is_outside ? Taps{0, 0} : taps_of(axis, how, place, weights);
    for (std::int64_t u = 0; u < outer; ++u) {
      B* const to = y + (u * axis.out + o) * inner;
      if (is_outside) {
        fill(to, inner, as_element<B>(static_cast<R>(how.extrapolation)));
        continue;
      }
      const A* const from = x + (u * axis.in + taps.first) * inner;
      if (taps.count == 2) {
        const R left = weights[0], right = weights[1];
        for (std::int64_t i = 0; i < inner; ++i) {
          to[i] = as_element<B>(left * static_cast<R>(static_cast<computed_t<A>>(from[i])) +
                                right * static_cast<R>(static_cast<computed_t<A>>(from[inner + i])));
        }
        continue;
      }
      for (std::int64_t i = 0; i < inner; ++i) {
        R sum = 0;
        for (std::int64_t k = 0; k < taps.count; ++k) sum += weights[k] * static_cast<R>(static_cast<computed_t<A>>(from[k * inner + i]));
        to[i] = as_element<B>(sum);
      }
    }
  }
}

// ---- sampling at places that are given

enum class Outside { zeros, border, reflection };
enum class Sampling { nearest, linear, cubic };

// A coordinate mirrored at the borders until it lies within.
template <class R>
inline R reflected(R x, R low, R high) {
  const R range = high - low;
  if (!(range > R(0))) return low;
  const R distance = std::fabs(x - low), rest = std::fmod(distance, range);
  return std::fmod(distance, R(2) * range) < range ? low + rest : high - rest;
}

// y[n, c, o...] = x[n, c] at grid[n, o...], whose last axis names the axes of x from the last to the first, from -1 to 1. `places`
// outputs are taken of each plane.
template <std::size_t D, class T, class G>
inline void grid_sample(std::int64_t batch, std::int64_t channels, const std::array<std::int64_t, D>& shape, std::int64_t places, Sampling mode,
                        Outside padding, bool align_corners, const T* x, const G* grid, T* y) {
  using R = std::conditional_t<std::is_same<G, double>::value || std::is_same<T, double>::value, double, float>;
  const std::int64_t plane = product(shape);
  const int width = mode == Sampling::nearest ? 1 : mode == Sampling::linear ? 2 : 4;
  for (std::int64_t n = 0; n < batch; ++n) {
    for (std::int64_t o = 0; o < places; ++o) {
      std::int64_t index[D][4];
      R weight[D][4];
      for (std::size_t axis = 0; axis < D; ++axis) {
        const std::int64_t size = shape[axis];
        const R given = static_cast<R>(static_cast<computed_t<G>>(grid[(n * places + o) * static_cast<std::int64_t>(D) + static_cast<std::int64_t>(D - 1 - axis)]));
        const R length = static_cast<R>(size), low = align_corners ? R(0) : R(-0.5), high = align_corners ? length - R(1) : length - R(0.5);
        R place = align_corners ? (given + R(1)) / R(2) * (length - R(1)) : ((given + R(1)) * length - R(1)) / R(2);
        if (mode == Sampling::nearest) place = std::nearbyint(place);
        if (place < low || place > high) {
          if (padding == Outside::border) place = fn::min(fn::max(place, R(0)), length - R(1));
          else if (padding == Outside::reflection) place = reflected(place, low, high);
        }
        place = held(place);
        const R below = std::floor(place), t = place - below;
        const std::int64_t first = static_cast<std::int64_t>(below) - (mode == Sampling::cubic ? 1 : 0);
        for (int k = 0; k < width; ++k) {
          std::int64_t i = first + k;
          if (i < 0 || i >= size) {
            if (padding == Outside::zeros || size == 0) i = -1;
            else if (padding == Outside::border) i = clamped(i, size);
            else i = clamped(static_cast<std::int64_t>(reflected(static_cast<R>(i), low, high)), size);
          }
          index[axis][k] = i;
          weight[axis][k] = mode == Sampling::nearest ? R(1) : filter(static_cast<R>(k - (mode == Sampling::cubic ? 1 : 0)) - t, mode == Sampling::cubic, R(-0.75));
        }
      }
      for (std::int64_t channel = 0; channel < channels; ++channel) {
        const T* const from = x + (n * channels + channel) * plane;
        R total = 0;
        T taken{};
        std::array<int, D> at{};
        for (bool more = true; more;) {
          R factor = 1;
          std::int64_t place = 0;
          for (std::size_t axis = 0; axis < D; ++axis) {
            factor *= weight[axis][at[axis]];
            place = place < 0 || index[axis][at[axis]] < 0 ? -1 : place * shape[axis] + index[axis][at[axis]];
          }
          if (place >= 0) {
            if (mode == Sampling::nearest) taken = from[place];
            else total += factor * static_cast<R>(static_cast<computed_t<T>>(from[place]));
          }
          more = false;
          for (std::size_t axis = D; axis-- > 0;) {
            if (++at[axis] < width) {
              more = true;
              break;
            }
            at[axis] = 0;
          }
        }
        y[(n * channels + channel) * places + o] = mode == Sampling::nearest ? taken : as_element<T>(total);
      }
    }
  }
}

// The places that an affine map gives each output of the shape `out`: y[n, o..., :] = theta[n] (o from -1 to 1, 1), the axes of o
// from the last to the first.
template <std::size_t D, class T>
inline void affine_grid(std::int64_t batch, const std::array<std::int64_t, D>& out, bool align_corners, const T* theta, T* y) {
  using R = computed_t<T>;
  const std::int64_t places = product(out);
  for (std::int64_t n = 0; n < batch; ++n) {
    std::array<std::int64_t, D> at{};
    for (std::int64_t o = 0; o < places; ++o) {
      std::array<R, D> place;
      for (std::size_t axis = 0; axis < D; ++axis) {
        const R i = static_cast<R>(at[D - 1 - axis]), size = static_cast<R>(out[D - 1 - axis]);
        place[axis] = align_corners ? (size > R(1) ? R(2) * i / (size - R(1)) - R(1) : R(0)) : (R(2) * i + R(1)) / size - R(1);
      }
      for (std::size_t row = 0; row < D; ++row) {
        const T* const factors = theta + (n * static_cast<std::int64_t>(D) + static_cast<std::int64_t>(row)) * static_cast<std::int64_t>(D + 1);
        R sum = static_cast<R>(factors[D]);
        for (std::size_t axis = 0; axis < D; ++axis) sum += static_cast<R>(factors[axis]) * place[axis];
        *y++ = static_cast<T>(sum);
      }
      for (std::size_t axis = D; axis-- > 0;) {
        if (++at[axis] < out[axis]) break;
        at[axis] = 0;
      }
    }
  }
}

}  // namespace nn
}  // namespace kernels
