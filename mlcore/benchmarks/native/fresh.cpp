// A contender in a fresh process: prints the seconds until it is open, those of its first inference, and the peak of its memory in
// kilobytes. Arguments: a file of tensors as tensors.hpp says, an adapter, the adapter's arguments.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>

#include "contender.hpp"
#include "tensors.hpp"

namespace {

// The most memory that this process ever had; getrusage would count what its parent had when it forked.
long peak() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    long kilobytes = 0;
    if (word == "VmHWM:" && status >> kilobytes) return kilobytes;
  }
  throw std::runtime_error("the system does not tell how much memory a process had");
}

}  // namespace

int main(int count, char** words) {
  if (count < 3) return 2;
  try {
    using Clock = std::chrono::steady_clock;
    const auto since = [](Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); };
    Tensors tensors(words[1]);
    const auto start = Clock::now();
    Library adapter(words[2]);
    using Open = void*(const char* const*, const Tensor*, std::size_t, const Tensor*, std::size_t);
    void* opened = adapter.symbol<Open>("contender_open")(words + 3, tensors.inputs.data(), tensors.inputs.size(),
                                                         tensors.outputs.data(), tensors.outputs.size());
    const double load = since(start);
    auto* failure = adapter.symbol<const char*()>("contender_failure");
    if (opened == nullptr) throw std::runtime_error(failure());
    const auto first = Clock::now();
    const int failed = adapter.symbol<int(void*, std::size_t)>("contender_run")(opened, 1);
    const double infer = since(first);
    if (failed) throw std::runtime_error(failure());
    // Some contenders keep more after the second inference, when patterns of memory are known.
    if (adapter.symbol<int(void*, std::size_t)>("contender_run")(opened, 3)) throw std::runtime_error(failure());
    std::printf("%.9f %.9f %ld\n", load, infer, peak());
    std::fflush(stdout);
    std::_Exit(0);  // without the ends of foreign libraries
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
