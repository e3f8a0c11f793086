// XGBoost through its C API: prediction in place, margins. Arguments: library, model.
#include <cinttypes>
#include <cstdio>

#include "contender.hpp"

namespace {

class XGBoost {
 public:
  explicit XGBoost(const Arguments& arguments)
      : library_(arguments[0]), width_(arguments.n_features), outputs_(arguments.n_outputs) {
    last_error_ = library_.symbol<const char*()>("XGBGetLastError");
    predict_ = library_.symbol<Predict>("XGBoosterPredictFromDense");
    check(library_.symbol<int(const void*, std::uint64_t, void**)>("XGBoosterCreate")(nullptr, 0, &booster_));
    check(library_.symbol<int(void*, const char*)>("XGBoosterLoadModel")(booster_, arguments[1].c_str()));
    check(library_.symbol<int(void*, const char*, const char*)>("XGBoosterSetParam")(booster_, "nthread", "1"));
  }

  void predict(const float* rows, std::size_t n_rows, char* out) {
    static const char options[] =
        "{\"type\":1,\"training\":false,\"iteration_begin\":0,\"iteration_end\":0,\"strict_shape\":false,\"missing\":NaN,"
        "\"cache_id\":0}";
    char values[192];
    std::snprintf(values, sizeof values, "{\"data\":[%" PRIuPTR ",true],\"shape\":[%zu,%zu],\"typestr\":\"<f4\",\"version\":3}",
                  reinterpret_cast<std::uintptr_t>(rows), n_rows, width_);
    const std::uint64_t* shape = nullptr;
    std::uint64_t dimensions = 0;
    const float* margin = nullptr;
    check(predict_(booster_, values, options, nullptr, &shape, &dimensions, &margin));
    std::memcpy(out, margin, n_rows * outputs_ * sizeof(float));
  }

 private:
  using Predict = int(void*, const char*, const char*, void*, const std::uint64_t**, std::uint64_t*, const float**);

  void check(int failed) const {
    if (failed) throw std::runtime_error(last_error_());
  }

  Library library_;
  std::size_t width_, outputs_;
  const char* (*last_error_)();
  Predict* predict_;
  void* booster_ = nullptr;
};

}  // namespace

CONTENDER(XGBoost)
