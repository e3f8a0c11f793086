#include "kernels/forest.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <thread>

namespace kernels {
namespace {

constexpr std::size_t block_rows = 64;  // rows that walk through a tree together, while its nodes are in the cache
constexpr std::uint32_t feature_bits = 24;
constexpr std::uint32_t max_features = 1u << feature_bits;

// Bits above the feature's number.
constexpr std::uint32_t flag_leaf = 1u << 24;
constexpr std::uint32_t flag_default_left = 1u << 25;
constexpr std::uint32_t flag_zero_is_missing = 1u << 26;
constexpr std::uint32_t flag_less_equal = 1u << 27;
constexpr std::uint32_t flag_categorical = 1u << 28;
constexpr std::uint32_t flag_listed_left = 1u << 29;

// The right child follows the left one. For a leaf, `next` is its index in the leaves' table; a categorical node's
// threshold holds no number, its `next` leads to the children as ever and its set is found by `sets`.
template <class T>
struct Node {
  T threshold;
  std::uint32_t next;
  std::uint32_t feature_and_flags;

  bool has(std::uint32_t flag) const { return (feature_and_flags & flag) != 0; }
  std::uint32_t feature() const { return feature_and_flags & (max_features - 1); }
};

struct CategorySet {
  std::uint32_t node;
  std::uint32_t first_word;
  std::uint32_t n_words;
};

[[noreturn]] void reject(std::size_t tree, std::int64_t node, const std::string& what) {
  throw std::invalid_argument("tree " + std::to_string(tree) + ", node " + std::to_string(node) + ": " + what);
}

void check_sizes(const ForestTables& t) {
  if (t.n_features == 0 || t.n_features >= max_features) {
    throw std::invalid_argument("n_features must lie between 1 and " + std::to_string(max_features - 1));
  }
  if (t.n_outputs == 0) throw std::invalid_argument("n_outputs must be at least 1");
  if (t.tree_start.size == 0) throw std::invalid_argument("tree_start must hold n_trees + 1 entries");
  const std::size_t n_trees = t.tree_start.size - 1;
  const std::size_t n_nodes = t.feature.size;
  if (n_nodes >= std::numeric_limits<std::int32_t>::max()) throw std::invalid_argument("too many nodes");
  if (t.tree_output.size != n_trees) throw std::invalid_argument("tree_output must hold n_trees entries");
  if (t.base.size != t.n_outputs) throw std::invalid_argument("base must hold n_outputs entries");
  for (const std::size_t size : {t.threshold.size, t.left.size, t.right.size, t.comparison.size, t.missing.size,
                                 t.default_left.size, t.value.size}) {
    if (size != n_nodes) throw std::invalid_argument("all arrays of nodes must have the same length");
  }
  if (t.category_start.size != n_nodes + 1) throw std::invalid_argument("category_start must hold n_nodes + 1 entries");
  if (t.tree_start[0] != 0 || t.tree_start[n_trees] != static_cast<std::int64_t>(n_nodes)) {
    throw std::invalid_argument("tree_start must run from 0 to the number of nodes");
  }
  for (std::size_t i = 0; i < n_trees; ++i) {
    if (t.tree_start[i + 1] <= t.tree_start[i]) reject(i, 0, "the tree has no node");
    if (t.tree_output[i] < 0 || static_cast<std::size_t>(t.tree_output[i]) >= t.n_outputs) {
      reject(i, 0, "its output is out of range");
    }
  }
  if (t.category_start[0] != 0 || t.category_start[n_nodes] != static_cast<std::int64_t>(t.category_words.size)) {
    throw std::invalid_argument("category_start must run from 0 to the number of category words");
  }
  for (std::size_t i = 0; i < n_nodes; ++i) {
    if (t.category_start[i + 1] < t.category_start[i]) throw std::invalid_argument("category_start must not decrease");
  }
}

// T: precision of the comparison, S: precision of the sum.
template <class T, class S>
class ScalarForest final : public Forest {
 public:
  explicit ScalarForest(const ForestTables& tables) {
    n_features_ = tables.n_features;
    n_outputs_ = tables.n_outputs;
    n_trees_ = tables.tree_start.size - 1;
    sum_precision_ = tables.sum_precision;
    zero_threshold_ = tables.zero_threshold;
    for (std::size_t i = 0; i < n_outputs_; ++i) base_.push_back(static_cast<S>(tables.base[i]));
    words_.assign(tables.category_words.data, tables.category_words.data + tables.category_words.size);
    nodes_.reserve(tables.feature.size);
    for (std::size_t tree = 0; tree < n_trees_; ++tree) add_tree(tables, tree);
    choose_walk();
  }

  void margin(const Rows<float>& x, void* out, std::size_t n_threads) const override { margins(x, out, n_threads); }
  void margin(const Rows<double>& x, void* out, std::size_t n_threads) const override { margins(x, out, n_threads); }
  void leaves(const Rows<float>& x, std::int32_t* out, std::size_t n_threads) const override {
    leaf_numbers(x, out, n_threads);
  }
  void leaves(const Rows<double>& x, std::int32_t* out, std::size_t n_threads) const override {
    leaf_numbers(x, out, n_threads);
  }

 private:
  // Renumbers the tree breadth-first so that siblings are neighbours. Each node must be reached exactly once.
  void add_tree(const ForestTables& t, std::size_t tree) {
    const std::size_t first = static_cast<std::size_t>(t.tree_start[tree]);
    const std::size_t size = static_cast<std::size_t>(t.tree_start[tree + 1]) - first;
    std::vector<std::int32_t> order{0};  // old number of each new node
    order.reserve(size);
    const std::size_t offset = nodes_.size();
    roots_.push_back(static_cast<std::uint32_t>(offset));
    outputs_.push_back(static_cast<std::uint32_t>(t.tree_output[tree]));
    for (std::size_t i = 0; i < order.size(); ++i) {
      const std::int32_t number = order[i];
      const std::size_t old = first + static_cast<std::size_t>(number);
      if (t.feature[old] < 0) {
        nodes_.push_back({T(0), static_cast<std::uint32_t>(values_.size()), flag_leaf});
        values_.push_back(static_cast<S>(t.value[old]));
        leaf_numbers_.push_back(number);
        continue;
      }
      for (const std::int32_t child : {t.left[old], t.right[old]}) {
        if (child < 0 || static_cast<std::size_t>(child) >= size) reject(tree, number, "a child is out of range");
        if (order.size() == size) reject(tree, number, "a child is reached twice");
        order.push_back(child);
      }
      const auto next = static_cast<std::uint32_t>(offset + order.size() - 2);
      nodes_.push_back({static_cast<T>(t.threshold[old]), next, describe(t, tree, number, old)});
    }
    if (order.size() != size) reject(tree, 0, "some nodes cannot be reached");
    std::vector<bool> seen(size, false);
    for (const std::int32_t number : order) {
      if (seen[static_cast<std::size_t>(number)]) reject(tree, number, "the node is reached twice");
      seen[static_cast<std::size_t>(number)] = true;
    }
  }

  std::uint32_t describe(const ForestTables& t, std::size_t tree, std::int32_t number, std::size_t old) {
    if (static_cast<std::size_t>(t.feature[old]) >= n_features_) reject(tree, number, "the feature is out of range");
    if (t.comparison[old] > 3) reject(tree, number, "unknown comparison");
    if (t.missing[old] > 2) reject(tree, number, "unknown kind of missing value");
    const auto comparison = static_cast<Comparison>(t.comparison[old]);
    const auto missing = static_cast<Missing>(t.missing[old]);
    std::uint32_t flags = static_cast<std::uint32_t>(t.feature[old]);
    bool default_left = t.default_left[old] != 0;
    if (comparison == Comparison::in_set || comparison == Comparison::not_in_set) {
      const auto from = static_cast<std::size_t>(t.category_start[old]);
      const auto to = static_cast<std::size_t>(t.category_start[old + 1]);
      const CategorySet set{static_cast<std::uint32_t>(nodes_.size()), static_cast<std::uint32_t>(from),
                            static_cast<std::uint32_t>(to - from)};
      const bool listed_left = comparison == Comparison::in_set;
      sets_.push_back(set);
      flags |= flag_categorical | (listed_left ? flag_listed_left : 0u);
      // NaN where nothing is missing reads as category zero.
      if (missing == Missing::none) default_left = lists(set, 0) == listed_left;
    } else {
      const double threshold = t.threshold[old];
      if (std::isnan(threshold)) reject(tree, number, "the threshold is not a number");
      if (comparison == Comparison::less_equal) flags |= flag_less_equal;
      if (missing == Missing::none) default_left = comparison == Comparison::less ? 0 < threshold : 0 <= threshold;
    }
    if (default_left) flags |= flag_default_left;
    if (missing == Missing::zero) flags |= flag_zero_is_missing;
    return flags;
  }

  bool lists(const CategorySet& set, std::uint32_t category) const {
    const std::uint32_t word = category / 32;
    return word < set.n_words && ((words_[set.first_word + word] >> (category % 32)) & 1u) != 0;
  }

  bool category_goes_left(std::uint32_t node, T x, bool listed_left) const {
    const auto set = std::lower_bound(sets_.begin(), sets_.end(), node,
                                      [](const CategorySet& s, std::uint32_t wanted) { return s.node < wanted; });
    // Listed-left sets truncate towards zero, the others look at the sign first.
    const bool negative = listed_left ? x <= T(-1) : x < T(0);
    const bool listed =
        !negative && x < T(2147483648.0) && lists(*set, static_cast<std::uint32_t>(x < T(0) ? T(0) : x));
    return listed == listed_left;
  }

  // The three walks, from the plainest forest to the general one; `choose_walk` picks.
  enum class Walk { less, less_equal, general };

  void choose_walk() {
    bool all_less = true;
    bool all_less_equal = true;
    for (const Node<T>& node : nodes_) {
      if (node.has(flag_leaf)) continue;
      const bool special = node.has(flag_categorical | flag_zero_is_missing);
      all_less = all_less && !special && !node.has(flag_less_equal);
      all_less_equal = all_less_equal && !special && node.has(flag_less_equal);
    }
    walk_ = all_less ? Walk::less : all_less_equal ? Walk::less_equal : Walk::general;
  }

  template <Walk walk>
  bool goes_left(std::uint32_t index, const Node<T>& node, T x) const {
    if constexpr (walk == Walk::general) {
      if (std::isnan(x)) return node.has(flag_default_left);
      if (node.has(flag_zero_is_missing) && std::fabs(static_cast<double>(x)) <= zero_threshold_) {
        return node.has(flag_default_left);
      }
      if (node.has(flag_categorical)) return category_goes_left(index, x, node.has(flag_listed_left));
      return node.has(flag_less_equal) ? x <= node.threshold : x < node.threshold;
    } else {
      const bool left = walk == Walk::less ? x < node.threshold : x <= node.threshold;
      return left | ((x != x) & node.has(flag_default_left));
    }
  }

  template <Walk walk>
  std::uint32_t leaf_of(std::uint32_t root, const T* row) const {
    std::uint32_t index = root;
    while (!nodes_[index].has(flag_leaf)) {
      const Node<T>& node = nodes_[index];
      index = node.next + static_cast<std::uint32_t>(!goes_left<walk>(index, node, row[node.feature()]));
    }
    return nodes_[index].next;
  }

  // Calls visit(row, tree, leaf) for every row and tree; the trees of a row come in order.
  template <Walk walk, class X, class Visit>
  void visit_rows(const Rows<X>& x, std::size_t from, std::size_t to, Visit visit) const {
    std::vector<T> block(block_rows * n_features_);
    for (std::size_t start = from; start < to; start += block_rows) {
      const std::size_t n = std::min(block_rows, to - start);
      for (std::size_t i = 0; i < n; ++i) {
        const X* row = x.data + static_cast<std::ptrdiff_t>(start + i) * x.row_stride;
        for (std::size_t j = 0; j < n_features_; ++j) {
          block[i * n_features_ + j] = static_cast<T>(row[static_cast<std::ptrdiff_t>(j) * x.column_stride]);
        }
      }
      for (std::size_t tree = 0; tree < n_trees_; ++tree) {
        for (std::size_t i = 0; i < n; ++i) {
          visit(start + i, tree, leaf_of<walk>(roots_[tree], block.data() + i * n_features_));
        }
      }
    }
  }

  template <class X, class Visit>
  void visit_all(const Rows<X>& x, std::size_t n_threads, Visit visit) const {
    const auto work = [&](std::size_t from, std::size_t to) {
      switch (walk_) {
        case Walk::less:
          return visit_rows<Walk::less>(x, from, to, visit);
        case Walk::less_equal:
          return visit_rows<Walk::less_equal>(x, from, to, visit);
        case Walk::general:
          return visit_rows<Walk::general>(x, from, to, visit);
      }
    };
    const std::size_t n_blocks = (x.n_rows + block_rows - 1) / block_rows;
    const std::size_t n = std::max<std::size_t>(1, std::min(n_threads, n_blocks));
    std::vector<std::thread> threads;
    const auto edge = [&](std::size_t i) { return std::min(x.n_rows, n_blocks * i / n * block_rows); };
    for (std::size_t i = 1; i < n; ++i) threads.emplace_back(work, edge(i), edge(i + 1));
    work(0, edge(1));
    for (std::thread& thread : threads) thread.join();
  }

  template <class X>
  void margins(const Rows<X>& x, void* out, std::size_t n_threads) const {
    S* sums = static_cast<S*>(out);
    for (std::size_t i = 0; i < x.n_rows; ++i) std::copy(base_.begin(), base_.end(), sums + i * n_outputs_);
    visit_all(x, n_threads, [=](std::size_t row, std::size_t tree, std::uint32_t leaf) {
      sums[row * n_outputs_ + outputs_[tree]] += values_[leaf];
    });
  }

  template <class X>
  void leaf_numbers(const Rows<X>& x, std::int32_t* out, std::size_t n_threads) const {
    visit_all(x, n_threads, [=](std::size_t row, std::size_t tree, std::uint32_t leaf) {
      out[row * n_trees_ + tree] = leaf_numbers_[leaf];
    });
  }

  double zero_threshold_ = 0;
  Walk walk_ = Walk::general;
  std::vector<Node<T>> nodes_;
  std::vector<std::uint32_t> roots_;    // first node of each tree
  std::vector<std::uint32_t> outputs_;  // output of each tree
  std::vector<S> values_;
  std::vector<std::int32_t> leaf_numbers_;
  std::vector<S> base_;
  std::vector<CategorySet> sets_;  // ordered by node
  std::vector<std::uint32_t> words_;
};

}  // namespace

std::unique_ptr<Forest> Forest::build(const ForestTables& tables) {
  check_sizes(tables);
  const bool double_sum = tables.sum_precision == Precision::double_precision;
  if (tables.threshold_precision == Precision::double_precision) {
    if (double_sum) return std::make_unique<ScalarForest<double, double>>(tables);
    return std::make_unique<ScalarForest<double, float>>(tables);
  }
  if (double_sum) return std::make_unique<ScalarForest<float, double>>(tables);
  return std::make_unique<ScalarForest<float, float>>(tables);
}

}  // namespace kernels
