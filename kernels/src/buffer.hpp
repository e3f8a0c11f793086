// Memory that grows without being cleared or copied.
#pragma once

#include <cstdint>
#include <memory>

namespace kernels {

class Buffer {
 public:
  // At least n bytes, of whatever content.
  std::uint8_t* room(std::int64_t n) {
    if (n > size_) {
      const std::int64_t size = n + n / 4 + 64;
      data_.reset(new std::uint8_t[static_cast<std::size_t>(size)]);
      size_ = size;
    }
    return data_.get();
  }
  std::uint8_t* data() const { return data_.get(); }
  // Keeps the memory alive for a view of it; a later `room` may then give other memory.
  std::shared_ptr<std::uint8_t[]> share() const { return data_; }

 private:
  std::shared_ptr<std::uint8_t[]> data_;
  std::int64_t size_ = 0;
};

}  // namespace kernels
