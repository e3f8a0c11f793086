// The kernels of one target: included with KERNELS_TARGET, by which their namespace is named, since other flags make other functions of them.
#include <cstring>
#include <limits>
#include <type_traits>

#include "column_ops.hpp"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace kernels {
namespace KERNELS_TARGET {

using std::int64_t;
using std::uint8_t;

template <class T>
inline T load(const uint8_t* p) {
  T x;
  std::memcpy(&x, p, sizeof(T));
  return x;
}

template <class T>
inline void store(uint8_t* p, T x) {
  std::memcpy(p, &x, sizeof(T));
}

constexpr bool little_machine = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;

inline std::uint16_t reversed(std::uint16_t x) { return __builtin_bswap16(x); }
inline std::uint32_t reversed(std::uint32_t x) { return __builtin_bswap32(x); }
inline std::uint64_t reversed(std::uint64_t x) { return __builtin_bswap64(x); }

inline void copy(const uint8_t* in, int64_t n, uint8_t* out) {
  if (n > 0) std::memcpy(out, in, static_cast<std::size_t>(n));
}

template <class T>
void swap(const uint8_t* in, int64_t n, uint8_t* out) {
  for (int64_t i = 0; i < n; ++i) {
    const T x = load<T>(in + i * static_cast<int64_t>(sizeof(T)));
    store(out + i * static_cast<int64_t>(sizeof(T)), little_machine ? reversed(x) : x);
  }
}

inline void unsplit1(const uint8_t* in, int64_t, int64_t from, int64_t n, uint8_t* out) { copy(in + from, n, out); }

inline void unsplit2(const uint8_t* in, int64_t total, int64_t from, int64_t n, uint8_t* out) {
  const uint8_t *const low = in + from, *const high = low + total;
  for (int64_t i = 0; i < n; ++i) store(out + 2 * i, static_cast<std::uint16_t>(low[i] | high[i] << 8));
}

inline void unsplit4(const uint8_t* in, int64_t total, int64_t from, int64_t n, uint8_t* out) {
  const uint8_t *const a = in + from, *const b = a + total, *const c = b + total, *const d = c + total;
  int64_t i = 0;
#if defined(__SSE2__)
  const auto at = [](const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); };
  for (; i + 16 <= n; i += 16) {
    const __m128i low = _mm_unpacklo_epi8(at(a + i), at(b + i)), low2 = _mm_unpackhi_epi8(at(a + i), at(b + i));
    const __m128i high = _mm_unpacklo_epi8(at(c + i), at(d + i)), high2 = _mm_unpackhi_epi8(at(c + i), at(d + i));
    __m128i* const to = reinterpret_cast<__m128i*>(out + 4 * i);
    _mm_storeu_si128(to, _mm_unpacklo_epi16(low, high));
    _mm_storeu_si128(to + 1, _mm_unpackhi_epi16(low, high));
    _mm_storeu_si128(to + 2, _mm_unpacklo_epi16(low2, high2));
    _mm_storeu_si128(to + 3, _mm_unpackhi_epi16(low2, high2));
  }
#endif
  for (; i < n; ++i) store(out + 4 * i, std::uint32_t{a[i]} | std::uint32_t{b[i]} << 8 | std::uint32_t{c[i]} << 16 | std::uint32_t{d[i]} << 24);
}

inline void unsplit8(const uint8_t* in, int64_t total, int64_t from, int64_t n, uint8_t* out) {
  const uint8_t* const p = in + from;
  int64_t i = 0;
#if defined(__SSE2__)
  const auto at = [&](int plane) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + plane * total + i)); };
  for (; i + 16 <= n; i += 16) {
    __m128i pairs[8];  // planes 2k and 2k + 1: numbers 0 to 7 in pairs[k], 8 to 15 in pairs[k + 4]
    for (int k = 0; k < 4; ++k) {
      const __m128i even = at(2 * k), odd = at(2 * k + 1);
      pairs[k] = _mm_unpacklo_epi8(even, odd);
      pairs[k + 4] = _mm_unpackhi_epi8(even, odd);
    }
    __m128i* const to = reinterpret_cast<__m128i*>(out + 8 * i);
    for (int half = 0; half < 2; ++half) {
      const __m128i* const q = pairs + 4 * half;
      const __m128i low = _mm_unpacklo_epi16(q[0], q[1]), low2 = _mm_unpackhi_epi16(q[0], q[1]);
      const __m128i high = _mm_unpacklo_epi16(q[2], q[3]), high2 = _mm_unpackhi_epi16(q[2], q[3]);
      _mm_storeu_si128(to + 4 * half, _mm_unpacklo_epi32(low, high));
      _mm_storeu_si128(to + 4 * half + 1, _mm_unpackhi_epi32(low, high));
      _mm_storeu_si128(to + 4 * half + 2, _mm_unpacklo_epi32(low2, high2));
      _mm_storeu_si128(to + 4 * half + 3, _mm_unpackhi_epi32(low2, high2));
    }
  }
#endif
  for (; i < n; ++i) {
    std::uint64_t x = 0;
    for (int plane = 0; plane < 8; ++plane) x |= std::uint64_t{p[plane * total + i]} << (8 * plane);
    store(out + 8 * i, x);
  }
}

template <class T>
void unzigzag(uint8_t* values, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    uint8_t* const p = values + i * static_cast<int64_t>(sizeof(T));
    const T x = load<T>(p);
    store(p, static_cast<T>((x >> 1) ^ (T{0} - (x & 1))));
  }
}

inline void bits(const uint8_t* in, int64_t from, int64_t n, uint8_t* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = in[(from + i) >> 3] >> ((from + i) & 7) & 1;
}

inline void truth(uint8_t* values, int64_t n) {
  for (int64_t i = 0; i < n; ++i) values[i] = values[i] != 0;
}

// A bool in memory: any byte but 0 is true.
struct Truth {
  uint8_t byte;
};
struct Half {
  std::uint16_t word;
};

inline float number(Half half) {
  const std::uint32_t sign = std::uint32_t{half.word & 0x8000U} << 16, body = half.word & 0x7FFFU;
  // Shifted into place a half is 2^-112 of its value, small ones too; infinity and NaN have the largest exponent of both.
  float scaled;
  const std::uint32_t shifted = body << 13;
  std::memcpy(&scaled, &shifted, 4);
  scaled *= 0x1p112F;
  std::uint32_t word;
  std::memcpy(&word, &scaled, 4);
  word = (body >= 0x7C00 ? shifted | 0x7F800000U : word) | sign;
  float x;
  std::memcpy(&x, &word, 4);
  return x;
}
inline uint8_t number(Truth truth) { return truth.byte != 0; }
template <class T>
inline T number(T x) {
  return x;
}

// As C++ converts, but with an answer for every number: floating point beyond an integer's range gives its limit, NaN gives 0.
template <class To, class From>
inline To converted(From from) {
  const auto x = number(from);
  if constexpr (std::is_same_v<To, Truth>) {
    return Truth{static_cast<uint8_t>(x != 0)};
  } else if constexpr (std::is_floating_point_v<decltype(x)>) {
    if constexpr (std::is_floating_point_v<To>) {
      return static_cast<To>(x);
    } else if constexpr (sizeof(To) == 8) {
      constexpr double low = static_cast<double>(std::numeric_limits<To>::min());  // -2^63 or 0
      constexpr double beyond = std::is_signed_v<To> ? 0x1p63 : 0x1p64;
      const double wide = static_cast<double>(x);
      if (!(wide == wide)) return 0;
      if (wide <= low) return std::numeric_limits<To>::min();
      if (wide >= beyond) return std::numeric_limits<To>::max();
      return static_cast<To>(wide);
    } else {
      double wide = static_cast<double>(x);
      wide = wide == wide ? wide : 0.0;
      wide = wide < static_cast<double>(std::numeric_limits<To>::min()) ? static_cast<double>(std::numeric_limits<To>::min()) : wide;
      wide = wide > static_cast<double>(std::numeric_limits<To>::max()) ? static_cast<double>(std::numeric_limits<To>::max()) : wide;
      return static_cast<To>(static_cast<int64_t>(wide));
    }
  } else {
    return static_cast<To>(x);
  }
}

template <class From, class To>
void convert(const uint8_t* in, int64_t n, uint8_t* out) {
  for (int64_t i = 0; i < n; ++i) {
    store(out + i * static_cast<int64_t>(sizeof(To)), converted<To>(load<From>(in + i * static_cast<int64_t>(sizeof(From)))));
  }
}

template <class T>
void take(const uint8_t* in, const std::int32_t* index, int64_t n, uint8_t* out) {
  for (int64_t i = 0; i < n; ++i) {
    store(out + i * static_cast<int64_t>(sizeof(T)), load<T>(in + std::int64_t{index[i]} * static_cast<int64_t>(sizeof(T))));
  }
}

template <class T>
void scatter(const uint8_t* in, int64_t n, uint8_t* out, int64_t stride) {
  for (int64_t i = 0; i < n; ++i) store(out + i * stride, load<T>(in + i * static_cast<int64_t>(sizeof(T))));
}

#if defined(__AVX2__)
// Eight columns and eight rows at a time.
inline void tile8(const uint8_t* const* columns, int64_t n, uint8_t* out, int64_t stride) {
  for (int64_t r = 0; r + 8 <= n; r += 8) {
    __m256 a[8], b[8];
    for (int k = 0; k < 8; ++k) a[k] = _mm256_loadu_ps(reinterpret_cast<const float*>(columns[k] + 4 * r));
    for (int k = 0; k < 8; k += 2) {
      b[k] = _mm256_unpacklo_ps(a[k], a[k + 1]);
      b[k + 1] = _mm256_unpackhi_ps(a[k], a[k + 1]);
    }
    for (int k = 0; k < 8; k += 4) {
      a[k] = _mm256_shuffle_ps(b[k], b[k + 2], 0x44);
      a[k + 1] = _mm256_shuffle_ps(b[k], b[k + 2], 0xEE);
      a[k + 2] = _mm256_shuffle_ps(b[k + 1], b[k + 3], 0x44);
      a[k + 3] = _mm256_shuffle_ps(b[k + 1], b[k + 3], 0xEE);
    }
    for (int k = 0; k < 4; ++k) {
      uint8_t* const to = out + (r + k) * stride;
      _mm256_storeu_ps(reinterpret_cast<float*>(to), _mm256_permute2f128_ps(a[k], a[k + 4], 0x20));
      _mm256_storeu_ps(reinterpret_cast<float*>(to + 4 * stride), _mm256_permute2f128_ps(a[k], a[k + 4], 0x31));
    }
  }
}
#endif

#if defined(__SSE2__)
inline void tile4(const uint8_t* const* columns, int64_t n, uint8_t* out, int64_t stride) {
  for (int64_t r = 0; r + 4 <= n; r += 4) {
    const auto at = [&](int k) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(columns[k] + 4 * r)); };
    const auto to = [&](int64_t k) { return reinterpret_cast<__m128i*>(out + (r + k) * stride); };
    const __m128i a = _mm_unpacklo_epi32(at(0), at(1)), b = _mm_unpacklo_epi32(at(2), at(3));
    const __m128i c = _mm_unpackhi_epi32(at(0), at(1)), d = _mm_unpackhi_epi32(at(2), at(3));
    _mm_storeu_si128(to(0), _mm_unpacklo_epi64(a, b));
    _mm_storeu_si128(to(1), _mm_unpackhi_epi64(a, b));
    _mm_storeu_si128(to(2), _mm_unpacklo_epi64(c, d));
    _mm_storeu_si128(to(3), _mm_unpackhi_epi64(c, d));
  }
}
#endif

inline void transpose4(const uint8_t* const* columns, int64_t n_columns, int64_t n, uint8_t* out, int64_t stride) {
  int64_t c = 0;
  // Rows that no whole tile takes go number by number.
  const auto rest = [&](int64_t width, int64_t from) {
    for (int64_t k = 0; k < width; ++k) scatter<std::uint32_t>(columns[c + k] + 4 * from, n - from, out + from * stride + 4 * (c + k), stride);
  };
#if defined(__AVX2__)
  for (; c + 8 <= n_columns; c += 8) {
    tile8(columns + c, n, out + 4 * c, stride);
    rest(8, n & ~int64_t{7});
  }
#endif
#if defined(__SSE2__)
  for (; c + 4 <= n_columns; c += 4) {
    tile4(columns + c, n, out + 4 * c, stride);
    rest(4, n & ~int64_t{3});
  }
#endif
  rest(n_columns - c, 0);
}

// Calls f with a number of each type, in the order of `NumberType`.
template <class F>
void for_each_type(const F& f) {
  f(Truth{}, std::int8_t{}, uint8_t{}, std::int16_t{}, std::uint16_t{}, std::int32_t{}, std::uint32_t{}, int64_t{}, std::uint64_t{}, Half{},
    float{}, double{});
}

template <class From, class To>
constexpr auto conversion() -> void (*)(const uint8_t*, int64_t, uint8_t*) {
  if constexpr (std::is_same_v<From, To> || std::is_same_v<To, Half>) {
    return nullptr;
  } else {
    return convert<From, To>;
  }
}

template <class From>
void conversions_of(void (**to)(const uint8_t*, int64_t, uint8_t*)) {
  for_each_type([&](auto... of) {
    int i = 0;
    ((to[i++] = conversion<From, decltype(of)>()), ...);
  });
}

inline ColumnOps ops_named(const char* target) {
  ColumnOps ops{};
  ops.target = target;
  const auto words = [](auto* table, auto one, auto two, auto four, auto eight) {
    table[0] = one;
    table[1] = two;
    table[2] = four;
    table[3] = eight;
  };
  words(ops.swap, copy, swap<std::uint16_t>, swap<std::uint32_t>, swap<std::uint64_t>);
  words(ops.unsplit, unsplit1, unsplit2, unsplit4, unsplit8);
  words(ops.unzigzag, unzigzag<uint8_t>, unzigzag<std::uint16_t>, unzigzag<std::uint32_t>, unzigzag<std::uint64_t>);
  ops.bits = bits;
  ops.truth = truth;
  words(ops.take, take<uint8_t>, take<std::uint16_t>, take<std::uint32_t>, take<std::uint64_t>);
  words(ops.scatter, scatter<uint8_t>, scatter<std::uint16_t>, scatter<std::uint32_t>, scatter<std::uint64_t>);
  ops.transpose4 = transpose4;
  for_each_type([&](auto... of) {
    int i = 0;
    (conversions_of<decltype(of)>(ops.convert[i++]), ...);
  });
  return ops;
}

}  // namespace KERNELS_TARGET
}  // namespace kernels
