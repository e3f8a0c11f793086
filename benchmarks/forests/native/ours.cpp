// This project's forest through the kernels' C API. Arguments: the library that has it, a forest in the own format.
#include "contender.hpp"
#include "kernels/forest.h"

namespace {

class Ours {
 public:
  explicit Ours(const Arguments& arguments) : library_(arguments[0]) {
    single_ = library_.symbol<decltype(ml4ep_forest_predict_one)>("ml4ep_forest_predict_one");
    batch_ = library_.symbol<decltype(ml4ep_forest_predict_batch)>("ml4ep_forest_predict_batch");
    forest_ = library_.symbol<decltype(ml4ep_forest_load)>("ml4ep_forest_load")(arguments[1].c_str());
    if (forest_ == nullptr) throw std::runtime_error("the forest cannot be loaded");
  }

  void predict(const float* rows, std::size_t n_rows, char* out) {
    if (n_rows == 1) {
      single_(forest_, rows, reinterpret_cast<float*>(out));
    } else {
      batch_(forest_, rows, n_rows, reinterpret_cast<float*>(out));
    }
  }

 private:
  Library library_;
  decltype(&ml4ep_forest_predict_one) single_;
  decltype(&ml4ep_forest_predict_batch) batch_;
  ml4ep_forest* forest_ = nullptr;
};

}  // namespace

CONTENDER(Ours)
