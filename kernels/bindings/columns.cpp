#include "columns.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Bytes = nb::ndarray<const std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Offsets = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Mask = nb::ndarray<const bool, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Records = nb::ndarray<std::uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Pages = nb::ndarray<const std::int64_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using View = nb::ndarray<nb::ro, nb::numpy>;

using Addresses = std::vector<std::uintptr_t>;
using StreamParts = std::tuple<int, int, int, std::int64_t, bool, std::int64_t, Pages>;
using ColumnParts = std::tuple<std::int64_t, std::int64_t>;
using FieldParts = std::tuple<std::int64_t, std::int64_t, int, std::int64_t, nb::bytes, nb::bytes, std::int64_t>;
using ArrayParts = std::tuple<int, Bytes, nb::object, std::int64_t>;

kernels::NumberType number_type(int code) {
  if (code < 0 || code >= kernels::n_number_types) throw std::invalid_argument("there is no such type of numbers");
  return static_cast<kernels::NumberType>(code);
}

kernels::DecompressorTable table_of(const Addresses& addresses, const nb::callable& fallback) {
  kernels::DecompressorTable table;
  void** const places[] = {&table.deflate_make, &table.deflate_run, &table.deflate_free, &table.lz4_run,
                           &table.zstd_make,    &table.zstd_run,    &table.zstd_free,    &table.lzma_run, &table.xxh3_run};
  if (addresses.size() != std::size(places)) throw std::invalid_argument("the decompressors have nine functions");
  for (std::size_t i = 0; i < addresses.size(); ++i) *places[i] = reinterpret_cast<void*>(addresses[i]);
  table.fallback = [fallback](kernels::Codec codec, const std::uint8_t* in, std::size_t n, std::uint8_t* out, std::size_t raw) {
    const nb::gil_scoped_acquire held;
    try {
      const nb::object result = fallback(static_cast<int>(codec), nb::bytes(in, n), raw);
      const auto bytes = nb::cast<nb::bytes>(result);
      if (bytes.size() != raw) throw kernels::DamagedBytes("a compressed frame has another size than it says");
      std::memcpy(out, bytes.c_str(), raw);
    } catch (const nb::python_error& error) {
      if (error.matches(PyExc_MemoryError) || !error.matches(PyExc_Exception)) throw;
      throw kernels::DamagedBytes(std::string("a compressed frame is damaged: ") + nb::str(error.value()).c_str());
    }
  };
  return table;
}

std::shared_ptr<kernels::SourceFile> memory_file(const std::vector<std::tuple<std::int64_t, nb::bytes>>& pieces) {
  std::vector<kernels::Piece> list;
  for (const auto& [offset, bytes] : pieces) {
    if (offset < 0) throw std::invalid_argument("a piece of a file lies before its beginning");
    PyObject* const object = bytes.ptr();
    Py_INCREF(object);
    const auto* const data = reinterpret_cast<const std::uint8_t*>(PyBytes_AS_STRING(object));
    list.push_back({offset, static_cast<std::int64_t>(PyBytes_GET_SIZE(object)), std::shared_ptr<const std::uint8_t>(data, [object](const std::uint8_t*) {
                      const nb::gil_scoped_acquire held;
                      Py_DECREF(object);
                    })});
  }
  return kernels::memory_file(std::move(list));
}

kernels::RowLayout* row_layout(const std::vector<FieldParts>& parts, std::int64_t record_bytes) {
  std::vector<kernels::RowField> fields;
  for (const auto& [column, offset, type, width, pad, value, mask] : parts) {
    kernels::RowField field{column, offset, number_type(type), width, {}, {}, mask};
    if (pad.size() > sizeof field.pad || value.size() > sizeof field.value) throw std::invalid_argument("a number has at most eight bytes");
    std::memcpy(field.pad, pad.c_str(), pad.size());
    std::memcpy(field.value, value.c_str(), value.size());
    fields.push_back(field);
  }
  return new kernels::RowLayout(kernels::make_layout(std::move(fields), record_bytes));
}

// The mask's bytes, null for None; that there is room for what it keeps.
const std::uint8_t* checked(const kernels::RowLayout& layout, std::int64_t n_columns, std::int64_t rows, const Records& out, const nb::object& mask,
                            Mask& held) {
  if (layout.n_columns > n_columns) throw std::invalid_argument("the layout has more columns than there are");
  if (static_cast<std::int64_t>(out.shape(1)) != layout.record_bytes) {
    throw std::invalid_argument("out needs " + std::to_string(layout.record_bytes) + " bytes a row");
  }
  std::int64_t kept = rows;
  const std::uint8_t* bytes = nullptr;
  if (!mask.is_none()) {
    held = nb::cast<Mask>(mask);
    if (static_cast<std::int64_t>(held.shape(0)) != rows) throw std::invalid_argument("the mask needs an element for each row");
    bytes = reinterpret_cast<const std::uint8_t*>(held.data());
    kept = rows - std::count(bytes, bytes + rows, std::uint8_t{0});
  }
  if (static_cast<std::int64_t>(out.shape(0)) < kept) throw std::invalid_argument("out has fewer rows than are kept");
  return bytes;
}

nb::dlpack::dtype dtype_of(kernels::NumberType type) {
  using Code = nb::dlpack::dtype_code;
  constexpr Code codes[kernels::n_number_types] = {Code::Bool, Code::Int,  Code::UInt, Code::Int,   Code::UInt,  Code::Int,
                                                   Code::UInt, Code::Int,  Code::UInt, Code::Float, Code::Float, Code::Float};
  return {static_cast<std::uint8_t>(codes[static_cast<int>(type)]), static_cast<std::uint8_t>(8 << kernels::size_log2(type)), 1};
}

// A view that keeps the memory alive, also when the reader takes other memory or goes.
View view_of(const void* data, std::size_t rank, const std::size_t* shape, std::shared_ptr<std::uint8_t[]> memory, nb::dlpack::dtype dtype) {
  static const std::uint64_t nothing = 0;
  using Held = std::shared_ptr<std::uint8_t[]>;
  const nb::capsule owner(new Held(std::move(memory)), [](void* held) noexcept { delete static_cast<Held*>(held); });
  return View(data == nullptr ? &nothing : data, rank, shape, owner, nullptr, dtype);
}

std::vector<kernels::Stream> streams_of(const std::vector<StreamParts>& parts) {
  std::vector<kernels::Stream> streams;
  for (const auto& [kind, type, encoding, items, jagged, header_bytes, pages] : parts) {
    if (kind < 0 || kind > 1 || encoding < 0 || encoding > 4 || pages.shape(1) != 7) throw std::invalid_argument("there is no such plan");
    kernels::Stream stream{static_cast<kernels::PageKind>(kind), number_type(type), static_cast<kernels::Encoding>(encoding), items, jagged, header_bytes, {}};
    stream.pages.reserve(pages.shape(0));
    for (std::size_t i = 0; i < pages.shape(0); ++i) {
      stream.pages.push_back({pages(i, 0), pages(i, 1), pages(i, 2), pages(i, 3), pages(i, 4), pages(i, 5), pages(i, 6) != 0});
    }
    streams.push_back(std::move(stream));
  }
  return streams;
}

std::vector<kernels::Column> columns_of(const std::vector<ColumnParts>& parts) {
  std::vector<kernels::Column> columns;
  for (const auto& [stream, offsets] : parts) {
    if (stream < 0) throw std::invalid_argument("a column has no stream");
    columns.push_back({static_cast<std::size_t>(stream), offsets});
  }
  return columns;
}

// What Python sees of a reader.
class Reader : public kernels::HeldReader {
 public:
  Reader(std::vector<std::shared_ptr<kernels::SourceFile>> files, const std::vector<StreamParts>& streams, const std::vector<ColumnParts>& columns,
         std::int64_t block_rows, const Addresses& addresses, const nb::callable& fallback, const std::string& target)
      : HeldReader(std::move(files), streams_of(streams), columns_of(columns), block_rows, table_of(addresses, fallback),
                   kernels::column_ops(target.c_str())) {}

  void read(std::int64_t start, std::int64_t stop) {
    const nb::gil_scoped_release release;
    use([&](kernels::ColumnReader& reader) { reader.read(start, stop); });
  }

  View values(std::size_t column) {
    return use([&](kernels::ColumnReader& reader) {
      const kernels::ColumnView& view = at(reader, column);
      const std::int64_t rows = view.offsets == nullptr ? reader.rows() : view.offsets[reader.rows()];
      const std::size_t shape[] = {static_cast<std::size_t>(reader.rows() == 0 ? 0 : rows), static_cast<std::size_t>(view.items)};
      return view_of(view.values, view.items == 1 ? 1 : 2, shape, reader.values_memory(column), dtype_of(view.type));
    });
  }

  nb::object offsets(std::size_t column) {
    return use([&](kernels::ColumnReader& reader) -> nb::object {
      const kernels::ColumnView& view = at(reader, column);
      if (!reader.jagged(column)) return nb::none();
      const std::size_t shape[] = {static_cast<std::size_t>(reader.rows()) + 1};
      return nb::cast(view_of(view.offsets, 1, shape, reader.offsets_memory(column), nb::dtype<std::int64_t>()));
    });
  }

  std::int64_t pack(const kernels::RowLayout& layout, const Records& out, const nb::object& mask) {
    return use([&](kernels::ColumnReader& reader) {
      Mask held;
      const std::uint8_t* const bytes = checked(layout, static_cast<std::int64_t>(reader.n_columns()), reader.rows(), out, mask, held);
      const nb::gil_scoped_release release;
      return reader.pack(layout, bytes, out.data(), layout.record_bytes);
    });
  }

  std::int64_t pack_range(const kernels::RowLayout& layout, std::int64_t start, std::int64_t stop, const Records& out) {
    if (start < 0 || stop < start) throw std::invalid_argument("these are no rows");
    return use([&](kernels::ColumnReader& reader) {
      Mask none;
      checked(layout, static_cast<std::int64_t>(reader.n_columns()), stop - start, out, nb::none(), none);
      std::uint8_t* to = out.data();
      const nb::gil_scoped_release release;
      for (std::int64_t row = start; row < stop;) {
        const std::int64_t next = std::min(stop, row + reader.block_rows());
        reader.read(row, next);
        to += reader.pack(layout, nullptr, to, layout.record_bytes) * layout.record_bytes;
        row = next;
      }
      return stop - start;
    });
  }

  std::int64_t rows() {
    return use([](kernels::ColumnReader& reader) { return reader.rows(); });
  }
  std::int64_t block_rows() {
    return use([](kernels::ColumnReader& reader) { return reader.block_rows(); });
  }

 private:
  static const kernels::ColumnView& at(const kernels::ColumnReader& reader, std::size_t column) {
    if (column >= reader.n_columns()) throw nb::index_error("the reader has no such column");
    return reader.view(column);
  }
};

std::int64_t pack_columns(const std::vector<ArrayParts>& arrays, std::int64_t rows, const kernels::RowLayout& layout, const Records& out,
                          const nb::object& mask, const std::string& target) {
  if (rows < 0) throw std::invalid_argument("there are no rows less than none");
  std::vector<kernels::ColumnView> views;
  std::vector<Offsets> held_offsets;
  for (const auto& [code, values, offsets, items] : arrays) {
    kernels::ColumnView view{number_type(code), values.data(), nullptr, items};
    if (items < 1) throw std::invalid_argument("a row has at least one value");
    std::int64_t elements = rows;
    if (!offsets.is_none()) {
      held_offsets.push_back(nb::cast<Offsets>(offsets));
      const Offsets& list = held_offsets.back();
      if (static_cast<std::int64_t>(list.shape(0)) != rows + 1 || list(0) < 0 || !std::is_sorted(list.data(), list.data() + rows + 1)) {
        throw std::invalid_argument("offsets are ascending, one more than there are rows");
      }
      view.offsets = list.data();
      elements = list(static_cast<std::size_t>(rows));
    }
    const auto there = static_cast<std::int64_t>(values.size()) / kernels::size_of(view.type);
    if (elements > 0 && elements > there / items) throw std::invalid_argument("a column has fewer values than its rows need");
    views.push_back(view);
  }
  Mask held;
  const std::uint8_t* const bytes = checked(layout, static_cast<std::int64_t>(views.size()), rows, out, mask, held);
  kernels::RowPacker packer(kernels::column_ops(target.c_str()));
  const nb::gil_scoped_release release;
  return packer.pack(layout, views.data(), rows, bytes, out.data(), layout.record_bytes);
}

nb::bytes decompress(const nb::bytes& data, std::size_t raw, const Addresses& addresses, const nb::callable& fallback) {
  kernels::Decompressor decompressor(table_of(addresses, fallback));
  const auto* const in = reinterpret_cast<const std::uint8_t*>(data.c_str());
  kernels::Decompressor::check(in, data.size(), raw);
  const std::unique_ptr<std::uint8_t[]> out(new std::uint8_t[raw + 1]);
  {
    const nb::gil_scoped_release release;
    decompressor.run(in, data.size(), out.get(), raw);
  }
  return nb::bytes(out.get(), raw);
}

void translate(const std::exception_ptr& pointer, void*) {
  try {
    std::rethrow_exception(pointer);
  } catch (const kernels::DecodeError& error) {
    const nb::object type = nb::module_::import_("kernels.columns").attr("DecodeError");
    const nb::object made = type(error.column, error.page, error.of_offsets, error.start, error.stop, error.what());
    PyErr_SetObject(type.ptr(), made.ptr());
  } catch (const kernels::DamagedBytes& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
  } catch (const std::system_error& error) {
    const nb::object made = nb::borrow(PyExc_OSError)(error.code().value(), error.what());
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(made.ptr())), made.ptr());
  }
}

}  // namespace

void bind_columns(nb::module_& module) {
  nb::register_exception_translator(translate);
  nb::class_<kernels::SourceFile>(module, "SourceFile", "A file, or pieces of one in memory, that readers share between threads.");
  module.def("open_file", &kernels::open_file, "path"_a, "A file to read from, open as long as the object lives.");
  module.def("memory_file", &memory_file, "pieces"_a, "Pieces of a file, each with its offset.");
  module.def("decompress", &decompress, "data"_a, "raw_bytes"_a, "addresses"_a, "fallback"_a, "What ROOT compressed, of a size that is known.");
  nb::class_<kernels::RowLayout>(module, "NativeLayout", "The fields of a record.").def("__init__", [](kernels::RowLayout* self, const std::vector<FieldParts>& fields, std::int64_t record_bytes) {
        const std::unique_ptr<kernels::RowLayout> made(row_layout(fields, record_bytes));
        new (self) kernels::RowLayout(std::move(*made));
      }, "fields"_a, "record_bytes"_a);
  nb::class_<kernels::HeldReader>(module, "HeldReader");  // so that other bindings can take readers
  nb::class_<Reader, kernels::HeldReader>(module, "NativeReader", "Decodes columns block by block.")
      .def(nb::init<std::vector<std::shared_ptr<kernels::SourceFile>>, const std::vector<StreamParts>&, const std::vector<ColumnParts>&, std::int64_t,
                    const Addresses&, const nb::callable&, const std::string&>(),
           "files"_a, "streams"_a, "columns"_a, "block_rows"_a, "addresses"_a, "fallback"_a, "target"_a = "")
      .def("read", &Reader::read, "start"_a, "stop"_a, "Decode some rows of all columns.")
      .def("values", &Reader::values, "column"_a, "A view of the block's values of a column.")
      .def("offsets", &Reader::offsets, "column"_a, "A view of where the block's rows begin in them, of a jagged column; else None.")
      .def("_pack", &Reader::pack, "layout"_a, nb::arg("out").noconvert(), "mask"_a = nb::none(), "The block's rows as records; how many are kept.")
      .def("_pack_range", &Reader::pack_range, "layout"_a, "start"_a, "stop"_a, nb::arg("out").noconvert(), "Read rows and pack them.")
      .def_prop_ro("rows", &Reader::rows, "Of the block.")
      .def_prop_ro("block_rows", &Reader::block_rows, "The most of a block.");
  module.def("pack_columns", &pack_columns, "columns"_a, "rows"_a, "layout"_a, nb::arg("out").noconvert(), "mask"_a = nb::none(), "target"_a = "",
             "Arrays as records; how many rows are kept.");
}
