// The CPU's engine.
#pragma once

#include <vector>

#include "engine.hpp"

namespace kernels {

// Those that this CPU can run, the best first.
const std::vector<const Engine*>& engines();

// The best one, or the one that KERNELS_FORCE_TARGET names; std::invalid_argument where it cannot run.
const Engine& active_engine();

}  // namespace kernels
