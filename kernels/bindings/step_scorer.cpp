#include "../src/step_scorer.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstdint>

namespace nb = nanobind;

void bind_step_scorer(nb::module_& module) {
  using Scorer = kernels::StepScorer;
  nb::class_<Scorer>(module, "StepScorer", "Energy of a simulation's steps in voxels around an axis; see kernels/_native.pyi.")
      .def(nb::init<std::vector<double>, std::size_t, std::vector<double>>(), nb::arg("depths"), nb::arg("angles"), nb::arg("radii"))
      .def("attach", [](Scorer& self, std::uintptr_t detector, std::size_t slot) { self.attach(reinterpret_cast<void*>(detector), slot); },
           nb::arg("detector"), nb::arg("slot"))
      .def("detach", &Scorer::detach)
      .def("set_axes", &Scorer::set_axes, nb::arg("axes"))
      .def("clear", &Scorer::clear)
      .def("add", &Scorer::add, nb::arg("energy"), nb::arg("x"), nb::arg("y"), nb::arg("z"))
      .def("energies",
           [](const Scorer& self) {
             double* const copy = new double[self.energies().size()];
             std::copy(self.energies().begin(), self.energies().end(), copy);
             return nb::ndarray<nb::numpy, double, nb::ndim<1>>(
                 copy, {self.energies().size()}, nb::capsule(copy, [](void* p) noexcept { delete[] static_cast<double*>(p); }));
           })
      .def_prop_ro("outside", &Scorer::outside)
      .def_prop_ro("steps", &Scorer::steps);
}
