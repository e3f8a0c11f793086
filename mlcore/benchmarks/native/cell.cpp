// The process that measures one engine: it opens an adapter with its tensors in place and does what it is asked, line by line.
//
// Arguments: the file descriptor of its answers, the cores to stay on ("0,1"), the number of users, a file of tensors as
// mlcore/benchmarks/native writes it, a file for the outputs, an adapter, the adapter's arguments. Each user has tensors of its own;
// they infer at the same time, each in a thread.
//
// Asked by a line of standard input, it answers a line of JSON:
//   answer     one inference of each user into cleared outputs, which are written to the file -> {"seconds": of the first user}
//   run N      N inferences of each user -> {"wall": seconds, "cpu": seconds of all threads}
//   allocated  what one inference takes from the heap -> {"bytes": , "calls": }
//   memory     -> {"resident": bytes now, "peak": bytes at most since before the adapter was opened}
// At the beginning it answers {"opened": seconds, "base": resident bytes before}. A failure is {"failed": text}, and the end;
// with "refused": true where the adapter could not open the model.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <thread>

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "contender.hpp"
#include "tensors.hpp"

// The heap, with a count of what is taken from it while somebody wants to know.
#ifdef __GLIBC__
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
}

static std::atomic<bool> counting{false};
static std::atomic<std::uint64_t> taken_bytes{0}, taken_calls{0};

static void taken(std::size_t size) {
  if (!counting.load(std::memory_order_relaxed)) return;
  taken_bytes += size, ++taken_calls;
}

extern "C" {
void* malloc(std::size_t size) noexcept { return taken(size), __libc_malloc(size); }
void* calloc(std::size_t count, std::size_t size) noexcept { return taken(count * size), __libc_calloc(count, size); }
void* realloc(void* old, std::size_t size) noexcept { return taken(size), __libc_realloc(old, size); }
void* memalign(std::size_t align, std::size_t size) noexcept { return taken(size), __libc_memalign(align, size); }
void* aligned_alloc(std::size_t align, std::size_t size) noexcept { return taken(size), __libc_memalign(align, size); }
int posix_memalign(void** place, std::size_t align, std::size_t size) noexcept {
  taken(size);
  *place = __libc_memalign(align, size);
  return *place == nullptr ? ENOMEM : 0;
}
}
#endif

namespace {

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// A line of /proc in kilobytes, as bytes; 0 where the system does not tell.
long long told(const char* path, const char* name) {
  std::ifstream file(path);
  for (std::string word; file >> word;) {
    long long kilobytes = 0;
    if (word == name && file >> kilobytes) return kilobytes * 1024;
  }
  return 0;
}

long long resident() {
  const long long exact = told("/proc/self/smaps_rollup", "Rss:");
  return exact ? exact : told("/proc/self/status", "VmRSS:");
}

void stay_on(const char* cores) {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::istringstream list(cores);
  for (std::string core; std::getline(list, core, ',');) CPU_SET(std::stoi(core), &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) throw std::runtime_error("this process cannot stay on its cores");
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 32 ? ' ' : c;
  }
  return out + "\"";
}

// The engine does not take the model.
struct Refusal : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Cell {
 public:
  Cell(int answers, char** words) : answers_(answers), output_(words[2]) {
    const int users = std::stoi(words[0]);
    for (int i = 0; i < users; ++i) tensors_.push_back(std::make_unique<Tensors>(words[1]));
    std::ofstream("/proc/self/clear_refs") << 5;  // the peak is counted from here
    base_ = resident();
    const auto start = Clock::now();
    adapter_ = std::make_unique<Library>(words[3]);
    using Open = void*(const char* const*, const Tensor*, std::size_t, const Tensor*, std::size_t);
    auto* open = adapter_->symbol<Open>("contender_open");
    failure_ = adapter_->symbol<const char*()>("contender_failure");
    run_ = adapter_->symbol<int(void*, std::size_t)>("contender_run");
    for (const auto& each : tensors_) {
      void* opened = open(words + 4, each->inputs.data(), each->inputs.size(), each->outputs.data(), each->outputs.size());
      if (opened == nullptr) throw Refusal(failure_());
      users_.push_back(opened);
    }
    std::ostringstream line;
    line << "{\"opened\": " << since(start) << ", \"base\": " << base_ << "}";
    say(line.str());
  }

  void serve() {
    for (std::string line; std::getline(std::cin, line);) {
      std::istringstream words(line);
      std::string what;
      words >> what;
      std::ostringstream out;
      out.precision(12);
      if (what == "answer") {
        out << "{\"seconds\": " << answer() << "}";
      } else if (what == "run") {
        std::size_t times = 0;
        words >> times;
        const double cpu = cpu_seconds();
        const auto start = Clock::now();
        run(times);
        const double wall = since(start);
        out << "{\"wall\": " << wall << ", \"cpu\": " << cpu_seconds() - cpu << "}";
      } else if (what == "allocated") {
#ifdef __GLIBC__
        taken_bytes = 0, taken_calls = 0;
        counting = true;
        const int failed = run_(users_[0], 1);
        counting = false;
        if (failed) throw std::runtime_error(failure_());
        out << "{\"bytes\": " << taken_bytes << ", \"calls\": " << taken_calls << "}";
#else
        out << "{}";
#endif
      } else if (what == "memory") {
        const long long now = resident();
        out << "{\"resident\": " << now << ", \"peak\": " << std::max(now, told("/proc/self/status", "VmHWM:")) << "}";
      } else {
        throw std::runtime_error("there is nothing called " + what);
      }
      say(out.str());
    }
  }

 private:
  void say(const std::string& line) const {
    const std::string whole = line + "\n";
    if (write(answers_, whole.data(), whole.size()) != static_cast<ssize_t>(whole.size())) std::_Exit(1);
  }

  double answer() {
    double first = 0;
    std::ofstream file(output_, std::ios::binary);
    for (std::size_t i = 0; i < users_.size(); ++i) {
      for (const Tensor& each : tensors_[i]->outputs) std::memset(each.data, 0xff, each.bytes());
      const auto start = Clock::now();
      if (run_(users_[i], 1)) throw std::runtime_error(failure_());
      if (i == 0) first = since(start);
      for (const Tensor& each : tensors_[i]->outputs) {
        file.write(static_cast<const char*>(each.data), static_cast<std::streamsize>(each.bytes()));
      }
    }
    if (!file.flush()) throw std::runtime_error("the outputs cannot be written");
    return first;
  }

  void run(std::size_t times) {
    if (users_.size() == 1) {
      if (run_(users_[0], times)) throw std::runtime_error(failure_());
      return;
    }
    std::vector<std::thread> threads;
    std::vector<std::string> failures(users_.size());
    for (std::size_t i = 0; i < users_.size(); ++i) {
      threads.emplace_back([this, times, i, &failures] {
        if (run_(users_[i], times)) failures[i] = failure_();
      });
    }
    for (std::thread& each : threads) each.join();
    for (const std::string& failure : failures) {
      if (!failure.empty()) throw std::runtime_error(failure);
    }
  }

  int answers_;
  const char* output_;
  long long base_ = 0;
  std::vector<std::unique_ptr<Tensors>> tensors_;
  std::unique_ptr<Library> adapter_;
  const char* (*failure_)() = nullptr;
  int (*run_)(void*, std::size_t) = nullptr;
  std::vector<void*> users_;
};

}  // namespace

int main(int count, char** words) {
  if (count < 7) return 2;
  const int answers = std::atoi(words[1]);
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // while it is stopped it would not see that nobody asks any more
  try {
    stay_on(words[2]);
    Cell cell(answers, words + 3);
    cell.serve();
  } catch (const std::exception& error) {
    const char* refused = dynamic_cast<const Refusal*>(&error) ? ", \"refused\": true" : "";
    const std::string line = "{\"failed\": " + quoted(error.what()) + refused + "}\n";
    if (write(answers, line.data(), line.size()) < 0) std::_Exit(2);
    std::_Exit(1);
  }
  std::_Exit(0);  // without the ends of foreign libraries
}
