#define KERNELS_TARGET network_avx512
#include "network_ops_target.hpp"

namespace kernels {
extern const NetworkOps network_ops_avx512;
const NetworkOps network_ops_avx512 = network_avx512::ops_named("avx512");
}  // namespace kernels
