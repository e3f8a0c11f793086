#include "gflash.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "dispatch.hpp"
#include "kernels/showers/gflash.hpp"

namespace kernels {

extern const GFlashOps gflash_ops_portable;
#ifdef KERNELS_X86
extern const GFlashOps gflash_ops_avx2;
extern const GFlashOps gflash_ops_avx512;
#endif

const GFlashOps& gflash_ops(const char* target) {
  static const GFlashOps* const all[] = {
#ifdef KERNELS_X86
      &gflash_ops_avx512, &gflash_ops_avx2,
#endif
      &gflash_ops_portable};
  const char* const wanted = *target == '\0' ? active_engine().target : target;
  for (const Engine* engine : engines()) {
    if (std::strcmp(engine->target, wanted) != 0) continue;
    for (const GFlashOps* ops : all) {
      if (std::strcmp(ops->target, wanted) == 0) return *ops;
    }
  }
  throw std::invalid_argument("this CPU cannot run the target '" + std::string(target) + "'");
}

namespace {

// Calls begin(layers) for each shower, and use(shower, layer, count, energy of a spot, block) for its spots.
template <class Begin, class Use>
void run_showers(const GFlashRun& run, const GFlashOps& ops, const Begin& begin, const Use& use) {
  const GFlashMedium& m = run.medium;
  const gflash::Medium medium{m.z,        m.radiation_length, m.moliere_radius, m.critical_energy,
                              m.sampling, m.frequency,        m.e_over_mip,     m.resolution};
  std::vector<gflash::Layer> layers;
  SpotBlock block;
  for (std::size_t s = 0; s < run.showers; ++s) {
    const std::uint64_t shower = run.first + s;
    gflash::layers(medium, run.energies[s], run.starts[s], run.depths, run.layers, run.seed, shower, run.fluctuate, layers);
    begin(layers);
    for (std::size_t l = 0; l < run.layers; ++l) {
      const gflash::Layer& layer = layers[l];
      const SpotLayer given{layer.near, layer.far, layer.core, layer.tail, layer.weight, run.seed, shower, l};
      for (std::uint64_t first = 0; first < layer.spots; first += spot_block) {
        ops.place(given, first, block);
        const std::size_t count = std::min<std::uint64_t>(spot_block, layer.spots - first);
        use(s, l, count, layer.energy / static_cast<double>(layer.spots), block);
      }
    }
  }
}

}  // namespace

void gflash_spots(const GFlashRun& run, const GFlashOps& ops, std::vector<float>& spots, std::vector<std::int64_t>& offsets) {
  std::int64_t total = 0;
  offsets.assign(1, 0);
  run_showers(
      run, ops,
      [&](const std::vector<gflash::Layer>& layers) {
        for (const gflash::Layer& layer : layers) total += static_cast<std::int64_t>(layer.spots);
        offsets.push_back(total);
        if (spots.capacity() < 4 * static_cast<std::size_t>(total)) spots.reserve(std::max(4 * static_cast<std::size_t>(total), 2 * spots.size()));
      },
      [&](std::size_t, std::size_t, std::size_t count, double energy, const SpotBlock& block) {
        const std::size_t at = spots.size();
        spots.resize(at + 4 * count);
        float* to = spots.data() + at;
        for (std::size_t i = 0; i < count; ++i, to += 4) {
          to[0] = static_cast<float>(block.x[i]);
          to[1] = static_cast<float>(block.y[i]);
          to[2] = static_cast<float>(block.z[i]);
          to[3] = static_cast<float>(energy);
        }
      });
}

void gflash_voxels(const GFlashRun& run, const GFlashOps& ops, const double* radii, std::size_t rings, std::size_t angles, float* voxels) {
  run_showers(
      run, ops, [](const std::vector<gflash::Layer>&) {},
      [&](std::size_t shower, std::size_t layer, std::size_t count, double energy, const SpotBlock& block) {
        float* const to = voxels + (shower * run.layers + layer) * angles * rings;
        for (std::size_t i = 0; i < count; ++i) {
          std::size_t ring = 0;  // of the edges, how many are not above the radius
          for (std::size_t r = 0; r <= rings; ++r) ring += radii[r] <= block.radius[i];
          if (ring == 0 || ring > rings) continue;
          const std::size_t angle = std::min(static_cast<std::size_t>(block.turn[i] * static_cast<double>(angles)), angles - 1);
          to[angle * rings + ring - 1] += static_cast<float>(energy);
        }
      });
}

}  // namespace kernels
