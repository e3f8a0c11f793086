// A fixed amount of arithmetic that fits into registers: how fast the core is at the moment. No arguments.
#include "contender.hpp"

namespace {

struct Calibration {
  explicit Calibration(const Arguments& arguments) : out(static_cast<float*>(arguments.outputs.at(0).data)) {}

  void infer() {
    float sums[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    for (int step = 0; step < 20000; ++step) {
      for (float& sum : sums) sum = sum * 0.999f + 0.5f;
    }
    *out = 0;
    for (float sum : sums) *out += sum;
  }

  float* out;
};

}  // namespace

CONTENDER(Calibration)
