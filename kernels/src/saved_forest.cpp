#include "saved_forest.hpp"

#include <array>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

#include "kernels/plan.hpp"

namespace kernels {
namespace {

// Layout of the file, little-endian: magic, version (u32), length of the metadata (u32), length of the file (u64), CRC-32 of the
// metadata (u32), CRC-32 of the bytes before (u32), the metadata.
constexpr std::size_t version_at = 8;
constexpr std::size_t length_at = 12;
constexpr std::size_t size_at = 16;
constexpr std::size_t metadata_sum_at = 24;
constexpr std::size_t header_sum_at = 28;
constexpr std::size_t metadata_at = 32;
constexpr std::uint32_t file_version = 1;

template <class T>
T number_at(const unsigned char* p) {
  T value = 0;
  for (std::size_t i = sizeof(T); i-- > 0;) value = static_cast<T>(value << 8 | p[i]);
  return value;
}

// CRC-32 as zlib has it, eight bytes at a time.
std::uint32_t crc32(const unsigned char* data, std::size_t size) {
  using Tables = std::array<std::array<std::uint32_t, 256>, 8>;
  static const Tables tables = [] {
    Tables t{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ ((value & 1) != 0 ? 0xEDB88320u : 0u);
      t[0][i] = value;
    }
    for (std::size_t k = 1; k < 8; ++k) {
      for (std::size_t i = 0; i < 256; ++i) t[k][i] = t[k - 1][i] >> 8 ^ t[0][t[k - 1][i] & 255];
    }
    return t;
  }();
  std::uint32_t sum = ~0u;
  for (; size >= 8; data += 8, size -= 8) {
    const std::uint32_t low = number_at<std::uint32_t>(data) ^ sum;
    const std::uint32_t high = number_at<std::uint32_t>(data + 4);
    sum = tables[7][low & 255] ^ tables[6][low >> 8 & 255] ^ tables[5][low >> 16 & 255] ^ tables[4][low >> 24] ^
          tables[3][high & 255] ^ tables[2][high >> 8 & 255] ^ tables[1][high >> 16 & 255] ^ tables[0][high >> 24];
  }
  for (; size > 0; ++data, --size) sum = sum >> 8 ^ tables[0][(sum ^ *data) & 255];
  return ~sum;
}

[[noreturn]] void reject(const std::string& what) { throw std::invalid_argument(what); }

// The number after `key`, where both stand in `text` from `at` on; `at` moves behind it.
std::uint64_t number_after(const std::string& text, const std::string& key, std::size_t& at) {
  if (text.compare(at, key.size(), key) != 0) reject("the saved forest is damaged: its sections are not as they should be");
  at += key.size();
  std::uint64_t value = 0;
  std::size_t n = 0;
  for (; at < text.size() && text[at] >= '0' && text[at] <= '9' && n < 16; ++at, ++n) value = 10 * value + std::uint64_t(text[at] - '0');
  if (n == 0) reject("the saved forest is damaged: a section has no number");
  return value;
}

}  // namespace

PlanBytes find_plan(const unsigned char* data, std::size_t size) {
  if (size >= sizeof plan_magic && std::memcmp(data, plan_magic, sizeof plan_magic) == 0) return {data, size};
  if (size < metadata_at || std::memcmp(data, "\x89" "ML4EP\r\n", version_at) != 0) reject("this is no saved forest");
  if (crc32(data, header_sum_at) != number_at<std::uint32_t>(data + header_sum_at)) {
    reject("the saved forest is damaged: its header does not have its sum");
  }
  const auto version = number_at<std::uint32_t>(data + version_at);
  if (version != file_version) {
    reject("the forest is saved in version " + std::to_string(version) + " of the format, this library reads version " +
           std::to_string(file_version));
  }
  const auto length = number_at<std::uint32_t>(data + length_at);
  if (number_at<std::uint64_t>(data + size_at) != size || length > size - metadata_at) reject("the saved forest is cut short");
  const std::string metadata(reinterpret_cast<const char*>(data) + metadata_at, length);
  if (crc32(data + metadata_at, length) != number_at<std::uint32_t>(data + metadata_sum_at)) {
    reject("the saved forest is damaged: its metadata do not have their sum");
  }
  // Texts in the metadata escape their quotation marks, so nothing but a section can look like this.
  const std::string key = R"({"name":"plan")";
  std::size_t at = metadata.find(key);
  if (at == std::string::npos) reject("the saved forest holds no plan; save it again on a machine with the native kernels");
  at += key.size();
  const std::uint64_t offset = number_after(metadata, R"(,"offset":)", at);
  const std::uint64_t plan_size = number_after(metadata, R"(,"size":)", at);
  const std::uint64_t sum = number_after(metadata, R"(,"crc32":)", at);
  if (offset > size || plan_size > size - offset) reject("the saved forest is damaged: its plan lies outside");
  if (crc32(data + offset, plan_size) != sum) reject("the saved forest is damaged: its plan does not have its sum");
  return {data + offset, plan_size};
}

}  // namespace kernels
