// This project's forest through the kernels' C API: margins. Arguments: the C library, a forest in the own format.
#include "contender.hpp"
#include "kernels/forest.h"

namespace {

class Ours {
 public:
  explicit Ours(const Arguments& arguments) : library_(arguments[0]), width_(static_cast<std::ptrdiff_t>(arguments.n_features)) {
    error_ = library_.symbol<decltype(ml4ep_forest_error)>("ml4ep_forest_error");
    single_ = library_.symbol<decltype(ml4ep_forest_margin_one_f32)>("ml4ep_forest_margin_one_f32");
    batch_ = library_.symbol<decltype(ml4ep_forest_margin_f32)>("ml4ep_forest_margin_f32");
    forest_ = library_.symbol<decltype(ml4ep_forest_open)>("ml4ep_forest_open")(arguments[1].c_str());
    if (forest_ == nullptr) throw std::runtime_error(error_());
    const int is_double = library_.symbol<decltype(ml4ep_forest_is_double)>("ml4ep_forest_is_double")(forest_);
    if ((is_double != 0) != (arguments.item == sizeof(double))) throw std::runtime_error("margins of another precision");
  }

  void predict(const float* rows, std::size_t n_rows, char* out) {
    if (n_rows == 1) {
      single_(forest_, rows, out);
    } else if (batch_(forest_, rows, n_rows, width_, 1, out, 1) != 0) {
      throw std::runtime_error(error_());
    }
  }

 private:
  Library library_;
  std::ptrdiff_t width_;
  decltype(&ml4ep_forest_error) error_;
  decltype(&ml4ep_forest_margin_one_f32) single_;
  decltype(&ml4ep_forest_margin_f32) batch_;
  ml4ep_forest* forest_ = nullptr;
};

}  // namespace

CONTENDER(Ours)
