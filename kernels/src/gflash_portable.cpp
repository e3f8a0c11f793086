#define KERNELS_TARGET gflash_portable
#include "gflash_target.hpp"

namespace kernels {
extern const GFlashOps gflash_ops_portable;
const GFlashOps gflash_ops_portable{"portable", gflash_portable::place_block};
}  // namespace kernels
