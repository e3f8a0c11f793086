// The walk for one row with AVX-512: forests whose rows need more bytes than a register permutes, in the library.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/plan.hpp"
#include "kernels/rows.hpp"
#include "walk.hpp"

namespace kernels {
namespace KERNELS_TARGET {

// Sixteen trees at once, one a lane: their nodes and the row's values are gathered, with nothing computed for the row beforehand. For
// float thresholds and rows of floats.
template <class S>
struct GatherWalk {
  static constexpr std::uint32_t lanes = 16;
  static constexpr std::uint32_t groups = 2;  // that hide each other's waiting for memory

  struct Group {
    __m512i at;
    __mmask16 inner;  // lanes that are not at a leaf yet
  };

  // One step down for the lanes that are not at a leaf.
  static KERNELS_INLINE void step(const PlanHeader* plan, const WalkNode<float>* nodes, const float* x, Group& group) {
    const auto* words = reinterpret_cast<const int*>(nodes);
    const __m512i place = _mm512_add_epi32(group.at, _mm512_add_epi32(group.at, group.at));  // a node is three words
    const __m512i flags = _mm512_mask_i32gather_epi32(_mm512_set1_epi32(walk_leaf), group.inner, place, words + 2, 4);
    group.inner = _mm512_testn_epi32_mask(flags, _mm512_set1_epi32(walk_leaf));
    const __m512i feature = _mm512_and_epi32(flags, _mm512_set1_epi32(walk_max_features));
    const __m512 zeros = _mm512_setzero_ps();
    const __m512 value = _mm512_mask_i32gather_ps(zeros, group.inner, feature, x, 4);
    const __m512 threshold = _mm512_mask_i32gather_ps(zeros, group.inner, place, words, 4);
    const __m512i next = _mm512_mask_i32gather_epi32(group.at, group.inner, place, words + 1, 4);
    const __mmask16 no_number = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
    const __mmask16 equal = _mm512_mask_cmp_ps_mask(_mm512_test_epi32_mask(flags, _mm512_set1_epi32(walk_less_equal)), value, threshold, _CMP_EQ_OQ);
    __mmask16 left = _mm512_cmp_ps_mask(value, threshold, _CMP_LT_OQ) | equal |
                     (no_number & _mm512_test_epi32_mask(flags, _mm512_set1_epi32(walk_default_left)));
    const __mmask16 special =
        _mm512_mask_test_epi32_mask(group.inner, flags, _mm512_set1_epi32(walk_zero_is_missing | walk_categorical));
    if (__builtin_expect(special != 0, 0)) left = decided(plan, nodes, x, group.at, special, left);
    const __mmask16 right = group.inner & static_cast<__mmask16>(~left);
    group.at = _mm512_mask_add_epi32(next, right, next, _mm512_set1_epi32(1));
  }

  // Lanes whose nodes ask for more than a comparison.
  static KERNELS_NOINLINE __mmask16 decided(const PlanHeader* plan, const WalkNode<float>* nodes, const float* x, __m512i at, __mmask16 special,
                                            __mmask16 left) {
    alignas(64) std::uint32_t place[lanes];
    _mm512_store_si512(place, at);
    for (std::uint32_t i = 0; i < lanes; ++i) {
      if ((special >> i & 1) == 0) continue;
      const WalkNode<float>& node = nodes[place[i]];
      const bool goes = Walk<float, S>::goes_left(plan, place[i], node, x[node.feature_and_flags & walk_max_features]);
      left = static_cast<__mmask16>((left & ~(1u << i)) | static_cast<std::uint32_t>(goes) << i);
    }
    return left;
  }

  static void margin(const PlanHeader* plan, const float* x, void* out) {
    const auto* nodes = section<WalkNode<float>>(plan, plan->walk_nodes);
    const std::uint32_t* roots = section<std::uint32_t>(plan, plan->walk_roots);
    const std::uint32_t* outputs = section<std::uint32_t>(plan, plan->walk_outputs);
    const S* values = section<S>(plan, plan->walk_values);
    const S* base = section<S>(plan, plan->base);
    const std::uint32_t n_outputs = plan->n_outputs, n_trees = plan->n_trees;
    S* sums = static_cast<S*>(out);
    for (std::uint32_t i = 0; i < n_outputs; ++i) sums[i] = base[i];
    for (std::uint32_t first = 0; first < n_trees; first += groups * lanes) {
      const std::uint32_t n = n_trees - first < groups * lanes ? n_trees - first : groups * lanes;
      Group group[groups];
      __mmask16 there[groups];
#pragma GCC unroll 8
      for (std::uint32_t g = 0; g < groups; ++g) {
        const std::uint32_t left = n > g * lanes ? n - g * lanes : 0;
        there[g] = static_cast<__mmask16>(left >= lanes ? 0xFFFF : (1u << left) - 1);
        group[g] = {_mm512_maskz_loadu_epi32(there[g], roots + first + g * lanes), there[g]};
      }
      for (std::uint32_t inner = 1; inner != 0;) {
        inner = 0;
#pragma GCC unroll 8
        for (std::uint32_t g = 0; g < groups; ++g) {
          step(plan, nodes, x, group[g]);
          inner |= group[g].inner;
        }
      }
      alignas(64) std::uint32_t leaf[groups * lanes];
      const auto* words = reinterpret_cast<const int*>(nodes) + 1;
#pragma GCC unroll 8
      for (std::uint32_t g = 0; g < groups; ++g) {
        const __m512i place = _mm512_mullo_epi32(group[g].at, _mm512_set1_epi32(3));
        _mm512_store_si512(leaf + g * lanes, _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), there[g], place, words, 4));
      }
      if (plan->vector_leaves) {
        for (std::uint32_t i = 0; i < n; ++i) {
          for (std::uint32_t k = 0; k < n_outputs; ++k) sums[k] += values[static_cast<std::size_t>(leaf[i]) * n_outputs + k];
        }
      } else {
        for (std::uint32_t i = 0; i < n; ++i) sums[outputs[first + i]] += values[leaf[i]];
      }
    }
  }
};

}  // namespace KERNELS_TARGET
}  // namespace kernels
