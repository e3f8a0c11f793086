// Showers of `kernels/showers/gflash.hpp`, their spots placed by code that is compiled once for each target.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace kernels {

constexpr std::size_t spot_block = 256;

// Some spots of a layer, as arrays.
struct SpotBlock {
  double x[spot_block], y[spot_block], z[spot_block], radius[spot_block], turn[spot_block];
};

// What `place` needs of a layer.
struct SpotLayer {
  double near, far, core, tail, weight;
  std::uint64_t seed, shower, layer;
};

struct GFlashOps {
  const char* target;
  // Spots `first` to `first + spot_block` of a layer.
  void (*place)(const SpotLayer& layer, std::uint64_t first, SpotBlock& block);
};

// Those of a target that this CPU can run, "" for the active one; std::invalid_argument where there is none.
const GFlashOps& gflash_ops(const char* target);

struct GFlashMedium {
  double z, radiation_length, moliere_radius, critical_energy;
  bool sampling;
  double frequency, e_over_mip, resolution;
};

struct GFlashRun {
  GFlashMedium medium;
  const double* energies;  // MeV
  const double* starts;    // mm
  std::size_t showers;
  const double* depths;  // edges of the layers, mm
  std::size_t layers;
  std::uint64_t seed, first;  // number of the first shower
  bool fluctuate;
};

// Spots as x, y, z (mm) and energy (MeV), appended; `offsets` gets where each shower begins, and the end.
void gflash_spots(const GFlashRun& run, const GFlashOps& ops, std::vector<float>& spots, std::vector<std::int64_t>& offsets);

// Energies by layer, angle from -pi on, and radius: shape (showers, layers, angles, radii), zeroed by the caller. What lies
// within the first radius or beyond the last is left out.
void gflash_voxels(const GFlashRun& run, const GFlashOps& ops, const double* radii, std::size_t rings, std::size_t angles, float* voxels);

}  // namespace kernels
