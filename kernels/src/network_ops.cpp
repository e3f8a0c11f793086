#include "network_ops.hpp"

#include <cstring>
#include <stdexcept>
#include <string>

#include "dispatch.hpp"

namespace kernels {

extern const NetworkOps network_ops_portable;
#ifdef KERNELS_X86
extern const NetworkOps network_ops_avx2;
extern const NetworkOps network_ops_avx512;
#endif

const char* const network_functions[] = {"exp", "log", "tanh", "erf", "sigmoid", "gelu", "gelu_tanh", "expm1", "softplus", nullptr};

const NetworkOps& network_ops(const char* target) {
  static const NetworkOps* const all[] = {
#ifdef KERNELS_X86
      &network_ops_avx512, &network_ops_avx2,
#endif
      &network_ops_portable};
  const char* const wanted = *target == '\0' ? active_engine().target : target;
  for (const Engine* engine : engines()) {
    if (std::strcmp(engine->target, wanted) != 0) continue;
    for (const NetworkOps* ops : all) {
      if (std::strcmp(ops->target, wanted) == 0) return *ops;
    }
  }
  throw std::invalid_argument("this CPU cannot run the target '" + std::string(target) + "'");
}

}  // namespace kernels
