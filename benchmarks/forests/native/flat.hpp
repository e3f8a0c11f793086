// A forest as flat arrays, as benchmarks/forests/flat.py writes it, for the adapters that build their own structure from nodes.
#pragma once

#include <cstdio>
#include <memory>

#include "contender.hpp"

struct Flat {
  std::int32_t n_trees = 0, n_nodes = 0, n_features = 0, n_outputs = 0, less_equal = 0;
  std::vector<std::int32_t> start, output, feature, left, right, default_left;
  std::vector<float> threshold;
  std::vector<double> value, base;

  explicit Flat(const std::string& path) {
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
    if (!file) throw std::runtime_error("cannot open " + path);
    std::vector<std::int32_t> head;
    read(*file, head, 5);
    n_trees = head[0], n_nodes = head[1], n_features = head[2], n_outputs = head[3], less_equal = head[4];
    read(*file, start, n_trees + 1);
    read(*file, output, n_trees);
    read(*file, feature, n_nodes);
    read(*file, left, n_nodes);
    read(*file, right, n_nodes);
    read(*file, default_left, n_nodes);
    read(*file, threshold, n_nodes);
    read(*file, value, n_nodes);
    read(*file, base, n_outputs);
  }

 private:
  template <class T>
  static void read(std::FILE& file, std::vector<T>& into, std::size_t size) {
    into.resize(size);
    if (std::fread(into.data(), sizeof(T), size, &file) != size) throw std::runtime_error("the flat forest is too short");
  }
};
