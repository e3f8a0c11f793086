#define KERNELS_TARGET network_portable
#include "network_ops_target.hpp"

namespace kernels {
extern const NetworkOps network_ops_portable;
const NetworkOps network_ops_portable = network_portable::ops_named("portable");
}  // namespace kernels
