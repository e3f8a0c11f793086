// What every contender offers to the timing loop: open it with its tensors in place, and infer so many times.
//
// A contender's source defines a class `Contender` with
//   Contender(const Arguments&)   throws std::runtime_error
//   void infer()                  from the inputs' memory to the outputs'
// and ends in CONTENDER(Contender). The tensors stay where they are as long as the contender is open.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "library.hpp"

// ONNX's numbers of element types.
enum Element : std::int32_t {
  element_float = 1,
  element_uint8 = 2,
  element_int8 = 3,
  element_int32 = 6,
  element_int64 = 7,
  element_bool = 9,
  element_double = 11,
};

inline std::size_t bytes_of(std::int32_t element) {
  switch (element) {
    case element_float:
    case element_int32: return 4;
    case element_int64:
    case element_double: return 8;
    case element_uint8:
    case element_int8:
    case element_bool: return 1;
    default: throw std::runtime_error("an element type that adapters do not have");
  }
}

struct Tensor {
  const char* name;
  std::int32_t element;
  std::int32_t rank;
  const std::int64_t* shape;
  void* data;

  std::size_t size() const {
    std::size_t product = 1;
    for (std::int32_t i = 0; i < rank; ++i) product *= static_cast<std::size_t>(shape[i]);
    return product;
  }
  std::size_t bytes() const { return size() * bytes_of(element); }
};

struct Arguments {
  std::vector<std::string> texts;  // the adapter's own: paths of the library and of the model
  std::vector<Tensor> inputs, outputs;

  const std::string& operator[](std::size_t i) const {
    if (i >= texts.size()) throw std::runtime_error("an argument of the adapter is missing");
    return texts[i];
  }
};

#define CONTENDER(Type)                                                                                                    \
  namespace {                                                                                                              \
  thread_local std::string failure;                                                                                        \
  }                                                                                                                        \
  extern "C" const char* contender_failure() { return failure.c_str(); }                                                   \
  extern "C" void* contender_open(const char* const* texts, const Tensor* inputs, std::size_t n_inputs, const Tensor* outputs, \
                                  std::size_t n_outputs) {                                                                 \
    try {                                                                                                                  \
      Arguments arguments;                                                                                                 \
      for (; *texts != nullptr; ++texts) arguments.texts.emplace_back(*texts);                                             \
      arguments.inputs.assign(inputs, inputs + n_inputs), arguments.outputs.assign(outputs, outputs + n_outputs);          \
      return new Type(arguments);                                                                                          \
    } catch (const std::exception& error) {                                                                                \
      failure = error.what();                                                                                              \
      return nullptr;                                                                                                      \
    }                                                                                                                      \
  }                                                                                                                        \
  extern "C" int contender_run(void* opened, std::size_t times) {                                                          \
    try {                                                                                                                  \
      for (std::size_t i = 0; i < times; ++i) static_cast<Type*>(opened)->infer();                                         \
      return 0;                                                                                                            \
    } catch (const std::exception& error) {                                                                                \
      failure = error.what();                                                                                              \
      return 1;                                                                                                            \
    }                                                                                                                      \
  }
