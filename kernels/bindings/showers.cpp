#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../src/gflash.hpp"

namespace nb = nanobind;

namespace {

using Numbers = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Voxels = nb::ndarray<nb::numpy, float, nb::ndim<4>>;

void check_edges(const Numbers& edges, const char* what) {
  if (edges.shape(0) < 2) throw nb::value_error((std::string(what) + " are fewer than two").c_str());
  for (std::size_t i = 0; i < edges.shape(0); ++i) {
    if (!std::isfinite(edges.data()[i]) || edges.data()[i] < 0 || (i > 0 && edges.data()[i] <= edges.data()[i - 1])) {
      throw nb::value_error((std::string(what) + " do not ascend from 0 or more").c_str());
    }
  }
}

void check_positive(double value, const char* what) {
  if (!(value > 0) || !std::isfinite(value)) throw nb::value_error((std::string(what) + " is not positive").c_str());
}

// A shower model with its medium; showers are numbered, and a number's shower is the same however many are asked for at once.
class GFlash {
 public:
  GFlash(double z, double radiation_length, double moliere_radius, double critical_energy, double frequency, double e_over_mip,
         double resolution)
      : medium_{z, radiation_length, moliere_radius, critical_energy, frequency > 0, frequency, e_over_mip, resolution} {
    if (!(z > 1)) throw nb::value_error("z is not above 1");
    check_positive(radiation_length, "radiation_length");
    check_positive(moliere_radius, "moliere_radius");
    check_positive(critical_energy, "critical_energy");
    if (medium_.sampling) {
      check_positive(e_over_mip, "e_over_mip");
      check_positive(resolution, "resolution");
    }
  }

  auto spots(const Numbers& energies, const Numbers& starts, const Numbers& depths, std::uint64_t seed, std::uint64_t first,
             bool fluctuate, const std::string& target) const {
    const kernels::GFlashRun run = checked(energies, starts, depths, seed, first, fluctuate);
    const kernels::GFlashOps& ops = kernels::gflash_ops(target.c_str());
    auto points = std::make_unique<std::vector<float>>();
    auto offsets = std::make_unique<std::vector<std::int64_t>>();
    {
      const nb::gil_scoped_release release;
      kernels::gflash_spots(run, ops, *points, *offsets);
    }
    const auto owned = [](auto data) {
      auto* const held = data.release();
      using Held = std::remove_pointer_t<decltype(held)>;
      return std::make_pair(held, nb::capsule(held, [](void* p) noexcept { delete static_cast<Held*>(p); }));
    };
    const auto [p, keep_points] = owned(std::move(points));
    const auto [o, keep_offsets] = owned(std::move(offsets));
    return std::make_pair(nb::ndarray<nb::numpy, float, nb::ndim<2>>(p->data(), {p->size() / 4, 4}, keep_points),
                          nb::ndarray<nb::numpy, std::int64_t, nb::ndim<1>>(o->data(), {o->size()}, keep_offsets));
  }

  Voxels voxels(const Numbers& energies, const Numbers& starts, const Numbers& depths, const Numbers& radii, std::size_t angles,
                std::uint64_t seed, std::uint64_t first, bool fluctuate, const std::string& target) const {
    const kernels::GFlashRun run = checked(energies, starts, depths, seed, first, fluctuate);
    check_edges(radii, "radii");
    if (angles == 0) throw nb::value_error("there are no angles");
    const kernels::GFlashOps& ops = kernels::gflash_ops(target.c_str());
    const std::size_t rings = radii.shape(0) - 1;
    float* const data = new float[run.showers * run.layers * angles * rings]();
    const nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<float*>(p); });
    {
      const nb::gil_scoped_release release;
      kernels::gflash_voxels(run, ops, radii.data(), rings, angles, data);
    }
    return {data, {run.showers, run.layers, angles, rings}, owner};
  }

 private:
  kernels::GFlashRun checked(const Numbers& energies, const Numbers& starts, const Numbers& depths, std::uint64_t seed,
                             std::uint64_t first, bool fluctuate) const {
    check_edges(depths, "depths");
    if (starts.shape(0) != energies.shape(0)) throw nb::value_error("there are not as many starts as energies");
    for (std::size_t i = 0; i < energies.shape(0); ++i) {
      check_positive(energies.data()[i], "an energy");
      if (!std::isfinite(starts.data()[i])) throw nb::value_error("a start is not finite");
    }
    return {medium_, energies.data(), starts.data(), energies.shape(0), depths.data(), depths.shape(0) - 1, seed, first, fluctuate};
  }

  kernels::GFlashMedium medium_;
};

}  // namespace

void bind_showers(nb::module_& module) {
  nb::class_<GFlash>(module, "GFlash", "Electromagnetic showers by Grindhammer and Peters, hep-ex/0001020.")
      .def(nb::init<double, double, double, double, double, double, double>(), nb::kw_only(), nb::arg("z"), nb::arg("radiation_length"),
           nb::arg("moliere_radius"), nb::arg("critical_energy"), nb::arg("frequency") = 0., nb::arg("e_over_mip") = 1.,
           nb::arg("resolution") = 0.)
      .def("spots", &GFlash::spots, nb::arg("energies"), nb::arg("starts"), nb::arg("depths"), nb::kw_only(), nb::arg("seed"),
           nb::arg("first") = 0, nb::arg("fluctuate") = true, nb::arg("target") = "")
      .def("voxels", &GFlash::voxels, nb::arg("energies"), nb::arg("starts"), nb::arg("depths"), nb::arg("radii"), nb::arg("angles"),
           nb::kw_only(), nb::arg("seed"), nb::arg("first") = 0, nb::arg("fluctuate") = true, nb::arg("target") = "");
}
