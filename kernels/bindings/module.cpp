#include <nanobind/nanobind.h>

#include <cmath>

void bind_columns(nanobind::module_& module);
void bind_forest(nanobind::module_& module);
void bind_networks(nanobind::module_& module);
void bind_rows(nanobind::module_& module);
void bind_showers(nanobind::module_& module);
void bind_step_scorer(nanobind::module_& module);

NB_MODULE(_native, module) {
  bind_columns(module);
  bind_forest(module);
  bind_networks(module);
  bind_rows(module);
  bind_showers(module);
  bind_step_scorer(module);
  module.def(
      "log_float32", [](float x) { return std::log(x); }, nanobind::arg("x"),
      "The C library's natural logarithm in single precision.");
}
