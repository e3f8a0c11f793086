// Sequences of tensors and values that may be absent.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/nn/tensor.hpp"

namespace kernels {
namespace nn {

// A copy of elements, with their shape, in an object.
template <class T>
inline void put(const T* from, std::vector<std::int64_t> shape, Tensor<T>& to) {
  T* const data = to.resize(std::move(shape));
  copy(from, to.count(), data);
}

template <class T>
inline std::size_t sequence_place(const Sequence<T>& sequence, std::int64_t position) {
  return static_cast<std::size_t>(wrapped(position, static_cast<std::int64_t>(sequence.size()), "a sequence has no element at this place"));
}

// Where an element is inserted: places count from the front, negative ones from the end, the size stands for the end.
template <class T>
inline std::size_t insertion_place(const Sequence<T>& sequence, std::int64_t position) {
  const auto size = static_cast<std::int64_t>(sequence.size());
  require(position >= -size && position <= size, "a sequence has no such place to insert at");
  return static_cast<std::size_t>(position < 0 ? position + size : position);
}

// A sequence with one more element, which has a place for it when this returns.
template <class T>
inline Tensor<T>& insert(const Sequence<T>& from, std::int64_t position, Sequence<T>& to) {
  const std::size_t place = insertion_place(from, position);
  to.resize(from.size() + 1);
  std::copy(from.begin(), from.begin() + static_cast<std::ptrdiff_t>(place), to.begin());
  std::copy(from.begin() + static_cast<std::ptrdiff_t>(place), from.end(), to.begin() + static_cast<std::ptrdiff_t>(place) + 1);
  return to[place];
}

// A sequence without one of its elements.
template <class T>
inline void erase(const Sequence<T>& from, std::int64_t position, Sequence<T>& to) {
  const std::size_t place = sequence_place(from, position);
  to.resize(from.size() - 1);
  std::copy(from.begin(), from.begin() + static_cast<std::ptrdiff_t>(place), to.begin());
  std::copy(from.begin() + static_cast<std::ptrdiff_t>(place) + 1, from.end(), to.begin() + static_cast<std::ptrdiff_t>(place));
}

// The shape of all tensors of a sequence side by side along an axis, or along a new one.
template <class T>
inline std::vector<std::int64_t> joined_shape(const Sequence<T>& sequence, std::int64_t axis, bool new_axis) {
  require(!sequence.empty(), "ConcatFromSequence is given an empty sequence");
  std::vector<std::int64_t> shape = sequence[0].shape;
  const auto rank = static_cast<std::int64_t>(shape.size()) + (new_axis ? 1 : 0);
  const auto place = static_cast<std::size_t>(wrapped(axis, rank, "ConcatFromSequence names an axis that its tensors have not"));
  std::int64_t total = 0;
  for (const Tensor<T>& item : sequence) {
    require(item.shape.size() == shape.size(), "ConcatFromSequence joins tensors of different shapes");
    for (std::size_t i = 0; i < shape.size(); ++i) {
      require((!new_axis && i == place) || item.shape[i] == shape[i], "ConcatFromSequence joins tensors of different shapes");
    }
    total += new_axis ? 1 : item.shape[place];
  }
  if (new_axis) shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(place), total);
  else shape[place] = total;
  return shape;
}

template <class T>
inline void join(const Sequence<T>& sequence, std::int64_t axis, bool new_axis, T* to) {
  const auto rank = static_cast<std::int64_t>(sequence[0].shape.size()) + (new_axis ? 1 : 0);
  const std::int64_t place = axis < 0 ? axis + rank : axis;
  std::int64_t outer = 1, pitch = 0;
  for (std::int64_t i = 0; i < place; ++i) outer *= sequence[0].shape[static_cast<std::size_t>(i)];
  for (const Tensor<T>& item : sequence) pitch += outer > 0 ? item.count() / outer : 0;
  for (const Tensor<T>& item : sequence) {
    const std::int64_t width = outer > 0 ? item.count() / outer : 0;
    for (std::int64_t i = 0; i < outer; ++i) copy(item.data() + i * width, width, to + i * pitch);
    to += width;
  }
}

// Parts of an axis as a sequence; `shape` has the axis at `axis`, and each part too if `keep`.
template <class T>
class Splitter {
 public:
  Splitter(const T* from, std::vector<std::int64_t> shape, std::size_t axis, bool keep, Sequence<T>& to)
      : from_(from), shape_(std::move(shape)), axis_(axis), keep_(keep), to_(to) {
    for (std::size_t i = 0; i < axis; ++i) outer_ *= shape_[i];
    for (std::size_t i = axis + 1; i < shape_.size(); ++i) inner_ *= shape_[i];
  }

  // Parts of one size, the last of which may be smaller.
  void every(std::int64_t size) {
    require(size > 0, "SplitToSequence has parts of no size");
    const std::int64_t n = shape_[axis_], count = n / size + (n % size != 0);
    to_.resize(static_cast<std::size_t>(count));
    for (std::int64_t i = 0; i < count; ++i) part(static_cast<std::size_t>(i), i * size, smaller(size, n - i * size));
  }

  // Parts of sizes that are given.
  template <class I>
  void each(const I* sizes, std::int64_t count) {
    std::int64_t rest = shape_[axis_];
    for (std::int64_t i = 0; i < count; ++i) {
      require(sizes[i] >= 0 && static_cast<std::int64_t>(sizes[i]) <= rest, "SplitToSequence has parts that are not the whole");
      rest -= static_cast<std::int64_t>(sizes[i]);
    }
    require(rest == 0, "SplitToSequence has parts that are not the whole");
    to_.resize(static_cast<std::size_t>(count));
    std::int64_t start = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      part(static_cast<std::size_t>(i), start, static_cast<std::int64_t>(sizes[i]));
      start += static_cast<std::int64_t>(sizes[i]);
    }
  }

 private:
  void part(std::size_t number, std::int64_t start, std::int64_t size) {
    std::vector<std::int64_t> shape = shape_;
    if (keep_) shape[axis_] = size;
    else shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis_));
    T* const data = to_[number].resize(std::move(shape));
    for (std::int64_t i = 0; i < outer_; ++i) {
      copy(from_ + (i * shape_[axis_] + start) * inner_, size * inner_, data + i * size * inner_);
    }
  }

  const T* from_;
  std::vector<std::int64_t> shape_;
  std::size_t axis_;
  bool keep_;
  Sequence<T>& to_;
  std::int64_t outer_ = 1, inner_ = 1;
};

}  // namespace nn
}  // namespace kernels
