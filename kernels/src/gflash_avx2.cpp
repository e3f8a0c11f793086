#define KERNELS_TARGET gflash_avx2
#include "gflash_target.hpp"

namespace kernels {
extern const GFlashOps gflash_ops_avx2;
const GFlashOps gflash_ops_avx2{"avx2", gflash_avx2::place_block};
}  // namespace kernels
