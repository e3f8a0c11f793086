// The kernels of one target: included with KERNELS_TARGET, by which their namespace is named, since other flags make other functions of them.
#define nn KERNELS_TARGET
#include "kernels/nn/gemm.hpp"
#include "kernels/nn/map.hpp"
#include "kernels/nn/normalization.hpp"
#include "kernels/nn/softmax.hpp"
#undef nn

#include "network_ops.hpp"

namespace kernels {
namespace KERNELS_TARGET {

inline void product(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, const float* packed, const float* bias, float* c) {
  if (bias == nullptr) {
    gemm(m, n, k, a, k, packed, finish(c, n, n, [](auto sum) { return sum; }));
  } else {
    gemm(m, n, k, a, k, packed, finish(c, n, n, [](auto sum, auto b) { return fn::add(sum, b); }, along(bias, fixed<0>{})));
  }
}

inline void apply(int function, std::int64_t count, const float* x, float* y) {
  const auto with = [&](const auto& f) { map(count, y, f, row(x)); };
  switch (function) {
    case 0: return with([](auto a) { return fn::exp(a); });
    case 1: return with([](auto a) { return fn::log(a); });
    case 2: return with([](auto a) { return fn::tanh(a); });
    case 3: return with([](auto a) { return fn::erf(a); });
    case 4: return with([](auto a) { return fn::sigmoid(a); });
    case 5: return with([](auto a) { return fn::gelu(a); });
    case 6: return with([](auto a) { return fn::gelu_tanh(a); });
    case 7: return with([](auto a) { return fn::expm1(a); });
    case 8: return with([](auto a) { return fn::softplus(a); });
  }
}

inline NetworkOps ops_named(const char* target) {
  return {target,
          [](std::int64_t k, std::int64_t n) { return packed_size(k, n); },
          [](const float* b, std::int64_t k, std::int64_t n, float* to) { pack(b, k, n, n, 1, to); },
          product,
          apply,
          [](std::int64_t rows, std::int64_t n, const float* x, float* y) { normalize<normalizing::Softmax>(x, rows, n, 1, y); },
          [](std::int64_t rows, std::int64_t n, const float* x, const float* scale, const float* bias, float epsilon, float* y) {
            layer_normalize<float>(rows, n, x, scale, bias, epsilon, y, static_cast<float*>(nullptr), static_cast<float*>(nullptr));
          }};
}

}  // namespace KERNELS_TARGET
}  // namespace kernels
