// Which engine of a target runs the single events of a plan.
#pragma once

#include "link.hpp"
#include "plane_walk.hpp"
#include "single_event_engine.hpp"
#include "walk_row.hpp"

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#define KERNELS_GATHERS
#include "single_lanes.hpp"
#include "walk_gathers.hpp"
#endif

namespace kernels {
namespace KERNELS_TARGET {

template <class S>
void link_row(const PlanHeader* plan, const void* margins, void* out) {
  apply_link(plan, static_cast<const S*>(margins), static_cast<S*>(out));
}

template <class T, class S>
void choose_walk(SingleEngine& engine) {
  engine.float_row[0] = engine.float_row[1] = walk_margin<T, S, float>;
  engine.double_row[0] = engine.double_row[1] = walk_margin<T, S, double>;
}

#if defined(KERNELS_BYTE_LOOKUP)

template <int kind, bool wide, class S, SumOrder order>
void choose_order(SingleEngine& engine, bool double_cuts) {
  constexpr int i = static_cast<int>(order);
  // Rows of floats meet float cuts, whatever the model's precision.
  engine.float_row[i] = single_margin<kind, wide, order, S, float, float>;
  engine.double_row[i] = double_cuts ? single_margin<kind, wide, order, S, double, double> : single_margin<kind, wide, order, S, float, double>;
}

template <int kind, bool wide, class S>
void choose_kind(SingleEngine& engine, bool double_cuts) {
  choose_order<kind, wide, S, SumOrder::sequential>(engine, double_cuts);
  // The additions of one shallow tree after another take longer than all else; deeper trees leave time for them.
  if constexpr (kind == 1) {
    choose_order<kind, wide, S, SumOrder::lanes>(engine, double_cuts);
  } else {
    engine.float_row[1] = engine.float_row[0];
    engine.double_row[1] = engine.double_row[0];
  }
}

template <bool wide, class S>
void choose(SingleEngine& engine, const SingleForest& forest, bool double_cuts) {
  if (static_cast<SingleKind>(forest.kind) == SingleKind::words) {
    return forest.rounds == 4 ? choose_kind<4, wide, S>(engine, double_cuts) : choose_kind<8, wide, S>(engine, double_cuts);
  }
  if (forest.rounds == 1) return choose_kind<1, wide, S>(engine, double_cuts);
  if (forest.rounds == 2) return choose_kind<2, wide, S>(engine, double_cuts);
  choose_kind<3, wide, S>(engine, double_cuts);
}

#endif

// Whether single rows of floats go down sixteen trees at once: where there are that many, and nodes can be numbered in a gather.
inline bool row_takes_gathers(const PlanHeader* plan) {
  return plan->threshold_is_double == 0 && plan->n_trees >= 16 && plan->walk_nodes.count != 0 &&
         plan->walk_nodes.count < (std::uint64_t(1) << 29);
}

#if defined(KERNELS_GATHERS)

template <class S>
void choose_lanes(SingleEngine& engine, const PlanHeader* plan, bool any_zero) {
  engine.float_row[0] = engine.float_row[1] = any_zero ? LaneTrees<S>::template margins<true, float> : LaneTrees<S>::template margins<false, float>;
  if (plan->threshold_is_double != 0 || plan->n_features > lane_doubles) {
    engine.double_row[0] = engine.double_row[1] = row_takes_planes(plan) ? plane_margin<S, double>
                                                  : plan->threshold_is_double != 0 ? walk_margin<double, S, double>
                                                                                   : walk_margin<float, S, double>;
  } else {
    engine.double_row[0] = engine.double_row[1] =
        any_zero ? LaneTrees<S>::template margins<true, double> : LaneTrees<S>::template margins<false, double>;
  }
}

#endif

template <class S>
SingleEngine choose_single(const PlanHeader* plan) {
  SingleEngine engine{};
  engine.link = link_row<S>;
#if defined(KERNELS_BYTE_LOOKUP)
  const SingleForest& forest = *section<SingleForest>(plan, plan->single[single_forest]);
  const auto kind = static_cast<SingleKind>(forest.kind);
  if (kind == SingleKind::packs || kind == SingleKind::words) {
    const bool double_cuts = plan->threshold_is_double != 0;
    const bool wide = forest.n_columns > 64 || forest.n_searches > 64;
    wide ? choose<true, S>(engine, forest, double_cuts) : choose<false, S>(engine, forest, double_cuts);
    engine.few_rows = 16;
    return engine;
  }
#endif
#if defined(KERNELS_GATHERS)
  if (kind == SingleKind::lanes) {
    choose_lanes<S>(engine, plan, forest.any_zero != 0);
    engine.few_rows = 12;
    return engine;
  }
  if (row_takes_gathers(plan)) {
    engine.float_row[0] = engine.float_row[1] = GatherWalk<S>::margin;
    engine.double_row[0] = engine.double_row[1] = row_takes_planes(plan) ? plane_margin<S, double> : walk_margin<float, S, double>;
    engine.few_rows = 4;
    return engine;
  }
#endif
  if (row_takes_planes(plan)) {
    engine.float_row[0] = engine.float_row[1] = plane_margin<S, float>;
    engine.double_row[0] = engine.double_row[1] = plane_margin<S, double>;
    engine.few_rows = 8;
  } else {
    plan->threshold_is_double ? choose_walk<double, S>(engine) : choose_walk<float, S>(engine);
    engine.few_rows = 4;
  }
  return engine;
}

bool takes_planes(const PlanHeader* plan) { return row_takes_planes(plan); }

bool takes_gathers(const PlanHeader* plan) { return row_takes_gathers(plan); }

SingleEngine single_engine(const PlanHeader* plan) {
  return plan->sum_is_double ? choose_single<double>(plan) : choose_single<float>(plan);
}

}  // namespace KERNELS_TARGET
}  // namespace kernels
