// A network that PyTorch's inductor compiled ahead of time, through its C interface. Arguments: libtorch_cpu, the compiled library.
//
// A run takes over the handles of its inputs and makes those of its outputs, so each inference makes and frees both: the least that
// this interface allows.
#include <cstring>

#include "contender.hpp"

namespace {

using Handle = void*;
using Error = std::int32_t;

class AotInductor {
 public:
  explicit AotInductor(const Arguments& arguments)
      : inputs_(arguments.inputs), outputs_(arguments.outputs), torch_(arguments[0], true), library_(arguments[1]) {
    from_blob_ = torch_.symbol<FromBlob>("aoti_torch_create_tensor_from_blob");
    free_ = torch_.symbol<Error(Handle)>("aoti_torch_delete_tensor_object");
    data_ = torch_.symbol<Error(Handle, void**)>("aoti_torch_get_data_ptr");
    run_ = library_.symbol<Run>("AOTInductorModelContainerRun");
    check(library_.symbol<Create>("AOTInductorModelContainerCreateWithDevice")(&container_, 1, "cpu", nullptr));
    if (auto* threads = reinterpret_cast<void (*)(int)>(torch_.find("omp_set_num_threads"))) threads(1);
    for (const Tensor& each : inputs_) {
      strides_.emplace_back(each.rank);
      std::int64_t stride = 1;
      for (std::int32_t i = each.rank; i-- > 0; stride *= each.shape[i]) strides_.back()[i] = stride;
      types_.push_back(torch_.symbol<std::int32_t()>(each.element == element_float ? "aoti_torch_dtype_float32" : "aoti_torch_dtype_int64")());
    }
    given_.resize(inputs_.size());
    returned_.resize(outputs_.size());
  }

  void infer() {
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      const Tensor& each = inputs_[i];
      check(from_blob_(each.data, each.rank, each.shape, strides_[i].data(), 0, types_[i], cpu, 0, &given_[i]));
    }
    check(run_(container_, given_.data(), given_.size(), returned_.data(), returned_.size(), nullptr, nullptr));
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
      void* data = nullptr;
      check(data_(returned_[i], &data));
      std::memcpy(outputs_[i].data, data, outputs_[i].bytes());
      check(free_(returned_[i]));
    }
  }

 private:
  using FromBlob = Error(void*, std::int64_t, const std::int64_t*, const std::int64_t*, std::int64_t, std::int32_t, std::int32_t,
                         std::int32_t, Handle*);
  using Create = Error(void**, std::size_t, const char*, const char*);
  using Run = Error(void*, Handle*, std::size_t, Handle*, std::size_t, void*, void*);
  static constexpr std::int32_t cpu = 0;

  static void check(Error error) {
    if (error != 0) throw std::runtime_error("PyTorch reports an error");
  }

  std::vector<Tensor> inputs_, outputs_;
  Library torch_, library_;
  std::vector<std::vector<std::int64_t>> strides_;
  std::vector<std::int32_t> types_;
  std::vector<Handle> given_, returned_;
  FromBlob* from_blob_;
  Error (*free_)(Handle);
  Error (*data_)(Handle, void**);
  Run* run_;
  void* container_ = nullptr;
};

}  // namespace

CONTENDER(AotInductor)
