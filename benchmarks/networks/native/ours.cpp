// A project of generated C++, compiled in: HEADER is its header, whose namespace is `network`. Argument: its file of weights.
#include HEADER

#include "pointers.hpp"

namespace {

class Ours {
 public:
  explicit Ours(const Arguments& arguments) : session_(arguments[0]), tensors_(every(arguments)) {
    if (tensors_.size() != N_TENSORS) throw std::runtime_error("another number of tensors than it was compiled for");
  }

  void infer() { call(std::make_index_sequence<N_TENSORS>()); }

 private:
  template <std::size_t... I>
  void call(std::index_sequence<I...>) {
    session_.infer(tensors_[I]...);
  }

  network::Session session_;
  std::vector<Any> tensors_;
};

}  // namespace

CONTENDER(Ours)
