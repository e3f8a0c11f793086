// The plan of a forest: everything that its engines read, laid out once in one block of memory that holds offsets and no
// pointers. A plan is built by `build_plan`, stored in files, mapped back into memory and run where it lies.
//
// Cuts. Each numeric comparison becomes "x >= cut goes right": `x < t` has the cut t, `x <= t` the next number above t
// (NaN above infinity: no value goes right). The distinct cuts of a feature stand in ascending order, as the levels of a binary search tree: level l begins at entry 2^l, entry 0 is
// unused, and what is left over at the end holds NaN. Number k of a row's `bin` counts the cuts at or below its value.
//
// Planes. A condition (cut k of a feature is at or below the value) is one bit a row; the bits of a whole block of rows form a
// plane. Planes 0 and 1 are all zeros and all ones. A plane has a direction, the bit that rows without a value get; where nodes of a cut
// disagree about it, the cut has a second plane among the feature's extras.
//
// Sliced trees. A tree of depth D has 2^D - 1 nodes, each naming the plane that decides it, and 2^D leaves. A tree that is too deep
// or too empty is rebalanced into a perfect one whose conditions are conjunctions of the path's ("chains").
#pragma once

#include <cstddef>
#include <cstdint>

namespace kernels {

constexpr unsigned char plan_magic[8] = {'F','O','R','E','S','T','P','1'};
constexpr std::uint32_t plan_version = 2;
constexpr std::uint32_t byte_depth = 8;   // of a tree whose leaves a byte can number
constexpr std::uint32_t max_depth = 12;   // of a sliced tree
constexpr std::uint32_t max_levels = 16;  // of a feature's cuts
constexpr std::uint32_t plane_zeros = 0;
constexpr std::uint32_t plane_ones = 1;

// Which values take the node's default direction.
enum class Missing : std::uint8_t {
  none = 0,  // no value does; NaN is read as zero
  zero = 1,  // |x| <= zero_threshold does, and so does NaN
  nan = 2,   // NaN does
};

// From the margins of a row to its prediction; s is `link_scale`, d is `divisor`, m the margin over d.
enum class Link : std::uint32_t {
  identity = 0,
  sigmoid = 1,  // 1 / (1 + exp(-s m))
  exp = 2,
  softmax = 3,
  argmax = 4,         // the number of the first largest margin
  step = 5,           // 1 where m > 0, else 0
  log1p_exp = 6,      // log(1 + exp(m))
  signed_square = 7,  // sign(m) m^2
  sigmoid_pair = 8,   // 1 - p and p with p = 1 / (1 + exp(-s m))
  tanh_half = 9,      // 2 / (1 + exp(-2 m)) - 1
  complement_pair = 10,  // 1 - m and m
  exp2 = 11,             // 2^(-s m)
};
constexpr std::uint32_t n_links = 12;

// One sum gives two columns.
constexpr bool is_pair(Link link) { return link == Link::sigmoid_pair || link == Link::complement_pair; }

struct Span {
  std::uint64_t offset;  // bytes from the plan's start; a multiple of 64
  std::uint64_t count;   // elements
};

struct PlanFeature {
  std::uint32_t n_cuts;
  std::uint32_t levels;       // the smallest number with n_cuts < 2^levels
  std::uint32_t first_cut;    // entries in `float_cuts` and `double_cuts`: 2^levels of them
  std::uint32_t first_plane;  // of cut 0; the other cuts' planes follow, then the extras', then the sets'
  std::uint32_t first_direction;  // entry in `directions`: one for each of the planes
  std::uint32_t first_extra;      // entry in `extras`: the cut of each extra plane
  std::uint32_t n_extras;
  std::uint32_t missing;  // kernels::Missing of all nodes of the feature
  // A categorical feature has classes of categories that no node tells apart; its bin is the class, 0 for what no set lists.
  std::uint32_t n_categories;  // 0: numeric
  std::uint32_t first_class;   // entry in `classes`: the class of each category
  std::uint32_t first_set;     // entry in `sets`
  std::uint32_t n_sets;
  std::uint32_t truncates;  // -1 < x < 0 reads as category 0
  std::uint32_t unused;
};

// A set's plane is the union of classes from <= bin < to.
struct PlanSet {
  std::uint32_t first_run;  // entry in `runs`
  std::uint32_t n_runs;
};
struct PlanRun {
  std::uint32_t from;
  std::uint32_t to;
};

// Plane n_planes + i of a tree's chain: plane[first] & (plane[second] ^ flip), flip being all zeros or all ones.
struct PlanChain {
  std::uint32_t first;
  std::uint32_t second;
  std::uint32_t flip;
};

struct PlanTree {
  std::uint32_t depth;
  std::uint32_t output;
  std::uint32_t first_node;  // entry in `nodes`: 2^depth - 1 planes, level by level
  std::uint32_t first_leaf;  // entry in `leaves`: 2^depth numbers, or for vector leaves 2^depth for each output in turn
  std::uint32_t first_chain;
  std::uint32_t n_chains;
  std::uint32_t first_byte;   // entry in `leaf_bytes`, see `leaf_bytes_of`; for vector leaves each output's bytes in turn
  std::uint32_t is_compact;   // 128 bytes that number the leaves anew, below 64, stand before the leaves' bytes
};

// Bytes in `leaf_bytes` for one output of a tree of this depth: byte j of all its leaves, after byte j - 1 of all. Shallower trees
// are looked up as they are.
constexpr std::uint32_t leaf_bytes_of(std::uint32_t depth, bool sum_is_double, bool is_compact) {
  if (sum_is_double) return is_compact ? 128 + 8 * 64 : depth >= 5 && depth <= 7 ? 8u << (depth < 6 ? 6 : depth) : 0;
  return depth >= 6 && depth <= byte_depth ? 4u << depth : 0;
}

// A node of the walk: the right child follows the left one. For a leaf `next` is its index in `walk_values` (times the width).
template <class T>
struct WalkNode {
  T threshold;
  std::uint32_t next;
  std::uint32_t feature_and_flags;
};

struct PlanHeader {
  std::uint8_t magic[8];
  std::uint32_t version;
  std::uint32_t n_features;
  std::uint32_t n_outputs;
  std::uint32_t n_trees;
  std::uint64_t size;  // of the whole plan, bytes
  double zero_threshold;
  double link_scale;
  double divisor;
  std::uint32_t link;
  std::uint32_t threshold_is_double;
  std::uint32_t sum_is_double;
  std::uint32_t vector_leaves;  // a leaf adds a number to each output
  std::uint32_t is_sliced;      // features, cuts, planes and sliced trees are there
  std::uint32_t n_planes;
  std::uint32_t n_scratch;   // planes that the longest chain needs
  std::uint32_t not_sliced;  // why not: a NotSliced

  Span base;  // the sum's real type, n_outputs

  Span features;     // PlanFeature
  Span float_cuts;   // float: for float rows; of a double model the smallest float at or above each cut
  Span double_cuts;  // double: of a double model only
  Span directions;   // uint32, 0 or ~0
  Span extras;       // uint32
  Span classes;      // uint16
  Span sets;         // PlanSet
  Span runs;         // PlanRun

  Span trees;       // PlanTree, ordered by output, otherwise in the forest's order
  Span nodes;       // uint16
  Span chains;      // PlanChain
  Span leaves;      // the sum's real type
  Span leaf_bytes;  // uint8: the leaves' bytes apart, for lookups by permutation

  Span walk_nodes;       // WalkNode<threshold's real type>
  Span walk_roots;       // uint32
  Span walk_outputs;     // uint32
  Span walk_values;      // the sum's real type
  Span walk_leaf_nodes;  // int32: the number of each leaf within its tree
  Span walk_sets;        // three uint32: node, first word, number of words
  Span walk_words;       // uint32

  Span single[12];  // what single events are evaluated from: single_event.hpp
};

enum class NotSliced : std::uint32_t { no = 0, big_tree, too_many_planes, too_many_cuts, mixed_missing, mixed_kinds };

template <class T>
const T* section(const PlanHeader* plan, const Span& span) {
  return reinterpret_cast<const T*>(reinterpret_cast<const unsigned char*>(plan) + span.offset);
}

}  // namespace kernels
