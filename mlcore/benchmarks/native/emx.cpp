// The C code of emx-onnx-cgen, compiled. Arguments: the library, its file of weights.
#include "pointers.hpp"

namespace {

class Emx {
 public:
  explicit Emx(const Arguments& arguments) : library_(arguments[0]), call_(arguments) {
    net_ = reinterpret_cast<void*>(library_.symbol<void()>("net"));
    if (!library_.symbol<bool(const char*)>("net_load")(arguments[1].c_str())) throw std::runtime_error("it cannot load its weights");
  }

  void infer() { call_(net_); }

 private:
  Library library_;
  PointerCall call_;
  void* net_;
};

}  // namespace

CONTENDER(Emx)
