#include "column_reader.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace kernels {
namespace {

__extension__ typedef __int128 Wide;

constexpr std::int64_t largest_raw = std::int64_t{1} << 31;  // of a basket or page, uncompressed
constexpr std::int64_t checksum_bytes = 8;

std::int64_t big16(const std::uint8_t* p) { return p[0] << 8 | p[1]; }

std::int64_t big32(const std::uint8_t* p) {
  std::uint32_t word;
  std::memcpy(&word, p, 4);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  word = __builtin_bswap32(word);
#endif
  return static_cast<std::int32_t>(word);
}

std::uint64_t little64(const std::uint8_t* p) {
  std::uint64_t word = 0;
  for (int i = 0; i < 8; ++i) word |= std::uint64_t{p[i]} << (8 * i);
  return word;
}

template <class T>
T little(const std::uint8_t* p) {
  T x;
  std::memcpy(&x, p, sizeof x);
  return x;
}

constexpr std::int64_t slack = 32;  // bytes behind what is read or written of short rows that may be touched as well

// Big-endian numbers of four or eight bytes in so many bytes, without a branch where they are no more than `slack`.
template <int size>
inline void swap_short(const std::uint8_t* in, std::int64_t bytes, std::uint8_t* out) {
  for (std::int64_t at = 0;;) {
    for (std::int64_t i = 0; i < slack; i += 8) {
      std::uint64_t x;
      std::memcpy(&x, in + at + i, 8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
      x = __builtin_bswap64(x);
      if (size == 4) x = x << 32 | x >> 32;
#endif
      std::memcpy(out + at + i, &x, 8);
    }
    at += slack;
    if (at >= bytes) return;
  }
}

}  // namespace

// A stream, its page that was decompressed last, and what the block holds of it.
struct ColumnReader::State {
  Stream stream;
  std::int64_t size = 0;  // bytes of a number

  std::int64_t loaded = -1;  // the page that `raw` holds; -1: none
  Buffer raw;
  std::int64_t border = 0;      // bytes of data in front of a basket's offsets
  std::int64_t key_bytes = 0;   // what those offsets are counted from
  std::vector<std::int64_t> ends;  // of an index page: where each row ends, counted from the column's first value
  std::int64_t tail_page = -1, tail = 0;  // the index page before, and where its last row ends

  Buffer values, offsets;
  std::int64_t first_value = 0;               // of an index: where the block's first row begins
  std::int64_t done_start = -1, done_stop = -1;  // of an index: the rows that `offsets` holds
};

ColumnReader::ColumnReader(std::vector<std::shared_ptr<SourceFile>> files, std::vector<Stream> streams, std::vector<Column> columns,
                           std::int64_t block_rows, DecompressorTable table, const ColumnOps& ops)
    : files_(std::move(files)), columns_(std::move(columns)), views_(columns_.size()), block_rows_(block_rows), decompressor_(std::move(table)),
      ops_(ops), packer_(ops) {
  if (block_rows < 1 || block_rows > std::int64_t{1} << 24) throw std::invalid_argument("a block has between 1 and 2^24 rows");
  for (Stream& stream : streams) {
    const std::int64_t largest = std::int64_t{1} << 62;
    std::int64_t next = stream.pages.empty() ? 0 : stream.pages.front().first;
    if (stream.items < 1 || stream.items >= std::int64_t{1} << 31 || stream.header_bytes < 0 || stream.header_bytes >= largest_raw) {
      throw std::invalid_argument("a plan has too many items or header bytes, or too few");
    }
    for (const Page& page : stream.pages) {
      if (page.file < 0 || page.file >= static_cast<std::int64_t>(files_.size())) {
        throw std::invalid_argument("a page lies in a file that is not there");
      }
      if (page.offset < 0 || page.offset >= largest || page.bytes < 0 || page.bytes >= largest_raw || page.first != next || next >= largest ||
          page.count < 1 || page.count >= std::int64_t{1} << 40 || page.base < 0 || page.base >= largest) {
        throw std::invalid_argument("a page has a number that no file can have, or does not follow the one before");
      }
      next = page.end();
    }
    for (const Page& page : stream.pages) {
      if (page.checksum && stream.kind != PageKind::kPage) throw std::invalid_argument("only pages are followed by a checksum");
    }
    if (stream.jagged && stream.kind != PageKind::kBasket) throw std::invalid_argument("pages are jagged by a plan of offsets");
    const bool index = stream.kind == PageKind::kPage && (stream.type == NumberType::kUint32 || stream.type == NumberType::kUint64);
    if (stream.encoding == Encoding::kDelta && !index) throw std::invalid_argument("only an index column is encoded as 'delta'");
    if (stream.encoding == Encoding::kBits && stream.type != NumberType::kBool) throw std::invalid_argument("only bool is encoded as 'bits'");
    states_.push_back(std::make_unique<State>());
    states_.back()->size = size_of(stream.type);
    states_.back()->stream = std::move(stream);
  }
  const auto number = static_cast<std::int64_t>(states_.size());
  std::vector<char> used(states_.size());  // 'v' for values, 'o' for offsets
  for (const Column& column : columns_) {
    if (static_cast<std::int64_t>(column.stream) >= number || column.offsets >= number) throw std::invalid_argument("a column has no stream");
    char& values = used[column.stream];
    if (values != 0) throw std::invalid_argument("a stream has the values of one column, or offsets");
    values = 'v';
    if (column.offsets >= 0) {
      char& offsets = used[static_cast<std::size_t>(column.offsets)];
      if (offsets == 'v') throw std::invalid_argument("a stream has the values of one column, or offsets");
      offsets = 'o';
    }
    const Stream& stream = states_[column.stream]->stream;
    if (stream.encoding == Encoding::kDelta) throw std::invalid_argument("an index column serves as the offsets of others only");
    if (column.offsets < 0) continue;
    const Stream& index = states_[static_cast<std::size_t>(column.offsets)]->stream;
    if (stream.kind != PageKind::kPage || index.kind != PageKind::kPage || index.items != 1 ||
        (index.type != NumberType::kUint32 && index.type != NumberType::kUint64) ||
        (index.encoding != Encoding::kPlain && index.encoding != Encoding::kDelta)) {
      throw std::invalid_argument("a plan of offsets is no index column");
    }
  }
  clear();
}

ColumnReader::~ColumnReader() = default;

bool ColumnReader::jagged(std::size_t column) const { return columns_[column].offsets >= 0 || states_[columns_[column].stream]->stream.jagged; }

std::shared_ptr<std::uint8_t[]> ColumnReader::values_memory(std::size_t column) const { return states_[columns_[column].stream]->values.share(); }

std::shared_ptr<std::uint8_t[]> ColumnReader::offsets_memory(std::size_t column) const { return states_[columns_[column].stream]->offsets.share(); }

// The page that has a row or value, which must be between the first page's first and the last page's end.
std::size_t ColumnReader::page_of(const State& state, std::int64_t key) const {
  const std::vector<Page>& pages = state.stream.pages;
  const std::int64_t last = std::min(state.loaded + 1, static_cast<std::int64_t>(pages.size()) - 1);
  for (std::int64_t guess = std::max<std::int64_t>(state.loaded, 0); guess <= last; ++guess) {
    const Page& page = pages[static_cast<std::size_t>(guess)];
    if (key >= page.first && key < page.end()) return static_cast<std::size_t>(guess);
  }
  const auto after = std::upper_bound(pages.begin(), pages.end(), key, [](std::int64_t at, const Page& page) { return at < page.first; });
  return static_cast<std::size_t>(after - pages.begin()) - 1;
}

// Decompresses a page and checks all that later reads rely on. DamagedBytes where it cannot be used; then none is loaded.
void ColumnReader::load(State& state, std::size_t number) {
  if (state.loaded == static_cast<std::int64_t>(number)) return;
  const Stream& stream = state.stream;
  const Page& page = stream.pages[number];
  if (!state.ends.empty()) {
    state.tail_page = state.loaded;
    state.tail = state.ends.back();
    state.ends.clear();
  }
  state.loaded = -1;
  const std::int64_t behind = page.checksum ? checksum_bytes : 0;
  const std::uint8_t* in = files_[static_cast<std::size_t>(page.file)]->fetch(page.offset, page.bytes + behind, fetched_);
  if (page.checksum && decompressor_.xxh3(in, static_cast<std::size_t>(page.bytes)) != little64(in + page.bytes)) {
    throw DamagedBytes("the page does not match its checksum");
  }
  std::int64_t n = page.bytes, raw = 0, key_bytes = 0;
  if (stream.kind == PageKind::kBasket) {
    constexpr std::int64_t shortest = 18 + 19;  // the numbers in front of a key's names, and those of the basket behind them
    if (n < shortest) throw DamagedBytes("the basket is shorter than its key");
    key_bytes = big16(in + 14);
    raw = big32(in + 6);
    if (key_bytes < shortest || key_bytes > n || raw < 0) throw DamagedBytes("the basket's key is damaged");
    state.border = big32(in + key_bytes - 5) - key_bytes;
    if (state.border < 0 || state.border > raw) throw DamagedBytes("the basket's key is damaged");
    state.key_bytes = key_bytes;
    in += key_bytes;
    n -= key_bytes;
  } else {
    if (page.count > 8 * largest_raw) throw DamagedBytes("the page has more values than any page");
    raw = stream.encoding == Encoding::kBits ? (page.count + 7) / 8 : page.count * state.size;
    if (raw > largest_raw) throw DamagedBytes("the page has more values than any page");
  }
  Decompressor::check(in, static_cast<std::size_t>(n), static_cast<std::size_t>(raw));
  decompressor_.run(in, static_cast<std::size_t>(n), state.raw.room(raw + slack), static_cast<std::size_t>(raw));
  if (stream.kind == PageKind::kBasket) check_basket(state, page, raw);
  state.loaded = static_cast<std::int64_t>(number);
}

// That the rows of a basket lie within its data.
void ColumnReader::check_basket(const State& state, const Page& page, std::int64_t raw) {
  const Stream& stream = state.stream;
  if (!stream.jagged) {
    if (Wide{page.count} * stream.items * state.size > state.border) throw DamagedBytes("the basket has fewer values than its rows need");
    return;
  }
  if (raw == state.border) throw DamagedBytes("the basket has no offsets");
  if (Wide{state.border} + 4 + Wide{4} * page.count > raw) throw DamagedBytes("the basket has fewer offsets than rows");
  const std::uint8_t* const table = state.raw.data() + state.border + 4;
  std::int64_t at = big32(table);
  bool good = at >= state.key_bytes;
  for (std::int64_t row = 0; row < page.count; ++row) {
    // The offset behind the last row is not reliable: the data end there.
    const std::int64_t next = row + 1 < page.count ? big32(table + 4 * (row + 1)) : state.border + state.key_bytes;
    good = good && next - at >= stream.header_bytes;
    at = next;
  }
  if (!good) throw DamagedBytes("the basket's offsets are damaged");
}

void ColumnReader::clear() {
  rows_ = 0;
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    const Stream& stream = states_[columns_[c].stream]->stream;
    views_[c] = {stream.type, nullptr, nullptr, stream.items};
  }
}

void ColumnReader::read(std::int64_t start, std::int64_t stop) {
  clear();
  if (start < 0 || stop < start || stop - start > block_rows_) throw std::invalid_argument("these are no rows of a block");
  if (start == stop) return;
  for (auto& state : states_) state->done_start = -1;
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    State& values = *states_[columns_[c].stream];
    const bool by_index = columns_[c].offsets >= 0;
    State& rows = by_index ? *states_[static_cast<std::size_t>(columns_[c].offsets)] : values;
    const std::int64_t items = by_index || values.stream.kind == PageKind::kBasket ? 1 : values.stream.items;
    const std::vector<Page>& pages = rows.stream.pages;
    if (pages.empty() || Wide{start} * items < pages.front().first || Wide{stop} * items > pages.back().end()) {
      throw std::invalid_argument("column " + std::to_string(c) + " has no rows " + std::to_string(start) + " to " + std::to_string(stop));
    }
    if (by_index) read_offsets(c, rows, start, stop);
    if (values.stream.kind == PageKind::kBasket) read_baskets(c, values, start, stop);
    else read_values(c, values, start, stop);
  }
  rows_ = stop - start;
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    const State& values = *states_[columns_[c].stream];
    views_[c].values = values.values.data();
    if (jagged(c)) views_[c].offsets = reinterpret_cast<const std::int64_t*>(values.offsets.data());
  }
}

// Numbers `from` to `from + n` of the loaded page.
void ColumnReader::decode(const State& state, std::int64_t from, std::int64_t n, std::uint8_t* out) const {
  const Stream& stream = state.stream;
  const std::uint8_t* const raw = state.raw.data();
  const int log2 = size_log2(stream.type);
  const std::int64_t total = stream.kind == PageKind::kPage ? stream.pages[static_cast<std::size_t>(state.loaded)].count : 0;
  if (stream.kind == PageKind::kBasket) {
    ops_.swap[log2](raw + from * state.size, n, out);
  } else if (stream.encoding == Encoding::kSplit || stream.encoding == Encoding::kZigzag) {
    ops_.unsplit[log2](raw, total, from, n, out);
    if (stream.encoding == Encoding::kZigzag) ops_.unzigzag[log2](out, n);
  } else if (stream.encoding == Encoding::kBits) {
    ops_.bits(raw, from, n, out);
    return;
  } else {
    std::memcpy(out, raw + from * state.size, static_cast<std::size_t>(n * state.size));
  }
  if (stream.type == NumberType::kBool) ops_.truth(out, n);
}

void ColumnReader::read_baskets(std::size_t column, State& state, std::int64_t start, std::int64_t stop) {
  const Stream& stream = state.stream;
  const std::int64_t row_bytes = stream.items * state.size;
  std::int64_t* offsets = nullptr;
  if (stream.jagged) {
    offsets = reinterpret_cast<std::int64_t*>(state.offsets.room(8 * (block_rows_ + 1)));
    offsets[0] = 0;
  } else {
    state.values.room(block_rows_ * row_bytes);
  }
  for (std::int64_t row = start; row < stop;) {
    const std::size_t number = page_of(state, row);
    const Page& page = stream.pages[number];
    const std::int64_t from = row - page.first, n = std::min(stop - row, page.count - from);
    try {
      load(state, number);
    } catch (const DamagedBytes& error) {
      throw DecodeError(column, number, false, page.first, page.end(), error.what());
    }
    if (!stream.jagged) {
      decode(state, from * stream.items, n * stream.items, state.values.data() + (row - start) * row_bytes);
      row += n;
      continue;
    }
    const std::uint8_t* const table = state.raw.data() + state.border + 4;
    const auto begin = [&](std::int64_t i) { return (i < page.count ? big32(table + 4 * i) - state.key_bytes : state.border); };
    std::int64_t have = offsets[row - start];
    // Values of the block so far are kept where it grows: all that one basket can add is made room for at once.
    const std::int64_t most = (begin(from + n) - begin(from)) / row_bytes;
    const Buffer before = state.values;
    std::uint8_t* const values = state.values.room((have + most) * row_bytes + slack);
    if (values != before.data() && have > 0) std::memcpy(values, before.data(), static_cast<std::size_t>(have * row_bytes));
    // Rows of a few numbers, most of them: where all of them are swapped at once, and more than they are.
    const auto swap_rows = [&](auto swap, int log2) {
      std::int64_t at = begin(from);
      for (std::int64_t i = 0; i < n; ++i) {
        const std::int64_t next = begin(from + i + 1), bytes = next - at - stream.header_bytes;
        swap(state.raw.data() + at + stream.header_bytes, bytes, values + (have << log2));
        have += bytes >> log2;
        offsets[row - start + i + 1] = have;
        at = next;
      }
    };
    if (row_bytes == 4 && state.size == 4) {
      swap_rows([](const std::uint8_t* in, std::int64_t bytes, std::uint8_t* out) { swap_short<4>(in, bytes, out); }, 2);
    } else if (row_bytes == 8 && state.size == 8) {
      swap_rows([](const std::uint8_t* in, std::int64_t bytes, std::uint8_t* out) { swap_short<8>(in, bytes, out); }, 3);
    } else {
      for (std::int64_t i = 0; i < n; ++i) {
        const std::int64_t at = begin(from + i) + stream.header_bytes;
        const std::int64_t count = (begin(from + i + 1) - at) / row_bytes;
        ops_.swap[size_log2(stream.type)](state.raw.data() + at, count * stream.items, values + have * row_bytes);
        have += count;
        offsets[row - start + i + 1] = have;
      }
    }
    if (stream.type == NumberType::kBool) ops_.truth(values, have * stream.items);
    row += n;
  }
}

// Where the rows of an index page end, counted from the first value of all.
void ColumnReader::read_index(const Page& page, State& state) {
  const std::uint8_t* const raw = state.raw.data();
  const std::int64_t n = page.count;
  std::vector<std::int64_t>& ends = state.ends;
  if (static_cast<std::int64_t>(ends.size()) == n) return;
  ends.resize(static_cast<std::size_t>(n));
  const bool delta = state.stream.encoding == Encoding::kDelta;
  const bool small = state.size == 4;
  std::vector<std::uint8_t> joined;
  const std::uint8_t* numbers = raw;
  if (delta) {
    joined.resize(static_cast<std::size_t>(n * state.size));
    ops_.unsplit[small ? 2 : 3](raw, n, 0, n, joined.data());
    numbers = joined.data();
  }
  std::uint64_t sum = 0;
  std::int64_t before = page.base;
  bool good = true;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint64_t number = small ? little<std::uint32_t>(numbers + 4 * i) : little<std::uint64_t>(numbers + 8 * i);
    sum = delta ? sum + number : number;
    const std::int64_t end = page.base + static_cast<std::int64_t>(sum & ((std::uint64_t{1} << 62) - 1));
    good = good && sum < std::uint64_t{1} << 62 && end >= before;
    ends[static_cast<std::size_t>(i)] = before = end;
  }
  if (!good) {
    ends.clear();
    state.loaded = -1;
    throw DamagedBytes("the page's offsets are damaged");
  }
}

void ColumnReader::read_offsets(std::size_t column, State& state, std::int64_t start, std::int64_t stop) {
  if (state.done_start == start && state.done_stop == stop) return;
  const std::vector<Page>& pages = state.stream.pages;
  std::int64_t* const offsets = reinterpret_cast<std::int64_t*>(state.offsets.room(8 * (block_rows_ + 1)));
  const auto use = [&](std::size_t number, std::int64_t lost) {
    try {
      load(state, number);
      read_index(pages[number], state);
    } catch (const DamagedBytes& error) {
      throw DecodeError(column, number, true, pages[number].first, lost, error.what());
    }
  };
  std::int64_t at = -1;  // where the row begins
  for (std::int64_t row = start; row < stop;) {
    const std::size_t number = page_of(state, row);
    const Page& page = pages[number];
    const std::int64_t from = row - page.first, n = std::min(stop - row, page.count - from);
    if (from == 0 && at < 0) {
      if (number == 0 || pages[number - 1].base != page.base) {
        at = page.base;
      } else {  // a row begins where the one before ends, which the page before says
        const auto previous = static_cast<std::int64_t>(number) - 1;
        if (state.loaded == static_cast<std::int64_t>(number) && state.tail_page == previous) {
          at = state.tail;
        } else {
          use(number - 1, page.first + 1);
          at = state.ends.back();
        }
      }
    }
    use(number, page.end());
    if (from > 0 && at < 0) at = state.ends[static_cast<std::size_t>(from - 1)];
    if (row == start) offsets[0] = at;
    if (state.ends[static_cast<std::size_t>(from)] < at) {
      throw DecodeError(column, number, true, page.first, page.end(), "the page's offsets are damaged");
    }
    std::memcpy(offsets + (row - start) + 1, state.ends.data() + from, static_cast<std::size_t>(8 * n));
    row += n;
    at = offsets[row - start];
  }
  state.first_value = offsets[0];
  for (std::int64_t i = 0; i <= stop - start; ++i) offsets[i] -= state.first_value;
  state.done_start = start;
  state.done_stop = stop;
}

void ColumnReader::read_values(std::size_t column, State& state, std::int64_t start, std::int64_t stop) {
  const Stream& stream = state.stream;
  const std::int64_t* offsets = nullptr;
  std::int64_t first = start, n = stop - start;
  if (columns_[column].offsets >= 0) {
    const State& index = *states_[static_cast<std::size_t>(columns_[column].offsets)];
    offsets = reinterpret_cast<const std::int64_t*>(index.offsets.data());
    first = index.first_value;
    n = offsets[stop - start];
    // Of its own, since the offsets of an index serve several columns.
    std::memcpy(state.offsets.room(8 * (block_rows_ + 1)), offsets, static_cast<std::size_t>(8 * (stop - start + 1)));
    if (n > 0 && (stream.pages.empty() || Wide{first} * stream.items < stream.pages.front().first ||
                  (Wide{first} + n) * stream.items > stream.pages.back().end())) {
      throw DecodeError(column, page_of(index, start), true, start, stop, "the offsets count values that there are not");
    }
  }
  if (n == 0) return;
  const std::int64_t begin = first * stream.items, end = (first + n) * stream.items;
  std::uint8_t* const out = state.values.room(std::max(end - begin, offsets == nullptr ? block_rows_ * stream.items : 0) * state.size);
  for (std::int64_t at = begin; at < end;) {
    const std::size_t number = page_of(state, at);
    const Page& page = stream.pages[number];
    const std::int64_t from = at - page.first, take = std::min(end - at, page.count - from);
    try {
      load(state, number);
    } catch (const DamagedBytes& error) {
      // The rows with values in this page; of a jagged column those of this block, since others are not known.
      std::int64_t lost = page.first / stream.items, behind = (page.end() + stream.items - 1) / stream.items;
      if (offsets != nullptr) {
        const std::int64_t* const stops = offsets + (stop - start) + 1;
        lost = start + (std::upper_bound(offsets + 1, stops, lost - first) - offsets - 1);
        behind = start + (std::lower_bound(offsets, stops - 1, behind - first) - offsets);
      }
      throw DecodeError(column, number, false, lost, behind, error.what());
    }
    decode(state, from, take, out + (at - begin) * state.size);
    at += take;
  }
}

std::int64_t ColumnReader::pack(const RowLayout& layout, const std::uint8_t* mask, std::uint8_t* out, std::int64_t stride) {
  return packer_.pack(layout, views_.data(), rows_, mask, out, stride);
}

}  // namespace kernels
