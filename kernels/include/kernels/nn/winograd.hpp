// 3 x 3 convolutions of stride 1 by Winograd's minimal filtering F(2 x 2, 3 x 3): 16 multiplications for four outputs instead of 36.
// A. Lavin and S. Gray, arXiv:1509.09308, Eqs. 7-12.
//
// Tiles of 4 x 4 inputs become 16 numbers each (additions only), 16 matrix products with transformed weights run over channels, and
// additions turn every 16 sums into 2 x 2 outputs. Images are padded, with channels last. Rounding errors are those of a few more additions.
#pragma once

#include <cstdint>

#include "kernels/nn/channels_last.hpp"

namespace kernels {
namespace nn {

// B^T d B of a tile of inputs.
template <class T>
KERNELS_NN_INLINE void to_products(vec<T> (&d)[4][4]) {
  KERNELS_NN_UNROLL for (int i = 0; i < 4; ++i) {
    const vec<T> a = d[i][0] - d[i][2], b = d[i][1] + d[i][2], c = d[i][2] - d[i][1], e = d[i][1] - d[i][3];
    d[i][0] = a, d[i][1] = b, d[i][2] = c, d[i][3] = e;
  }
  KERNELS_NN_UNROLL for (int j = 0; j < 4; ++j) {
    const vec<T> a = d[0][j] - d[2][j], b = d[1][j] + d[2][j], c = d[2][j] - d[1][j], e = d[1][j] - d[3][j];
    d[0][j] = a, d[1][j] = b, d[2][j] = c, d[3][j] = e;
  }
}

// Channels of a tile's inputs from c on: 16 vectors, `apart` elements from each other.
template <class T, class Load, class Store>
KERNELS_NN_INLINE void tile_inputs(const T* from, std::int64_t line, std::int64_t channels, T* to, std::int64_t apart, const Load& load,
                                   const Store& store) {
  vec<T> d[4][4];
  KERNELS_NN_UNROLL for (int i = 0; i < 4; ++i) KERNELS_NN_UNROLL for (int j = 0; j < 4; ++j) d[i][j] = load(from + i * line + j * channels);
  to_products(d);
  KERNELS_NN_UNROLL for (int i = 0; i < 4; ++i) KERNELS_NN_UNROLL for (int j = 0; j < 4; ++j) store(d[i][j], to + (4 * i + j) * apart);
}

// Convolution of padded images whose sizes are even, in blocks of `tiles` tiles; `inputs` and `sums` have room for 16 numbers of each tile
// and channel, those of outputs filled up to whole blocks of columns. Weights stand as 16 packed matrices.
template <int tiles, class C, class N, class T, class Epilogue>
__attribute__((noinline)) void winograd(const Windows<2>& w, std::int64_t images, C channels, N columns, const T* __restrict x,
                                        const T* __restrict b, T* __restrict inputs, T* __restrict sums, const Epilogue epilogue) {
  constexpr int L = vec<T>::lanes;
  const std::int64_t padded = (columns + block_columns - 1) / block_columns * block_columns;
  const std::int64_t high = (w.out[0] + 1) / 2, wide = (w.out[1] + 1) / 2, line = w.in[1] * channels, all = images * high * wide;
  for (std::int64_t first = 0; first < all; first += tiles) {
    const std::int64_t count = smaller(tiles, all - first);
    for (std::int64_t t = 0; t < count; ++t) {
      const std::int64_t tile = first + t, image = tile / (high * wide), row = tile / wide % high, column = tile % wide;
      const T* const from = x + (image * w.in[0] + 2 * row) * line + 2 * column * channels;
      std::int64_t c = 0;
      for (; c + L <= channels; c += L) {
        tile_inputs(from + c, line, channels, inputs + t * channels + c, tiles * channels, [](const T* p) __attribute__((always_inline)) { return vec<T>::load(p); },
                    [](vec<T> v, T* p) __attribute__((always_inline)) { v.store(p); });
      }
      if (const std::int64_t left = channels - c; left > 0) {
        tile_inputs(from + c, line, channels, inputs + t * channels + c, tiles * channels,
                    [left](const T* p) __attribute__((always_inline)) { return vec<T>::load(p, left); },
                    [left](vec<T> v, T* p) __attribute__((always_inline)) { v.store(p, left); });
      }
    }
    // The last block may be short: its other rows are those of the block before, or zeros, and not read again.
    if (first == 0 && count < tiles) {
      for (std::int64_t i = 0; i < 16; ++i) fill(inputs + (i * tiles + count) * channels, (tiles - count) * channels, T(0));
    }
    for (std::int64_t i = 0; i < 16; ++i) {
      T* const to = sums + i * tiles * padded;
      linear<false>(fixed<tiles>{}, columns, channels, inputs + i * tiles * channels, channels, b + i * packed_size(channels, columns),
                    finish(to, padded, padded, [](auto sum) __attribute__((always_inline)) { return sum; }));
    }
    for (std::int64_t t = 0; t < count; ++t) {
      const std::int64_t tile = first + t, image = tile / (high * wide), y = tile / wide % high * 2, z = tile % wide * 2;
      const std::int64_t m = (image * w.out[0] + y) * w.out[1] + z;
      const bool has_right = z + 1 < w.out[1], has_below = y + 1 < w.out[0];
      for (std::int64_t n = 0; n < columns; n += L) {
        // A^T (sums) A
        vec<T> half[2][4], out[2][2][1];
        KERNELS_NN_UNROLL for (int j = 0; j < 4; ++j) {
          vec<T> s[4];
          KERNELS_NN_UNROLL for (int i = 0; i < 4; ++i) s[i] = vec<T>::load(sums + ((4 * i + j) * tiles + t) * padded + n);
          half[0][j] = s[0] + s[1] + s[2], half[1][j] = s[1] - s[2] - s[3];
        }
        KERNELS_NN_UNROLL for (int i = 0; i < 2; ++i) {
          out[i][0][0] = half[i][0] + half[i][1] + half[i][2], out[i][1][0] = half[i][1] - half[i][2] - half[i][3];
        }
        if (has_right) {
          epilogue(out[0], m, n);
          if (has_below) epilogue(out[1], m + w.out[1], n);
        } else {
          vec<T> one[1][1];
          one[0][0] = out[0][0][0];
          epilogue(one, m, n);
          one[0][0] = out[1][0][0];
          if (has_below) epilogue(one, m + w.out[1], n);
        }
      }
    }
  }
}

}  // namespace nn
}  // namespace kernels
