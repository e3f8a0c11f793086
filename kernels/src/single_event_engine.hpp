// Engine of single events, compiled once for each CPU target: KERNELS_TARGET names the namespace, the compiler's flags choose the code.
// Allocates nothing and needs no more of the standard library than the headers below.
#pragma once

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 on its own intrinsics
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#if defined(__AVX2__) && defined(__BMI2__)
#include <immintrin.h>
#define KERNELS_BYTE_LOOKUP 1  // the walk is all that other targets have
#endif

#include <cstdint>
#include <cstring>

#include "kernels/rows.hpp"
#include "kernels/single_engine.hpp"
#include "kernels/single_plan.hpp"

namespace kernels {
namespace KERNELS_TARGET {

#if defined(KERNELS_BYTE_LOOKUP)

// ---- Row: up to 64 or up to 128 bytes that nodes look up by column -----------------------------------------------------

#if defined(__AVX512VBMI__) && defined(__AVX512BW__)

template <bool wide>
struct Row {
  __m512i low;
  __m512i high;  // columns from 64 on
};

template <bool wide>
KERNELS_INLINE __m512i look_up(const Row<wide>& row, __m512i columns) {
  if constexpr (wide) {
    return _mm512_permutex2var_epi8(row.low, columns, row.high);
  } else {
    return _mm512_permutexvar_epi8(columns, row.low);
  }
}

template <bool wide>
KERNELS_INLINE Row<wide> load_row(const std::uint8_t* bytes) {
  Row<wide> row;
  row.low = _mm512_load_si512(bytes);
  if constexpr (wide) row.high = _mm512_load_si512(bytes + 64);
  return row;
}

// Shifts eight bytes in from the end.
KERNELS_INLINE __m512i shifted_in(__m512i bytes, std::uint64_t word) {
  return _mm512_alignr_epi64(_mm512_set1_epi64(static_cast<long long>(word)), bytes, 1);
}

// A row from groups of eight bins: of more than eight groups the first eight fill the lower half.
template <bool wide, class Group>
KERNELS_INLINE Row<wide> row_of_groups(std::uint32_t n_groups, Group&& group) {
  Row<wide> row;
  row.low = _mm512_setzero_si512();
  std::uint32_t i = 0;
  for (; i < n_groups && i < 8; ++i) row.low = shifted_in(row.low, group(i));
  if constexpr (wide) {
    row.high = _mm512_setzero_si512();
    for (; i < n_groups; ++i) row.high = shifted_in(row.high, group(i));
  }
  return row;
}

KERNELS_INLINE bool any_nan(const float* x, std::uint32_t n) {
  __mmask16 found = 0;
  std::uint32_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m512 values = _mm512_loadu_ps(x + i);
    found |= _mm512_cmp_ps_mask(values, values, _CMP_UNORD_Q);
  }
  const __m512 rest = _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << (n - i)) - 1), x + i);
  return (found | _mm512_cmp_ps_mask(rest, rest, _CMP_UNORD_Q)) != 0;
}

KERNELS_INLINE bool any_nan(const double* x, std::uint32_t n) {
  __mmask8 found = 0;
  std::uint32_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m512d values = _mm512_loadu_pd(x + i);
    found |= _mm512_cmp_pd_mask(values, values, _CMP_UNORD_Q);
  }
  const __m512d rest = _mm512_maskz_loadu_pd(static_cast<__mmask8>((1u << (n - i)) - 1), x + i);
  return (found | _mm512_cmp_pd_mask(rest, rest, _CMP_UNORD_Q)) != 0;
}

// The row's bytes reordered into columns. `missing` holds 255 at searches without a value.
template <bool wide>
KERNELS_INLINE Row<wide> arrange(Row<wide> by_search, const std::uint8_t* missing, const std::uint8_t* columns) {
  Row<wide> row;
  const __m512i low = _mm512_load_si512(columns);
  row.low = look_up(by_search, low);
  if constexpr (wide) row.high = look_up(by_search, _mm512_load_si512(columns + 64));
  if (missing != nullptr) {
    const Row<wide> absent = load_row<wide>(missing);
    const std::uint8_t* right = columns + row_columns;
    row.low = _mm512_or_si512(row.low, _mm512_and_si512(look_up(absent, low), _mm512_load_si512(right)));
    if constexpr (wide) {
      const __m512i high = look_up(absent, _mm512_load_si512(columns + 64));
      row.high = _mm512_or_si512(row.high, _mm512_and_si512(high, _mm512_load_si512(right + 64)));
    }
  }
  return row;
}

// Bit i: node i goes right. 64 columns, then 64 thresholds.
template <bool wide>
KERNELS_INLINE std::uint64_t decide(const Row<wide>& row, const std::uint8_t* nodes) {
  const __m512i bins = look_up(row, _mm512_loadu_si512(nodes));
  return _mm512_cmpgt_epu8_mask(bins, _mm512_loadu_si512(nodes + 64));
}

KERNELS_INLINE __m512i four_chunks(const std::uint8_t* a, const std::uint8_t* b, const std::uint8_t* c, const std::uint8_t* d) {
  const auto load = [](const std::uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); };
  const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(load(a)), load(b), 1);
  const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(load(c)), load(d), 1);
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

// Byte i: the nodes of chunk i. Each chunk is eight columns, then eight thresholds.
template <bool wide>
KERNELS_INLINE std::uint64_t decide_chunks(const Row<wide>& row, const std::uint8_t* const chunk[8]) {
  const __m512i even = four_chunks(chunk[0], chunk[2], chunk[4], chunk[6]);
  const __m512i odd = four_chunks(chunk[1], chunk[3], chunk[5], chunk[7]);
  const __m512i bins = look_up(row, _mm512_unpacklo_epi64(even, odd));
  return _mm512_cmpgt_epu8_mask(bins, _mm512_unpackhi_epi64(even, odd));
}

// The first chunk whose way from the root the bits take: (bits ^ expected) & asked is zero. Sixteen expected, then sixteen asked.
KERNELS_INLINE std::uint32_t deepest_chunk(std::uint64_t bits, const std::uint32_t* masks) {
  const __m512i differs = _mm512_xor_si512(_mm512_set1_epi32(static_cast<int>(bits)), _mm512_loadu_si512(masks));
  const __mmask16 reached = _mm512_testn_epi32_mask(differs, _mm512_loadu_si512(masks + word_chunks));
  return static_cast<std::uint32_t>(__builtin_ctz(reached));
}

KERNELS_INLINE std::uint32_t deepest_chunk(std::uint64_t bits, const std::uint64_t* masks) {
  const __m512i all = _mm512_set1_epi64(static_cast<long long>(bits));
  const __m512i low = _mm512_xor_si512(all, _mm512_loadu_si512(masks));
  const __m512i high = _mm512_xor_si512(all, _mm512_loadu_si512(masks + 8));
  const unsigned low_reached = _mm512_testn_epi64_mask(low, _mm512_loadu_si512(masks + word_chunks));
  const unsigned high_reached = _mm512_testn_epi64_mask(high, _mm512_loadu_si512(masks + word_chunks + 8));
  return static_cast<std::uint32_t>(__builtin_ctz(low_reached | high_reached << 8));
}

KERNELS_INLINE std::uint32_t cuts_reached(const float* line, float x) {
  return static_cast<std::uint32_t>(
      __builtin_popcount(_mm512_cmp_ps_mask(_mm512_set1_ps(x), _mm512_load_ps(line), _CMP_GE_OQ)));
}

KERNELS_INLINE std::uint32_t cuts_reached(const double* line, double x) {
  const __m512d value = _mm512_set1_pd(x);
  const unsigned low = _mm512_cmp_pd_mask(value, _mm512_load_pd(line), _CMP_GE_OQ);
  const unsigned high = _mm512_cmp_pd_mask(value, _mm512_load_pd(line + 8), _CMP_GE_OQ);
  return static_cast<std::uint32_t>(__builtin_popcount(low | high << 8));
}

#else

template <bool wide>
struct Row {
  __m256i part[wide ? 8 : 4];  // sixteen columns each, in both halves
};

template <bool wide>
KERNELS_INLINE __m256i look_up(const Row<wide>& row, __m256i columns) {
  // A byte's bits 0-3 choose within a part, the higher ones are moved to where a blend reads them.
  const __m256i bit4 = _mm256_slli_epi16(columns, 3);
  const __m256i bit5 = _mm256_slli_epi16(columns, 2);
  const auto quarter = [&](const __m256i* part) {
    const __m256i low = _mm256_blendv_epi8(_mm256_shuffle_epi8(part[0], columns), _mm256_shuffle_epi8(part[1], columns), bit4);
    const __m256i high = _mm256_blendv_epi8(_mm256_shuffle_epi8(part[2], columns), _mm256_shuffle_epi8(part[3], columns), bit4);
    return _mm256_blendv_epi8(low, high, bit5);
  };
  if constexpr (wide) {
    return _mm256_blendv_epi8(quarter(row.part), quarter(row.part + 4), _mm256_slli_epi16(columns, 1));
  } else {
    return quarter(row.part);
  }
}

template <bool wide>
KERNELS_INLINE Row<wide> load_row(const std::uint8_t* bytes) {
  Row<wide> row;
  for (int i = 0; i < (wide ? 8 : 4); ++i) {
    row.part[i] = _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(bytes + 16 * i)));
  }
  return row;
}

template <bool wide, class Group>
KERNELS_INLINE Row<wide> row_of_groups(std::uint32_t n_groups, Group&& group) {
  alignas(64) std::uint64_t words[row_columns / 8] = {};
  for (std::uint32_t i = 0; i < n_groups; ++i) words[place_in_row(8 * i, 8 * n_groups) / 8] = group(i);
  return load_row<wide>(reinterpret_cast<const std::uint8_t*>(words));
}

KERNELS_INLINE bool any_nan(const float* x, std::uint32_t n) {
  __m256 found = _mm256_setzero_ps();
  std::uint32_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256 values = _mm256_loadu_ps(x + i);
    found = _mm256_or_ps(found, _mm256_cmp_ps(values, values, _CMP_UNORD_Q));
  }
  bool rest = false;
  for (; i < n; ++i) rest |= is_nan(x[i]);
  return rest | (_mm256_movemask_ps(found) != 0);
}

KERNELS_INLINE bool any_nan(const double* x, std::uint32_t n) {
  __m256d found = _mm256_setzero_pd();
  std::uint32_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const __m256d values = _mm256_loadu_pd(x + i);
    found = _mm256_or_pd(found, _mm256_cmp_pd(values, values, _CMP_UNORD_Q));
  }
  bool rest = false;
  for (; i < n; ++i) rest |= is_nan(x[i]);
  return rest | (_mm256_movemask_pd(found) != 0);
}

template <bool wide>
KERNELS_INLINE Row<wide> arrange(Row<wide> by_search, const std::uint8_t* missing, const std::uint8_t* columns) {
  alignas(64) std::uint8_t bins[row_columns];
  alignas(64) std::uint8_t bytes[row_columns];
  const int n = wide ? 128 : 64;
  for (int i = 0; i < n; i += 16) {
    _mm_store_si128(reinterpret_cast<__m128i*>(bins + i), _mm256_castsi256_si128(by_search.part[i / 16]));
  }
  for (int i = 0; i < n; ++i) bytes[i] = bins[columns[i]];
  if (missing != nullptr) {
    for (int i = 0; i < n; ++i) bytes[i] |= missing[columns[i]] & columns[row_columns + i];
  }
  return load_row<wide>(bytes);
}

KERNELS_INLINE std::uint64_t exceeding(__m256i bins, __m256i thresholds) {
  const __m256i at_most = _mm256_cmpeq_epi8(_mm256_min_epu8(bins, thresholds), bins);
  return static_cast<std::uint32_t>(~_mm256_movemask_epi8(at_most));
}

KERNELS_INLINE __m256i load32(const std::uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

template <bool wide>
KERNELS_INLINE std::uint64_t decide(const Row<wide>& row, const std::uint8_t* nodes) {
  const std::uint64_t low = exceeding(look_up(row, load32(nodes)), load32(nodes + 64));
  return low | exceeding(look_up(row, load32(nodes + 32)), load32(nodes + 96)) << 32;
}

template <bool wide>
KERNELS_INLINE std::uint64_t decide_chunks(const Row<wide>& row, const std::uint8_t* const chunk[8]) {
  const auto two = [](const std::uint8_t* a, const std::uint8_t* b) {
    const auto load = [](const std::uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); };
    return _mm256_inserti128_si256(_mm256_castsi128_si256(load(a)), load(b), 1);
  };
  std::uint64_t bits = 0;
  for (int i = 0; i < 8; i += 4) {
    const __m256i even = two(chunk[i], chunk[i + 2]);
    const __m256i odd = two(chunk[i + 1], chunk[i + 3]);
    const __m256i bins = look_up(row, _mm256_unpacklo_epi64(even, odd));
    bits |= exceeding(bins, _mm256_unpackhi_epi64(even, odd)) << (8 * i);
  }
  return bits;
}

KERNELS_INLINE std::uint32_t deepest_chunk(std::uint64_t bits, const std::uint32_t* masks) {
  const auto load = [](const std::uint32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); };
  const __m256i all = _mm256_set1_epi32(static_cast<int>(bits));
  unsigned reached = 0;
  for (unsigned i = 0; i < word_chunks; i += 8) {
    const __m256i differs = _mm256_and_si256(_mm256_xor_si256(all, load(masks + i)), load(masks + word_chunks + i));
    const __m256i none = _mm256_cmpeq_epi32(differs, _mm256_setzero_si256());
    reached |= static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(none))) << i;
  }
  return static_cast<std::uint32_t>(__builtin_ctz(reached));
}

KERNELS_INLINE std::uint32_t deepest_chunk(std::uint64_t bits, const std::uint64_t* masks) {
  const auto load = [](const std::uint64_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); };
  const __m256i all = _mm256_set1_epi64x(static_cast<long long>(bits));
  unsigned reached = 0;
  for (unsigned i = 0; i < word_chunks; i += 4) {
    const __m256i differs = _mm256_and_si256(_mm256_xor_si256(all, load(masks + i)), load(masks + word_chunks + i));
    const __m256i none = _mm256_cmpeq_epi64(differs, _mm256_setzero_si256());
    reached |= static_cast<unsigned>(_mm256_movemask_pd(_mm256_castsi256_pd(none))) << i;
  }
  return static_cast<std::uint32_t>(__builtin_ctz(reached));
}

KERNELS_INLINE std::uint32_t cuts_reached(const float* line, float x) {
  const __m256 value = _mm256_set1_ps(x);
  const int low = _mm256_movemask_ps(_mm256_cmp_ps(value, _mm256_load_ps(line), _CMP_GE_OQ));
  const int high = _mm256_movemask_ps(_mm256_cmp_ps(value, _mm256_load_ps(line + 8), _CMP_GE_OQ));
  return static_cast<std::uint32_t>(__builtin_popcount(static_cast<unsigned>(low | high << 8)));
}

KERNELS_INLINE std::uint32_t cuts_reached(const double* line, double x) {
  const __m256d value = _mm256_set1_pd(x);
  unsigned bits = 0;
  for (int i = 0; i < 4; ++i) {
    const int four = _mm256_movemask_pd(_mm256_cmp_pd(value, _mm256_load_pd(line + 4 * i), _CMP_GE_OQ));
    bits |= static_cast<unsigned>(four) << (4 * i);
  }
  return static_cast<std::uint32_t>(__builtin_popcount(bits));
}

#endif

// ---- From values to bins ---------------------------------------------------------------------------------------------------

template <class T>
KERNELS_INLINE std::uint32_t bin_of_one_line(const T* lines, const SingleSearch& search, T x) {
  return cuts_reached(lines + search.first_line * line_cuts, x);
}

template <class T>
KERNELS_INLINE std::uint32_t bin_of_lines(const T* lines, const SingleSearch& search, T x) {
  const T* pivots = lines + search.first_line * line_cuts;
  const std::uint32_t line = cuts_reached(pivots, x);
  return line_cuts * line + cuts_reached(pivots + line_cuts * (1 + line), x);
}

// Eight bins, the first one in the lowest byte. value(search): what is looked for.
template <bool one_line, class T, class Value>
KERNELS_INLINE std::uint64_t bins_of_group(const T* lines, const SingleSearch* searches, Value&& value) {
  std::uint64_t word = 0;
#pragma GCC unroll 8
  for (std::uint32_t i = 0; i < search_group; ++i) {
    const T x = value(searches[i]);
    const std::uint64_t bin = one_line ? bin_of_one_line(lines, searches[i], x) : bin_of_lines(lines, searches[i], x);
    word |= bin << (8 * i);
  }
  return word;
}

template <class T>
KERNELS_INLINE const T* cut_lines(const PlanHeader* plan) {
  return section<T>(plan, plan->single[sizeof(T) == sizeof(float) ? single_float_lines : single_double_lines]);
}

// A row that misses values, or may.
template <bool wide, class T, class X>
KERNELS_NOINLINE Row<wide> bin_row_with_missing(const PlanHeader* plan, const SingleForest& forest, const X* x) {
  const SingleSearch* searches = section<SingleSearch>(plan, plan->single[single_searches]);
  const T* lines = cut_lines<T>(plan);
  alignas(64) std::uint8_t bins[row_columns] = {};
  alignas(64) std::uint8_t missing[row_columns] = {};
  for (std::uint32_t i = 0; i < forest.n_searches; ++i) {
    const SingleSearch& search = searches[i];
    const Missing kind = static_cast<Missing>(search.missing);
    const std::uint32_t place = place_in_row(i, forest.n_searches);
    T value = static_cast<T>(x[search.feature]);
    const bool no_number = is_nan(value);
    const double size = static_cast<double>(value < 0 ? -value : value);
    if (kind == Missing::none && no_number) value = 0;
    if ((kind != Missing::none && no_number) || (kind == Missing::zero && size <= plan->zero_threshold)) {
      missing[place] = 255;
    } else {
      bins[place] = static_cast<std::uint8_t>(i < forest.n_one_line ? bin_of_one_line(lines, search, value) : bin_of_lines(lines, search, value));
    }
  }
  return arrange<wide>(load_row<wide>(bins), missing, section<std::uint8_t>(plan, plan->single[single_columns_of]));
}

// T: the real type that rows meet the cuts in.
template <bool wide, class T, class X>
KERNELS_NOINLINE Row<wide> bin_row(const PlanHeader* plan, const SingleForest& forest, const X* x) {
  if (__builtin_expect(forest.any_zero != 0 || any_nan(x, plan->n_features), 0)) return bin_row_with_missing<wide, T>(plan, forest, x);
  const SingleSearch* searches = section<SingleSearch>(plan, plan->single[single_searches]);
  const T* lines = cut_lines<T>(plan);
  const std::uint32_t n_one_line = forest.n_one_line / search_group;
  const auto value = [x](const SingleSearch& search) __attribute__((always_inline)) { return static_cast<T>(x[search.feature]); };
  const Row<wide> row = row_of_groups<wide>(forest.n_searches / search_group, [=](std::uint32_t i) __attribute__((always_inline)) {
    const SingleSearch* group = searches + search_group * i;
    return i < n_one_line ? bins_of_group<true>(lines, group, value) : bins_of_group<false>(lines, group, value);
  });
  if (forest.plain_columns) return row;
  return arrange<wide>(row, nullptr, section<std::uint8_t>(plan, plan->single[single_columns_of]));
}

// ---- Sums --------------------------------------------------------------------------------------------------------------------

template <SumOrder order, class S>
struct Sum;

template <class S>
struct Sum<SumOrder::sequential, S> {
  S total;
  KERNELS_INLINE explicit Sum(S base) : total(base) {}
  template <int lane>
  KERNELS_INLINE void add(S value) {
    total += value;
  }
  KERNELS_INLINE S result() const { return total; }
};

template <class S>
struct Sum<SumOrder::lanes, S> {
  S base;
  S part[4];
  KERNELS_INLINE explicit Sum(S start) : base(start), part{S(-0.0), S(-0.0), S(-0.0), S(-0.0)} {}
  template <int lane>
  KERNELS_INLINE void add(S value) {
    part[lane % 4] += value;
  }
  KERNELS_INLINE S result() const { return base + ((part[0] + part[1]) + (part[2] + part[3])); }
};

// ---- Packs -------------------------------------------------------------------------------------------------------------------

// A chunk of the last round: eight columns, eight thresholds, eight leaves.
template <class S>
constexpr std::size_t final_bytes = 16 + 8 * sizeof(S);

template <class S>
KERNELS_INLINE S load_leaf(const std::uint8_t* p) {
  S value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

template <int rounds, bool wide, SumOrder order, class S>
KERNELS_INLINE S sum_packs(const PlanHeader* plan, const SingleForest& forest, const Row<wide>& row, const SingleOutput& output, S base) {
  const std::uint8_t* nodes = section<std::uint8_t>(plan, plan->single[single_nodes]) + std::size_t(output.first_tree) * 16;
  const std::uint32_t* exits = section<std::uint32_t>(plan, plan->single[single_exits]);
  const std::size_t middle_tree = std::size_t(forest.tree_middles) * 16;
  const std::size_t final_tree = rounds == 1 ? 8 * sizeof(S) : forest.tree_finals * final_bytes<S>;
  const std::uint8_t* middles = section<std::uint8_t>(plan, plan->single[single_middles]) + output.first_tree * middle_tree;
  const std::uint8_t* finals =
      section<std::uint8_t>(plan, plan->single[rounds == 1 ? single_leaves : single_finals]) + output.first_tree * final_tree;
  Sum<order, S> sum(base);
  for (std::uint32_t tree = 0; tree < output.n_trees; tree += pack_trees) {
    std::uint64_t bits = decide(row, nodes);
    nodes += 128;
    const std::uint8_t* at[8];
    if constexpr (rounds == 1) {
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) at[i] = finals + i * final_tree;
    }
    if constexpr (rounds == 3) {
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) at[i] = middles + i * middle_tree + exits[bits >> (8 * i) & 255];
      const std::uint64_t second = decide_chunks(row, at);
      const std::uint32_t* first_exits = exits + chunk_patterns;
      const std::uint32_t* second_exits = exits + 2 * chunk_patterns;
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) {
        at[i] = finals + i * final_tree + first_exits[bits >> (8 * i) & 255] + second_exits[second >> (8 * i) & 255];
      }
      middles += 8 * middle_tree;
    }
    if constexpr (rounds == 2) {
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) at[i] = finals + i * final_tree + exits[bits >> (8 * i) & 255];
    }
    if constexpr (rounds > 1) bits = decide_chunks(row, at);
    const std::uint32_t* last_exits = exits + (rounds == 3 ? 3 : rounds - 1) * chunk_patterns;
    const std::size_t skip = rounds == 1 ? 0 : 16;
    sum.template add<0>(load_leaf<S>(at[0] + skip + last_exits[bits & 255]));
    sum.template add<1>(load_leaf<S>(at[1] + skip + last_exits[bits >> 8 & 255]));
    sum.template add<2>(load_leaf<S>(at[2] + skip + last_exits[bits >> 16 & 255]));
    sum.template add<3>(load_leaf<S>(at[3] + skip + last_exits[bits >> 24 & 255]));
    sum.template add<0>(load_leaf<S>(at[4] + skip + last_exits[bits >> 32 & 255]));
    sum.template add<1>(load_leaf<S>(at[5] + skip + last_exits[bits >> 40 & 255]));
    sum.template add<2>(load_leaf<S>(at[6] + skip + last_exits[bits >> 48 & 255]));
    sum.template add<3>(load_leaf<S>(at[7] + skip + last_exits[bits >> 56]));
    finals += 8 * final_tree;
  }
  return sum.result();
}

// ---- Words -------------------------------------------------------------------------------------------------------------------

template <class Mask, bool wide>
KERNELS_INLINE const std::uint8_t* leaf_of_word(Row<wide> row, const std::uint8_t* tree, const std::uint8_t* shapes,
                                                const std::uint8_t* leaves, std::size_t leaf_bytes) {
  const std::uint8_t* masks = tree + 2 * word_nodes;
  const std::uint8_t* places = masks + 2 * word_chunks * sizeof(Mask);
  const std::uint64_t bits = decide(row, tree);
  std::uint64_t inner = bits;
  if constexpr (sizeof(Mask) == 4) {
    std::uint64_t inner_nodes;
    std::memcpy(&inner_nodes, places + 2 * word_chunks, sizeof inner_nodes);
    inner = _pext_u64(bits, inner_nodes);
  }
  const std::uint32_t chunk = deepest_chunk(inner, reinterpret_cast<const Mask*>(masks));
  std::uint16_t place;
  std::memcpy(&place, places + 2 * chunk, sizeof place);
  const std::uint8_t* shape = shapes + (2u * place & ~(chunk_patterns - 1));
  return leaves + (8 * chunk + shape[bits >> (place & 63) & (chunk_patterns - 1)]) * leaf_bytes;
}

template <class Mask, bool wide, SumOrder order, class S>
KERNELS_INLINE S sum_words(const PlanHeader* plan, Row<wide> row, const SingleOutput& output, S base) {
  constexpr std::size_t tree_bytes = word_tree_bytes(sizeof(Mask));
  constexpr std::size_t leaf_bytes = sizeof(S);
  constexpr std::size_t tree_leaves = 8 * word_chunks * leaf_bytes;
  const std::uint8_t* trees = section<std::uint8_t>(plan, plan->single[single_nodes]) + output.first_tree * tree_bytes;
  const std::uint8_t* leaves = section<std::uint8_t>(plan, plan->single[single_leaves]) + output.first_tree * tree_leaves;
  const std::uint8_t* shapes = section<std::uint8_t>(plan, plan->single[single_shapes]);
  Sum<order, S> sum(base);
  const auto leaf = [](const std::uint8_t* p) __attribute__((always_inline)) { return load_leaf<S>(p); };
  std::uint32_t tree = 0;
  for (; tree + 4 <= output.n_trees; tree += 4) {
    sum.template add<0>(leaf(leaf_of_word<Mask>(row, trees, shapes, leaves, leaf_bytes)));
    sum.template add<1>(leaf(leaf_of_word<Mask>(row, trees + tree_bytes, shapes, leaves + tree_leaves, leaf_bytes)));
    sum.template add<2>(leaf(leaf_of_word<Mask>(row, trees + 2 * tree_bytes, shapes, leaves + 2 * tree_leaves, leaf_bytes)));
    sum.template add<3>(leaf(leaf_of_word<Mask>(row, trees + 3 * tree_bytes, shapes, leaves + 3 * tree_leaves, leaf_bytes)));
    trees += 4 * tree_bytes;
    leaves += 4 * tree_leaves;
  }
  const std::uint32_t left = output.n_trees - tree;
  if (left > 0) sum.template add<0>(leaf(leaf_of_word<Mask>(row, trees, shapes, leaves, leaf_bytes)));
  if (left > 1) sum.template add<1>(leaf(leaf_of_word<Mask>(row, trees + tree_bytes, shapes, leaves + tree_leaves, leaf_bytes)));
  if (left > 2) {
    sum.template add<2>(leaf(leaf_of_word<Mask>(row, trees + 2 * tree_bytes, shapes, leaves + 2 * tree_leaves, leaf_bytes)));
  }
  return sum.result();
}

// ---- Entries -----------------------------------------------------------------------------------------------------------------

// Kinds 1 to 3 are packs of that many rounds, 4 and 8 words whose masks have that many bytes.
template <int kind, bool wide, SumOrder order, class S>
KERNELS_NOINLINE void sum_outputs(const PlanHeader* plan, const SingleForest& forest, Row<wide> row, S* sums) {
  const SingleOutput* outputs = section<SingleOutput>(plan, plan->single[single_outputs]);
  const S* base = section<S>(plan, plan->base);
  const std::uint32_t n_outputs = plan->n_outputs;
  for (std::uint32_t i = 0; i < n_outputs; ++i) {
    if constexpr (kind == 4) {
      sums[i] = sum_words<std::uint32_t, wide, order, S>(plan, row, outputs[i], base[i]);
    } else if constexpr (kind == 8) {
      sums[i] = sum_words<std::uint64_t, wide, order, S>(plan, row, outputs[i], base[i]);
    } else {
      sums[i] = sum_packs<kind, wide, order, S>(plan, forest, row, outputs[i], base[i]);
    }
  }
}

template <int kind, bool wide, SumOrder order, class S, class T, class X>
void single_margin(const PlanHeader* plan, const X* x, void* out) {
  const SingleForest& forest = *section<SingleForest>(plan, plan->single[single_forest]);
  sum_outputs<kind, wide, order>(plan, forest, bin_row<wide, T>(plan, forest, x), static_cast<S*>(out));
}

#endif  // KERNELS_BYTE_LOOKUP

}  // namespace KERNELS_TARGET
}  // namespace kernels
