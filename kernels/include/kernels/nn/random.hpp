// Random numbers by counter: number i of a stream is a function of the seed, the stream and i.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/nn/cast.hpp"
#include "kernels/nn/tensor.hpp"
#include "kernels/nn/types.hpp"

namespace kernels {
namespace nn {

// Philox4x32-10 (J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11, Sec. 3.3): four
// words of 32 bits from a counter of 128 and a key of 64.
inline std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t(0xD2511F53) * counter[0], b = std::uint64_t(0xCD9E8D57) * counter[2];
    counter = {static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
               static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

// What the numbers of one node in one call come from.
struct RandomStream {
  std::uint64_t seed = 0, number = 0;

  // Two numbers at once, uniform in (0, 1), symmetric about 1/2, with 53 bits.
  std::array<double, 2> pair(std::uint64_t block) const {
    const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
    const auto high = [](std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); };
    const auto words = philox({low(block), high(block), low(number), high(number)}, {low(seed), high(seed)});
    const auto uniform = [&](std::size_t i) {
      const std::uint64_t bits = (std::uint64_t(words[i]) << 32 | words[i + 1]) >> 12;
      return (static_cast<double>(bits) + 0.5) * 0x1p-52;
    };
    return {uniform(0), uniform(2)};
  }
};

// The seed of a workspace, for nodes that have none; threads want different ones. Each node in each call takes the next stream.
class Random {
 public:
  std::uint64_t seed = 0;

  RandomStream next() { return {seed, ++calls_}; }

 private:
  std::uint64_t calls_ = 0;
};

// Calls `put(i, u)` for `count` uniform numbers.
template <class F>
inline void each_uniform(const RandomStream& stream, std::int64_t count, const F& put) {
  for (std::int64_t i = 0; i < count; i += 2) {
    const auto pair = stream.pair(static_cast<std::uint64_t>(i / 2));
    put(i, pair[0]);
    if (i + 1 < count) put(i + 1, pair[1]);
  }
}

template <class T>
inline T random_value(double x) {
  return convert<double, T>(x, true, Rounding::nearest);
}

template <class T>
inline void random_uniform(const RandomStream& stream, std::int64_t count, double low, double high, T* to) {
  each_uniform(stream, count, [&](std::int64_t i, double u) { to[i] = random_value<T>(low + (high - low) * u); });
}

// Pairs of normal numbers from pairs of uniform ones (G. E. P. Box, M. E. Muller, Ann. Math. Stat. 29 (1958) 610, Eq. 1).
template <class T>
inline void random_normal(const RandomStream& stream, std::int64_t count, double mean, double scale, T* to) {
  constexpr double turn = 6.28318530717958647692;
  for (std::int64_t i = 0; i < count; i += 2) {
    const auto pair = stream.pair(static_cast<std::uint64_t>(i / 2));
    const double radius = scale * std::sqrt(-2.0 * std::log(pair[0]));
    to[i] = random_value<T>(mean + radius * std::cos(turn * pair[1]));
    if (i + 1 < count) to[i + 1] = random_value<T>(mean + radius * std::sin(turn * pair[1]));
  }
}

template <class P, class T>
inline void bernoulli(const RandomStream& stream, const P* probabilities, std::int64_t count, T* to) {
  each_uniform(stream, count, [&](std::int64_t i, double u) {
    const auto p = static_cast<double>(static_cast<computed_t<P>>(probabilities[i]));
    require(p >= 0 && p <= 1, "Bernoulli is given a probability outside 0 to 1");
    to[i] = random_value<T>(u < p ? 1.0 : 0.0);
  });
}

// `samples` numbers of classes for each row of logarithms of weights. `sums` has room for a number for each class.
template <class L, class T>
inline void multinomial(const RandomStream& stream, const L* logarithms, std::int64_t batch, std::int64_t classes, std::int64_t samples, double* sums,
                        T* to) {
  const auto at = [&](std::int64_t row, std::int64_t i) { return static_cast<double>(static_cast<computed_t<L>>(logarithms[row * classes + i])); };
  std::int64_t row = -1;
  each_uniform(stream, batch * samples, [&](std::int64_t i, double u) {
    if (i / samples != row) {
      row = i / samples;
      double largest = -std::numeric_limits<double>::infinity(), sum = 0;
      for (std::int64_t j = 0; j < classes; ++j) largest = at(row, j) > largest ? at(row, j) : largest;
      for (std::int64_t j = 0; j < classes; ++j) sums[j] = sum += std::exp(at(row, j) - largest);
      require(sum > 0 && sum < std::numeric_limits<double>::infinity(), "Multinomial is given weights that are no probabilities");
    }
    // The first class whose share of the sum reaches beyond the number.
    const double place = u * sums[classes - 1];
    std::int64_t low = 0, high = classes - 1;
    while (low < high) {
      const std::int64_t middle = (low + high) / 2;
      if (sums[middle] <= place) low = middle + 1;
      else high = middle;
    }
    to[i] = static_cast<T>(low);
  });
}

}  // namespace nn
}  // namespace kernels
