#include "row_pack.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace kernels {
namespace {

void fill(const std::uint8_t* number, std::int64_t size, std::int64_t n, std::uint8_t* out) {
  for (std::int64_t i = 0; i < n; ++i) std::memcpy(out + i * size, number, static_cast<std::size_t>(size));
}

// `width` numbers of a size that the compiler knows: the first ones are copies, the others the pad.
template <std::int64_t size>
struct Cut {
  bool jagged;

  void operator()(const std::uint8_t* in, std::int64_t count, std::int64_t width, const std::uint8_t* pad, std::uint8_t* out) const {
    if (!jagged || width > 16) {
      for (std::int64_t i = 0; i < count; ++i) std::memcpy(out + i * size, in + i * size, size);
      for (std::int64_t i = count; i < width; ++i) std::memcpy(out + i * size, pad, size);
      return;
    }
    // Which of them are copies changes from row to row: the place that is read is chosen without a branch.
    const auto padded = reinterpret_cast<std::uintptr_t>(pad);
    for (std::int64_t i = 0; i < width; ++i) {
      const std::uintptr_t copied = reinterpret_cast<std::uintptr_t>(in) + static_cast<std::uintptr_t>(i * size);
      const std::uintptr_t chosen = padded ^ ((copied ^ padded) & (0 - static_cast<std::uintptr_t>(i < count)));
      std::memcpy(out + i * size, reinterpret_cast<const std::uint8_t*>(chosen), size);
    }
  }
};

}  // namespace

// Some rows of a block, of which those of `index` are kept; null: all.
struct RowPacker::Rows {
  std::int64_t first, n, kept;
  const std::int32_t* index;
};

RowLayout make_layout(std::vector<RowField> fields, std::int64_t record_bytes) {
  std::int64_t n_columns = 0;
  for (const RowField& field : fields) {
    const std::int64_t size = size_of(field.type);
    if (field.type == NumberType::kFloat16) throw std::invalid_argument("a record holds no float16");
    if (field.width < 1 || field.offset < 0 || field.offset > record_bytes || field.width > (record_bytes - field.offset) / size ||
        (field.mask >= 0 && (field.mask > record_bytes || field.width > record_bytes - field.mask))) {
      throw std::invalid_argument("a field reaches out of the record");
    }
    n_columns = std::max(n_columns, field.column + 1);
  }
  std::sort(fields.begin(), fields.end(), [](const RowField& a, const RowField& b) { return a.offset < b.offset; });
  return {std::move(fields), record_bytes, n_columns};
}

// One number a row: where they lie side by side, in the record's type.
const std::uint8_t* RowPacker::single(const RowField& field, const ColumnView* columns, const Rows& rows, std::uint8_t* slot) {
  if (field.column < 0) {
    fill(field.value, size_of(field.type), rows.kept, slot);
    return slot;
  }
  const ColumnView& column = columns[field.column];
  const std::uint8_t* from = column.values + rows.first * size_of(column.type);
  const auto convert = ops_.convert[static_cast<int>(column.type)][static_cast<int>(field.type)];
  if (rows.index != nullptr) {
    std::uint8_t* const taken = convert == nullptr ? slot : taken_.room(8 * rows.n);
    ops_.take[size_log2(column.type)](from, rows.index, rows.kept, taken);
    from = taken;
  }
  if (convert == nullptr) return from;
  convert(from, rows.kept, slot);
  return slot;
}

// Any number of values a row.
void RowPacker::several(const RowField& field, const ColumnView& column, const Rows& rows, std::uint8_t* out, std::int64_t stride) {
  const std::int64_t size = size_of(field.type), items = column.items;
  const std::int64_t* const offsets = column.offsets == nullptr ? nullptr : column.offsets + rows.first;
  const std::int64_t begin = (offsets == nullptr ? rows.first : offsets[0]) * items;
  const std::int64_t end = (offsets == nullptr ? rows.first + rows.n : offsets[rows.n]) * items;
  const std::uint8_t* values = column.values + begin * size_of(column.type);
  if (const auto convert = ops_.convert[static_cast<int>(column.type)][static_cast<int>(field.type)]) {
    std::uint8_t* const wide = wide_.room((end - begin) * size);
    convert(values, end - begin, wide);
    values = wide;
  }
  const auto pack = [&, width = field.width](auto cut) {
    for (std::int64_t i = 0; i < rows.kept; ++i) {
      const std::int64_t row = rows.index == nullptr ? i : rows.index[i];
      std::int64_t at = row * items, count = items;
      if (offsets != nullptr) {
        at = offsets[row] * items - begin;
        count = (offsets[row + 1] - offsets[row]) * items;
      }
      count = std::min(count, width);
      std::uint8_t* const to = out + i * stride;
      cut(values + at * size, count, width, field.pad, to + field.offset);
      if (field.mask >= 0) {
        std::memset(to + field.mask, 1, static_cast<std::size_t>(count));
        std::memset(to + field.mask + count, 0, static_cast<std::size_t>(width - count));
      }
    }
  };
  switch (size) {
    case 1: return pack(Cut<1>{offsets != nullptr});
    case 2: return pack(Cut<2>{offsets != nullptr});
    case 4: return pack(Cut<4>{offsets != nullptr});
    default: return pack(Cut<8>{offsets != nullptr});
  }
}

std::int64_t RowPacker::pack(const RowLayout& layout, const ColumnView* columns, std::int64_t n, const std::uint8_t* mask, std::uint8_t* out,
                             std::int64_t stride) {
  // So many rows that what they are read from and written to stays in the nearest caches.
  const std::int64_t chunk = std::clamp<std::int64_t>((32 << 10) / std::max<std::int64_t>(1, layout.record_bytes), 32, 512) & ~std::int64_t{15};
  std::uint8_t* const slots = slots_.room(static_cast<std::int64_t>(layout.fields.size()) * chunk * 8);
  std::int32_t* const index = reinterpret_cast<std::int32_t*>(index_.room(chunk * 4));
  std::int64_t total = 0;
  for (std::int64_t first = 0; first < n; first += chunk) {
    Rows rows{first, std::min(chunk, n - first), 0, nullptr};
    rows.kept = rows.n;
    if (mask != nullptr) {
      std::int64_t kept = 0;
      for (std::int64_t i = 0; i < rows.n; ++i) {
        index[kept] = static_cast<std::int32_t>(i);
        kept += mask[first + i] != 0;
      }
      if (kept == 0) continue;
      if (kept < rows.n) rows.index = index;
      rows.kept = kept;
    }
    std::uint8_t* const to = out + total * stride;
    std::int64_t run_offset = 0;
    run_.clear();
    const auto flush = [&] {
      if (!run_.empty()) ops_.transpose4(run_.data(), static_cast<std::int64_t>(run_.size()), rows.kept, to + run_offset, stride);
      run_.clear();
    };
    std::uint8_t* slot = slots;
    for (const RowField& field : layout.fields) {
      const ColumnView* const column = field.column < 0 ? nullptr : columns + field.column;
      if (field.width > 1 || (column != nullptr && (column->offsets != nullptr || column->items != 1))) {
        if (column != nullptr) {
          several(field, *column, rows, to, stride);
          continue;
        }
        for (std::int64_t i = 0; i < rows.kept; ++i) fill(field.value, size_of(field.type), field.width, to + i * stride + field.offset);
      } else {
        const std::uint8_t* const from = single(field, columns, rows, slot);
        if (size_of(field.type) == 4) {
          if (!run_.empty() && field.offset != run_offset + 4 * static_cast<std::int64_t>(run_.size())) flush();
          if (run_.empty()) run_offset = field.offset;
          run_.push_back(from);
        } else {
          ops_.scatter[size_log2(field.type)](from, rows.kept, to + field.offset, stride);
        }
        slot += chunk * 8;
      }
      if (field.mask >= 0) {
        for (std::int64_t i = 0; i < rows.kept; ++i) std::memset(to + i * stride + field.mask, 1, static_cast<std::size_t>(field.width));
      }
    }
    flush();
    total += rows.kept;
  }
  return total;
}

}  // namespace kernels
