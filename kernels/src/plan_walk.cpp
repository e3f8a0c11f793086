// The walk's nodes: every tree as it is, siblings side by side.
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "planner.hpp"
#include "walk_flags.hpp"

namespace kernels {
namespace {

[[noreturn]] void reject(std::size_t tree, std::int64_t node, const std::string& what) {
  throw std::invalid_argument("tree " + std::to_string(tree) + ", node " + std::to_string(node) + ": " + what);
}

void check_sizes(const ForestTables& t) {
  if (t.n_features == 0 || t.n_features > walk_max_features) {
    throw std::invalid_argument("n_features must lie between 1 and " + std::to_string(walk_max_features));
  }
  if (t.n_outputs == 0) throw std::invalid_argument("n_outputs must be at least 1");
  if (static_cast<std::uint32_t>(t.link) >= n_links) throw std::invalid_argument("unknown link");
  if (is_pair(t.link) && t.n_outputs != 1) throw std::invalid_argument("a pair of probabilities needs one output");
  if (t.tree_start.size == 0) throw std::invalid_argument("tree_start must hold n_trees + 1 entries");
  const std::size_t n_trees = t.tree_start.size - 1;
  const std::size_t n_nodes = t.feature.size;
  if (n_nodes >= std::numeric_limits<std::int32_t>::max()) throw std::invalid_argument("too many nodes");
  if (t.tree_output.size != n_trees) throw std::invalid_argument("tree_output must hold n_trees entries");
  if (t.base.size != t.n_outputs) throw std::invalid_argument("base must hold n_outputs entries");
  for (const std::size_t size :
       {t.threshold.size, t.left.size, t.right.size, t.comparison.size, t.missing.size, t.default_left.size}) {
    if (size != n_nodes) throw std::invalid_argument("all arrays of nodes must have the same length");
  }
  if (t.value.size != n_nodes * (t.vector_leaves ? t.n_outputs : 1)) {
    throw std::invalid_argument("value must hold a number for each node, or for vector leaves one for each output of it");
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

template <class T, class S>
class WalkSections {
 public:
  explicit WalkSections(const ForestTables& t) : t_(t), width_(t.vector_leaves ? t.n_outputs : 1) {
    nodes_.reserve(t.feature.size);
    values_.reserve((t.feature.size / 2 + 1) * width_);
    leaf_nodes_.reserve(t.feature.size / 2 + 1);
    seen_.assign(t.feature.size, false);
    for (std::size_t tree = 0; tree + 1 < t.tree_start.size; ++tree) add_tree(tree);
  }

  std::vector<TreeShape> write(PlanWriter& writer) {
    PlanHeader& header = writer.header;
    header.walk_nodes = writer.add(std::move(nodes_));
    header.walk_roots = writer.add(std::move(roots_));
    header.walk_outputs = writer.add(std::move(outputs_));
    header.walk_values = writer.add(std::move(values_));
    header.walk_leaf_nodes = writer.add(std::move(leaf_nodes_));
    header.walk_sets = writer.add(std::move(sets_));
    header.walk_words =
        writer.add(std::vector<std::uint32_t>(t_.category_words.data, t_.category_words.data + t_.category_words.size));
    return std::move(shapes_);
  }

 private:
  // Renumbers the tree breadth-first so that siblings are neighbours. Each node must be reached exactly once.
  void add_tree(std::size_t tree) {
    const auto first = static_cast<std::size_t>(t_.tree_start[tree]);
    const std::size_t size = static_cast<std::size_t>(t_.tree_start[tree + 1]) - first;
    const std::size_t offset = nodes_.size();
    roots_.push_back(static_cast<std::uint32_t>(offset));
    outputs_.push_back(static_cast<std::uint32_t>(t_.tree_output[tree]));
    order_.assign(1, 0);  // old number of each new node
    TreeShape shape{0, 0};
    std::size_t level_end = 1;
    for (std::size_t i = 0; i < order_.size(); ++i) {
      if (i == level_end) {
        ++shape.depth;
        level_end = order_.size();
      }
      const std::int32_t number = order_[i];
      const std::size_t old = first + static_cast<std::size_t>(number);
      if (seen_[old]) reject(tree, number, "the node is reached twice");
      seen_[old] = true;
      if (t_.feature[old] < 0) {
        nodes_.push_back({T(0), static_cast<std::uint32_t>(leaf_nodes_.size()), walk_leaf});
        for (std::size_t k = 0; k < width_; ++k) values_.push_back(static_cast<S>(t_.value[old * width_ + k]));
        leaf_nodes_.push_back(number);
        continue;
      }
      for (const std::int32_t child : {t_.left[old], t_.right[old]}) {
        if (child < 0 || static_cast<std::size_t>(child) >= size) reject(tree, number, "a child is out of range");
        if (order_.size() == size) reject(tree, number, "a child is reached twice");
        order_.push_back(child);
      }
      ++shape.n_splits;
      const auto next = static_cast<std::uint32_t>(offset + order_.size() - 2);
      nodes_.push_back({static_cast<T>(t_.threshold[old]), next, describe(tree, number, old)});
    }
    if (order_.size() != size) reject(tree, 0, "some nodes cannot be reached");
    shapes_.push_back(shape);
  }

  std::uint32_t describe(std::size_t tree, std::int32_t number, std::size_t old) {
    if (static_cast<std::size_t>(t_.feature[old]) >= t_.n_features) reject(tree, number, "the feature is out of range");
    if (t_.comparison[old] > 3) reject(tree, number, "unknown comparison");
    if (t_.missing[old] > 2) reject(tree, number, "unknown kind of missing value");
    const auto comparison = static_cast<Comparison>(t_.comparison[old]);
    const auto missing = static_cast<Missing>(t_.missing[old]);
    auto flags = static_cast<std::uint32_t>(t_.feature[old]);
    bool default_left = t_.default_left[old] != 0;
    if (comparison == Comparison::in_set || comparison == Comparison::not_in_set) {
      const auto from = static_cast<std::uint32_t>(t_.category_start[old]);
      const auto n_words = static_cast<std::uint32_t>(t_.category_start[old + 1]) - from;
      const bool listed_left = comparison == Comparison::in_set;
      sets_.push_back({static_cast<std::uint32_t>(nodes_.size()), from, n_words});
      flags |= walk_categorical | (listed_left ? walk_listed_left : 0u);
      // NaN where nothing is missing reads as category zero.
      if (missing == Missing::none) default_left = (n_words > 0 && (t_.category_words[from] & 1u) != 0) == listed_left;
    } else {
      const double threshold = t_.threshold[old];
      if (std::isnan(threshold)) reject(tree, number, "the threshold is not a number");
      if (comparison == Comparison::less_equal) flags |= walk_less_equal;
      if (missing == Missing::none) default_left = comparison == Comparison::less ? 0 < threshold : 0 <= threshold;
    }
    if (default_left) flags |= walk_default_left;
    if (missing == Missing::zero) flags |= walk_zero_is_missing;
    return flags;
  }

  const ForestTables& t_;
  std::size_t width_;
  std::vector<WalkNode<T>> nodes_;
  std::vector<std::uint32_t> roots_;
  std::vector<std::uint32_t> outputs_;
  std::vector<S> values_;
  std::vector<std::int32_t> leaf_nodes_;
  std::vector<WalkSet> sets_;  // ordered by node
  std::vector<TreeShape> shapes_;
  std::vector<std::int32_t> order_;
  std::vector<bool> seen_;
};

template <class T>
std::vector<TreeShape> plan_walk_of(const ForestTables& tables, PlanWriter& writer) {
  if (tables.sum_precision == Precision::double_precision) return WalkSections<T, double>(tables).write(writer);
  return WalkSections<T, float>(tables).write(writer);
}

}  // namespace

std::vector<TreeShape> plan_walk(const ForestTables& tables, PlanWriter& writer) {
  check_sizes(tables);
  if (tables.threshold_precision == Precision::double_precision) return plan_walk_of<double>(tables, writer);
  return plan_walk_of<float>(tables, writer);
}

}  // namespace kernels
