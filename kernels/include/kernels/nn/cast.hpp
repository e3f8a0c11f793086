// Conversions between element types, by ONNX's rules; out-of-range conversions to whole numbers, which C++ leaves open, stop at the ends.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <string>
#include <type_traits>

#include "kernels/nn/tensor.hpp"
#include "kernels/nn/types.hpp"

namespace kernels {
namespace nn {

template <class T>
inline constexpr bool is_float8 = std::is_same<T, float8e4m3fn>::value || std::is_same<T, float8e4m3fnuz>::value ||
                                  std::is_same<T, float8e5m2>::value || std::is_same<T, float8e5m2fnuz>::value;

// A number as text, as Python's str writes it: the fewest digits that tell it apart.
template <class T>
inline std::string to_text(T x) {
  if constexpr (std::is_same<T, bool>::value) {
    return x ? "True" : "False";
  } else if constexpr (std::is_integral<T>::value) {
    return std::to_string(x);
  } else {
    if (x != x) return "nan";
    if (std::isinf(x)) return x < 0 ? "-inf" : "inf";
    char digits[64];
    const auto end = std::to_chars(digits, digits + sizeof digits, x, std::chars_format::scientific).ptr;
    std::string text(digits, end);
    const std::size_t mark = text.find('e');
    const int exponent = std::atoi(text.c_str() + mark + 1);
    const bool negative = text[0] == '-';
    std::string mantissa;
    for (std::size_t i = negative; i < mark; ++i) {
      if (text[i] != '.') mantissa += text[i];
    }
    std::string result = negative ? "-" : "";
    if (exponent < -4 || exponent >= 16) {
      result += mantissa.substr(0, 1);
      if (mantissa.size() > 1) result += "." + mantissa.substr(1);
      result += exponent < 0 ? "e-" : "e+";
      const std::string power = std::to_string(exponent < 0 ? -exponent : exponent);
      return result + (power.size() < 2 ? "0" + power : power);
    }
    if (exponent < 0) return result + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + mantissa;
    const auto whole = static_cast<std::size_t>(exponent) + 1;
    if (mantissa.size() <= whole) return result + mantissa + std::string(whole - mantissa.size(), '0') + ".0";
    return result + mantissa.substr(0, whole) + "." + mantissa.substr(whole);
  }
}

inline double to_number(const std::string& text) {
  char* end = nullptr;
  const double x = std::strtod(text.c_str(), &end);
  while (end != nullptr && (*end == ' ' || *end == '\t' || *end == '\n')) ++end;
  require(end != text.c_str() && *end == '\0', "Cast is given a text that is no number");
  return x;
}

template <class From, class To>
inline To convert(const From& from, bool saturate, Rounding rounding) {
  (void)saturate, (void)rounding;
  if constexpr (std::is_same<From, To>::value) {
    return from;
  } else if constexpr (std::is_same<To, std::string>::value) {
    return to_text(static_cast<computed_t<From>>(from));
  } else if constexpr (std::is_same<From, std::string>::value) {
    if constexpr (std::is_same<To, std::int64_t>::value || std::is_same<To, std::uint64_t>::value) {
      // More digits than a double holds.
      To value{};
      const auto found = std::from_chars(from.data(), from.data() + from.size(), value);
      if (found.ec == std::errc() && found.ptr == from.data() + from.size()) return value;
    }
    return convert<double, To>(to_number(from), saturate, rounding);
  } else if constexpr (is_float8<To>) {
    To to;
    to.bits = To::encoded(static_cast<double>(static_cast<computed_t<From>>(from)), saturate);
    return to;
  } else if constexpr (std::is_same<To, float8e8m0>::value) {
    To to;
    to.bits = To::encoded(static_cast<double>(static_cast<computed_t<From>>(from)), saturate, rounding);
    return to;
  } else if constexpr (std::is_same<To, float4e2m1>::value) {
    To to;
    to.bits = To::encoded(static_cast<double>(static_cast<computed_t<From>>(from)));
    return to;
  } else if constexpr (std::is_same<To, float16>::value && std::is_same<From, double>::value) {
    // In one rounding, not by way of a float.
    To to;
    to.bits = static_cast<std::uint16_t>((std::signbit(from) ? 0x8000 : 0) | (from != from ? 0x7E00 : narrowed<10>(std::fabs(from), 15, 0x7BFF, 0x7C00)));
    return to;
  } else if constexpr (std::is_same<To, bool>::value) {
    return static_cast<computed_t<From>>(from) != 0;
  } else {
    const auto x = static_cast<computed_t<From>>(from);
    if constexpr (std::is_floating_point<decltype(x + x)>::value && (std::is_integral<To>::value || is_narrow<To>::value)) {
      if (x != x) return To(0);
      if constexpr (std::is_same<To, std::uint64_t>::value) {
        if (x >= decltype(x)(18446744073709551615.0)) return std::numeric_limits<std::uint64_t>::max();
        if (x >= 0) return static_cast<std::uint64_t>(x);
      }
      const std::int64_t whole = x >= decltype(x)(9223372036854775807.0) ? std::numeric_limits<std::int64_t>::max()
                                 : x <= decltype(x)(-9223372036854775808.0) ? std::numeric_limits<std::int64_t>::min()
                                                                           : static_cast<std::int64_t>(x);
      return static_cast<To>(whole);
    } else {
      return static_cast<To>(x);
    }
  }
}

template <class From, class To>
inline void cast(const From* from, std::int64_t count, To* to, bool saturate, Rounding rounding) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = convert<From, To>(from[i], saturate, rounding);
}

}  // namespace nn
}  // namespace kernels
