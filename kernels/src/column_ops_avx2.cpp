#define KERNELS_TARGET columns_avx2
#include "column_ops_target.hpp"

namespace kernels {
extern const ColumnOps column_ops_avx2;
const ColumnOps column_ops_avx2 = columns_avx2::ops_named("avx2");
}  // namespace kernels
