// Bits above the feature's number in a node of the walk.
#pragma once

#include <cstdint>

namespace kernels {

constexpr std::uint32_t walk_max_features = (1u << 24) - 1;
constexpr std::uint32_t walk_leaf = 1u << 24;
constexpr std::uint32_t walk_default_left = 1u << 25;
constexpr std::uint32_t walk_zero_is_missing = 1u << 26;
constexpr std::uint32_t walk_less_equal = 1u << 27;
constexpr std::uint32_t walk_categorical = 1u << 28;
constexpr std::uint32_t walk_listed_left = 1u << 29;

struct WalkSet {
  std::uint32_t node;
  std::uint32_t first_word;
  std::uint32_t n_words;
};

}  // namespace kernels
