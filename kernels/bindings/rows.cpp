#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../src/row_gather.hpp"
#include "../src/row_order.hpp"
#include "../src/row_spill.hpp"

namespace nb = nanobind;

namespace {

using Records = nb::ndarray<const std::uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using WritableRecords = nb::ndarray<std::uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Ids = nb::ndarray<const std::uint64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using WritableKeys = nb::ndarray<std::uint64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Order = nb::ndarray<const std::uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Output = nb::ndarray<nb::device::cpu, nb::c_contig>;

template <class T>
nb::ndarray<nb::numpy, T, nb::ndim<1>> vector(std::unique_ptr<T[]> data, std::size_t count) {
  T* const held = data.release();
  return {held, {count}, nb::capsule(held, [](void* p) noexcept { delete[] static_cast<T*>(p); })};
}

auto keys(const Ids& ids, std::uint64_t seed, std::uint64_t epoch) {
  const kernels::RowKeys keys(seed, epoch);
  std::unique_ptr<std::uint64_t[]> result(new std::uint64_t[ids.shape(0)]);
  for (std::size_t i = 0; i < ids.shape(0); ++i) result[i] = keys(ids.data()[i]);
  return vector(std::move(result), ids.shape(0));
}

auto ordered(const kernels::RowIds& ids, std::size_t count, std::uint64_t seed, std::uint64_t epoch) {
  if (count >= std::numeric_limits<std::uint32_t>::max()) throw nb::value_error("there are 2**32 rows or more");
  std::unique_ptr<std::uint32_t[]> result(new std::uint32_t[count]);
  {
    const nb::gil_scoped_release release;
    kernels::order_rows(kernels::RowKeys(seed, epoch), ids, count, result.get());
  }
  return vector(std::move(result), count);
}

auto order_of_ids(const Ids& ids, std::uint64_t seed, std::uint64_t epoch) {
  return ordered({reinterpret_cast<const unsigned char*>(ids.data()), 8, 8, 0}, ids.shape(0), seed, epoch);
}

auto order_of_range(std::uint64_t first, std::size_t count, std::uint64_t seed, std::uint64_t epoch) {
  return ordered({nullptr, 0, 8, first}, count, seed, epoch);
}

auto order_of_keys(const Ids& keys, std::uint64_t buckets) {
  if (keys.shape(0) >= std::numeric_limits<std::uint32_t>::max()) throw nb::value_error("there are 2**32 rows or more");
  if (buckets == 0 || buckets > std::numeric_limits<std::uint32_t>::max()) throw nb::value_error("there are no buckets, or 2**32 or more");
  std::unique_ptr<std::uint32_t[]> result(new std::uint32_t[keys.shape(0)]);
  {
    const nb::gil_scoped_release release;
    kernels::order_keys(keys.data(), keys.shape(0), buckets, result.get());
  }
  return vector(std::move(result), keys.shape(0));
}

void check_id(std::size_t record_bytes, std::size_t id_offset, int id_bytes) {
  if (id_bytes != 4 && id_bytes != 8) throw nb::value_error("id_bytes is neither 4 nor 8");
  if (record_bytes < static_cast<std::size_t>(id_bytes) || id_offset > record_bytes - id_bytes) {
    throw nb::value_error("the row's number does not lie within the record");
  }
}

auto order_of_records(const Records& records, std::size_t id_offset, int id_bytes, std::uint64_t seed, std::uint64_t epoch) {
  check_id(records.shape(1), id_offset, id_bytes);
  return ordered({records.data() + id_offset, records.shape(1), id_bytes, 0}, records.shape(0), seed, epoch);
}

void gather(const Records& records, const Order& order, const std::vector<std::size_t>& offsets, const std::vector<Output>& outputs) {
  if (offsets.size() != outputs.size()) throw nb::value_error("there are not as many offsets as outputs");
  const std::size_t count = order.shape(0), width = records.shape(1);
  std::uint32_t largest = 0;
  for (std::size_t i = 0; i < count; ++i) largest = std::max(largest, order.data()[i]);
  if (count > 0 && largest >= records.shape(0)) throw nb::index_error("the order names a record that is not there");
  std::vector<kernels::GatherField> fields;
  for (std::size_t i = 0; i < offsets.size(); ++i) {
    const Output& output = outputs[i];
    if (output.ndim() == 0 || output.shape(0) != count) throw nb::value_error("an output has not as many rows as the order");
    const std::size_t bytes = count == 0 ? 0 : output.nbytes() / count;
    if (offsets[i] > width || bytes > width - offsets[i]) throw nb::value_error("an output's rows do not lie within the record");
    fields.push_back({offsets[i], bytes, static_cast<unsigned char*>(output.data())});
  }
  const nb::gil_scoped_release release;
  kernels::gather_rows(records.data(), width, order.data(), count, fields);
}

class Spill {
 public:
  Spill(const std::string& directory, std::size_t record_bytes, std::size_t id_offset, int id_bytes, std::size_t block_bytes,
        std::size_t memory_bytes) {
    check_id(record_bytes, id_offset, id_bytes);
    if (block_bytes < record_bytes) throw nb::value_error("a block holds no record");
    file_ = std::make_shared<kernels::SpillFile>(directory, record_bytes, id_offset, id_bytes, block_bytes, memory_bytes);
  }

  void begin(std::size_t buckets, std::uint64_t seed, std::uint64_t epoch) {
    if (buckets == 0 || buckets > std::numeric_limits<std::uint32_t>::max()) throw nb::value_error("there are no buckets, or 2**32 or more");
    file_->begin(buckets, seed, epoch);
  }
  void turn() { file_->turn(); }
  auto counts() const {
    const std::vector<std::int64_t> counts = file_->counts();
    std::unique_ptr<std::int64_t[]> result(new std::int64_t[counts.size()]);
    for (std::size_t i = 0; i < counts.size(); ++i) result[i] = counts[i];
    return vector(std::move(result), counts.size());
  }
  std::size_t read(std::size_t bucket, const WritableRecords& out) const {
    if (out.shape(1) != file_->record_bytes()) throw nb::value_error("the records to be filled are of another size");
    const nb::gil_scoped_release release;
    return file_->read(bucket, out.data(), out.shape(0));
  }
  void release(std::size_t bucket) { file_->release(bucket); }
  std::size_t bytes_on_disk() const { return file_->bytes_on_disk(); }

  std::shared_ptr<kernels::SpillFile> file() const { return file_; }

 private:
  std::shared_ptr<kernels::SpillFile> file_;
};

class SpillWriter {
 public:
  explicit SpillWriter(const Spill& spill) : file_(spill.file()), writer_(*file_) {}
  void add(const Records& records) {
    if (records.shape(1) != file_->record_bytes()) throw nb::value_error("the records are of another size");
    const nb::gil_scoped_release release;
    writer_.add(records.data(), records.shape(0));
  }
  std::size_t take(std::size_t bucket, const WritableRecords& out, const WritableKeys& keys) {
    if (out.shape(1) != file_->record_bytes()) throw nb::value_error("the records to be filled are of another size");
    const nb::gil_scoped_release release;
    return writer_.take(bucket, out.data(), keys.data(), std::min(out.shape(0), keys.shape(0)));
  }
  void flush() {
    const nb::gil_scoped_release release;
    writer_.flush();
  }

 private:
  std::shared_ptr<kernels::SpillFile> file_;
  kernels::SpillFile::Writer writer_;
};

}  // namespace

void bind_rows(nb::module_& module) {
  nb::register_exception_translator([](const std::exception_ptr& pointer, void*) {
    try {
      std::rethrow_exception(pointer);
    } catch (const kernels::SystemFailure& failure) {
      const nb::object arguments = nb::make_tuple(failure.code, failure.what);
      PyErr_SetObject(PyExc_OSError, arguments.ptr());
    }
  });
  module.def("row_keys", &keys, nb::arg("ids"), nb::arg("seed"), nb::arg("epoch"), "The keys that rows are ordered by: uint64.");
  module.def("order_of_ids", &order_of_ids, nb::arg("ids"), nb::arg("seed"), nb::arg("epoch"), "Positions in the order of the keys: uint32.");
  module.def("order_of_range", &order_of_range, nb::arg("first"), nb::arg("count"), nb::arg("seed"), nb::arg("epoch"),
             "The same of the rows first to first + count.");
  module.def("order_of_records", &order_of_records, nb::arg("records"), nb::arg("id_offset"), nb::arg("id_bytes"), nb::arg("seed"),
             nb::arg("epoch"), "The same of records that hold their numbers.");
  module.def("order_of_keys", &order_of_keys, nb::arg("keys"), nb::arg("buckets"), "The same of keys that all lie in one of so many buckets.");
  module.def("gather_rows", &gather, nb::arg("records"), nb::arg("order"), nb::arg("offsets"), nb::arg("outputs"),
             "Fill arrays with parts of the records, in the order given.");
  nb::class_<Spill>(module, "SpillFile", "Records on disk, in buckets by the keys of an epoch.")
      .def(nb::init<const std::string&, std::size_t, std::size_t, int, std::size_t, std::size_t>(), nb::arg("directory"), nb::arg("record_bytes"),
           nb::arg("id_offset"), nb::arg("id_bytes"), nb::arg("block_bytes"), nb::arg("memory_bytes") = 0)
      .def("begin", &Spill::begin, nb::arg("buckets"), nb::arg("seed"), nb::arg("epoch"))
      .def("turn", &Spill::turn)
      .def("counts", &Spill::counts)
      .def("read", &Spill::read, nb::arg("bucket"), nb::arg("out"))
      .def("release", &Spill::release, nb::arg("bucket"))
      .def_prop_ro("bytes_on_disk", &Spill::bytes_on_disk);
  nb::class_<SpillWriter>(module, "SpillWriter", "One thread's buffers in front of a `SpillFile`.")
      .def(nb::init<const Spill&>(), nb::arg("file"))
      .def("add", &SpillWriter::add, nb::arg("records"))
      .def("take", &SpillWriter::take, nb::arg("bucket"), nb::arg("out"), nb::arg("keys"))
      .def("flush", &SpillWriter::flush);
}
