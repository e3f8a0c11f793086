// Kernels that move elements: strided copies, slices, padding, joins.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>

#include "kernels/nn/tensor.hpp"

namespace kernels {
namespace nn {

#if defined(__clang__)
#define KERNELS_NN_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define KERNELS_NN_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, order{__VA_ARGS__})
#endif

// A square of four by four elements of four bytes: rows that are `from_row` apart become columns.
inline void transpose_square(const void* from, std::int64_t from_row, void* to, std::int64_t to_row) {
  typedef std::uint32_t four __attribute__((vector_size(16)));
  typedef std::int32_t order __attribute__((vector_size(16)));
  (void)sizeof(order);
  const auto* source = static_cast<const std::byte*>(from);
  auto* target = static_cast<std::byte*>(to);
  four row[4];
  for (int i = 0; i < 4; ++i) std::memcpy(&row[i], source + i * from_row * 4, 16);
  const four a = KERNELS_NN_SHUFFLE(row[0], row[1], 0, 4, 1, 5), b = KERNELS_NN_SHUFFLE(row[2], row[3], 0, 4, 1, 5);
  const four c = KERNELS_NN_SHUFFLE(row[0], row[1], 2, 6, 3, 7), d = KERNELS_NN_SHUFFLE(row[2], row[3], 2, 6, 3, 7);
  const four column[4] = {KERNELS_NN_SHUFFLE(a, b, 0, 1, 4, 5), KERNELS_NN_SHUFFLE(a, b, 2, 3, 6, 7), KERNELS_NN_SHUFFLE(c, d, 0, 1, 4, 5),
                          KERNELS_NN_SHUFFLE(c, d, 2, 3, 6, 7)};
  for (int i = 0; i < 4; ++i) std::memcpy(target + i * to_row * 4, &column[i], 16);
}
#undef KERNELS_NN_SHUFFLE

// to[i * to_row + j] = from[i + j * from_row], in tiles that stay in cache.
template <class T>
inline void transpose_matrix(const T* from, std::int64_t from_row, std::int64_t rows, std::int64_t columns, T* to, std::int64_t to_row) {
  constexpr std::int64_t tile_rows = 64, tile_columns = 8;
  for (std::int64_t i0 = 0; i0 < rows; i0 += tile_rows) {
    const std::int64_t i1 = smaller(rows, i0 + tile_rows);
    for (std::int64_t j0 = 0; j0 < columns; j0 += tile_columns) {
      const std::int64_t j1 = smaller(columns, j0 + tile_columns);
      std::int64_t i = i0;
      if constexpr (sizeof(T) == 4 && std::is_trivially_copyable<T>::value) {
        for (; i + 4 <= i1; i += 4) {
          std::int64_t j = j0;
          for (; j + 4 <= j1; j += 4) transpose_square(from + i + j * from_row, from_row, to + i * to_row + j, to_row);
          for (; j < j1; ++j) {
            for (std::int64_t k = i; k < i + 4; ++k) to[k * to_row + j] = from[k + j * from_row];
          }
        }
      }
      for (; i < i1; ++i) {
        for (std::int64_t j = j0; j < j1; ++j) to[i * to_row + j] = from[i + j * from_row];
      }
    }
  }
}

// to[i, j, ...] = from[i * strides[0] + j * strides[1] + ...], row by row.
template <class T, std::size_t rank>
inline void strided_rows(const T* from, const std::array<std::int64_t, rank>& shape, const std::array<std::int64_t, rank>& strides, T* to) {
  if constexpr (rank == 0) {
    *to = *from;
  } else {
    std::array<std::int64_t, rank> index{};
    const std::int64_t inner = shape[rank - 1], step = strides[rank - 1];
    std::int64_t rows = inner == 0 ? 0 : 1;
    for (std::size_t axis = 0; axis + 1 < rank; ++axis) rows *= shape[axis];
    for (std::int64_t row = 0; row < rows; ++row) {
      if (step == 1) {
        for (std::int64_t i = 0; i < inner; ++i) to[i] = from[i];
      } else {
        for (std::int64_t i = 0; i < inner; ++i) to[i] = from[i * step];
      }
      to += inner;
      for (std::size_t axis = rank - 1; axis-- > 0;) {
        from += strides[axis];
        if (++index[axis] < shape[axis]) break;
        from -= strides[axis] * shape[axis];
        index[axis] = 0;
      }
    }
  }
}

// The same. Where the elements of another axis than the last are neighbours, as in transposes, these two axes are done in tiles.
template <class T, std::size_t rank>
inline void strided_copy(const T* from, const std::array<std::int64_t, rank>& shape, const std::array<std::int64_t, rank>& strides, T* to) {
  if constexpr (rank >= 2) {
    constexpr std::size_t last = rank - 1;
    std::size_t near = last;
    for (std::size_t axis = 0; axis < last; ++axis) {
      if (strides[axis] == 1 && shape[axis] >= 4) near = axis;
    }
    if (near != last && strides[last] != 1 && shape[last] >= 4) {
      std::array<std::int64_t, rank> index{}, pitch{};
      std::int64_t step = 1, count = 1;
      for (std::size_t axis = rank; axis-- > 0;) {
        pitch[axis] = step;
        step *= shape[axis];
        if (axis != near && axis != last) count *= shape[axis];
      }
      for (std::int64_t i = 0; i < count; ++i) {
        transpose_matrix(from, strides[last], shape[near], shape[last], to, pitch[near]);
        for (std::size_t axis = last; axis-- > 0;) {
          if (axis == near) continue;
          from += strides[axis];
          to += pitch[axis];
          if (++index[axis] < shape[axis]) break;
          from -= strides[axis] * shape[axis];
          to -= pitch[axis] * shape[axis];
          index[axis] = 0;
        }
      }
      return;
    }
  }
  strided_rows(from, shape, strides, to);
}

template <std::size_t rank>
constexpr std::array<std::int64_t, rank> row_major(const std::array<std::int64_t, rank>& shape) {
  std::array<std::int64_t, rank> strides{};
  std::int64_t step = 1;
  for (std::size_t axis = rank; axis-- > 0;) {
    strides[axis] = step;
    step *= shape[axis];
  }
  return strides;
}

// A slice that is found out when the code runs.
template <std::size_t rank>
struct SliceRange {
  std::int64_t offset = 0;
  std::array<std::int64_t, rank> shape, strides;
};

// Starts, ends, axes and steps as Slice has them; axes and steps may be null.
template <std::size_t rank, class I>
inline SliceRange<rank> slice_range(const std::array<std::int64_t, rank>& shape, const I* starts, const I* ends, const I* axes, const I* steps, std::int64_t n) {
  SliceRange<rank> range;
  range.shape = shape;
  range.strides = row_major(shape);
  require(n <= static_cast<std::int64_t>(rank), "Slice names more axes than its tensor has");
  bool taken[rank + 1] = {};
  for (std::int64_t i = 0; i < n; ++i) {
    const auto axis = static_cast<std::size_t>(wrapped(axes ? static_cast<std::int64_t>(axes[i]) : i, static_cast<std::int64_t>(rank), "Slice names an axis that its tensor has not"));
    require(!taken[axis], "Slice names an axis twice");
    taken[axis] = true;
    const std::int64_t size = shape[axis], step = steps ? static_cast<std::int64_t>(steps[i]) : 1;
    require(step != 0 && step > -std::numeric_limits<std::int64_t>::max(), "Slice has a step of zero");
    // A place counted from the front, within bounds.
    const auto bounded = [&](std::int64_t place, std::int64_t low, std::int64_t high) {
      if (place < 0) place = place < -size ? low : place + size;
      return place < low ? low : place > high ? high : place;
    };
    std::int64_t count = 0, start = 0;
    if (size > 0 && step > 0) {
      start = bounded(static_cast<std::int64_t>(starts[i]), 0, size);
      const std::int64_t end = bounded(static_cast<std::int64_t>(ends[i]), 0, size);
      count = end > start ? (end - start - 1) / step + 1 : 0;
    } else if (size > 0) {
      start = bounded(static_cast<std::int64_t>(starts[i]), 0, size - 1);
      const std::int64_t end = bounded(static_cast<std::int64_t>(ends[i]), -1, size - 1);
      count = start > end ? (start - end - 1) / -step + 1 : 0;
    }
    if (count > 0) range.offset += range.strides[axis] * start;
    range.shape[axis] = count;
    // Steps beyond the axis reach one element, and are never taken.
    range.strides[axis] *= count > 1 ? step : 1;
  }
  return range;
}

// One of the parts that lie side by side along an axis: `outer` runs of `inner` elements, `pitch` apart in the whole.
template <class T>
inline void put_part(const T* part, std::int64_t outer, std::int64_t inner, T* whole, std::int64_t pitch) {
  for (std::int64_t i = 0; i < outer; ++i) copy(part + i * inner, inner, whole + i * pitch);
}
template <class T>
inline void take_part(const T* whole, std::int64_t outer, std::int64_t inner, std::int64_t pitch, T* part) {
  for (std::int64_t i = 0; i < outer; ++i) copy(whole + i * pitch, inner, part + i * inner);
}

// Parts of an axis as Split has them: together they are the whole.
template <class I>
inline void check_parts(const I* parts, std::int64_t n, std::int64_t size) {
  for (std::int64_t i = 0; i < n; ++i) {
    require(parts[i] >= 0 && static_cast<std::int64_t>(parts[i]) <= size, "Split has parts that are not the whole");
    size -= static_cast<std::int64_t>(parts[i]);
  }
  require(size == 0, "Split has parts that are not the whole");
}

// The size of an axis that is repeated.
inline std::int64_t repeated(std::int64_t size, std::int64_t times) {
  require(times >= 0, "Tile repeats an axis less than no time");
  require(size == 0 || times <= std::numeric_limits<std::int64_t>::max() / 64 / size, "a tensor is larger than memory");
  return size * times;
}

// Slices of an axis by number: from[outer, n, inner] to to[outer, indices, inner].
template <class T, class I>
inline void gather(const T* from, std::int64_t outer, std::int64_t n, std::int64_t inner, const I* indices, std::int64_t count, T* to) {
  for (std::int64_t i = 0; i < outer; ++i) {
    for (std::int64_t j = 0; j < count; ++j) {
      const std::int64_t index = wrapped(static_cast<std::int64_t>(indices[j]), n, "Gather is given an index beyond its axis");
      copy(from + (i * n + index) * inner, inner, to + (i * count + j) * inner);
    }
  }
}

enum class PadMode { constant, reflect, edge, wrap };

// Where an element of a padded axis comes from; -1 for the constant.
inline std::int64_t pad_source(std::int64_t place, std::int64_t size, PadMode mode) {
  if (place >= 0 && place < size) return place;
  if (mode == PadMode::constant) return -1;
  require(size > 0, "Pad repeats an axis that is empty");
  if (mode == PadMode::edge) return place < 0 ? 0 : size - 1;
  if (mode == PadMode::wrap) return floor_mod(place, size);
  if (size == 1) return 0;
  const std::int64_t period = 2 * (size - 1), at = floor_mod(place, period);
  return at < size ? at : period - at;
}

// What is put in front of an axis that is cut or filled up around its middle.
constexpr std::int64_t center_shift(std::int64_t from, std::int64_t to) { return to < from ? -((from - to) / 2) : (to - from) / 2; }

// The size of an axis that is broadcast to a size, either of which may be 1.
inline std::int64_t broadcast_size(std::int64_t size, std::int64_t wanted) {
  require(size == wanted || size == 1 || wanted == 1, "Expand broadcasts sizes that differ");
  return size == 1 ? wanted : size;
}

// Before and behind each axis, as Pad has them; axes may be null.
template <std::size_t rank>
struct Padding {
  std::array<std::int64_t, rank> first{}, second{};
};
template <std::size_t rank, class I>
inline Padding<rank> pad_amounts(const std::array<std::int64_t, rank>& shape, const std::int64_t* pads, std::int64_t n, const I* axes) {
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max() / 256;
  Padding<rank> amounts;
  require(n % 2 == 0 && n / 2 <= static_cast<std::int64_t>(rank), "Pad is given a wrong number of amounts");
  bool taken[rank + 1] = {};
  for (std::int64_t i = 0; i < n / 2; ++i) {
    const auto axis = static_cast<std::size_t>(wrapped(axes ? static_cast<std::int64_t>(axes[i]) : i, static_cast<std::int64_t>(rank), "Pad names an axis that its tensor has not"));
    require(!taken[axis], "Pad names an axis twice");
    taken[axis] = true;
    const std::int64_t before = pads[i], behind = pads[n / 2 + i];
    require(before > -most && before < most && behind > -most && behind < most, "a tensor is larger than memory");
    require(shape[axis] + before + behind >= 0, "Pad cuts off more than there is");
    amounts.first[axis] = before;
    amounts.second[axis] = behind;
  }
  require(axes != nullptr || n / 2 == static_cast<std::int64_t>(rank), "Pad is given a wrong number of amounts");
  return amounts;
}

// `before` may be negative: elements are then cut off.
template <class T, std::size_t rank>
inline void pad(const T* from, const std::array<std::int64_t, rank>& shape, const std::array<std::int64_t, rank>& before, PadMode mode, const T& value,
                const std::array<std::int64_t, rank>& to_shape, T* to) {
  if constexpr (rank == 0) {
    *to = *from;
  } else {
    const auto strides = row_major(shape);
    constexpr std::size_t last = rank - 1;
    const std::int64_t width = to_shape[last], size = shape[last], shift = before[last];
    std::int64_t rows = width > 0 ? 1 : 0;
    for (std::size_t axis = 0; axis < last; ++axis) rows *= to_shape[axis];
    // Within a row, elements from `begin` to `end` are those of the tensor itself.
    const std::int64_t begin = smaller(larger(shift, 0), width), end = larger(smaller(shift + size, width), begin);
    std::array<std::int64_t, rank> index{};
    for (std::int64_t row = 0; row < rows; ++row, to += width) {
      std::int64_t offset = 0;
      bool inside = true;
      for (std::size_t axis = 0; axis < last; ++axis) {
        const std::int64_t source = pad_source(index[axis] - before[axis], shape[axis], mode);
        if (source < 0) inside = false;
        else offset += source * strides[axis];
      }
      if (!inside) {
        fill(to, width, value);
      } else {
        for (std::int64_t i = 0; i < width; ++i) {
          if (i == begin) i = end;
          if (i >= width) break;
          const std::int64_t source = pad_source(i - shift, size, mode);
          to[i] = source < 0 ? value : from[offset + source];
        }
        if (end > begin) copy(from + offset + (begin - shift), end - begin, to + begin);
      }
      for (std::size_t axis = last; axis-- > 0;) {
        if (++index[axis] < to_shape[axis]) break;
        index[axis] = 0;
      }
    }
  }
}

// Keeps the upper or lower triangle of matrices; element (i, j) is in both where j - i = k.
template <class T>
inline void triangle(const T* from, std::int64_t batch, std::int64_t rows, std::int64_t columns, std::int64_t k, bool upper, T* to) {
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t j = 0; j < columns; ++j, ++from, ++to) {
        // j - i against k, without overflow for any k.
        const bool keep = upper ? j - i >= k : j - i <= k;
        *to = keep ? *from : T{};
      }
    }
  }
}

// Reverses the first `lengths[b]` slices along the time axis of each row of a batch; inner runs of elements stay together.
template <class T>
inline void reverse_sequence(const T* from, std::int64_t time, std::int64_t batch, std::int64_t inner, bool time_first, const std::int64_t* lengths, T* to) {
  for (std::int64_t b = 0; b < batch; ++b) {
    require(lengths[b] >= 0 && lengths[b] <= time, "ReverseSequence is given a length beyond its axis");
    for (std::int64_t t = 0; t < time; ++t) {
      const std::int64_t source = t < lengths[b] ? lengths[b] - 1 - t : t;
      const std::int64_t at = time_first ? t * batch + b : b * time + t, from_at = time_first ? source * batch + b : b * time + source;
      copy(from + from_at * inner, inner, to + at * inner);
    }
  }
}

// start, start + delta, ...
template <class T>
inline std::int64_t range_count(T start, T limit, T delta) {
  if constexpr (std::is_floating_point<T>::value) {
    require(delta != 0, "Range has a step of zero");
    const double count = std::ceil((limit - start) / delta);
    require(count < 1e15 && count == count, "Range is without end");
    return count > 0 ? static_cast<std::int64_t>(count) : 0;
  } else {
    require(delta != 0, "Range has a step of zero");
    if (delta > 0 ? start >= limit : start <= limit) return 0;
    const auto span = delta > 0 ? static_cast<std::uint64_t>(limit) - static_cast<std::uint64_t>(start)
                                : static_cast<std::uint64_t>(start) - static_cast<std::uint64_t>(limit);
    const auto step = delta > 0 ? static_cast<std::uint64_t>(delta) : 0 - static_cast<std::uint64_t>(delta);
    const std::uint64_t count = (span - 1) / step + 1;
    require(count < (std::uint64_t(1) << 50), "Range is too long");
    return static_cast<std::int64_t>(count);
  }
}
template <class T>
inline void range(T start, T delta, std::int64_t count, T* to) {
  for (std::int64_t i = 0; i < count; ++i) {
    if constexpr (std::is_floating_point<T>::value) to[i] = start + static_cast<T>(i) * delta;
    else to[i] = static_cast<T>(static_cast<std::uint64_t>(start) + static_cast<std::uint64_t>(i) * static_cast<std::uint64_t>(delta));
  }
}

// Ones on a diagonal, zeros elsewhere.
template <class T>
inline void eye(std::int64_t rows, std::int64_t columns, std::int64_t k, T* to) {
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) to[i * columns + j] = static_cast<T>(j - i == k ? 1 : 0);
  }
}

}  // namespace nn
}  // namespace kernels
