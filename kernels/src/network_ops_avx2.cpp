#define KERNELS_TARGET network_avx2
#include "network_ops_target.hpp"

namespace kernels {
extern const NetworkOps network_ops_avx2;
const NetworkOps network_ops_avx2 = network_avx2::ops_named("avx2");
}  // namespace kernels
