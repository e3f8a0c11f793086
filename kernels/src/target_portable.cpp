#define KERNELS_TARGET portable
#include "ops_words.hpp"

namespace kernels {
namespace portable {
using WidePlanes = WordPlanes;
using NarrowPlanes = WordPlanes;
}  // namespace portable
}  // namespace kernels

#include "run.hpp"

namespace kernels {
extern const Engine engine_portable;
const Engine engine_portable = portable::engine_named("portable");
}  // namespace kernels
