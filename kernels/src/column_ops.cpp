#include "column_ops.hpp"

#include <cstring>
#include <stdexcept>
#include <string>

#include "dispatch.hpp"

namespace kernels {

extern const ColumnOps column_ops_portable;
#ifdef KERNELS_X86
extern const ColumnOps column_ops_avx2;
extern const ColumnOps column_ops_avx512;
#endif

const ColumnOps& column_ops(const char* target) {
  static const ColumnOps* const all[] = {
#ifdef KERNELS_X86
      &column_ops_avx512, &column_ops_avx2,
#endif
      &column_ops_portable};
  const char* const wanted = *target == '\0' ? active_engine().target : target;
  for (const Engine* engine : engines()) {
    if (std::strcmp(engine->target, wanted) != 0) continue;
    for (const ColumnOps* ops : all) {
      if (std::strcmp(ops->target, wanted) == 0) return *ops;
    }
  }
  throw std::invalid_argument("this CPU cannot run the target '" + std::string(target) + "'");
}

}  // namespace kernels
