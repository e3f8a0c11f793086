// Poolings of any rank: maxima, averages and p-norms of windows, of whole planes, and of regions.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/nn/functions.hpp"
#include "kernels/nn/sums.hpp"
#include "kernels/nn/types.hpp"
#include "kernels/nn/windows.hpp"

namespace kernels {
namespace nn {

// What no number of a type is below.
template <class R>
constexpr R lowest() {
  return std::numeric_limits<R>::has_infinity ? -std::numeric_limits<R>::infinity() : std::numeric_limits<R>::lowest();
}

// For every row of windows: starts with `first`, takes in f(sum, element) tap by tap, and calls finish(place, row, at).
template <std::size_t D, class T, class F, class Finish>
inline void pool(const Windows<D>& w, std::int64_t planes, const T* x, computed_t<T> first, const F& f, const Finish& finish,
                 computed_t<T>* row) {
  constexpr std::size_t last = D - 1;
  const std::int64_t plane = product(w.in), rows = n_rows(w.out), width = w.out[last];
  for (std::int64_t p = 0; p < planes; ++p) {
    typename Windows<D>::Sizes at{};
    for (std::int64_t r = 0; r < rows; ++r, advance<last>(at, w.out)) {
      fill(row, width, first);
      each_row(w, at, [&](std::int64_t, std::int64_t input_row) {
        for (std::int64_t k = 0; k < w.kernel[last]; ++k) {
          const Range range = reach(w, last, k);
          const std::int64_t step = w.strides[last], offset = k * w.dilations[last] - w.before[last];
          const T* const from = x + p * plane + input_row * w.in[last];
          if (step == 1) {
            for (std::int64_t o = range.first; o < range.last; ++o) row[o] = f(row[o], static_cast<computed_t<T>>(from[o + offset]));
          } else {
            for (std::int64_t o = range.first; o < range.last; ++o) row[o] = f(row[o], static_cast<computed_t<T>>(from[o * step + offset]));
          }
        }
      });
      finish((p * rows + r) * width, row, at);
    }
  }
}

template <std::size_t D, class T>
inline void max_pool(const Windows<D>& w, std::int64_t planes, const T* x, T* y, computed_t<T>* row) {
  using R = computed_t<T>;
  pool(
      w, planes, x, lowest<R>(), [](R a, R b) { return fn::max(a, b); },
      [&](std::int64_t place, const R* from, const auto&) {
        for (std::int64_t o = 0; o < w.out[D - 1]; ++o) y[place + o] = static_cast<T>(from[o]);
      },
      row);
}

// Maxima and where they stand in the whole tensor, the first of equal ones; -1 for windows that lie outside. Places within a plane are
// counted along the last axis first, or (`column_major`) along the first.
template <std::size_t D, class T>
inline void max_pool_indices(const Windows<D>& w, std::int64_t planes, bool column_major, const T* x, T* y, std::int64_t* indices) {
  using R = computed_t<T>;
  const std::int64_t plane = product(w.in), places = product(w.out), all = product(w.kernel);
  for (std::int64_t p = 0; p < planes; ++p) {
    typename Windows<D>::Sizes at{};
    for (std::int64_t o = 0; o < places; ++o, advance<D>(at, w.out)) {
      R best = lowest<R>();
      std::int64_t found = -1;
      typename Windows<D>::Sizes tap{};
      for (std::int64_t k = 0; k < all; ++k, advance<D>(tap, w.kernel)) {
        std::int64_t index = 0, counted = 0, step = 1;
        bool is_inside = true;
        for (std::size_t axis = 0; axis < D; ++axis) {
          const std::int64_t i = w.start(axis, at[axis]) + tap[axis] * w.dilations[axis];
          is_inside = is_inside && i >= 0 && i < w.in[axis];
          index = index * w.in[axis] + i;
          counted += i * step;
          step *= w.in[axis];
        }
        if (!is_inside) continue;
        const R value = static_cast<R>(x[p * plane + index]);
        if (found < 0 || value > best || (fn::is_nan(value) && !fn::is_nan(best))) {
          best = value;
          found = column_major ? counted : index;
        }
      }
      y[p * places + o] = static_cast<T>(best);
      indices[p * places + o] = found < 0 ? -1 : p * plane + found;
    }
  }
}

template <std::size_t D, class T>
inline void average_pool(const Windows<D>& w, const std::array<std::int64_t, D>& after, bool padded, std::int64_t planes, const T* x, T* y,
                         computed_t<T>* row) {
  using R = computed_t<T>;
  pool(
      w, planes, x, R(0), [](R a, R b) { return a + b; },
      [&](std::int64_t place, const R* from, const auto& at) {
        std::int64_t count = 1;
        for (std::size_t axis = 0; axis + 1 < D; ++axis) count *= counted_taps(w, after, padded, axis, at[axis]);
        for (std::int64_t o = 0; o < w.out[D - 1]; ++o) {
          y[place + o] = static_cast<T>(from[o] / static_cast<R>(count * counted_taps(w, after, padded, D - 1, o)));
        }
      },
      row);
}

// |a|^p, and the root of sums of such.
template <class R>
inline R to_power(R a, R p) {
  return p == R(2) ? a * a : p == R(1) ? std::fabs(a) : std::pow(std::fabs(a), p);
}
template <class R>
inline R root_of(R a, R p) {
  return p == R(2) ? std::sqrt(a) : p == R(1) ? a : std::pow(a, R(1) / p);
}

template <std::size_t D, class T>
inline void lp_pool(const Windows<D>& w, computed_t<T> p, std::int64_t planes, const T* x, T* y, computed_t<T>* row) {
  using R = computed_t<T>;
  pool(
      w, planes, x, R(0), [p](R a, R b) { return a + to_power(b, p); },
      [&](std::int64_t place, const R* from, const auto&) {
        for (std::int64_t o = 0; o < w.out[D - 1]; ++o) y[place + o] = static_cast<T>(root_of(from[o], p));
      },
      row);
}

// Whole planes of n elements.
template <class T>
inline void global_max_pool(std::int64_t planes, std::int64_t n, const T* x, T* y) {
  using R = computed_t<T>;
  for (std::int64_t p = 0; p < planes; ++p) {
    R best = lowest<R>();
    for (std::int64_t i = 0; i < n; ++i) best = fn::max(best, static_cast<R>(x[p * n + i]));
    y[p] = static_cast<T>(best);
  }
}
template <class T>
inline void global_average_pool(std::int64_t planes, std::int64_t n, const T* x, T* y) {
  using R = computed_t<T>;
  for (std::int64_t p = 0; p < planes; ++p) {
    y[p] = static_cast<T>(sum_of<R>(n, [&](std::int64_t i) { return static_cast<R>(x[p * n + i]); }) / static_cast<R>(n));
  }
}
template <class T>
inline void global_lp_pool(std::int64_t planes, std::int64_t n, computed_t<T> power, const T* x, T* y) {
  using R = computed_t<T>;
  for (std::int64_t p = 0; p < planes; ++p) {
    y[p] = static_cast<T>(root_of(sum_of<R>(n, [&](std::int64_t i) { return to_power(static_cast<R>(x[p * n + i]), power); }), power));
  }
}

// Elements put back to where maxima stood: `indices` count the elements of a tensor of the shape `inner`, which stands at the
// beginning of every axis of y, of the shape `outer`.
template <std::size_t R, class T>
inline void max_unpool(const std::array<std::int64_t, R>& inner, const std::array<std::int64_t, R>& outer, std::int64_t n, const T* x,
                       const std::int64_t* indices, T* y) {
  const std::int64_t all = product(inner);
  fill(y, product(outer), T(computed_t<T>(0)));
  for (std::int64_t i = 0; i < n; ++i) {
    std::int64_t rest = indices[i], place = 0, step = 1;
    require(rest >= 0 && rest < all, "MaxUnpool is given an index outside its output");
    for (std::size_t axis = R; axis-- > 0;) {
      place += rest % inner[axis] * step;
      rest /= inner[axis];
      step *= outer[axis];
    }
    y[place] = x[i];
  }
}

inline std::int64_t image_of(std::int64_t image, std::int64_t batch) {
  require(image >= 0 && image < batch, "a region is of an image that is not in the batch");
  return image;
}

// A number as an index into [0, size]: what is below or above, or no number, becomes the nearest.
template <class R>
inline std::int64_t clipped_index(R x, std::int64_t size) {
  return x >= static_cast<R>(size) ? size : x > R(0) ? static_cast<std::int64_t>(x) : 0;
}

// Maxima of the parts of regions: rois are (image, x1, y1, x2, y2), whole numbers after scaling, both ends included. Girshick,
// arXiv:1504.08083, Sec. 2.1. An empty part is 0.
template <class T>
inline void max_roi_pool(std::int64_t batch, std::int64_t channels, std::int64_t height, std::int64_t width, std::int64_t n_rois,
                         std::int64_t rows, std::int64_t columns, computed_t<T> scale, const T* x, const T* rois, T* y) {
  using R = computed_t<T>;
  for (std::int64_t roi = 0; roi < n_rois; ++roi) {
    const T* const box = rois + roi * 5;
    const R number = static_cast<R>(box[0]);
    require(number >= 0 && number < static_cast<R>(batch), "a region is of an image that is not in the batch");
    const std::int64_t image = image_of(static_cast<std::int64_t>(number), batch);
    const R left = std::round(static_cast<R>(box[1]) * scale), top = std::round(static_cast<R>(box[2]) * scale);
    const R right = std::round(static_cast<R>(box[3]) * scale), bottom = std::round(static_cast<R>(box[4]) * scale);
    const R part_height = fn::max(bottom - top + R(1), R(1)) / static_cast<R>(rows);
    const R part_width = fn::max(right - left + R(1), R(1)) / static_cast<R>(columns);
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      const T* const plane = x + (image * channels + channel) * height * width;
      T* const to = y + (roi * channels + channel) * rows * columns;
      for (std::int64_t r = 0; r < rows; ++r) {
        const std::int64_t first_row = clipped_index(top + std::floor(static_cast<R>(r) * part_height), height);
        const std::int64_t last_row = clipped_index(top + std::ceil(static_cast<R>(r + 1) * part_height), height);
        for (std::int64_t c = 0; c < columns; ++c) {
          const std::int64_t first = clipped_index(left + std::floor(static_cast<R>(c) * part_width), width);
          const std::int64_t last = clipped_index(left + std::ceil(static_cast<R>(c + 1) * part_width), width);
          R best = first_row < last_row && first < last ? lowest<R>() : R(0);
          for (std::int64_t i = first_row; i < last_row; ++i) {
            for (std::int64_t j = first; j < last; ++j) best = fn::max(best, static_cast<R>(plane[i * width + j]));
          }
          to[r * columns + c] = static_cast<T>(best);
        }
      }
    }
  }
}

// A place between four elements of a plane, which is held inside; `weight` is 0 for all of them far outside.
template <class R>
struct Corners {
  std::int64_t index[4];
  R weight[4];
};
template <class R>
inline Corners<R> corners(R y, R x, std::int64_t height, std::int64_t width) {
  Corners<R> c{};
  if (!(y >= R(-1) && y <= static_cast<R>(height) && x >= R(-1) && x <= static_cast<R>(width)) || height == 0 || width == 0) return c;
  y = fn::max(y, R(0));
  x = fn::max(x, R(0));
  std::int64_t top = static_cast<std::int64_t>(y), left = static_cast<std::int64_t>(x), bottom = top + 1, right = left + 1;
  if (top >= height - 1) {
    top = bottom = height - 1;
    y = static_cast<R>(top);
  }
  if (left >= width - 1) {
    left = right = width - 1;
    x = static_cast<R>(left);
  }
  const R down = y - static_cast<R>(top), over = x - static_cast<R>(left);
  const std::int64_t index[4] = {top * width + left, top * width + right, bottom * width + left, bottom * width + right};
  const R weight[4] = {(1 - down) * (1 - over), (1 - down) * over, down * (1 - over), down * over};
  for (int i = 0; i < 4; ++i) c.index[i] = index[i], c.weight[i] = weight[i];
  return c;
}

// Averages or maxima of samples between the elements of regions, (x1, y1, x2, y2). He et al., arXiv:1703.06870, Sec. 3. `shift` is the
// distance of an element's centre from its index. The maximum is of the weighted elements around all samples, by ONNX's definition.
template <class T>
inline void roi_align(std::int64_t batch, std::int64_t channels, std::int64_t height, std::int64_t width, std::int64_t n_rois,
                      std::int64_t rows, std::int64_t columns, std::int64_t sampling, computed_t<T> scale, computed_t<T> shift, bool at_least_one,
                      bool maximum, const T* x, const T* rois, const std::int64_t* images, T* y) {
  using R = computed_t<T>;
  constexpr R most = 16384;
  for (std::int64_t roi = 0; roi < n_rois; ++roi) {
    const std::int64_t image = image_of(images[roi], batch);
    const T* const box = rois + roi * 4;
    const R left = static_cast<R>(box[0]) * scale - shift, top = static_cast<R>(box[1]) * scale - shift;
    R region_width = static_cast<R>(box[2]) * scale - shift - left, region_height = static_cast<R>(box[3]) * scale - shift - top;
    if (at_least_one) {
      region_width = fn::max(region_width, R(1));
      region_height = fn::max(region_height, R(1));
    }
    const R part_height = region_height / static_cast<R>(rows), part_width = region_width / static_cast<R>(columns);
    require(part_height <= most && part_width <= most, "a region takes too many samples, or its corners are no numbers");
    const std::int64_t down = sampling > 0 ? sampling : static_cast<std::int64_t>(std::ceil(fn::max(part_height, R(0))));
    const std::int64_t over = sampling > 0 ? sampling : static_cast<std::int64_t>(std::ceil(fn::max(part_width, R(0))));
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < columns; ++c) {
        for (std::int64_t channel = 0; channel < channels; ++channel) {
          const T* const plane = x + (image * channels + channel) * height * width;
          R total = 0;
          bool first = true;
          for (std::int64_t i = 0; i < down; ++i) {
            const R sample_y = top + static_cast<R>(r) * part_height + (static_cast<R>(i) + R(0.5)) * part_height / static_cast<R>(down);
            for (std::int64_t j = 0; j < over; ++j) {
              const R sample_x = left + static_cast<R>(c) * part_width + (static_cast<R>(j) + R(0.5)) * part_width / static_cast<R>(over);
              const Corners<R> near = corners(sample_y, sample_x, height, width);
              R value[4] = {};
              if (height > 0 && width > 0) {
                for (int k = 0; k < 4; ++k) value[k] = near.weight[k] * static_cast<R>(plane[near.index[k]]);
              }
              if (maximum) {
                const R best = fn::max(fn::max(value[0], value[1]), fn::max(value[2], value[3]));
                total = first ? best : fn::max(total, best);
                first = false;
              } else {
                total += value[0] + value[1] + value[2] + value[3];
              }
            }
          }
          if (!maximum) total /= static_cast<R>(larger(down * over, 1));
          y[((roi * channels + channel) * rows + r) * columns + c] = static_cast<T>(total);
        }
      }
    }
  }
}

}  // namespace nn
}  // namespace kernels
