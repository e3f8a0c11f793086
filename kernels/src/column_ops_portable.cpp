#define KERNELS_TARGET columns_portable
#include "column_ops_target.hpp"

namespace kernels {
extern const ColumnOps column_ops_portable;
const ColumnOps column_ops_portable = columns_portable::ops_named("portable");
}  // namespace kernels
