// The tensors that a contender in a process of its own is given.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "contender.hpp"

// Tensors with memory of their own, which is touched. The file has their number, then a line for each, which says whether it is an input,
// element, rank, shape and name; then the bytes of the inputs (`mlcore.benchmarks.native.write_tensors`).
struct Tensors {
  std::vector<Tensor> inputs, outputs;
  std::vector<std::unique_ptr<std::string>> names;
  std::vector<std::unique_ptr<std::vector<std::int64_t>>> shapes;

  explicit Tensors(const char* path) {
    std::ifstream file(path, std::ios::binary);
    std::size_t count = 0;
    file >> count;
    for (std::size_t i = 0; i < count; ++i) {
      int is_input = 0;
      Tensor tensor{};
      file >> is_input >> tensor.element >> tensor.rank;
      shapes.push_back(std::make_unique<std::vector<std::int64_t>>(tensor.rank));
      for (std::int64_t& size : *shapes.back()) file >> size;
      names.push_back(std::make_unique<std::string>());
      std::getline(file >> std::ws, *names.back());
      if (!file) throw std::runtime_error("the file of tensors cannot be read");
      tensor.name = names.back()->c_str(), tensor.shape = shapes.back()->data();
      tensor.data = std::aligned_alloc(64, (tensor.bytes() + 64) / 64 * 64);
      std::memset(tensor.data, 0, tensor.bytes());
      (is_input ? inputs : outputs).push_back(tensor);
    }
    for (const Tensor& tensor : inputs) file.read(static_cast<char*>(tensor.data), static_cast<std::streamsize>(tensor.bytes()));
    if (!file) throw std::runtime_error("the file of tensors is too short");
  }
};
