// The walk for one row: eight trees go in step, each one hiding the others' waiting for memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/plan.hpp"
#include "kernels/rows.hpp"
#include "walk.hpp"

namespace kernels {
namespace KERNELS_TARGET {

template <class T, class S, class X>
void walk_margin(const PlanHeader* plan, const X* x, void* out) {
  constexpr std::uint32_t in_step = 8;  // trees that hide each other's waiting for memory
  const WalkNode<T>* nodes = section<WalkNode<T>>(plan, plan->walk_nodes);
  const std::uint32_t* roots = section<std::uint32_t>(plan, plan->walk_roots);
  const std::uint32_t* outputs = section<std::uint32_t>(plan, plan->walk_outputs);
  const S* values = section<S>(plan, plan->walk_values);
  const S* base = section<S>(plan, plan->base);
  const std::uint32_t n_outputs = plan->n_outputs;
  const std::uint32_t n_trees = plan->n_trees;
  S* sums = static_cast<S*>(out);
  for (std::uint32_t i = 0; i < n_outputs; ++i) sums[i] = base[i];
  for (std::uint32_t first = 0; first < n_trees; first += in_step) {
    std::uint32_t at[in_step];
    for (std::uint32_t i = 0; i < in_step; ++i) at[i] = roots[first + i < n_trees ? first + i : n_trees - 1];
    for (bool moving = true; moving;) {
      std::uint32_t leaves = walk_leaf;
#pragma GCC unroll 8
      for (std::uint32_t i = 0; i < in_step; ++i) {
        const WalkNode<T>& node = nodes[at[i]];
        const std::uint32_t flags = node.feature_and_flags;
        const T value = static_cast<T>(x[flags & walk_max_features]);
        // Bits, which no compiler turns into branches that a CPU would have to guess.
        const std::uint32_t no_number = is_nan(value);
        std::uint32_t left = std::uint32_t(value < node.threshold) | (std::uint32_t(value == node.threshold) & flags / walk_less_equal);
        left = (left & ~no_number) | (no_number & flags / walk_default_left);
        if (__builtin_expect((flags & (walk_zero_is_missing | walk_categorical)) != 0, 0)) {
          left = Walk<T, S>::goes_left(plan, at[i], node, value);
        }
        const std::uint32_t inner = (flags / walk_leaf & 1) - 1;  // all ones, at a leaf none
        at[i] = (at[i] & ~inner) | ((node.next + (~left & 1)) & inner);
        leaves &= flags;
      }
      moving = leaves == 0;
    }
    for (std::uint32_t i = 0; i < in_step && first + i < n_trees; ++i) {
      const std::size_t leaf = nodes[at[i]].next;
      if (plan->vector_leaves) {
        for (std::uint32_t k = 0; k < n_outputs; ++k) sums[k] += values[leaf * n_outputs + k];
      } else {
        sums[outputs[first + i]] += values[leaf];
      }
    }
  }
}

}  // namespace KERNELS_TARGET
}  // namespace kernels
