// What is done to many numbers at a time, compiled once for each target: decoding, conversions, and the way from columns to rows.
#pragma once

#include <cstdint>

#include "number_types.hpp"

namespace kernels {

struct ColumnOps {
  const char* target;
  // n big-endian numbers of 1, 2, 4 or 8 bytes, by log2 of their size.
  void (*swap[4])(const std::uint8_t* in, std::int64_t n, std::uint8_t* out);
  // Numbers `from` to `from + n` of a page of `total`, byte plane after byte plane; those of one byte are copied.
  void (*unsplit[4])(const std::uint8_t* in, std::int64_t total, std::int64_t from, std::int64_t n, std::uint8_t* out);
  // Back to signed numbers, where they lie.
  void (*unzigzag[4])(std::uint8_t* values, std::int64_t n);
  // Bits `from` to `from + n`, least significant first, as bytes 0 and 1.
  void (*bits)(const std::uint8_t* in, std::int64_t from, std::int64_t n, std::uint8_t* out);
  // Bytes that are not 0 become 1, where they lie.
  void (*truth)(std::uint8_t* values, std::int64_t n);
  // n numbers of one type to another, [from][to]; null for what becomes float16, and for equal types.
  void (*convert[n_number_types][n_number_types])(const std::uint8_t* in, std::int64_t n, std::uint8_t* out);
  // in[index[i]], by log2 of the size.
  void (*take[4])(const std::uint8_t* in, const std::int32_t* index, std::int64_t n, std::uint8_t* out);
  // Number i to out + i * stride, by log2 of the size.
  void (*scatter[4])(const std::uint8_t* in, std::int64_t n, std::uint8_t* out, std::int64_t stride);
  // Columns of numbers of four bytes to fields side by side.
  void (*transpose4)(const std::uint8_t* const* columns, std::int64_t n_columns, std::int64_t n, std::uint8_t* out, std::int64_t stride);
};

// Those of a target that this CPU can run, "" for the active one; std::invalid_argument where there is none.
const ColumnOps& column_ops(const char* target);

}  // namespace kernels
