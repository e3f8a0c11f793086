// What ROOT compresses: one or more frames of at most 16 MB, each with a header of nine bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>

namespace kernels {

enum class Codec : int { kZlib, kLzma, kLz4, kZstd, kChecksum };

// What is wrong with some bytes, in words for a user.
class DamagedBytes : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

// C functions of the libraries by address, null where there is none, and what is called in their place.
struct DecompressorTable {
  void* deflate_make = nullptr;  // libdeflate_alloc_decompressor
  void* deflate_run = nullptr;   // libdeflate_zlib_decompress
  void* deflate_free = nullptr;  // libdeflate_free_decompressor
  void* lz4_run = nullptr;       // LZ4_decompress_safe
  void* zstd_make = nullptr;     // ZSTD_createDCtx
  void* zstd_run = nullptr;      // ZSTD_decompressDCtx
  void* zstd_free = nullptr;     // ZSTD_freeDCtx
  void* lzma_run = nullptr;      // lzma_stream_buffer_decode
  void* xxh3_run = nullptr;      // XXH3_64bits
  // Fills `out` or throws; for kChecksum with the eight bytes of XXH3, least significant first.
  std::function<void(Codec codec, const std::uint8_t* in, std::size_t n, std::uint8_t* out, std::size_t raw)> fallback;
};

// The state that the libraries keep; for one thread at a time.
class Decompressor {
 public:
  explicit Decompressor(DecompressorTable table);
  ~Decompressor();
  Decompressor(const Decompressor&) = delete;
  Decompressor& operator=(const Decompressor&) = delete;

  // Whether n bytes can hold `raw` bytes, by their headers alone: asked before memory is taken for them. Throws DamagedBytes.
  static void check(const std::uint8_t* in, std::size_t n, std::size_t raw);

  // The hash that RNTuple puts behind its pages: XXH3 of 64 bits, without a seed.
  std::uint64_t xxh3(const std::uint8_t* in, std::size_t n) const;

  // Exactly `raw` bytes; n == raw means that they are stored as they are. Throws DamagedBytes.
  void run(const std::uint8_t* in, std::size_t n, std::uint8_t* out, std::size_t raw);

 private:
  void frame(Codec codec, const std::uint8_t* in, std::size_t n, std::uint8_t* out, std::size_t raw);

  DecompressorTable table_;
  void* deflate_ = nullptr;
  void* zstd_ = nullptr;
};

// The hash that ROOT puts before LZ4's bytes: XXH64 with seed 0.
std::uint64_t xxhash64(const std::uint8_t* in, std::size_t n);

}  // namespace kernels
