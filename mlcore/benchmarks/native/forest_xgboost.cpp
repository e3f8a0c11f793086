// XGBoost through its C API: prediction in place. Arguments: library, model, threads, boosting rounds (0: all).
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "contender.hpp"

namespace {

class XGBoost {
 public:
  explicit XGBoost(const Arguments& arguments)
      : library_(arguments[0]), rows_(arguments.inputs.at(0)), out_(arguments.outputs.at(0)), rounds_(std::stoi(arguments[3])) {
    if (rows_.element != element_float || rows_.rank != 2 || out_.element != element_float) {
      throw std::runtime_error("rows and predictions are float32");
    }
    last_error_ = library_.symbol<const char*()>("XGBGetLastError");
    predict_ = library_.symbol<Predict>("XGBoosterPredictFromDense");
    check(library_.symbol<int(const void*, std::uint64_t, void**)>("XGBoosterCreate")(nullptr, 0, &booster_));
    check(library_.symbol<int(void*, const char*)>("XGBoosterLoadModel")(booster_, arguments[1].c_str()));
    check(library_.symbol<int(void*, const char*, const char*)>("XGBoosterSetParam")(booster_, "nthread", arguments[2].c_str()));
  }

  void infer() {
    char options[160], values[192];
    std::snprintf(options, sizeof options,
                  "{\"type\":0,\"training\":false,\"iteration_begin\":0,\"iteration_end\":%d,\"strict_shape\":false,"
                  "\"missing\":NaN,\"cache_id\":0}",
                  rounds_);
    std::snprintf(values, sizeof values,
                  "{\"data\":[%" PRIuPTR ",true],\"shape\":[%" PRId64 ",%" PRId64 "],\"typestr\":\"<f4\",\"version\":3}",
                  reinterpret_cast<std::uintptr_t>(rows_.data), rows_.shape[0], rows_.shape[1]);
    const std::uint64_t* shape = nullptr;
    std::uint64_t dimensions = 0, size = 1;
    const float* predictions = nullptr;
    check(predict_(booster_, values, options, nullptr, &shape, &dimensions, &predictions));
    for (std::uint64_t i = 0; i < dimensions; ++i) size *= shape[i];
    if (size != out_.size()) throw std::runtime_error("another number of predictions than expected");
    std::memcpy(out_.data, predictions, out_.bytes());
  }

 private:
  using Predict = int(void*, const char*, const char*, void*, const std::uint64_t**, std::uint64_t*, const float**);

  void check(int failed) const {
    if (failed) throw std::runtime_error(last_error_());
  }

  Library library_;
  Tensor rows_, out_;
  int rounds_;
  const char* (*last_error_)();
  Predict* predict_;
  void* booster_ = nullptr;
};

}  // namespace

CONTENDER(XGBoost)
