// This project's forests through the kernels' C API: predictions. Arguments: the C library, a forest in the own format, threads.
#include "contender.hpp"
#include "kernels/forest.h"

namespace {

class ForestOwn {
 public:
  explicit ForestOwn(const Arguments& arguments)
      : library_(arguments[0]), rows_(arguments.inputs.at(0)), out_(arguments.outputs.at(0)), threads_(std::stoi(arguments[2])) {
    error_ = library_.symbol<decltype(ml4ep_forest_error)>("ml4ep_forest_error");
    one_f32_ = library_.symbol<decltype(ml4ep_forest_predict_one_f32)>("ml4ep_forest_predict_one_f32");
    one_f64_ = library_.symbol<decltype(ml4ep_forest_predict_one_f64)>("ml4ep_forest_predict_one_f64");
    batch_f32_ = library_.symbol<decltype(ml4ep_forest_predict_f32)>("ml4ep_forest_predict_f32");
    batch_f64_ = library_.symbol<decltype(ml4ep_forest_predict_f64)>("ml4ep_forest_predict_f64");
    forest_ = library_.symbol<decltype(ml4ep_forest_open)>("ml4ep_forest_open")(arguments[1].c_str());
    if (forest_ == nullptr) throw std::runtime_error(error_());
    const bool is_double = library_.symbol<decltype(ml4ep_forest_is_double)>("ml4ep_forest_is_double")(forest_) != 0;
    if (rows_.rank != 2) throw std::runtime_error("rows have two axes");
    if (is_double == (out_.element == element_double)) {
      target_ = out_.data;
    } else {  // the library that the answers are held against has another precision
      other_.resize(out_.size() * (is_double ? 8 : 4));
      target_ = other_.data(), narrows_ = is_double;
    }
  }

  void infer() {
    const auto n_rows = static_cast<std::size_t>(rows_.shape[0]);
    const auto width = static_cast<std::ptrdiff_t>(rows_.shape[1]);
    const bool single = rows_.element == element_float;
    if (n_rows == 1) {
      single ? one_f32_(forest_, static_cast<const float*>(rows_.data), target_)
             : one_f64_(forest_, static_cast<const double*>(rows_.data), target_);
    } else if (single ? batch_f32_(forest_, static_cast<const float*>(rows_.data), n_rows, width, 1, target_, threads_)
                      : batch_f64_(forest_, static_cast<const double*>(rows_.data), n_rows, width, 1, target_, threads_)) {
      throw std::runtime_error(error_());
    }
    if (target_ == out_.data) return;
    for (std::size_t i = 0; i < out_.size(); ++i) {
      if (narrows_) {
        static_cast<float*>(out_.data)[i] = static_cast<float>(static_cast<const double*>(target_)[i]);
      } else {
        static_cast<double*>(out_.data)[i] = static_cast<const float*>(target_)[i];
      }
    }
  }

 private:
  Library library_;
  Tensor rows_, out_;
  int threads_;
  decltype(&ml4ep_forest_error) error_;
  decltype(&ml4ep_forest_predict_one_f32) one_f32_;
  decltype(&ml4ep_forest_predict_one_f64) one_f64_;
  decltype(&ml4ep_forest_predict_f32) batch_f32_;
  decltype(&ml4ep_forest_predict_f64) batch_f64_;
  ml4ep_forest* forest_ = nullptr;
  std::vector<char> other_;
  void* target_ = nullptr;
  bool narrows_ = false;
};

}  // namespace

CONTENDER(ForestOwn)
