// From margins to predictions.
#pragma once

#include <cmath>
#include <cstddef>

#include "kernels/plan.hpp"

namespace kernels {
namespace KERNELS_TARGET {

constexpr std::size_t predictions_of(Link link, std::size_t n_outputs) {
  return link == Link::argmax ? 1 : is_pair(link) ? 2 : n_outputs;
}

// One row: n_outputs margins, `predictions_of` predictions.
template <class S>
inline void apply_link(const PlanHeader* plan, const S* margins, S* out) {
  const std::size_t n = plan->n_outputs;
  const S divisor = static_cast<S>(plan->divisor);
  const S scale = static_cast<S>(-plan->link_scale);
  const bool divides = plan->divisor != 1;
  const auto margin = [=](std::size_t i) { return divides ? margins[i] / divisor : margins[i]; };
  switch (static_cast<Link>(plan->link)) {
    case Link::identity:
      for (std::size_t i = 0; i < n; ++i) out[i] = margin(i);
      return;
    case Link::sigmoid:
      for (std::size_t i = 0; i < n; ++i) out[i] = S(1) / (S(1) + std::exp(scale * margin(i)));
      return;
    case Link::exp:
      for (std::size_t i = 0; i < n; ++i) out[i] = std::exp(margin(i));
      return;
    case Link::softmax: {
      S largest = margin(0);
      for (std::size_t i = 1; i < n; ++i) largest = margin(i) > largest ? margin(i) : largest;
      double total = 0;
      for (std::size_t i = 0; i < n; ++i) {
        out[i] = std::exp(margin(i) - largest);
        total += static_cast<double>(out[i]);
      }
      for (std::size_t i = 0; i < n; ++i) out[i] /= static_cast<S>(total);
      return;
    }
    case Link::argmax: {
      std::size_t best = 0;
      for (std::size_t i = 1; i < n; ++i) best = margin(i) > margin(best) ? i : best;
      out[0] = static_cast<S>(best);
      return;
    }
    case Link::step:
      for (std::size_t i = 0; i < n; ++i) out[i] = margin(i) > S(0) ? S(1) : S(0);
      return;
    case Link::log1p_exp:
      for (std::size_t i = 0; i < n; ++i) out[i] = std::log1p(std::exp(margin(i)));
      return;
    case Link::signed_square:
      for (std::size_t i = 0; i < n; ++i) out[i] = margin(i) * std::fabs(margin(i));
      return;
    case Link::sigmoid_pair:
      out[1] = S(1) / (S(1) + std::exp(scale * margin(0)));
      out[0] = S(1) - out[1];
      return;
    case Link::tanh_half:
      for (std::size_t i = 0; i < n; ++i) out[i] = S(2) / (S(1) + std::exp(S(-2) * margin(i))) - S(1);
      return;
    case Link::complement_pair:
      out[1] = margin(0);
      out[0] = S(1) - out[1];
      return;
    case Link::exp2:
      for (std::size_t i = 0; i < n; ++i) out[i] = std::exp2(scale * margin(i));
      return;
  }
}

}  // namespace KERNELS_TARGET
}  // namespace kernels
