// Calls of functions that take the memory of the inputs and outputs as so many pointers.
#pragma once

#include <utility>

#include "contender.hpp"

// A tensor's memory as whatever pointer the generated function asks for.
struct Any {
  void* data;
  template <class T>
  operator T*() const {
    return static_cast<T*>(data);
  }
};

inline std::vector<Any> every(const Arguments& arguments) {  // inputs first
  std::vector<Any> all;
  for (const Tensor& tensor : arguments.inputs) all.push_back({tensor.data});
  for (const Tensor& tensor : arguments.outputs) all.push_back({tensor.data});
  return all;
}

template <std::size_t>
using Pointer = void*;

template <std::size_t... I>
void call(void* function, void* const* pointers, std::index_sequence<I...>) {
  reinterpret_cast<void (*)(Pointer<I>...)>(function)(pointers[I]...);
}

// Calls `function` with one pointer a tensor, inputs first.
class PointerCall {
 public:
  explicit PointerCall(const Arguments& arguments) {
    for (const Tensor& tensor : arguments.inputs) pointers_.push_back(tensor.data);
    for (const Tensor& tensor : arguments.outputs) pointers_.push_back(tensor.data);
    if (pointers_.size() < 2 || pointers_.size() > 6) throw std::runtime_error("the adapter has calls with two to six tensors");
  }

  void operator()(void* function) const {
    switch (pointers_.size()) {
      case 2: return call(function, pointers_.data(), std::make_index_sequence<2>());
      case 3: return call(function, pointers_.data(), std::make_index_sequence<3>());
      case 4: return call(function, pointers_.data(), std::make_index_sequence<4>());
      case 5: return call(function, pointers_.data(), std::make_index_sequence<5>());
      default: return call(function, pointers_.data(), std::make_index_sequence<6>());
    }
  }

 private:
  std::vector<void*> pointers_;
};
