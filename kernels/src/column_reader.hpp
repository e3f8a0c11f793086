// Blocks of rows of some columns, decoded from baskets and pages.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "buffer.hpp"
#include "column_ops.hpp"
#include "decompress.hpp"
#include "row_pack.hpp"
#include "source_file.hpp"

namespace kernels {

enum class PageKind { kBasket, kPage };
enum class Encoding { kPlain, kSplit, kZigzag, kDelta, kBits };

// See `ColumnPlan` in kernels/columns.py.
struct Page {
  std::int64_t file, offset, bytes, first, count, base;
  bool checksum;  // follows the page
  std::int64_t end() const { return first + count; }
};
struct Stream {
  PageKind kind;
  NumberType type;
  Encoding encoding;
  std::int64_t items;
  bool jagged;
  std::int64_t header_bytes;
  std::vector<Page> pages;
};
struct Column {
  std::size_t stream;
  std::int64_t offsets;  // its stream of offsets; -1: none
};

// A page that cannot be decoded, and the rows that are lost with it.
class DecodeError : public std::runtime_error {
 public:
  DecodeError(std::size_t column, std::size_t page, bool of_offsets, std::int64_t start, std::int64_t stop, const std::string& reason)
      : std::runtime_error(reason), column(column), page(page), of_offsets(of_offsets), start(start), stop(stop) {}
  std::size_t column, page;
  bool of_offsets;
  std::int64_t start, stop;
};

// For one thread at a time. Streams that several columns share are decoded once.
class ColumnReader {
 public:
  // std::invalid_argument where the plan does not fit together.
  ColumnReader(std::vector<std::shared_ptr<SourceFile>> files, std::vector<Stream> streams, std::vector<Column> columns, std::int64_t block_rows,
               DecompressorTable table, const ColumnOps& ops);
  ~ColumnReader();

  // Rows start to stop of all columns. DecodeError, std::invalid_argument (rows that there are not), std::system_error; the block is empty then.
  void read(std::int64_t start, std::int64_t stop);

  std::int64_t rows() const { return rows_; }
  std::int64_t block_rows() const { return block_rows_; }
  std::size_t n_columns() const { return columns_.size(); }
  bool jagged(std::size_t column) const;
  // The block's rows of a column, until the next `read`.
  const ColumnView& view(std::size_t column) const { return views_[column]; }
  // What keeps the memory of a view alive.
  std::shared_ptr<std::uint8_t[]> values_memory(std::size_t column) const;
  std::shared_ptr<std::uint8_t[]> offsets_memory(std::size_t column) const;

  // The block's rows as records, see `RowPacker`; the layout's columns must be there.
  std::int64_t pack(const RowLayout& layout, const std::uint8_t* mask, std::uint8_t* out, std::int64_t stride);

 private:
  struct State;
  void clear();
  std::size_t page_of(const State& state, std::int64_t key) const;
  void load(State& state, std::size_t page);
  void check_basket(const State& state, const Page& page, std::int64_t key_bytes);
  void read_index(const Page& page, State& state);
  void read_baskets(std::size_t column, State& state, std::int64_t start, std::int64_t stop);
  void read_offsets(std::size_t column, State& state, std::int64_t start, std::int64_t stop);
  void read_values(std::size_t column, State& state, std::int64_t start, std::int64_t stop);
  void decode(const State& state, std::int64_t from, std::int64_t n, std::uint8_t* out) const;

  std::vector<std::shared_ptr<SourceFile>> files_;
  std::vector<std::unique_ptr<State>> states_;  // one for each stream
  std::vector<Column> columns_;
  std::vector<ColumnView> views_;
  std::int64_t block_rows_, rows_ = 0;
  Decompressor decompressor_;
  const ColumnOps& ops_;
  RowPacker packer_;
  Buffer packed_;
  Buffer fetched_;  // a page as it is on disk, until it is decompressed
};

}  // namespace kernels
