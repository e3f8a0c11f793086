// From columns to records: each row's values side by side, converted, cut and padded.
#pragma once

#include <cstdint>
#include <vector>

#include "buffer.hpp"
#include "column_ops.hpp"

namespace kernels {

// See `RowField` in kernels/columns.py.
struct RowField {
  std::int64_t column;  // -1: a constant
  std::int64_t offset;
  NumberType type;
  std::int64_t width;
  std::uint8_t pad[8];    // a number of `type`
  std::uint8_t value[8];  // a number of `type`, of a constant
  std::int64_t mask;      // -1: none
};

// Sorted fields of a record; checked by `make_layout`.
struct RowLayout {
  std::vector<RowField> fields;
  std::int64_t record_bytes;
  std::int64_t n_columns;  // columns that there must be
};

// std::invalid_argument where a field reaches out of the record.
RowLayout make_layout(std::vector<RowField> fields, std::int64_t record_bytes);

// Rows of a column, from the first.
struct ColumnView {
  NumberType type;
  const std::uint8_t* values;
  const std::int64_t* offsets;  // n + 1 of them, ascending, from 0; null: every row has `items` values
  std::int64_t items;           // of a row, or of an element of a jagged row
};

// Packs for one thread at a time: it keeps the memory between calls.
class RowPacker {
 public:
  explicit RowPacker(const ColumnOps& ops) : ops_(ops) {}

  // Rows where `mask` is not 0 (all, where it is null) as records `stride` bytes apart; their number.
  std::int64_t pack(const RowLayout& layout, const ColumnView* columns, std::int64_t n, const std::uint8_t* mask, std::uint8_t* out,
                    std::int64_t stride);

 private:
  struct Rows;
  const std::uint8_t* single(const RowField& field, const ColumnView* columns, const Rows& rows, std::uint8_t* slot);
  void several(const RowField& field, const ColumnView& column, const Rows& rows, std::uint8_t* out, std::int64_t stride);

  const ColumnOps& ops_;
  Buffer slots_, taken_, wide_, index_;
  std::vector<const std::uint8_t*> run_;
};

}  // namespace kernels
