#include "row_spill.hpp"

#include <fcntl.h>
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

}  // namespace

SpillFile::SpillFile(const std::string& directory, std::size_t record_bytes, std::size_t id_offset, int id_bytes,
                     std::size_t block_bytes)
    : record_bytes_(record_bytes),
      id_offset_(id_offset),
      block_bytes_(block_bytes),
      block_rows_(block_bytes / record_bytes),
      id_bytes_(id_bytes) {
  std::string path = directory + "/ml4ep-rows-XXXXXX";
  file_ = ::mkstemp(path.data());
  if (file_ < 0) throw SystemFailure{errno, "making a file for rows in " + directory};
  ::unlink(path.c_str());
}

SpillFile::~SpillFile() { ::close(file_); }

void SpillFile::begin(std::size_t buckets, std::uint64_t seed, std::uint64_t epoch) {
  const std::lock_guard lock(mutex_);
  for (std::vector<Extent>& bucket : written_) {
    for (const Extent& extent : bucket) free_.push_back(extent.block);
  }
  keys_ = RowKeys(seed, epoch);
  buckets_ = buckets;
  written_.assign(buckets, {});
  ++generation_;
}

void SpillFile::turn() {
  const std::lock_guard lock(mutex_);
  for (std::vector<Extent>& bucket : readable_) {
    for (const Extent& extent : bucket) free_.push_back(extent.block);
  }
  readable_ = std::move(written_);
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
    read_all(file_, out + rows * record_bytes_, extent.rows * record_bytes_, extent.block * block_bytes_);
    rows += extent.rows;
  }
  return rows;
}

void SpillFile::release(std::size_t bucket) {
  const std::lock_guard lock(mutex_);
  if (bucket >= readable_.size()) return;
  for (const Extent& extent : readable_[bucket]) free_.push_back(extent.block);
  readable_[bucket].clear();
}

std::size_t SpillFile::bytes_on_disk() const {
  const std::lock_guard lock(mutex_);
  return blocks_ * block_bytes_;
}

std::size_t SpillFile::take_block() {
  const std::lock_guard lock(mutex_);
  if (free_.empty()) return blocks_++;
  const std::size_t block = free_.back();
  free_.pop_back();
  return block;
}

SpillFile::Writer::Writer(SpillFile& file) : file_(file) {}

void SpillFile::Writer::add(const unsigned char* records, std::size_t count) {
  if (file_.buckets_ == 0) throw SystemFailure{EINVAL, "no generation of rows is being written"};
  if (generation_ != file_.generation_) {
    generation_ = file_.generation_;
    filled_.assign(file_.buckets_, 0);
    const std::size_t bytes = file_.buckets_ * file_.block_rows_ * file_.record_bytes_;
    if (bytes > capacity_) {
      buffers_.reset();
      buffers_.reset(new unsigned char[bytes]);
      capacity_ = bytes;
    }
  }
  const std::size_t width = file_.record_bytes_, block_rows = file_.block_rows_;
  const RowIds ids{records + file_.id_offset_, width, file_.id_bytes_, 0};
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t bucket = RowKeys::bucket(file_.keys_(ids[i]), file_.buckets_);
    std::memcpy(&buffers_[(bucket * block_rows + filled_[bucket]) * width], records + i * width, width);
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
  write_all(file_.file_, &buffers_[bucket * file_.block_rows_ * width], rows * width, block * file_.block_bytes_);
  filled_[bucket] = 0;
  const std::lock_guard lock(file_.mutex_);
  file_.written_[bucket].push_back({block, rows});
}

}  // namespace kernels
