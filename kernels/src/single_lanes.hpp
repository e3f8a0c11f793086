// Single rows of wide forests with AVX-512: sixteen trees go down at once, one a lane. Of the first four levels all nodes are loaded and
// the lane's own is picked, as that takes less time than gathering it; further nodes, the row's values and the leaves are gathered.
// Nothing is computed for the row beforehand. See `SingleKind::lanes` for what lies where.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/rows.hpp"
#include "kernels/single_plan.hpp"

namespace kernels {
namespace KERNELS_TARGET {

template <class S>
struct LaneTrees {
  // Margins of one row; rows of doubles, of at most `lane_doubles` features, are rounded to floats, as their forests' walk does.
  template <bool any_zero, class X>
  static void margins(const PlanHeader* plan, const X* row, void* out) {
    if constexpr (sizeof(X) == sizeof(float)) {
      sum<any_zero>(plan, row, static_cast<S*>(out));
    } else {
      float x[lane_doubles];
      for (std::uint32_t i = 0; i < plan->n_features; ++i) x[i] = static_cast<float>(row[i]);
      sum<any_zero>(plan, x, static_cast<S*>(out));
    }
  }

 private:
  static constexpr std::uint32_t top_words = 2 * lane_trees * lane_top_nodes;

  // What a node of each tree asks.
  struct Asked {
    __m512 cut;
    __m512i feature;  // and flags
  };

  template <bool any_zero>
  static KERNELS_INLINE __mmask16 right(const float* x, const Asked& node, __m512 zero) {
    const __m512i feature = _mm512_and_si512(node.feature, _mm512_set1_epi32(lane_feature));
    const __m512 value = _mm512_i32gather_ps(feature, x, 4);
    __mmask16 above = _mm512_cmp_ps_mask(value, node.cut, _CMP_GE_OQ);
    __mmask16 missing = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
    if constexpr (any_zero) {
      const __mmask16 takes_zero = _mm512_test_epi32_mask(node.feature, _mm512_set1_epi32(lane_zero_is_missing));
      missing |= _mm512_mask_cmp_ps_mask(takes_zero, _mm512_abs_ps(value), zero, _CMP_LE_OQ);
      above &= static_cast<__mmask16>(~missing);
    }
    return above | (missing & _mm512_movepi32_mask(node.feature));
  }

  // The nodes `level` levels below `node` that the lanes have come to; went[i]: lanes that went right i levels below it.
  template <int level>
  static KERNELS_INLINE Asked picked(const std::uint32_t* nodes, std::uint32_t node, const __mmask16* went) {
    if constexpr (level == 0) {
      const std::uint32_t* words = nodes + 2 * lane_trees * node;
      return {_mm512_castsi512_ps(_mm512_load_si512(words)), _mm512_load_si512(words + lane_trees)};
    } else {
      const Asked on_left = picked<level - 1>(nodes, 2 * node + 1, went + 1);
      const Asked on_right = picked<level - 1>(nodes, 2 * node + 2, went + 1);
      return {_mm512_mask_blend_ps(went[0], on_left.cut, on_right.cut), _mm512_mask_blend_epi32(went[0], on_left.feature, on_right.feature)};
    }
  }

  // Where the lanes stand among the nodes of the level after the first four.
  template <bool any_zero>
  static KERNELS_INLINE __m512i through_top(const std::uint32_t* nodes, const float* x, __m512 zero) {
    __mmask16 went[lane_top_levels];
    went[0] = right<any_zero>(x, picked<0>(nodes, 0, went), zero);
    went[1] = right<any_zero>(x, picked<1>(nodes, 0, went), zero);
    went[2] = right<any_zero>(x, picked<2>(nodes, 0, went), zero);
    went[3] = right<any_zero>(x, picked<3>(nodes, 0, went), zero);
    __m512i at = _mm512_maskz_set1_epi32(went[0], 8);
    at = _mm512_mask_or_epi32(at, went[1], at, _mm512_set1_epi32(4));
    at = _mm512_mask_or_epi32(at, went[2], at, _mm512_set1_epi32(2));
    return _mm512_mask_or_epi32(at, went[3], at, _mm512_set1_epi32(1));
  }

  // The nodes of one level, of which each lane stands at number `at`: a cut and a feature at once.
  static KERNELS_INLINE Asked gathered(const std::uint64_t* level, __m512i at, __m512i lane) {
    const __m512i place = _mm512_or_si512(_mm512_slli_epi32(at, 4), lane);
    const __m512i low = _mm512_i32gather_epi64(_mm512_castsi512_si256(place), level, 8);
    const __m512i high = _mm512_i32gather_epi64(_mm512_extracti64x4_epi64(place, 1), level, 8);
    const __m512i even = _mm512_add_epi32(lane, lane);
    const __m512i odd = _mm512_or_si512(even, _mm512_set1_epi32(1));
    return {_mm512_castsi512_ps(_mm512_permutex2var_epi32(low, even, high)), _mm512_permutex2var_epi32(low, odd, high)};
  }

  static KERNELS_INLINE void store_leaves(const float* leaves, __m512i place, float* to) {
    _mm512_store_ps(to, _mm512_i32gather_ps(place, leaves, 4));
  }
  static KERNELS_INLINE void store_leaves(const double* leaves, __m512i place, double* to) {
    _mm512_store_pd(to, _mm512_i32gather_pd(_mm512_castsi512_si256(place), leaves, 8));
    _mm512_store_pd(to + 8, _mm512_i32gather_pd(_mm512_extracti64x4_epi64(place, 1), leaves, 8));
  }

  // Adds to one output after the other, each with its own trees in the forest's order.
  class Sums {
   public:
    Sums(const PlanHeader* plan, S* out)
        : outputs_(section<SingleOutput>(plan, plan->single[single_outputs])),
          base_(section<S>(plan, plan->base)),
          out_(out),
          n_outputs_(plan->n_outputs) {
      begin();
    }

    KERNELS_INLINE void add(const S* leaves) {
      for (std::uint32_t i = 0; i < lane_step;) {
        const std::uint32_t n = left_ < lane_step - i ? left_ : lane_step - i;
        S total = total_;
        if (n == lane_step) {
#pragma GCC unroll 32
          for (std::uint32_t k = 0; k < lane_step; ++k) total += leaves[k];
        } else {
          for (std::uint32_t k = 0; k < n; ++k) total += leaves[i + k];
        }
        total_ = total;
        left_ -= n;
        i += n;
        if (left_ != 0) continue;
        finish();
        if (output_ == n_outputs_) return;
      }
    }

   private:
    // Outputs without trees are done at once.
    void begin() {
      left_ = 0;
      while (output_ < n_outputs_ && (left_ = outputs_[output_].n_trees) == 0) {
        out_[output_] = base_[output_];
        ++output_;
      }
      if (output_ < n_outputs_) total_ = base_[output_];
    }
    void finish() {
      out_[output_++] = total_;
      begin();
    }

    const SingleOutput* outputs_;
    const S* base_;
    S* out_;
    std::uint32_t n_outputs_;
    std::uint32_t output_ = 0;
    std::uint32_t left_ = 0;
    S total_ = S(0);
  };

  template <bool any_zero>
  static void sum(const PlanHeader* plan, const float* x, S* out) {
    const std::uint32_t depth = section<SingleForest>(plan, plan->single[single_forest])->rounds;
    const std::uint32_t* top = section<std::uint32_t>(plan, plan->single[single_nodes]);
    const std::uint64_t* below = section<std::uint64_t>(plan, plan->single[single_finals]);
    const S* leaves = section<S>(plan, plan->single[single_leaves]);
    const std::size_t below_size = lane_trees * ((std::size_t(1) << depth) - lane_top_nodes - 1);
    const std::size_t leaves_size = std::size_t(lane_trees) << depth;
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i first_leaf = _mm512_sllv_epi32(lane, _mm512_set1_epi32(static_cast<int>(depth)));
    const __m512 zero = any_zero ? _mm512_set1_ps(at_or_below<float>(plan->zero_threshold)) : _mm512_setzero_ps();
    Sums sums(plan, out);
    for (std::uint32_t first = 0; first < plan->n_trees; first += lane_step) {
      __m512i at[lane_groups];
#pragma GCC unroll 8
      for (std::uint32_t g = 0; g < lane_groups; ++g) at[g] = through_top<any_zero>(top + g * top_words, x, zero);
      for (std::uint32_t level = lane_top_levels; level < depth; ++level) {
        const std::size_t start = lane_trees * ((std::size_t(1) << level) - lane_top_nodes - 1);
#pragma GCC unroll 8
        for (std::uint32_t g = 0; g < lane_groups; ++g) {
          const __mmask16 went = right<any_zero>(x, gathered(below + g * below_size + start, at[g], lane), zero);
          at[g] = _mm512_add_epi32(at[g], at[g]);
          at[g] = _mm512_mask_or_epi32(at[g], went, at[g], _mm512_set1_epi32(1));
        }
      }
      alignas(64) S found[lane_step];
#pragma GCC unroll 8
      for (std::uint32_t g = 0; g < lane_groups; ++g) {
        store_leaves(leaves + g * leaves_size, _mm512_add_epi32(first_leaf, at[g]), found + g * lane_trees);
      }
      sums.add(found);
      top += lane_groups * top_words;
      below += lane_groups * below_size;
      leaves += lane_groups * leaves_size;
    }
  }
};

}  // namespace KERNELS_TARGET
}  // namespace kernels
