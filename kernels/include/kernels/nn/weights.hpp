// Weights in a file: mapped where the system can, else read. They are checked by the fingerprint of the network they belong to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

#include "kernels/nn/tensor.hpp"

#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace kernels {
namespace nn {

// A file of weights begins with this, and goes on with `bytes` bytes of them.
struct WeightsHead {
  char magic[8];
  std::uint64_t fingerprint;
  std::uint64_t bytes;
  char rest[40];
};
static_assert(sizeof(WeightsHead) == 64, "weights begin at a multiple of 64");

inline void check_weights(const WeightsHead& head, std::uint64_t fingerprint, std::int64_t bytes) {
  require(std::memcmp(head.magic, "NNWEIGHT", 8) == 0, "this is no file of weights");
  require(head.fingerprint == fingerprint && head.bytes == static_cast<std::uint64_t>(bytes), "these weights belong to another network");
}

class Weights {
 public:
  Weights(const std::string& path, std::uint64_t fingerprint, std::int64_t bytes) {
#if defined(__unix__) || defined(__APPLE__)
    const int file = ::open(path.c_str(), O_RDONLY);
    if (file < 0) throw Error("there is no file of weights " + path);
    struct stat facts;
    const std::size_t wanted = sizeof(WeightsHead) + static_cast<std::size_t>(bytes);
    if (::fstat(file, &facts) != 0 || static_cast<std::size_t>(facts.st_size) < wanted) {
      ::close(file);
      throw Error("the file of weights is cut off: " + path);
    }
    void* mapped = ::mmap(nullptr, wanted, PROT_READ, MAP_PRIVATE, file, 0);
    ::close(file);
    if (mapped == MAP_FAILED) throw Error("the file of weights cannot be mapped: " + path);
    start_ = static_cast<std::byte*>(mapped);
    size_ = wanted;
#else
    std::FILE* file = std::fopen(path.c_str(), "rb");
    if (file == nullptr) throw Error("there is no file of weights " + path);
    const std::size_t wanted = sizeof(WeightsHead) + static_cast<std::size_t>(bytes);
    start_ = buffer_.get<std::byte>(static_cast<std::int64_t>(wanted));
    const std::size_t found = std::fread(start_, 1, wanted, file);
    std::fclose(file);
    if (found != wanted) throw Error("the file of weights is cut off: " + path);
#endif
    try {
      WeightsHead head;
      std::memcpy(&head, start_, sizeof head);
      check_weights(head, fingerprint, bytes);
    } catch (...) {
      release();
      throw;
    }
  }
  Weights(const Weights&) = delete;
  Weights& operator=(const Weights&) = delete;
  ~Weights() { release(); }

  const std::byte* data() const { return start_ + sizeof(WeightsHead); }

 private:
  void release() {
#if defined(__unix__) || defined(__APPLE__)
    if (start_ != nullptr) ::munmap(start_, size_);
#endif
    start_ = nullptr;
  }

  std::byte* start_ = nullptr;
  std::size_t size_ = 0;
#if !(defined(__unix__) || defined(__APPLE__))
  Buffer buffer_;
#endif
};

}  // namespace nn
}  // namespace kernels
