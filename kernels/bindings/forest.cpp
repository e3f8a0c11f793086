#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

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
kernels::View<T> view(const Array<T>& array) {
  return {array.data(), array.size()};
}

Precision precision(const std::string& name) {
  if (name == "float32") return Precision::single_precision;
  if (name == "float64") return Precision::double_precision;
  throw nb::value_error("the precision must be 'float32' or 'float64'");
}

// A borrowed buffer of Python's, given back at the end.
class Buffer {
 public:
  Buffer(nb::handle object, int flags) {
    if (PyObject_GetBuffer(object.ptr(), &view_, flags) != 0) nb::raise_python_error();
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { PyBuffer_Release(&view_); }
  const Py_buffer& operator*() const { return view_; }
  const Py_buffer* operator->() const { return &view_; }
  bool holds(char kind) const { return view_.format != nullptr && view_.format[0] == kind && view_.format[1] == '\0'; }

 private:
  Py_buffer view_{};
};

// Two dimensions of single or double precision with as many columns as the forest has features. The buffer protocol and not
// nanobind's arrays: a call for one row must cost next to nothing.
class Input {
 public:
  Input(const Forest& forest, nb::handle object) : buffer_(object, PyBUF_STRIDES | PyBUF_FORMAT) {
    if (!buffer_.holds('f') && !buffer_.holds('d')) throw nb::type_error("X must hold float32 or float64");
    if (buffer_->ndim != 2) throw nb::type_error("X must have two dimensions");
    if (static_cast<std::size_t>(buffer_->shape[1]) != forest.n_features()) {
      const std::string message = "X has " + std::to_string(buffer_->shape[1]) + " columns, the forest needs " +
                                  std::to_string(forest.n_features());
      throw nb::value_error(message.c_str());
    }
    for (int i = 0; i < 2; ++i) {
      if (buffer_->strides[i] % buffer_->itemsize != 0) throw nb::type_error("X must have strides of whole numbers");
    }
  }

  std::size_t n_rows() const { return static_cast<std::size_t>(buffer_->shape[0]); }

  template <class Call>
  void visit(const Call& call) const {
    if (buffer_.holds('f')) {
      call(rows<float>());
    } else {
      call(rows<double>());
    }
  }

 private:
  template <class X>
  Rows<X> rows() const {
    const auto size = static_cast<Py_ssize_t>(sizeof(X));
    return {static_cast<const X*>(buffer_->buf), n_rows(), buffer_->strides[0] / size, buffer_->strides[1] / size};
  }

  Buffer buffer_;
};

// A new array, (n_rows,) where there is one column and (n_rows, n_columns) else.
nb::object empty(std::size_t n_rows, std::size_t n_columns, const char* dtype) {
  static const nb::object* const make = new nb::object(nb::module_::import_("numpy").attr("empty"));
  return n_columns == 1 ? (*make)(n_rows, nb::str(dtype)) : (*make)(nb::make_tuple(n_rows, n_columns), nb::str(dtype));
}

void check_out(const Buffer& buffer, std::size_t n_rows, std::size_t n_columns, char kind) {
  const bool one = n_columns == 1;
  if (!buffer.holds(kind)) throw nb::type_error("out must hold the sums' type");
  if (buffer->ndim != (one ? 1 : 2) || static_cast<std::size_t>(buffer->shape[0]) != n_rows ||
      (!one && static_cast<std::size_t>(buffer->shape[1]) != n_columns)) {
    throw nb::value_error("out must have the shape of the result");
  }
}

nb::object run(const Forest& forest, nb::handle x, nb::object out, std::size_t threads, bool link) {
  const Input input(forest, x);
  const bool is_double = forest.sum_precision() == Precision::double_precision;
  const std::size_t n_columns = link ? forest.n_predictions() : forest.n_outputs();
  if (out.is_none()) out = empty(input.n_rows(), n_columns, is_double ? "float64" : "float32");
  const Buffer buffer(out, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | PyBUF_WRITABLE);
  check_out(buffer, input.n_rows(), n_columns, is_double ? 'd' : 'f');
  const auto call = [&](const auto& rows) {
    if (link) {
      forest.predict(rows, buffer->buf, threads);
    } else {
      forest.margin(rows, buffer->buf, threads);
    }
  };
  if (input.n_rows() <= 8) {  // over before another thread could use the lock
    input.visit(call);
  } else {
    const nb::gil_scoped_release release;
    input.visit(call);
  }
  return out;
}

nb::object margin(const Forest& forest, nb::handle x, nb::object out, std::size_t threads) {
  return run(forest, x, std::move(out), threads, false);
}
nb::object predict(const Forest& forest, nb::handle x, nb::object out, std::size_t threads) {
  return run(forest, x, std::move(out), threads, true);
}

nb::object leaves(const Forest& forest, nb::handle x, std::size_t threads) {
  const Input input(forest, x);
  static const nb::object* const make = new nb::object(nb::module_::import_("numpy").attr("empty"));
  nb::object out = (*make)(nb::make_tuple(input.n_rows(), forest.n_trees()), nb::str("int32"));
  const Buffer buffer(out, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE);
  const nb::gil_scoped_release release;
  input.visit([&](const auto& rows) { forest.leaves(rows, static_cast<std::int32_t*>(buffer->buf), threads); });
  return out;
}

// The buffer stays alive and locked as long as the forest does.
std::unique_ptr<Forest> from_plan(nb::handle plan) {
  auto buffer = std::make_shared<Buffer>(plan, PyBUF_SIMPLE);
  const auto size = static_cast<std::size_t>((*buffer)->len);
  return Forest::from_plan((*buffer)->buf, size, buffer);
}

nb::dict engines(const Forest& forest) {
  nb::dict result;
  for (const auto& [use, engine] : forest.engines()) result[nb::str(use.c_str())] = engine;
  return result;
}

}  // namespace

void bind_forest(nb::module_& module) {
  nb::class_<Forest>(module, "NativeForest", "A forest of decision trees, ready to predict on this CPU.")
      .def_static(
          "build",
          [](std::size_t n_features, std::size_t n_outputs, const std::string& threshold_dtype,
             const std::string& sum_dtype, double zero_threshold, const Array<std::int64_t>& tree_start,
             const Array<std::int32_t>& tree_output, const Array<std::int32_t>& feature, const Array<double>& threshold,
             const Array<std::int32_t>& left, const Array<std::int32_t>& right, const Array<std::uint8_t>& comparison,
             const Array<std::uint8_t>& missing, const Array<std::uint8_t>& default_left, const Array<double>& value,
             const Array<std::int64_t>& category_start, const Array<std::uint32_t>& category_words,
             const Array<double>& base, bool vector_leaves, unsigned link, double link_scale, double divisor) {
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
            tables.vector_leaves = vector_leaves;
            tables.link = static_cast<kernels::Link>(link);
            tables.link_scale = link_scale;
            tables.divisor = divisor;
            const nb::gil_scoped_release release;
            return Forest::build(tables);
          },
          nb::kw_only(), nb::arg("n_features"), nb::arg("n_outputs"), nb::arg("threshold_dtype"), nb::arg("sum_dtype"),
          nb::arg("zero_threshold"), nb::arg("tree_start"), nb::arg("tree_output"), nb::arg("feature"),
          nb::arg("threshold"), nb::arg("left"), nb::arg("right"), nb::arg("comparison"), nb::arg("missing"),
          nb::arg("default_left"), nb::arg("value"), nb::arg("category_start"), nb::arg("category_words"),
          nb::arg("base"), nb::arg("vector_leaves"), nb::arg("link"), nb::arg("link_scale"), nb::arg("divisor"),
          "Plan a forest from the arrays of `kernels.ForestTables`.")
      .def_static("from_plan", &from_plan, nb::arg("plan"),
                  "A forest that runs a plan where it lies: any buffer at an address that is a multiple of 64.")
      .def("margin", &margin, nb::arg("x"), nb::arg("out") = nb::none(), nb::arg("threads") = 1,
           "Sums of the leaves' values, shape (n_rows,) for one output, else (n_rows, n_outputs).")
      .def("predict", &predict, nb::arg("x"), nb::arg("out") = nb::none(), nb::arg("threads") = 1,
           "Predictions, shape (n_rows,) for one column, else (n_rows, n_predictions).")
      .def("leaves", &leaves, nb::arg("x"), nb::arg("threads") = 1,
           "Number of the leaf within each tree, shape (n_rows, n_trees).")
      .def(
          "plan",
          [](const Forest& forest) { return nb::bytes(reinterpret_cast<const char*>(forest.plan()), forest.plan()->size); },
          "The forest as one block of bytes, for `from_plan`.")
      .def("engines", &engines, "Which engine serves batches, few rows and single rows, and why.")
      .def_prop_ro("n_features", &Forest::n_features)
      .def_prop_ro("n_outputs", &Forest::n_outputs)
      .def_prop_ro("n_predictions", &Forest::n_predictions)
      .def_prop_ro("n_trees", &Forest::n_trees);
  module.def("active_target", &kernels::active_target,
             "The CPU target in use: the best that this CPU can run, or the one that KERNELS_FORCE_TARGET names.");
  module.def("available_targets", &kernels::available_targets, "The CPU targets that this CPU can run, the best first.");
}
