// The machine code of lleaves. Argument: the compiled library.
#include "contender.hpp"

namespace {

class Lleaves {
 public:
  explicit Lleaves(const Arguments& arguments)
      : library_(arguments[0]), width_(arguments.n_features), outputs_(arguments.n_outputs) {
    root_ = library_.symbol<Root>("forest_root");
    rows_.resize(chunk * width_);
  }

  // It takes doubles only. Chunks of rows keep the converted ones in the cache, which is faster than all at once.
  void predict(const float* rows, std::size_t n_rows, char* out) {
    double* scores = reinterpret_cast<double*>(out);
    for (std::size_t i = 0; i < n_rows; i += chunk) {
      const std::size_t n = n_rows - i < chunk ? n_rows - i : chunk;
      for (std::size_t k = 0; k < n * width_; ++k) rows_[k] = rows[i * width_ + k];
      root_(rows_.data(), scores + i * outputs_, 0, static_cast<int>(n));
    }
  }

 private:
  using Root = void(double*, double*, int, int);
  static constexpr std::size_t chunk = 4096;

  Library library_;
  std::size_t width_, outputs_;
  Root* root_;
  std::vector<double> rows_;
};

}  // namespace

CONTENDER(Lleaves)
