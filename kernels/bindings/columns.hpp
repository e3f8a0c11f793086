// A reader as Python holds it, and how other bindings (of orders and spills) reach the kernels behind it.
#pragma once

#include <atomic>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "../src/column_reader.hpp"

namespace kernels {

// A thread's turn with something that is for one at a time: others get an error and not each other's numbers.
class Turn {
 public:
  explicit Turn(std::atomic_flag& busy) : busy_(busy) {
    if (busy.test_and_set(std::memory_order_acquire)) throw std::runtime_error("another thread uses this reader: give each its own");
  }
  ~Turn() { busy_.clear(std::memory_order_release); }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  std::atomic_flag& busy_;
};

// What `_native.NativeReader` is. `nb::cast<HeldReader&>(object)` gives it for a `kernels.ColumnReader` as well.
class HeldReader {
 public:
  HeldReader(std::vector<std::shared_ptr<SourceFile>> files, std::vector<Stream> streams, std::vector<Column> columns, std::int64_t block_rows,
             DecompressorTable table, const ColumnOps& ops)
      : reader_(std::move(files), std::move(streams), std::move(columns), block_rows, std::move(table), ops) {}
  HeldReader(const HeldReader&) = delete;
  HeldReader& operator=(const HeldReader&) = delete;

  // f(ColumnReader&), in turn; call it without the GIL where f takes long.
  template <class F>
  decltype(auto) use(F&& f) {
    const Turn turn(busy_);
    return f(reader_);
  }

 private:
  ColumnReader reader_;
  std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
};

}  // namespace kernels
