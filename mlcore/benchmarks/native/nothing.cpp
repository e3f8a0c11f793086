// Does nothing: what a process needs without a network. No arguments.
#include "contender.hpp"

namespace {

struct Nothing {
  explicit Nothing(const Arguments&) {}
  void infer() {}
};

}  // namespace

CONTENDER(Nothing)
