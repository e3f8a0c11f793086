// What generated code is made of: sizes, memory that grows, tensors and sequences whose shapes are found out on the way, errors.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/nn/size.hpp"

namespace kernels {
namespace nn {

// A mistake in what the caller gave, or data that an operator cannot be applied to. The text names the node.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

[[noreturn]] inline void fail(const char* what) { throw Error(what); }
inline void require(bool holds, const char* what) {
  if (!holds) fail(what);
}

// Sizes as an array: sizes(2, 3, n).
template <class... S>
constexpr std::array<std::int64_t, sizeof...(S)> sizes(S... values) {
  return {static_cast<std::int64_t>(values)...};
}

template <std::size_t rank>
constexpr std::int64_t product(const std::array<std::int64_t, rank>& shape) {
  std::int64_t result = 1;
  for (std::size_t i = 0; i < rank; ++i) result *= shape[i];
  return result;
}

// The number of elements of a shape that is found out on the way; shapes whose product has no number are refused.
template <std::size_t rank>
inline std::int64_t elements(const std::array<std::int64_t, rank>& shape) {
  std::int64_t result = 1;
  for (std::size_t i = 0; i < rank; ++i) {
    if (shape[i] < 0 || (shape[i] > 0 && result > std::numeric_limits<std::int64_t>::max() / 64 / shape[i])) fail("a tensor is larger than memory");
    result *= shape[i];
  }
  return result;
}

constexpr std::int64_t floor_div(std::int64_t a, std::int64_t b) {
  const std::int64_t q = a / b;
  return q * b != a && (a < 0) != (b < 0) ? q - 1 : q;
}
constexpr std::int64_t floor_mod(std::int64_t a, std::int64_t b) { return a - floor_div(a, b) * b; }
constexpr std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
constexpr std::int64_t larger(std::int64_t a, std::int64_t b) { return a < b ? b : a; }

// An index that may count from the end.
inline std::int64_t wrapped(std::int64_t index, std::int64_t size, const char* what) {
  const std::int64_t result = index < 0 ? index + size : index;
  if (result < 0 || result >= size) fail(what);
  return result;
}

// Bytes of memory that a tensor takes in an arena: a multiple of 64, with 64 behind it that are its own.
constexpr std::int64_t room(std::int64_t bytes) { return (bytes + 127) / 64 * 64; }

// Memory that grows when more is asked for than ever before, and is kept. What it held is lost when it grows.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Buffer() { std::free(data_); }

  // Room for `count` elements, aligned to 64 bytes, with 64 bytes behind it that may be read.
  template <class T>
  T* get(std::int64_t count) {
    if (count < 0) fail("a tensor has a negative size: an input is too small for the network");
    if (count > std::numeric_limits<std::int64_t>::max() / 2 / static_cast<std::int64_t>(sizeof(T))) {
      fail("a tensor is larger than memory");
    }
    const std::size_t bytes = (static_cast<std::size_t>(count) * sizeof(T) + 127) / 64 * 64;
    if (bytes > bytes_) {
      std::free(data_);
      bytes_ = 0;
      data_ = std::aligned_alloc(64, bytes);
      if (data_ == nullptr) throw std::bad_alloc();
      bytes_ = bytes;
    }
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

// Texts, in memory that is kept.
class Strings {
 public:
  std::string* get(std::int64_t count) {
    if (count < 0) fail("a tensor has a negative size");
    values.resize(static_cast<std::size_t>(count));
    return values.data();
  }
  operator std::string*() { return values.data(); }
  operator const std::string*() const { return values.data(); }

  std::vector<std::string> values;
};

// A tensor that owns its memory and knows its shape when the code runs.
template <class T>
struct Tensor {
  std::vector<std::int64_t> shape;
  std::vector<std::conditional_t<std::is_same<T, bool>::value, unsigned char, T>> values;

  T* data() { return reinterpret_cast<T*>(values.data()); }
  const T* data() const { return reinterpret_cast<const T*>(values.data()); }
  std::int64_t count() const {
    std::int64_t result = 1;
    for (std::int64_t size : shape) result *= size;
    return result;
  }
  T* resize(const std::vector<std::int64_t>& sizes) { return resize(sizes.data(), sizes.data() + sizes.size()); }
  T* resize(std::initializer_list<std::int64_t> sizes) { return resize(sizes.begin(), sizes.end()); }
  T* resize(const std::int64_t* first, const std::int64_t* last) {
    std::int64_t total = 1;
    for (const std::int64_t* size = first; size != last; ++size) {
      if (*size < 0 || (*size > 0 && total > std::numeric_limits<std::int64_t>::max() / 64 / *size)) fail("a tensor is larger than memory");
      total *= *size;
    }
    shape.assign(first, last);
    values.resize(static_cast<std::size_t>(count()));
    return data();
  }
};

// Elements that lie elsewhere, with their shape.
template <class T, std::size_t rank>
struct View {
  const T* data = nullptr;
  std::array<std::int64_t, rank> shape{};
};

template <class T>
using Sequence = std::vector<Tensor<T>>;

template <class T>
struct Optional {
  bool has = false;
  T value;
};

// Elements that are found at a place of a block of memory.
template <class T>
inline T* at(std::byte* start, std::int64_t offset) {
  return reinterpret_cast<T*>(start + offset);
}
template <class T>
inline const T* at(const std::byte* start, std::int64_t offset) {
  return reinterpret_cast<const T*>(start + offset);
}

template <class T>
inline void copy(const T* from, std::int64_t count, T* to) {
  if constexpr (std::is_trivially_copyable<T>::value) {
    if (count > 0 && from != to) std::memmove(to, from, static_cast<std::size_t>(count) * sizeof(T));
  } else {
    for (std::int64_t i = 0; i < count; ++i) to[i] = from[i];
  }
}

inline void copy_bytes(const void* from, std::int64_t bytes, void* to) {
  if (bytes > 0) std::memcpy(to, from, static_cast<std::size_t>(bytes));
}

// The shape that Reshape asks for: 0 keeps a size (unless `keep_zero`), -1 is what is left.
template <std::size_t rank>
inline void reshape(const std::array<std::int64_t, rank>& from, const std::int64_t* wanted, std::int64_t n, bool keep_zero, std::int64_t* to) {
  std::int64_t rest = product(from), unknown = -1;
  std::int64_t known = 1;
  for (std::int64_t i = 0; i < n; ++i) {
    to[i] = wanted[i];
    if (wanted[i] == 0 && !keep_zero) {
      require(i < static_cast<std::int64_t>(rank), "Reshape keeps an axis that its tensor has not");
      to[i] = from[static_cast<std::size_t>(i)];
    }
    if (to[i] == -1) {
      require(unknown < 0, "Reshape is given two sizes of -1");
      unknown = i;
    } else {
      require(to[i] >= 0, "Reshape is given a negative size");
      known *= to[i];
    }
  }
  if (unknown >= 0) {
    require(known > 0 && rest % known == 0, "Reshape cannot tell its size of -1");
    to[unknown] = rest / known;
    known *= to[unknown];
  }
  require(known == rest, "Reshape changes the number of elements");
}

// Marks axes that are named by numbers, which may count from the end.
inline void mark_axes(const std::int64_t* axes, std::int64_t n, std::int64_t rank, bool* marked) {
  for (std::int64_t axis = 0; axis < rank; ++axis) marked[axis] = false;
  for (std::int64_t i = 0; i < n; ++i) {
    bool& mark = marked[wrapped(axes[i], rank, "there is no such axis")];
    require(!mark, "an axis is named twice");
    mark = true;
  }
}

// Shapes without named axes, which have to be of size 1, and with more of them.
template <std::size_t rank>
inline void squeeze(const std::array<std::int64_t, rank>& from, const std::int64_t* axes, std::int64_t n, std::int64_t* to) {
  bool gone[rank + 1];
  mark_axes(axes, n, static_cast<std::int64_t>(rank), gone);
  for (std::size_t axis = 0; axis < rank; ++axis) {
    require(!gone[axis] || from[axis] == 1, "Squeeze takes out an axis that is not of size 1");
    if (!gone[axis]) *to++ = from[axis];
  }
}
template <std::size_t rank>
inline void unsqueeze(const std::array<std::int64_t, rank>& from, const std::int64_t* axes, std::int64_t n, std::int64_t* to) {
  constexpr std::size_t most = rank + 16;
  require(n <= 16, "Unsqueeze adds too many axes");
  bool added[most];
  const std::int64_t all = static_cast<std::int64_t>(rank) + n;
  mark_axes(axes, n, all, added);
  std::size_t next = 0;
  for (std::int64_t axis = 0; axis < all; ++axis) to[axis] = added[axis] ? 1 : from[next++];
}

// One slice of an axis: `outer` blocks of n slices of `inner` elements.
template <class T>
inline void take_slice(const T* from, std::int64_t outer, std::int64_t n, std::int64_t inner, std::int64_t index, T* to) {
  for (std::int64_t i = 0; i < outer; ++i) copy(from + (i * n + index) * inner, inner, to + i * inner);
}
template <class T>
inline void put_slice(const T* from, std::int64_t outer, std::int64_t n, std::int64_t inner, std::int64_t index, T* to) {
  for (std::int64_t i = 0; i < outer; ++i) copy(from + i * inner, inner, to + (i * n + index) * inner);
}

// Appends a tensor to others of its shape.
template <class T>
inline void stack(const T* from, std::initializer_list<std::int64_t> shape, Tensor<T>& to) {
  const bool same = std::equal(shape.begin(), shape.end(), to.shape.begin(), to.shape.end());
  require(to.values.empty() || same, "a loop stacks tensors of different shapes");
  if (!same) to.shape.assign(shape);
  to.values.insert(to.values.end(), from, from + to.count());
}

template <class T>
inline void fill(T* to, std::int64_t count, const T& value) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = value;
}

}  // namespace nn
}  // namespace kernels
