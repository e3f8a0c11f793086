// Runs compiled networks from two threads, as a program of its own, so that sanitizers see everything.
// Usage: sanitized CALLS OUTPUTS. What is in CALLS is written by test_sanitizers.py; blocks of inputs are exactly as large as they
// claim, so that reading behind one is seen. OUTPUTS gets each call's status and tensors. Compiled with COUNTING, one thread runs and
// prints for each call its network, its status, and how often it allocated.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#ifdef COUNTING  // what this program's one thread allocates; linked with --wrap=aligned_alloc
static std::int64_t n_allocations = 0;
void* operator new(std::size_t size) {
  ++n_allocations;
  return std::malloc(size);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
extern "C" void* __real_aligned_alloc(std::size_t alignment, std::size_t size);
extern "C" void* __wrap_aligned_alloc(std::size_t alignment, std::size_t size) {
  ++n_allocations;
  return __real_aligned_alloc(alignment, size);
}
#endif

namespace {
namespace nn = kernels::nn;

struct Network {
  void* (*open)(const void*);
  void (*close)(void*);
  int (*call)(void*, const nn::Value*, nn::Value*, char*, std::int64_t);
  int n_outputs;
};
using Block = std::unique_ptr<unsigned char[]>;

struct Call {
  std::vector<nn::Value> inputs;
  std::vector<Block> blocks;
};
struct Work {
  void* weights;
  std::vector<Call> calls;
};

template <class T>
T read(std::ifstream& file) {
  T value;
  file.read(reinterpret_cast<char*>(&value), sizeof value);
  if (!file) std::exit(3);
  return value;
}

Call read_call(std::ifstream& file) {
  Call call;
  for (auto left = read<std::int64_t>(file); left > 0; --left) {
    nn::Value value{};
    value.kind = static_cast<std::int32_t>(nn::Kind::tensor);
    value.dtype = read<std::int32_t>(file);
    value.rank = read<std::int64_t>(file);
    value.count = 1;
    for (int i = 0; i < value.rank; ++i) value.count *= value.dims[i] = read<std::int64_t>(file);
    const auto size = read<std::int64_t>(file);
    call.blocks.emplace_back(new unsigned char[static_cast<std::size_t>(size)]);
    file.read(reinterpret_cast<char*>(call.blocks.back().get()), size);
    value.data = call.blocks.back().get();
    call.inputs.push_back(value);
  }
  return call;
}

// Texts are not looked at; tensors of numbers are kept.
void keep(const nn::Value& value, std::string& out) {
  const auto put = [&](std::int64_t number) { out.append(reinterpret_cast<const char*>(&number), sizeof number); };
  put(value.dtype);
  put(value.rank);
  for (int i = 0; i < value.rank; ++i) put(value.dims[i]);
  static const int bytes[] = {0, 4, 1, 1, 2, 2, 4, 8, 0, 1, 2, 8, 4, 8};
  const auto size = value.count * bytes[value.dtype];
  put(size);
  if (size > 0) out.append(static_cast<const char*>(value.data), static_cast<std::size_t>(size));
}

std::string run(const std::vector<Network>& networks, const std::vector<Work>& work) {
  std::string out;
  for (std::size_t i = 0; i < networks.size(); ++i) {
    void* handle = networks[i].open(work[i].weights);
    for (int round = 0; round < 2; ++round) {
      for (const auto& call : work[i].calls) {
        std::vector<nn::Value> outputs(static_cast<std::size_t>(networks[i].n_outputs));
        char message[256] = "";
#ifdef COUNTING
        n_allocations = 0;
#endif
        const std::int64_t status = networks[i].call(handle, call.inputs.data(), outputs.data(), message, sizeof message);
        if (round == 0) continue;  // the workspace has met all sizes now
#ifdef COUNTING
        std::printf("%zu %lld %lld\n", i, static_cast<long long>(status), static_cast<long long>(n_allocations));
#endif
        out.append(reinterpret_cast<const char*>(&status), sizeof status);
        if (status == 0) {
          for (const auto& value : outputs) keep(value, out);
        }
      }
    }
    networks[i].close(handle);
  }
  return out;
}

int go(const std::vector<Network>& networks, char** arguments) {
  std::ifstream file(arguments[1], std::ios::binary);
  std::vector<Work> work(networks.size());
  for (auto& each : work) {
    const auto size = read<std::int64_t>(file);
    each.weights = std::aligned_alloc(64, static_cast<std::size_t>((size + 63) / 64 * 64 + 64));
    file.read(static_cast<char*>(each.weights), size);
    for (auto left = read<std::int64_t>(file); left > 0; --left) each.calls.push_back(read_call(file));
  }
  std::string first, second;
#ifdef COUNTING
  first = second = run(networks, work);
#else
  std::thread other([&] { second = run(networks, work); });
  first = run(networks, work);
  other.join();
#endif
  for (auto& each : work) std::free(each.weights);
  if (first != second) {
    std::puts("two threads do not agree");
    return 4;
  }
  std::ofstream(arguments[2], std::ios::binary) << first;
  return 0;
}
}  // namespace
