// The engines of one target behind its `Engine`.
#pragma once

#include "batch.hpp"
#include "engine.hpp"

namespace kernels {
namespace KERNELS_TARGET {

template <class X>
void run(const PlanHeader* plan, const Rows<X>& x, std::size_t first, std::size_t past, bool link, void* out, unsigned char* workspace) {
  if (plan->sum_is_double) {
    run_as(plan, x, first, past, link, static_cast<double*>(out), workspace);
  } else {
    run_as(plan, x, first, past, link, static_cast<float*>(out), workspace);
  }
}

template <class X>
void leaves(const PlanHeader* plan, const Rows<X>& x, std::size_t first, std::size_t past, std::int32_t* out) {
  if (plan->threshold_is_double) {
    Walk<double, float>::leaves(plan, x, first, past, out);
  } else {
    Walk<float, float>::leaves(plan, x, first, past, out);
  }
}

constexpr Engine engine_named(const char* name) {
  return {name, WidePlanes::rows, workspace_bytes, run<float>, run<double>, leaves<float>, leaves<double>};
}

}  // namespace KERNELS_TARGET
}  // namespace kernels
