// The C face of generated code: values as plain structs, for callers that know nothing of C++ (Python's ctypes).
#pragma once

#include <cstdint>
#include <deque>
#include <exception>
#include <string>
#include <vector>

#include "kernels/nn/tensor.hpp"

namespace kernels {
namespace nn {

constexpr int max_rank = 12;

enum class Kind : std::int32_t { none = 0, tensor = 1, sequence = 2 };

// A value at the border. Tensors: `data` points to row-major elements, for texts to `count` pairs of const char* and length.
// Sequences: `items` points to `count` values. Outputs: what they point to belongs to the session until its next call.
struct Value {
  std::int32_t kind;
  std::int32_t dtype;  // ONNX's number of the element type
  std::int64_t rank;
  std::int64_t dims[max_rank];
  void* data;
  std::int64_t count;
  Value* items;
};

struct Text {
  const char* data;
  std::int64_t size;
};

// What outputs point to besides the workspace.
struct Held {
  std::deque<std::vector<Value>> values;
  std::deque<std::vector<Text>> texts;
  std::deque<std::vector<std::string>> strings;

  void clear() {
    values.clear();
    texts.clear();
    strings.clear();
  }
};

inline void expect(const Value& value, std::int32_t dtype, std::int64_t rank, const char* name) {
  if (value.kind != static_cast<std::int32_t>(Kind::tensor) || value.dtype != dtype) {
    fail(name);
  }
  if (value.rank != rank) fail(name);
}

inline const std::string* texts(const Value& value, Held& held) {
  const auto* items = static_cast<const Text*>(value.data);
  held.strings.emplace_back();
  auto& strings = held.strings.back();
  for (std::int64_t i = 0; i < value.count; ++i) strings.emplace_back(items[i].data, static_cast<std::size_t>(items[i].size));
  return strings.data();
}

template <class T>
inline void take(const Value& value, std::int32_t dtype, Tensor<T>& to) {
  require(value.kind == static_cast<std::int32_t>(Kind::tensor) && value.dtype == dtype && value.rank >= 0 && value.rank <= max_rank,
          "an input is no tensor of the element type that it has to be of");
  to.resize(std::vector<std::int64_t>(value.dims, value.dims + value.rank));
  if constexpr (std::is_same<T, std::string>::value) {
    const auto* items = static_cast<const Text*>(value.data);
    for (std::int64_t i = 0; i < to.count(); ++i) to.data()[i].assign(items[i].data, static_cast<std::size_t>(items[i].size));
  } else {
    copy(static_cast<const T*>(value.data), to.count(), to.data());
  }
}
template <class T>
inline void take(const Value& value, std::int32_t dtype, Sequence<T>& to) {
  require(value.kind == static_cast<std::int32_t>(Kind::sequence) && value.count >= 0, "an input is no sequence");
  to.resize(static_cast<std::size_t>(value.count));
  for (std::int64_t i = 0; i < value.count; ++i) take(value.items[i], dtype, to[static_cast<std::size_t>(i)]);
}
template <class T>
inline void take(const Value& value, std::int32_t dtype, Optional<T>& to) {
  to.has = value.kind != static_cast<std::int32_t>(Kind::none);
  if (to.has) take(value, dtype, to.value);
}

template <std::size_t rank>
inline void give(std::int32_t dtype, const void* data, const std::array<std::int64_t, rank>& shape, Value& to) {
  to = Value{};
  to.kind = static_cast<std::int32_t>(Kind::tensor);
  to.dtype = dtype;
  to.rank = static_cast<std::int64_t>(rank);
  for (std::size_t i = 0; i < rank; ++i) to.dims[i] = shape[i];
  to.data = const_cast<void*>(data);
  to.count = product(shape);
}
template <std::size_t rank>
inline void give(std::int32_t dtype, const std::string* data, const std::array<std::int64_t, rank>& shape, Value& to, Held& held) {
  held.texts.emplace_back();
  for (std::int64_t i = 0; i < product(shape); ++i) held.texts.back().push_back({data[i].data(), static_cast<std::int64_t>(data[i].size())});
  give(dtype, static_cast<const void*>(held.texts.back().data()), shape, to);
}
template <class T>
inline void give(std::int32_t dtype, const Tensor<T>& from, Value& to, Held& held) {
  to = Value{};
  to.kind = static_cast<std::int32_t>(Kind::tensor);
  to.dtype = dtype;
  to.rank = static_cast<std::int64_t>(from.shape.size());
  if (to.rank > max_rank) fail("an output has more axes than can be handed over");
  for (std::size_t i = 0; i < from.shape.size(); ++i) to.dims[i] = from.shape[i];
  to.count = from.count();
  if constexpr (std::is_same<T, std::string>::value) {
    held.texts.emplace_back();
    for (const auto& text : from.values) held.texts.back().push_back({text.data(), static_cast<std::int64_t>(text.size())});
    to.data = held.texts.back().data();
  } else {
    to.data = const_cast<T*>(from.data());
  }
}
template <class T>
inline void give(std::int32_t dtype, const Sequence<T>& from, Value& to, Held& held) {
  held.values.emplace_back(from.size());
  auto& items = held.values.back();
  for (std::size_t i = 0; i < from.size(); ++i) give(dtype, from[i], items[i], held);
  to = Value{};
  to.kind = static_cast<std::int32_t>(Kind::sequence);
  to.dtype = dtype;
  to.count = static_cast<std::int64_t>(from.size());
  to.items = items.data();
}
template <class T>
inline void give(std::int32_t dtype, const Optional<T>& from, Value& to, Held& held) {
  if (from.has) give(dtype, from.value, to, held);
  else to = Value{};
}

// Runs `body`; what it throws becomes a text in `message` and a status other than 0.
template <class F>
inline int guarded(const F& body, char* message, std::int64_t size) {
  const auto say = [&](const char* text) {
    std::int64_t i = 0;
    for (; i + 1 < size && text[i] != '\0'; ++i) message[i] = text[i];
    if (size > 0) message[i] = '\0';
  };
  try {
    body();
    return 0;
  } catch (const Error& error) {
    say(error.what());
    return 1;
  } catch (const std::bad_alloc&) {
    say("not enough memory");
    return 2;
  } catch (const std::exception& error) {
    say(error.what());
    return 3;
  }
}

}  // namespace nn
}  // namespace kernels
