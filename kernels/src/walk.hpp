// The walk: node by node from the root to a leaf, for every forest and row. Eight rows go in step, each one hiding the others'
// waiting for memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/plan.hpp"
#include "kernels/rows.hpp"
#include "walk_flags.hpp"

namespace kernels {
namespace KERNELS_TARGET {

// T: precision of the comparison, S: precision of the sum.
template <class T, class S>
struct Walk {
  static constexpr std::size_t in_step = 8;
  static constexpr std::size_t block_rows = 64;  // that meet a tree while its nodes are in the cache

  // out[row * n_outputs + output] for the rows from `first` to `past`.
  template <class X>
  static void margins(const PlanHeader* plan, const Rows<X>& x, std::size_t first, std::size_t past, S* out) {
    const S* base = section<S>(plan, plan->base);
    const S* values = section<S>(plan, plan->walk_values);
    const std::uint32_t* outputs = section<std::uint32_t>(plan, plan->walk_outputs);
    const std::size_t width = plan->n_outputs;
    for (std::size_t i = 0; i < (past - first) * width; ++i) out[i] = base[i % width];
    visit(plan, x, first, past, [=](std::size_t row, std::size_t tree, std::uint32_t leaf) {
      S* sums = out + (row - first) * width;
      if (plan->vector_leaves) {
        for (std::size_t k = 0; k < width; ++k) sums[k] += values[leaf * width + k];
      } else {
        sums[outputs[tree]] += values[leaf];
      }
    });
  }

  // out[row * n_trees + tree]: the leaf's number within its tree.
  template <class X>
  static void leaves(const PlanHeader* plan, const Rows<X>& x, std::size_t first, std::size_t past, std::int32_t* out) {
    const std::int32_t* numbers = section<std::int32_t>(plan, plan->walk_leaf_nodes);
    const std::size_t n_trees = plan->n_trees;
    visit(plan, x, first, past,
          [=](std::size_t row, std::size_t tree, std::uint32_t leaf) { out[(row - first) * n_trees + tree] = numbers[leaf]; });
  }

 private:
  using Node = WalkNode<T>;

  // Calls act(row, tree, leaf) for every row and tree; the trees of a row come in order.
  template <class X, class Act>
  static void visit(const PlanHeader* plan, const Rows<X>& x, std::size_t first, std::size_t past, Act act) {
    const std::uint32_t* roots = section<std::uint32_t>(plan, plan->walk_roots);
    for (std::size_t start = first; start < past; start += block_rows) {
      const std::size_t end = past - start < block_rows ? past : start + block_rows;
      for (std::size_t tree = 0; tree < plan->n_trees; ++tree) {
        for (std::size_t row = start; row < end; row += in_step) {
          const std::size_t n = end - row < in_step ? end - row : in_step;
          std::uint32_t leaf[in_step];
          step_down(plan, x, row, n, roots[tree], leaf);
          for (std::size_t i = 0; i < n; ++i) act(row + i, tree, leaf[i]);
        }
      }
    }
  }

  template <class X>
  static void step_down(const PlanHeader* plan, const Rows<X>& x, std::size_t row, std::size_t n, std::uint32_t root,
                        std::uint32_t* leaf) {
    const Node* nodes = section<Node>(plan, plan->walk_nodes);
    const X* values[in_step];
    std::uint32_t at[in_step];
    for (std::size_t i = 0; i < in_step; ++i) {
      values[i] = x.data + static_cast<std::ptrdiff_t>(row + (i < n ? i : n - 1)) * x.row_stride;
      at[i] = root;
    }
    for (bool moving = true; moving;) {
      moving = false;
      for (std::size_t i = 0; i < in_step; ++i) {
        const Node& node = nodes[at[i]];
        if ((node.feature_and_flags & walk_leaf) != 0) continue;
        const auto feature = static_cast<std::ptrdiff_t>(node.feature_and_flags & walk_max_features);
        const T value = static_cast<T>(values[i][feature * x.column_stride]);
        at[i] = node.next + static_cast<std::uint32_t>(!goes_left(plan, at[i], node, value));
        moving = true;
      }
    }
    for (std::size_t i = 0; i < in_step; ++i) leaf[i] = nodes[at[i]].next;
  }

 public:
  static bool goes_left(const PlanHeader* plan, std::uint32_t index, const Node& node, T x) {
    const std::uint32_t flags = node.feature_and_flags;
    const bool default_left = (flags & walk_default_left) != 0;
    if (is_nan(x)) return default_left;
    if ((flags & (walk_zero_is_missing | walk_categorical)) != 0) {
      const double zero = plan->zero_threshold;
      if ((flags & walk_zero_is_missing) != 0 && static_cast<double>(x) <= zero && static_cast<double>(x) >= -zero) return default_left;
      if ((flags & walk_categorical) != 0) return is_listed(plan, index, x, (flags & walk_listed_left) != 0);
    }
    return (flags & walk_less_equal) != 0 ? x <= node.threshold : x < node.threshold;
  }

 private:
  static bool is_listed(const PlanHeader* plan, std::uint32_t index, T x, bool listed_left) {
    const WalkSet* sets = section<WalkSet>(plan, plan->walk_sets);
    std::size_t low = 0, high = plan->walk_sets.count;
    while (high - low > 1) {
      const std::size_t middle = (low + high) / 2;
      (sets[middle].node <= index ? low : high) = middle;
    }
    // Listed-left sets truncate towards zero, the others look at the sign first.
    const bool negative = listed_left ? x <= T(-1) : x < T(0);
    if (negative || !(x < T(2147483648.0))) return !listed_left;
    const auto category = static_cast<std::uint32_t>(x < T(0) ? T(0) : x);
    const std::uint32_t word = category / 32;
    const std::uint32_t* words = section<std::uint32_t>(plan, plan->walk_words) + sets[low].first_word;
    return (word < sets[low].n_words && (words[word] >> (category % 32) & 1u) != 0) == listed_left;
  }
};

}  // namespace KERNELS_TARGET
}  // namespace kernels
