// The plan inside a saved forest.
#pragma once

#include <cstddef>

namespace kernels {

struct PlanBytes {
  const unsigned char* data;
  std::size_t size;
};

// Finds the plan in a saved forest's bytes, or takes the bytes for a plan where they begin as one. The sums of the header, of the
// metadata and of the plan are checked, the plan itself is not; std::invalid_argument says what is wrong.
PlanBytes find_plan(const unsigned char* data, std::size_t size);

}  // namespace kernels
