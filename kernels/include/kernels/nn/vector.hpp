// Vectors of floats and doubles, as wide as the target has them: AVX-512, AVX2, or 16 bytes that any compiler makes do with.
//
// All operations are those of IEEE 754 lane by lane. Multiplications and additions are fused only where `fma` says so, and there on
// every target that has the instruction. Partial loads fill up with zeros, so that a tail gives the bits that a full vector gives.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "kernels/nn/functions.hpp"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#include <immintrin.h>
#define KERNELS_NN_AVX512 1
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#define KERNELS_NN_AVX2 1
#endif

#define KERNELS_NN_INLINE inline __attribute__((always_inline))
#define KERNELS_NN_UNROLL _Pragma("GCC unroll 64")

namespace kernels {
namespace nn {

#if defined(KERNELS_NN_AVX512)
constexpr int vector_bytes = 64, vector_registers = 32;
#elif defined(KERNELS_NN_AVX2)
constexpr int vector_bytes = 32, vector_registers = 16;
#else
constexpr int vector_bytes = 16, vector_registers = 16;
#endif

template <class T>
using lane_int = std::conditional_t<sizeof(T) == 8, std::int64_t, std::int32_t>;

// One truth a lane: all bits of the lane, or none.
template <class T>
struct vmask {
  typedef lane_int<T> raw __attribute__((vector_size(vector_bytes)));
  raw v;

  KERNELS_NN_INLINE friend vmask operator&(vmask a, vmask b) { return {a.v & b.v}; }
  KERNELS_NN_INLINE friend vmask operator|(vmask a, vmask b) { return {a.v | b.v}; }
  KERNELS_NN_INLINE friend vmask operator^(vmask a, vmask b) { return {a.v ^ b.v}; }
  KERNELS_NN_INLINE vmask operator!() const { return {~v}; }
};

template <class T>
struct vec {
  static constexpr int lanes = vector_bytes / static_cast<int>(sizeof(T));
  typedef T raw __attribute__((vector_size(vector_bytes)));
  typedef lane_int<T> ints __attribute__((vector_size(vector_bytes)));
  raw v;

  vec() = default;
  KERNELS_NN_INLINE vec(raw x) : v(x) {}
  // From a number; x - 0 keeps the sign of zero.
  template <class U, class = std::enable_if_t<std::is_arithmetic<U>::value>>
  KERNELS_NN_INLINE explicit vec(U x) : v(static_cast<T>(x) - raw{}) {}

  KERNELS_NN_INLINE static vec load(const T* p) {
    vec r;
    std::memcpy(&r.v, p, sizeof r.v);
    return r;
  }
  KERNELS_NN_INLINE void store(T* p) const { std::memcpy(p, &v, sizeof v); }

  // The first n lanes, fewer than all; the others are zero.
  KERNELS_NN_INLINE static vec load(const T* p, std::int64_t n) {
#if defined(KERNELS_NN_AVX512)
    if constexpr (sizeof(T) == 4) return (raw)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
    else return (raw)_mm512_maskz_loadu_pd(static_cast<__mmask8>((1u << n) - 1), p);
#else
    vec r(T(0));
    for (std::int64_t i = 0; i < n; ++i) r.v[i] = p[i];
    return r;
#endif
  }
  KERNELS_NN_INLINE void store(T* p, std::int64_t n) const {
#if defined(KERNELS_NN_AVX512)
    if constexpr (sizeof(T) == 4) _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), (__m512)v);
    else _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1u << n) - 1), (__m512d)v);
#else
    for (std::int64_t i = 0; i < n; ++i) p[i] = v[i];
#endif
  }

  KERNELS_NN_INLINE friend vec operator+(vec a, vec b) { return a.v + b.v; }
  KERNELS_NN_INLINE friend vec operator-(vec a, vec b) { return a.v - b.v; }
  KERNELS_NN_INLINE friend vec operator*(vec a, vec b) { return a.v * b.v; }
  KERNELS_NN_INLINE friend vec operator/(vec a, vec b) { return a.v / b.v; }
  KERNELS_NN_INLINE vec operator-() const { return -v; }
  KERNELS_NN_INLINE friend vmask<T> operator<(vec a, vec b) { return {a.v < b.v}; }
  KERNELS_NN_INLINE friend vmask<T> operator<=(vec a, vec b) { return {a.v <= b.v}; }
  KERNELS_NN_INLINE friend vmask<T> operator>(vec a, vec b) { return {a.v > b.v}; }
  KERNELS_NN_INLINE friend vmask<T> operator>=(vec a, vec b) { return {a.v >= b.v}; }
  KERNELS_NN_INLINE friend vmask<T> operator==(vec a, vec b) { return {a.v == b.v}; }
};

template <class T>
KERNELS_NN_INLINE vec<T> select(vmask<T> m, vec<T> a, vec<T> b) {
  return m.v ? a.v : b.v;
}

template <class T>
KERNELS_NN_INLINE vec<T> fma(vec<T> a, vec<T> b, vec<T> c) {
#if defined(KERNELS_NN_AVX512)
  if constexpr (sizeof(T) == 4) return (typename vec<T>::raw)_mm512_fmadd_ps((__m512)a.v, (__m512)b.v, (__m512)c.v);
  else return (typename vec<T>::raw)_mm512_fmadd_pd((__m512d)a.v, (__m512d)b.v, (__m512d)c.v);
#elif defined(KERNELS_NN_AVX2)
  if constexpr (sizeof(T) == 4) return (typename vec<T>::raw)_mm256_fmadd_ps((__m256)a.v, (__m256)b.v, (__m256)c.v);
  else return (typename vec<T>::raw)_mm256_fmadd_pd((__m256d)a.v, (__m256d)b.v, (__m256d)c.v);
#else
  return a.v * b.v + c.v;
#endif
}

// The larger of two; the second where one is NaN. One instruction where the target has it.
template <class T>
KERNELS_NN_INLINE vec<T> larger_or_second(vec<T> a, vec<T> b) {
#if defined(KERNELS_NN_AVX512)
  if constexpr (sizeof(T) == 4) return (typename vec<T>::raw)_mm512_max_ps((__m512)a.v, (__m512)b.v);
  else return (typename vec<T>::raw)_mm512_max_pd((__m512d)a.v, (__m512d)b.v);
#elif defined(KERNELS_NN_AVX2)
  if constexpr (sizeof(T) == 4) return (typename vec<T>::raw)_mm256_max_ps((__m256)a.v, (__m256)b.v);
  else return (typename vec<T>::raw)_mm256_max_pd((__m256d)a.v, (__m256d)b.v);
#else
  return a.v > b.v ? a.v : b.v;
#endif
}
template <class T>
KERNELS_NN_INLINE vec<T> smaller_or_second(vec<T> a, vec<T> b) {
#if defined(KERNELS_NN_AVX512)
  if constexpr (sizeof(T) == 4) return (typename vec<T>::raw)_mm512_min_ps((__m512)a.v, (__m512)b.v);
  else return (typename vec<T>::raw)_mm512_min_pd((__m512d)a.v, (__m512d)b.v);
#elif defined(KERNELS_NN_AVX2)
  if constexpr (sizeof(T) == 4) return (typename vec<T>::raw)_mm256_min_ps((__m256)a.v, (__m256)b.v);
  else return (typename vec<T>::raw)_mm256_min_pd((__m256d)a.v, (__m256d)b.v);
#else
  return a.v < b.v ? a.v : b.v;
#endif
}

// The sum of all lanes, in pairs: halves first.
template <class T>
KERNELS_NN_INLINE T sum(vec<T> x) {
  T lane[vec<T>::lanes];
  x.store(lane);
  for (int half = vec<T>::lanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
  }
  return lane[0];
}
#if defined(KERNELS_NN_AVX512)
template <>
KERNELS_NN_INLINE float sum(vec<float> x) {
  return _mm512_reduce_add_ps((__m512)x.v);
}
#endif

// The lanes in another order: lane i is what lane i + by was, going round.
template <int by, class T>
KERNELS_NN_INLINE vec<T> rotated(vec<T> x) {
  constexpr int L = vec<T>::lanes;
#if defined(__clang__)
  vec<T> r;
  for (int i = 0; i < L; ++i) r.v[i] = x.v[(i + by) % L];
  return r;
#else
  typename vec<T>::ints order{};
  for (int i = 0; i < L; ++i) order[i] = (i + by) % L;
  return __builtin_shuffle(x.v, order);
#endif
}
// All lanes put together by a function whose operands may change places: halves first, down to groups of `least` lanes.
template <int half, int least = 1, class T, class Join>
KERNELS_NN_INLINE vec<T> joined_lanes(vec<T> x, const Join& join) {
  if constexpr (half < least) return x;
  else return joined_lanes<half / 2, least>(join(x, rotated<half>(x)), join);
}
// The first lanes, each `times` times.
template <int times, class T>
KERNELS_NN_INLINE vec<T> repeated(vec<T> x) {
  constexpr int L = vec<T>::lanes;
#if defined(__clang__)
  vec<T> r;
  for (int i = 0; i < L; ++i) r.v[i] = x.v[i / times];
  return r;
#else
  typename vec<T>::ints order{};
  for (int i = 0; i < L; ++i) order[i] = i / times;
  return __builtin_shuffle(x.v, order);
#endif
}
// The first `count` of the numbers that fill a vector when each is there `times` times, zeros behind.
template <int times, class T>
KERNELS_NN_INLINE vec<T> load_repeated(const T* from, std::int64_t count) {
#if defined(KERNELS_NN_AVX512)
  // Four or two numbers come to every quarter of the vector as they are read, where one shuffle within the quarters puts them in order.
  if constexpr (sizeof(T) == 4 && (times == 4 || times == 8)) {
    constexpr int four = 16 / times;
    const __m128 near = count == four && times == 4 ? _mm_loadu_ps(reinterpret_cast<const float*>(from))
                                                    : _mm_maskz_loadu_ps(static_cast<__mmask8>((1u << count) - 1u), reinterpret_cast<const float*>(from));
    typename vec<T>::ints order{};
    for (int i = 0; i < vec<T>::lanes; ++i) order[i] = i / times;
    return (typename vec<T>::raw)_mm512_permutevar_ps(_mm512_broadcast_f32x4(near), (__m512i)order);
  }
#endif
  return repeated<times>(vec<T>::load(from, count));
}
template <class T, class Join>
KERNELS_NN_INLINE T across(vec<T> x, const Join& join) {
  return joined_lanes<vec<T>::lanes / 2>(x, join).v[0];
}
// Lanes of two vectors whose numbers have no bit `step` (low), or have it (high): those of the first in front of those of the second, in turns of `step`.
template <int step, class T>
KERNELS_NN_INLINE void interleave(vec<T>& a, vec<T>& b) {
  constexpr int L = vec<T>::lanes;
#if defined(__clang__)
  vec<T> low, high;
  for (int i = 0; i < L; ++i) {
    low.v[i] = i & step ? b.v[i - step] : a.v[i];
    high.v[i] = i & step ? b.v[i] : a.v[i + step];
  }
#else
  typename vec<T>::ints first{}, second{};
  for (int i = 0; i < L; ++i) {
    first[i] = i & step ? L + i - step : i;
    second[i] = i & step ? L + i : i + step;
  }
  const vec<T> low = __builtin_shuffle(a.v, b.v, first), high = __builtin_shuffle(a.v, b.v, second);
#endif
  a = low;
  b = high;
}
// As many vectors as they have lanes: rows become columns.
template <int step = 1, class T>
KERNELS_NN_INLINE void transpose(vec<T> (&rows)[vec<T>::lanes]) {
  if constexpr (step < vec<T>::lanes) {
    KERNELS_NN_UNROLL for (int i = 0; i < vec<T>::lanes; ++i) {
      if (!(i & step)) interleave<step>(rows[i], rows[i + step]);
    }
    transpose<2 * step>(rows);
  }
}
// The truth of the first n lanes.
template <class T>
KERNELS_NN_INLINE vmask<T> first_lanes(std::int64_t n) {
  typename vec<T>::ints place{};
  for (int i = 0; i < vec<T>::lanes; ++i) place[i] = i;
  return {place < static_cast<lane_int<T>>(n) - typename vec<T>::ints{}};
}

// Several vectors that go along side by side.
template <class T, int N>
struct pack_of {
  vec<T> v[N];

  pack_of() = default;
  KERNELS_NN_INLINE explicit pack_of(T x) {
    for (int i = 0; i < N; ++i) v[i] = vec<T>(x);
  }
};

// A function of single numbers, lane by lane.
template <class F, class T, class... V>
KERNELS_NN_INLINE vec<T> by_lane(const F& f, vec<T> first, V... rest) {
  vec<T> r;
  for (int i = 0; i < vec<T>::lanes; ++i) r.v[i] = f(static_cast<T>(first.v[i]), static_cast<T>(rest.v[i])...);
  return r;
}

}  // namespace nn
}  // namespace kernels
