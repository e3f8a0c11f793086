// Planes of 512 rows, and of 64 rows for small batches, with AVX-512 (F, BW, DQ, VL, VBMI) and GFNI.
#pragma once

#include <immintrin.h>

#include "ops_words.hpp"

namespace kernels {
namespace KERNELS_TARGET {

// ---- values to bins

// Four neighbouring values as singles, zeros past the first `width`.
KERNELS_INLINE __m128 four_singles(const float* p, __mmask8 k) { return _mm_maskz_loadu_ps(k, p); }
KERNELS_INLINE __m128 four_singles(const double* p, __mmask8 k) { return _mm256_cvtpd_ps(_mm256_maskz_loadu_pd(k, p)); }

// Sixteen rows of four values: each register takes four rows that lie four apart, so that its lanes transpose on their own.
template <std::size_t rows, class X>
inline void single_columns(const Rows<X>& x, std::size_t first, std::size_t n, std::size_t from, std::size_t width, float* tile) {
  if (x.column_stride != 1) return gather_columns<rows>(x, first, n, from, width, tile);
  for (std::size_t row = 0; row < rows; row += 16) {
    const X* source[16];
    for (std::size_t i = 0; i < 16; ++i) {
      source[i] = x.data + static_cast<std::ptrdiff_t>(first + (row + i < n ? row + i : n - 1)) * x.row_stride + from;
    }
    for (std::size_t f = 0; f < width; f += 4) {
      const std::size_t left = width - f;
      const auto k = static_cast<__mmask8>(left < 4 ? (1u << left) - 1 : 15);
      __m512 r[4];
      for (std::size_t i = 0; i < 4; ++i) {
        r[i] = _mm512_castps128_ps512(four_singles(source[i] + f, k));
        r[i] = _mm512_insertf32x4(r[i], four_singles(source[4 + i] + f, k), 1);
        r[i] = _mm512_insertf32x4(r[i], four_singles(source[8 + i] + f, k), 2);
        r[i] = _mm512_insertf32x4(r[i], four_singles(source[12 + i] + f, k), 3);
      }
      const __m512 a = _mm512_unpacklo_ps(r[0], r[1]), b = _mm512_unpackhi_ps(r[0], r[1]);
      const __m512 c = _mm512_unpacklo_ps(r[2], r[3]), d = _mm512_unpackhi_ps(r[2], r[3]);
      float* to = tile + f * rows + row;
      _mm512_store_ps(to, _mm512_shuffle_ps(a, c, 0x44));
      if (left > 1) _mm512_store_ps(to + rows, _mm512_shuffle_ps(a, c, 0xEE));
      if (left > 2) _mm512_store_ps(to + 2 * rows, _mm512_shuffle_ps(b, d, 0x44));
      if (left > 3) _mm512_store_ps(to + 3 * rows, _mm512_shuffle_ps(b, d, 0xEE));
    }
  }
}

// The cut that each of sixteen values meets next, from level `level` of the search tree; `at` is its place in the level.
template <int level>
KERNELS_INLINE __m512 next_cut(const float* cuts, __m512i at) {
  const float* c = cuts + (1 << level);
  if constexpr (level == 0) {
    return _mm512_set1_ps(*c);
  } else if constexpr (level <= 4) {
    return _mm512_permutexvar_ps(at, _mm512_loadu_ps(c));
  } else if constexpr (level == 5) {
    return _mm512_permutex2var_ps(_mm512_loadu_ps(c), at, _mm512_loadu_ps(c + 16));
  } else if constexpr (level == 6) {
    const __m512 low = _mm512_permutex2var_ps(_mm512_loadu_ps(c), at, _mm512_loadu_ps(c + 16));
    const __m512 high = _mm512_permutex2var_ps(_mm512_loadu_ps(c + 32), at, _mm512_loadu_ps(c + 48));
    return _mm512_mask_blend_ps(_mm512_test_epi32_mask(at, _mm512_set1_epi32(32)), low, high);
  } else {
    return _mm512_i32gather_ps(at, c, 4);
  }
}
template <int level>
KERNELS_INLINE __m512d next_cut(const double* cuts, __m512i at) {
  const double* c = cuts + (1 << level);
  if constexpr (level == 0) {
    return _mm512_set1_pd(*c);
  } else if constexpr (level <= 3) {
    return _mm512_permutexvar_pd(at, _mm512_loadu_pd(c));
  } else if constexpr (level == 4) {
    return _mm512_permutex2var_pd(_mm512_loadu_pd(c), at, _mm512_loadu_pd(c + 8));
  } else if constexpr (level == 5) {
    const __m512d low = _mm512_permutex2var_pd(_mm512_loadu_pd(c), at, _mm512_loadu_pd(c + 8));
    const __m512d high = _mm512_permutex2var_pd(_mm512_loadu_pd(c + 16), at, _mm512_loadu_pd(c + 24));
    return _mm512_mask_blend_pd(_mm512_test_epi64_mask(at, _mm512_set1_epi64(16)), low, high);
  } else {
    return _mm512_i64gather_pd(at, c, 8);
  }
}

template <class R>
struct Lanes;
template <>
struct Lanes<float> {
  using Values = __m512;
  using Mask = __mmask16;
  static constexpr std::size_t n = 16;
  static KERNELS_INLINE Values load(const float* p) { return _mm512_load_ps(p); }
  static KERNELS_INLINE Mask at_or_above(Values x, Values cut) { return _mm512_cmp_ps_mask(x, cut, _CMP_GE_OQ); }
  static KERNELS_INLINE Mask no_number(Values x) { return _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q); }
  static KERNELS_INLINE Mask within(Values x, float zero) {
    return _mm512_cmp_ps_mask(_mm512_abs_ps(x), _mm512_set1_ps(zero), _CMP_NGT_UQ);
  }
  static KERNELS_INLINE __m512i down(__m512i at, Mask right) {
    at = _mm512_add_epi32(at, at);
    return _mm512_mask_add_epi32(at, right, at, _mm512_set1_epi32(1));
  }
  static KERNELS_INLINE Values gather(__m512i at, const float* cuts) { return _mm512_i32gather_ps(at, cuts, 4); }
};
template <>
struct Lanes<double> {
  using Values = __m512d;
  using Mask = __mmask8;
  static constexpr std::size_t n = 8;
  static KERNELS_INLINE Values load(const double* p) { return _mm512_load_pd(p); }
  static KERNELS_INLINE Mask at_or_above(Values x, Values cut) { return _mm512_cmp_pd_mask(x, cut, _CMP_GE_OQ); }
  static KERNELS_INLINE Mask no_number(Values x) { return _mm512_cmp_pd_mask(x, x, _CMP_UNORD_Q); }
  static KERNELS_INLINE Mask within(Values x, double zero) {
    return _mm512_cmp_pd_mask(_mm512_abs_pd(x), _mm512_set1_pd(zero), _CMP_NGT_UQ);
  }
  static KERNELS_INLINE __m512i down(__m512i at, Mask right) {
    at = _mm512_add_epi64(at, at);
    return _mm512_mask_add_epi64(at, right, at, _mm512_set1_epi64(1));
  }
  static KERNELS_INLINE Values gather(__m512i at, const double* cuts) { return _mm512_i64gather_pd(at, cuts, 8); }
};

template <int levels, std::size_t rows, class R>
KERNELS_NOINLINE void search_levels(const R* x, const R* cuts, unsigned char* bits, std::size_t plane_bytes) {
  using L = Lanes<R>;
  for (std::size_t i = 0; i < rows; i += L::n) {
    const auto value = L::load(x + i);
    __m512i at = _mm512_setzero_si512();
    unsigned char* word = bits + i / 8;
#define KERNELS_LEVEL(level)                                                                  \
  if constexpr (levels > level) {                                                             \
    const typename L::Mask right = L::at_or_above(value, next_cut<level>(cuts, at));          \
    std::memcpy(word + level * plane_bytes, &right, sizeof right);                            \
    if constexpr (levels > level + 1) at = L::down(at, right);                                \
  }
    KERNELS_LEVEL(0)
    KERNELS_LEVEL(1)
    KERNELS_LEVEL(2)
    KERNELS_LEVEL(3)
    KERNELS_LEVEL(4)
    KERNELS_LEVEL(5)
    KERNELS_LEVEL(6)
    KERNELS_LEVEL(7)
#undef KERNELS_LEVEL
  }
}

template <std::size_t rows, class R>
KERNELS_NOINLINE void search_deep(const R* x, const R* cuts, std::uint32_t levels, unsigned char* bits, std::size_t plane_bytes) {
  using L = Lanes<R>;
  for (std::size_t i = 0; i < rows; i += L::n) {
    const auto value = L::load(x + i);
    __m512i at = _mm512_setzero_si512();
    for (std::uint32_t level = 0; level < levels; ++level) {
      const typename L::Mask right = L::at_or_above(value, L::gather(at, cuts + (std::size_t(1) << level)));
      std::memcpy(bits + i / 8 + level * plane_bytes, &right, sizeof right);
      at = L::down(at, right);
    }
  }
}

template <std::size_t rows, class R>
inline void search(const R* x, const R* cuts, std::uint32_t levels, unsigned char* bits, std::size_t plane_bytes) {
  switch (levels) {
    case 0: return;
    case 1: return search_levels<1, rows>(x, cuts, bits, plane_bytes);
    case 2: return search_levels<2, rows>(x, cuts, bits, plane_bytes);
    case 3: return search_levels<3, rows>(x, cuts, bits, plane_bytes);
    case 4: return search_levels<4, rows>(x, cuts, bits, plane_bytes);
    case 5: return search_levels<5, rows>(x, cuts, bits, plane_bytes);
    case 6: return search_levels<6, rows>(x, cuts, bits, plane_bytes);
    case 7: return search_levels<7, rows>(x, cuts, bits, plane_bytes);
    case 8: return search_levels<8, rows>(x, cuts, bits, plane_bytes);
    default: return search_deep<rows>(x, cuts, levels, bits, plane_bytes);
  }
}

// Whether any is no number: without their signs, those exceed infinity as integers.
template <std::size_t rows>
inline bool any_nan(const float* x) {
  __m512i largest = _mm512_setzero_si512();
  for (std::size_t i = 0; i < rows; i += 16) {
    largest = _mm512_max_epu32(largest, _mm512_slli_epi32(_mm512_load_si512(x + i), 1));
  }
  return _mm512_cmpgt_epu32_mask(largest, _mm512_set1_epi32(static_cast<int>(0xFF000000u))) != 0;
}
template <std::size_t rows>
inline bool any_nan(const double* x) {
  __mmask8 any = 0;
  for (std::size_t i = 0; i < rows; i += 8) any |= Lanes<double>::no_number(_mm512_load_pd(x + i));
  return any != 0;
}

template <std::size_t rows, class R>
inline bool find_nan(const R* x, unsigned char* plane) {
  using L = Lanes<R>;
  if (!any_nan<rows>(x)) return false;
  unsigned any = 0;
  for (std::size_t i = 0; i < rows; i += L::n) {
    const typename L::Mask k = L::no_number(L::load(x + i));
    any |= k;
    std::memcpy(plane + i / 8, &k, sizeof k);
  }
  return any != 0;
}

template <std::size_t rows, class R>
inline bool find_nan_or_zero(const R* x, R zero, unsigned char* plane) {
  using L = Lanes<R>;
  unsigned any = 0;
  for (std::size_t i = 0; i < rows; i += L::n) {
    const typename L::Mask k = L::within(L::load(x + i), zero);
    any |= k;
    std::memcpy(plane + i / 8, &k, sizeof k);
  }
  return any != 0;
}

// ---- leaf numbers to sums
//
// 64 leaf numbers are the bytes of a register. Sums come in the order in which unpacking leaves the bytes of its four 128-bit lanes:
// place 16 s + 4 lane + e of a block of 64 single sums belongs to byte 4 s + e of the lane, place 8 s + 2 lane + e of double
// ones to byte 2 s + e.

KERNELS_INLINE __m512i bytes_at(const std::uint8_t* p) { return _mm512_loadu_si512(p); }

template <int depth>
KERNELS_INLINE __m512i look_up_bytes(__m512i index, const std::uint8_t* table, [[maybe_unused]] __mmask64 high) {
  if constexpr (depth <= 6) {
    return _mm512_permutexvar_epi8(index, bytes_at(table));
  } else if constexpr (depth == 7) {
    return _mm512_permutex2var_epi8(bytes_at(table), index, bytes_at(table + 64));
  } else {
    const __m512i low_half = _mm512_permutex2var_epi8(bytes_at(table), index, bytes_at(table + 64));
    const __m512i high_half = _mm512_permutex2var_epi8(bytes_at(table + 128), index, bytes_at(table + 192));
    return _mm512_mask_blend_epi8(high, low_half, high_half);
  }
}

KERNELS_INLINE void add_to(float* sums, __m512i values) {
  _mm512_store_ps(sums, _mm512_add_ps(_mm512_load_ps(sums), _mm512_castsi512_ps(values)));
}
KERNELS_INLINE void add_to(double* sums, __m512i values) {
  _mm512_store_pd(sums, _mm512_add_pd(_mm512_load_pd(sums), _mm512_castsi512_pd(values)));
}

template <int depth>
KERNELS_INLINE void add_64(__m512i index, const float* leaves, const std::uint8_t* bytes, bool, float* sums) {
  if constexpr (depth <= 5) {
    // Byte 4 e + s of a lane becomes its byte 4 s + e, so that shifting by 8 s leaves the numbers of group s at the bottom.
    const __m512i order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    const __m512i ordered = _mm512_shuffle_epi8(index, order);
    const __m512 low = _mm512_loadu_ps(leaves);
    const __m512 high = _mm512_loadu_ps(leaves + (depth == 5 ? 16 : 0));
#define KERNELS_GROUP(s)                                                                                              \
  {                                                                                                                   \
    const __m512i at = s == 0 ? ordered : _mm512_srli_epi32(ordered, 8 * s);                                          \
    const __m512 value = depth == 5 ? _mm512_permutex2var_ps(low, at, high) : _mm512_permutexvar_ps(at, low);         \
    _mm512_store_ps(sums + 16 * s, _mm512_add_ps(_mm512_load_ps(sums + 16 * s), value));                              \
  }
    KERNELS_GROUP(0)
    KERNELS_GROUP(1)
    KERNELS_GROUP(2)
    KERNELS_GROUP(3)
#undef KERNELS_GROUP
  } else {
    constexpr int pitch = 1 << depth;
    const __mmask64 high = _mm512_movepi8_mask(index);
    const __m512i b0 = look_up_bytes<depth>(index, bytes, high), b1 = look_up_bytes<depth>(index, bytes + pitch, high);
    const __m512i b2 = look_up_bytes<depth>(index, bytes + 2 * pitch, high), b3 = look_up_bytes<depth>(index, bytes + 3 * pitch, high);
    const __m512i low01 = _mm512_unpacklo_epi8(b0, b1), high01 = _mm512_unpackhi_epi8(b0, b1);
    const __m512i low23 = _mm512_unpacklo_epi8(b2, b3), high23 = _mm512_unpackhi_epi8(b2, b3);
    add_to(sums, _mm512_unpacklo_epi16(low01, low23));
    add_to(sums + 16, _mm512_unpackhi_epi16(low01, low23));
    add_to(sums + 32, _mm512_unpacklo_epi16(high01, high23));
    add_to(sums + 48, _mm512_unpackhi_epi16(high01, high23));
  }
}

template <int depth>
KERNELS_INLINE void add_bytes_64(__m512i index, const std::uint8_t* bytes, double* sums) {
  constexpr int pitch = depth <= 6 ? 64 : 1 << depth;
  const __mmask64 none = 0;
  __m512i b[8], w[8];
  for (int j = 0; j < 8; ++j) b[j] = look_up_bytes<depth>(index, bytes + j * pitch, none);
  for (int j = 0; j < 8; j += 2) {
    w[j] = _mm512_unpacklo_epi8(b[j], b[j + 1]);
    w[j + 1] = _mm512_unpackhi_epi8(b[j], b[j + 1]);
  }
  for (int half = 0; half < 2; ++half) {  // bytes 0 to 7 of each lane, then 8 to 15
    const __m512i d0 = _mm512_unpacklo_epi16(w[half], w[2 + half]), d1 = _mm512_unpackhi_epi16(w[half], w[2 + half]);
    const __m512i d2 = _mm512_unpacklo_epi16(w[4 + half], w[6 + half]), d3 = _mm512_unpackhi_epi16(w[4 + half], w[6 + half]);
    double* to = sums + 32 * half;
    add_to(to, _mm512_unpacklo_epi32(d0, d2));
    add_to(to + 8, _mm512_unpackhi_epi32(d0, d2));
    add_to(to + 16, _mm512_unpacklo_epi32(d1, d3));
    add_to(to + 24, _mm512_unpackhi_epi32(d1, d3));
  }
}

template <int depth>
KERNELS_INLINE void add_64(__m512i index, const double* leaves, const std::uint8_t* bytes, bool compact, double* sums) {
  if constexpr (depth >= 5 && depth <= 7) {
    if (depth == 7 && compact) {
      index = _mm512_permutex2var_epi8(bytes_at(bytes), index, bytes_at(bytes + 64));
      add_bytes_64<6>(index, bytes + 128, sums);
    } else {
      add_bytes_64<depth>(index, bytes, sums);
    }
  } else {
    // Byte 2 s + e of a lane becomes its byte 8 e + s.
    const __m512i order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
    const __m512i ordered = _mm512_shuffle_epi8(index, order);
    const __m512d low = _mm512_loadu_pd(leaves), high = _mm512_loadu_pd(leaves + 8);
#define KERNELS_GROUP(s)                                                                            \
  {                                                                                                 \
    const __m512i at = s == 0 ? ordered : _mm512_srli_epi64(ordered, 8 * s);                        \
    __m512d value;                                                                                  \
    if constexpr (depth <= 3) value = _mm512_permutexvar_pd(at, low);                               \
    if constexpr (depth == 4) value = _mm512_permutex2var_pd(low, at, high);                        \
    if constexpr (depth > 4) {                                                                      \
      value = _mm512_i64gather_pd(_mm512_and_si512(at, _mm512_set1_epi64(255)), leaves, 8);         \
    }                                                                                               \
    _mm512_store_pd(sums + 8 * s, _mm512_add_pd(_mm512_load_pd(sums + 8 * s), value));              \
  }
    KERNELS_GROUP(0)
    KERNELS_GROUP(1)
    KERNELS_GROUP(2)
    KERNELS_GROUP(3)
    KERNELS_GROUP(4)
    KERNELS_GROUP(5)
    KERNELS_GROUP(6)
    KERNELS_GROUP(7)
#undef KERNELS_GROUP
  }
}

// Leaves of a deep tree, numbered by a low and a high byte.
KERNELS_INLINE void add_deep_64(__m512i low, __m512i high, const float* leaves, float* sums) {
  const __m512i order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  const __m512i byte = _mm512_set1_epi32(255);
  low = _mm512_shuffle_epi8(low, order);
  high = _mm512_shuffle_epi8(high, order);
  for (unsigned s = 0; s < 4; ++s) {
    const __m512i at = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi32(low, 8 * s), byte),
                                       _mm512_slli_epi32(_mm512_and_si512(_mm512_srli_epi32(high, 8 * s), byte), 8));
    _mm512_store_ps(sums + 16 * s, _mm512_add_ps(_mm512_load_ps(sums + 16 * s), _mm512_i32gather_ps(at, leaves, 4)));
  }
}
KERNELS_INLINE void add_deep_64(__m512i low, __m512i high, const double* leaves, double* sums) {
  const __m512i order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
  const __m512i byte = _mm512_set1_epi64(255);
  low = _mm512_shuffle_epi8(low, order);
  high = _mm512_shuffle_epi8(high, order);
  for (unsigned s = 0; s < 8; ++s) {
    const __m512i at = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi64(low, 8 * s), byte),
                                       _mm512_slli_epi64(_mm512_and_si512(_mm512_srli_epi64(high, 8 * s), byte), 8));
    _mm512_store_pd(sums + 8 * s, _mm512_add_pd(_mm512_load_pd(sums + 8 * s), _mm512_i64gather_pd(at, leaves, 8)));
  }
}

// A bit matrix: the affine transformation by it, of the identity's bytes, transposes eight bytes of eight bits.
KERNELS_INLINE __m512i transposed_bits(__m512i eight_bytes) {
  return _mm512_gf2p8affine_epi64_epi8(_mm512_set1_epi64(static_cast<long long>(0x8040201008040201ull)), eight_bytes, 0);
}

// ---- planes

template <std::size_t n_rows>
struct WithLanes {
  template <class X, class R>
  static void columns(const Rows<X>& x, std::size_t first, std::size_t n, std::size_t from, std::size_t width, R* tile) {
    if constexpr (sizeof(R) == 4) {
      single_columns<n_rows>(x, first, n, from, width, tile);
    } else {
      gather_columns<n_rows>(x, first, n, from, width, tile);
    }
  }
  template <class R, class V>
  static bool bin(const R* x, const R* cuts, std::uint32_t levels, V* bits, V& missing) {
    search<n_rows>(x, cuts, levels, reinterpret_cast<unsigned char*>(bits), sizeof(V));
    alignas(64) unsigned char plane[n_rows / 8];
    const bool any = find_nan<n_rows>(x, plane);
    std::memcpy(&missing, plane, sizeof(V));
    return any;
  }
  template <class R, class V>
  static bool bin(const R* x, const R* cuts, std::uint32_t levels, V* bits, V& missing, R zero) {
    search<n_rows>(x, cuts, levels, reinterpret_cast<unsigned char*>(bits), sizeof(V));
    alignas(64) unsigned char plane[n_rows / 8];
    const bool any = find_nan_or_zero<n_rows>(x, zero, plane);
    std::memcpy(&missing, plane, sizeof(V));
    return any;
  }
};

struct WidePlanes : WithLanes<512> {
  using V = __m512i;
  static constexpr std::size_t rows = 512;
  static constexpr std::size_t few_rows = 64;  // that words of 64 serve faster
  static constexpr std::uint32_t most_compared_cuts = 0;  // searching is faster

  static KERNELS_INLINE V zeros() { return _mm512_setzero_si512(); }
  static KERNELS_INLINE V ones() { return _mm512_set1_epi32(-1); }
  static KERNELS_INLINE V all(std::uint32_t bit) { return _mm512_set1_epi32(bit != 0 ? -1 : 0); }
  static KERNELS_INLINE V load(const V* p) { return _mm512_load_si512(p); }
  static KERNELS_INLINE void store(V* p, V v) { _mm512_store_si512(p, v); }
  static KERNELS_INLINE V mux(V pick, V one, V zero) { return _mm512_ternarylogic_epi32(pick, one, zero, 0xCA); }
  static KERNELS_INLINE V either(V a, V b) { return _mm512_or_si512(a, b); }
  static KERNELS_INLINE V both(V a, V b) { return _mm512_and_si512(a, b); }
  static KERNELS_INLINE V without(V a, V b) { return _mm512_andnot_si512(b, a); }
  static KERNELS_INLINE V exceeds(V more, V equal, V low) { return _mm512_ternarylogic_epi32(more, equal, low, 0xF8); }
  static KERNELS_INLINE V both_flipped(V a, V b, std::uint32_t flip) {
    return _mm512_ternarylogic_epi32(a, b, _mm512_set1_epi32(static_cast<int>(flip)), 0x60);
  }

  // Byte j of register o: row 128 (j / 16) + 16 o + j % 16.
  template <int depth>
  static KERNELS_INLINE void indices(const V* p, std::uint8_t* out) {
    V plane[8];
    for (int i = 0; i < 8; ++i) plane[i] = i < depth ? p[depth - 1 - i] : zeros();  // the lowest bit first
    // The matrix wants the row of the lowest bit in its highest byte.
    V a[4], b[4];
    for (int i = 0; i < 4; ++i) {
      a[i] = _mm512_unpacklo_epi8(plane[7 - 2 * i], plane[6 - 2 * i]);
      b[i] = _mm512_unpackhi_epi8(plane[7 - 2 * i], plane[6 - 2 * i]);
    }
    eight_registers(a, out);
    eight_registers(b, out + 256);
  }

  template <int depth, class S>
  static KERNELS_INLINE void add(const std::uint8_t* indices, const S* leaves, const std::uint8_t* bytes, bool compact, S* sums) {
    for (int o = 0; o < 8; ++o) {
      add_64<depth>(_mm512_load_si512(indices + 64 * o), leaves, bytes, compact, sums + 64 * o);
    }
  }

  template <class S>
  static void add_deep(const std::uint8_t* indices, const S* leaves, S* sums) {
    for (std::size_t i = 0; i < rows; i += 64) {
      add_deep_64(_mm512_loadu_si512(indices + i), _mm512_loadu_si512(indices + rows + i), leaves, sums + i);
    }
  }

  template <class S>
  static constexpr std::size_t row_of(std::size_t i) {
    constexpr std::size_t e = sizeof(S) == 4 ? 4 : 2;  // neighbours
    const std::size_t o = i / 64, s = i % 64 / (4 * e), lane = i % (4 * e) / e;
    return 128 * lane + 16 * o + e * s + i % e;
  }

  template <class S>
  static void in_row_order(const S* sums, std::size_t n, S* out) {
    if (n == rows) {  // neighbours of 16 bytes at a time
      constexpr std::size_t e = 16 / sizeof(S);
      for (std::size_t i = 0; i < rows; i += e) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + row_of<S>(i)), _mm_load_si128(reinterpret_cast<const __m128i*>(sums + i)));
      }
      return;
    }
    for (std::size_t i = 0; i < rows; ++i) {
      if (row_of<S>(i) < n) out[row_of<S>(i)] = sums[i];
    }
  }

 private:
  static KERNELS_INLINE void eight_registers(const V* w, std::uint8_t* out) {
    const V l0 = _mm512_unpacklo_epi16(w[0], w[1]), h0 = _mm512_unpackhi_epi16(w[0], w[1]);
    const V l1 = _mm512_unpacklo_epi16(w[2], w[3]), h1 = _mm512_unpackhi_epi16(w[2], w[3]);
    _mm512_store_si512(out, transposed_bits(_mm512_unpacklo_epi32(l0, l1)));
    _mm512_store_si512(out + 64, transposed_bits(_mm512_unpackhi_epi32(l0, l1)));
    _mm512_store_si512(out + 128, transposed_bits(_mm512_unpacklo_epi32(h0, h1)));
    _mm512_store_si512(out + 192, transposed_bits(_mm512_unpackhi_epi32(h0, h1)));
  }
};

// Words of 64 rows whose bins and leaves go through the wide registers.
struct NarrowPlanes : WordPlanes {
  static constexpr std::uint32_t most_compared_cuts = 0;

  template <class X, class R>
  static void columns(const Rows<X>& x, std::size_t first, std::size_t n, std::size_t from, std::size_t width, R* tile) {
    WithLanes<64>::columns(x, first, n, from, width, tile);
  }
  template <class R>
  static bool bin(const R* x, const R* cuts, std::uint32_t levels, V* bits, V& missing) {
    return WithLanes<64>::bin(x, cuts, levels, bits, missing);
  }
  template <class R>
  static bool bin(const R* x, const R* cuts, std::uint32_t levels, V* bits, V& missing, R zero) {
    return WithLanes<64>::bin(x, cuts, levels, bits, missing, zero);
  }

  // Byte j: row j.
  template <int depth>
  static KERNELS_INLINE void indices(const V* p, std::uint8_t* out) {
    alignas(64) std::uint64_t words[8];
    for (int i = 0; i < 8; ++i) words[7 - i] = i < depth ? p[depth - 1 - i] : 0;
    alignas(64) static constexpr std::uint8_t by_rows[64] = {
        0, 8,  16, 24, 32, 40, 48, 56, 1, 9,  17, 25, 33, 41, 49, 57, 2, 10, 18, 26, 34, 42, 50, 58, 3, 11, 19, 27, 35, 43, 51, 59,
        4, 12, 20, 28, 36, 44, 52, 60, 5, 13, 21, 29, 37, 45, 53, 61, 6, 14, 22, 30, 38, 46, 54, 62, 7, 15, 23, 31, 39, 47, 55, 63};
    const __m512i gathered = _mm512_permutexvar_epi8(_mm512_load_si512(by_rows), _mm512_load_si512(words));
    _mm512_store_si512(out, transposed_bits(gathered));
  }

  template <int depth, class S>
  static KERNELS_INLINE void add(const std::uint8_t* indices, const S* leaves, const std::uint8_t* bytes, bool compact, S* sums) {
    add_64<depth>(_mm512_load_si512(indices), leaves, bytes, compact, sums);
  }

  template <class S>
  static void add_deep(const std::uint8_t* indices, const S* leaves, S* sums) {
    for (std::size_t i = 0; i < rows; i += 64) {
      add_deep_64(_mm512_loadu_si512(indices + i), _mm512_loadu_si512(indices + rows + i), leaves, sums + i);
    }
  }

  template <class S>
  static constexpr std::size_t row_of(std::size_t i) {
    constexpr std::size_t e = sizeof(S) == 4 ? 4 : 2;
    return 16 * (i % (4 * e) / e) + e * (i / (4 * e)) + i % e;
  }

  template <class S>
  static void in_row_order(const S* sums, std::size_t n, S* out) {
    for (std::size_t i = 0; i < rows; ++i) {
      if (row_of<S>(i) < n) out[row_of<S>(i)] = sums[i];
    }
  }
};

}  // namespace KERNELS_TARGET
}  // namespace kernels
