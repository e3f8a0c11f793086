// ONNX Runtime through its C API. Arguments: library, model. Its table of functions keeps every place for good, so the few that
// are needed are declared here by their places.
#include <array>

#include "contender.hpp"

namespace {

enum Place : std::size_t {
  get_error_message = 2,
  create_env = 3,
  create_session = 7,
  run = 9,
  create_session_options = 10,
  set_graph_optimization_level = 23,
  set_intra_op_num_threads = 24,
  set_inter_op_num_threads = 25,
  create_tensor_with_data = 49,
  create_cpu_memory_info = 69,
  release_value = 96,
};

struct ApiBase {
  void* const* (*get_api)(std::uint32_t version);
  const char* (*get_version)();
};

using Status = void*;

constexpr std::uint32_t api_version = 16;
constexpr int warning = 2, all_optimizations = 99, arena = 1, default_memory = 0, element_float = 1;

class OnnxRuntime {
 public:
  explicit OnnxRuntime(const Arguments& arguments)
      : library_(arguments[0]), width_(arguments.n_features), outputs_(arguments.n_outputs), row_(width_), answer_(outputs_) {
    api_ = library_.symbol<const ApiBase*()>("OrtGetApiBase")()->get_api(api_version);
    if (api_ == nullptr) throw std::runtime_error("ONNX Runtime is too old");
    void *environment = nullptr, *options = nullptr;
    check(at<Status(int, const char*, void**)>(create_env)(warning, "benchmark", &environment));
    check(at<Status(void**)>(create_session_options)(&options));
    check(at<Status(void*, int)>(set_graph_optimization_level)(options, all_optimizations));
    check(at<Status(void*, int)>(set_intra_op_num_threads)(options, 1));
    check(at<Status(void*, int)>(set_inter_op_num_threads)(options, 1));
    check(at<Status(void*, const char*, const void*, void**)>(create_session)(environment, arguments[1].c_str(), options, &session_));
    check(at<Status(int, int, void**)>(create_cpu_memory_info)(arena, default_memory, &memory_));
    input_ = tensor(row_.data(), 1, width_);
    output_ = tensor(answer_.data(), 1, outputs_);
    run_ = at<Run>(run);
  }

  // A single row goes through tensors that were made once, which is its fastest way.
  void predict(const float* rows, std::size_t n_rows, char* out) {
    if (n_rows == 1) {
      std::memcpy(row_.data(), rows, width_ * sizeof(float));
      call(input_, &output_);
      std::memcpy(out, answer_.data(), outputs_ * sizeof(float));
      return;
    }
    void* input = tensor(const_cast<float*>(rows), n_rows, width_);
    void* output = tensor(reinterpret_cast<float*>(out), n_rows, outputs_);
    call(input, &output);
    at<void(void*)>(release_value)(input);
    at<void(void*)>(release_value)(output);
  }

 private:
  using Run = Status(void*, const void*, const char* const*, const void* const*, std::size_t, const char* const*, std::size_t, void**);

  template <class Function>
  Function* at(Place place) const {
    return reinterpret_cast<Function*>(api_[place]);
  }

  void check(Status status) const {
    if (status != nullptr) throw std::runtime_error(at<const char*(Status)>(get_error_message)(status));
  }

  void* tensor(float* data, std::size_t n_rows, std::size_t width) const {
    const std::array<std::int64_t, 2> shape{static_cast<std::int64_t>(n_rows), static_cast<std::int64_t>(width)};
    void* value = nullptr;
    check(at<Status(const void*, void*, std::size_t, const std::int64_t*, std::size_t, int, void**)>(create_tensor_with_data)(
        memory_, data, n_rows * width * sizeof(float), shape.data(), 2, element_float, &value));
    return value;
  }

  void call(void* input, void** output) const {
    static const char *const input_name = "rows", *const output_name = "margin";
    const void* inputs[] = {input};
    check(run_(session_, nullptr, &input_name, inputs, 1, &output_name, 1, output));
  }

  Library library_;
  std::size_t width_, outputs_;
  std::vector<float> row_, answer_;
  void* const* api_ = nullptr;
  void *session_ = nullptr, *memory_ = nullptr, *input_ = nullptr, *output_ = nullptr;
  Run* run_ = nullptr;
};

}  // namespace

CONTENDER(OnnxRuntime)
