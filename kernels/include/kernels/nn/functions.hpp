// The functions that elementwise operators apply, on single numbers, for every element type: floats in their own precision
// (16-bit ones in float), whole numbers wrapping around as NumPy's do, never undefined.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels/nn/tensor.hpp"
#include "kernels/nn/types.hpp"

namespace kernels {
namespace nn {
namespace fn {

template <class T>
inline constexpr bool is_float = std::is_floating_point<T>::value;

// Whole numbers wrap around: computed without a sign, which overflows by rule. Narrow ones would be widened to int.
template <class T>
using wrapping = std::make_unsigned_t<std::conditional_t<(sizeof(T) < sizeof(int)), int, T>>;

#define KERNELS_NN_WRAPPING(name, op)                                                                \
  template <class T>                                                                                 \
  inline T name(T a, T b) {                                                                          \
    if constexpr (is_float<T>) {                                                                     \
      return a op b;                                                                                 \
    } else {                                                                                         \
      return static_cast<T>(static_cast<wrapping<T>>(a) op static_cast<wrapping<T>>(b));             \
    }                                                                                                \
  }
KERNELS_NN_WRAPPING(add, +)
KERNELS_NN_WRAPPING(sub, -)
KERNELS_NN_WRAPPING(mul, *)
#undef KERNELS_NN_WRAPPING

template <class T>
inline T neg(T a) {
  if constexpr (is_float<T>) return -a;
  else return sub(T(0), a);
}

template <class T>
inline T div(T a, T b) {
  if constexpr (is_float<T>) {
    return a / b;
  } else {
    if (b == 0) fail("a whole number is divided by zero");
    if constexpr (std::is_signed<T>::value) {
      if (b == T(-1)) return neg(a);
    }
    return static_cast<T>(a / b);
  }
}

// The remainder with the divisor's sign, as Python's %.
template <class T>
inline T mod(T a, T b) {
  if constexpr (is_float<T>) {
    const T r = std::fmod(a, b);
    if (r == 0) return std::copysign(r, b);
    return (r < 0) != (b < 0) ? r + b : r;
  } else {
    if (b == 0) fail("a whole number is divided by zero");
    if constexpr (std::is_signed<T>::value) {
      if (b == T(-1)) return 0;
      const T r = static_cast<T>(a % b);
      return static_cast<T>(r != 0 && (r < 0) != (b < 0) ? r + b : r);
    } else {
      return static_cast<T>(a % b);
    }
  }
}

// The remainder with the dividend's sign, as C's.
template <class T>
inline T fmod(T a, T b) {
  if constexpr (is_float<T>) {
    return std::fmod(a, b);
  } else {
    if (b == 0) fail("a whole number is divided by zero");
    if constexpr (std::is_signed<T>::value) {
      if (b == T(-1)) return 0;
    }
    return static_cast<T>(a % b);
  }
}

template <class T, class U>
inline T pow(T a, U b) {
  if constexpr (is_float<T>) {
    return static_cast<T>(std::pow(a, static_cast<T>(b)));
  } else if constexpr (is_float<U>) {
    return static_cast<T>(std::pow(static_cast<double>(a), static_cast<double>(b)));
  } else {
    if constexpr (std::is_signed<U>::value) {
      if (b < 0) return a == 1 ? T(1) : a == T(-1) ? (b % 2 == 0 ? T(1) : T(-1)) : T(0);
    }
    T result = 1, factor = a;
    for (auto n = static_cast<std::make_unsigned_t<U>>(b); n != 0; n = static_cast<decltype(n)>(n >> 1)) {
      if (n & 1) result = mul(result, factor);
      factor = mul(factor, factor);
    }
    return result;
  }
}

// NaN wins, as in NumPy's minimum and maximum.
template <class T>
inline T min(T a, T b) {
  if constexpr (is_float<T>) {
    if (a != a) return a;
    if (b != b) return b;
  }
  return b < a ? b : a;
}
template <class T>
inline T max(T a, T b) {
  if constexpr (is_float<T>) {
    if (a != a) return a;
    if (b != b) return b;
  }
  return a < b ? b : a;
}
template <class T>
inline T clip(T x, T low, T high) {
  return min(max(x, low), high);
}

template <class T>
inline bool equal(T a, T b) {
  return a == b;
}
template <class T>
inline bool less(T a, T b) {
  return a < b;
}
template <class T>
inline bool less_equal(T a, T b) {
  return a <= b;
}
template <class T>
inline bool greater(T a, T b) {
  return a > b;
}
template <class T>
inline bool greater_equal(T a, T b) {
  return a >= b;
}
inline bool logical_and(bool a, bool b) { return a && b; }
inline bool logical_or(bool a, bool b) { return a || b; }
inline bool logical_xor(bool a, bool b) { return a != b; }
inline bool logical_not(bool a) { return !a; }

template <class T>
inline T bit_and(T a, T b) {
  return static_cast<T>(a & b);
}
template <class T>
inline T bit_or(T a, T b) {
  return static_cast<T>(a | b);
}
template <class T>
inline T bit_xor(T a, T b) {
  return static_cast<T>(a ^ b);
}
template <class T>
inline T bit_not(T a) {
  return static_cast<T>(~a);
}
template <class T>
inline T shift_left(T a, T b) {
  return static_cast<std::uint64_t>(b) >= 8 * sizeof(T) ? T(0) : static_cast<T>(static_cast<wrapping<T>>(a) << b);
}
template <class T>
inline T shift_right(T a, T b) {
  // Beyond the width only the sign is left: of negative numbers all ones.
  if (static_cast<std::uint64_t>(b) >= 8 * sizeof(T)) return a < 0 ? bit_not(T(0)) : T(0);
  return static_cast<T>(a >> b);
}

template <class T>
inline T where(bool condition, T a, T b) {
  return condition ? a : b;
}

template <class T>
inline T abs(T a) {
  if constexpr (is_float<T>) {
    return std::fabs(a);
  } else if constexpr (std::is_signed<T>::value) {
    return a < 0 ? neg(a) : a;
  } else {
    return a;
  }
}
template <class T>
inline T sign(T a) {
  if constexpr (is_float<T>) {
    return a > 0 ? T(1) : a < 0 ? T(-1) : a;  // of zero and NaN itself
  } else {
    return static_cast<T>((a > 0) - (a < 0));
  }
}

template <class T>
inline T floor(T a) {
  return std::floor(a);
}
template <class T>
inline T ceil(T a) {
  return std::ceil(a);
}
template <class T>
inline T round(T a) {
  return std::nearbyint(a);  // halves to the even neighbour
}
template <class T>
inline T sqrt(T a) {
  return std::sqrt(a);
}
template <class T>
inline T reciprocal(T a) {
  return T(1) / a;
}
template <class T>
inline T exp(T a) {
  return std::exp(a);
}
template <class T>
inline T log(T a) {
  return std::log(a);
}
template <class T>
inline T sin(T a) {
  return std::sin(a);
}
template <class T>
inline T cos(T a) {
  return std::cos(a);
}
template <class T>
inline T tan(T a) {
  return std::tan(a);
}
template <class T>
inline T asin(T a) {
  return std::asin(a);
}
template <class T>
inline T acos(T a) {
  return std::acos(a);
}
template <class T>
inline T atan(T a) {
  return std::atan(a);
}
template <class T>
inline T sinh(T a) {
  return std::sinh(a);
}
template <class T>
inline T cosh(T a) {
  return std::cosh(a);
}
template <class T>
inline T tanh(T a) {
  return std::tanh(a);
}
template <class T>
inline T asinh(T a) {
  return std::asinh(a);
}
template <class T>
inline T acosh(T a) {
  return std::acosh(a);
}
template <class T>
inline T atanh(T a) {
  return std::atanh(a);
}
template <class T>
inline T erf(T a) {
  return std::erf(a);
}

template <class T>
inline bool is_nan(T a) {
  return a != a;
}
template <class T>
inline bool is_inf(T a, bool negative, bool positive) {
  return (positive && a == std::numeric_limits<T>::infinity()) || (negative && a == -std::numeric_limits<T>::infinity());
}

// Activations, by their definitions in ONNX.
template <class T>
inline T relu(T a) {
  return max(a, T(0));
}
template <class T>
inline T leaky_relu(T a, T alpha) {
  return a < 0 ? mul(alpha, a) : a;
}
template <class T>
inline T prelu(T a, T slope) {
  return a < 0 ? mul(slope, a) : a;
}
template <class T>
inline T expm1(T a) {
  return std::expm1(a);
}
template <class T>
inline T elu(T a, T alpha) {
  return a < 0 ? alpha * std::expm1(a) : a;
}
template <class T>
inline T selu(T a, T alpha, T gamma) {
  return a > 0 ? gamma * a : gamma * (alpha * std::expm1(a));
}
template <class T>
inline T celu(T a, T alpha) {
  return max(T(0), a) + min(T(0), alpha * std::expm1(a / alpha));
}
template <class T>
inline T sigmoid(T a) {
  return a >= 0 ? T(1) / (T(1) + std::exp(-a)) : std::exp(a) / (T(1) + std::exp(a));
}
template <class T>
inline T hard_sigmoid(T a, T alpha, T beta) {
  return max(T(0), min(T(1), alpha * a + beta));
}
template <class T>
inline T hard_swish(T a) {
  return a * hard_sigmoid(a, T(1) / T(6), T(0.5));
}
template <class T>
inline T softplus(T a) {
  return a > 0 ? a + std::log1p(std::exp(-a)) : std::log1p(std::exp(a));
}
template <class T>
inline T softsign(T a) {
  return a / (T(1) + std::fabs(a));
}
template <class T>
inline T mish(T a) {
  return a * std::tanh(softplus(a));
}
template <class T>
inline T gelu(T a) {
  return T(0.5) * a * (T(1) + std::erf(a * T(0.70710678118654752440)));
}
template <class T>
inline T gelu_tanh(T a) {
  return T(0.5) * a * (T(1) + std::tanh(T(0.79788456080286535588) * (a + T(0.044715) * a * a * a)));
}
template <class T>
inline T swish(T a, T alpha) {
  return a * sigmoid(alpha * a);
}
template <class T>
inline T thresholded_relu(T a, T alpha) {
  return a > alpha ? a : T(0);
}
template <class T>
inline T shrink(T a, T bias, T lambd) {
  return a < -lambd ? static_cast<T>(a + bias) : a > lambd ? static_cast<T>(a - bias) : T(0);
}

}  // namespace fn
}  // namespace nn
}  // namespace kernels
