// Decoders of images: PNG, BMP, portable any-maps, TIFF and sequential JPEG. Files are read within their bounds, and refused if they are not
// what they say.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <utility>
#include <vector>

#include "kernels/nn/tensor.hpp"

namespace kernels {
namespace nn {

// Red, green and blue of pixels, row by row.
struct Image {
  std::int64_t height = 0, width = 0;
  std::vector<std::uint8_t> rgb;

  void resize(std::int64_t new_height, std::int64_t new_width) {
    constexpr std::int64_t most = std::int64_t(1) << 28;
    require(new_height > 0 && new_width > 0 && new_height <= most / new_width, "an image has no pixels, or too many");
    height = new_height, width = new_width;
    rgb.assign(static_cast<std::size_t>(3 * height * width), 0);
  }
  void put(std::int64_t y, std::int64_t x, std::uint8_t r, std::uint8_t g, std::uint8_t b) {
    std::uint8_t* const pixel = rgb.data() + 3 * (y * width + x);
    pixel[0] = r, pixel[1] = g, pixel[2] = b;
  }
};

namespace image {

// Bytes of a file.
struct Bytes {
  const std::uint8_t* data;
  std::int64_t size;

  Bytes part(std::int64_t offset, std::int64_t count) const {
    require(offset >= 0 && count >= 0 && offset <= size && count <= size - offset, "an image is cut off");
    return {data + offset, count};
  }
  Bytes from(std::int64_t offset) const { return part(offset, size - std::min(offset, size)); }
  std::uint8_t operator[](std::int64_t i) const {
    require(i >= 0 && i < size, "an image is cut off");
    return data[i];
  }
  std::uint32_t big(std::int64_t offset, int count) const {
    std::uint32_t value = 0;
    for (int i = 0; i < count; ++i) value = value << 8 | (*this)[offset + i];
    return value;
  }
  std::uint32_t little(std::int64_t offset, int count) const {
    std::uint32_t value = 0;
    for (int i = count; i-- > 0;) value = value << 8 | (*this)[offset + i];
    return value;
  }
  bool begins(const char* text, std::int64_t count) const { return size >= count && std::equal(text, text + count, reinterpret_cast<const char*>(data)); }
};

// Codes of a canonical Huffman code of up to 16 bits: the symbols in the order of their codes, and how many there are of each length.
struct HuffmanCode {
  std::array<std::uint16_t, 17> counts{};
  std::vector<std::uint16_t> symbols;

  // From the length of each symbol's code; 0 for none.
  static HuffmanCode of_lengths(const std::uint8_t* lengths, int n) {
    HuffmanCode code;
    for (int length = 1; length <= 16; ++length) {
      for (int i = 0; i < n; ++i) {
        if (lengths[i] != length) continue;
        ++code.counts[static_cast<std::size_t>(length)];
        code.symbols.push_back(static_cast<std::uint16_t>(i));
      }
    }
    return code;
  }

  // The next symbol, by bits that `bit()` gives one after the other.
  template <class F>
  int next(const F& bit) const {
    int first = 0, code = 0, index = 0;
    for (std::size_t length = 1; length <= 16; ++length) {
      code = code << 1 | bit();
      const int count = counts[length];
      if (code - first < count) return symbols[static_cast<std::size_t>(index + code - first)];
      index += count;
      first = (first + count) << 1;
    }
    fail("an image has a code that means nothing");
  }
};

// Deflated data (RFC 1951) behind a zlib header (RFC 1950), of which no more than `most` bytes may come out.
inline std::vector<std::uint8_t> inflate(Bytes in, std::int64_t most) {
  require(in.size >= 2 && (in[0] & 15) == 8 && in.big(0, 2) % 31 == 0 && (in[1] & 32) == 0, "an image has compressed data of another kind");
  std::int64_t at = 2;
  std::uint32_t held = 0;
  int n_held = 0;
  const auto bits = [&](int count) {
    while (n_held < count) {
      held |= static_cast<std::uint32_t>(in[at++]) << n_held;
      n_held += 8;
    }
    const std::uint32_t value = held & ((1u << count) - 1);
    held >>= count;
    n_held -= count;
    return static_cast<int>(value);
  };
  const auto bit = [&] { return bits(1); };
  std::vector<std::uint8_t> out;
  const auto room = [&](std::int64_t count) { require(static_cast<std::int64_t>(out.size()) + count <= most, "an image holds more data than pixels"); };
  const auto block = [&](const HuffmanCode& literals, const HuffmanCode& distances) {
    while (true) {
      const int symbol = literals.next(bit);
      if (symbol == 256) return;
      if (symbol < 256) {
        room(1);
        out.push_back(static_cast<std::uint8_t>(symbol));
        continue;
      }
      require(symbol < 286, "an image has a code that means nothing");
      // Lengths from 3 on: eight of one each, then four with each number of further bits.
      const int l = symbol - 257, l_bits = l < 8 || l == 28 ? 0 : l / 4 - 1;
      const int length = l == 28 ? 258 : (l < 8 ? l : (4 + l % 4) << l_bits) + 3 + bits(l_bits);
      const int d = distances.next(bit);
      require(d < 30, "an image has a code that means nothing");
      const int d_bits = d < 4 ? 0 : d / 2 - 1;
      const auto distance = static_cast<std::size_t>((d < 4 ? d : (2 + d % 2) << d_bits) + 1 + bits(d_bits));
      require(distance <= out.size(), "an image repeats data from before its beginning");
      room(length);
      for (int i = 0; i < length; ++i) out.push_back(out[out.size() - distance]);
    }
  };
  bool last = false;
  while (!last) {
    last = bits(1) != 0;
    const int kind = bits(2);
    if (kind == 0) {
      held = 0, n_held = 0;
      const auto count = static_cast<std::int64_t>(in.little(at, 2));
      require((in.little(at, 2) ^ in.little(at + 2, 2)) == 0xFFFF, "an image has compressed data of another kind");
      const Bytes part = in.part(at + 4, count);
      room(count);
      out.insert(out.end(), part.data, part.data + count);
      at += 4 + count;
    } else if (kind == 1) {
      std::uint8_t lengths[288], five[30];
      for (int i = 0; i < 288; ++i) lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
      std::fill(five, five + 30, 5);
      block(HuffmanCode::of_lengths(lengths, 288), HuffmanCode::of_lengths(five, 30));
    } else {
      require(kind == 2, "an image has compressed data of another kind");
      const int n_literals = bits(5) + 257, n_distances = bits(5) + 1, n_lengths = bits(4) + 4;
      constexpr std::uint8_t order[] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
      std::uint8_t code_lengths[19] = {}, lengths[288 + 32] = {};
      for (int i = 0; i < n_lengths; ++i) code_lengths[order[i]] = static_cast<std::uint8_t>(bits(3));
      const HuffmanCode code = HuffmanCode::of_lengths(code_lengths, 19);
      for (int i = 0; i < n_literals + n_distances;) {
        const int symbol = code.next(bit);
        if (symbol < 16) {
          lengths[i++] = static_cast<std::uint8_t>(symbol);
          continue;
        }
        require(symbol != 16 || i > 0, "an image has a code that means nothing");
        const std::uint8_t value = symbol == 16 ? lengths[i - 1] : std::uint8_t(0);
        const int count = symbol == 16 ? 3 + bits(2) : symbol == 17 ? 3 + bits(3) : 11 + bits(7);
        require(i + count <= n_literals + n_distances, "an image has a code that means nothing");
        std::fill(lengths + i, lengths + i + count, value);
        i += count;
      }
      block(HuffmanCode::of_lengths(lengths, n_literals), HuffmanCode::of_lengths(lengths + n_literals, n_distances));
    }
  }
  return out;
}

// Portable network graphics (ISO/IEC 15948). Transparency is dropped.
inline void decode_png(Bytes file, Image& to) {
  constexpr std::int64_t most = std::int64_t(1) << 31;
  std::vector<std::uint8_t> packed;
  Bytes palette{nullptr, 0};
  int depth = 0, color = -1;
  bool interlaced = false;
  for (std::int64_t at = 8; !file.part(at, 8).begins("\0\0\0\0IEND", 8);) {
    const auto size = static_cast<std::int64_t>(file.big(at, 4));
    const Bytes kind = file.part(at + 4, 4), chunk = file.part(at + 8, size);
    if (kind.begins("IHDR", 4)) {
      to.resize(chunk.big(4, 4), chunk.big(0, 4));
      depth = chunk[8], color = chunk[9], interlaced = chunk[12] != 0;
      require(chunk[10] == 0 && chunk[11] == 0 && chunk[12] < 2, "a PNG image is of an unknown kind");
    } else if (kind.begins("PLTE", 4)) {
      palette = chunk;
    } else if (kind.begins("IDAT", 4)) {
      packed.insert(packed.end(), chunk.data, chunk.data + chunk.size);
    }
    at += size + 12;
  }
  const int channels = color == 2 ? 3 : color == 4 ? 2 : color == 6 ? 4 : 1;
  const bool whole_bytes = depth == 8 || depth == 16, few_bits = depth == 1 || depth == 2 || depth == 4;
  require((color == 0 && (whole_bytes || few_bits)) || (color == 3 && (depth == 8 || few_bits)) || ((color == 2 || color == 4 || color == 6) && whole_bytes),
          "a PNG image is of an unknown kind");
  const std::int64_t pixel_bits = std::int64_t(channels) * depth, step = std::max<std::int64_t>(1, pixel_bits / 8);
  // Beginnings and steps of the passes of an interlaced image, and of the one of any other.
  struct Pass {
    std::int64_t y, x, down, across;
  };
  constexpr Pass adam7[] = {{0, 0, 8, 8}, {0, 4, 8, 8}, {4, 0, 8, 4}, {0, 2, 4, 4}, {2, 0, 4, 2}, {0, 1, 2, 2}, {1, 0, 2, 1}};
  constexpr Pass single[] = {{0, 0, 1, 1}};
  const Pass* const passes = interlaced ? adam7 : single;
  const int n_passes = interlaced ? 7 : 1;
  const auto row_bytes = [&](std::int64_t pixels) { return (pixels * pixel_bits + 7) / 8; };
  std::int64_t needed = 0;
  for (int p = 0; p < n_passes; ++p) {
    const std::int64_t rows = (to.height - passes[p].y + passes[p].down - 1) / passes[p].down, columns = (to.width - passes[p].x + passes[p].across - 1) / passes[p].across;
    if (rows > 0 && columns > 0) needed += rows * (1 + row_bytes(columns));
  }
  require(needed < most, "an image has too many pixels");
  std::vector<std::uint8_t> data = inflate({packed.data(), static_cast<std::int64_t>(packed.size())}, needed);
  require(static_cast<std::int64_t>(data.size()) == needed, "an image is cut off");
  std::uint8_t* row = data.data();
  for (int p = 0; p < n_passes; ++p) {
    const std::int64_t columns = (to.width - passes[p].x + passes[p].across - 1) / passes[p].across;
    if (columns <= 0) continue;
    const std::int64_t bytes = row_bytes(columns);
    const std::uint8_t* above = nullptr;
    for (std::int64_t y = passes[p].y; y < to.height; y += passes[p].down) {
      const int filter = *row++;
      require(filter < 5, "a PNG image has an unknown filter");
      for (std::int64_t i = 0; i < bytes; ++i) {
        const int a = i >= step ? row[i - step] : 0, b = above ? above[i] : 0, c = above && i >= step ? above[i - step] : 0;
        int guess = filter == 1 ? a : filter == 2 ? b : filter == 3 ? (a + b) / 2 : 0;
        if (filter == 4) {
          const int to_a = std::abs(b - c), to_b = std::abs(a - c), to_c = std::abs(a + b - 2 * c);
          guess = to_a <= to_b && to_a <= to_c ? a : to_b <= to_c ? b : c;
        }
        row[i] = static_cast<std::uint8_t>(row[i] + guess);
      }
      const auto sample = [&](std::int64_t number) {
        if (whole_bytes) return static_cast<int>(row[number * depth / 8]);
        return row[number * depth / 8] >> (8 - depth - number * depth % 8) & ((1 << depth) - 1);
      };
      for (std::int64_t column = 0; column < columns; ++column) {
        const std::int64_t x = passes[p].x + column * passes[p].across;
        const int first = sample(column * channels);
        if (color == 3) {
          to.put(y, x, palette[3 * first], palette[3 * first + 1], palette[3 * first + 2]);
        } else if (color == 2 || color == 6) {
          to.put(y, x, static_cast<std::uint8_t>(first), static_cast<std::uint8_t>(sample(column * channels + 1)), static_cast<std::uint8_t>(sample(column * channels + 2)));
        } else {
          const auto gray = static_cast<std::uint8_t>(few_bits ? first * 255 / ((1 << depth) - 1) : first);
          to.put(y, x, gray, gray, gray);
        }
      }
      above = row;
      row += bytes;
    }
  }
}

// Windows bitmaps without compression.
inline void decode_bmp(Bytes file, Image& to) {
  const auto start = static_cast<std::int64_t>(file.little(10, 4)), header = static_cast<std::int64_t>(file.little(14, 4));
  require(header >= 40, "a BMP image is of an unknown kind");
  const auto tall = static_cast<std::int32_t>(file.little(22, 4)), wide = static_cast<std::int32_t>(file.little(18, 4));
  const std::uint32_t bits = file.little(28, 2), compression = file.little(30, 4);
  require(compression == 0 && (bits == 1 || bits == 4 || bits == 8 || bits == 24 || bits == 32), "a BMP image is compressed, or of an unknown kind");
  to.resize(std::llabs(static_cast<long long>(tall)), wide);
  const std::int64_t pitch = (to.width * bits + 31) / 32 * 4;
  for (std::int64_t y = 0; y < to.height; ++y) {
    const Bytes row = file.part(start + (tall < 0 ? y : to.height - 1 - y) * pitch, pitch);
    for (std::int64_t x = 0; x < to.width; ++x) {
      if (bits >= 24) {
        const std::int64_t at = x * (bits / 8);
        to.put(y, x, row[at + 2], row[at + 1], row[at]);
      } else {
        const std::int64_t place = row[x * bits / 8] >> (8 - bits - x * bits % 8) & ((1u << bits) - 1), at = 14 + header + 4 * place;
        require(at + 4 <= start, "a BMP image has a color beyond its table");
        to.put(y, x, file[at + 2], file[at + 1], file[at]);
      }
    }
  }
}

// Portable bit, gray and pixel maps, as text or as bytes.
inline void decode_pnm(Bytes file, Image& to) {
  std::int64_t at = 2;
  const int kind = file[1] - '0';
  const auto is_digit = [&] { return at < file.size && file.data[at] >= '0' && file.data[at] <= '9'; };
  const auto skip = [&] {
    while (at < file.size && !is_digit()) {
      if (file.data[at] == '#') {
        while (at < file.size && file.data[at] != '\n') ++at;
      } else {
        require(file.data[at] == ' ' || (file.data[at] >= 9 && file.data[at] <= 13), "a portable map has no number where one is needed");
        ++at;
      }
    }
  };
  const auto number = [&] {
    skip();
    require(is_digit(), "an image is cut off");
    std::int64_t value = 0;
    for (; is_digit(); ++at) {
      value = 10 * value + file.data[at] - '0';
      require(value < (1 << 28), "a portable map has too large a number");
    }
    return value;
  };
  const std::int64_t width = number(), height = number(), largest = kind == 1 || kind == 4 ? 1 : number();
  require(largest > 0 && largest < 65536, "a portable map has samples that are no samples");
  to.resize(height, width);
  if (kind >= 4) ++at;  // one white space
  const int size = largest > 255 ? 2 : 1;
  const auto sample = [&]() -> std::uint8_t {
    std::int64_t value;
    if (kind == 1) {
      skip();
      require(is_digit(), "an image is cut off");
      return file.data[at++] == '0' ? 255 : 0;
    }
    if (kind < 4) {
      value = number();
    } else {
      value = file.big(at, size);
      at += size;
    }
    require(value <= largest, "a portable map has a sample that is too large");
    return static_cast<std::uint8_t>((value * 255 + largest / 2) / largest);
  };
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      if (kind == 4) {
        const std::uint8_t gray = file[at + x / 8] >> (7 - x % 8) & 1 ? 0 : 255;
        to.put(y, x, gray, gray, gray);
      } else {
        const std::uint8_t r = sample(), g = kind % 3 == 0 ? sample() : r, b = kind % 3 == 0 ? sample() : r;
        to.put(y, x, r, g, b);
      }
    }
    if (kind == 4) at += (width + 7) / 8;
  }
}

// TIFF 6.0: the first image, strips of samples of eight bits, as they are, in runs (PackBits) or deflated.
inline void decode_tiff(Bytes file, Image& to) {
  const bool is_little = file[0] == 'I';
  const auto read = [&](std::int64_t at, int count) { return static_cast<std::int64_t>(is_little ? file.little(at, count) : file.big(at, count)); };
  const std::int64_t directory = read(4, 4), n_entries = read(directory, 2);
  // The numbers of a field; those that it has by default if it is not there.
  const auto field = [&](std::int64_t tag, std::int64_t fallback) {
    std::vector<std::int64_t> values;
    for (std::int64_t i = 0; i < n_entries; ++i) {
      const std::int64_t entry = directory + 2 + 12 * i;
      if (read(entry, 2) != tag) continue;
      const std::int64_t type = read(entry + 2, 2), count = read(entry + 4, 4);
      require((type == 1 || type == 3 || type == 4) && count <= file.size, "a TIFF image has a field of an unknown kind");
      const int size = type == 1 ? 1 : type == 3 ? 2 : 4;
      const std::int64_t start = count * size <= 4 ? entry + 8 : read(entry + 8, 4);
      for (std::int64_t k = 0; k < count; ++k) values.push_back(read(start + k * size, size));
      break;
    }
    if (values.empty()) values.push_back(fallback);
    return values;
  };
  to.resize(field(257, 0)[0], field(256, 0)[0]);
  const std::int64_t samples = field(277, 1)[0], compression = field(259, 1)[0], color = field(262, 1)[0], predictor = field(317, 1)[0];
  for (const std::int64_t bits : field(258, 1)) require(bits == 8, "a TIFF image has samples of other than eight bits");
  const bool gray = color == 0 || color == 1, palette = color == 3;
  require(samples >= (color == 2 ? 3 : 1) && samples <= 8 && (gray || palette || color == 2) && field(284, 1)[0] == 1 && predictor <= 2,
          "a TIFF image is of an unknown kind");
  const auto colors = palette ? field(320, 0) : std::vector<std::int64_t>();
  require(!palette || colors.size() == 3 * 256, "a TIFF image has no table of colors");
  const auto offsets = field(273, 0), counts = field(279, 0);
  const std::int64_t rows = std::min(field(278, to.height)[0], to.height), pitch = to.width * samples;
  require(rows > 0 && offsets.size() == counts.size() && static_cast<std::int64_t>(offsets.size()) == (to.height + rows - 1) / rows, "a TIFF image has strips that do not fit");
  std::vector<std::uint8_t> strip;
  for (std::size_t s = 0; s < offsets.size(); ++s) {
    const Bytes packed = file.part(offsets[s], counts[s]);
    const std::int64_t first = static_cast<std::int64_t>(s) * rows, n_rows = std::min(rows, to.height - first), needed = n_rows * pitch;
    if (compression == 1) {
      strip.assign(packed.data, packed.data + packed.size);
    } else if (compression == 8 || compression == 32946) {
      strip = inflate(packed, needed);
    } else {
      require(compression == 32773, "a TIFF image is compressed in an unknown way");
      strip.clear();
      for (std::int64_t at = 0; at < packed.size && static_cast<std::int64_t>(strip.size()) < needed;) {
        const int head = packed[at++];
        if (head < 128) {
          const Bytes run = packed.part(at, head + 1);
          strip.insert(strip.end(), run.data, run.data + run.size);
          at += run.size;
        } else if (head > 128) {
          strip.insert(strip.end(), static_cast<std::size_t>(257 - head), packed[at++]);
        }
      }
    }
    require(static_cast<std::int64_t>(strip.size()) >= needed, "an image is cut off");
    for (std::int64_t y = 0; y < n_rows; ++y) {
      std::uint8_t* const row = strip.data() + y * pitch;
      for (std::int64_t i = samples; predictor == 2 && i < pitch; ++i) row[i] = static_cast<std::uint8_t>(row[i] + row[i - samples]);
      for (std::int64_t x = 0; x < to.width; ++x) {
        const std::uint8_t* const p = row + x * samples;
        if (palette) {
          const auto high = [&](std::size_t channel) { return static_cast<std::uint8_t>(colors[256 * channel + *p] >> 8); };
          to.put(first + y, x, high(0), high(1), high(2));
        } else if (gray) {
          const auto value = static_cast<std::uint8_t>(color == 0 ? 255 - *p : *p);
          to.put(first + y, x, value, value, value);
        } else {
          to.put(first + y, x, p[0], p[1], p[2]);
        }
      }
    }
  }
}

// JPEG (ITU-T T.81): sequential, of Huffman codes and eight bits. The arithmetic is that of the common decoders, bit for bit: an integer transform of
// 13 bits, chroma interpolated linearly.
class Jpeg {
 public:
  Jpeg(Bytes file, Image& to) : file_(file) {
    std::int64_t at = 2;
    while (true) {
      while (file_[at] == 0xFF && file_[at + 1] == 0xFF) ++at;
      require(file_[at] == 0xFF, "a JPEG image has data where a marker is needed");
      const int marker = file_[at + 1];
      const Bytes segment = file_.part(at + 4, static_cast<std::int64_t>(file_.big(at + 2, 2)) - 2);
      at += 4 + segment.size;
      if (marker == 0xDB) {
        quantization(segment);
      } else if (marker == 0xC4) {
        codes(segment);
      } else if (marker == 0xC0 || marker == 0xC1) {
        frame(segment, to);
      } else if (marker == 0xDD) {
        interval_ = segment.big(0, 2);
      } else if (marker == 0xEE && segment.begins("Adobe", 5)) {
        adobe_ = segment[11];
      } else if (marker == 0xDA) {
        at = scan(segment, at);
        n_scanned_ += segment[0];
        if (n_scanned_ >= static_cast<int>(parts_.size())) break;
      } else {
        require(marker < 0xC0 || marker > 0xCF || marker == 0xC8, "a JPEG image is progressive, lossless or arithmetically coded");
        require(marker != 0xD9, "an image is cut off");
      }
    }
    finish(to);
  }

 private:
  struct Part {
    int id = 0, across = 1, down = 1, table = 0, dc = 0, ac = 0, predicted = 0;
    std::int64_t width = 0, height = 0;  // in samples
    std::int64_t pitch = 0;              // of the plane, which is of whole blocks
    std::vector<std::uint8_t> plane;
  };

  void quantization(Bytes segment) {
    for (std::int64_t at = 0; at < segment.size;) {
      const int head = segment[at++], size = head >> 4 ? 2 : 1;
      require((head & 15) < 4, "a JPEG image has too many tables");
      for (auto& value : tables_[static_cast<std::size_t>(head & 15)]) {
        value = static_cast<int>(segment.big(at, size));
        at += size;
      }
    }
  }

  void codes(Bytes segment) {
    for (std::int64_t at = 0; at < segment.size;) {
      const int head = segment[at++];
      require((head & 15) < 4 && head >> 4 < 2, "a JPEG image has too many tables");
      HuffmanCode& code = codes_[static_cast<std::size_t>(head >> 4)][static_cast<std::size_t>(head & 15)];
      std::int64_t total = 0;
      for (std::size_t length = 1; length <= 16; ++length) total += code.counts[length] = segment[at++];
      const Bytes symbols = segment.part(at, total);
      code.symbols.assign(symbols.data, symbols.data + total);
      at += total;
    }
  }

  void frame(Bytes segment, Image& to) {
    require(parts_.empty() && segment[0] == 8, "a JPEG image has more than one frame, or samples of other than eight bits");
    to.resize(segment.big(1, 2), segment.big(3, 2));
    const int n = segment[5];
    require(n == 1 || n == 3 || n == 4, "a JPEG image has neither one, three nor four colors");
    parts_.resize(static_cast<std::size_t>(n));
    for (int i = 0; i < n; ++i) {
      Part& part = parts_[static_cast<std::size_t>(i)];
      part.id = segment[6 + 3 * i], part.across = segment[7 + 3 * i] >> 4, part.down = segment[7 + 3 * i] & 15, part.table = segment[8 + 3 * i];
      require(part.across >= 1 && part.across <= 4 && part.down >= 1 && part.down <= 4 && part.table < 4, "a JPEG image has factors or tables that are none");
      across_ = std::max(across_, part.across), down_ = std::max(down_, part.down);
    }
    units_across_ = (to.width + 8 * across_ - 1) / (8 * across_), units_down_ = (to.height + 8 * down_ - 1) / (8 * down_);
    for (Part& part : parts_) {
      part.width = (to.width * part.across + across_ - 1) / across_, part.height = (to.height * part.down + down_ - 1) / down_;
      part.pitch = units_across_ * part.across * 8;
      part.plane.assign(static_cast<std::size_t>(part.pitch * units_down_ * part.down * 8), 128);
    }
  }

  int bit() {
    if (n_held_ == 0) {
      held_ = 0;
      // Behind the data come zeros: a marker is not read over.
      if (at_ + 1 < file_.size && !(file_.data[at_] == 0xFF && file_.data[at_ + 1] != 0)) {
        held_ = file_.data[at_];
        at_ += held_ == 0xFF ? 2 : 1;
      } else {
        require(++missing_ < 1 << 16, "an image is cut off");
      }
      n_held_ = 8;
    }
    return held_ >> --n_held_ & 1;
  }

  // A number of a class: as many bits, of which the smaller half stands for negative ones.
  int number(int size) {
    require(size <= 16, "an image has a code that means nothing");
    int value = 0;
    for (int i = 0; i < size; ++i) value = value << 1 | bit();
    return size > 0 && value < 1 << (size - 1) ? value - (1 << size) + 1 : value;
  }

  std::int64_t scan(Bytes head, std::int64_t at) {
    const int n = head[0];
    require(!parts_.empty() && n >= 1 && n <= static_cast<int>(parts_.size()), "a JPEG image has a scan without a frame");
    std::vector<Part*> scanned;
    for (int i = 0; i < n; ++i) {
      for (Part& part : parts_) {
        if (part.id != head[1 + 2 * i]) continue;
        part.dc = head[2 + 2 * i] >> 4, part.ac = head[2 + 2 * i] & 15;
        require(part.dc < 4 && part.ac < 4, "a JPEG image has too many tables");
        scanned.push_back(&part);
        break;
      }
    }
    require(static_cast<int>(scanned.size()) == n, "a JPEG image has a scan of a color that is not there");
    at_ = at, n_held_ = 0, missing_ = 0;
    // A scan of one color has blocks for its own samples alone; others go unit by unit.
    const bool lone = n == 1;
    const std::int64_t columns = lone ? (scanned[0]->width + 7) / 8 : units_across_, rows = lone ? (scanned[0]->height + 7) / 8 : units_down_;
    std::int64_t left = interval_;
    for (Part* part : scanned) part->predicted = 0;
    for (std::int64_t y = 0; y < rows; ++y) {
      for (std::int64_t x = 0; x < columns; ++x) {
        if (interval_ > 0 && left-- == 0) {
          restart();
          for (Part* part : scanned) part->predicted = 0;
          left = interval_ - 1;
        }
        for (Part* part : scanned) {
          const int down = lone ? 1 : part->down, across = lone ? 1 : part->across;
          for (int v = 0; v < down; ++v) {
            for (int h = 0; h < across; ++h) block(*part, y * down + v, x * across + h);
          }
        }
      }
    }
    // To the marker behind the data.
    while (at_ + 1 < file_.size && !(file_.data[at_] == 0xFF && file_.data[at_ + 1] != 0 && (file_.data[at_ + 1] & 0xF8) != 0xD0)) ++at_;
    return at_;
  }

  void restart() {
    n_held_ = 0;
    while (at_ + 1 < file_.size && !(file_.data[at_] == 0xFF && (file_.data[at_ + 1] & 0xF8) == 0xD0)) ++at_;
    require(at_ + 1 < file_.size, "an image is cut off");
    at_ += 2;
  }

  void block(Part& part, std::int64_t row, std::int64_t column) {
    constexpr std::uint8_t order[64] = {0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48,
                                        41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23,
                                        30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63};
    const auto& table = tables_[static_cast<std::size_t>(part.table)];
    const auto next = [this] { return bit(); };
    std::int64_t values[64] = {};
    part.predicted += number(codes_[0][static_cast<std::size_t>(part.dc)].next(next));
    // Only 12 bits have a meaning; the sum of any others may not run away.
    require(std::abs(part.predicted) < 1 << 20, "an image has a code that means nothing");
    values[0] = std::int64_t(part.predicted) * table[0];
    for (int k = 1; k < 64; ++k) {
      const int symbol = codes_[1][static_cast<std::size_t>(part.ac)].next(next), size = symbol & 15;
      if (size == 0 && symbol != 0xF0) break;
      k += symbol >> 4;
      require(k < 64, "an image has a code that means nothing");
      values[order[k]] = size == 0 ? 0 : std::int64_t(number(size)) * table[static_cast<std::size_t>(k)];
    }
    transform(values, part.plane.data() + row * 8 * part.pitch + column * 8, part.pitch);
  }

  // The inverse cosine transform of eight numbers `step` apart, by C. Loeffler, A. Ligtenberg and G. S. Moschytz (ICASSP 1989, Fig. 1) in fixed point;
  // what comes out has `shift` fewer bits behind the point.
  static void transform_line(std::int64_t* x, int step, int shift) {
    const auto in = [&](int i) { return x[i * step]; };
    const auto fixed = [](double c) { return static_cast<std::int64_t>(c * 8192 + 0.5); };
    const std::int64_t shared = (in(2) + in(6)) * fixed(0.541196100);
    const std::int64_t e2 = shared - in(6) * fixed(1.847759065), e3 = shared + in(2) * fixed(0.765366865);
    const std::int64_t e0 = (in(0) + in(4)) * 8192, e1 = (in(0) - in(4)) * 8192;
    const std::int64_t even[4] = {e0 + e3, e1 + e2, e1 - e2, e0 - e3};
    const std::int64_t turn = (in(7) + in(3) + in(5) + in(1)) * fixed(1.175875602);
    const std::int64_t a = -(in(7) + in(1)) * fixed(0.899976223), b = -(in(5) + in(3)) * fixed(2.562915447);
    const std::int64_t c = turn - (in(7) + in(3)) * fixed(1.961570560), d = turn - (in(5) + in(1)) * fixed(0.390180644);
    const std::int64_t odd[4] = {in(1) * fixed(1.501321110) + a + d, in(3) * fixed(3.072711026) + b + c, in(5) * fixed(2.053119869) + b + d,
                                 in(7) * fixed(0.298631336) + a + c};
    const std::int64_t half = std::int64_t(1) << (shift - 1);
    for (int i = 0; i < 4; ++i) {
      x[i * step] = (even[i] + odd[i] + half) >> shift;
      x[(7 - i) * step] = (even[i] - odd[i] + half) >> shift;
    }
  }

  static void transform(std::int64_t* values, std::uint8_t* to, std::int64_t pitch) {
    for (int i = 0; i < 8; ++i) transform_line(values + i, 8, 11);
    for (int i = 0; i < 8; ++i) {
      transform_line(values + 8 * i, 1, 18);
      for (int j = 0; j < 8; ++j) to[i * pitch + j] = clamped(values[8 * i + j] + 128);
    }
  }

  static std::uint8_t clamped(std::int64_t x) { return static_cast<std::uint8_t>(x < 0 ? 0 : x > 255 ? 255 : x); }

  // A color with a sample for each pixel: samples that stand for two pixels lie between them, and are interpolated.
  std::vector<std::uint8_t> spread(const Part& part, std::int64_t height, std::int64_t width) const {
    std::vector<std::uint8_t> result(static_cast<std::size_t>(height * width));
    const int across = across_ / part.across, down = down_ / part.down;
    const bool smooth = part.width > 2 && across_ % part.across == 0 && down_ % part.down == 0;
    const bool both = smooth && across == 2 && down == 2, columns = smooth && across == 2 && down == 1;
    for (std::int64_t y = 0; y < height; ++y) {
      const std::int64_t row = y * part.down / down_;
      const std::uint8_t* const near = part.plane.data() + row * part.pitch;
      // The other row that a pixel lies between: above it in the upper half of a sample, else below.
      const std::int64_t other = std::min(std::max<std::int64_t>(y % 2 == 0 ? row - 1 : row + 1, 0), part.height - 1);
      const std::uint8_t* const far = part.plane.data() + other * part.pitch;
      const auto at = [&](std::int64_t x) { return both ? 3 * near[x] + far[x] : static_cast<int>(near[x]); };
      const int bits = both ? 4 : 2, scale = both ? 4 : 1;
      for (std::int64_t x = 0; x < width; ++x) {
        std::uint8_t& out = result[static_cast<std::size_t>(y * width + x)];
        const std::int64_t column = x * part.across / across_;
        if (!both && !columns) {
          out = near[column];
          continue;
        }
        const bool right = x % 2 == 1;
        const std::int64_t next = right ? column + 1 : column - 1;
        // Halves are rounded down and up in turn.
        if (next < 0 || next >= part.width) out = static_cast<std::uint8_t>((at(column) * 4 + (both ? (right ? 7 : 8) : 0)) >> bits);
        else out = static_cast<std::uint8_t>((at(column) * 3 + at(next) + (right ? 2 * scale - (both ? 1 : 0) : (both ? 8 : 1))) >> bits);
      }
    }
    return result;
  }

  void finish(Image& to) {
    std::vector<std::vector<std::uint8_t>> planes;
    for (const Part& part : parts_) planes.push_back(spread(part, to.height, to.width));
    const auto fixed = [](double c) { return static_cast<std::int64_t>(c * 65536 + 0.5); };
    const bool plain = planes.size() == 3 && (adobe_ == 0 || (adobe_ < 0 && parts_[0].id == 'R' && parts_[1].id == 'G' && parts_[2].id == 'B'));
    for (std::int64_t y = 0; y < to.height; ++y) {
      for (std::int64_t x = 0; x < to.width; ++x) {
        const auto i = static_cast<std::size_t>(y * to.width + x);
        std::uint8_t rgb[3] = {planes[0][i], planes[0][i], planes[0][i]};
        if (planes.size() > 1 && (plain || (planes.size() == 4 && adobe_ != 2))) {
          for (std::size_t k = 0; k < 3; ++k) rgb[k] = planes[k][i];
        } else if (planes.size() > 1) {
          // JFIF 1.02: luminance and the differences of blue and red.
          const std::int64_t l = planes[0][i], b = planes[1][i] - 128, r = planes[2][i] - 128;
          rgb[0] = clamped(l + ((fixed(1.40200) * r + 32768) >> 16));
          rgb[1] = clamped(l + ((-fixed(0.34414) * b - fixed(0.71414) * r + 32768) >> 16));
          rgb[2] = clamped(l + ((fixed(1.77200) * b + 32768) >> 16));
        }
        if (planes.size() == 4) {
          // Four inks, which Adobe's programs store upside down.
          for (auto& c : rgb) c = static_cast<std::uint8_t>((adobe_ < 0 ? 255 - c : c) * (adobe_ < 0 ? 255 - planes[3][i] : planes[3][i]) / 255);
        }
        to.put(y, x, rgb[0], rgb[1], rgb[2]);
      }
    }
  }

  Bytes file_;
  std::array<std::array<int, 64>, 4> tables_{};
  std::array<std::array<HuffmanCode, 4>, 2> codes_;
  std::vector<Part> parts_;
  int across_ = 1, down_ = 1, adobe_ = -1, n_scanned_ = 0;
  std::int64_t units_across_ = 0, units_down_ = 0, interval_ = 0;
  std::int64_t at_ = 0;
  int held_ = 0, n_held_ = 0, missing_ = 0;
};

}  // namespace image

enum class PixelFormat { rgb, bgr, gray };

// An image of a file of any of these formats; of no pixels if it cannot be decoded.
inline void decode_image(const std::uint8_t* data, std::int64_t size, Image& to) {
  const image::Bytes file{data, size};
  try {
    if (file.begins("\x89PNG\r\n\x1a\n", 8)) return image::decode_png(file, to);
    if (file.begins("\xFF\xD8", 2)) {
      image::Jpeg(file, to);
      return;
    }
    if (file.begins("BM", 2)) return image::decode_bmp(file, to);
    if (file.begins("II*\0", 4) || file.begins("MM\0*", 4)) return image::decode_tiff(file, to);
    if (size > 2 && data[0] == 'P' && data[1] >= '1' && data[1] <= '6') return image::decode_pnm(file, to);
  } catch (const Error&) {
    // What ONNX asks for comes below.
  }
  to.height = to.width = 0;
  to.rgb.clear();
}

inline void put_pixels(const Image& from, PixelFormat format, std::uint8_t* to) {
  const std::int64_t n = from.height * from.width;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint8_t* const p = from.rgb.data() + 3 * i;
    if (format == PixelFormat::gray) {
      // ITU-R BT.601, Eq. 1 of its Sec. 2.5.1, in 16 bits.
      to[i] = static_cast<std::uint8_t>((19595 * p[0] + 38470 * p[1] + 7471 * p[2] + 32768) >> 16);
    } else {
      const bool swap = format == PixelFormat::bgr;
      to[3 * i] = p[swap ? 2 : 0], to[3 * i + 1] = p[1], to[3 * i + 2] = p[swap ? 0 : 2];
    }
  }
}

}  // namespace nn
}  // namespace kernels
