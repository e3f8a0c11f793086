#define KERNELS_TARGET avx2
#include "ops_avx2.hpp"
#include "run.hpp"

namespace kernels {
extern const Engine engine_avx2;
const Engine engine_avx2 = avx2::engine_named("avx2");
}  // namespace kernels
