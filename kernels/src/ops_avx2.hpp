// Planes of 256 rows with AVX2.
#pragma once

#include <immintrin.h>

#include "ops_words.hpp"

namespace kernels {
namespace KERNELS_TARGET {

// ---- values to bins

// The first levels of the search tree fit in registers, the others are gathered.
template <int level>
KERNELS_INLINE __m256 next_cut(const float* cuts, __m256i at) {
  const float* c = cuts + (1 << level);
  if constexpr (level == 0) {
    return _mm256_broadcast_ss(c);
  } else if constexpr (level <= 3) {
    return _mm256_permutevar8x32_ps(_mm256_loadu_ps(c), at);
  } else if constexpr (level == 4) {
    const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(c), at);
    const __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(c + 8), at);
    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(at, 28)));
  } else {
    return _mm256_i32gather_ps(c, at, 4);
  }
}

template <int levels, std::size_t rows>
KERNELS_NOINLINE void search_levels(const float* x, const float* cuts, unsigned char* bits, std::size_t plane_bytes) {
  for (std::size_t i = 0; i < rows; i += 8) {
    const __m256 value = _mm256_loadu_ps(x + i);
    __m256i at = _mm256_setzero_si256();
    unsigned char* word = bits + i / 8;
#define KERNELS_LEVEL(level)                                                              \
  if constexpr (levels > level) {                                                         \
    const __m256 right = _mm256_cmp_ps(value, next_cut<level>(cuts, at), _CMP_GE_OQ);     \
    word[level * plane_bytes] = static_cast<unsigned char>(_mm256_movemask_ps(right));    \
    at = _mm256_sub_epi32(_mm256_add_epi32(at, at), _mm256_castps_si256(right));          \
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

template <std::size_t rows>
KERNELS_NOINLINE void search_deep(const float* x, const float* cuts, std::uint32_t levels, unsigned char* bits, std::size_t plane_bytes) {
  for (std::size_t i = 0; i < rows; i += 8) {
    const __m256 value = _mm256_loadu_ps(x + i);
    __m256i at = _mm256_setzero_si256();
    for (std::uint32_t level = 0; level < levels; ++level) {
      const __m256 right = _mm256_cmp_ps(value, _mm256_i32gather_ps(cuts + (std::size_t(1) << level), at, 4), _CMP_GE_OQ);
      bits[i / 8 + level * plane_bytes] = static_cast<unsigned char>(_mm256_movemask_ps(right));
      at = _mm256_sub_epi32(_mm256_add_epi32(at, at), _mm256_castps_si256(right));
    }
  }
}

template <std::size_t rows>
inline void search(const float* x, const float* cuts, std::uint32_t levels, unsigned char* bits, std::size_t plane_bytes) {
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

template <std::size_t rows>
inline void search(const double* x, const double* cuts, std::uint32_t levels, unsigned char* bits, std::size_t plane_bytes) {
  for (std::size_t i = 0; i < rows; i += 8) {
    const __m256d low = _mm256_loadu_pd(x + i), high = _mm256_loadu_pd(x + i + 4);
    __m256i at_low = _mm256_setzero_si256(), at_high = at_low;
    for (std::uint32_t level = 0; level < levels; ++level) {
      const double* c = cuts + (std::size_t(1) << level);
      const __m256d right_low = _mm256_cmp_pd(low, _mm256_i64gather_pd(c, at_low, 8), _CMP_GE_OQ);
      const __m256d right_high = _mm256_cmp_pd(high, _mm256_i64gather_pd(c, at_high, 8), _CMP_GE_OQ);
      bits[i / 8 + level * plane_bytes] =
          static_cast<unsigned char>(_mm256_movemask_pd(right_low) | _mm256_movemask_pd(right_high) << 4);
      at_low = _mm256_sub_epi64(_mm256_add_epi64(at_low, at_low), _mm256_castpd_si256(right_low));
      at_high = _mm256_sub_epi64(_mm256_add_epi64(at_high, at_high), _mm256_castpd_si256(right_high));
    }
  }
}

KERNELS_INLINE unsigned no_numbers(const float* x) {
  const __m256 v = _mm256_loadu_ps(x);
  return static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)));
}
KERNELS_INLINE unsigned no_numbers(const double* x) {
  const __m256d a = _mm256_loadu_pd(x), b = _mm256_loadu_pd(x + 4);
  return static_cast<unsigned>(_mm256_movemask_pd(_mm256_cmp_pd(a, a, _CMP_UNORD_Q)) |
                               _mm256_movemask_pd(_mm256_cmp_pd(b, b, _CMP_UNORD_Q)) << 4);
}
template <class R>
KERNELS_INLINE unsigned no_numbers_or_zeros(const R* x, R zero) {
  unsigned found = 0;
  for (unsigned i = 0; i < 8; ++i) found |= static_cast<unsigned>(is_nan(x[i]) || (x[i] >= -zero && x[i] <= zero)) << i;
  return found;
}

// ---- planes

template <std::size_t n_rows>
struct WithLanes {
  template <class R, class V>
  static bool bin(const R* x, const R* cuts, std::uint32_t levels, V* bits, V& missing) {
    search<n_rows>(x, cuts, levels, reinterpret_cast<unsigned char*>(bits), sizeof(V));
    return find([=](std::size_t i) { return no_numbers(x + i); }, missing);
  }
  template <class R, class V>
  static bool bin(const R* x, const R* cuts, std::uint32_t levels, V* bits, V& missing, R zero) {
    search<n_rows>(x, cuts, levels, reinterpret_cast<unsigned char*>(bits), sizeof(V));
    return find([=](std::size_t i) { return no_numbers_or_zeros(x + i, zero); }, missing);
  }

 private:
  template <class Test, class V>
  static bool find(Test test, V& missing) {
    alignas(32) unsigned char plane[n_rows / 8];
    unsigned any = 0;
    for (std::size_t i = 0; i < n_rows; i += 8) any |= plane[i / 8] = static_cast<unsigned char>(test(i));
    std::memcpy(&missing, plane, sizeof(V));
    return any != 0;
  }
};

struct AddByGather {
  // Sums in the order of the rows.
  template <int depth, std::size_t n_rows>
  static KERNELS_INLINE void add_rows(const std::uint8_t* indices, const float* leaves, float* sums) {
    [[maybe_unused]] const __m256 few = _mm256_loadu_ps(leaves);
    for (std::size_t i = 0; i < n_rows; i += 8) {
      const __m256i at = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(indices + i)));
      const __m256 value = depth <= 3 ? _mm256_permutevar8x32_ps(few, at) : _mm256_i32gather_ps(leaves, at, 4);
      _mm256_store_ps(sums + i, _mm256_add_ps(_mm256_load_ps(sums + i), value));
    }
  }
  template <int depth, std::size_t n_rows>
  static KERNELS_INLINE void add_rows(const std::uint8_t* indices, const double* leaves, double* sums) {
    for (std::size_t i = 0; i < n_rows; ++i) sums[i] += leaves[indices[i]];
  }
};

struct WidePlanes : WithLanes<256>, SumsInRowOrder<256> {
  using V = __m256i;
  static constexpr std::size_t rows = 256;
  static constexpr std::size_t few_rows = 128;  // that words of 64 serve faster
  static constexpr std::uint32_t most_compared_cuts = 0;  // searching is faster

  static KERNELS_INLINE V zeros() { return _mm256_setzero_si256(); }
  static KERNELS_INLINE V ones() { return _mm256_set1_epi32(-1); }
  static KERNELS_INLINE V all(std::uint32_t bit) { return _mm256_set1_epi32(bit != 0 ? -1 : 0); }
  static KERNELS_INLINE V load(const V* p) { return _mm256_load_si256(p); }
  static KERNELS_INLINE void store(V* p, V v) { _mm256_store_si256(p, v); }
  static KERNELS_INLINE V mux(V pick, V one, V zero) {
    return _mm256_xor_si256(zero, _mm256_and_si256(pick, _mm256_xor_si256(one, zero)));
  }
  static KERNELS_INLINE V either(V a, V b) { return _mm256_or_si256(a, b); }
  static KERNELS_INLINE V both(V a, V b) { return _mm256_and_si256(a, b); }
  static KERNELS_INLINE V without(V a, V b) { return _mm256_andnot_si256(b, a); }
  static KERNELS_INLINE V exceeds(V more, V equal, V low) { return _mm256_or_si256(more, _mm256_and_si256(equal, low)); }
  static KERNELS_INLINE V both_flipped(V a, V b, std::uint32_t flip) { return _mm256_and_si256(a, _mm256_xor_si256(b, all(flip))); }

  template <class X, class R>
  static void columns(const Rows<X>& x, std::size_t first, std::size_t n, std::size_t from, std::size_t width, R* tile) {
    gather_columns<rows>(x, first, n, from, width, tile);
  }

  // Each plane's bits become the bytes of their rows: four bytes of bits are spread over 32, and masked.
  template <int depth>
  static KERNELS_INLINE void indices(const V* p, std::uint8_t* out) {
    alignas(32) std::int32_t words[8][8];
    for (int i = 0; i < depth; ++i) _mm256_store_si256(reinterpret_cast<__m256i*>(words[i]), p[i]);
    const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i own_bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201ull));
    for (int i = 0; i < 8; ++i) {
      __m256i index = zeros();
      for (int level = 0; level < depth; ++level) {
        const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(words[level][i]), spread);
        const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, own_bit), own_bit);
        index = _mm256_sub_epi8(_mm256_add_epi8(index, index), set);
      }
      _mm256_store_si256(reinterpret_cast<__m256i*>(out + 32 * i), index);
    }
  }

  template <int depth, class S>
  static KERNELS_INLINE void add(const std::uint8_t* indices, const S* leaves, const std::uint8_t*, bool, S* sums) {
    AddByGather::add_rows<depth, rows>(indices, leaves, sums);
  }
};

// Words of 64 rows whose bins and leaves go through the registers.
struct NarrowPlanes : WordPlanes {
  static constexpr std::uint32_t most_compared_cuts = 0;

  template <class R>
  static bool bin(const R* x, const R* cuts, std::uint32_t levels, V* bits, V& missing) {
    return WithLanes<64>::bin(x, cuts, levels, bits, missing);
  }
  template <class R>
  static bool bin(const R* x, const R* cuts, std::uint32_t levels, V* bits, V& missing, R zero) {
    return WithLanes<64>::bin(x, cuts, levels, bits, missing, zero);
  }
  template <int depth, class S>
  static KERNELS_INLINE void add(const std::uint8_t* indices, const S* leaves, const std::uint8_t*, bool, S* sums) {
    AddByGather::add_rows<depth, rows>(indices, leaves, sums);
  }
};

}  // namespace KERNELS_TARGET
}  // namespace kernels
