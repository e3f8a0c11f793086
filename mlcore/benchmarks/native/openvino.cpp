// OpenVINO through its C API, with the caller's memory as tensors. Arguments: library, ONNX file, threads.
//
// Its package has no header; the few functions that are needed are declared here. Strings are the API's own names of properties.
#include "contender.hpp"

namespace {

struct Shape {
  std::int64_t rank;
  std::int64_t* sizes;
};

class OpenVino {
 public:
  explicit OpenVino(const Arguments& arguments) : library_(arguments[0]) {
    void *core = nullptr, *compiled = nullptr;
    check(library_.symbol<Status(void**)>("ov_core_create")(&core));
    // Two names and values more: float32 arithmetic on processors that would take bfloat16, and one inference at a time.
    using Compile = Status(const void*, const char*, const char*, std::size_t, void**, ...);
    check(library_.symbol<Compile>("ov_core_compile_model_from_file")(
        core, arguments[1].c_str(), "CPU", 8, &compiled, "INFERENCE_NUM_THREADS", arguments[2].c_str(), "NUM_STREAMS", "1",
        "INFERENCE_PRECISION_HINT", "f32", "PERFORMANCE_HINT", "LATENCY"));
    check(library_.symbol<Status(const void*, void**)>("ov_compiled_model_create_infer_request")(compiled, &request_));
    for (const Tensor& each : arguments.inputs) bind(each);
    for (const Tensor& each : arguments.outputs) bind(each);
    infer_ = library_.symbol<Status(void*)>("ov_infer_request_infer");
  }

  void infer() { check(infer_(request_)); }

 private:
  using Status = int;

  void check(Status status) const {
    if (status == 0) return;
    auto* last = reinterpret_cast<const char* (*)()>(library_.find("ov_get_last_err_msg"));
    const char* text = last ? last() : nullptr;
    throw std::runtime_error(text && *text ? text : "OpenVINO reports status " + std::to_string(status));
  }

  void bind(const Tensor& each) {
    void *own = nullptr, *tensor = nullptr;
    // Numbers of element types differ from version to version, so the request says which one it has.
    check(library_.symbol<Status(const void*, const char*, void**)>("ov_infer_request_get_tensor")(request_, each.name, &own));
    int element = 0;
    check(library_.symbol<Status(const void*, int*)>("ov_tensor_get_element_type")(own, &element));
    std::size_t bytes = 0;
    check(library_.symbol<Status(const void*, std::size_t*)>("ov_tensor_get_byte_size")(own, &bytes));
    if (bytes != each.bytes()) throw std::runtime_error(std::string("OpenVINO has another type or shape for ") + each.name);
    const Shape shape{each.rank, const_cast<std::int64_t*>(each.shape)};
    check(library_.symbol<Status(int, Shape, void*, void**)>("ov_tensor_create_from_host_ptr")(element, shape, each.data, &tensor));
    check(library_.symbol<Status(void*, const char*, const void*)>("ov_infer_request_set_tensor")(request_, each.name, tensor));
  }

  Library library_;
  void* request_ = nullptr;
  Status (*infer_)(void*) = nullptr;
};

}  // namespace

CONTENDER(OpenVino)
