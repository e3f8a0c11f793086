#include "row_spill.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace kernels {

namespace {

// The whole of it, or an exception.
void write_all(int file, const unsigned char* data, std::size_t bytes, std::size_t offset) {
  while (bytes > 0) {
    const ssize_t done = ::pwrite(file, data, bytes, static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) throw SystemFailure{done < 0 ? errno : ENOSPC, "writing rows to disk"};
    data += done;
    bytes -= static_cast<std::size_t>(done);
    offset += static_cast<std::size_t>(done);
  }
}

void read_all(int file, unsigned char* data, std::size_t bytes, std::size_t offset) {
  while (bytes > 0) {
    const ssize_t done = ::pread(file, data, bytes, static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) throw SystemFailure{done < 0 ? errno : EIO, "reading rows back from disk"};
    data += done;
    bytes -= static_cast<std::size_t>(done);
    offset += static_cast<std::size_t>(done);
  }
}

// A record, of a size that is not known beforehand, without a call; the last bytes may be written twice.
inline void copy(unsigned char* out, const unsigned char* in, std::size_t bytes) {
  constexpr std::size_t step = 32;
  if (bytes < step) {
    for (std::size_t at = 0; at < bytes; ++at) out[at] = in[at];
    return;
  }
  for (std::size_t at = 0; at + step <= bytes; at += step) std::memcpy(out + at, in + at, step);
  std::memcpy(out + bytes - step, in + bytes - step, step);
}

}  // namespace

void SpillFile::Unmap::operator()(unsigned char* memory) const { ::munmap(memory, bytes); }

SpillFile::SpillFile(const std::string& directory, std::size_t record_bytes, std::size_t id_offset, int id_bytes,
                     std::size_t block_bytes, std::size_t memory_bytes)
    : record_bytes_(record_bytes),
      id_offset_(id_offset),
      block_bytes_(block_bytes),
      block_rows_(block_bytes / record_bytes),
      id_bytes_(id_bytes) {
  std::string path = directory + "/ml4ep-rows-XXXXXX";
  file_ = ::mkstemp(path.data());
  if (file_ < 0) throw SystemFailure{errno, "making a file for rows in " + directory};
  ::unlink(path.c_str());
  held_ = memory_bytes / block_bytes;
  if (held_ == 0) return;
  // Pages that nothing is written to take no memory.
  void* const memory = ::mmap(nullptr, held_ * block_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    held_ = 0;  // the file has room for all
    return;
  }
  memory_ = {static_cast<unsigned char*>(memory), Unmap{held_ * block_bytes}};
#ifdef MADV_HUGEPAGE
  ::madvise(memory, held_ * block_bytes, MADV_HUGEPAGE);
#endif
}

SpillFile::~SpillFile() { ::close(file_); }

void SpillFile::begin(std::size_t buckets, std::uint64_t seed, std::uint64_t epoch) {
  const std::lock_guard lock(mutex_);
  for (std::vector<Extent>& bucket : written_) {
    for (const Extent& extent : bucket) give_back(extent.block);
  }
  keys_ = RowKeys(seed, epoch);
  buckets_ = buckets;
  written_.assign(buckets, {});
  ++generation_;
}

void SpillFile::turn() {
  const std::lock_guard lock(mutex_);
  for (std::vector<Extent>& bucket : readable_) {
    for (const Extent& extent : bucket) give_back(extent.block);
  }
  readable_ = std::move(written_);
  readable_keys_ = keys_;
  written_.clear();
  buckets_ = 0;
}

std::vector<std::int64_t> SpillFile::counts() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::int64_t> counts;
  for (const std::vector<Extent>& bucket : readable_) {
    std::size_t sum = 0;
    for (const Extent& extent : bucket) sum += extent.rows;
    counts.push_back(static_cast<std::int64_t>(sum));
  }
  return counts;
}

std::size_t SpillFile::read(std::size_t bucket, unsigned char* out, std::size_t capacity) const {
  std::vector<Extent> extents;
  {
    const std::lock_guard lock(mutex_);
    if (bucket >= readable_.size()) throw SystemFailure{EINVAL, "there is no such bucket"};
    extents = readable_[bucket];
  }
  std::size_t rows = 0;
  for (const Extent& extent : extents) {
    if (rows + extent.rows > capacity) throw SystemFailure{ENOMEM, "a bucket is larger than the memory for it"};
    load(extent, out + rows * record_bytes_);
    rows += extent.rows;
  }
  return rows;
}

void SpillFile::release(std::size_t bucket) {
  const std::lock_guard lock(mutex_);
  if (bucket >= readable_.size()) return;
  for (const Extent& extent : readable_[bucket]) give_back(extent.block);
  readable_[bucket].clear();
}

std::size_t SpillFile::bytes_on_disk() const {
  const std::lock_guard lock(mutex_);
  return fresh_[1] * block_bytes_;
}

// In memory as long as there is room.
std::size_t SpillFile::take_block() {
  const std::lock_guard lock(mutex_);
  for (int place : {0, 1}) {
    if (!free_[place].empty()) {
      const std::size_t block = free_[place].back();
      free_[place].pop_back();
      return block;
    }
    if (place == 0 && fresh_[0] < held_) return fresh_[0]++;
  }
  return held_ + fresh_[1]++;
}

void SpillFile::give_back(std::size_t block) { free_[block < held_ ? 0 : 1].push_back(block); }

void SpillFile::load(const Extent& extent, unsigned char* out) const {
  const std::size_t bytes = extent.rows * record_bytes_;
  if (extent.block < held_) std::memcpy(out, memory_.get() + extent.block * block_bytes_, bytes);
  else read_all(file_, out, bytes, (extent.block - held_) * block_bytes_);
}

void SpillFile::store(std::size_t block, const unsigned char* data, std::size_t bytes) {
  if (block < held_) std::memcpy(memory_.get() + block * block_bytes_, data, bytes);
  else write_all(file_, data, bytes, (block - held_) * block_bytes_);
}

SpillFile::Writer::Writer(SpillFile& file) : file_(file) {}

void SpillFile::Writer::begin() {
  if (file_.buckets_ == 0) throw SystemFailure{EINVAL, "no generation of rows is being written"};
  if (generation_ == file_.generation_) return;
  generation_ = file_.generation_;
  filled_.assign(file_.buckets_, 0);
  const std::size_t bytes = file_.buckets_ * file_.block_rows_ * file_.record_bytes_;
  if (bytes > capacity_) {
    buffers_.reset();
    buffers_.reset(new unsigned char[bytes]);
    capacity_ = bytes;
  }
}

std::size_t SpillFile::Writer::take(std::size_t bucket, unsigned char* out, std::uint64_t* keys, std::size_t capacity) {
  begin();
  std::vector<Extent> extents;
  {
    const std::lock_guard lock(file_.mutex_);
    if (bucket >= file_.readable_.size()) throw SystemFailure{EINVAL, "there is no such bucket"};
    std::size_t rows = 0;
    for (const Extent& extent : file_.readable_[bucket]) rows += extent.rows;
    if (rows > capacity) throw SystemFailure{ENOMEM, "a bucket is larger than the memory for it"};
    extents.swap(file_.readable_[bucket]);
  }
  const RowIds ids{out + file_.id_offset_, file_.record_bytes_, file_.id_bytes_, 0};
  std::size_t rows = 0;
  for (const Extent& extent : extents) {
    unsigned char* const records = out + rows * file_.record_bytes_;
    file_.load(extent, records);
    {
      const std::lock_guard lock(file_.mutex_);
      file_.give_back(extent.block);
    }
    for (std::size_t i = 0; i < extent.rows; ++i) keys[rows + i] = file_.readable_keys_(ids[rows + i]);
    add(records, extent.rows);
    rows += extent.rows;
  }
  return rows;
}

void SpillFile::Writer::add(const unsigned char* records, std::size_t count) {
  begin();
  const std::size_t width = file_.record_bytes_, block_rows = file_.block_rows_;
  const RowIds ids{records + file_.id_offset_, width, file_.id_bytes_, 0};
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t bucket = RowKeys::bucket(file_.keys_(ids[i]), file_.buckets_);
    copy(&buffers_[(bucket * block_rows + filled_[bucket]) * width], records + i * width, width);
    if (++filled_[bucket] == block_rows) write(bucket);
  }
}

void SpillFile::Writer::flush() {
  if (generation_ != file_.generation_) return;
  for (std::size_t bucket = 0; bucket < filled_.size(); ++bucket) {
    if (filled_[bucket] > 0) write(bucket);
  }
}

void SpillFile::Writer::write(std::size_t bucket) {
  const std::size_t rows = filled_[bucket], width = file_.record_bytes_;
  const std::size_t block = file_.take_block();
  file_.store(block, &buffers_[bucket * file_.block_rows_ * width], rows * width);
  filled_[bucket] = 0;
  const std::lock_guard lock(file_.mutex_);
  file_.written_[bucket].push_back({block, rows});
}

}  // namespace kernels
