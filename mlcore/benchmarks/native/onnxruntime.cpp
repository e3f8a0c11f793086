// ONNX Runtime through its C API, with inputs and outputs bound once. Arguments: library, ONNX file, threads (1).
//
// Its package has no header. The API is a table of functions in which every version keeps each place for good, so the few that are
// needed are declared here by their places.
#include "contender.hpp"

namespace {

enum Place : std::size_t {
  get_error_message = 2,
  create_env = 3,
  create_session = 7,
  create_session_options = 10,
  set_graph_optimization_level = 23,
  set_intra_op_num_threads = 24,
  set_inter_op_num_threads = 25,
  create_tensor_with_data = 49,
  create_cpu_memory_info = 69,
  run_with_binding = 133,
  create_io_binding = 134,
  bind_input = 136,
  bind_output = 137,
};

struct ApiBase {
  void* const* (*get_api)(std::uint32_t version);
  const char* (*get_version)();
};

using Status = void*;

constexpr std::uint32_t api_version = 16;
constexpr int error = 3, all_optimizations = 99, arena = 1, default_memory = 0;

class OnnxRuntime {
 public:
  explicit OnnxRuntime(const Arguments& arguments) : library_(arguments[0]) {
    api_ = library_.symbol<const ApiBase*()>("OrtGetApiBase")()->get_api(api_version);
    if (api_ == nullptr) throw std::runtime_error("ONNX Runtime is too old");
    const int threads = arguments.texts.size() > 2 ? std::stoi(arguments[2]) : 1;
    void *environment = nullptr, *options = nullptr;
    check(at<Status(int, const char*, void**)>(create_env)(error, "benchmark", &environment));
    check(at<Status(void**)>(create_session_options)(&options));
    check(at<Status(void*, int)>(set_graph_optimization_level)(options, all_optimizations));
    check(at<Status(void*, int)>(set_intra_op_num_threads)(options, threads));
    check(at<Status(void*, int)>(set_inter_op_num_threads)(options, 1));
    check(at<Status(void*, const char*, const void*, void**)>(create_session)(environment, arguments[1].c_str(), options, &session_));
    check(at<Status(int, int, void**)>(create_cpu_memory_info)(arena, default_memory, &memory_));
    check(at<Status(void*, void**)>(create_io_binding)(session_, &binding_));
    for (const Tensor& each : arguments.inputs) check(at<Bind>(bind_input)(binding_, each.name, tensor(each)));
    for (const Tensor& each : arguments.outputs) check(at<Bind>(bind_output)(binding_, each.name, tensor(each)));
    run_ = at<Run>(run_with_binding);
  }

  void infer() { check(run_(session_, nullptr, binding_)); }

 private:
  using Run = Status(void*, const void*, const void*);
  using Bind = Status(void*, const char*, const void*);

  template <class Function>
  Function* at(Place place) const {
    return reinterpret_cast<Function*>(api_[place]);
  }

  void check(Status status) const {
    if (status != nullptr) throw std::runtime_error(at<const char*(Status)>(get_error_message)(status));
  }

  void* tensor(const Tensor& each) const {
    void* value = nullptr;
    check(at<Status(const void*, void*, std::size_t, const std::int64_t*, std::size_t, int, void**)>(create_tensor_with_data)(
        memory_, each.data, each.bytes(), each.shape, static_cast<std::size_t>(each.rank), each.element, &value));
    return value;
  }

  Library library_;
  void* const* api_ = nullptr;
  void *session_ = nullptr, *memory_ = nullptr, *binding_ = nullptr;
  Run* run_ = nullptr;
};

}  // namespace

CONTENDER(OnnxRuntime)
