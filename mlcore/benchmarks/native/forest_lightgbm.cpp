// LightGBM through its C API, with the prepared call for a single row. Arguments: library, model, threads, boosting rounds (-1: all).
#include "contender.hpp"

namespace {

constexpr int float32 = 0, float64 = 1, row_major = 1, normal = 0;

class LightGBM {
 public:
  explicit LightGBM(const Arguments& arguments)
      : library_(arguments[0]), rows_(arguments.inputs.at(0)), out_(arguments.outputs.at(0)),
        options_("num_threads=" + arguments[2]), rounds_(std::stoi(arguments[3])) {
    if (rows_.rank != 2 || out_.element != element_double) throw std::runtime_error("predictions are float64");
    kind_ = rows_.element == element_double ? float64 : float32;
    width_ = static_cast<std::int32_t>(rows_.shape[1]);
    last_error_ = library_.symbol<const char*()>("LGBM_GetLastError");
    batch_ = library_.symbol<Batch>("LGBM_BoosterPredictForMat");
    single_ = library_.symbol<Single>("LGBM_BoosterPredictForMatSingleRowFast");
    int rounds = 0;
    check(library_.symbol<int(const char*, int*, void**)>("LGBM_BoosterCreateFromModelfile")(arguments[1].c_str(), &rounds, &booster_));
    check(library_.symbol<int(void*, int, int, int, int, std::int32_t, const char*, void**)>(
        "LGBM_BoosterPredictForMatSingleRowFastInit")(booster_, normal, 0, rounds_, kind_, width_, options_.c_str(), &prepared_));
  }

  void infer() {
    std::int64_t length = 0;
    auto* predictions = static_cast<double*>(out_.data);
    if (rows_.shape[0] == 1) {
      check(single_(prepared_, rows_.data, &length, predictions));
    } else {
      check(batch_(booster_, rows_.data, kind_, static_cast<std::int32_t>(rows_.shape[0]), width_, row_major, normal, 0, rounds_,
                   options_.c_str(), &length, predictions));
    }
  }

 private:
  using Batch = int(void*, const void*, int, std::int32_t, std::int32_t, int, int, int, int, const char*, std::int64_t*, double*);
  using Single = int(void*, const void*, std::int64_t*, double*);

  void check(int failed) const {
    if (failed) throw std::runtime_error(last_error_());
  }

  Library library_;
  Tensor rows_, out_;
  std::string options_;
  int rounds_, kind_ = float32;
  std::int32_t width_ = 0;
  const char* (*last_error_)();
  Batch* batch_;
  Single* single_;
  void* booster_ = nullptr;
  void* prepared_ = nullptr;
};

}  // namespace

CONTENDER(LightGBM)
