#define KERNELS_TARGET columns_avx512
#include "column_ops_target.hpp"

namespace kernels {
extern const ColumnOps column_ops_avx512;
const ColumnOps column_ops_avx512 = columns_avx512::ops_named("avx512");
}  // namespace kernels
