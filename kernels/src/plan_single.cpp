// What the plan holds for single events: searches, columns and chunks of trees.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <stdexcept>
#include <tuple>

#include "kernels/forest.hpp"
#include "kernels/single_event.hpp"
#include "planner.hpp"

namespace kernels {
namespace {

constexpr std::uint32_t max_pack_depth = 9;
constexpr std::size_t small_packs = std::size_t(1) << 20;  // bytes of perfect trees that cost nothing to speak of

// The exit (0 to 7) of a perfect chunk of three levels whose node i, level by level, is bit i: set where it goes right.
std::uint32_t perfect_exit(std::uint32_t bits) {
  const std::uint32_t first = bits & 1;
  const std::uint32_t second = bits >> (1 + first) & 1;
  const std::uint32_t third = bits >> (3 + 2 * first + second) & 1;
  return 4 * first + 2 * second + third;
}

// The smallest float at or above a cut.
float narrowed(double cut) {
  const float narrow = static_cast<float>(cut);
  return static_cast<double>(narrow) < cut ? std::nextafter(narrow, std::numeric_limits<float>::infinity()) : narrow;
}

// Which column of the row a node reads, and the bin that its value has to exceed to go right.
struct Question {
  std::uint8_t column = 0;
  std::uint8_t threshold = never_right;
};

// ---- Searches and columns --------------------------------------------------------------------------------------------

class Questions {
 public:
  Questions(const ForestTables& t, const PlannedFeatures& planned)
      : t_(t), planned_(planned), single_(t.threshold_precision == Precision::single_precision) {
    if (planned.reason != NotSliced::no) {
      reason_ = NotSingle::not_planned;
      return;
    }
    lay_out_searches();
    if (reason_ == NotSingle::no) lay_out_columns();
  }

  NotSingle reason() const { return reason_; }

  Question of(std::size_t node) const {
    return {static_cast<std::uint8_t>(columns_[column_key(node)]),
            static_cast<std::uint8_t>(planned_.node_cut[node] % search_cuts)};
  }

  void write(SingleForest& forest, PlanWriter& writer) const {
    forest.n_searches = static_cast<std::uint32_t>(searches_.size());
    forest.n_one_line = n_one_line_;
    forest.n_columns = is_plain_ ? (searches_.size() > 64 ? 128 : 64) : n_columns_;
    forest.plain_columns = is_plain_;
    forest.any_zero = std::any_of(searches_.begin(), searches_.end(), [](const SingleSearch& search) {
      return search.missing == static_cast<std::uint32_t>(Missing::zero);
    });
    std::vector<std::uint8_t> columns(2 * row_columns, 0);
    for (std::uint32_t key = 0; key < columns_.size(); ++key) {
      if (columns_[key] == no_column) continue;
      columns[columns_[key]] = static_cast<std::uint8_t>(place_in_row(key / 2, forest.n_searches));
      columns[row_columns + columns_[key]] = key % 2 != 0 ? 255 : 0;
    }
    writer.header.single[single_searches] = writer.add(searches_);
    writer.header.single[single_float_lines] = writer.add(float_lines_);
    writer.header.single[single_double_lines] = writer.add(double_lines_);
    writer.header.single[single_columns_of] = writer.add(columns);
  }

 private:
  static constexpr std::uint32_t no_column = ~0u;

  // Nodes of one search and one direction of missing values share a column.
  std::size_t column_key(std::size_t node) const {
    const std::uint32_t first = first_search_[static_cast<std::size_t>(t_.feature[node])];
    return 2 * place_[first + planned_.node_cut[node] / search_cuts] + planned_.node_direction[node];
  }

  struct Stretch {
    std::uint32_t feature;
    const double* first;
    std::size_t size;
    std::uint32_t number;
  };

  void lay_out_searches() {
    std::vector<Stretch> stretches;
    for (std::uint32_t f = 0; f < t_.n_features; ++f) {
      if (planned_.features[f].n_categories != 0) {
        reason_ = NotSingle::categories;
        return;
      }
      first_search_.push_back(static_cast<std::uint32_t>(stretches.size()));
      const double* cuts = planned_.sorted_cuts.data() + planned_.first_sorted_cut[f];
      const std::size_t n_cuts = planned_.features[f].n_cuts;
      for (std::size_t from = 0; from < n_cuts; from += search_cuts) {
        const std::size_t size = std::min<std::size_t>(search_cuts, n_cuts - from);
        stretches.push_back({f, cuts + from, size, static_cast<std::uint32_t>(stretches.size())});
      }
    }
    if (stretches.size() > row_columns) {
      reason_ = NotSingle::too_many_columns;
      return;
    }
    std::stable_sort(stretches.begin(), stretches.end(), [](const Stretch& a, const Stretch& b) {
      return (a.size <= line_cuts) > (b.size <= line_cuts);
    });
    place_.resize(stretches.size());
    bool one_lines_end = false;
    for (const Stretch& stretch : stretches) {
      if (stretch.size > line_cuts && !one_lines_end) {
        fill_group();
        n_one_line_ = static_cast<std::uint32_t>(searches_.size());
        one_lines_end = true;
      }
      place_[stretch.number] = static_cast<std::uint32_t>(searches_.size());
      const auto first_line = static_cast<std::uint32_t>(float_lines_.size() / line_cuts);
      searches_.push_back({stretch.feature, first_line, planned_.features[stretch.feature].missing, 0});
      if (stretch.size > line_cuts) {
        for (std::size_t i = 1; i <= line_cuts; ++i) push_cut(stretch, i * line_cuts - 1);
      }
      const std::size_t n_lines = (stretch.size + line_cuts - 1) / line_cuts;
      // Where the last line is full, values at or above its last cut look into a line of their own, which is empty.
      const bool overflows = n_lines > 1 && stretch.size % line_cuts == 0;
      for (std::size_t i = 0; i < (n_lines + overflows) * line_cuts; ++i) push_cut(stretch, i);
    }
    fill_group();
    if (!one_lines_end) n_one_line_ = static_cast<std::uint32_t>(searches_.size());
    if (searches_.size() > row_columns) reason_ = NotSingle::too_many_columns;
  }

  // Fills the searches up to a multiple of eight by some that find nothing: a line of pivots and one of cuts, all empty.
  void fill_group() {
    const auto first_line = static_cast<std::uint32_t>(float_lines_.size() / line_cuts);
    const Stretch empty{0, nullptr, 0, 0};
    bool is_used = false;
    for (; searches_.size() % search_group != 0; is_used = true) searches_.push_back({0, first_line, 0, 0});
    for (std::size_t i = 0; is_used && i < 2 * line_cuts; ++i) push_cut(empty, i);
  }

  void push_cut(const Stretch& stretch, std::size_t i) {
    const double cut = i < stretch.size ? stretch.first[i] : std::numeric_limits<double>::quiet_NaN();
    float_lines_.push_back(narrowed(cut));
    if (!single_) double_lines_.push_back(cut);
  }

  void lay_out_columns() {
    columns_.assign(2 * searches_.size(), no_column);
    for (std::size_t node = 0; node < t_.feature.size; ++node) {
      if (t_.feature[node] >= 0) columns_[column_key(node)] = 0;
    }
    is_plain_ = true;
    for (std::size_t key = 0; key < columns_.size(); key += 2) {
      is_plain_ = is_plain_ && (columns_[key] == no_column || columns_[key + 1] == no_column);
    }
    const auto n_searches = static_cast<std::uint32_t>(searches_.size());
    for (std::uint32_t key = 0; key < columns_.size(); ++key) {
      if (columns_[key] == no_column) continue;
      // Where no search serves two directions, its byte stays where the search puts it.
      columns_[key] = is_plain_ ? place_in_row(key / 2, n_searches) : n_columns_;
      ++n_columns_;
    }
    if (n_columns_ > row_columns) reason_ = NotSingle::too_many_columns;
  }

  const ForestTables& t_;
  const PlannedFeatures& planned_;
  const bool single_;
  NotSingle reason_ = NotSingle::no;
  std::vector<std::uint32_t> first_search_;  // of each feature
  std::vector<std::uint32_t> place_;  // of the searches, in the order of the cuts
  std::vector<SingleSearch> searches_;
  std::uint32_t n_one_line_ = 0;
  bool is_plain_ = false;
  std::vector<float> float_lines_;
  std::vector<double> double_lines_;
  std::vector<std::uint32_t> columns_;  // by `column_key`
  std::uint32_t n_columns_ = 0;
};

// ---- Trees -----------------------------------------------------------------------------------------------------------

// The trees of each output, in the forest's order.
std::vector<std::vector<std::size_t>> trees_by_output(const ForestTables& t) {
  std::vector<std::vector<std::size_t>> trees(t.n_outputs);
  for (std::size_t tree = 0; tree + 1 < t.tree_start.size; ++tree) {
    trees[static_cast<std::size_t>(t.tree_output[tree])].push_back(tree);
  }
  return trees;
}

template <class S>
void append_number(std::vector<std::uint8_t>& bytes, S value) {
  const std::size_t at = bytes.size();
  bytes.resize(at + sizeof value);
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

// A tree filled up to a perfect one: questions level by level, leaves from left to right.
template <class S, class Asked>
struct PerfectTree {
  std::vector<Asked> questions;
  std::vector<S> leaves;

  explicit PerfectTree(std::uint32_t depth) : questions((std::size_t(1) << depth) - 1), leaves(std::size_t(1) << depth, S(-0.0)) {}

  // `ask`: from the number of a node to what it asks.
  template <class Ask>
  void fill(const ForestTables& t, const Ask& ask, std::size_t tree, std::uint32_t depth) {
    fill(t, ask, static_cast<std::size_t>(t.tree_start[tree]), 0, depth, 0);
  }

  // Three levels (or the `levels` that there are) from `level` on, below the position `at` in it.
  void append_chunk(std::uint32_t level, std::size_t at, std::uint32_t levels, std::uint8_t* columns, std::uint8_t* thresholds) const {
    for (std::uint32_t i = 0; i < 8; ++i) {
      columns[i] = 0;
      thresholds[i] = never_right;
    }
    for (std::uint32_t l = 0; l < levels; ++l) {
      for (std::size_t i = 0; i < std::size_t(1) << l; ++i) {
        const Question& question = questions[(std::size_t(1) << (level + l)) - 1 + (at << l) + i];
        columns[(1u << l) - 1 + i] = question.column;
        thresholds[(1u << l) - 1 + i] = question.threshold;
      }
    }
  }

 private:
  template <class Ask>
  void fill(const ForestTables& t, const Ask& ask, std::size_t first, std::int32_t node, std::uint32_t left, std::size_t place) {
    const std::size_t i = first + static_cast<std::size_t>(node);
    if (t.feature[i] < 0) {
      // Every way on from here, whatever the nodes filled in say, ends in this leaf.
      std::size_t from = place;
      for (std::uint32_t l = 0; l < left; ++l) from = 2 * from + 1;
      const std::size_t at = from - (leaves.size() - 1);
      for (std::size_t l = 0; l < std::size_t(1) << left; ++l) leaves[at + l] = static_cast<S>(t.value[i]);
      return;
    }
    questions[place] = ask(i);
    fill(t, ask, first, t.left[i], left - 1, 2 * place + 1);
    fill(t, ask, first, t.right[i], left - 1, 2 * place + 2);
  }
};

template <class S>
void write_packs(const ForestTables& t, const Questions& questions, std::uint32_t depth, SingleForest& forest, PlanWriter& writer) {
  depth = std::max(depth, 1u);
  const std::uint32_t rounds = (depth + 2) / 3;
  const std::uint32_t root_levels = depth - 3 * (rounds - 1);
  const std::uint32_t root_exits = 1u << root_levels;
  const std::uint32_t leaf_bytes = sizeof(S);
  const std::uint32_t final_bytes = 16 + 8 * leaf_bytes;
  forest.kind = static_cast<std::uint32_t>(SingleKind::packs);
  forest.rounds = rounds;
  forest.tree_middles = rounds == 3 ? root_exits : 0;
  forest.tree_finals = rounds == 1 ? 0 : rounds == 2 ? root_exits : 8 * root_exits;

  std::vector<std::uint32_t> exits(4 * chunk_patterns, 0);
  for (std::uint32_t bits = 0; bits < chunk_patterns; ++bits) {
    const std::uint32_t exit = perfect_exit(bits);
    const std::uint32_t root_exit = exit >> (3 - root_levels);
    if (rounds == 2) exits[bits] = root_exit * final_bytes;
    if (rounds == 3) {
      exits[bits] = root_exit * 16;
      exits[chunk_patterns + bits] = root_exit * 8 * final_bytes;
      exits[2 * chunk_patterns + bits] = exit * final_bytes;
    }
    exits[(rounds == 3 ? 3 : rounds - 1) * chunk_patterns + bits] = exit * leaf_bytes;
  }

  std::vector<SingleOutput> outputs;
  std::vector<std::uint8_t> nodes;
  std::vector<std::uint8_t> middles;
  std::vector<std::uint8_t> finals;
  std::vector<std::uint8_t> leaves;
  std::uint8_t columns[8];
  std::uint8_t thresholds[8];
  std::uint32_t n_trees = 0;
  for (const auto& trees : trees_by_output(t)) {
    outputs.push_back({n_trees, static_cast<std::uint32_t>(trees.size())});
    const std::size_t padded = (trees.size() + pack_trees - 1) / pack_trees * pack_trees;
    for (std::size_t i = 0; i < padded; ++i, ++n_trees) {
      PerfectTree<S, Question> tree(depth);
      if (i < trees.size()) tree.fill(t, [&](std::size_t node) { return questions.of(node); }, trees[i], depth);
      if (i % pack_trees == 0) nodes.resize(nodes.size() + 2 * word_nodes);
      tree.append_chunk(0, 0, root_levels, columns, thresholds);
      std::uint8_t* word = nodes.data() + nodes.size() - 2 * word_nodes + i % pack_trees * 8;
      std::copy(columns, columns + 8, word);
      std::copy(thresholds, thresholds + 8, word + word_nodes);
      for (std::uint32_t k = 0; k < forest.tree_middles; ++k) {
        tree.append_chunk(root_levels, k, 3, columns, thresholds);
        middles.insert(middles.end(), columns, columns + 8);
        middles.insert(middles.end(), thresholds, thresholds + 8);
      }
      for (std::uint32_t k = 0; k < forest.tree_finals; ++k) {
        tree.append_chunk(depth - 3, k, 3, columns, thresholds);
        finals.insert(finals.end(), columns, columns + 8);
        finals.insert(finals.end(), thresholds, thresholds + 8);
        for (std::size_t l = 0; l < 8; ++l) append_number(finals, tree.leaves[8 * k + l]);
      }
      for (std::uint32_t exit = 0; rounds == 1 && exit < 8; ++exit) append_number(leaves, tree.leaves[exit >> (3 - root_levels)]);
    }
  }
  writer.header.single[single_outputs] = writer.add(outputs);
  writer.header.single[single_nodes] = writer.add(nodes);
  writer.header.single[single_middles] = writer.add(middles);
  writer.header.single[single_finals] = writer.add(finals);
  writer.header.single[single_leaves] = writer.add(leaves);
  writer.header.single[single_exits] = writer.add(exits);
}

// ---- Words -----------------------------------------------------------------------------------------------------------

// The exit tables of the shapes of chunks that occur.
class ExitTables {
 public:
  // `nodes`: of each node in turn its left and its right child, either a node's number or -1 - an exit's number.
  std::uint32_t number(const std::vector<std::pair<int, int>>& nodes) {
    const auto [found, is_new] = numbers_.emplace(nodes, static_cast<std::uint32_t>(bytes_.size() / chunk_patterns));
    if (!is_new) return found->second;
    for (std::uint32_t bits = 0; bits < chunk_patterns; ++bits) {
      int at = nodes.empty() ? -1 : 0;
      while (at >= 0) {
        const auto& [left, right] = nodes[static_cast<std::size_t>(at)];
        at = (bits >> at & 1) != 0 ? right : left;
      }
      bytes_.push_back(static_cast<std::uint8_t>(-1 - at));
    }
    return found->second;
  }

  const std::vector<std::uint8_t>& bytes() const { return bytes_; }

 private:
  std::map<std::vector<std::pair<int, int>>, std::uint32_t> numbers_;
  std::vector<std::uint8_t> bytes_;
};

// One tree of at most 64 splits, cut into chunks from below: where a node and what hangs on to it from both sides are too many for
// a chunk, the larger side is cut off. Chunks of seven nodes cut off four or more, so there are at most 16 chunks; chunks of six
// have fewer shapes, whose tables stay in the first cache, and mostly do with 16 as well.
class WordTree {
 public:
  struct Chunk {
    std::int32_t root;
    std::vector<std::int32_t> nodes;
    std::vector<std::pair<int, int>> children;  // as ExitTables::number takes them
    std::vector<std::int32_t> exits;            // leaves, or roots of other chunks
    std::uint32_t first_bit = 0;
    std::uint64_t expected = 0;
    std::uint64_t asked = 0;
  };

  WordTree(const ForestTables& t, std::size_t tree)
      : t_(t),
        first_(static_cast<std::size_t>(t.tree_start[tree])),
        bits_(static_cast<std::size_t>(t.tree_start[tree + 1]) - first_, 0) {
    for (most_nodes_ = chunk_nodes - 1; most_nodes_ <= chunk_nodes; ++most_nodes_) {
      is_cut_.assign(bits_.size(), false);
      cut(0);
      is_cut_[0] = true;
      if (std::count(is_cut_.begin(), is_cut_.end(), true) <= static_cast<std::ptrdiff_t>(word_chunks)) break;
    }
    collect(0);
    number_bits();
    find_ways(0, 0, 0);
  }

  const std::vector<Chunk>& chunks() const { return chunks_; }
  std::uint32_t bit(std::int32_t node) const { return bits_[static_cast<std::size_t>(node)]; }
  std::size_t index(std::int32_t node) const { return first_ + static_cast<std::size_t>(node); }
  bool is_leaf(std::int32_t node) const { return t_.feature[index(node)] < 0; }

  // The bits of all nodes that some chunk hangs below.
  std::uint64_t inner_nodes() const {
    std::uint64_t all = 0;
    for (const Chunk& chunk : chunks_) all |= chunk.asked;
    return all;
  }

 private:
  // Nodes that hang together with `node`, itself included, after the cuts.
  std::uint32_t cut(std::int32_t node) {
    if (is_leaf(node)) return 0;
    const std::int32_t left = t_.left[index(node)];
    const std::int32_t right = t_.right[index(node)];
    std::uint32_t on_left = cut(left);
    std::uint32_t on_right = cut(right);
    while (1 + on_left + on_right > most_nodes_) {
      const bool cut_left = on_left >= on_right;
      is_cut_[static_cast<std::size_t>(cut_left ? left : right)] = true;
      (cut_left ? on_left : on_right) = 0;
    }
    return 1 + on_left + on_right;
  }

  // The chunk of `node` after all chunks that hang from it.
  void collect(std::int32_t node) {
    Chunk chunk;
    chunk.root = node;
    if (is_leaf(node)) {
      chunk.exits.push_back(node);
    } else {
      take(node, chunk);
    }
    for (const std::int32_t exit : chunk.exits) {
      if (exit == node || !is_cut_[static_cast<std::size_t>(exit)]) continue;
      collect(exit);
    }
    chunks_.push_back(std::move(chunk));
  }

  int take(std::int32_t node, Chunk& chunk) {
    if (is_leaf(node) || (node != chunk.root && is_cut_[static_cast<std::size_t>(node)])) {
      chunk.exits.push_back(node);
      return -static_cast<int>(chunk.exits.size());
    }
    const std::size_t number = chunk.nodes.size();
    chunk.nodes.push_back(node);
    chunk.children.push_back({0, 0});
    const int left = take(t_.left[index(node)], chunk);
    const int right = take(t_.right[index(node)], chunk);
    chunk.children[number] = {left, right};
    return static_cast<int>(number);
  }

  void number_bits() {
    std::uint32_t next = 0;
    for (Chunk& chunk : chunks_) {
      chunk.first_bit = next;
      for (const std::int32_t node : chunk.nodes) bits_[static_cast<std::size_t>(node)] = next++;
    }
  }

  void find_ways(std::int32_t node, std::uint64_t expected, std::uint64_t asked) {
    if (is_cut_[static_cast<std::size_t>(node)]) {
      const auto chunk = std::find_if(chunks_.begin(), chunks_.end(), [&](const Chunk& c) { return c.root == node; });
      chunk->expected = expected;
      chunk->asked = asked;
    }
    if (is_leaf(node)) return;
    const std::uint64_t own = std::uint64_t(1) << bit(node);
    find_ways(t_.left[index(node)], expected, asked | own);
    find_ways(t_.right[index(node)], expected | own, asked | own);
  }

  const ForestTables& t_;
  const std::size_t first_;
  std::uint32_t most_nodes_ = 0;     // of a chunk
  std::vector<std::uint32_t> bits_;  // of each node
  std::vector<bool> is_cut_;         // the node begins a chunk
  std::vector<Chunk> chunks_;
};

std::size_t count_bits(std::uint64_t bits) {
  std::size_t n = 0;
  for (; bits != 0; bits &= bits - 1) ++n;
  return n;
}

// The bits of `bits` that `mask` marks, moved together.
std::uint64_t gathered(std::uint64_t bits, std::uint64_t mask) {
  std::uint64_t result = 0;
  for (std::uint32_t next = 0; mask != 0; mask &= mask - 1, ++next) {
    if ((bits & mask & (~mask + 1)) != 0) result |= std::uint64_t(1) << next;
  }
  return result;
}

template <class Mask>
void append_word(const WordTree& tree, const Questions& questions, ExitTables& tables, std::vector<std::uint8_t>& out) {
  const std::size_t from = out.size();
  out.resize(from + 2 * word_nodes, 0);
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(from + word_nodes), out.end(), never_right);
  const std::uint64_t inner_nodes = tree.inner_nodes();
  const auto mask = [&](std::uint64_t bits) { return static_cast<Mask>(sizeof(Mask) == 4 ? gathered(bits, inner_nodes) : bits); };
  Mask masks[2 * word_chunks] = {};
  std::uint16_t places[word_chunks] = {};
  for (std::size_t i = 0; i < tree.chunks().size(); ++i) {
    const WordTree::Chunk& chunk = tree.chunks()[i];
    for (const std::int32_t node : chunk.nodes) {
      const Question question = questions.of(tree.index(node));
      out[from + tree.bit(node)] = question.column;
      out[from + word_nodes + tree.bit(node)] = question.threshold;
    }
    masks[i] = mask(chunk.expected);
    masks[word_chunks + i] = mask(chunk.asked);
    places[i] = static_cast<std::uint16_t>((chunk.first_bit & 63) | tables.number(chunk.children) << 6);
  }
  for (const Mask bits : masks) append_number(out, bits);
  for (const std::uint16_t place : places) append_number(out, place);
  append_number(out, inner_nodes);
  out.resize(from + word_tree_bytes(sizeof(Mask)), 0);
}

template <class S>
void write_words(const ForestTables& t, const Questions& questions, SingleForest& forest, PlanWriter& writer) {
  std::vector<SingleOutput> outputs;
  std::vector<WordTree> words;
  for (const auto& trees : trees_by_output(t)) {
    outputs.push_back({static_cast<std::uint32_t>(words.size()), static_cast<std::uint32_t>(trees.size())});
    for (const std::size_t tree : trees) words.emplace_back(t, tree);
  }
  const bool narrow = std::all_of(words.begin(), words.end(), [](const WordTree& tree) { return count_bits(tree.inner_nodes()) <= 32; });
  std::vector<std::uint8_t> nodes;
  std::vector<S> leaves;
  ExitTables tables;
  for (const WordTree& tree : words) {
    if (narrow) {
      append_word<std::uint32_t>(tree, questions, tables, nodes);
    } else {
      append_word<std::uint64_t>(tree, questions, tables, nodes);
    }
    const std::size_t from = leaves.size();
    leaves.resize(from + 8 * word_chunks, S(0));
    for (std::size_t i = 0; i < tree.chunks().size(); ++i) {
      const auto& exits = tree.chunks()[i].exits;
      for (std::size_t k = 0; k < exits.size(); ++k) {
        if (tree.is_leaf(exits[k])) leaves[from + 8 * i + k] = static_cast<S>(t.value[tree.index(exits[k])]);
      }
    }
  }
  forest.kind = static_cast<std::uint32_t>(SingleKind::words);
  forest.rounds = narrow ? 4 : 8;
  forest.n_shapes = static_cast<std::uint32_t>(tables.bytes().size() / chunk_patterns);
  writer.header.single[single_outputs] = writer.add(outputs);
  writer.header.single[single_nodes] = writer.add(nodes);
  writer.header.single[single_leaves] = writer.add(leaves);
  writer.header.single[single_shapes] = writer.add(tables.bytes());
}

// ---- Lanes -----------------------------------------------------------------------------------------------------------

struct LaneNode {
  float cut = std::numeric_limits<float>::quiet_NaN();
  std::uint32_t feature = 0;  // and flags
};

// Whether perfect trees take little memory, or not much more than the forest's own.
bool are_near_perfect(std::size_t perfect_bytes, std::size_t n_splits, std::size_t leaf_bytes) {
  return perfect_bytes <= small_packs || perfect_bytes <= 3 * n_splits * (sizeof(WalkNode<float>) + leaf_bytes);
}

template <class S>
void write_lanes(const ForestTables& t, const PlannedFeatures& planned, const std::vector<TreeShape>& shapes, SingleForest& forest,
                 PlanWriter& writer) {
  std::uint32_t depth = lane_top_levels;
  std::size_t n_splits = 0;
  for (const TreeShape& shape : shapes) {
    depth = std::max(depth, shape.depth);
    n_splits += shape.n_splits;
  }
  const std::size_t n_trees = (shapes.size() + lane_step - 1) / lane_step * lane_step;
  if (depth > max_lane_depth || !are_near_perfect((n_trees << depth) * (sizeof(LaneNode) + sizeof(S)), n_splits, sizeof(S))) return;
  const auto ask = [&](std::size_t i) {
    const auto f = static_cast<std::uint32_t>(t.feature[i]);
    LaneNode node{narrowed(planned.sorted_cuts[planned.first_sorted_cut[f] + planned.node_cut[i]]), f};
    if (planned.features[f].missing == static_cast<std::uint32_t>(Missing::zero)) node.feature |= lane_zero_is_missing;
    if (planned.node_direction[i] != 0) node.feature |= lane_missing_goes_right;
    return node;
  };
  const std::size_t n_below = (std::size_t(1) << depth) - 1 - lane_top_nodes;
  std::vector<SingleOutput> outputs;
  std::vector<std::uint32_t> top(n_trees * 2 * lane_top_nodes);
  std::vector<std::uint64_t> below(n_trees * n_below);
  std::vector<S> leaves(n_trees << depth);
  const auto write = [&](std::size_t place, const PerfectTree<S, LaneNode>& tree) {
    const std::size_t pack = place / lane_trees;
    const std::size_t lane = place % lane_trees;
    for (std::size_t i = 0; i < tree.questions.size(); ++i) {
      const LaneNode& node = tree.questions[i];
      std::uint32_t cut;
      std::memcpy(&cut, &node.cut, sizeof cut);
      if (i < lane_top_nodes) {
        std::uint32_t* words = top.data() + 2 * lane_trees * (pack * lane_top_nodes + i);
        words[lane] = cut;
        words[lane_trees + lane] = node.feature;
      } else {
        below[lane_trees * (pack * n_below + i - lane_top_nodes) + lane] = std::uint64_t(node.feature) << 32 | cut;
      }
    }
    std::copy(tree.leaves.begin(), tree.leaves.end(), leaves.begin() + static_cast<std::ptrdiff_t>(place << depth));
  };
  std::size_t place = 0;
  for (const auto& trees : trees_by_output(t)) {
    outputs.push_back({static_cast<std::uint32_t>(place), static_cast<std::uint32_t>(trees.size())});
    for (const std::size_t number : trees) {
      PerfectTree<S, LaneNode> tree(depth);
      tree.fill(t, ask, number, depth);
      write(place++, tree);
    }
  }
  while (place < n_trees) write(place++, PerfectTree<S, LaneNode>(depth));
  forest.kind = static_cast<std::uint32_t>(SingleKind::lanes);
  forest.rounds = depth;
  forest.any_zero = std::any_of(planned.features.begin(), planned.features.end(), [](const PlanFeature& feature) {
    return feature.missing == static_cast<std::uint32_t>(Missing::zero);
  });
  writer.header.single[single_outputs] = writer.add(outputs);
  writer.header.single[single_nodes] = writer.add(std::move(top));
  writer.header.single[single_finals] = writer.add(std::move(below));
  writer.header.single[single_leaves] = writer.add(std::move(leaves));
}

template <class S>
NotSingle write_trees(const ForestTables& t, const Questions& questions, const std::vector<TreeShape>& shapes, SingleForest& forest,
                      PlanWriter& writer) {
  std::uint32_t depth = 0, most_splits = 0;
  std::size_t n_splits = 0;
  for (const TreeShape& shape : shapes) {
    depth = std::max(depth, shape.depth);
    most_splits = std::max(most_splits, shape.n_splits);
    n_splits += shape.n_splits;
  }
  if (depth <= 6) {
    write_packs<S>(t, questions, depth, forest, writer);
    return NotSingle::no;
  }
  if (most_splits <= word_nodes) {
    write_words<S>(t, questions, forest, writer);
    return NotSingle::no;
  }
  if (depth > max_pack_depth) return NotSingle::shape;
  const std::size_t pack_bytes = (shapes.size() << (depth - 3)) * (16 + 8 * sizeof(S));
  if (!are_near_perfect(pack_bytes, n_splits, sizeof(S))) return NotSingle::shape;
  write_packs<S>(t, questions, depth, forest, writer);
  return NotSingle::no;
}

template <class S>
NotSingle write_single(const ForestTables& t, const PlannedFeatures& planned, const std::vector<TreeShape>& shapes, SingleForest& forest,
                       PlanWriter& writer) {
  const Questions questions(t, planned);
  NotSingle reason = questions.reason();
  if (reason == NotSingle::no) {
    questions.write(forest, writer);
    reason = write_trees<S>(t, questions, shapes, forest, writer);
  }
  if (reason == NotSingle::too_many_columns || reason == NotSingle::shape) write_lanes<S>(t, planned, shapes, forest, writer);
  return reason;
}

}  // namespace

void plan_single(const ForestTables& t, const PlannedFeatures& planned, const std::vector<TreeShape>& shapes,
                 PlanWriter& writer) {
  SingleForest forest{};
  NotSingle reason = NotSingle::no;
  if (t.vector_leaves) {
    reason = NotSingle::vector_leaves;
  } else {
    reason = t.sum_precision == Precision::double_precision ? write_single<double>(t, planned, shapes, forest, writer)
                                                            : write_single<float>(t, planned, shapes, forest, writer);
  }
  forest.reason = static_cast<std::uint32_t>(reason);
  writer.header.single[single_forest] = writer.add(std::vector<SingleForest>{forest});
}

}  // namespace kernels
