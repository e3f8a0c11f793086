// The C interface: no exception leaves it.
#include "kernels/forest.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>

#include "engine.hpp"
#include "kernels/forest.hpp"
#include "planner.hpp"
#include "saved_forest.hpp"

struct ml4ep_forest {
  std::unique_ptr<kernels::Forest> forest;
};

namespace {

using kernels::Forest;
using kernels::Rows;
using kernels::SumOrder;

// No allocation that could fail while an error is being told.
thread_local char last_error[1024] = "";

void tell(const char* message) {
  std::strncpy(last_error, message, sizeof last_error - 1);
  last_error[sizeof last_error - 1] = '\0';
}

// Runs `action`; false, with the error told, where it throws.
template <class Action>
bool guarded(Action&& action) {
  try {
    action();
    return true;
  } catch (const std::bad_alloc&) {
    tell("there is not enough memory");
  } catch (const std::exception& error) {
    tell(error.what());
  } catch (...) {
    tell("an unknown error");
  }
  return false;
}

struct Descriptor {
  int number;
  ~Descriptor() {
    if (number >= 0) close(number);
  }
};

[[noreturn]] void fail(const std::string& path) { throw std::runtime_error(path + ": " + std::strerror(errno)); }

ml4ep_forest* with_plan(const unsigned char* data, std::size_t size, std::shared_ptr<void> owner) {
  auto result = std::make_unique<ml4ep_forest>();
  result->forest = Forest::from_plan(data, size, std::move(owner));
  return result.release();
}

ml4ep_forest* opened(const std::string& path) {
  const Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.number < 0) fail(path);
  struct stat status;
  if (fstat(file.number, &status) != 0) fail(path);
  if (!S_ISREG(status.st_mode)) throw std::runtime_error(path + ": this is no file");
  if (status.st_size == 0) throw std::runtime_error(path + ": the file is empty");
  const auto size = static_cast<std::size_t>(status.st_size);
  void* data = mmap(nullptr, size, PROT_READ, MAP_SHARED, file.number, 0);
  if (data == MAP_FAILED) fail(path);
  const std::shared_ptr<void> owner(data, [size](void* p) { munmap(p, size); });
  try {
    const kernels::PlanBytes plan = kernels::find_plan(static_cast<const unsigned char*>(data), size);
    return with_plan(plan.data, plan.size, owner);
  } catch (const std::invalid_argument& error) {
    throw std::runtime_error(path + ": " + error.what());
  }
}

ml4ep_forest* copied(const unsigned char* data, std::size_t size) {
  if (data == nullptr) throw std::invalid_argument("there are no bytes");
  const kernels::PlanBytes plan = kernels::find_plan(data, size);
  std::shared_ptr<unsigned char> copy(kernels::aligned_bytes(plan.size));
  std::memcpy(copy.get(), plan.data, plan.size);
  return with_plan(copy.get(), plan.size, copy);
}

template <class X, class Method, class Out>
int on_rows(const ml4ep_forest* forest, const X* x, std::size_t n_rows, std::ptrdiff_t row_stride, std::ptrdiff_t column_stride,
            Out* out, std::size_t n_threads, Method method) {
  return guarded([&] {
           if (forest == nullptr) throw std::invalid_argument("there is no forest");
           if (n_rows != 0 && (x == nullptr || out == nullptr)) throw std::invalid_argument("there are no rows, or no room for results");
           if (n_threads > 1024) throw std::invalid_argument("more than 1024 threads are asked for");
           const Rows<X> rows{x, n_rows, row_stride, column_stride};
           ((*forest->forest).*method)(rows, out, n_threads);
         })
             ? 0
             : -1;
}

template <class X>
double score(const ml4ep_forest* forest, const X* row) {
  const Forest& f = *forest->forest;
  if (f.n_predictions() != 1) return std::numeric_limits<double>::quiet_NaN();
  if (f.plan()->sum_is_double) {
    double result;
    f.predict_one(row, &result, SumOrder::lanes);
    return result;
  }
  float result;
  f.predict_one(row, &result, SumOrder::lanes);
  return static_cast<double>(result);
}

template <class X>
using Method = void (Forest::*)(const Rows<X>&, void*, std::size_t) const;
template <class X>
using LeafMethod = void (Forest::*)(const Rows<X>&, std::int32_t*, std::size_t) const;

}  // namespace

extern "C" {

int ml4ep_forest_api_version(void) { return ML4EP_FOREST_API_VERSION; }

ml4ep_forest* ml4ep_forest_open(const char* path) {
  ml4ep_forest* result = nullptr;
  guarded([&] {
    if (path == nullptr) throw std::invalid_argument("there is no path");
    result = opened(path);
  });
  return result;
}

ml4ep_forest* ml4ep_forest_from_memory(const void* data, size_t size) {
  ml4ep_forest* result = nullptr;
  guarded([&] { result = copied(static_cast<const unsigned char*>(data), size); });
  return result;
}

void ml4ep_forest_close(ml4ep_forest* forest) { delete forest; }

const char* ml4ep_forest_error(void) { return last_error; }

const char* ml4ep_forest_target(const ml4ep_forest* forest) { return forest->forest->engine().target; }
size_t ml4ep_forest_n_features(const ml4ep_forest* forest) { return forest->forest->n_features(); }
size_t ml4ep_forest_n_trees(const ml4ep_forest* forest) { return forest->forest->n_trees(); }
size_t ml4ep_forest_n_outputs(const ml4ep_forest* forest) { return forest->forest->n_outputs(); }
size_t ml4ep_forest_n_predictions(const ml4ep_forest* forest) { return forest->forest->n_predictions(); }
int ml4ep_forest_is_double(const ml4ep_forest* forest) { return forest->forest->plan()->sum_is_double != 0; }

void ml4ep_forest_predict_one_f32(const ml4ep_forest* forest, const float* row, void* out) {
  forest->forest->predict_one(row, out, SumOrder::lanes);
}
void ml4ep_forest_predict_one_f64(const ml4ep_forest* forest, const double* row, void* out) {
  forest->forest->predict_one(row, out, SumOrder::lanes);
}
void ml4ep_forest_margin_one_f32(const ml4ep_forest* forest, const float* row, void* out) {
  forest->forest->margin_one(row, out, SumOrder::lanes);
}
void ml4ep_forest_margin_one_f64(const ml4ep_forest* forest, const double* row, void* out) {
  forest->forest->margin_one(row, out, SumOrder::lanes);
}
void ml4ep_forest_predict_one_in_order_f32(const ml4ep_forest* forest, const float* row, void* out) {
  forest->forest->predict_one(row, out);
}
void ml4ep_forest_predict_one_in_order_f64(const ml4ep_forest* forest, const double* row, void* out) {
  forest->forest->predict_one(row, out);
}
void ml4ep_forest_margin_one_in_order_f32(const ml4ep_forest* forest, const float* row, void* out) {
  forest->forest->margin_one(row, out);
}
void ml4ep_forest_margin_one_in_order_f64(const ml4ep_forest* forest, const double* row, void* out) {
  forest->forest->margin_one(row, out);
}

double ml4ep_forest_score_f32(const ml4ep_forest* forest, const float* row) { return score(forest, row); }
double ml4ep_forest_score_f64(const ml4ep_forest* forest, const double* row) { return score(forest, row); }

int ml4ep_forest_predict_f32(const ml4ep_forest* forest, const float* x, size_t n_rows, ptrdiff_t row_stride, ptrdiff_t column_stride,
                             void* out, size_t n_threads) {
  return on_rows(forest, x, n_rows, row_stride, column_stride, out, n_threads, static_cast<Method<float>>(&Forest::predict));
}
int ml4ep_forest_predict_f64(const ml4ep_forest* forest, const double* x, size_t n_rows, ptrdiff_t row_stride,
                             ptrdiff_t column_stride, void* out, size_t n_threads) {
  return on_rows(forest, x, n_rows, row_stride, column_stride, out, n_threads, static_cast<Method<double>>(&Forest::predict));
}
int ml4ep_forest_margin_f32(const ml4ep_forest* forest, const float* x, size_t n_rows, ptrdiff_t row_stride, ptrdiff_t column_stride,
                            void* out, size_t n_threads) {
  return on_rows(forest, x, n_rows, row_stride, column_stride, out, n_threads, static_cast<Method<float>>(&Forest::margin));
}
int ml4ep_forest_margin_f64(const ml4ep_forest* forest, const double* x, size_t n_rows, ptrdiff_t row_stride, ptrdiff_t column_stride,
                            void* out, size_t n_threads) {
  return on_rows(forest, x, n_rows, row_stride, column_stride, out, n_threads, static_cast<Method<double>>(&Forest::margin));
}
int ml4ep_forest_leaves_f32(const ml4ep_forest* forest, const float* x, size_t n_rows, ptrdiff_t row_stride, ptrdiff_t column_stride,
                            int32_t* out, size_t n_threads) {
  return on_rows(forest, x, n_rows, row_stride, column_stride, out, n_threads, static_cast<LeafMethod<float>>(&Forest::leaves));
}
int ml4ep_forest_leaves_f64(const ml4ep_forest* forest, const double* x, size_t n_rows, ptrdiff_t row_stride,
                            ptrdiff_t column_stride, int32_t* out, size_t n_threads) {
  return on_rows(forest, x, n_rows, row_stride, column_stride, out, n_threads, static_cast<LeafMethod<double>>(&Forest::leaves));
}

}  // extern "C"
