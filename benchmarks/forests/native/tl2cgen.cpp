// The C code of tl2cgen, compiled. Arguments: the compiled library, "float" or "double": the precision of its thresholds.
#include "contender.hpp"

namespace {

// A feature: a number, or -1 where it is missing.
template <class T>
union Entry {
  int missing;
  T value;
};

class Tl2cgen {
 public:
  explicit Tl2cgen(const Arguments& arguments)
      : library_(arguments[0]), width_(arguments.n_features), outputs_(arguments.n_outputs), single_(arguments[1] == "float") {
    if (single_) {
      predict_float_ = library_.symbol<void(Entry<float>*, int, float*)>("predict");
    } else {
      predict_double_ = library_.symbol<void(Entry<double>*, int, double*)>("predict");
    }
    floats_.resize(width_);
    doubles_.resize(width_);
  }

  void predict(const float* rows, std::size_t n_rows, char* out) {
    if (single_) {
      all(rows, n_rows, floats_, predict_float_, reinterpret_cast<float*>(out));
    } else {
      all(rows, n_rows, doubles_, predict_double_, reinterpret_cast<double*>(out));
    }
  }

 private:
  template <class T>
  void all(const float* rows, std::size_t n_rows, std::vector<Entry<T>>& row, void (*predict)(Entry<T>*, int, T*), T* out) const {
    for (std::size_t i = 0; i < n_rows; ++i) {
      for (std::size_t k = 0; k < width_; ++k) {
        const float value = rows[i * width_ + k];
        if (value == value) {
          row[k].value = value;
        } else {
          row[k].missing = -1;
        }
      }
      for (std::size_t k = 0; k < outputs_; ++k) out[i * outputs_ + k] = 0;
      predict(row.data(), 1, out + i * outputs_);
    }
  }

  Library library_;
  std::size_t width_, outputs_;
  bool single_;
  void (*predict_float_)(Entry<float>*, int, float*) = nullptr;
  void (*predict_double_)(Entry<double>*, int, double*) = nullptr;
  std::vector<Entry<float>> floats_;
  std::vector<Entry<double>> doubles_;
};

}  // namespace

CONTENDER(Tl2cgen)
