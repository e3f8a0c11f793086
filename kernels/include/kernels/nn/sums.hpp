// Sums of many numbers: in lanes, which a compiler turns into vectors, and whose rounding errors grow with a sixteenth of the terms.
#pragma once

#include <cstdint>

namespace kernels {
namespace nn {

// f(0) + f(1) + ... + f(n - 1)
template <class T, class F>
inline T sum_of(std::int64_t n, const F& f) {
  constexpr int lanes = 16;
  if (n < lanes) {
    T total = 0;
    for (std::int64_t i = 0; i < n; ++i) total += f(i);
    return total;
  }
  T part[lanes] = {};
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (int lane = 0; lane < lanes; ++lane) part[lane] += f(i + lane);
  }
  for (int lane = 0; i + lane < n; ++lane) part[lane] += f(i + lane);
  for (int half = lanes / 2; half > 0; half /= 2) {
    for (int lane = 0; lane < half; ++lane) part[lane] += part[lane + half];
  }
  return part[0];
}

}  // namespace nn
}  // namespace kernels
