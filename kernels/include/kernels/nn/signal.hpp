// Discrete Fourier transforms of any length, frames of signals, mel filters.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/nn/cast.hpp"
#include "kernels/nn/tensor.hpp"
#include "kernels/nn/types.hpp"

namespace kernels {
namespace nn {

template <class R>
struct complex_number {
  R re, im;
};
template <class R>
inline complex_number<R> operator+(complex_number<R> a, complex_number<R> b) {
  return {a.re + b.re, a.im + b.im};
}
template <class R>
inline complex_number<R> operator-(complex_number<R> a, complex_number<R> b) {
  return {a.re - b.re, a.im - b.im};
}
template <class R>
inline complex_number<R> operator*(complex_number<R> a, complex_number<R> b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
template <class R>
inline complex_number<R> operator*(R a, complex_number<R> b) {
  return {a * b.re, a * b.im};
}
template <class R>
inline complex_number<R> times_i(complex_number<R> a) {
  return {-a.im, a.re};
}
template <class R>
inline complex_number<R> conjugate(complex_number<R> a) {
  return {a.re, -a.im};
}

// exp(-2 pi i k / n), exact at the multiples of an eighth of a turn.
template <class R>
inline complex_number<R> root_of_unity(std::int64_t k, std::int64_t n) {
  constexpr double pi = 3.14159265358979323846;
  // In the first eighth of a turn both functions are accurate; the rest follows by symmetry.
  const bool upper = 2 * k > n;
  if (upper) k = n - k;
  const bool left = 4 * k > n;
  std::int64_t twice = left ? n - 2 * k : 2 * k;  // in units of half a step
  const bool swapped = 4 * twice > n;
  double c, s;
  if (swapped) {
    const double angle = pi * (static_cast<double>(n) - 2.0 * static_cast<double>(twice)) / (2.0 * static_cast<double>(n));
    c = std::sin(angle), s = std::cos(angle);
  } else {
    const double angle = pi * static_cast<double>(twice) / static_cast<double>(n);
    c = std::cos(angle), s = std::sin(angle);
  }
  return {static_cast<R>(left ? -c : c), static_cast<R>(upper ? s : -s)};
}

// Transforms of one length, with tables and memory that are kept until another length is asked for.
//
// Lengths of small prime factors go through T. G. Stockham's passes (AFIPS Proc. 28 (1966) 229), which need no reordering; others are
// convolutions with a chirp (L. Bluestein, IEEE Trans. Audio Electroacoust. 18 (1970) 451), by transforms of a power of two.
template <class R>
class Fourier {
 public:
  using number = complex_number<R>;

  void prepare(std::int64_t n) {
    if (n == n_) return;
    require(n > 0 && n < (std::int64_t(1) << 40), "a Fourier transform has no samples, or more than memory holds");
    n_ = 0;
    chirp_.clear(), spectrum_.clear();
    const bool direct = factors_of(n, factors_);
    m_ = n;
    if (!direct) {
      m_ = 1;
      while (m_ < 2 * n - 1) m_ *= 2;
      factors_of(m_, factors_);
    }
    roots_.resize(static_cast<std::size_t>(m_));
    for (std::int64_t k = 0; k < m_; ++k) roots_[static_cast<std::size_t>(k)] = root_of_unity<R>(k, m_);
    data_.resize(static_cast<std::size_t>(m_));
    other_.resize(static_cast<std::size_t>(m_));
    if (!direct) {
      chirp_.resize(static_cast<std::size_t>(n));
      std::fill(data_.begin(), data_.end(), number{0, 0});
      std::int64_t square = 0;  // k^2 mod 2n, without overflow
      for (std::int64_t k = 0; k < n; ++k) {
        chirp_[static_cast<std::size_t>(k)] = root_of_unity<R>(square, 2 * n);
        data_[static_cast<std::size_t>(k)] = data_[static_cast<std::size_t>(k == 0 ? 0 : m_ - k)] = conjugate(chirp_[static_cast<std::size_t>(k)]);
        square = (square + 2 * k + 1) % (2 * n);
      }
      passes();
      spectrum_ = data_;
    }
    n_ = n;
  }

  // The samples, to be filled before and read after `forward`.
  number* samples() { return line(); }

  void forward() {
    if (chirp_.empty()) {
      passes();
      return;
    }
    line_.resize(static_cast<std::size_t>(n_));
    for (std::size_t k = 0; k < line_.size(); ++k) data_[k] = line_[k] * chirp_[k];
    std::fill(data_.begin() + static_cast<std::ptrdiff_t>(n_), data_.end(), number{0, 0});
    passes();
    // The inverse transform is the conjugate of the transform of the conjugate.
    for (std::size_t k = 0; k < data_.size(); ++k) data_[k] = conjugate(data_[k] * spectrum_[k]);
    passes();
    const R scale = R(1) / static_cast<R>(m_);
    for (std::size_t k = 0; k < line_.size(); ++k) line_[k] = scale * conjugate(data_[k]) * chirp_[k];
  }

 private:
  number* line() {
    if (chirp_.empty()) return data_.data();
    line_.resize(static_cast<std::size_t>(n_));
    return line_.data();
  }

  static bool factors_of(std::int64_t n, std::vector<std::int64_t>& factors) {
    factors.clear();
    for (std::int64_t factor : {4, 2, 3, 5, 7, 11, 13, 17, 19, 23}) {
      for (; n % factor == 0 && n > 1; n /= factor) factors.push_back(factor);
    }
    return n == 1;
  }

  void passes() {
    std::int64_t stride = 1, rest = m_;
    for (const std::int64_t factor : factors_) {
      rest /= factor;
      switch (factor) {
        case 2: pass<2>(rest, stride); break;
        case 3: pass<3>(rest, stride); break;
        case 4: pass<4>(rest, stride); break;
        case 5: pass<5>(rest, stride); break;
        default: any_pass(factor, rest, stride);
      }
      data_.swap(other_);
      stride *= factor;
    }
  }

  // y[q, p, k] = w^(p k) sum_j x[q, j, p] r^(j k), with q the fastest; r and w are roots of unity of order `radix` and radix * rest.
  template <int radix>
  void pass(std::int64_t rest, std::int64_t stride) {
    const number* x = data_.data();
    number* y = other_.data();
    for (std::int64_t p = 0; p < rest; ++p) {
      number turn[radix];
      for (int k = 0; k < radix; ++k) turn[k] = roots_[static_cast<std::size_t>(stride * p * k)];
      for (std::int64_t q = 0; q < stride; ++q) {
        number a[radix], b[radix];
        for (int j = 0; j < radix; ++j) a[j] = x[q + stride * (p + rest * j)];
        butterfly(a, b);
        for (int k = 0; k < radix; ++k) y[q + stride * (radix * p + k)] = turn[k] * b[k];
      }
    }
  }

  static void butterfly(const number (&a)[2], number (&b)[2]) {
    b[0] = a[0] + a[1];
    b[1] = a[0] - a[1];
  }
  static void butterfly(const number (&a)[3], number (&b)[3]) {
    constexpr R sine = R(0.86602540378443864676);  // of 2 pi / 3
    const number sum = a[1] + a[2], difference = sine * times_i(a[2] - a[1]), middle = a[0] - R(0.5) * sum;
    b[0] = a[0] + sum;
    b[1] = middle + difference;
    b[2] = middle - difference;
  }
  static void butterfly(const number (&a)[4], number (&b)[4]) {
    const number even = a[0] + a[2], odd = a[1] + a[3], first = a[0] - a[2], second = times_i(a[3] - a[1]);
    b[0] = even + odd;
    b[1] = first + second;
    b[2] = even - odd;
    b[3] = first - second;
  }
  static void butterfly(const number (&a)[5], number (&b)[5]) {
    constexpr R c1 = R(0.30901699437494742410), c2 = R(-0.80901699437494742410);  // cosines and sines of 2 pi / 5 and 4 pi / 5
    constexpr R s1 = R(0.95105651629515357212), s2 = R(0.58778525229247312917);
    const number p1 = a[1] + a[4], p2 = a[2] + a[3], m1 = times_i(a[4] - a[1]), m2 = times_i(a[3] - a[2]);
    const number r1 = a[0] + c1 * p1 + c2 * p2, r2 = a[0] + c2 * p1 + c1 * p2;
    const number i1 = s1 * m1 + s2 * m2, i2 = s2 * m1 - s1 * m2;
    b[0] = a[0] + p1 + p2;
    b[1] = r1 + i1;
    b[2] = r2 + i2;
    b[3] = r2 - i2;
    b[4] = r1 - i1;
  }

  void any_pass(std::int64_t radix, std::int64_t rest, std::int64_t stride) {
    const number* x = data_.data();
    number* y = other_.data();
    const std::int64_t step = m_ / radix;
    for (std::int64_t p = 0; p < rest; ++p) {
      for (std::int64_t k = 0; k < radix; ++k) {
        number* const to = y + stride * (radix * p + k);
        const number turn = roots_[static_cast<std::size_t>(stride * p * k)];
        for (std::int64_t q = 0; q < stride; ++q) to[q] = x[q + stride * p];
        for (std::int64_t j = 1; j < radix; ++j) {
          const number root = roots_[static_cast<std::size_t>(step * (j * k % radix))];
          for (std::int64_t q = 0; q < stride; ++q) to[q] = to[q] + root * x[q + stride * (p + rest * j)];
        }
        for (std::int64_t q = 0; q < stride; ++q) to[q] = turn * to[q];
      }
    }
  }

  std::int64_t n_ = 0, m_ = 0;
  std::vector<std::int64_t> factors_;
  std::vector<number> roots_, data_, other_, chirp_, spectrum_, line_;
};

// How a transform is asked for: `length` samples, cut off or filled up with zeros; inverse; only half of a symmetric spectrum given or wanted.
struct Transform {
  std::int64_t length;
  bool inverse, half;

  std::int64_t bins() const { return half && !inverse ? length / 2 + 1 : length; }
  std::int64_t parts() const { return half && inverse ? 1 : 2; }
};

// The length that a transform has if none is given.
inline std::int64_t default_length(std::int64_t samples, bool inverse, bool half) { return inverse && half ? 2 * (samples - 1) : samples; }

// Transforms one line: `sample(i)` gives what is transformed for i below `count`, `put(k, number)` takes what comes out. Whether the
// samples are real matters forwards.
template <class R, class Sample, class Put>
inline void transform_line(Fourier<R>& fourier, const Transform& how, std::int64_t count, bool real, const Sample& sample, const Put& put) {
  const std::int64_t n = how.length;
  complex_number<R>* const line = fourier.samples();
  if (how.inverse && how.half) {
    // The other half of the spectrum is the conjugate; what is its own conjugate is real.
    for (std::int64_t k = 0; k <= n / 2; ++k) {
      complex_number<R> x = k < count ? sample(k) : complex_number<R>{0, 0};
      if (k == 0 || 2 * k == n) x.im = 0;
      line[k] = conjugate(x);
      if (k > 0) line[n - k] = x;
    }
  } else {
    for (std::int64_t i = 0; i < n; ++i) {
      const complex_number<R> x = i < count ? sample(i) : complex_number<R>{0, 0};
      line[i] = how.inverse ? conjugate(x) : x;
    }
  }
  fourier.forward();
  const complex_number<R>* const found = fourier.samples();
  const R scale = R(1) / static_cast<R>(n);
  for (std::int64_t k = 0; k < how.bins(); ++k) {
    if (how.inverse) {
      put(k, scale * conjugate(found[k]));
    } else if (!real) {
      put(k, found[k]);
    } else {
      // The spectrum of a real signal is symmetric, which rounding must not spoil.
      const complex_number<R> x = 2 * k > n ? conjugate(found[n - k]) : found[k];
      put(k, {x.re, k == 0 || 2 * k == n ? R(0) : x.im});
    }
  }
}

// The last axis of `shape` holds real numbers (1) or real and imaginary parts (2).
template <class T, std::size_t rank>
inline void dft(Fourier<computed_t<T>>& fourier, const T* from, const std::array<std::int64_t, rank>& shape, std::size_t axis, const Transform& how, T* to) {
  using R = computed_t<T>;
  std::int64_t outer = 1, inner = 1;
  for (std::size_t i = 0; i < axis; ++i) outer *= shape[i];
  for (std::size_t i = axis + 1; i + 1 < rank; ++i) inner *= shape[i];
  require(how.length > 0, "a Fourier transform has no samples");
  if (outer == 0 || inner == 0) return;
  fourier.prepare(how.length);
  const std::int64_t count = shape[axis], parts = shape[rank - 1], out_parts = how.parts(), bins = how.bins();
  for (std::int64_t i = 0; i < outer; ++i) {
    for (std::int64_t j = 0; j < inner; ++j) {
      const T* const line = from + (i * count * inner + j) * parts;
      T* const out = to + (i * bins * inner + j) * out_parts;
      transform_line(
          fourier, how, count, parts == 1,
          [&](std::int64_t k) {
            const T* const x = line + k * inner * parts;
            return complex_number<R>{static_cast<R>(x[0]), parts == 2 ? static_cast<R>(x[1]) : R(0)};
          },
          [&](std::int64_t k, complex_number<R> x) {
            T* const y = out + k * inner * out_parts;
            y[0] = T(x.re);
            if (out_parts == 2) y[1] = T(x.im);
          });
    }
  }
}

// The axis of a transform, counted from the front; the last one holds the parts of numbers.
inline std::size_t signal_axis(std::int64_t axis, std::int64_t rank) {
  const std::int64_t found = wrapped(axis, rank, "DFT names an axis that its tensor has not");
  require(found != rank - 1, "DFT names the axis of the real and imaginary parts");
  return static_cast<std::size_t>(found);
}

inline std::int64_t frame_count(std::int64_t length, std::int64_t frame, std::int64_t step) {
  require(frame > 0 && step > 0, "STFT has frames of no length, or no steps between them");
  return length < frame ? 0 : (length - frame) / step + 1;
}

// Transforms of the frames of signals; the window may be null.
template <class T>
inline void stft(Fourier<computed_t<T>>& fourier, const T* from, std::int64_t batch, std::int64_t length, std::int64_t parts, const T* window, std::int64_t step,
                 const Transform& how, T* to) {
  using R = computed_t<T>;
  const std::int64_t frames = frame_count(length, how.length, step), bins = how.bins();
  if (batch == 0 || frames == 0) return;
  fourier.prepare(how.length);
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t f = 0; f < frames; ++f, to += 2 * bins) {
      const T* const frame = from + (b * length + f * step) * parts;
      transform_line(
          fourier, how, how.length, parts == 1,
          [&](std::int64_t i) {
            const R weight = window ? static_cast<R>(window[i]) : R(1);
            const T* const x = frame + i * parts;
            return complex_number<R>{weight * static_cast<R>(x[0]), parts == 2 ? weight * static_cast<R>(x[1]) : R(0)};
          },
          [&](std::int64_t k, complex_number<R> x) {
            to[2 * k] = T(x.re);
            to[2 * k + 1] = T(x.im);
          });
    }
  }
}

// Triangles on the mel scale: `bins` frequencies by `bands`.
template <class T>
inline void mel_weights(std::int64_t bins, std::int64_t bands, std::int64_t length, std::int64_t rate, double lowest, double highest, T* to) {
  require(rate > 0 && length >= 0 && lowest >= 0 && highest >= lowest, "MelWeightMatrix has edges that are no frequencies, or a rate of zero");
  const double log10 = std::log(10.0), low = 2595.0 * std::log1p(lowest / 700.0) / log10, high = 2595.0 * std::log1p(highest / 700.0) / log10;
  const double step = (high - low) / static_cast<double>(bands + 2);
  const auto place = [&](std::int64_t edge) {
    const double frequency = 700.0 * std::expm1((static_cast<double>(edge) * step + low) / 2595.0 * log10);
    const double bin = std::floor((static_cast<double>(length) + 1.0) * frequency / static_cast<double>(rate));
    require(bin >= 0 && bin < static_cast<double>(bins), "MelWeightMatrix has an edge above half the sample rate");
    return static_cast<std::int64_t>(bin);
  };
  const auto put = [&](std::int64_t bin, std::int64_t band, double weight) {
    to[bin * bands + band] = convert<double, T>(weight, true, Rounding::nearest);
  };
  for (std::int64_t i = 0; i < bins * bands; ++i) to[i] = T(0);
  for (std::int64_t band = 0; band < bands; ++band) {
    const std::int64_t left = place(band), peak = place(band + 1), right = place(band + 2);
    if (left == peak) put(peak, band, 1.0);
    for (std::int64_t j = left; left < peak && j <= peak; ++j) put(j, band, static_cast<double>(j - left) / static_cast<double>(peak - left));
    for (std::int64_t j = peak; j < right; ++j) put(j, band, static_cast<double>(right - j) / static_cast<double>(right - peak));
  }
}

}  // namespace nn
}  // namespace kernels
