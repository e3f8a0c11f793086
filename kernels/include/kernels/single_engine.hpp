// What single events are evaluated by.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/plan.hpp"

namespace kernels {

// Order of the partial sums. `sequential` adds tree after tree, as batches do. `lanes` keeps four sums an output, tree i of
// the output goes to sum i modulo 4, and the margin is base + ((s0 + s1) + (s2 + s3)): shallow trees do not wait for each other.
enum class SumOrder : std::uint32_t { sequential = 0, lanes = 1 };

// Engine of one CPU target for one plan. A row is contiguous; out gets its margins, all outputs, in the sum's real type.
struct SingleEngine {
  using FloatRow = void (*)(const PlanHeader* plan, const float* row, void* out);
  using DoubleRow = void (*)(const PlanHeader* plan, const double* row, void* out);
  FloatRow float_row[2];    // by SumOrder
  DoubleRow double_row[2];  // by SumOrder
  void (*link)(const PlanHeader* plan, const void* margins, void* out);  // from margins to predictions
  std::size_t few_rows;  // that are evaluated one by one sooner than as a block
};

}  // namespace kernels
