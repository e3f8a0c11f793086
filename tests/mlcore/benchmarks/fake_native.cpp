// Doubles its input, in the manner that its argument says.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "contender.hpp"

namespace {

struct Fake {
  explicit Fake(const Arguments& arguments) : manner(arguments[0]), x(arguments.inputs.at(0)), y(arguments.outputs.at(0)) {
    if (manner == "refusing") throw std::runtime_error("no \"Double\" here");
  }

  void infer() {
    const float factor = manner == "wrong" ? 2.01f : 2.0f;
    for (std::size_t i = 0; i < x.size(); ++i) static_cast<float*>(y.data)[i] = factor * static_cast<const float*>(x.data)[i];
    if (manner == "leaking") std::memset(std::malloc(64 << 10), 1, 64 << 10);
    if (manner == "allocating") std::vector<char>(1000).swap(kept);
    if (manner == "crashing" && ++calls > 1) std::abort();
  }

  std::string manner;
  Tensor x, y;
  std::vector<char> kept;
  int calls = 0;
};

}  // namespace

CONTENDER(Fake)
