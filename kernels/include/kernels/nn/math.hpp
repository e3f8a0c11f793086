// Elementary functions and activations on vectors. Floats have polynomials of their own; doubles call the C library lane by lane.
//
// Largest errors of the float functions where the result is a normal number, in units of its last place, found against double precision
// on six million floats (`tests/mlcore/networks/test_math.py` holds these bounds on every target): exp 1.1, log 0.8, tanh 2.5, erf 2.6,
// sigmoid 2.4. NaN, infinities and zeros of both signs are as in the C library.
#pragma once

#include "kernels/nn/vector.hpp"

namespace kernels {
namespace nn {
namespace fn {

namespace of_vec {
using F = vec<float>;

KERNELS_NN_INLINE F bits(std::int32_t x) {
  typename F::ints v = x - typename F::ints{};
  return (typename F::raw)v;
}

// 2^n times x, for a whole number n of floating-point type within the exponents that exist.
KERNELS_NN_INLINE F scaled(F x, F n) {
#if defined(KERNELS_NN_AVX512)
  return (typename F::raw)_mm512_scalef_ps((__m512)x.v, (__m512)n.v);
#else
  // In two steps, so that results without a leading one come out rounded once.
  const typename F::ints whole = __builtin_convertvector(n.v, typename F::ints);
  const typename F::ints half = whole >> 1;
  const F a = (typename F::raw)((half + 127) << 23), b = (typename F::raw)((whole - half + 127) << 23);
  return x * a * b;
#endif
}

KERNELS_NN_INLINE F rounded(F x) {
#if defined(KERNELS_NN_AVX512)
  return (typename F::raw)_mm512_roundscale_ps((__m512)x.v, 8);
#else
  // Adding 1.5 * 2^23 leaves no place for a fraction.
  return (x + F(12582912.0f)) - F(12582912.0f);
#endif
}
}  // namespace of_vec

// e^x as 2^n (1 + p): x = n log 2 + r with |r| <= log(2) / 2, log 2 in two parts so that n log 2 is exact; a polynomial p for e^r - 1
// (S. L. Moshier, Cephes).
struct Exponential {
  vec<float> n, p;
  KERNELS_NN_INLINE explicit Exponential(vec<float> x) {
    using F = vec<float>;
    n = of_vec::rounded(x * F(1.44269504088896341f));
    F r = fma(n, F(-0.693359375f), x);
    r = fma(n, F(2.12194440e-4f), r);
    p = fma(F(1.9875691500e-4f), r, F(1.3981999507e-3f));
    p = fma(p, r, F(8.3334519073e-3f));
    p = fma(p, r, F(4.1665795894e-2f));
    p = fma(p, r, F(1.6666665459e-1f));
    p = fma(p, r, F(5.0000001201e-1f));
    p = fma(p, r * r, r);
  }
};

// e^x where it is a number.
KERNELS_NN_INLINE vec<float> exp_within(vec<float> x) {
  const Exponential e(x);
  return of_vec::scaled(e.p + vec<float>(1.0f), e.n);
}

KERNELS_NN_INLINE vec<float> exp(vec<float> x) {
  using F = vec<float>;
  return exp_within(larger_or_second(F(-104.0f), smaller_or_second(F(89.0f), x)));
}

// e^x of x <= 0 for the shares of a softmax: zero below e^-87. Smaller results have no leading one, and a processor may take a hundred cycles
// for each vector that has any, which masked scores are full of.
KERNELS_NN_INLINE vec<float> share(vec<float> x) {
  using F = vec<float>;
  const F least(-87.0f);
  return select(x < least, F(0.0f), exp_within(larger_or_second(least, x)));
}
// log x: x = 2^n m with m in [sqrt(1/2), sqrt(2)), a polynomial for log m (Cephes).
KERNELS_NN_INLINE vec<float> log(vec<float> x) {
  using F = vec<float>;
  const auto tiny = x < F(1.17549435e-38f);
  const F y = select(tiny, x * F(33554432.0f), x);
  const typename F::ints raw = (typename F::ints)y.v;
  const typename F::ints exponent = ((raw >> 23) & 255) - 126;
  F m = (typename F::raw)((raw & 0x007FFFFF) | 0x3F000000);
  F n = __builtin_convertvector(exponent, typename F::raw);
  n = n - select(tiny, F(25.0f), F(0.0f));
  const auto low = m < F(0.707106781186547524f);
  n = n - select(low, F(1.0f), F(0.0f));
  m = select(low, m + m, m) - F(1.0f);
  const F z = m * m;
  F p = fma(F(7.0376836292e-2f), m, F(-1.1514610310e-1f));
  p = fma(p, m, F(1.1676998740e-1f));
  p = fma(p, m, F(-1.2420140846e-1f));
  p = fma(p, m, F(1.4249322787e-1f));
  p = fma(p, m, F(-1.6668057665e-1f));
  p = fma(p, m, F(2.0000714765e-1f));
  p = fma(p, m, F(-2.4999993993e-1f));
  p = fma(p, m, F(3.3333331174e-1f));
  p = p * m * z;
  p = fma(n, F(-2.12194440e-4f), p);
  p = fma(z, F(-0.5f), p);
  F r = m + p;
  r = fma(n, F(0.693359375f), r);
  const F infinity(std::numeric_limits<float>::infinity());
  r = select(x == infinity, infinity, r);
  r = select(x == F(0.0f), -infinity, r);
  const F nan(std::numeric_limits<float>::quiet_NaN());
  return select(x >= F(0.0f), r, nan);
}

KERNELS_NN_INLINE vec<float> copy_sign(vec<float> magnitude, vec<float> sign) {
  using F = vec<float>;
  const typename F::ints top = std::int32_t(0x80000000) - typename F::ints{};
  return (typename F::raw)(((typename F::ints)magnitude.v & ~top) | ((typename F::ints)sign.v & top));
}

KERNELS_NN_INLINE vec<float> abs(vec<float> x) {
  using F = vec<float>;
  return (typename F::raw)((typename F::ints)x.v & 0x7FFFFFFF);
}

// 1 / x for x from 1 to 2: a step of Newton's from an estimate of 14 bits, where a division takes a vector of 512 bits three times as long.
KERNELS_NN_INLINE vec<float> reciprocal_near_one(vec<float> x) {
#if defined(KERNELS_NN_AVX512)
  const __m512 y = _mm512_rcp14_ps((__m512)x.v);
  return (typename vec<float>::raw)_mm512_fmadd_ps(_mm512_fnmadd_ps((__m512)x.v, y, _mm512_set1_ps(1.0f)), y, y);
#else
  return vec<float>(1.0f) / x;
#endif
}

// tanh |x| = -d / (2 + d) with d = e^(-2 |x|) - 1, which keeps its digits near zero.
KERNELS_NN_INLINE vec<float> tanh(vec<float> x) {
  using F = vec<float>;
  const Exponential e(larger_or_second(F(-44.0f), F(-2.0f) * abs(x)));
  const F power = of_vec::scaled(F(1.0f), e.n), d = fma(power, e.p, power - F(1.0f));
  const F below = F(2.0f) + d, r = reciprocal_near_one(below), q = d * r;
  return copy_sign(fma(fma(-q, below, d), r, q), x);
}

// erf: x P(x^2) below 0.9; above, 1 - exp(-G(x)) with a polynomial G for -log erfc, both fitted to least largest error.
KERNELS_NN_INLINE vec<float> erf(vec<float> x) {
  using F = vec<float>;
  const F a = abs(x), z = x * x;
  F p = fma(F(8.223985059885308e-05f), z, F(-0.0008108082110993564f));
  p = fma(p, z, F(0.005197991617023945f));
  p = fma(p, z, F(-0.026858186349272728f));
  p = fma(p, z, F(0.11283674091100693f));
  p = fma(p, z, F(-0.37612631916999817f));
  p = fma(p, z, F(1.128379225730896f));
  p = p * x;
  const F b = smaller_or_second(F(4.0f), a);
  F g = fma(F(1.7176808086341704e-05f), b, F(-0.00038219413860755884f));
  g = fma(g, b, F(0.0038838038504437275f));
  g = fma(g, b, F(-0.024276335965119956f));
  g = fma(g, b, F(0.10685166146419871f));
  g = fma(g, b, F(0.6347462304997615f));
  g = fma(g, b, F(1.1287795476067815f));
  g = fma(g, b, F(-1.438829894649525e-05f));
  const F q = F(1.0f) - exp(-g);
  return select(a < F(0.9f), p, copy_sign(q, x));
}

// 1 / (1 + e^-x), for negative numbers as e^x / (1 + e^x).
KERNELS_NN_INLINE vec<float> sigmoid(vec<float> x) {
  using F = vec<float>;
  const F e = exp_within(larger_or_second(F(-104.0f), -abs(x))), r = reciprocal_near_one(F(1.0f) + e);
  return select(x < F(0.0f), e * r, r);
}

// exp(x) - 1: its series to the eighth power near zero, where the difference would lose digits.
KERNELS_NN_INLINE vec<float> expm1(vec<float> x) {
  using F = vec<float>;
  F p = fma(F(2.48015873e-5f), x, F(1.98412698e-4f));
  p = fma(p, x, F(1.38888889e-3f));
  p = fma(p, x, F(8.33333333e-3f));
  p = fma(p, x, F(4.16666667e-2f));
  p = fma(p, x, F(1.66666667e-1f));
  p = fma(p, x, F(0.5f));
  p = fma(x * x, p, x);
  return select(abs(x) < F(0.5f), p, exp(x) - F(1.0f));
}

// log(1 + exp(x)): what rounding takes from 1 + y is given back to first order (Higham, Accuracy and Stability, Sec. 1.14).
KERNELS_NN_INLINE vec<float> softplus(vec<float> x) {
  using F = vec<float>;
  const F y = exp(-abs(x)), w = F(1.0f) + y;
  return larger_or_second(F(0.0f), x) + (log(w) + (y - (w - F(1.0f))) / w);
}

// Doubles, and what has no polynomial: the function of single numbers in each lane.
#define KERNELS_NN_BY_LANE(name, T)                                                                   \
  KERNELS_NN_INLINE vec<T> name(vec<T> x) {                                                           \
    return by_lane([](T a) { return static_cast<T>(fn::name(a)); }, x);                               \
  }
KERNELS_NN_BY_LANE(exp, double)
KERNELS_NN_BY_LANE(log, double)
KERNELS_NN_BY_LANE(tanh, double)
KERNELS_NN_BY_LANE(erf, double)
KERNELS_NN_BY_LANE(sigmoid, double)
KERNELS_NN_BY_LANE(abs, double)
KERNELS_NN_BY_LANE(expm1, double)
KERNELS_NN_BY_LANE(softplus, double)
#define KERNELS_NN_BOTH(name) KERNELS_NN_BY_LANE(name, float) KERNELS_NN_BY_LANE(name, double)
KERNELS_NN_BOTH(floor)
KERNELS_NN_BOTH(ceil)
KERNELS_NN_BOTH(round)
KERNELS_NN_BOTH(sqrt)
KERNELS_NN_BOTH(sin)
KERNELS_NN_BOTH(cos)
KERNELS_NN_BOTH(tan)
KERNELS_NN_BOTH(asin)
KERNELS_NN_BOTH(acos)
KERNELS_NN_BOTH(atan)
KERNELS_NN_BOTH(sinh)
KERNELS_NN_BOTH(cosh)
KERNELS_NN_BOTH(asinh)
KERNELS_NN_BOTH(acosh)
KERNELS_NN_BOTH(atanh)
KERNELS_NN_BOTH(sign)
#undef KERNELS_NN_BOTH
#undef KERNELS_NN_BY_LANE

// Of what has no small results that take long.
template <class T>
KERNELS_NN_INLINE T share(T x) {
  return exp(x);
}

template <class T>
KERNELS_NN_INLINE vec<T> mod(vec<T> a, vec<T> b) {
  return by_lane([](T x, T y) { return fn::mod(x, y); }, a, b);
}
template <class T>
KERNELS_NN_INLINE vec<T> fmod(vec<T> a, vec<T> b) {
  return by_lane([](T x, T y) { return fn::fmod(x, y); }, a, b);
}
template <class T>
KERNELS_NN_INLINE vec<T> pow(vec<T> a, vec<T> b) {
  return by_lane([](T x, T y) { return fn::pow(x, y); }, a, b);
}

template <class T>
KERNELS_NN_INLINE vec<T> add(vec<T> a, vec<T> b) {
  return a + b;
}
template <class T>
KERNELS_NN_INLINE vec<T> sub(vec<T> a, vec<T> b) {
  return a - b;
}
template <class T>
KERNELS_NN_INLINE vec<T> mul(vec<T> a, vec<T> b) {
  return a * b;
}
template <class T>
KERNELS_NN_INLINE vec<T> div(vec<T> a, vec<T> b) {
  return a / b;
}
template <class T>
KERNELS_NN_INLINE vec<T> neg(vec<T> a) {
  return -a;
}
template <class T>
KERNELS_NN_INLINE vec<T> reciprocal(vec<T> a) {
  return vec<T>(1) / a;
}
// NaN wins, as in the functions of single numbers.
template <class T>
KERNELS_NN_INLINE vec<T> max(vec<T> a, vec<T> b) {
  const vec<T> r = larger_or_second(a, b);
  return select(a == a, r, a);
}
template <class T>
KERNELS_NN_INLINE vec<T> min(vec<T> a, vec<T> b) {
  const vec<T> r = smaller_or_second(a, b);
  return select(a == a, r, a);
}
template <class T>
KERNELS_NN_INLINE vec<T> clip(vec<T> x, vec<T> low, vec<T> high) {
  return min(max(x, low), high);
}
template <class T>
KERNELS_NN_INLINE vmask<T> equal(vec<T> a, vec<T> b) {
  return a == b;
}
template <class T>
KERNELS_NN_INLINE vmask<T> less(vec<T> a, vec<T> b) {
  return a < b;
}
template <class T>
KERNELS_NN_INLINE vmask<T> less_equal(vec<T> a, vec<T> b) {
  return a <= b;
}
template <class T>
KERNELS_NN_INLINE vmask<T> greater(vec<T> a, vec<T> b) {
  return a > b;
}
template <class T>
KERNELS_NN_INLINE vmask<T> greater_equal(vec<T> a, vec<T> b) {
  return a >= b;
}
template <class T>
KERNELS_NN_INLINE vmask<T> is_nan(vec<T> a) {
  return !(a == a);
}
template <class T>
KERNELS_NN_INLINE vmask<T> is_inf(vec<T> a, bool negative, bool positive) {
  const vec<T> infinity(std::numeric_limits<T>::infinity());
  const vmask<T> none = !(infinity == infinity);
  return (positive ? a == infinity : none) | (negative ? a == -infinity : none);
}
template <class T>
KERNELS_NN_INLINE vmask<T> logical_and(vmask<T> a, vmask<T> b) {
  return a & b;
}
template <class T>
KERNELS_NN_INLINE vmask<T> logical_or(vmask<T> a, vmask<T> b) {
  return a | b;
}
template <class T>
KERNELS_NN_INLINE vmask<T> logical_xor(vmask<T> a, vmask<T> b) {
  return a ^ b;
}
template <class T>
KERNELS_NN_INLINE vmask<T> logical_not(vmask<T> a) {
  return !a;
}
template <class T>
KERNELS_NN_INLINE vec<T> where(vmask<T> m, vec<T> a, vec<T> b) {
  return select(m, a, b);
}

template <class T>
KERNELS_NN_INLINE vec<T> relu(vec<T> a) {
  return larger_or_second(vec<T>(0), a);
}
template <class T>
KERNELS_NN_INLINE vec<T> leaky_relu(vec<T> a, vec<T> alpha) {
  return select(a < vec<T>(0), alpha * a, a);
}
template <class T>
KERNELS_NN_INLINE vec<T> prelu(vec<T> a, vec<T> slope) {
  return leaky_relu(a, slope);
}
template <class T>
KERNELS_NN_INLINE vec<T> elu(vec<T> a, vec<T> alpha) {
  return select(a < vec<T>(0), alpha * expm1(a), a);
}
template <class T>
KERNELS_NN_INLINE vec<T> selu(vec<T> a, vec<T> alpha, vec<T> gamma) {
  return select(a > vec<T>(0), gamma * a, gamma * (alpha * expm1(a)));
}
template <class T>
KERNELS_NN_INLINE vec<T> celu(vec<T> a, vec<T> alpha) {
  return max(vec<T>(0), a) + min(vec<T>(0), alpha * expm1(a / alpha));
}
template <class T>
KERNELS_NN_INLINE vec<T> hard_sigmoid(vec<T> a, vec<T> alpha, vec<T> beta) {
  return max(vec<T>(0), min(vec<T>(1), alpha * a + beta));
}
template <class T>
KERNELS_NN_INLINE vec<T> hard_swish(vec<T> a) {
  return a * hard_sigmoid(a, vec<T>(T(1) / T(6)), vec<T>(0.5));
}
template <class T>
KERNELS_NN_INLINE vec<T> softsign(vec<T> a) {
  return a / (vec<T>(1) + abs(a));
}
template <class T>
KERNELS_NN_INLINE vec<T> mish(vec<T> a) {
  return a * tanh(softplus(a));
}
template <class T>
KERNELS_NN_INLINE vec<T> gelu(vec<T> a) {
  return vec<T>(0.5) * a * (vec<T>(1) + erf(a * vec<T>(0.70710678118654752440)));
}
// 1 + tanh(u) is 2 / (1 + exp(-2u)), with u = sqrt(2 / pi) (a + 0.044715 a^3).
template <class T>
KERNELS_NN_INLINE vec<T> gelu_tanh(vec<T> a) {
  constexpr double twice = 2 * 0.79788456080286535588;
  return a * sigmoid(a * fma(a * a, vec<T>(twice * 0.044715), vec<T>(twice)));
}
template <class T>
KERNELS_NN_INLINE vec<T> swish(vec<T> a, vec<T> alpha) {
  return a * sigmoid(alpha * a);
}
template <class T>
KERNELS_NN_INLINE vec<T> thresholded_relu(vec<T> a, vec<T> alpha) {
  return select(a > alpha, a, vec<T>(0));
}
template <class T>
KERNELS_NN_INLINE vec<T> shrink(vec<T> a, vec<T> bias, vec<T> lambd) {
  return select(a < -lambd, a + bias, select(a > lambd, a - bias, vec<T>(0)));
}

}  // namespace fn
}  // namespace nn
}  // namespace kernels
