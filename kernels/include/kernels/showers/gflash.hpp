#pragma once
// Electromagnetic showers as Grindhammer and Peters describe them (hep-ex/0001020), by spots of energy.
//
// A shower's depth follows a gamma distribution whose T and alpha are drawn from correlated log-normal distributions. In each
// layer the energy is split evenly between spots, whose radii follow a core and a tail. Numbers A.x.y name the appendix of the
// paper that a formula stands in: A.1 for homogeneous media, A.2 for sampling calorimeters.
// Standard C++17 alone; the same seed gives the same spots on every CPU.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace kernels {
namespace gflash {

// Lengths in mm, energies in MeV.
struct Medium {
  double z;                 // effective atomic number
  double radiation_length;  // X0
  double moliere_radius;    // R_M
  double critical_energy;   // E_c
  bool sampling;
  // Of sampling calorimeters alone:
  double frequency;   // F_S = X0 / (d_active + d_passive)
  double e_over_mip;  // e-hat = 1 / (1 + 0.007 (Z_passive - Z_active))
  double resolution;  // c of sigma / E = c / sqrt(E / GeV)
};

// Numbers from a seed, a shower and a stream of it: SplitMix64, which can be entered anywhere.
class Stream {
 public:
  Stream(std::uint64_t seed, std::uint64_t shower, std::uint64_t stream) {
    key_ = mixed(mixed(mixed(seed + golden) + shower) + stream);
  }
  static std::uint64_t mixed(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  }
  std::uint64_t bits(std::uint64_t index) const { return mixed(key_ + golden * (index + 1)); }
  // Within (0, 1), both ends excluded.
  double uniform() { return (static_cast<double>(bits(next_++) >> 12) + 0.5) * 0x1p-52; }
  double normal() {
    const double radius = std::sqrt(-2 * std::log(uniform()));
    return radius * std::cos(6.283185307179586 * uniform());
  }
  // Of mean `shape` and variance `shape` (Marsaglia and Tsang, ACM TOMS 26 (2000) 363).
  double gamma(double shape) {
    if (shape < 1) {
      const double boost = std::pow(uniform(), 1 / shape);
      return boost * gamma(shape + 1);
    }
    const double d = shape - 1. / 3, c = 1 / std::sqrt(9 * d);
    for (;;) {
      const double x = normal(), v = 1 + c * x;
      if (v <= 0) continue;
      const double cube = v * v * v;
      if (std::log(uniform()) < 0.5 * x * x + d - d * cube + d * std::log(cube)) return d * cube;
    }
  }

 private:
  static constexpr std::uint64_t golden = 0x9E3779B97F4A7C15U;
  std::uint64_t key_, next_ = 0;
};

// ln Gamma(x) of positive x: Stirling's series above 10, reached by the recurrence.
inline double log_gamma(double x) {
  double product = 1;
  for (; x < 10; x += 1) product *= x;
  const double square = 1 / (x * x);
  const double series = (1. / 12 - square * (1. / 360 - square * (1. / 1260 - square * (1. / 1680 - square / 1188)))) / x;
  return (x - 0.5) * std::log(x) - x + 0.9189385332046727 + series - std::log(product);
}

// The regularised incomplete gamma function P(a, x): the share of a gamma distribution below x.
inline double gamma_share(double a, double x) {
  if (!(x > 0)) return 0;
  if (x > 1e6) return 1;
  const double front = std::exp(a * std::log(x) - x - log_gamma(a));
  if (x < a + 1) {  // the power series
    double term = 1 / a, sum = term;
    for (double n = a + 1; term > sum * 1e-17; n += 1) {
      term *= x / n;
      sum += term;
    }
    return front * sum;
  }
  // Legendre's continued fraction, by Lentz's method
  const double tiny = 1e-300;
  double b = x + 1 - a, c = 1 / tiny, d = 1 / b, fraction = d;
  for (int i = 1; i < 1000; ++i) {
    const double numerator = -i * (i - a);
    b += 2;
    d = numerator * d + b;
    if (std::abs(d) < tiny) d = tiny;
    c = b + numerator / c;
    if (std::abs(c) < tiny) c = tiny;
    d = 1 / d;
    const double step = d * c;
    fraction *= step;
    if (std::abs(step - 1) < 1e-16) break;
  }
  return 1 - front * fraction;
}

// The depth of one shower in units of X0, and the numbers that its radii need.
struct Profile {
  double t, alpha;            // of the energy: depth of the maximum and shape
  double spot_t, spot_alpha;  // of the number of spots
  double spots;               // how many there are in all
  double mean_alpha;          // exp(<ln alpha>)
};

// The averages and widths of ln T and ln alpha.
struct Longitudinal {
  double log_t, log_alpha, sigma_log_t, sigma_log_alpha, rho;
};

// At low energies the formulas have no value: T >= 0.1, alpha >= 1.1 and widths <= 0.5 keep them in range.
inline Longitudinal longitudinal(const Medium& medium, double energy) {
  const double log_y = std::log(energy / medium.critical_energy);
  const auto width = [&](double a, double b) {
    const double inverse = a + b * log_y;
    return inverse > 2 ? 1 / inverse : 0.5;
  };
  double t = std::max(log_y - 0.812, 0.1);                                    // A.1.1: T_hom
  double alpha = std::max(0.81 + (0.458 + 2.26 / medium.z) * log_y, 1.1);     // A.1.1: alpha_hom
  if (!medium.sampling) {
    return {std::log(t), std::log(alpha), width(-1.4, 1.26), width(-0.58, 0.86),  // A.1.2: sigma(ln T_hom), sigma(ln alpha_hom)
            std::clamp(0.705 - 0.023 * log_y, -1., 1.)};                          // A.1.2: rho
  }
  t = std::max(t - 0.55 / medium.frequency - 0.69 * (1 - medium.e_over_mip), 0.1);  // A.2.1: T_sam
  alpha = std::max(alpha - 0.476 / medium.frequency, 1.1);                          // A.2.1: alpha_sam
  return {std::log(t), std::log(alpha), width(-2.5, 1.25), width(-0.82, 0.79),      // A.2.2: sigma(ln T_sam), sigma(ln alpha_sam)
          std::clamp(0.784 - 0.023 * log_y, -1., 1.)};                              // A.2.2: rho
}

inline Profile profile(const Medium& medium, double energy, Stream& stream, bool fluctuate) {
  const Longitudinal l = longitudinal(medium, energy);
  const double first = fluctuate ? stream.normal() : 0, second = fluctuate ? stream.normal() : 0;
  // Both of unit width, and of correlation rho.
  const double sum = std::sqrt((1 + l.rho) / 2) * first, difference = std::sqrt((1 - l.rho) / 2) * second;
  Profile p;
  p.t = std::exp(l.log_t + l.sigma_log_t * (sum + difference));
  p.alpha = std::max(std::exp(l.log_alpha + l.sigma_log_alpha * (sum - difference)), 1.1);
  p.mean_alpha = std::exp(l.log_alpha);
  const double gev = energy / 1000;
  if (medium.sampling) {
    p.spot_t = p.t * (0.813 + 0.0019 * medium.z);          // A.2.4: T_spot
    p.spot_alpha = p.alpha * (0.844 + 0.0026 * medium.z);  // A.2.4: alpha_spot
    p.spots = 10.3 / medium.resolution * std::pow(gev, 0.959);  // A.2.4: N_spot
  } else {
    p.spot_t = p.t * (0.698 + 0.00212 * medium.z);          // A.1.4: T_spot
    p.spot_alpha = p.alpha * (0.639 + 0.00334 * medium.z);  // A.1.4: alpha_spot
    p.spots = 93 * std::log(medium.z) * std::pow(gev, 0.876);  // A.1.4: N_spot
  }
  p.spot_alpha = std::max(p.spot_alpha, 1.1);
  return p;
}

// f(r) = p 2 r R_C^2 / (r^2 + R_C^2)^2 + (1 - p) 2 r R_T^2 / (r^2 + R_T^2)^2, in units of R_M.
struct Radial {
  double core, tail, weight;
};

inline Radial radial(const Medium& medium, double energy, double tau) {
  const double log_e = std::log(energy / 1000), z = medium.z;
  Radial r;
  r.core = 0.0251 + 0.00319 * log_e + (0.1162 - 0.000381 * z) * tau;                                        // A.1.3: R_C,hom
  r.tail = (0.659 - 0.00309 * z) *
           (std::exp(-2.59 * (tau - 0.645)) + std::exp((0.3585 + 0.0412 * log_e) * (tau - 0.645)));         // A.1.3: R_T,hom
  const double u = (0.401 + 0.00187 * z - tau) / (1.313 - 0.0686 * log_e);
  r.weight = (2.632 - 0.00094 * z) * std::exp(u - std::exp(u));                                             // A.1.3: p_hom
  if (medium.sampling) {
    const double fall = std::exp(-tau) / medium.frequency, missing = 1 - medium.e_over_mip;
    r.core += -0.0203 * missing + 0.0397 * fall;                                                            // A.2.3: R_C,sam
    r.tail += -0.14 * missing - 0.495 * fall;                                                               // A.2.3: R_T,sam
    r.weight += missing * (0.348 - 0.642 * std::exp(-(tau - 1) * (tau - 1)) / medium.frequency);            // A.2.3: p_sam
  }
  r.core = std::max(r.core, 1e-3);
  r.tail = std::max(r.tail, r.core);
  r.weight = std::clamp(r.weight, 0., 1.);
  return r;
}

// What one layer of a shower holds.
struct Layer {
  double near, far;           // depths of its ends, mm
  double energy;              // of all its spots, MeV
  double core, tail, weight;  // radii in mm, and the core's share
  std::uint64_t spots;
};

constexpr double least_share = 1e-9;                          // of a layer that gets spots: less is rounding
constexpr std::uint64_t most_spots = std::uint64_t{1} << 24;  // of a layer

// Depth edges ascend from the calorimeter's face; a shower begins at `start`. Layers in front of it are empty.
inline void layers(const Medium& medium, double energy, double start, const double* edges, std::size_t count, std::uint64_t seed,
                   std::uint64_t shower, bool fluctuate, std::vector<Layer>& result) {
  Stream stream(seed, shower, 0);
  const Profile p = profile(medium, energy, stream, fluctuate);
  const double beta = (p.alpha - 1) / p.t, spot_beta = (p.spot_alpha - 1) / p.spot_t;
  const auto depth = [&](double edge) { return std::max(edge - start, 0.) / medium.radiation_length; };
  // tau = t / <t> times exp<ln alpha> / (exp<ln alpha> - 1), where <t> = T alpha / (alpha - 1)
  const double tau_scale = (p.alpha - 1) / (p.alpha * p.t) * p.mean_alpha / (p.mean_alpha - 1);
  result.resize(count);
  double below = gamma_share(p.alpha, beta * depth(edges[0])), spots_below = gamma_share(p.spot_alpha, spot_beta * depth(edges[0]));
  for (std::size_t i = 0; i < count; ++i) {
    const double above = gamma_share(p.alpha, beta * depth(edges[i + 1]));
    const double spots_above = gamma_share(p.spot_alpha, spot_beta * depth(edges[i + 1]));
    Layer& layer = result[i];
    layer.near = std::max(edges[i], std::min(start, edges[i + 1]));
    layer.far = edges[i + 1];
    const double share = above - below;
    layer.energy = share > least_share ? energy * share : 0;
    if (medium.sampling && fluctuate && layer.energy > 0) {
      // Sampling fluctuations: a gamma distribution of this mean and of variance c^2 E (GeV).
      const double unit = medium.resolution * medium.resolution * 1000;
      Stream own(seed, shower, 2 * i + 1);
      layer.energy = unit * own.gamma(layer.energy / unit);
      if (layer.energy <= least_share * energy) layer.energy = 0;
    }
    const Radial r = radial(medium, energy, tau_scale * 0.5 * (depth(layer.near) + depth(layer.far)));
    layer.core = r.core * medium.moliere_radius;
    layer.tail = r.tail * medium.moliere_radius;
    layer.weight = r.weight;
    const double spots = std::floor(p.spots * std::max(spots_above - spots_below, 0.) + 0.5);
    layer.spots = layer.energy > 0 ? static_cast<std::uint64_t>(std::clamp(spots, 1., static_cast<double>(most_spots))) : 0;
    below = above;
    spots_below = spots_above;
  }
}

// One spot: where it lies from the shower's axis, how far around (in turns, from -x on) and how deep.
struct Spot {
  double x, y, z, radius, turn;
};

// Everything but sums, products, quotients and roots is kept out, so that every target and every compiler agree on each bit.
inline Spot place(const Layer& layer, const Stream& stream, std::uint64_t index) {
  const std::uint64_t first = stream.bits(2 * index), second = stream.bits(2 * index + 1);
  const auto low = [](std::uint64_t bits) { return (static_cast<double>(static_cast<std::int32_t>(bits & 0x7FFFFFFFU)) + 0.5) * 0x1p-31; };
  const auto high = [](std::uint64_t bits) { return (static_cast<double>(static_cast<std::int32_t>(bits >> 33)) + 0.5) * 0x1p-31; };
  const double choice = low(first), where = high(first), turn = low(second), along = high(second);
  // The radii of f(r) below which a share `where` lies
  const double radius = (choice < layer.weight ? layer.core : layer.tail) * std::sqrt(where / (1 - where));
  // cos and sin of the turn, from its nearest quarter; no branches, so that loops become vectors
  const std::int32_t quarters = static_cast<std::int32_t>(turn * 4 + 0.5);
  const double a = (turn - quarters * 0.25) * 6.283185307179586, s = a * a;
  const double sine = a * (1 + s * (-1. / 6 + s * (1. / 120 + s * (-1. / 5040 + s * (1. / 362880 + s * (-1. / 39916800 + s * (1. / 6227020800.)))))));
  const double cosine =
      1 + s * (-0.5 + s * (1. / 24 + s * (-1. / 720 + s * (1. / 40320 + s * (-1. / 3628800 + s * (1. / 479001600 + s * (-1. / 87178291200.)))))));
  const double odd = quarters & 1, x = 1 - ((quarters + 1) & 2), y = 1 - (quarters & 2);
  const double between = odd * (sine - cosine);
  return {-radius * x * (cosine + between), -radius * y * (sine - between), layer.near + (layer.far - layer.near) * along, radius, turn};
}

// The stream that a layer's spots are placed by.
inline Stream spots_of(std::uint64_t seed, std::uint64_t shower, std::size_t layer) { return {seed, shower, 2 * layer + 2}; }

}  // namespace gflash
}  // namespace kernels
