// Element types that C++ has not: floating-point numbers of 16 bits and fewer, whole numbers of four and two bits. Each takes whole bytes, is
// stored as its bits and computed in float, or as a byte.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

namespace kernels {
namespace nn {

inline std::uint32_t bits_of(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline float float_of(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// IEEE 754 binary16.
struct float16 {
  std::uint16_t bits = 0;

  float16() = default;
  float16(float x) : bits(encoded(x)) {}
  operator float() const { return decoded(bits); }

  static float decoded(std::uint16_t h) {
    const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000) << 16;
    const std::uint32_t rest = h & 0x7FFF;
    if (rest >= 0x7C00) return float_of(sign | 0x7F800000 | (rest & 0x3FF) << 13);
    // Multiplying by 2^112 moves the exponent's bias, and normalises what has no leading one.
    return float_of(bits_of(float_of(rest << 13) * 0x1p112f) | sign);
  }
  static std::uint16_t encoded(float x) {
    const std::uint32_t all = bits_of(x), sign = all >> 16 & 0x8000, rest = all & 0x7FFFFFFF;
    if (rest > 0x7F800000) return static_cast<std::uint16_t>(sign | 0x7E00 | (rest >> 13 & 0x3FF));  // NaN
    if (rest >= 0x477FF000) return static_cast<std::uint16_t>(sign | 0x7C00);                        // rounds to infinity
    if (rest < 0x38800000) {
      // Subnormal: adding 0.5 leaves the number, rounded to its last place, in the low bits.
      return static_cast<std::uint16_t>(sign | (bits_of(float_of(rest) + 0.5f) - bits_of(0.5f)));
    }
    const std::uint32_t odd = rest >> 13 & 1;
    return static_cast<std::uint16_t>(sign | (rest - 0x38000000 + 0xFFF + odd) >> 13);
  }
};

// The upper half of a float.
struct bfloat16 {
  std::uint16_t bits = 0;

  bfloat16() = default;
  bfloat16(float x) : bits(encoded(x)) {}
  operator float() const { return float_of(static_cast<std::uint32_t>(bits) << 16); }

  static std::uint16_t encoded(float x) {
    const std::uint32_t all = bits_of(x);
    if ((all & 0x7FFFFFFF) > 0x7F800000) return static_cast<std::uint16_t>(all >> 16 | 0x40);
    return static_cast<std::uint16_t>((all + 0x7FFF + (all >> 16 & 1)) >> 16);
  }
};

// The bits of the number nearest to x with E bits of exponent and M of mantissa (ties to even), without its sign; `most` is the code of the
// largest number, and what is larger gives `beyond`.
template <int M>
inline std::uint32_t narrowed(double magnitude, int bias, std::uint32_t most, std::uint32_t beyond) {
  if (magnitude == 0) return 0;
  if (std::isinf(magnitude)) return beyond;
  int exponent = std::ilogb(magnitude);
  if (exponent < 1 - bias) exponent = 1 - bias;
  const double places = std::nearbyint(std::ldexp(magnitude, M - exponent));
  // Numbers without a leading one have the exponent's field 0; a carry runs from the mantissa into the exponent by itself.
  const double code = std::ldexp(static_cast<double>(exponent + bias - 1), M) + places;
  return code > most ? beyond : static_cast<std::uint32_t>(code);
}
template <int M>
inline float widened(std::uint32_t code, int bias) {
  const std::uint32_t exponent = code >> M, mantissa = code & ((1u << M) - 1);
  return exponent == 0 ? static_cast<float>(std::ldexp(mantissa, 1 - bias - M)) : static_cast<float>(std::ldexp(mantissa + (1u << M), static_cast<int>(exponent) - bias - M));
}

// Formats of eight bits (P. Micikevicius et al., arXiv:2209.05433; B. Noune et al., arXiv:2206.02915 for those with "uz": no negative zero, whose
// code is NaN). `saturate` decides what becomes of numbers that are too large.
template <int M, int bias, std::uint32_t most, std::uint32_t infinity, std::uint32_t nan, bool unsigned_zero>
struct float8 {
  std::uint8_t bits = 0;

  float8() = default;
  float8(float x) : bits(encoded(x, true)) {}
  operator float() const {
    if (unsigned_zero ? bits == 0x80 : (bits & 0x7F) > (infinity ? infinity : most)) return std::numeric_limits<float>::quiet_NaN();
    if (infinity && (bits & 0x7F) == infinity) return bits & 0x80 ? -std::numeric_limits<float>::infinity() : std::numeric_limits<float>::infinity();
    const float magnitude = widened<M>(bits & 0x7F, bias);
    return bits & 0x80 ? -magnitude : magnitude;
  }
  static std::uint8_t encoded(double x, bool saturate) {
    const std::uint32_t sign = std::signbit(x) ? 0x80 : 0;
    if (x != x) return static_cast<std::uint8_t>(unsigned_zero ? nan : sign | nan);
    const std::uint32_t beyond = saturate ? most : infinity ? infinity : nan;
    const std::uint32_t code = narrowed<M>(std::fabs(x), bias, most, beyond);
    if (unsigned_zero && (code == 0 || code == nan)) return static_cast<std::uint8_t>(code);
    return static_cast<std::uint8_t>(sign | code);
  }
};
using float8e4m3fn = float8<3, 7, 0x7E, 0, 0x7F, false>;
using float8e4m3fnuz = float8<3, 8, 0x7F, 0, 0x80, true>;
using float8e5m2 = float8<2, 15, 0x7B, 0x7C, 0x7E, false>;
using float8e5m2fnuz = float8<2, 16, 0x7F, 0, 0x80, true>;

// Four bits: 0, 0.5, 1, 1.5, 2, 3, 4, 6 with a sign; what is larger is 6.
struct float4e2m1 {
  std::uint8_t bits = 0;

  float4e2m1() = default;
  float4e2m1(float x) : bits(encoded(x)) {}
  operator float() const {
    const float magnitude = widened<1>(bits & 7u, 1);
    return bits & 8 ? -magnitude : magnitude;
  }
  static std::uint8_t encoded(double x) {
    if (x != x) return std::signbit(x) ? 0 : 8;  // there is no NaN; as ONNX's reference has it, a zero
    return static_cast<std::uint8_t>((std::signbit(x) ? 8u : 0u) | narrowed<1>(std::fabs(x), 1, 7, 7));
  }
};

enum class Rounding { up, down, nearest };

// Powers of two alone, 2^-127 to 2^127, and NaN (Open Compute Project, Microscaling Formats 1.0, Sec. 5.4.1).
struct float8e8m0 {
  std::uint8_t bits = 0;

  float8e8m0() = default;
  float8e8m0(float x) : bits(encoded(x, true, Rounding::up)) {}
  operator float() const { return bits == 255 ? std::numeric_limits<float>::quiet_NaN() : std::ldexp(1.0f, static_cast<int>(bits) - 127); }
  static std::uint8_t encoded(double x, bool saturate, Rounding rounding) {
    if (x != x) return 255;
    const double magnitude = std::fabs(x);
    if (std::isinf(magnitude)) return saturate ? 254 : 255;
    if (magnitude == 0) return 0;
    int exponent = std::ilogb(magnitude);
    const double rest = std::ldexp(magnitude, -exponent);  // in [1, 2)
    if ((rounding == Rounding::up && rest > 1) || (rounding == Rounding::nearest && rest >= 1.5)) ++exponent;
    if (exponent > 127) return saturate ? 254 : 255;
    return static_cast<std::uint8_t>(exponent < -127 ? 0 : exponent + 127);
  }
};

// Whole numbers of a few bits, in the low bits of a byte; the value wraps around.
template <int width, bool is_signed>
struct narrow_int {
  using value_type = std::conditional_t<is_signed, std::int8_t, std::uint8_t>;
  std::uint8_t bits = 0;

  narrow_int() = default;
  template <class T, class = std::enable_if_t<std::is_arithmetic<T>::value>>
  explicit narrow_int(T x) : bits(static_cast<std::uint8_t>(static_cast<std::int64_t>(x) & mask)) {}
  operator value_type() const {
    const int low = bits & mask;
    return static_cast<value_type>(is_signed && low >> (width - 1) ? low - (mask + 1) : low);
  }

 private:
  static constexpr int mask = (1 << width) - 1;
};
using int4 = narrow_int<4, true>;
using uint4 = narrow_int<4, false>;
using int2 = narrow_int<2, true>;
using uint2 = narrow_int<2, false>;

// What a type is computed in: itself, or float for types of fewer bits.
template <class T, class = void>
struct computed {
  using type = T;
};
template <class T>
struct is_narrow : std::false_type {};
template <int width, bool is_signed>
struct is_narrow<narrow_int<width, is_signed>> : std::true_type {};
template <int width, bool is_signed>
struct computed<narrow_int<width, is_signed>> {
  using type = typename narrow_int<width, is_signed>::value_type;
};
template <class T>
struct computed<T, std::enable_if_t<std::is_class<T>::value && std::is_convertible<T, float>::value && !is_narrow<T>::value>> {
  using type = float;
};
template <class T>
using computed_t = typename computed<T>::type;

}  // namespace nn
}  // namespace kernels
