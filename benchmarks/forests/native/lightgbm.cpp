// LightGBM through its C API: raw scores, with the prepared call for a single row. Arguments: library, model.
#include "contender.hpp"

namespace {

constexpr int float32 = 0, row_major = 1, raw_score = 1;
constexpr const char* options = "num_threads=1";

class LightGBM {
 public:
  explicit LightGBM(const Arguments& arguments) : library_(arguments[0]), width_(static_cast<std::int32_t>(arguments.n_features)) {
    last_error_ = library_.symbol<const char*()>("LGBM_GetLastError");
    batch_ = library_.symbol<Batch>("LGBM_BoosterPredictForMat");
    single_ = library_.symbol<Single>("LGBM_BoosterPredictForMatSingleRowFast");
    int rounds = 0;
    check(library_.symbol<int(const char*, int*, void**)>("LGBM_BoosterCreateFromModelfile")(arguments[1].c_str(), &rounds, &booster_));
    check(library_.symbol<int(void*, int, int, int, int, std::int32_t, const char*, void**)>(
        "LGBM_BoosterPredictForMatSingleRowFastInit")(booster_, raw_score, 0, -1, float32, width_, options, &prepared_));
  }

  void predict(const float* rows, std::size_t n_rows, char* out) {
    std::int64_t length = 0;
    double* scores = reinterpret_cast<double*>(out);
    if (n_rows == 1) {
      check(single_(prepared_, rows, &length, scores));
    } else {
      check(batch_(booster_, rows, float32, static_cast<std::int32_t>(n_rows), width_, row_major, raw_score, 0, -1, options, &length,
                   scores));
    }
  }

 private:
  using Batch = int(void*, const void*, int, std::int32_t, std::int32_t, int, int, int, int, const char*, std::int64_t*, double*);
  using Single = int(void*, const void*, std::int64_t*, double*);

  void check(int failed) const {
    if (failed) throw std::runtime_error(last_error_());
  }

  Library library_;
  std::int32_t width_;
  const char* (*last_error_)();
  Batch* batch_;
  Single* single_;
  void* booster_ = nullptr;
  void* prepared_ = nullptr;
};

}  // namespace

CONTENDER(LightGBM)
