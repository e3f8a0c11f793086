// A project of generated C++, compiled in: HEADER is its header, whose namespace is `network`. Argument: its file of weights.
// All that are opened share one session, as threads of a program do; each has a workspace of its own.
#include HEADER

#include <memory>

#include "pointers.hpp"

namespace {

class Ours {
 public:
  explicit Ours(const Arguments& arguments) : session_(shared(arguments[0])), tensors_(every(arguments)) {
    if (tensors_.size() != N_TENSORS) throw std::runtime_error("another number of tensors than it was compiled for");
  }

  void infer() { call(std::make_index_sequence<N_TENSORS>()); }

 private:
  template <std::size_t... I>
  void call(std::index_sequence<I...>) {
    session_->infer(workspace_, tensors_[I]...);
  }

  static std::shared_ptr<const network::Session> shared(const std::string& weights) {
    static std::weak_ptr<const network::Session> open;
    std::shared_ptr<const network::Session> session = open.lock();
    if (!session) open = session = std::make_shared<const network::Session>(weights);
    return session;
  }

  std::shared_ptr<const network::Session> session_;
  network::Workspace workspace_;
  std::vector<Any> tensors_;
};

}  // namespace

CONTENDER(Ours)
