#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>

#include <memory>
#include <string>

#include "kernels/forest.hpp"

namespace nb = nanobind;

namespace {

using kernels::Forest;
using kernels::ForestTables;
using kernels::Precision;
using kernels::Rows;

template <class T>
using Array = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Matrix = nb::ndarray<const T, nb::ndim<2>, nb::device::cpu>;

template <class T>
kernels::View<T> view(const Array<T>& array) {
  return {array.data(), array.size()};
}

Precision precision(const std::string& name) {
  if (name == "float32") return Precision::single_precision;
  if (name == "float64") return Precision::double_precision;
  throw nb::value_error("the precision must be 'float32' or 'float64'");
}

template <class X>
Rows<X> rows(const Forest& forest, const Matrix<X>& x) {
  if (x.shape(1) != forest.n_features()) {
    const std::string message =
        "X has " + std::to_string(x.shape(1)) + " columns, the forest needs " + std::to_string(forest.n_features());
    throw nb::value_error(message.c_str());
  }
  return {x.data(), x.shape(0), x.stride(0), x.stride(1)};
}

template <class T>
nb::object owned(std::unique_ptr<T[]> data, std::size_t n_rows, std::size_t n_columns) {
  T* raw = data.release();
  const nb::capsule owner(raw, [](void* p) noexcept { delete[] static_cast<T*>(p); });
  return nb::cast(nb::ndarray<nb::numpy, T, nb::ndim<2>>(raw, {n_rows, n_columns}, owner));
}

template <class S, class X>
nb::object margin_as(const Forest& forest, const Rows<X>& x, std::size_t threads) {
  std::unique_ptr<S[]> out(new S[x.n_rows * forest.n_outputs()]);
  {
    const nb::gil_scoped_release release;
    forest.margin(x, out.get(), threads);
  }
  return owned(std::move(out), x.n_rows, forest.n_outputs());
}

template <class X>
nb::object margin(const Forest& forest, const Matrix<X>& x, std::size_t threads) {
  const Rows<X> input = rows(forest, x);
  if (forest.sum_precision() == Precision::double_precision) return margin_as<double>(forest, input, threads);
  return margin_as<float>(forest, input, threads);
}

template <class X>
nb::object leaves(const Forest& forest, const Matrix<X>& x, std::size_t threads) {
  const Rows<X> input = rows(forest, x);
  std::unique_ptr<std::int32_t[]> out(new std::int32_t[input.n_rows * forest.n_trees()]);
  {
    const nb::gil_scoped_release release;
    forest.leaves(input, out.get(), threads);
  }
  return owned(std::move(out), input.n_rows, forest.n_trees());
}

}  // namespace

void bind_forest(nb::module_& module) {
  nb::class_<Forest>(module, "ScalarForest", "A forest of decision trees, evaluated one node at a time.")
      .def_static(
          "build",
          [](std::size_t n_features, std::size_t n_outputs, const std::string& threshold_dtype,
             const std::string& sum_dtype, double zero_threshold, const Array<std::int64_t>& tree_start,
             const Array<std::int32_t>& tree_output, const Array<std::int32_t>& feature, const Array<double>& threshold,
             const Array<std::int32_t>& left, const Array<std::int32_t>& right, const Array<std::uint8_t>& comparison,
             const Array<std::uint8_t>& missing, const Array<std::uint8_t>& default_left, const Array<double>& value,
             const Array<std::int64_t>& category_start, const Array<std::uint32_t>& category_words,
             const Array<double>& base) {
            ForestTables tables;
            tables.n_features = n_features;
            tables.n_outputs = n_outputs;
            tables.threshold_precision = precision(threshold_dtype);
            tables.sum_precision = precision(sum_dtype);
            tables.zero_threshold = zero_threshold;
            tables.tree_start = view(tree_start);
            tables.tree_output = view(tree_output);
            tables.feature = view(feature);
            tables.threshold = view(threshold);
            tables.left = view(left);
            tables.right = view(right);
            tables.comparison = view(comparison);
            tables.missing = view(missing);
            tables.default_left = view(default_left);
            tables.value = view(value);
            tables.category_start = view(category_start);
            tables.category_words = view(category_words);
            tables.base = view(base);
            return Forest::build(tables);
          },
          nb::kw_only(), nb::arg("n_features"), nb::arg("n_outputs"), nb::arg("threshold_dtype"), nb::arg("sum_dtype"),
          nb::arg("zero_threshold"), nb::arg("tree_start"), nb::arg("tree_output"), nb::arg("feature"),
          nb::arg("threshold"), nb::arg("left"), nb::arg("right"), nb::arg("comparison"), nb::arg("missing"),
          nb::arg("default_left"), nb::arg("value"), nb::arg("category_start"), nb::arg("category_words"),
          nb::arg("base"), "Build a predictor from the arrays of `kernels.ForestTables`.")
      .def("margin", &margin<float>, nb::arg("x").noconvert(), nb::kw_only(), nb::arg("threads") = 1,
           "Sums of the leaves' values, shape (n_rows, n_outputs).")
      .def("margin", &margin<double>, nb::arg("x").noconvert(), nb::kw_only(), nb::arg("threads") = 1)
      .def("leaves", &leaves<float>, nb::arg("x").noconvert(), nb::kw_only(), nb::arg("threads") = 1,
           "Number of the leaf within each tree, shape (n_rows, n_trees).")
      .def("leaves", &leaves<double>, nb::arg("x").noconvert(), nb::kw_only(), nb::arg("threads") = 1)
      .def_prop_ro("n_features", &Forest::n_features)
      .def_prop_ro("n_outputs", &Forest::n_outputs)
      .def_prop_ro("n_trees", &Forest::n_trees);
}
