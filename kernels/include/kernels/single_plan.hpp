// One event at a time: what the plan holds for it.
//
// Row. Each feature is searched among its cuts; the count of cuts at or below the value is a byte, and the bytes of all searches
// are the row. A feature with more than 255 cuts takes several searches, each with a stretch of its cuts. A node asks "is
// byte[column] > threshold", so one byte permutation and one comparison decide 64 nodes. Where a row misses a value, columns
// whose nodes send it left hold 0 and columns whose nodes send it right hold 255.
//
// Chunks. A tree is cut into chunks of up to seven connected nodes, one bit each. A table maps the bits of a chunk to its exit.
//   packs   perfect trees of up to nine levels, three levels a chunk, eight trees in step; a chunk's place follows from the exits taken
//   words   trees of any shape with up to 64 nodes: one comparison decides all nodes of a tree, a second one tells which chunks their
//           bits lead into, and the deepest of these holds the leaf
//
// Lanes. Forests that ask for more bytes a row than a register holds, and have trees close enough to perfect ones, go down sixteen
// trees at once where values can be gathered by sixteen lanes; see `SingleKind::lanes`.
//
// Forests of no kind take the walk.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/plan.hpp"
#include "kernels/single_engine.hpp"

namespace kernels {

constexpr std::uint32_t chunk_nodes = 7;
constexpr std::uint32_t chunk_patterns = 128;     // of a chunk's bits
constexpr std::uint32_t pack_trees = 8;           // trees that go down in step
constexpr std::uint32_t word_nodes = 64;          // nodes decided at once
constexpr std::uint32_t line_cuts = 16;           // cuts compared at once
constexpr std::uint32_t search_cuts = 255;        // of one search: its bin is a byte
constexpr std::uint32_t row_columns = 128;        // most columns of a row
constexpr std::uint32_t search_group = 8;         // searches come in groups, of one or of several lines
constexpr std::uint8_t never_right = 255;         // a threshold that no bin exceeds
constexpr std::uint32_t word_chunks = 16;         // most chunks of a tree of words; trees of 64 nodes need no more

constexpr std::uint32_t lane_trees = 16;          // trees that go down at once
constexpr std::uint32_t lane_groups = 2;          // of as many trees, that hide each other's waiting for memory
constexpr std::uint32_t lane_step = lane_groups * lane_trees;
constexpr std::uint32_t lane_top_levels = 4;
constexpr std::uint32_t lane_top_nodes = (1u << lane_top_levels) - 1;
constexpr std::uint32_t max_lane_depth = 12;
constexpr std::uint32_t lane_feature = (1u << 24) - 1;        // the bits of a node's feature; above it stand the flags
constexpr std::uint32_t lane_zero_is_missing = 1u << 30;      // as is NaN, for every node
constexpr std::uint32_t lane_missing_goes_right = 1u << 31;
constexpr std::uint32_t lane_doubles = 4096;      // most features of a row of doubles that is rounded to floats on the stack

// Perfect trees of at least four levels, `rounds` of them, ordered by output and filled up to a multiple of `lane_step`. For each
// sixteen of them
//   single_nodes   of each of the first 15 nodes, level by level, sixteen cuts (float), then sixteen features with flags
//   single_finals  of each further node sixteen pairs of a cut (the low half) and a feature with flags
// and for each tree `single_leaves` has its leaves from left to right. A value goes right at or above the cut, which is a float in
// every model: for rows of floats the smallest at or above the model's own decides alike.
enum class SingleKind : std::uint32_t { walk = 0, packs = 1, words = 2, lanes = 3 };

struct SingleForest {
  std::uint32_t kind;        // SingleKind
  std::uint32_t reason;      // why the walk, or lanes: a NotSingle
  std::uint32_t n_searches;  // one-line searches first
  std::uint32_t n_one_line;
  std::uint32_t n_columns;
  std::uint32_t plain_columns;  // each column is the byte that its search puts at its place
  std::uint32_t any_zero;       // some feature takes zero as missing
  std::uint32_t rounds;         // packs: chunks on the way from the root to a leaf; words: bytes of a mask, 4 or 8; lanes: levels
  std::uint32_t tree_middles;   // packs of three rounds: chunks of a tree in the second one
  std::uint32_t tree_finals;    // packs of two or three rounds: chunks of a tree in the last one
  std::uint32_t n_shapes;       // words
  std::uint32_t unused[5];
};

enum class NotSingle : std::uint32_t { no = 0, vector_leaves, categories, too_many_columns, not_planned, shape };

// The byte of a search among 64, or among 128 where there are more than 64 searches: groups are shifted in from the end.
constexpr std::uint32_t place_in_row(std::uint32_t search, std::uint32_t n_searches) {
  if (search >= 64) return 128 - n_searches + search;
  return n_searches < 64 ? 64 - n_searches + search : search;
}

struct SingleSearch {
  std::uint32_t feature;
  std::uint32_t first_line;  // of `lines`: a line of pivots, each the last cut of a line, then the lines; one line alone has no pivots
  std::uint32_t missing;     // kernels::Missing
  std::uint32_t unused;
};

// Trees that add to one output. Of packs they come eight by eight; the last eight may be filled up with trees whose leaves are all -0.0.
struct SingleOutput {
  std::uint32_t first_tree;
  std::uint32_t n_trees;  // without the ones that fill up
};

// A tree of the kind `words`: 64 columns, 64 thresholds, for each of 16 chunks the bits that lead there, for each the bits that
// matter, for each (uint16) its first bit (bits 0-5) and the number of its exit table, and 64 bits that mark the nodes with chunks
// below them: masks of four bytes are of these nodes' bits alone, moved together. Chunks come before the chunks that they hang
// from, so the first one reached is the deepest; the root's is the last in use and always reached.
constexpr std::size_t word_tree_bytes(std::size_t mask_bytes) { return 2 * word_nodes + 2 * word_chunks * mask_bytes + 64; }

// Entries of PlanHeader::single.
enum SingleSection : std::uint32_t {
  single_forest = 0,    // SingleForest
  single_searches,      // SingleSearch
  single_float_lines,   // float, NaN where a line is not full
  single_double_lines,  // double: of a double model only
  single_columns_of,    // uint8, 128 columns: the byte of the row for each, then 128 bytes: 255 where missing values go right
  single_outputs,       // SingleOutput
  single_nodes,         // uint8: of packs for each eight trees 64 columns, then 64 thresholds; of words the trees as above; uint32: of lanes
  single_middles,       // uint8: for each chunk eight columns, eight thresholds
  single_finals,        // of packs for each chunk eight columns, eight thresholds, eight leaves of the sum's real type; uint64: of lanes
  single_leaves,        // the sum's real type: of packs of one round eight a tree, of words eight for each of 16 chunks, of lanes all
  single_exits,         // uint32: of packs the tables from bits to byte offsets, 128 each
  single_shapes,        // uint8: of words the exit tables, 128 each
};
static_assert(single_shapes < sizeof(PlanHeader::single) / sizeof(Span), "the plan has no room for the sections");

}  // namespace kernels
