#pragma once
// Records in an order become arrays: one for the features, one for the target, and so on.

#include <cstddef>
#include <cstdint>
#include <vector>

namespace kernels {

// Some bytes of each record, and where they go: row after row without a gap.
struct GatherField {
  std::size_t offset, bytes;
  unsigned char* out;
};

void gather_rows(const unsigned char* records, std::size_t record_bytes, const std::uint32_t* order, std::size_t count,
                 const std::vector<GatherField>& fields);

}  // namespace kernels
