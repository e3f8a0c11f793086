// The placing of spots on one target: included with KERNELS_TARGET, by which its namespace is named.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#define gflash KERNELS_TARGET
#include "kernels/showers/gflash.hpp"
#undef gflash

#include "gflash.hpp"

namespace kernels {
namespace KERNELS_TARGET {

inline void place_block(const SpotLayer& given, std::uint64_t first, SpotBlock& block) {
  const Layer layer{given.near, given.far, 0, given.core, given.tail, given.weight, 0};
  const Stream stream = spots_of(given.seed, given.shower, given.layer);
  for (std::size_t i = 0; i < spot_block; ++i) {
    const Spot spot = place(layer, stream, first + i);
    block.x[i] = spot.x;
    block.y[i] = spot.y;
    block.z[i] = spot.z;
    block.radius[i] = spot.radius;
    block.turn[i] = spot.turn;
  }
}

}  // namespace KERNELS_TARGET
}  // namespace kernels
