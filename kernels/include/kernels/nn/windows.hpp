// Windows that slide over the spatial axes of a tensor: what convolutions and poolings walk along.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/nn/tensor.hpp"

namespace kernels {
namespace nn {

// Window o of an axis begins at o * stride - before and has `kernel` taps, `dilation` apart. Taps may lie outside the input.
template <std::size_t D>
struct Windows {
  using Sizes = std::array<std::int64_t, D>;
  Sizes in, kernel, out, strides, dilations, before;

  std::int64_t start(std::size_t axis, std::int64_t o) const { return o * strides[axis] - before[axis]; }
};

template <std::size_t D>
inline Windows<D> windows(const std::array<std::int64_t, D>& in, const std::array<std::int64_t, D>& kernel, const std::array<std::int64_t, D>& out,
                          const std::array<std::int64_t, D>& strides, const std::array<std::int64_t, D>& dilations,
                          const std::array<std::int64_t, D>& before) {
  return {in, kernel, out, strides, dilations, before};
}

struct Range {
  std::int64_t first, last;
};

// All i in [0, count) with 0 <= start + i * step < size; step is positive.
inline Range inside(std::int64_t start, std::int64_t step, std::int64_t count, std::int64_t size) {
  const std::int64_t first = start < 0 ? (-start + step - 1) / step : 0;
  const std::int64_t last = start >= size ? 0 : smaller(count, (size - 1 - start) / step + 1);
  return {first, larger(first, last)};
}

// The taps of window o that lie inside the input.
template <std::size_t D>
inline Range taps(const Windows<D>& w, std::size_t axis, std::int64_t o) {
  return inside(w.start(axis, o), w.dilations[axis], w.kernel[axis], w.in[axis]);
}
// The windows whose tap k lies inside the input.
template <std::size_t D>
inline Range reach(const Windows<D>& w, std::size_t axis, std::int64_t k) {
  return inside(k * w.dilations[axis] - w.before[axis], w.strides[axis], w.out[axis], w.in[axis]);
}

// The taps of window o that an average is taken of: those inside the input, or (`padded`) also those in its padding.
template <std::size_t D>
inline std::int64_t counted_taps(const Windows<D>& w, const std::array<std::int64_t, D>& after, bool padded, std::size_t axis, std::int64_t o) {
  const Range range = padded ? inside(w.start(axis, o) + w.before[axis], w.dilations[axis], w.kernel[axis], w.in[axis] + w.before[axis] + after[axis])
                             : taps(w, axis, o);
  return range.last - range.first;
}

// The number of rows along the last axis.
template <std::size_t D>
inline std::int64_t n_rows(const std::array<std::int64_t, D>& shape) {
  std::int64_t result = 1;
  for (std::size_t axis = 0; axis + 1 < D; ++axis) result *= shape[axis];
  return result;
}

// Moves on to the next place of an array, row by row of the first N axes.
template <std::size_t N, std::size_t D>
inline void advance(std::array<std::int64_t, D>& at, const std::array<std::int64_t, D>& shape) {
  for (std::size_t axis = N; axis-- > 0;) {
    if (++at[axis] < shape[axis]) return;
    at[axis] = 0;
  }
}

// Calls f(row of the kernel, row of the input) for every row of taps inside the input, of the row of windows at `at`.
template <std::size_t axis = 0, std::size_t D, class F>
inline void each_row(const Windows<D>& w, const std::array<std::int64_t, D>& at, const F& f, std::int64_t kernel_row = 0,
                     std::int64_t input_row = 0) {
  if constexpr (axis + 1 >= D) {
    f(kernel_row, input_row);
  } else {
    const Range range = taps(w, axis, at[axis]);
    for (std::int64_t k = range.first; k < range.last; ++k) {
      const std::int64_t i = w.start(axis, at[axis]) + k * w.dilations[axis];
      each_row<axis + 1>(w, at, f, kernel_row * w.kernel[axis] + k, input_row * w.in[axis] + i);
    }
  }
}

// The same for a transposed convolution, where input i reaches the outputs that window i has here: `w.out` are the sizes of the
// input, `w.in` those of the output, and `at` is a place of the output. Calls f(row of the kernel, row of the input).
template <std::size_t axis = 0, std::size_t D, class F>
inline void each_source_row(const Windows<D>& w, const std::array<std::int64_t, D>& at, const F& f, std::int64_t kernel_row = 0,
                            std::int64_t input_row = 0) {
  if constexpr (axis + 1 >= D) {
    f(kernel_row, input_row);
  } else {
    for (std::int64_t k = 0; k < w.kernel[axis]; ++k) {
      const std::int64_t distance = at[axis] + w.before[axis] - k * w.dilations[axis];
      if (distance < 0 || distance % w.strides[axis] != 0 || distance / w.strides[axis] >= w.out[axis]) continue;
      each_source_row<axis + 1>(w, at, f, kernel_row * w.kernel[axis] + k, input_row * w.out[axis] + distance / w.strides[axis]);
    }
  }
}

}  // namespace nn
}  // namespace kernels
