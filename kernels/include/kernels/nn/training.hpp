// Steps of optimisers. A step may overwrite what it reads. `rate` and `step` are the learning rate and the number of steps before.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/nn/tensor.hpp"

namespace kernels {
namespace nn {

// J. Duchi, E. Hazan, Y. Singer, J. Mach. Learn. Res. 12 (2011) 2121, Fig. 1, diagonal.
template <class T>
inline void adagrad(double rate, std::int64_t step, double decay, double norm, double epsilon, const T* x, const T* gradient, const T* squares,
                    std::int64_t n, T* new_x, T* new_squares) {
  const T r = static_cast<T>(rate / (1 + static_cast<double>(step) * decay)), l2 = static_cast<T>(norm), e = static_cast<T>(epsilon);
  for (std::int64_t i = 0; i < n; ++i) {
    const T g = l2 * x[i] + gradient[i], h = squares[i] + g * g;
    new_x[i] = x[i] - r * g / (std::sqrt(h) + e);
    new_squares[i] = h;
  }
}

// D. P. Kingma, J. Ba, arXiv:1412.6980, Algorithm 1, with epsilon outside the corrected root as in its Sec. 2.
template <class T>
inline void adam(double rate, std::int64_t step, double alpha, double beta, double norm, double norm_after, double epsilon, const T* x, const T* gradient,
                 const T* moments, const T* squares, std::int64_t n, T* new_x, T* new_moments, T* new_squares) {
  const auto t = static_cast<double>(step);
  const T r = static_cast<T>(step > 0 ? rate * std::sqrt(1 - std::pow(beta, t)) / (1 - std::pow(alpha, t)) : rate);
  const T a = static_cast<T>(alpha), b = static_cast<T>(beta), rest_a = static_cast<T>(1 - alpha), rest_b = static_cast<T>(1 - beta);
  const T l2 = static_cast<T>(norm), kept = static_cast<T>(1 - norm_after), e = static_cast<T>(epsilon);
  for (std::int64_t i = 0; i < n; ++i) {
    const T g = l2 * x[i] + gradient[i], v = a * moments[i] + rest_a * g, h = b * squares[i] + rest_b * (g * g);
    new_x[i] = kept * (x[i] - r * (v / (std::sqrt(h) + e)));
    new_moments[i] = v;
    new_squares[i] = h;
  }
}

// Gradient descent with momentum; `nesterov` looks ahead (I. Sutskever et al., ICML 2013, Eqs. 3 and 4).
template <class T>
inline void momentum(double rate, std::int64_t step, double alpha, double beta, double norm, bool nesterov, const T* x, const T* gradient,
                     const T* moments, std::int64_t n, T* new_x, T* new_moments) {
  const T r = static_cast<T>(rate), a = static_cast<T>(alpha), b = static_cast<T>(step > 0 ? beta : 1), l2 = static_cast<T>(norm);
  for (std::int64_t i = 0; i < n; ++i) {
    const T g = l2 * x[i] + gradient[i], v = a * moments[i] + b * g;
    new_x[i] = x[i] - r * (nesterov ? g + a * v : v);
    new_moments[i] = v;
  }
}

}  // namespace nn
}  // namespace kernels
