#define KERNELS_TARGET avx512
#include "ops_avx512.hpp"
#include "run.hpp"

namespace kernels {
extern const Engine engine_avx512;
const Engine engine_avx512 = avx512::engine_named("avx512");
}  // namespace kernels
