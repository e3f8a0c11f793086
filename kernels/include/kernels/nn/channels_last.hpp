// Convolutions and poolings of tensors whose channels come last: (batch, spatial..., channels).
//
// A convolution is a matrix product whose rows are read where they lie: the row of a window is made of a few *runs* of neighbouring
// numbers, one for each line of the kernel, and the rows of neighbouring windows are a fixed number of elements apart. Weights are packed as
// those of a matrix product (`gemm.hpp`) over (taps, input channels), and sums run in that order. Padding is copied around the images first.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/nn/gemm.hpp"
#include "kernels/nn/windows.hpp"

namespace kernels {
namespace nn {

// ---- padding

template <std::size_t axis, std::size_t D, class T>
inline void pad_axis(const std::array<std::int64_t, D>& in, const std::array<std::int64_t, D>& before, const std::array<std::int64_t, D>& whole,
                     std::int64_t channels, const T*& x, T*& to) {
  std::int64_t step = channels;
  for (std::size_t inner = axis + 1; inner < D; ++inner) step *= whole[inner];
  const auto zeros = [&](std::int64_t count) {
    std::memset(to, 0, static_cast<std::size_t>(count * step) * sizeof(T));
    to += count * step;
  };
  if (before[axis] > 0) zeros(before[axis]);
  if constexpr (axis + 1 == D) {
    std::memcpy(to, x, static_cast<std::size_t>(in[axis] * channels) * sizeof(T));
    x += in[axis] * channels;
    to += in[axis] * channels;
  } else {
    for (std::int64_t i = 0; i < in[axis]; ++i) pad_axis<axis + 1>(in, before, whole, channels, x, to);
  }
  const std::int64_t after = whole[axis] - in[axis] - before[axis];
  if (after > 0) zeros(after);
}

// Images of the shape (in, channels) with zeros around them: (whole, channels).
template <std::size_t D, class T>
inline void pad(std::int64_t images, const std::array<std::int64_t, D>& in, const std::array<std::int64_t, D>& before,
                const std::array<std::int64_t, D>& whole, std::int64_t channels, const T* x, T* to) {
  for (std::int64_t n = 0; n < images; ++n) pad_axis<0>(in, before, whole, channels, x, to);
}

// ---- convolution

// How the row of a window is read: `runs` of `length` neighbours begin at these places; `pixel` elements on is the next window of a line.
template <class Pixel, class Length, std::size_t S>
struct Runs {
  Pixel pixel;
  Length length;
  std::array<std::int64_t, S> starts;
};

// The runs of a kernel over images of the shape (whole, channels), of whose channels `own` are read. Taps that lie side by side are one run.
template <std::size_t S, bool joined, std::size_t D, class Pixel, class Length>
inline Runs<Pixel, Length, S> runs(const Windows<D>& w, std::int64_t channels, Pixel pixel, Length length) {
  Runs<Pixel, Length, S> result{pixel, length, {}};
  typename Windows<D>::Sizes shape = w.kernel, at{};
  if (joined) shape[D - 1] = 1;
  for (std::size_t s = 0; s < S; ++s, advance<D>(at, shape)) {
    std::int64_t place = 0;
    for (std::size_t axis = 0; axis < D; ++axis) place = place * w.in[axis] + at[axis] * w.dilations[axis];
    result.starts[s] = place * channels;
  }
  return result;
}

// R lines of P windows, `line` elements apart, times NV vectors of output channels.
template <int R, int P, int NV, class T, class Row, class Line, class Epilogue>
KERNELS_NN_INLINE void window_tile(const Row& row, Line line, const T* __restrict a, const T* __restrict b, std::int64_t k, std::int64_t m,
                                   std::int64_t n, const Epilogue& epilogue) {
  constexpr int VB = block_vectors<T>;
  vec<T> acc[R * P][NV];
  KERNELS_NN_UNROLL for (int i = 0; i < R * P; ++i) KERNELS_NN_UNROLL for (int v = 0; v < NV; ++v) acc[i][v] = vec<T>(0);
  const std::int64_t length = row.length;
#pragma GCC unroll 1
  for (const std::int64_t start : row.starts) {
    const T* from = a + start;
#pragma GCC unroll 1
    for (std::int64_t l = 0; l < length; ++l, ++from, b += block_columns) {
      vec<T> weights[NV];
      KERNELS_NN_UNROLL for (int v = 0; v < NV; ++v) weights[v] = vec<T>::load(b + (v / VB) * k * block_columns + (v % VB) * vec<T>::lanes);
      KERNELS_NN_UNROLL for (int r = 0; r < R; ++r) {
        KERNELS_NN_UNROLL for (int p = 0; p < P; ++p) {
          const vec<T> x(from[r * line + p * row.pixel]);
          KERNELS_NN_UNROLL for (int v = 0; v < NV; ++v) acc[r * P + p][v] = fma(x, weights[v], acc[r * P + p][v]);
        }
      }
    }
  }
  epilogue(acc, m, n);
}

// Lines that a tile takes in, where whole lines fit.
constexpr std::int64_t lines_of_tile(std::int64_t width, int nv) { return width > 0 && 2 * width <= most_rows(nv) ? most_rows(nv) / width : 1; }

// All windows of a plane, times NV vectors of output channels from n on.
template <int NV, class Width, class Lines, class Row, class Line, class T, class Epilogue>
KERNELS_NN_INLINE void column_of_windows(Width width, Lines lines, const Row& row, Line line, const T* a, const T* b, std::int64_t k,
                                         std::int64_t m, std::int64_t n, const Epilogue& epilogue) {
  constexpr int most = most_rows(NV);
  if constexpr (is_fixed_v<Width> && is_fixed_v<Lines> && lines_of_tile(Width{}, NV) > 1) {
    constexpr int P = static_cast<int>(Width::value);
    constexpr Parts p = in_parts(Lines::value, lines_of_tile(P, NV));
    const auto go = [&](auto rows, std::int64_t count) __attribute__((always_inline)) {
      constexpr int R = static_cast<int>(decltype(rows)::value);
      for (std::int64_t i = 0; i < count; ++i, a += R * line, m += R * P) window_tile<R, P, NV>(row, line, a, b, k, m, n, epilogue);
    };
    if constexpr (p.large > 0) go(fixed<p.size + 1>{}, p.large);
    if constexpr (p.size > 0) go(fixed<p.size>{}, p.parts - p.large);
  } else {
    for (std::int64_t y = 0; y < lines; ++y, a += line) {
      const T* from = a;
      const auto go = [&](auto columns) __attribute__((always_inline)) {
        constexpr int P = static_cast<int>(decltype(columns)::value);
        window_tile<1, P, NV>(row, fixed<0>{}, from, b, k, m, n, epilogue);
        from += P * row.pixel;
        m += P;
      };
      if constexpr (is_fixed_v<Width>) {
        constexpr Parts p = in_parts(Width::value, most);
        if constexpr (p.large > 0) for (std::int64_t i = 0; i < p.large; ++i) go(fixed<p.size + 1>{});
        if constexpr (p.size > 0) for (std::int64_t i = p.large; i < p.parts; ++i) go(fixed<p.size>{});
      } else {
        std::int64_t x = 0;
        for (; x + most <= width; x += most) go(fixed<most>{});
        if constexpr (most > 4) for (; x + 4 <= width; x += 4) go(fixed<4>{});
        if constexpr (most > 2) for (; x + 2 <= width; x += 2) go(fixed<2>{});
        for (; x < width; ++x) go(fixed<1>{});
      }
    }
  }
}

#ifdef KERNELS_NN_LIBRARY

// The same by a library: the runs of some windows are copied into rows, which it multiplies. `line`, `image` and `step` count elements.
template <std::size_t D, class Row, class T, class Epilogue>
__attribute__((noinline)) void conv_library(const Windows<D>& w, std::int64_t images, std::int64_t image, const typename Windows<D>::Sizes& step,
                                            std::int64_t columns, std::int64_t depth, const Row& row, const T* x, const T* b,
                                            const Epilogue epilogue) {
  const std::int64_t width = w.out[D - 1], lines = n_rows(w.out), all = images * lines * width;
  T* const weights = library_room<0, T>(columns * depth);
  unpack(b, depth, columns, block_columns, weights);
  constexpr std::int64_t at_once = 256;
  T* const rows = library_room<1, T>(at_once * depth);
  std::int64_t held = 0, done = 0;
  for (std::int64_t n = 0; n < images; ++n) {
    typename Windows<D>::Sizes at{};
    for (std::int64_t i = 0; i < lines; ++i, advance<D - 1>(at, w.out)) {
      const T* from = x + n * image;
      for (std::size_t axis = 0; axis + 1 < D; ++axis) from += at[axis] * step[axis];
      for (std::int64_t column = 0; column < width; ++column, from += row.pixel) {
        T* to = rows + held * depth;
        const std::int64_t length = row.length;
        for (const std::int64_t start : row.starts) {
          std::memcpy(to, from + start, sizeof(T) * static_cast<std::size_t>(length));
          to += length;
        }
        if (++held < at_once && done + held < all) continue;
        library_rows(done, held, columns, depth, rows, depth, weights, epilogue);
        done += held;
        held = 0;
      }
    }
  }
}

#endif

// Convolution of padded images: `w.in` are their sizes, `channels` those of a pixel of which `row` reads some. The result has lines of
// `width` windows, `lines` of them in a plane; the epilogue gets every tile once.
template <std::size_t D, class Width, class Lines, class N, class K, class Row, class T, class Epilogue>
__attribute__((noinline)) void conv_last(const Windows<D>& w, std::int64_t images, std::int64_t channels, Width width, Lines lines, N columns,
                                         K depth, const Row& row, const T* __restrict x, const T* __restrict b, const Epilogue epilogue) {
  constexpr int L = vec<T>::lanes, VB = block_vectors<T>;
  typename Windows<D>::Sizes step;  // of a window along each axis, in elements
  std::int64_t image = channels;
  for (std::size_t axis = D; axis-- > 0; image *= w.in[axis]) step[axis] = image * w.strides[axis];
#ifdef KERNELS_NN_LIBRARY
  if constexpr (has_library<T>) {
    if (library_gains(images * product(w.out), columns, depth)) return conv_library(w, images, image, step, columns, depth, row, x, b, epilogue);
  }
#endif
  std::int64_t planes = 1;
  if constexpr (D > 2) planes = n_rows(w.out) / larger(w.out[D - 2], 1);
  constexpr int NV = [] {
    if constexpr (is_fixed_v<N>) {
      constexpr std::int64_t all = (N::value + L - 1) / L;
      if constexpr (is_fixed_v<Width>) return best_vectors(Width::value, all);
      else return best_vectors(192, all);
    } else {
      return vector_registers == 32 ? 4 : 2;
    }
  }();
  // Tiles begin at a block's start, or hold vectors of one block only.
  constexpr int W = NV >= VB ? NV / VB * VB : NV >= 2 ? 2 : 1;
  const std::int64_t k = depth, vectors = (columns + L - 1) / L;
  const std::int64_t line = D > 1 ? step[D > 1 ? D - 2 : 0] : 0;
  const auto all_windows = [&](auto nv, std::int64_t v) __attribute__((always_inline)) {
    const T* const weights = b + v * L / block_columns * k * block_columns + v * L % block_columns;
    std::int64_t m = 0;
    for (std::int64_t n = 0; n < images; ++n) {
      typename Windows<D>::Sizes at{};
      for (std::int64_t plane = 0; plane < planes; ++plane, m += lines * width) {
        const T* from = x + n * image;
        if constexpr (D > 2) {
          for (std::size_t axis = 0; axis + 2 < D; ++axis) from += at[axis] * step[axis];
        }
        column_of_windows<decltype(nv)::value>(width, lines, row, line, from, weights, k, m, v * L, epilogue);
        if constexpr (D > 2) advance<D - 2>(at, w.out);
      }
    }
  };
  std::int64_t v = 0;
  for (; v + W <= vectors; v += W) all_windows(fixed<W>{}, v);
  if constexpr (is_fixed_v<N>) {
    constexpr int rest = static_cast<int>(((N::value + L - 1) / L) % W);
    if constexpr (rest > 0) all_windows(fixed<rest>{}, v);
  } else {
    for (; v < vectors; ++v) all_windows(fixed<1>{}, v);
  }
}

// Convolution of each channel with a kernel of its own: weights stand as (taps, channels).
template <std::size_t S, std::size_t D, class T, class Epilogue>
__attribute__((noinline)) void depthwise_last(const Windows<D>& w, std::int64_t images, std::int64_t channels, const T* __restrict x,
                                              const T* __restrict weights, const Epilogue epilogue) {
  constexpr int L = vec<T>::lanes, P = 4;
  const auto places = runs<S, false>(w, channels, channels, channels).starts;
  typename Windows<D>::Sizes step;
  std::int64_t image = channels;
  for (std::size_t axis = D; axis-- > 0; image *= w.in[axis]) step[axis] = image * w.strides[axis];
  const std::int64_t width = w.out[D - 1], rows = n_rows(w.out);
  std::int64_t m = 0;
  for (std::int64_t n = 0; n < images; ++n) {
    typename Windows<D>::Sizes at{};
    for (std::int64_t r = 0; r < rows; ++r, advance<D - 1>(at, w.out)) {
      const T* line = x + n * image;
      for (std::size_t axis = 0; axis + 1 < D; ++axis) line += at[axis] * step[axis];
      const auto go = [&](auto count, std::int64_t first, std::int64_t c, auto load) __attribute__((always_inline)) {
        constexpr int N = static_cast<int>(decltype(count)::value);
        vec<T> acc[N][1];
        KERNELS_NN_UNROLL for (int p = 0; p < N; ++p) acc[p][0] = vec<T>(0);
        const T* const from = line + first * step[D - 1] + c;
#pragma GCC unroll 1
        for (std::size_t s = 0; s < S; ++s) {
          const vec<T> weight = load(weights + static_cast<std::int64_t>(s) * channels + c);
          KERNELS_NN_UNROLL for (int p = 0; p < N; ++p) acc[p][0] = fma(load(from + places[s] + p * step[D - 1]), weight, acc[p][0]);
        }
        epilogue(acc, m + first, c);
      };
      for (std::int64_t c = 0; c < channels; c += L) {
        const std::int64_t left = channels - c;
        const auto line_of = [&](auto load) __attribute__((always_inline)) {
          std::int64_t first = 0;
          for (; first + P <= width; first += P) go(fixed<P>{}, first, c, load);
          for (; first < width; ++first) go(fixed<1>{}, first, c, load);
        };
        if (left >= L) line_of([](const T* p) __attribute__((always_inline)) { return vec<T>::load(p); });
        else line_of([left](const T* p) __attribute__((always_inline)) { return vec<T>::load(p, left); });
      }
      m += width;
    }
  }
}

// ---- pooling

// A number of each window and channel: finish(f(...f(first, tap)..., tap), at), taps outside the images left out.
template <std::size_t S, std::size_t D, class T, class F, class Finish>
inline void pool_last(const Windows<D>& w, std::int64_t images, std::int64_t channels, const T* __restrict x, T* __restrict y, T first, const F& f,
                      const Finish& finish) {
  constexpr int L = vec<T>::lanes;
  constexpr std::size_t last = D - 1;
  const auto places = runs<S, false>(w, channels, channels, channels).starts;
  const std::int64_t image = product(w.in) * channels, lines = n_rows(w.out);
  // Windows of a line all whose taps lie inside, as far as this axis tells.
  const auto whole = [&](std::size_t axis, std::int64_t o) {
    return w.start(axis, o) >= 0 && w.start(axis, o) + (w.kernel[axis] - 1) * w.dilations[axis] < w.in[axis];
  };
  const auto all_channels = [&](const auto& sum_of, const auto& at) __attribute__((always_inline)) {
    std::int64_t c = 0;
    for (; c + L <= channels; c += L) {
      finish(sum_of(c, [](const T* p) __attribute__((always_inline)) { return vec<T>::load(p); }), at).store(y + c);
    }
    const std::int64_t left = channels - c;
    if (left > 0) finish(sum_of(c, [left](const T* p) __attribute__((always_inline)) { return vec<T>::load(p, left); }), at).store(y + c, left);
    y += channels;
  };
  for (std::int64_t n = 0; n < images; ++n, x += image) {
    typename Windows<D>::Sizes at{};
    for (std::int64_t line = 0; line < lines; ++line, advance<last>(at, w.out)) {
      bool lies_inside = true;
      std::int64_t row = 0;
      for (std::size_t axis = 0; axis < last; ++axis) {
        lies_inside = lies_inside && whole(axis, at[axis]);
        row = row * w.in[axis] + w.start(axis, at[axis]);
      }
      for (at[last] = 0; at[last] < w.out[last]; ++at[last]) {
        if (lies_inside && whole(last, at[last])) {
          const T* const from = x + (row * w.in[last] + w.start(last, at[last])) * channels;
          all_channels([&](std::int64_t c, const auto& load) __attribute__((always_inline)) {
            vec<T> sum(first);
            KERNELS_NN_UNROLL for (std::size_t s = 0; s < S; ++s) sum = f(sum, load(from + places[s] + c));
            return sum;
          }, at);
        } else {
          const T* tap[S];
          std::size_t count = 0;
          typename Windows<D>::Sizes k{};
          for (std::size_t s = 0; s < S; ++s, advance<D>(k, w.kernel)) {
            std::int64_t place = 0;
            bool is_inside = true;
            for (std::size_t axis = 0; axis < D; ++axis) {
              const std::int64_t i = w.start(axis, at[axis]) + k[axis] * w.dilations[axis];
              is_inside = is_inside && i >= 0 && i < w.in[axis];
              place = place * w.in[axis] + i;
            }
            if (is_inside) tap[count++] = x + place * channels;
          }
          all_channels([&](std::int64_t c, const auto& load) __attribute__((always_inline)) {
            vec<T> sum(first);
            for (std::size_t s = 0; s < count; ++s) sum = f(sum, load(tap[s] + c));
            return sum;
          }, at);
        }
      }
      at[last] = 0;
    }
  }
}

template <std::size_t S, std::size_t D, class T>
inline void max_pool_last(const Windows<D>& w, std::int64_t images, std::int64_t channels, const T* x, T* y) {
  pool_last<S>(
      w, images, channels, x, y, -std::numeric_limits<T>::infinity(), [](auto a, auto b) { return fn::max(a, b); },
      [](auto sum, const auto&) { return sum; });
}

template <std::size_t S, std::size_t D, class T>
inline void average_pool_last(const Windows<D>& w, const std::array<std::int64_t, D>& after, bool padded, std::int64_t images,
                              std::int64_t channels, const T* x, T* y) {
  pool_last<S>(
      w, images, channels, x, y, T(0), [](auto a, auto b) { return a + b; },
      [&](auto sum, const auto& at) {
        std::int64_t count = 1;
        for (std::size_t axis = 0; axis < D; ++axis) count *= counted_taps(w, after, padded, axis, at[axis]);
        return sum / vec<T>(static_cast<T>(count));
      });
}

}  // namespace nn
}  // namespace kernels
