#define KERNELS_TARGET gflash_avx512
#include "gflash_target.hpp"

namespace kernels {
extern const GFlashOps gflash_ops_avx512;
const GFlashOps gflash_ops_avx512{"avx512", gflash_avx512::place_block};
}  // namespace kernels
