#include "decompress.hpp"

#include <climits>
#include <cstring>
#include <new>
#include <utility>

namespace kernels {
namespace {

constexpr std::size_t header_bytes = 9;
constexpr std::uint64_t lzma_memory = std::uint64_t{256} << 20;

struct Frame {
  Codec codec;
  std::size_t bytes, raw;
};

const char* const names[] = {"zlib", "LZMA", "LZ4", "ZSTD"};

std::size_t three_bytes(const std::uint8_t* p) { return p[0] | std::size_t{p[1]} << 8 | std::size_t{p[2]} << 16; }

// The header of the frame that begins the n bytes at p.
Frame frame_at(const std::uint8_t* p, std::size_t n, std::size_t room) {
  if (n < header_bytes) throw DamagedBytes("the compressed bytes end too early");
  Codec codec;
  if (p[0] == 'Z' && p[1] == 'L') codec = Codec::kZlib;
  else if (p[0] == 'X' && p[1] == 'Z') codec = Codec::kLzma;
  else if (p[0] == 'L' && p[1] == '4') codec = Codec::kLz4;
  else if (p[0] == 'Z' && p[1] == 'S') codec = Codec::kZstd;
  else if (p[0] == 'C' && p[1] == 'S') throw DamagedBytes("compressed by ROOT's first algorithm ('CS'), which is not supported");
  else throw DamagedBytes("no known compression begins the bytes");
  const Frame frame{codec, three_bytes(p + 3), three_bytes(p + 6)};
  if (frame.bytes > n - header_bytes) throw DamagedBytes("a compressed frame reaches beyond its end");
  if (frame.raw == 0 || frame.raw > room) throw DamagedBytes("a compressed frame has another size than its place");
  // No stream of these two can grow more: a few bytes that promise megabytes get no memory.
  if (codec == Codec::kZlib && frame.raw > 1040 * (frame.bytes + 1)) throw DamagedBytes("a compressed frame cannot hold what it promises");
  if (codec == Codec::kLz4 && frame.raw > 256 * (frame.bytes + 1)) throw DamagedBytes("a compressed frame cannot hold what it promises");
  return frame;
}

template <class Function>
Function* as(void* address) {
  return reinterpret_cast<Function*>(address);
}

constexpr std::uint64_t prime1 = 0x9E3779B185EBCA87, prime2 = 0xC2B2AE3D27D4EB4F, prime3 = 0x165667B19E3779F9,
                        prime4 = 0x85EBCA77C2B2AE63, prime5 = 0x27D4EB2F165667C5;

std::uint64_t turn(std::uint64_t x, int by) { return x << by | x >> (64 - by); }

// Least significant byte first, on any machine.
std::uint64_t little(const std::uint8_t* p, int bytes) {
  std::uint64_t x = 0;
  for (int i = 0; i < bytes; ++i) x |= std::uint64_t{p[i]} << (8 * i);
  return x;
}

std::uint64_t lane(std::uint64_t sum, const std::uint8_t* p) { return turn(sum + little(p, 8) * prime2, 31) * prime1; }

}  // namespace

std::uint64_t xxhash64(const std::uint8_t* in, std::size_t n) {
  const std::uint8_t* const end = in + n;
  std::uint64_t hash = prime5;
  if (n >= 32) {
    std::uint64_t lanes[4] = {prime1 + prime2, prime2, 0, 0 - prime1};
    for (; end - in >= 32; in += 32) {
      for (int i = 0; i < 4; ++i) lanes[i] = lane(lanes[i], in + 8 * i);
    }
    hash = turn(lanes[0], 1) + turn(lanes[1], 7) + turn(lanes[2], 12) + turn(lanes[3], 18);
    for (const std::uint64_t x : lanes) hash = (hash ^ turn(x * prime2, 31) * prime1) * prime1 + prime4;
  }
  hash += n;
  for (; end - in >= 8; in += 8) hash = turn(hash ^ lane(0, in), 27) * prime1 + prime4;
  if (end - in >= 4) {
    hash = turn(hash ^ little(in, 4) * prime1, 23) * prime2 + prime3;
    in += 4;
  }
  for (; in != end; ++in) hash = turn(hash ^ *in * prime5, 11) * prime1;
  hash = (hash ^ hash >> 33) * prime2;
  hash = (hash ^ hash >> 29) * prime3;
  return hash ^ hash >> 32;
}

Decompressor::Decompressor(DecompressorTable table) : table_(std::move(table)) {}

Decompressor::~Decompressor() {
  if (deflate_ != nullptr) as<void(void*)>(table_.deflate_free)(deflate_);
  if (zstd_ != nullptr) as<std::size_t(void*)>(table_.zstd_free)(zstd_);
}

void Decompressor::check(const std::uint8_t* in, std::size_t n, std::size_t raw) {
  if (n == raw) return;
  while (raw != 0) {
    const Frame frame = frame_at(in, n, raw);
    in += header_bytes + frame.bytes;
    n -= header_bytes + frame.bytes;
    raw -= frame.raw;
  }
}

std::uint64_t Decompressor::xxh3(const std::uint8_t* in, std::size_t n) const {
  if (table_.xxh3_run != nullptr) return as<std::uint64_t(const void*, std::size_t)>(table_.xxh3_run)(in, n);
  std::uint8_t found[8];
  table_.fallback(Codec::kChecksum, in, n, found, sizeof found);
  return little(found, 8);
}

void Decompressor::run(const std::uint8_t* in, std::size_t n, std::uint8_t* out, std::size_t raw) {
  if (n == raw) {
    if (n != 0) std::memcpy(out, in, n);
    return;
  }
  while (raw != 0) {
    const Frame next = frame_at(in, n, raw);
    frame(next.codec, in + header_bytes, next.bytes, out, next.raw);
    in += header_bytes + next.bytes;
    n -= header_bytes + next.bytes;
    out += next.raw;
    raw -= next.raw;
  }
}

void Decompressor::frame(Codec codec, const std::uint8_t* in, std::size_t n, std::uint8_t* out, std::size_t raw) {
  bool good = false;
  if (codec == Codec::kLz4) {  // it has no check of its own
    if (n < 8) throw DamagedBytes("the compressed bytes end too early");
    std::uint64_t wanted = 0;
    for (int i = 0; i < 8; ++i) wanted = wanted << 8 | in[i];
    in += 8;
    n -= 8;
    if (xxhash64(in, n) != wanted) throw DamagedBytes("LZ4 data does not match its checksum");
  }
  if (codec == Codec::kZlib && table_.deflate_run != nullptr) {
    if (deflate_ == nullptr) deflate_ = as<void*()>(table_.deflate_make)();
    if (deflate_ == nullptr) throw std::bad_alloc();
    // Without a place for the size it must be the one asked for.
    good = as<int(void*, const void*, std::size_t, void*, std::size_t, std::size_t*)>(table_.deflate_run)(deflate_, in, n, out, raw, nullptr) == 0;
  } else if (codec == Codec::kLz4 && table_.lz4_run != nullptr) {
    good = as<int(const char*, char*, int, int)>(table_.lz4_run)(reinterpret_cast<const char*>(in), reinterpret_cast<char*>(out),
                                                                   static_cast<int>(n), static_cast<int>(raw)) == static_cast<int>(raw);
  } else if (codec == Codec::kZstd && table_.zstd_run != nullptr) {
    if (zstd_ == nullptr) zstd_ = as<void*()>(table_.zstd_make)();
    if (zstd_ == nullptr) throw std::bad_alloc();
    good = as<std::size_t(void*, void*, std::size_t, const void*, std::size_t)>(table_.zstd_run)(zstd_, out, raw, in, n) == raw;
  } else if (codec == Codec::kLzma && table_.lzma_run != nullptr) {
    std::uint64_t memory = lzma_memory;
    std::size_t read = 0, written = 0;
    using Run = int(std::uint64_t*, std::uint32_t, const void*, const std::uint8_t*, std::size_t*, std::size_t, std::uint8_t*, std::size_t*,
                    std::size_t);
    good = as<Run>(table_.lzma_run)(&memory, 0, nullptr, in, &read, n, out, &written, raw) == 0 && written == raw;
  } else if (table_.fallback) {
    table_.fallback(codec, in, n, out, raw);
    return;
  }
  if (!good) throw DamagedBytes(std::string(names[static_cast<int>(codec)]) + " data is damaged");
}

}  // namespace kernels
