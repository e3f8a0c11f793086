// What every contender offers to the timing loop: open it, predict rows, and run a loop over many rows in batches.
//
// A contender's source defines a class `Contender` with
//   Contender(const Arguments&)                                 throws std::runtime_error
//   void predict(const float* rows, std::size_t n_rows, char* out)
// and ends in CONTENDER(Contender). Answers are rows of n_outputs numbers, float or double as the adapter's argument says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "library.hpp"

struct Arguments {
  std::vector<std::string> texts;  // the adapter's own: paths of the library and of the model, options
  std::size_t n_features = 0;
  std::size_t n_outputs = 0;
  std::size_t item = 4;  // bytes of one number of the answer

  const std::string& operator[](std::size_t i) const {
    if (i >= texts.size()) throw std::runtime_error("an argument of the adapter is missing");
    return texts[i];
  }
};

#define CONTENDER(Type)                                                                                                   \
  namespace {                                                                                                             \
  struct Opened {                                                                                                         \
    Arguments arguments;                                                                                                  \
    Type contender;                                                                                                       \
    explicit Opened(const Arguments& given) : arguments(given), contender(given) {}                                       \
  };                                                                                                                      \
  thread_local std::string failure;                                                                                       \
  }                                                                                                                       \
  extern "C" const char* contender_failure() { return failure.c_str(); }                                                  \
  extern "C" void* contender_open(const char* const* texts, std::size_t n_features, std::size_t n_outputs, std::size_t item) { \
    try {                                                                                                                 \
      Arguments arguments;                                                                                                \
      for (; *texts != nullptr; ++texts) arguments.texts.emplace_back(*texts);                                            \
      arguments.n_features = n_features, arguments.n_outputs = n_outputs, arguments.item = item;                          \
      return new Opened(arguments);                                                                                       \
    } catch (const std::exception& error) {                                                                               \
      failure = error.what();                                                                                             \
      return nullptr;                                                                                                     \
    }                                                                                                                     \
  }                                                                                                                       \
  extern "C" int contender_run(void* opened, const float* rows, std::size_t n_rows, std::size_t batch, char* out) {       \
    Opened& self = *static_cast<Opened*>(opened);                                                                         \
    const std::size_t width = self.arguments.n_features, bytes = self.arguments.n_outputs * self.arguments.item;          \
    try {                                                                                                                 \
      for (std::size_t i = 0; i < n_rows; i += batch) {                                                                   \
        self.contender.predict(rows + i * width, n_rows - i < batch ? n_rows - i : batch, out + i * bytes);               \
      }                                                                                                                   \
      return 0;                                                                                                           \
    } catch (const std::exception& error) {                                                                               \
      failure = error.what();                                                                                             \
      return 1;                                                                                                           \
    }                                                                                                                     \
  }
