#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <cstring>
#include <memory>
#include <string>

#include "../src/network_ops.hpp"

namespace nb = nanobind;

namespace {

using Vector = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Matrix = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Result = nb::ndarray<nb::numpy, float, nb::c_contig>;

// A new array of one or two dimensions, and its elements.
float* made(std::size_t rank, const std::size_t* shape, Result& result) {
  std::size_t count = 1;
  for (std::size_t i = 0; i < rank; ++i) count *= shape[i];
  float* const data = new float[count + 16];  // kernels read whole vectors, and may write them
  result = Result(data, rank, shape, nb::capsule(data, [](void* p) noexcept { delete[] static_cast<float*>(p); }));
  return data;
}

// Weights of a product, packed for whatever target.
class Packed {
 public:
  explicit Packed(const Matrix& weights)
      : k_(static_cast<std::int64_t>(weights.shape(0))), n_(static_cast<std::int64_t>(weights.shape(1))) {
    const kernels::NetworkOps& ops = kernels::network_ops("portable");
    data_ = std::make_unique<float[]>(static_cast<std::size_t>(ops.packed_size(k_, n_)) + 16);
    ops.pack(weights.data(), k_, n_, data_.get());
  }

  Result product(const Matrix& a, const nb::object& bias, const std::string& target) const {
    const kernels::NetworkOps& ops = kernels::network_ops(target.c_str());
    if (static_cast<std::int64_t>(a.shape(1)) != k_) {
      throw nb::value_error(("a has " + std::to_string(a.shape(1)) + " columns, the weights have " + std::to_string(k_) + " rows").c_str());
    }
    const float* added = nullptr;
    Vector held;
    if (!bias.is_none()) {
      held = nb::cast<Vector>(bias);
      if (static_cast<std::int64_t>(held.shape(0)) != n_) throw nb::value_error("the bias needs a number for each column of the weights");
      added = held.data();
    }
    const std::size_t shape[] = {a.shape(0), static_cast<std::size_t>(n_)};
    Result result;
    float* const c = made(2, shape, result);
    {
      const nb::gil_scoped_release release;
      ops.product(static_cast<std::int64_t>(a.shape(0)), n_, k_, a.data(), data_.get(), added, c);
    }
    return result;
  }

 private:
  std::int64_t k_, n_;
  std::unique_ptr<float[]> data_;
};

Result map(const std::string& name, const Vector& x, const std::string& target) {
  int function = 0;
  while (kernels::network_functions[function] != nullptr && name != kernels::network_functions[function]) ++function;
  if (kernels::network_functions[function] == nullptr) throw nb::value_error(("there is no function '" + name + "'").c_str());
  const std::size_t shape[] = {x.shape(0)};
  Result result;
  float* const y = made(1, shape, result);
  kernels::network_ops(target.c_str()).map(function, static_cast<std::int64_t>(x.shape(0)), x.data(), y);
  return result;
}

Result softmax(const Matrix& x, const std::string& target) {
  const std::size_t shape[] = {x.shape(0), x.shape(1)};
  Result result;
  float* const y = made(2, shape, result);
  kernels::network_ops(target.c_str()).softmax(static_cast<std::int64_t>(shape[0]), static_cast<std::int64_t>(shape[1]), x.data(), y);
  return result;
}

Result layer_normalize(const Matrix& x, const Vector& scale, const Vector& bias, float epsilon, const std::string& target) {
  const std::size_t shape[] = {x.shape(0), x.shape(1)};
  if (scale.shape(0) != shape[1] || bias.shape(0) != shape[1]) throw nb::value_error("scale and bias need a number for each column");
  Result result;
  float* const y = made(2, shape, result);
  kernels::network_ops(target.c_str())
      .layer_normalize(static_cast<std::int64_t>(shape[0]), static_cast<std::int64_t>(shape[1]), x.data(), scale.data(), bias.data(), epsilon, y);
  return result;
}

}  // namespace

void bind_networks(nb::module_& module) {
  nb::class_<Packed>(module, "PackedMatrix", "Weights of matrix products, float32, shape (k, n), packed once.")
      .def(nb::init<const Matrix&>(), nb::arg("weights"))
      .def("product", &Packed::product, nb::arg("a"), nb::arg("bias") = nb::none(), nb::arg("target") = "",
           "a @ weights + bias: float32, shape (m, n).");
  module.def("map_float32", &map, nb::arg("function"), nb::arg("x"), nb::arg("target") = "",
             "An elementary function of each element: exp, log, tanh, erf, sigmoid, gelu, gelu_tanh, expm1, softplus.");
  module.def("softmax", &softmax, nb::arg("x"), nb::arg("target") = "", "Of each row: float32, shape (rows, n).");
  module.def("layer_normalize", &layer_normalize, nb::arg("x"), nb::arg("scale"), nb::arg("bias"), nb::arg("epsilon") = 1e-5F,
             nb::arg("target") = "", "Of each row: float32, shape (rows, n).");
}
