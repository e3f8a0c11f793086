// Matrix products with packed weights: c[m, n] = finish(sum over k of a[m, k] b[k, n]).
//
// b is packed in blocks of 16 columns, [ceil(N / 16)][K][16], the last filled up with zeros: one layout for every target. A tile of MR rows
// and NV vectors of columns is summed in registers, k by k in order, and handed to a *finish*, which applies what follows (bias, activation,
// residual) and stores it: nothing is stored beyond column N. Sizes are `fixed<64>{}` or plain numbers; the tile is chosen by the
// compiler where they are fixed.
#pragma once

#include <cstdint>
#include <cstring>
#include <tuple>

#include "kernels/nn/blas.hpp"
#include "kernels/nn/math.hpp"
#include "kernels/nn/size.hpp"

namespace kernels {
namespace nn {

constexpr std::int64_t block_columns = 16;

// Elements of b[K, N] when it is packed.
constexpr std::int64_t packed_size(std::int64_t k, std::int64_t n) { return (n + block_columns - 1) / block_columns * block_columns * k; }

// Packs a matrix whose element (k, n) stands at k * row + n * column.
template <class T>
inline void pack(const T* b, std::int64_t k, std::int64_t n, std::int64_t row, std::int64_t column, T* to) {
  constexpr int L = vec<T>::lanes;
  for (std::int64_t block = 0; block < n; block += block_columns, to += k * block_columns) {
    for (std::int64_t first = 0; first < block_columns; first += L) {
      const T* const from = b + (block + first) * column;
      const std::int64_t width = n - block - first < L ? n - block - first : L;
      if (width == L && column == 1) {
        for (std::int64_t l = 0; l < k; ++l) vec<T>::load(from + l * row).store(to + l * block_columns + first);
      } else if (width == L && row == 1) {
        for (std::int64_t l = 0; l < k; l += L) {
          const std::int64_t depth = k - l < L ? k - l : L;
          vec<T> square[L];
          KERNELS_NN_UNROLL for (int j = 0; j < L; ++j) {
            const T* const line = from + l + j * column;
            square[j] = depth == L ? vec<T>::load(line) : vec<T>::load(line, depth);
          }
          transpose(square);
          KERNELS_NN_UNROLL for (int j = 0; j < L; ++j) {
            if (j < depth) square[j].store(to + (l + j) * block_columns + first);
          }
        }
      } else {
        for (std::int64_t l = 0; l < k; ++l) {
          for (std::int64_t j = 0; j < L; ++j) to[l * block_columns + first + j] = j < width ? from[l * row + j * column] : T(0);
        }
      }
    }
  }
}

// ---- finishing a tile

// Operands of a finish: how element (m, n) of the result finds its number.
template <class T, class Row>
struct Along {  // at m * row + n
  const T* data;
  Row row;
  KERNELS_NN_INLINE vec<T> at(std::int64_t m, std::int64_t n) const { return vec<T>::load(data + m * row + n); }
  KERNELS_NN_INLINE vec<T> at(std::int64_t m, std::int64_t n, std::int64_t width) const { return vec<T>::load(data + m * row + n, width); }
};
template <class T, class Row>
struct Each {  // at m * row, for all n
  const T* data;
  Row row;
  KERNELS_NN_INLINE vec<T> at(std::int64_t m, std::int64_t) const { return vec<T>(data[m * row]); }
  KERNELS_NN_INLINE vec<T> at(std::int64_t m, std::int64_t, std::int64_t) const { return vec<T>(data[m * row]); }
};
template <class T, class Row>
inline Along<T, Row> along(const T* data, Row row) {
  return {data, row};
}
template <class T, class Row>
inline Each<T, Row> each(const T* data, Row row) {
  return {data, row};
}

// Stores f(sum, operands...) at c[m * ldc + n].
template <class T, class Row, class N, class F, class... Operands>
struct Finish {
  T* c;
  Row ldc;
  N columns;
  F f;
  std::tuple<Operands...> operands;

  template <int MR, int NV>
  KERNELS_NN_INLINE void operator()(vec<T> (&acc)[MR][NV], std::int64_t m, std::int64_t n) const {
    // Copies, which no store can change: what they hold stays in registers.
    T* const to = c;
    const Row pitch = ldc;
    const N all = columns;
    const F after = f;
    std::apply([&](auto... operand) __attribute__((always_inline)) {
      KERNELS_NN_UNROLL for (int v = 0; v < NV; ++v) {
        const std::int64_t column = n + v * vec<T>::lanes, width = all - column;
        if (only_whole_vectors() || width >= vec<T>::lanes) {
          KERNELS_NN_UNROLL for (int r = 0; r < MR; ++r) after(acc[r][v], operand.at(m + r, column)...).store(to + (m + r) * pitch + column);
        } else if (width > 0) {
          KERNELS_NN_UNROLL for (int r = 0; r < MR; ++r) {
            after(acc[r][v], operand.at(m + r, column, width)...).store(to + (m + r) * pitch + column, width);
          }
        }
      }
    }, operands);
  }

 private:
  // A tile may reach to the end of a block of columns.
  static constexpr bool only_whole_vectors() {
    if constexpr (is_fixed_v<N>) return N::value % block_columns == 0;
    else return false;
  }
};
template <class T, class Row, class N, class F, class... Operands>
inline Finish<T, Row, N, F, Operands...> finish(T* c, Row ldc, N columns, F f, Operands... operands) {
  return {c, ldc, columns, f, {operands...}};
}

// ---- tiles

template <class T>
constexpr int block_vectors = static_cast<int>(block_columns) / vec<T>::lanes;

// MR rows, lda apart, times NV vectors of columns.
template <int MR, int NV, class T, class Epilogue>
KERNELS_NN_INLINE void tile(const T* __restrict a, std::int64_t lda, const T* __restrict b, std::int64_t k, std::int64_t m, std::int64_t n,
                            const Epilogue& epilogue) {
  constexpr int VB = block_vectors<T>;
  vec<T> acc[MR][NV];
  KERNELS_NN_UNROLL for (int r = 0; r < MR; ++r) KERNELS_NN_UNROLL for (int v = 0; v < NV; ++v) acc[r][v] = vec<T>(0);
#pragma GCC unroll 1
  for (std::int64_t l = 0; l < k; ++l) {
    vec<T> row[NV];
    KERNELS_NN_UNROLL for (int v = 0; v < NV; ++v) {
      row[v] = vec<T>::load(b + l * block_columns + (v / VB) * k * block_columns + (v % VB) * vec<T>::lanes);
    }
    KERNELS_NN_UNROLL for (int r = 0; r < MR; ++r) {
      const vec<T> x(a[r * lda + l]);
      KERNELS_NN_UNROLL for (int v = 0; v < NV; ++v) acc[r][v] = fma(x, row[v], acc[r][v]);
    }
  }
  epilogue(acc, m, n);
}

// One row: the products of every column are summed in this many parts, k by k in turn, so that additions need not wait for each other. As many
// whatever the tile, and joined in the order of narrow_tile below: equal columns give equal sums, and a softmax no reason to prefer one.
constexpr int row_sums = vector_bytes == 64 ? 4 : 2;
template <int NV, class T, class Epilogue>
KERNELS_NN_INLINE void row_tile(const T* __restrict a, const T* __restrict b, std::int64_t k, std::int64_t n, const Epilogue& epilogue) {
  constexpr int VB = block_vectors<T>;
  constexpr int U = row_sums;
  vec<T> acc[U][NV];
  KERNELS_NN_UNROLL for (int u = 0; u < U; ++u) KERNELS_NN_UNROLL for (int v = 0; v < NV; ++v) acc[u][v] = vec<T>(0);
  const auto step = [&](int u, std::int64_t l) __attribute__((always_inline)) {
    const vec<T> x(a[l]);
    KERNELS_NN_UNROLL for (int v = 0; v < NV; ++v) {
      acc[u][v] = fma(x, vec<T>::load(b + l * block_columns + (v / VB) * k * block_columns + (v % VB) * vec<T>::lanes), acc[u][v]);
    }
  };
  std::int64_t l = 0;
#pragma GCC unroll 1
  for (; l + U <= k; l += U) KERNELS_NN_UNROLL for (int u = 0; u < U; ++u) step(u, l + u);
  KERNELS_NN_UNROLL for (int u = 0; u < U - 1; ++u) {
    if (l + u < k) step(u, l + u);
  }
  vec<T> total[1][NV];
  KERNELS_NN_UNROLL for (int v = 0; v < NV; ++v) {
    KERNELS_NN_UNROLL for (int half = U / 2; half > 0; half /= 2) {
      KERNELS_NN_UNROLL for (int u = 0; u < half; ++u) acc[u][v] = acc[u][v] + acc[u + half][v];
    }
    total[0][v] = acc[0][v];
  }
  epilogue(total, 0, n);
}

// MR rows and the W columns of a narrow block, [K up to a multiple of 4][W]. Where partial loads are cheap, a vector holds several k side by
// side, whose sums are joined at the end; else its lanes beyond W hold what nobody asks for.
template <int MR, int W, class T, class Epilogue>
KERNELS_NN_INLINE void narrow_tile(const T* __restrict a, std::int64_t lda, const T* __restrict b, std::int64_t k, std::int64_t m, std::int64_t n,
                                   const Epilogue& epilogue) {
  constexpr int L = vec<T>::lanes, G = L > W && vector_bytes == 64 ? L / W : 1, NV = W > L ? W / L : 1,
                U = MR == 1 ? (row_sums > G ? row_sums / G : 1) : MR < 4 ? 2 : 1;
  vec<T> acc[U][MR][NV];
  KERNELS_NN_UNROLL for (int u = 0; u < U; ++u) KERNELS_NN_UNROLL for (int r = 0; r < MR; ++r) {
    KERNELS_NN_UNROLL for (int v = 0; v < NV; ++v) acc[u][r][v] = vec<T>(0);
  }
  const auto step = [&](int u, std::int64_t l, std::int64_t count) __attribute__((always_inline)) {
    vec<T> row[NV];
    KERNELS_NN_UNROLL for (int v = 0; v < NV; ++v) row[v] = vec<T>::load(b + l * W + v * L);
    KERNELS_NN_UNROLL for (int r = 0; r < MR; ++r) {
      const T* const from = a + r * lda + l;
      const vec<T> x = G == 1 ? vec<T>(*from) : load_repeated<W>(from, count);
      KERNELS_NN_UNROLL for (int v = 0; v < NV; ++v) acc[u][r][v] = fma(x, row[v], acc[u][r][v]);
    }
  };
  std::int64_t l = 0;
#pragma GCC unroll 1
  for (; l + U * G <= k; l += U * G) KERNELS_NN_UNROLL for (int u = 0; u < U; ++u) step(u, l + u * G, G);
  KERNELS_NN_UNROLL for (int u = 0; u < U; ++u) {
    if (l < k) step(u, l, k - l < G ? k - l : G), l += G;
  }
  vec<T> total[MR][NV];
  const auto add = [](vec<T> x, vec<T> y) { return x + y; };
  KERNELS_NN_UNROLL for (int r = 0; r < MR; ++r) KERNELS_NN_UNROLL for (int v = 0; v < NV; ++v) {
    KERNELS_NN_UNROLL for (int half = U / 2; half > 0; half /= 2) {
      KERNELS_NN_UNROLL for (int u = 0; u < half; ++u) acc[u][r][v] = acc[u][r][v] + acc[u + half][r][v];
    }
    total[r][v] = joined_lanes<(G > 1 ? L / 2 : 0), W>(acc[0][r][v], add);
  }
  epilogue(total, m, n);
}

// ---- the choice of tiles

// The most rows that NV vectors leave registers for.
constexpr int most_rows(int nv) {
  const int rows = (vector_registers - nv - 1) / nv;
  return rows < 1 ? 1 : rows > 16 ? 16 : rows;
}
// `count` items in as few parts of at most `most` as possible: `large` parts of `size` + 1, the others of `size`.
struct Parts {
  std::int64_t parts, size, large;
};
constexpr Parts in_parts(std::int64_t count, std::int64_t most) {
  const std::int64_t parts = (count + most - 1) / most;
  return parts == 0 ? Parts{0, 0, 0} : Parts{parts, count / parts, count % parts};
}
// Modelled cycles of a tile and one k: two multiply-adds or two loads a cycle, and no less than the latency of a chain.
constexpr std::int64_t tile_cost(std::int64_t rows, std::int64_t nv) {
  const std::int64_t adds = rows * nv, loads = rows + nv, cost = adds > loads ? adds : loads;
  return cost < 8 ? 8 : cost;
}
constexpr std::int64_t rows_cost(std::int64_t m, int nv) {
  const Parts p = in_parts(m, most_rows(nv));
  return p.large * tile_cost(p.size + 1, nv) + (p.parts - p.large) * (p.size ? tile_cost(p.size, nv) : 0);
}
constexpr std::int64_t columns_cost(std::int64_t m, std::int64_t vectors, int nv) {
  return vectors / nv * rows_cost(m, nv) + (vectors % nv ? rows_cost(m, static_cast<int>(vectors % nv)) : 0);
}
constexpr int best_vectors(std::int64_t m, std::int64_t vectors) {
  int best = 1;
  for (int nv = 2; nv <= (vector_registers == 32 ? 4 : 2) && nv <= vectors; ++nv) {
    if (columns_cost(m, vectors, nv) < columns_cost(m, vectors, best)) best = nv;
  }
  return best;
}

// Vectors of columns that one row takes at a time, of `all`. Weights that the second cache holds come fastest as one stream, block after
// block; nearer ones gain from blocks that share what they read of the row, farther ones from several streams.
template <class T>
constexpr bool streams(std::int64_t k, std::int64_t columns) {
  const std::int64_t bytes = k * columns * static_cast<std::int64_t>(sizeof(T));
  return bytes >= 128 * 1024 && bytes <= 512 * 1024;
}
template <class T>
constexpr int row_vectors(std::int64_t k, std::int64_t columns, std::int64_t all) {
  const int most = streams<T>(k, columns) ? block_vectors<T> : vector_registers == 32 ? 7 : 4;
  return all < 1 ? 1 : all < most ? static_cast<int>(all) : most;
}

// All rows of NV vectors of columns, from column n on.
template <int NV, class M, class T, class Epilogue>
KERNELS_NN_INLINE void column_of_tiles(M rows, const T* a, std::int64_t lda, const T* b, std::int64_t k, std::int64_t n, const Epilogue& epilogue) {
  constexpr int most = most_rows(NV);
  if constexpr (is_fixed_v<M>) {
    if constexpr (M::value == 1) {
      row_tile<NV>(a, b, k, n, epilogue);
    } else {
      constexpr Parts p = in_parts(M::value, most);
      std::int64_t m = 0;
      if constexpr (p.large > 0) {
        for (std::int64_t i = 0; i < p.large; ++i, m += p.size + 1) tile<static_cast<int>(p.size) + 1, NV>(a + m * lda, lda, b, k, m, n, epilogue);
      }
      if constexpr (p.size > 0) {
        for (std::int64_t i = p.large; i < p.parts; ++i, m += p.size) tile<static_cast<int>(p.size), NV>(a + m * lda, lda, b, k, m, n, epilogue);
      }
    }
  } else {
    std::int64_t m = 0;
    if (rows == 1) return row_tile<NV>(a, b, k, n, epilogue);
    for (; m + most <= rows; m += most) tile<most, NV>(a + m * lda, lda, b, k, m, n, epilogue);
    // What is left, in tiles of 4, 2 and 1 rows: few of them, so that they need not be many functions.
    if constexpr (most > 4) {
      for (; m + 4 <= rows; m += 4) tile<4, NV>(a + m * lda, lda, b, k, m, n, epilogue);
    }
    if constexpr (most > 2) {
      for (; m + 2 <= rows; m += 2) tile<2, NV>(a + m * lda, lda, b, k, m, n, epilogue);
    }
    for (; m < rows; ++m) tile<1, NV>(a + m * lda, lda, b, k, m, n, epilogue);
  }
}

// The product of `rows` rows of a, lda apart, with packed b; the epilogue gets every tile once.
template <class M, class N, class K, class T, class Epilogue>
__attribute__((noinline)) void gemm(M rows, N columns, K depth, const T* __restrict a, std::int64_t lda, const T* __restrict b,
                                    const Epilogue epilogue) {
  constexpr int L = vec<T>::lanes, VB = block_vectors<T>;
  const std::int64_t k = depth;
  const auto at = [&](std::int64_t n) { return b + n / block_columns * k * block_columns + n % block_columns; };
  const std::int64_t vectors = (columns + L - 1) / L;
  constexpr int NV = [] {
    if constexpr (is_fixed_v<N>) {
      constexpr std::int64_t all = (N::value + L - 1) / L;
      if constexpr (is_fixed_v<M>) {
        if constexpr (M::value == 1 && is_fixed_v<K>) return row_vectors<T>(K::value, N::value, all);
        else if constexpr (M::value == 1) return row_vectors<T>(1, 1, all);
        else return best_vectors(M::value, all);
      } else {
        return best_vectors(192, all);
      }
    } else {
      return vector_registers == 32 ? 4 : 2;
    }
  }();
  // Tiles begin at a block's start, or hold vectors of one block only.
  constexpr int W = NV >= VB ? NV / VB * VB : NV >= 2 ? 2 : 1;
  std::int64_t v = 0;
  for (; v + W <= vectors; v += W) column_of_tiles<W>(rows, a, lda, at(v * L), k, v * L, epilogue);
  if constexpr (is_fixed_v<N>) {
    constexpr int rest = static_cast<int>(((N::value + L - 1) / L) % W);
    if constexpr (rest > 0) column_of_tiles<rest>(rows, a, lda, at(v * L), k, v * L, epilogue);
  } else {
    for (; v < vectors; ++v) column_of_tiles<1>(rows, a, lda, at(v * L), k, v * L, epilogue);
  }
}

// Columns of the last block where it is narrow: as few as hold what is left, of 4, 8 (for one row) and 16.
constexpr std::int64_t narrow_columns(std::int64_t rows, std::int64_t n) {
  const std::int64_t rest = n % block_columns;
  return rest == 0 ? block_columns : rest <= 4 ? 4 : rest <= 8 && rows == 1 ? 8 : block_columns;
}

// The same with a last block that is narrow: less to read, where reading b is all the work of one row, and less to multiply.
template <class M, class N, class K, class T, class Epilogue>
__attribute__((noinline)) void gemm_narrow(M rows, N, K depth, const T* __restrict a, std::int64_t lda, const T* __restrict b,
                                           const Epilogue epilogue) {
  static_assert(is_fixed_v<M> && is_fixed_v<N>, "the last block's width is chosen by the compiler");
  constexpr int L = vec<T>::lanes, VB = block_vectors<T>, W = static_cast<int>(narrow_columns(M::value, N::value));
  constexpr std::int64_t blocks = N::value / block_columns + (W == block_columns && N::value % block_columns != 0), vectors = blocks * VB;
  constexpr std::int64_t most = [] {
    if constexpr (M::value > 1) return best_vectors(M::value, vectors);
    else if constexpr (is_fixed_v<K>) return row_vectors<T>(K::value, N::value, vectors);
    else return row_vectors<T>(1, 1, vectors);
  }();
  constexpr int NV = static_cast<int>(vectors < most ? vectors : most < VB ? most >= 2 ? most / 2 * 2 : 1 : most / VB * VB);
  const std::int64_t k = depth;
  if constexpr (vectors > 0) {
    std::int64_t v = 0;
    const auto at = [&](std::int64_t place) { return b + place / VB * k * block_columns + place % VB * L; };
    for (; v + NV <= vectors; v += NV) column_of_tiles<NV>(rows, a, lda, at(v), k, v * L, epilogue);
    if constexpr (vectors % NV > 0) column_of_tiles<static_cast<int>(vectors % NV)>(rows, a, lda, at(v), k, v * L, epilogue);
  }
  if constexpr (W < block_columns) {
    constexpr int most_at_once = W > L ? 4 : 8;
    constexpr std::int64_t n = blocks * block_columns;
    const T* const last = b + n * k;
    std::int64_t m = 0;
    for (; m + most_at_once <= rows; m += most_at_once) narrow_tile<most_at_once, W>(a + m * lda, lda, last, k, m, n, epilogue);
    if constexpr (M::value % most_at_once > 0) narrow_tile<M::value % most_at_once, W>(a + m * lda, lda, last, k, m, n, epilogue);
  }
}

// ---- products by a library

#ifdef KERNELS_NN_LIBRARY

// Packed weights row by row: [K][N] from blocks of columns, the last of them `last` wide.
template <class T>
inline void unpack(const T* b, std::int64_t k, std::int64_t n, std::int64_t last, T* to) {
  for (std::int64_t block = 0; block < n; block += block_columns, b += k * block_columns) {
    const std::int64_t width = n - block < block_columns ? n - block : block_columns, step = n - block < block_columns ? last : block_columns;
    for (std::int64_t l = 0; l < k; ++l) {
      if (width == block_columns) {
        std::memcpy(to + l * n + block, b + l * step, sizeof(T) * block_columns);
      } else {
        for (std::int64_t j = 0; j < width; ++j) to[l * n + block + j] = b[l * step + j];
      }
    }
  }
}

// Rows m to m + rows of the result, by the library and then by the finish, which finds its sums where it will store.
template <class T, class Epilogue>
inline void library_rows(std::int64_t m, std::int64_t rows, std::int64_t columns, std::int64_t depth, const T* a, std::int64_t lda, const T* weights,
                         const Epilogue& epilogue) {
  constexpr std::int64_t L = vec<T>::lanes;
  library_product(rows, columns, depth, a, lda, weights, columns, epilogue.c + m * epilogue.ldc, epilogue.ldc);
  for (std::int64_t r = m; r < m + rows; ++r) {
    for (std::int64_t n = 0; n < columns; n += L) {
      const std::int64_t width = epilogue.columns - n;
      const T* const from = epilogue.c + r * epilogue.ldc + n;
      vec<T> sum[1][1] = {{width >= L ? vec<T>::load(from) : vec<T>::load(from, width)}};
      epilogue(sum, r, n);
    }
  }
}

// The product as above, of weights whose last block has `last` columns.
template <class T, class Epilogue>
__attribute__((noinline)) void gemm_library(std::int64_t rows, std::int64_t columns, std::int64_t depth, const T* a, std::int64_t lda, const T* b,
                                            std::int64_t last, const Epilogue epilogue) {
  T* const weights = library_room<0, T>(columns * depth);
  unpack(b, depth, columns, last, weights);
  // As many rows at a time as the finish finds near the processor.
  const std::int64_t fitting = (std::int64_t(1) << 17) / columns / static_cast<std::int64_t>(sizeof(T)), at_once = fitting < 128 ? 128 : fitting;
  for (std::int64_t m = 0; m < rows; m += at_once) {
    library_rows(m, rows - m < at_once ? rows - m : at_once, columns, depth, a + m * lda, lda, weights, epilogue);
  }
}

#endif

// The product by what the compiler was asked for: a library where it is large, else the tiles above. `narrow`: weights for gemm_narrow.
template <bool narrow, class M, class N, class K, class T, class Epilogue>
KERNELS_NN_INLINE void linear(M rows, N columns, K depth, const T* __restrict a, std::int64_t lda, const T* __restrict b, const Epilogue& epilogue) {
#ifdef KERNELS_NN_LIBRARY
  if constexpr (has_library<T>) {
    if (library_gains(rows, columns, depth)) {
      return gemm_library(rows, columns, depth, a, lda, b, narrow ? narrow_columns(rows, columns) : block_columns, epilogue);
    }
  }
#endif
  if constexpr (narrow) {
    gemm_narrow(rows, columns, depth, a, lda, b, epilogue);
  } else {
    gemm(rows, columns, depth, a, lda, b, epilogue);
  }
}

}  // namespace nn
}  // namespace kernels
