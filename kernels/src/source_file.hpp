// Where the bytes of baskets and pages come from; shared by any number of threads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "buffer.hpp"

namespace kernels {

class SourceFile {
 public:
  virtual ~SourceFile() = default;
  // n bytes from `offset`, in `room` or where they lie; throws DamagedBytes where the file has none, std::system_error where it cannot be read.
  virtual const std::uint8_t* fetch(std::int64_t offset, std::int64_t n, Buffer& room) const = 0;
};

// A file of the disk, open as long as the object lives; std::system_error where it cannot be opened.
std::shared_ptr<SourceFile> open_file(const std::string& path);

// Pieces of a file, held in memory by whoever made the pointers.
struct Piece {
  std::int64_t offset, bytes;
  std::shared_ptr<const std::uint8_t> data;
};
std::shared_ptr<SourceFile> memory_file(std::vector<Piece> pieces);

}  // namespace kernels
