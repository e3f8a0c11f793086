#pragma once
// Records on disk, in buckets: each bucket holds the rows whose keys of one epoch lie in one range.
//
// A generation is what is bucketed for one epoch. While a bucket of it is read, its rows are written to the buckets of the next
// generation, into the blocks that the bucket has left. The first blocks lie in memory, all others in a file.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "row_order.hpp"

namespace kernels {

// A call of the system that failed.
struct SystemFailure {
  int code;
  std::string what;
};

class SpillFile {
 public:
  // A file without a name in the directory: it is gone with the process, however that ends.
  SpillFile(const std::string& directory, std::size_t record_bytes, std::size_t id_offset, int id_bytes, std::size_t block_bytes,
            std::size_t memory_bytes);
  ~SpillFile();
  SpillFile(const SpillFile&) = delete;
  SpillFile& operator=(const SpillFile&) = delete;

  // What is written from now on is bucketed for this epoch.
  void begin(std::size_t buckets, std::uint64_t seed, std::uint64_t epoch);
  // What was written becomes what is read. Writers have to be flushed.
  void turn();

  std::vector<std::int64_t> counts() const;  // rows of each bucket that can be read
  std::size_t read(std::size_t bucket, unsigned char* out, std::size_t capacity) const;
  void release(std::size_t bucket);
  std::size_t bytes_on_disk() const;

  // The buffers of one thread.
  class Writer {
   public:
    explicit Writer(SpillFile& file);
    void add(const unsigned char* records, std::size_t count);
    // The same of a bucket of the file, which is read into `out` on the way and released; with the keys of its rows in the epoch
    // that it is bucketed for. Blocks are passed on while the nearest caches have them.
    std::size_t take(std::size_t bucket, unsigned char* out, std::uint64_t* keys, std::size_t capacity);
    void flush();

   private:
    void begin();
    void write(std::size_t bucket);

    SpillFile& file_;
    std::size_t generation_ = 0;
    std::unique_ptr<unsigned char[]> buffers_;
    std::vector<std::uint32_t> filled_;
    std::size_t capacity_ = 0;  // bytes of the buffers
  };

  std::size_t record_bytes() const { return record_bytes_; }

 private:
  struct Extent {
    std::size_t block, rows;
  };
  struct Unmap {
    std::size_t bytes;
    void operator()(unsigned char* memory) const;
  };

  std::size_t take_block();
  void give_back(std::size_t block);  // with the mutex held
  void load(const Extent& extent, unsigned char* out) const;
  void store(std::size_t block, const unsigned char* data, std::size_t bytes);

  std::size_t record_bytes_, id_offset_, block_bytes_, block_rows_;
  int id_bytes_;
  int file_ = -1;
  RowKeys keys_{0, 0}, readable_keys_{0, 0};
  std::size_t buckets_ = 0, generation_ = 0;
  std::vector<std::vector<Extent>> written_, readable_;
  std::size_t held_ = 0;  // blocks in memory, which have the first numbers
  std::unique_ptr<unsigned char, Unmap> memory_;
  std::vector<std::size_t> free_[2];  // of memory, of the file
  std::size_t fresh_[2] = {0, 0};     // the first block that was never used, of each
  mutable std::mutex mutex_;
};

}  // namespace kernels
