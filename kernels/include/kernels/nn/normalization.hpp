// Normalisations: by statistics that are given, or of rows, planes, groups and windows of channels.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <random>

#include "kernels/nn/sums.hpp"
#include "kernels/nn/tensor.hpp"
#include "kernels/nn/types.hpp"
#include "kernels/nn/vector.hpp"

namespace kernels {
namespace nn {

template <class T>
inline computed_t<T> number(T x) {
  return static_cast<computed_t<T>>(x);
}

// The mean of n numbers and their mean squared distance from it.
template <class R>
struct Moments {
  R mean, variance;
};
template <class R, class F>
inline Moments<R> moments(std::int64_t n, const F& f) {
  const R mean = sum_of<R>(n, f) / static_cast<R>(n);
  const R variance = sum_of<R>(n, [&](std::int64_t i) {
    const R distance = f(i) - mean;
    return distance * distance;
  }) / static_cast<R>(n);
  return {mean, variance};
}

// y = (x - mean) / sqrt(variance + epsilon) * scale + bias, channel by channel of (batch, channels, plane).
template <class R, class T, class S, class B, class M, class V>
inline void batch_normalize(std::int64_t batch, std::int64_t channels, std::int64_t plane, const T* x, const S* scale, const B* bias, const M* mean,
                            const V* variance, R epsilon, T* y) {
  for (std::int64_t row = 0; row < batch * channels; ++row) {
    const std::int64_t channel = row % channels;
    const R factor = static_cast<R>(number(scale[channel])) / std::sqrt(static_cast<R>(number(variance[channel])) + epsilon);
    const R center = static_cast<R>(number(mean[channel])), shift = static_cast<R>(number(bias[channel]));
    for (std::int64_t i = row * plane; i < (row + 1) * plane; ++i) y[i] = static_cast<T>((static_cast<R>(number(x[i])) - center) * factor + shift);
  }
}

// Mean and variance of each channel over batch and plane.
template <class R, class T>
inline void batch_moments(std::int64_t batch, std::int64_t channels, std::int64_t plane, const T* x, R* mean, R* variance) {
  for (std::int64_t channel = 0; channel < channels; ++channel) {
    R total = 0;
    const auto each_plane = [&](const auto& f) {
      R sum = 0;
      for (std::int64_t n = 0; n < batch; ++n) {
        const T* const from = x + (n * channels + channel) * plane;
        sum += sum_of<R>(plane, [&](std::int64_t i) { return f(static_cast<R>(number(from[i]))); });
      }
      return sum / static_cast<R>(batch * plane);
    };
    total = each_plane([](R value) { return value; });
    mean[channel] = total;
    variance[channel] = each_plane([total](R value) { return (value - total) * (value - total); });
  }
}

// to = old * momentum + fresh * (1 - momentum)
template <class R, class T, class U>
inline void running_average(std::int64_t n, const T* old, const R* fresh, R momentum, U* to) {
  for (std::int64_t i = 0; i < n; ++i) to[i] = static_cast<U>(static_cast<R>(number(old[i])) * momentum + fresh[i] * (R(1) - momentum));
}

// Planes of (batch, channels, plane), each by its own moments.
template <class T>
inline void instance_normalize(std::int64_t batch, std::int64_t channels, std::int64_t plane, const T* x, const T* scale, const T* bias,
                               computed_t<T> epsilon, T* y) {
  using R = computed_t<T>;
  for (std::int64_t row = 0; row < batch * channels; ++row) {
    const T* const from = x + row * plane;
    const Moments<R> m = moments<R>(plane, [&](std::int64_t i) { return number(from[i]); });
    const R factor = number(scale[row % channels]) / std::sqrt(m.variance + epsilon), shift = number(bias[row % channels]);
    for (std::int64_t i = 0; i < plane; ++i) y[row * plane + i] = static_cast<T>((number(from[i]) - m.mean) * factor + shift);
  }
}

// Groups of channels of (batch, groups * per_group, plane), each by its own moments. Scale and bias are of each channel, or (`by_group`)
// of each group.
template <class R, class T>
inline void group_normalize(std::int64_t batch, std::int64_t groups, std::int64_t per_group, std::int64_t plane, const T* x, const T* scale,
                            const T* bias, bool by_group, R epsilon, T* y) {
  for (std::int64_t row = 0; row < batch * groups; ++row) {
    const std::int64_t n = per_group * plane, group = row % groups;
    const T* const from = x + row * n;
    const Moments<R> m = moments<R>(n, [&](std::int64_t i) { return static_cast<R>(number(from[i])); });
    const R inverse = R(1) / std::sqrt(m.variance + epsilon);
    for (std::int64_t channel = 0; channel < per_group; ++channel) {
      const std::int64_t of = by_group ? group : group * per_group + channel;
      const R factor = static_cast<R>(number(scale[of])) * inverse, shift = static_cast<R>(number(bias[of]));
      for (std::int64_t i = channel * plane; i < (channel + 1) * plane; ++i) {
        y[row * n + i] = static_cast<T>((static_cast<R>(number(from[i])) - m.mean) * factor + shift);
      }
    }
  }
}

// A row of floats or doubles in vectors; scale and bias may be null.
template <class N, class T>
KERNELS_NN_INLINE Moments<T> normalize_row(N n, const T* from, const T* scale, const T* bias, T epsilon, T* to) {
  constexpr std::int64_t L = vec<T>::lanes;
  const std::int64_t whole = n / L * L, rest = n - whole;
  const T count = static_cast<T>(static_cast<std::int64_t>(n));
  vec<T> total(T(0));
  for (std::int64_t i = 0; i < whole; i += L) total = total + vec<T>::load(from + i);
  if (rest > 0) total = total + vec<T>::load(from + whole, rest);
  const T mean = sum(total) / count;
  const vec<T> center(mean);
  vec<T> squares(T(0));
  for (std::int64_t i = 0; i < whole; i += L) {
    const vec<T> distance = vec<T>::load(from + i) - center;
    squares = squares + distance * distance;
  }
  if (rest > 0) {
    const vec<T> distance = vec<T>::load(from + whole, rest) - center;
    squares = squares + select(first_lanes<T>(rest), distance * distance, vec<T>(T(0)));
  }
  const T variance = sum(squares) / count;
  const vec<T> inverse(T(1) / std::sqrt(variance + epsilon));
  const auto finished = [&](std::int64_t i, auto... width) __attribute__((always_inline)) {
    vec<T> value = (vec<T>::load(from + i, width...) - center) * inverse;
    if (scale != nullptr) value = value * vec<T>::load(scale + i, width...);
    if (bias != nullptr) value = value + vec<T>::load(bias + i, width...);
    value.store(to + i, width...);
  };
  for (std::int64_t i = 0; i < whole; i += L) finished(i);
  if (rest > 0) finished(whole, rest);
  return {mean, variance};
}

// Rows of n elements, each by its own moments. Scale and bias, of n elements, may be null; so may the means and inverse deviations
// that are handed out.
template <class R, class N, class T, class S, class U>
inline void layer_normalize(std::int64_t rows, N n, const T* x, const S* scale, const S* bias, R epsilon, T* y, U* means, U* inverses) {
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* const from = x + row * n;
    T* const to = y + row * n;
    Moments<R> m;
    if constexpr (std::is_floating_point<T>::value && std::is_same<R, T>::value && std::is_same<S, T>::value) {
      m = normalize_row(n, from, scale, bias, epsilon, to);
    } else {
      m = moments<R>(n, [&](std::int64_t i) { return static_cast<R>(number(from[i])); });
      const R inverse = R(1) / std::sqrt(m.variance + epsilon);
      for (std::int64_t i = 0; i < n; ++i) {
        R value = (static_cast<R>(number(from[i])) - m.mean) * inverse;
        if (scale != nullptr) value *= static_cast<R>(number(scale[i]));
        if (bias != nullptr) value += static_cast<R>(number(bias[i]));
        to[i] = static_cast<T>(value);
      }
    }
    if (means != nullptr) means[row] = static_cast<U>(m.mean);
    if (inverses != nullptr) inverses[row] = static_cast<U>(R(1) / std::sqrt(m.variance + epsilon));
  }
}

// Rows of n elements, each by the root of its mean square. Zhang and Sennrich, arXiv:1910.07467, Eq. 4.
template <class R, class T, class S, class Y>
inline void rms_normalize(std::int64_t rows, std::int64_t n, const T* x, const S* scale, R epsilon, Y* y) {
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* const from = x + row * n;
    const R square = sum_of<R>(n, [&](std::int64_t i) {
      const R value = static_cast<R>(number(from[i]));
      return value * value;
    });
    const R inverse = R(1) / std::sqrt(square / static_cast<R>(n) + epsilon);
    for (std::int64_t i = 0; i < n; ++i) {
      R value = static_cast<R>(number(from[i])) * inverse;
      if (scale != nullptr) value *= static_cast<R>(number(scale[i]));
      y[row * n + i] = static_cast<Y>(value);
    }
  }
}

// Local response over `before` and `after` neighbours of each channel. Krizhevsky et al., NIPS 2012, Sec. 3.3. `row` has room for a plane.
template <class T>
inline void local_response(std::int64_t batch, std::int64_t channels, std::int64_t plane, std::int64_t before, std::int64_t after,
                           computed_t<T> factor, computed_t<T> power, computed_t<T> bias, const T* x, T* y, computed_t<T>* row) {
  using R = computed_t<T>;
  for (std::int64_t n = 0; n < batch; ++n) {
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      fill(row, plane, R(0));
      const std::int64_t last = smaller(channel + after + 1, channels);
      for (std::int64_t other = larger(channel - before, 0); other < last; ++other) {
        const T* const from = x + (n * channels + other) * plane;
        for (std::int64_t i = 0; i < plane; ++i) row[i] += number(from[i]) * number(from[i]);
      }
      const std::int64_t start = (n * channels + channel) * plane;
      for (std::int64_t i = 0; i < plane; ++i) y[start + i] = static_cast<T>(number(x[start + i]) / std::pow(bias + factor * row[i], power));
    }
  }
}

// Axes as loops: sizes, and steps in elements.
template <std::size_t D>
struct Axes {
  std::array<std::int64_t, D> sizes, steps;
};
template <std::size_t D>
inline Axes<D> axes(const std::array<std::int64_t, D>& sizes, const std::array<std::int64_t, D>& steps) {
  return {sizes, steps};
}
// Calls f(offset) for every place.
template <std::size_t axis = 0, std::size_t D, class F>
inline void each_place(const Axes<D>& a, std::int64_t offset, const F& f) {
  if constexpr (axis == D) {
    f(offset);
  } else {
    for (std::int64_t i = 0; i < a.sizes[axis]; ++i) each_place<axis + 1>(a, offset + i * a.steps[axis], f);
  }
}

// (x - mean) / (deviation + epsilon), with the moments over some axes for each place of the others.
template <std::size_t K, std::size_t D, class T>
inline void mean_variance_normalize(const Axes<K>& kept, const Axes<D>& over, computed_t<T> epsilon, const T* x, T* y) {
  using R = computed_t<T>;
  const R n = static_cast<R>(product(over.sizes));
  each_place(kept, 0, [&](std::int64_t start) {
    R sum = 0, squares = 0;
    each_place(over, start, [&](std::int64_t i) { sum += number(x[i]); });
    const R mean = sum / n;
    each_place(over, start, [&](std::int64_t i) { squares += (number(x[i]) - mean) * (number(x[i]) - mean); });
    const R deviation = std::sqrt(squares / n) + epsilon;
    each_place(over, start, [&](std::int64_t i) { y[i] = static_cast<T>((number(x[i]) - mean) / deviation); });
  });
}

// Elements dropped with probability `ratio`, the others scaled up; Srivastava et al., JMLR 15 (2014) 1929. Numbers in [0, 1) of 53 bits come
// from the Mersenne Twister, as NumPy's legacy generator makes them.
template <class T, class M>
inline void dropout(std::int64_t n, double ratio, std::uint32_t seed, const T* x, T* y, M* mask) {
  require(ratio >= 0 && ratio < 1, "Dropout needs a ratio of at least 0 and below 1");
  if (ratio == 0) {
    copy(x, n, y);
    if (mask != nullptr) fill(mask, n, M(1.0f));
    return;
  }
  std::mt19937 generator(seed);
  using R = computed_t<T>;
  const R scale = static_cast<R>(1 / (1 - ratio));
  for (std::int64_t i = 0; i < n; ++i) {
    const double high = static_cast<double>(generator() >> 5), low = static_cast<double>(generator() >> 6);
    const bool kept = (high * 67108864.0 + low) / 9007199254740992.0 >= ratio;
    y[i] = static_cast<T>(kept ? number(x[i]) * scale : R(0));
    if (mask != nullptr) mask[i] = M(kept ? 1.0f : 0.0f);
  }
}
inline std::uint32_t any_seed() { return std::random_device{}(); }

}  // namespace nn
}  // namespace kernels
