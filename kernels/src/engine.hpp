// What a CPU target offers: one of these for each target that is compiled.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/plan.hpp"
#include "kernels/rows.hpp"

namespace kernels {

struct Engine {
  const char* target;
  std::size_t block_rows;  // of the widest planes

  // Bytes of workspace, aligned to 64, that one thread needs.
  std::size_t (*workspace_bytes)(const PlanHeader* plan);

  // Rows from `first` to `past`; `out` holds theirs alone. Margins or, with `link`, predictions, in the sum's precision.
  void (*run_single)(const PlanHeader* plan, const Rows<float>& x, std::size_t first, std::size_t past, bool link, void* out,
                     unsigned char* workspace);
  void (*run_double)(const PlanHeader* plan, const Rows<double>& x, std::size_t first, std::size_t past, bool link, void* out,
                     unsigned char* workspace);
  void (*leaves_single)(const PlanHeader* plan, const Rows<float>& x, std::size_t first, std::size_t past, std::int32_t* out);
  void (*leaves_double)(const PlanHeader* plan, const Rows<double>& x, std::size_t first, std::size_t past, std::int32_t* out);
};

}  // namespace kernels
