// One row at a time on the plan of the bit-sliced engine, for targets that look up no bytes: each plane is one byte here, and the
// bytes of its nodes' planes lead down a sliced tree. Trees of a few hundred bytes stay in the cache where the walk's nodes do not,
// and the way down holds no branch; trees do not wait for each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/plan.hpp"
#include "kernels/rows.hpp"

namespace kernels {
namespace KERNELS_TARGET {

template <class S>
struct PlaneWalk {
  // Margins of one row. `planes`: n_planes + n_scratch bytes of workspace.
  template <class X>
  static void margins(const PlanHeader* plan, const X* row, S* out, std::uint8_t* planes) {
    planes[plane_zeros] = 0;
    planes[plane_ones] = 1;
    if (sizeof(X) == 8 && plan->threshold_is_double) {
      all_planes(plan, section<double>(plan, plan->double_cuts), row, planes);
    } else {
      all_planes(plan, section<float>(plan, plan->float_cuts), row, planes);
    }
    const S* base = section<S>(plan, plan->base);
    for (std::size_t k = 0; k < plan->n_outputs; ++k) out[k] = base[k];
    const PlanTree* trees = section<PlanTree>(plan, plan->trees);
    std::size_t i = 0;
    while (i < plan->n_trees) {
      if (i + in_step <= plan->n_trees && go_in_step(trees + i)) {
        add_in_step(plan, trees + i, planes, out);
        i += in_step;
      } else {
        add_tree(plan, trees[i++], planes, out);
      }
    }
  }

 private:
  static constexpr std::size_t in_step = 8;  // trees that hide each other's waiting for memory

  // Of one depth, and without chains, whose planes every tree writes anew.
  static bool go_in_step(const PlanTree* trees) {
    std::uint32_t differs = 0;
    for (std::size_t i = 0; i < in_step; ++i) differs |= (trees[i].depth ^ trees[0].depth) | trees[i].n_chains;
    return differs == 0;
  }

  // Searches go in step as the trees do.
  template <class R, class X>
  static void all_planes(const PlanHeader* plan, const R* cuts, const X* row, std::uint8_t* planes) {
    const PlanFeature* features = section<PlanFeature>(plan, plan->features);
    for (std::size_t from = 0; from < plan->n_features; from += in_step) {
      const std::size_t n = plan->n_features - from < in_step ? plan->n_features - from : in_step;
      const R* tables[in_step];
      std::uint32_t levels[in_step], at[in_step], most_levels = 0;
      R values[in_step];
      for (std::size_t i = 0; i < in_step; ++i) {
        const PlanFeature& feature = features[from + (i < n ? i : n - 1)];
        tables[i] = cuts + feature.first_cut;
        levels[i] = feature.n_categories == 0 ? feature.levels : 0;
        at[i] = 1;
        values[i] = static_cast<R>(row[from + (i < n ? i : n - 1)]);
        if (levels[i] > most_levels) most_levels = levels[i];
      }
      for (std::uint32_t level = 0; level < most_levels; ++level) {
        for (std::size_t i = 0; i < in_step; ++i) {
          const std::uint32_t further = level < levels[i];
          const std::uint32_t next = 2 * at[i] + (values[i] >= tables[i][further * at[i]]);
          at[i] = further != 0 ? next : at[i];
        }
      }
      for (std::size_t i = 0; i < n; ++i) feature_planes(plan, features[from + i], values[i], at[i] - (1u << levels[i]), planes);
    }
  }

  template <class R>
  static void feature_planes(const PlanHeader* plan, const PlanFeature& feature, R x, std::uint32_t bin, std::uint8_t* planes) {
    if (feature.n_cuts + feature.n_sets == 0) return;
    const bool zero = feature.missing == 1 && static_cast<double>(x) <= plan->zero_threshold &&
                      static_cast<double>(x) >= -plan->zero_threshold;
    std::uint8_t* to = planes + feature.first_plane;
    if (is_nan(x) || zero) {
      const std::uint32_t* direction = section<std::uint32_t>(plan, plan->directions) + feature.first_direction;
      const std::uint32_t n = feature.n_cuts + feature.n_extras + feature.n_sets;
      for (std::uint32_t i = 0; i < n; ++i) to[i] = direction[i] & 1;
    } else if (feature.n_categories != 0) {
      set_planes(plan, feature, x, to + feature.n_cuts);
    } else {
      cut_planes(plan, feature, bin, to);
    }
  }

  static void cut_planes(const PlanHeader* plan, const PlanFeature& feature, std::uint32_t bin, std::uint8_t* planes) {
    std::memset(planes, 1, bin);
    std::memset(planes + bin, 0, feature.n_cuts - bin);
    const std::uint32_t* extras = section<std::uint32_t>(plan, plan->extras) + feature.first_extra;
    for (std::uint32_t i = 0; i < feature.n_extras; ++i) planes[feature.n_cuts + i] = extras[i] < bin;
  }

  template <class R>
  static void set_planes(const PlanHeader* plan, const PlanFeature& feature, R x, std::uint8_t* planes) {
    const std::uint16_t* classes = section<std::uint16_t>(plan, plan->classes) + feature.first_class;
    const bool inside = (feature.truncates != 0 ? x > R(-1) : x >= R(0)) && x < static_cast<R>(feature.n_categories);
    const std::uint32_t number = inside ? classes[static_cast<std::uint32_t>(x < R(0) ? R(0) : x)] : 0;
    const PlanSet* sets = section<PlanSet>(plan, plan->sets) + feature.first_set;
    for (std::uint32_t i = 0; i < feature.n_sets; ++i) {
      const PlanRun* runs = section<PlanRun>(plan, plan->runs) + sets[i].first_run;
      bool inside_run = false;
      for (std::uint32_t j = 0; j < sets[i].n_runs; ++j) inside_run |= number >= runs[j].from && number < runs[j].to;
      planes[i] = inside_run;
    }
  }

  static void add_in_step(const PlanHeader* plan, const PlanTree* trees, const std::uint8_t* planes, S* out) {
    const std::uint16_t* all = section<std::uint16_t>(plan, plan->nodes);
    const std::uint16_t* nodes[in_step];
    std::uint32_t at[in_step];
    for (std::size_t i = 0; i < in_step; ++i) {
      nodes[i] = all + trees[i].first_node;
      at[i] = 0;
    }
    for (std::uint32_t level = 0; level < trees[0].depth; ++level) {
      for (std::size_t i = 0; i < in_step; ++i) at[i] = 2 * at[i] + 1 + planes[nodes[i][at[i]]];
    }
    for (std::size_t i = 0; i < in_step; ++i) add_leaf(plan, trees[i], at[i], out);
  }

  static void add_tree(const PlanHeader* plan, const PlanTree& tree, std::uint8_t* planes, S* out) {
    const PlanChain* chain = section<PlanChain>(plan, plan->chains) + tree.first_chain;
    for (std::uint32_t j = 0; j < tree.n_chains; ++j) {
      planes[plan->n_planes + j] = planes[chain[j].first] & (planes[chain[j].second] ^ (chain[j].flip & 1));
    }
    const std::uint16_t* nodes = section<std::uint16_t>(plan, plan->nodes) + tree.first_node;
    std::uint32_t at = 0;
    for (std::uint32_t level = 0; level < tree.depth; ++level) at = 2 * at + 1 + planes[nodes[at]];
    add_leaf(plan, tree, at, out);
  }

  // `at`: where the way down ended, counted through all levels.
  static KERNELS_INLINE void add_leaf(const PlanHeader* plan, const PlanTree& tree, std::uint32_t at, S* out) {
    const S* leaf = section<S>(plan, plan->leaves) + tree.first_leaf + (at + 1 - (1u << tree.depth));
    if (plan->vector_leaves == 0) {
      out[tree.output] += *leaf;
    } else {
      for (std::size_t k = 0; k < plan->n_outputs; ++k) out[k] += leaf[k << tree.depth];
    }
  }
};

// Chains are made anew for each tree; where there are many, the walk over the forest's own nodes is faster.
inline bool row_takes_planes(const PlanHeader* plan) {
  return plan->is_sliced != 0 && plan->chains.count <= 4 * std::uint64_t(plan->n_trees);
}

// Nodes name their planes by 16 bits, so the planes fit on the stack; no more of it is touched than the forest has.
template <class S, class X>
void plane_margin(const PlanHeader* plan, const X* x, void* out) {
  std::uint8_t planes[std::size_t(1) << 16];
  PlaneWalk<S>::margins(plan, x, static_cast<S*>(out), planes);
}

}  // namespace KERNELS_TARGET
}  // namespace kernels
