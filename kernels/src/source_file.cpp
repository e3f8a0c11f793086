#include "source_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "decompress.hpp"

namespace kernels {
namespace {

constexpr const char* beyond = "it lies beyond the end of the file";

class DiskFile final : public SourceFile {
 public:
  explicit DiskFile(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_ < 0) throw std::system_error(errno, std::generic_category(), path);
  }
  ~DiskFile() override { ::close(fd_); }
  DiskFile(const DiskFile&) = delete;
  DiskFile& operator=(const DiskFile&) = delete;

  const std::uint8_t* fetch(std::int64_t offset, std::int64_t n, Buffer& room) const override {
    struct stat state {};
    if (::fstat(fd_, &state) != 0) throw std::system_error(errno, std::generic_category(), "fstat");
    if (offset < 0 || n < 0 || n > state.st_size || offset > state.st_size - n) throw DamagedBytes(beyond);
    std::uint8_t* const to = room.room(n);
    for (std::int64_t done = 0; done < n;) {
      const ssize_t got = ::pread(fd_, to + done, static_cast<std::size_t>(n - done), offset + done);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw std::system_error(errno, std::generic_category(), "pread");
      if (got == 0) throw DamagedBytes(beyond);
      done += got;
    }
    return to;
  }

 private:
  int fd_;
};

class MemoryFile final : public SourceFile {
 public:
  explicit MemoryFile(std::vector<Piece> pieces) : pieces_(std::move(pieces)) {
    std::stable_sort(pieces_.begin(), pieces_.end(), [](const Piece& a, const Piece& b) { return a.offset < b.offset; });
  }

  const std::uint8_t* fetch(std::int64_t offset, std::int64_t n, Buffer&) const override {
    const auto before = [](std::int64_t at, const Piece& piece) { return at < piece.offset; };
    const auto after = std::upper_bound(pieces_.begin(), pieces_.end(), offset, before);
    if (after == pieces_.begin()) throw DamagedBytes("its bytes are not in memory");
    const Piece& piece = *(after - 1);
    if (n < 0 || n > piece.bytes || offset - piece.offset > piece.bytes - n) throw DamagedBytes("its bytes are not in memory");
    return piece.data.get() + (offset - piece.offset);
  }

 private:
  std::vector<Piece> pieces_;
};

}  // namespace

std::shared_ptr<SourceFile> open_file(const std::string& path) { return std::make_shared<DiskFile>(path); }

std::shared_ptr<SourceFile> memory_file(std::vector<Piece> pieces) { return std::make_shared<MemoryFile>(std::move(pieces)); }

}  // namespace kernels
