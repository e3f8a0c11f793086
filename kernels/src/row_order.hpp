#pragma once
// The order of an epoch: rows by the keys that a hash of seed, epoch and row gives them.
//
// A row's key depends on nothing but these three, so the order is the same whoever computes it and in how many parts: all keys
// at once in memory, or range by range of the keys from a file.

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace kernels {

// A bijection of 64 bits for each pair of a seed and an epoch, so that no two rows have the same key.
class RowKeys {
 public:
  RowKeys(std::uint64_t seed, std::uint64_t epoch);

  std::uint64_t operator()(std::uint64_t id) const { return mixed(mixed(id ^ first_) + second_); }

  // The bucket of a key, of `buckets` that divide the keys evenly and in order; up to 2^32 of them.
  static std::uint64_t bucket(std::uint64_t key, std::uint64_t buckets) { return ((key >> 32) * buckets) >> 32; }

  // Stafford's thirteenth variant of MurmurHash3's finalizer, as in Steele, Lea and Flood, OOPSLA 2014, Sec. 5.
  static std::uint64_t mixed(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  }

 private:
  std::uint64_t first_, second_;
};

// The numbers of rows: consecutive ones, or read from memory.
struct RowIds {
  const unsigned char* data = nullptr;  // none: position + first
  std::size_t stride = 0;               // bytes from one to the next
  int width = 8;                        // bytes of each: 4 or 8
  std::uint64_t first = 0;

  std::uint64_t operator[](std::size_t position) const {
    if (data == nullptr) return first + position;
    std::uint64_t wide;
    std::uint32_t narrow;
    const unsigned char* const place = data + position * stride;
    if (width == 4) return std::memcpy(&narrow, place, sizeof narrow), narrow;
    return std::memcpy(&wide, place, sizeof wide), wide;
  }
};

// The positions of `count` rows (fewer than 2^32) in the order of their keys.
void order_rows(const RowKeys& keys, const RowIds& ids, std::size_t count, std::uint32_t* order);

// The same of keys that are there, all of one of `buckets` buckets.
void order_keys(const std::uint64_t* keys, std::size_t count, std::uint64_t buckets, std::uint32_t* order);

}  // namespace kernels
