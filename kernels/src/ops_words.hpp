// Planes of 64 rows in plain integers: what every CPU can do, and what few rows are best served by.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/plan.hpp"
#include "kernels/rows.hpp"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace kernels {
namespace KERNELS_TARGET {

// Columns of a block, one after the other; past the last row it is repeated.
template <std::size_t rows, class X, class R>
inline void gather_columns(const Rows<X>& x, std::size_t first, std::size_t n, std::size_t from, std::size_t width, R* tile) {
  for (std::size_t row = 0; row < rows; ++row) {
    const std::size_t source = first + (row < n ? row : n - 1);
    const X* values = x.data + static_cast<std::ptrdiff_t>(source) * x.row_stride + static_cast<std::ptrdiff_t>(from) * x.column_stride;
    for (std::size_t f = 0; f < width; ++f) {
      tile[f * rows + row] = static_cast<R>(values[static_cast<std::ptrdiff_t>(f) * x.column_stride]);
    }
  }
}

// Byte b's bits as eight bytes of zero or one.
struct SpreadBits {
  std::uint64_t of[256];
  constexpr SpreadBits() : of() {
    for (int byte = 0; byte < 256; ++byte) {
      for (int bit = 0; bit < 8; ++bit) of[byte] |= std::uint64_t(byte >> bit & 1) << (8 * bit);
    }
  }
};
inline constexpr SpreadBits spread_bits;

// Bit i: x[i] is at or above the cut, or no number, for 64 values.
#if defined(__SSE2__)
KERNELS_INLINE __m128i lanes_at_or_above(const float* x, __m128 cut) { return _mm_castps_si128(_mm_cmpge_ps(_mm_loadu_ps(x), cut)); }
KERNELS_INLINE __m128i lanes_no_number(const float* x) {
  const __m128 v = _mm_loadu_ps(x);
  return _mm_castps_si128(_mm_cmpunord_ps(v, v));
}
template <class Lanes>
KERNELS_INLINE std::uint64_t word_of_lanes(Lanes four) {
  std::uint64_t word = 0;
  for (std::size_t i = 0; i < 64; i += 16) {
    const __m128i bytes = _mm_packs_epi16(_mm_packs_epi32(four(i), four(i + 4)), _mm_packs_epi32(four(i + 8), four(i + 12)));
    word |= std::uint64_t(static_cast<std::uint32_t>(_mm_movemask_epi8(bytes))) << i;
  }
  return word;
}
KERNELS_INLINE std::uint64_t word_at_or_above(const float* x, float cut) {
  const __m128 all = _mm_set1_ps(cut);
  return word_of_lanes([=](std::size_t i) __attribute__((always_inline)) { return lanes_at_or_above(x + i, all); });
}
KERNELS_INLINE std::uint64_t word_no_number(const float* x) {
  return word_of_lanes([=](std::size_t i) __attribute__((always_inline)) { return lanes_no_number(x + i); });
}
#endif
template <class R>
KERNELS_INLINE std::uint64_t word_at_or_above(const R* x, R cut) {
  std::uint64_t word = 0;
  for (std::size_t i = 0; i < 64; ++i) word |= std::uint64_t(x[i] >= cut) << i;
  return word;
}
template <class R>
KERNELS_INLINE std::uint64_t word_no_number(const R* x) {
  std::uint64_t word = 0;
  for (std::size_t i = 0; i < 64; ++i) word |= std::uint64_t(is_nan(x[i])) << i;
  return word;
}

// Sums of a block that stand in the order of its rows.
template <std::size_t n_rows>
struct SumsInRowOrder {
  template <class S>
  static void add_deep(const std::uint8_t* indices, const S* leaves, S* sums) {
    for (std::size_t i = 0; i < n_rows; ++i) sums[i] += leaves[indices[i] + 256u * indices[n_rows + i]];
  }

  template <class S>
  static constexpr std::size_t row_of(std::size_t i) {
    return i;
  }

  template <class S>
  static void in_row_order(const S* sums, std::size_t n, S* out) {
    std::memcpy(out, sums, n * sizeof(S));
  }
};

struct WordPlanes : SumsInRowOrder<64> {
  using V = std::uint64_t;
  static constexpr std::uint32_t most_compared_cuts = 96;  // up to which comparing with each beats searching among them
  static constexpr std::size_t rows = 64;
  static constexpr std::size_t few_rows = 64;  // that words of 64 serve faster

  static KERNELS_INLINE V zeros() { return 0; }
  static KERNELS_INLINE V ones() { return ~V(0); }
  static KERNELS_INLINE V all(std::uint32_t bit) { return bit != 0 ? ~V(0) : 0; }
  static KERNELS_INLINE V load(const V* p) { return *p; }
  static KERNELS_INLINE void store(V* p, V v) { *p = v; }
  static KERNELS_INLINE V mux(V pick, V one, V zero) { return zero ^ (pick & (one ^ zero)); }
  static KERNELS_INLINE V either(V a, V b) { return a | b; }
  static KERNELS_INLINE V both(V a, V b) { return a & b; }
  static KERNELS_INLINE V without(V a, V b) { return a & ~b; }
  static KERNELS_INLINE V exceeds(V more, V equal, V low) { return more | (equal & low); }
  static KERNELS_INLINE V both_flipped(V a, V b, std::uint32_t flip) { return a & (b ^ all(flip)); }

  template <class X, class R>
  static void columns(const Rows<X>& x, std::size_t first, std::size_t n, std::size_t from, std::size_t width, R* tile) {
    gather_columns<rows>(x, first, n, from, width, tile);
  }

  template <class R>
  static bool find_missing(const R* x, V& missing) {
    missing = word_no_number(x);
    return missing != 0;
  }

  template <class R>
  static bool find_missing(const R* x, V& missing, R zero) {
    missing = 0;
    for (std::size_t i = 0; i < rows; ++i) missing |= V(is_nan(x[i]) || (x[i] >= -zero && x[i] <= zero)) << i;
    return missing != 0;
  }

  template <class R>
  static V at_or_above(const R* x, R cut) {
    return word_at_or_above(x, cut);
  }

  template <class R>
  static bool bin(const R* x, const R* cuts, std::uint32_t levels, V* bits, V& missing) {
    search(x, cuts, levels, bits);
    return find_missing(x, missing);
  }

  template <class R>
  static bool bin(const R* x, const R* cuts, std::uint32_t levels, V* bits, V& missing, R zero) {
    search(x, cuts, levels, bits);
    return find_missing(x, missing, zero);
  }

  template <class R>
  static void search(const R* x, const R* cuts, std::uint32_t levels, V* bits) {
    std::uint32_t at[rows];
    for (std::size_t i = 0; i < rows; ++i) at[i] = 1;
    for (std::uint32_t level = 0; level < levels; ++level) {
      V word = 0;
      for (std::size_t i = 0; i < rows; ++i) {
        const std::uint32_t above = x[i] >= cuts[at[i]];
        word |= V(above) << i;
        at[i] = 2 * at[i] + above;
      }
      bits[level] = word;
    }
  }

  template <int depth>
  static KERNELS_INLINE void indices(const V* p, std::uint8_t* out) {
    for (int i = 0; i < 8; ++i) {
      std::uint64_t eight = 0;
      for (int level = 0; level < depth; ++level) eight = 2 * eight + spread_bits.of[p[level] >> (8 * i) & 0xFF];
      std::memcpy(out + 8 * i, &eight, 8);
    }
  }

  template <int depth, class S>
  static KERNELS_INLINE void add(const std::uint8_t* indices, const S* leaves, const std::uint8_t*, bool, S* sums) {
    for (std::size_t i = 0; i < rows; ++i) sums[i] += leaves[indices[i]];
  }
};

}  // namespace KERNELS_TARGET
}  // namespace kernels
