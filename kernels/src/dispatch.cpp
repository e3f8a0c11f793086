#include "dispatch.hpp"

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "kernels/forest.hpp"

namespace kernels {

extern const Engine engine_portable;
#ifdef KERNELS_X86
extern const Engine engine_avx2;
extern const Engine engine_avx512;
#endif

const std::vector<const Engine*>& engines() {
  static const std::vector<const Engine*> found = [] {
    std::vector<const Engine*> list;
#ifdef KERNELS_X86
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                        __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2") &&
                        __builtin_cpu_supports("gfni");
    if (avx512) list.push_back(&engine_avx512);
    if (avx2) list.push_back(&engine_avx2);
#endif
    list.push_back(&engine_portable);
    return list;
  }();
  return found;
}

const Engine& active_engine() {
  const char* forced = std::getenv("KERNELS_FORCE_TARGET");
  if (forced == nullptr || *forced == '\0') return *engines().front();
  std::string known;
  for (const Engine* engine : engines()) {
    if (std::strcmp(engine->target, forced) == 0) return *engine;
    known += std::string(known.empty() ? "" : ", ") + engine->target;
  }
  throw std::invalid_argument("KERNELS_FORCE_TARGET is '" + std::string(forced) + "'; this CPU can run " + known);
}

std::vector<std::string> available_targets() {
  std::vector<std::string> names;
  for (const Engine* engine : engines()) names.emplace_back(engine->target);
  return names;
}

std::string active_target() { return active_engine().target; }

}  // namespace kernels
