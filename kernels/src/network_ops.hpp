// Kernels of networks, compiled once for each target: what Python runs where there is no compiler.
#pragma once

#include <cstdint>

namespace kernels {

struct NetworkOps {
  const char* target;
  // Weights (k, n), row-major, in blocks of columns: `packed_size` floats.
  std::int64_t (*packed_size)(std::int64_t k, std::int64_t n);
  void (*pack)(const float* b, std::int64_t k, std::int64_t n, float* to);
  // c (m, n) = a (m, k) times packed weights, plus `bias` (n), which may be null.
  void (*product)(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, const float* packed, const float* bias, float* c);
  // y[i] = f(x[i]), by the number of a function in `network_functions`.
  void (*map)(int function, std::int64_t count, const float* x, float* y);
  // Rows of n elements.
  void (*softmax)(std::int64_t rows, std::int64_t n, const float* x, float* y);
  void (*layer_normalize)(std::int64_t rows, std::int64_t n, const float* x, const float* scale, const float* bias, float epsilon, float* y);
};

// In the order of `map`'s numbers; ends with a null pointer.
extern const char* const network_functions[];

// Those of a target that this CPU can run, "" for the active one; std::invalid_argument where there is none.
const NetworkOps& network_ops(const char* target);

}  // namespace kernels
