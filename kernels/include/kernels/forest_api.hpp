// C++17 face of the C interface: errors are exceptions, results are numbers of the type asked for.
//
//     const ml4ep::Forest forest("model.forest");
//     double p = forest.score(row);                         // one number, one row
//     std::vector<float> all = forest.predict<float>(x, n_rows);
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/forest.h"

namespace ml4ep {

// A saved forest. An object never changes, so any number of threads may use it at once; copies share it.
class Forest {
 public:
  // std::runtime_error says what is wrong with the file.
  explicit Forest(const std::string& path) : Forest(ml4ep_forest_open(path.c_str())) {}
  // A saved forest's bytes, which are copied.
  Forest(const void* data, std::size_t size) : Forest(ml4ep_forest_from_memory(data, size)) {}

  std::size_t n_features() const { return ml4ep_forest_n_features(get()); }
  std::size_t n_trees() const { return ml4ep_forest_n_trees(get()); }
  std::size_t n_outputs() const { return ml4ep_forest_n_outputs(get()); }
  std::size_t n_predictions() const { return ml4ep_forest_n_predictions(get()); }
  bool is_double() const { return ml4ep_forest_is_double(get()) != 0; }
  std::string target() const { return ml4ep_forest_target(get()); }

  // The prediction of one row of n_features contiguous features, if it is one number; else NaN.
  double score(const float* row) const { return ml4ep_forest_score_f32(get(), row); }
  double score(const double* row) const { return ml4ep_forest_score_f64(get(), row); }

  // n_predictions numbers of one row; R, float or double, must be the forest's precision.
  template <class R>
  void predict_one(const float* row, R* out) const {
    check_precision<R>();
    ml4ep_forest_predict_one_f32(get(), row, out);
  }
  template <class R>
  void predict_one(const double* row, R* out) const {
    check_precision<R>();
    ml4ep_forest_predict_one_f64(get(), row, out);
  }

  // Contiguous rows; (n_rows, n_predictions) numbers of the forest's precision R.
  template <class R>
  std::vector<R> predict(const float* x, std::size_t n_rows, std::size_t n_threads = 1) const {
    check_precision<R>();
    std::vector<R> out(n_rows * n_predictions());
    check(ml4ep_forest_predict_f32(get(), x, n_rows, stride(), 1, out.data(), n_threads));
    return out;
  }
  template <class R>
  std::vector<R> predict(const double* x, std::size_t n_rows, std::size_t n_threads = 1) const {
    check_precision<R>();
    std::vector<R> out(n_rows * n_predictions());
    check(ml4ep_forest_predict_f64(get(), x, n_rows, stride(), 1, out.data(), n_threads));
    return out;
  }

  // For the rest of the C interface.
  const ml4ep_forest* get() const { return forest_.get(); }

 private:
  explicit Forest(ml4ep_forest* forest) : forest_(forest, ml4ep_forest_close) {
    if (forest == nullptr) throw std::runtime_error(ml4ep_forest_error());
  }

  std::ptrdiff_t stride() const { return static_cast<std::ptrdiff_t>(n_features()); }

  template <class R>
  void check_precision() const {
    static_assert(std::is_same<R, float>::value || std::is_same<R, double>::value, "margins are floats or doubles");
    if (std::is_same<R, double>::value != is_double()) {
      throw std::invalid_argument(is_double() ? "this forest predicts doubles" : "this forest predicts floats");
    }
  }

  static void check(int result) {
    if (result != 0) throw std::runtime_error(ml4ep_forest_error());
  }

  std::shared_ptr<ml4ep_forest> forest_;
};

}  // namespace ml4ep
