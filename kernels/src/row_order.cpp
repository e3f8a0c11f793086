#include "row_order.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

namespace kernels {

RowKeys::RowKeys(std::uint64_t seed, std::uint64_t epoch) {
  const std::uint64_t golden = 0x9E3779B97F4A7C15U;
  const std::uint64_t state = mixed(seed + golden) ^ mixed(mixed(epoch + golden) + golden);
  first_ = mixed(state + golden);
  second_ = mixed(state + 2 * golden);
}

namespace {

constexpr std::size_t bucket_rows = 2048;  // elements of a bucket, about: twice that many fit the first cache

// An element is the upper half of a key, spread out over all numbers where all keys are of one of some buckets, above the row's
// position.
inline std::uint64_t element(std::uint64_t key, std::uint64_t buckets, std::size_t position) {
  return ((key >> 32) * buckets) << 32 | position;
}
inline std::uint32_t position(std::uint64_t element) { return static_cast<std::uint32_t>(element); }

// By 16 bits of the key, least byte first; `to` has room for as many.
void sort_bytes(std::uint64_t* from, std::uint64_t* to, std::size_t count, int shift) {
  for (int pass = 0; pass < 2; ++pass, shift += 8) {
    std::array<std::uint32_t, 256> starts{};
    for (std::size_t i = 0; i < count; ++i) ++starts[(from[i] >> shift) & 0xFF];
    std::uint32_t sum = 0;
    for (std::uint32_t& start : starts) sum += std::exchange(start, sum);
    for (std::size_t i = 0; i < count; ++i) to[starts[(from[i] >> shift) & 0xFF]++] = from[i];
    std::swap(from, to);
  }
}

template <class Keys>
void order(const Keys& key_of, std::size_t count, std::uint64_t parts, std::uint32_t* result) {
  // Elements go to buckets by the first bits of their keys; a bucket is sorted where it is cached, by the 16 bits that follow.
  // What shares those as well lies together and is put right by insertion.
  int bits = 0;
  while (bits < 16 && (count >> bits) > bucket_rows) ++bits;
  const std::size_t buckets = std::size_t{1} << bits;
  const int shift = 64 - bits;
  const auto bucket = [&](std::uint64_t element) { return bits == 0 ? 0 : element >> shift; };
  std::vector<std::size_t> ends(buckets + 1);
  for (std::size_t i = 0; i < count; ++i) ++ends[bucket(element(key_of(i), parts, 0)) + 1];
  std::size_t largest = 0;
  for (std::size_t b = 0; b < buckets; ++b) {
    largest = std::max(largest, ends[b + 1]);
    ends[b + 1] += ends[b];
  }
  std::vector<std::size_t> next(ends.begin(), ends.end() - 1);
  const std::unique_ptr<std::uint64_t[]> elements(new std::uint64_t[count]), scratch(new std::uint64_t[largest]);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t item = element(key_of(i), parts, i);
    elements[next[bucket(item)]++] = item;
  }
  const auto before = [&](std::uint64_t a, std::uint64_t b) {
    if ((a >> 32) != (b >> 32)) return a < b;
    return key_of(position(a)) < key_of(position(b));
  };
  for (std::size_t b = 0; b < buckets; ++b) {
    std::uint64_t* const items = &elements[ends[b]];
    const std::size_t size = ends[b + 1] - ends[b];
    sort_bytes(items, scratch.get(), size, shift - 16);
    for (std::size_t i = 1; i < size; ++i) {
      const std::uint64_t item = items[i];
      std::size_t at = i;
      for (; at > 0 && before(item, items[at - 1]); --at) items[at] = items[at - 1];
      items[at] = item;
    }
    for (std::size_t i = 0; i < size; ++i) result[ends[b] + i] = position(items[i]);
  }
}

template <class Id>
auto read_from(const RowIds& ids) {
  return [data = ids.data, stride = ids.stride](std::size_t position) {
    Id id;
    std::memcpy(&id, data + position * stride, sizeof id);
    return static_cast<std::uint64_t>(id);
  };
}

}  // namespace

void order_rows(const RowKeys& keys, const RowIds& ids, std::size_t count, std::uint32_t* result) {
  const auto by = [&](const auto& id) { order([&](std::size_t i) { return keys(id(i)); }, count, 1, result); };
  if (ids.data == nullptr) return by([first = ids.first](std::size_t i) { return first + i; });
  if (ids.width == 4) return by(read_from<std::uint32_t>(ids));
  by(read_from<std::uint64_t>(ids));
}

void order_keys(const std::uint64_t* keys, std::size_t count, std::uint64_t buckets, std::uint32_t* result) {
  order([keys](std::size_t i) { return keys[i]; }, count, buckets, result);
}

}  // namespace kernels
