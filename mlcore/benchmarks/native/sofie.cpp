// The C++ code of SOFIE, compiled in: HEADER is its file, SOFIE_NAMESPACE its namespace. Argument: its file of weights.
//
// `doInfer` is its way without allocation: it writes into memory of the caller.
#include HEADER

#include "pointers.hpp"

extern "C" void scipy_openblas_set_num_threads(int);

namespace {

class Sofie {
 public:
  explicit Sofie(const Arguments& arguments) : session_(arguments[0]), tensors_(every(arguments)) {
    if (tensors_.size() != N_TENSORS) throw std::runtime_error("another number of tensors than it was compiled for");
    scipy_openblas_set_num_threads(1);  // it would wake one for each core, whose waiting counts as time
  }

  void infer() { call(std::make_index_sequence<N_TENSORS>()); }

 private:
  template <std::size_t... I>
  void call(std::index_sequence<I...>) {
    SOFIE_NAMESPACE::doInfer(session_, tensors_[I]...);
  }

  SOFIE_NAMESPACE::Session session_;
  std::vector<Any> tensors_;
};

}  // namespace

CONTENDER(Sofie)
