// Batches: which planes or walk take which rows.
#pragma once

#include "bit_sliced.hpp"
#include "link.hpp"
#include "walk.hpp"

namespace kernels {
namespace KERNELS_TARGET {

template <class S>
constexpr std::size_t workspace_of(const PlanHeader* plan) {
  const std::size_t margins = (WidePlanes::rows * plan->n_outputs * sizeof(S) + 63) / 64 * 64;
  if (!plan->is_sliced) return margins;
  const std::size_t wide = BitSliced<WidePlanes, S>::workspace_bytes(plan);
  const std::size_t narrow = BitSliced<NarrowPlanes, S>::workspace_bytes(plan);
  return margins + (wide > narrow ? wide : narrow);
}

constexpr std::size_t workspace_bytes(const PlanHeader* plan) {
  return plan->sum_is_double ? workspace_of<double>(plan) : workspace_of<float>(plan);
}

template <class X, class S>
void run_as(const PlanHeader* plan, const Rows<X>& x, std::size_t first, std::size_t past, bool link, S* out, unsigned char* workspace) {
  const std::size_t n_outputs = plan->n_outputs;
  const bool has_link = link && (static_cast<Link>(plan->link) != Link::identity || plan->divisor != 1);
  const std::size_t n_columns = has_link ? predictions_of(static_cast<Link>(plan->link), n_outputs) : n_outputs;
  S* margins = reinterpret_cast<S*>(workspace);
  workspace += (WidePlanes::rows * n_outputs * sizeof(S) + 63) / 64 * 64;
  std::size_t n = 0;
  for (std::size_t row = first; row < past; row += n, out += n * n_columns) {
    const std::size_t left = past - row;
    S* to = has_link ? margins : out;
    if (!plan->is_sliced) {
      n = left < WidePlanes::rows ? left : WidePlanes::rows;
      if (plan->threshold_is_double) {
        Walk<double, S>::margins(plan, x, row, row + n, to);
      } else {
        Walk<float, S>::margins(plan, x, row, row + n, to);
      }
    } else if (left <= WidePlanes::few_rows) {
      n = left < NarrowPlanes::rows ? left : NarrowPlanes::rows;
      auto w = BitSliced<NarrowPlanes, S>::workspace(plan, workspace);
      BitSliced<NarrowPlanes, S>::block(plan, x, row, n, to, w);
    } else {
      n = left < WidePlanes::rows ? left : WidePlanes::rows;
      auto w = BitSliced<WidePlanes, S>::workspace(plan, workspace);
      BitSliced<WidePlanes, S>::block(plan, x, row, n, to, w);
    }
    if (has_link) {
      for (std::size_t i = 0; i < n; ++i) apply_link(plan, margins + i * n_outputs, out + i * n_columns);
    }
  }
}

}  // namespace KERNELS_TARGET
}  // namespace kernels
