// Sliced trees: each tree as a perfect one, in its own shape or rebalanced.
#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "planner.hpp"

namespace kernels {
namespace {

// One tree of the tables, its inner nodes naming the planes that decide them.
struct LooseTree {
  struct Node {
    int left = -1, right = -1, parent = -1;
    int n_leaves = 1;
    std::uint32_t plane = plane_zeros;
    std::uint32_t leaf = 0;      // node number within the tables' tree
    std::uint32_t level = 0;     // below the root
    std::uint32_t position = 0;  // within the level of a perfect tree, as far as 32 bits go
    bool is_leaf() const { return left < 0; }
  };
  std::vector<Node> nodes;  // level by level
  std::uint32_t depth = 0;

  void read(const ForestTables& t, const PlannedFeatures& features, std::size_t first, std::size_t n_nodes) {
    nodes.resize(n_nodes);
    old_.resize(n_nodes);
    nodes[0] = {};
    old_[0] = 0;
    std::size_t n = 1;
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t node = first + old_[i];
      if (t.feature[node] < 0) {
        nodes[i].leaf = old_[i];
        continue;
      }
      nodes[i].plane = features.node_plane[node];
      nodes[i].left = static_cast<int>(n);
      nodes[i].right = static_cast<int>(n) + 1;
      for (const std::int32_t child : {t.left[node], t.right[node]}) {
        nodes[n] = {};
        nodes[n].parent = static_cast<int>(i);
        nodes[n].level = nodes[i].level + 1;
        nodes[n].position = 2 * nodes[i].position + (child == t.right[node]);
        old_[n++] = static_cast<std::uint32_t>(child);
      }
    }
    depth = nodes.back().level;
    for (std::size_t i = n; i-- > 0;) {
      if (!nodes[i].is_leaf()) {
        nodes[i].n_leaves = nodes[static_cast<std::size_t>(nodes[i].left)].n_leaves +
                            nodes[static_cast<std::size_t>(nodes[i].right)].n_leaves;
      }
    }
  }

  std::uint32_t n_leaves() const { return static_cast<std::uint32_t>(nodes[0].n_leaves); }

 private:
  std::vector<std::uint32_t> old_;
};

// A perfect tree: planes level by level, and for each leaf the node of the loose tree that it stands for.
struct PerfectTree {
  static constexpr std::uint32_t nobody = ~0u;  // a leaf that no row reaches
  std::uint32_t depth = 0;
  std::vector<std::uint16_t> nodes;
  std::vector<std::uint32_t> leaves;
  std::vector<PlanChain> chains;

  void reset(std::uint32_t new_depth) {
    depth = new_depth;
    nodes.assign((1u << depth) - 1, static_cast<std::uint16_t>(plane_zeros));
    leaves.assign(1u << depth, nobody);
    chains.clear();
  }

  // What one block of rows costs, in planes touched.
  double cost() const { return double(1u << depth) + 1.5 * double(chains.size()); }
};

void keep_shape(const LooseTree& tree, PerfectTree& out) {
  out.reset(std::max(tree.depth, 1u));
  for (const LooseTree::Node& node : tree.nodes) {
    if (node.is_leaf()) {  // all planes below are zeros: left, down to the bottom
      out.leaves[node.position << (out.depth - node.level)] = node.leaf;
    } else {
      out.nodes[(1u << node.level) - 1 + node.position] = static_cast<std::uint16_t>(node.plane);
    }
  }
}

// Rebalances by centroids: the subtree that halves the leaves best is cut off and becomes the right child of a node whose
// condition is the conjunction along the path to it; the rest, with that subtree's parent replaced by its sibling, becomes the left one.
class Rebalancer {
 public:
  Rebalancer(const LooseTree& tree, std::uint32_t n_planes) : tree_(tree), n_planes_(n_planes) {}

  bool run(std::uint32_t depth, std::uint32_t noise, PerfectTree& out) {
    nodes_ = tree_.nodes;
    noise_ = noise;
    out.reset(depth);
    return place(0, 0, 0, out);
  }

 private:
  LooseTree::Node& node(int i) { return nodes_[static_cast<std::size_t>(i)]; }

  bool place(int root, std::uint32_t level, std::uint32_t position, PerfectTree& out) {
    if (node(root).is_leaf()) {
      out.leaves[position << (out.depth - level)] = node(root).leaf;
      return true;
    }
    if (static_cast<std::uint32_t>(node(root).n_leaves) > 1u << (out.depth - level)) return false;
    const int chosen = centroid(root);
    bool chosen_goes_right = true;
    out.nodes[(1u << level) - 1 + position] = path_plane(chosen, root, chosen_goes_right, out);
    const int rest = cut_off(chosen, root);
    const std::uint32_t right = chosen_goes_right ? 1 : 0;
    return place(chosen, level + 1, 2 * position + right, out) && place(rest, level + 1, 2 * position + 1 - right, out);
  }

  int centroid(int root) {
    const int n = node(root).n_leaves;
    int best = -1;
    std::uint32_t best_score = ~0u;
    stack_.assign(1, {root, 0});
    while (!stack_.empty()) {
      const auto [i, distance] = stack_.back();
      stack_.pop_back();
      if (i != root) {
        const auto larger = static_cast<std::uint32_t>(std::max(node(i).n_leaves, n - node(i).n_leaves));
        const std::uint32_t score = larger * 64 + distance + (noise_ != 0 ? random() % noise_ : 0);
        if (score < best_score) {
          best_score = score;
          best = i;
        }
      }
      // Below a subtree with less than half of the leaves it gets only worse.
      if (!node(i).is_leaf() && (i == root || noise_ != 0 || 2 * node(i).n_leaves >= n)) {
        stack_.push_back({node(i).left, distance + 1});
        stack_.push_back({node(i).right, distance + 1});
      }
    }
    return best;
  }

  // The plane that says "the row comes to this node", or its opposite: then `goes_right` becomes false.
  std::uint16_t path_plane(int to, int root, bool& goes_right, PerfectTree& out) {
    path_.clear();
    for (int i = to; i != root; i = node(i).parent) {
      const LooseTree::Node& parent = node(node(i).parent);
      path_.push_back({parent.plane, parent.left == i ? ~0u : 0u});
    }
    if (path_.size() == 1) {
      goes_right = path_[0].flip == 0;
      return static_cast<std::uint16_t>(path_[0].plane);
    }
    std::stable_partition(path_.begin(), path_.end(), [](const Step& step) { return step.flip == 0; });
    std::size_t i = 0;
    std::uint32_t plane = plane_ones;
    if (path_[0].flip == 0) plane = path_[i++].plane;
    for (; i < path_.size(); ++i) {
      out.chains.push_back({plane, path_[i].plane, path_[i].flip});
      plane = n_planes_ + static_cast<std::uint32_t>(out.chains.size()) - 1;
    }
    return static_cast<std::uint16_t>(plane);
  }

  // Takes a subtree out and returns the root of what is left.
  int cut_off(int chosen, int root) {
    const int parent = node(chosen).parent;
    const int sibling = node(parent).left == chosen ? node(parent).right : node(parent).left;
    const int gone = node(chosen).n_leaves;
    node(chosen).parent = -1;
    if (parent == root) {
      node(sibling).parent = -1;
      return sibling;
    }
    const int above = node(parent).parent;
    (node(above).left == parent ? node(above).left : node(above).right) = sibling;
    node(sibling).parent = above;
    for (int i = above;; i = node(i).parent) {
      node(i).n_leaves -= gone;
      if (i == root) return root;
    }
  }

  std::uint32_t random() {  // the same for every run, so that equal forests have equal plans
    state_ = state_ * 1664525u + 1013904223u;
    return state_ >> 8;
  }

  struct Step {
    std::uint32_t plane;
    std::uint32_t flip;
  };
  const LooseTree& tree_;
  std::uint32_t n_planes_;
  std::uint32_t noise_ = 0;
  std::uint32_t state_ = 1;
  std::vector<LooseTree::Node> nodes_;
  std::vector<std::pair<int, std::uint32_t>> stack_;
  std::vector<Step> path_;
};

// The cheaper of the tree's own shape and its rebalanced ones; false where it fits none.
bool slice(const LooseTree& tree, std::uint32_t n_planes, PerfectTree& best) {
  bool found = false;
  if (tree.depth <= max_depth) {
    keep_shape(tree, best);
    found = true;
  }
  std::uint32_t depth = 1;
  while ((1u << depth) < tree.n_leaves()) ++depth;
  Rebalancer rebalancer(tree, n_planes);
  PerfectTree candidate;
  const std::uint32_t deepest = found ? best.depth - 1 : max_depth;
  for (; depth <= deepest; ++depth) {
    // Luck helps small trees that leave some room.
    const bool has_room = 5 * tree.n_leaves() <= 4u << depth;
    const std::uint32_t n_attempts = has_room && tree.n_leaves() <= 128 ? 12 : 2;
    for (std::uint32_t attempt = 0; attempt < n_attempts; ++attempt) {
      if (!rebalancer.run(depth, attempt == 0 ? 0 : 32 * attempt, candidate)) continue;
      if (n_planes + candidate.chains.size() > 65535) continue;  // nodes name their planes by 16 bits
      if (!found || candidate.cost() < best.cost()) best = candidate;
      return true;
    }
  }
  return found;
}

template <class S>
class TreeSections {
 public:
  TreeSections(const ForestTables& t, const PlannedFeatures& features) : t_(t), features_(features) {
    nodes_.reserve(t.feature.size);  // growing while trees are added would touch all of it again and again
    leaves_.reserve(t.value.size);
    leaf_bytes_.reserve(t.value.size * sizeof(S));
  }

  bool add_all() {
    const std::size_t n_trees = t_.tree_start.size - 1;
    std::vector<std::size_t> order(n_trees);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return t_.tree_output[a] < t_.tree_output[b]; });
    for (const std::size_t number : order) {
      const auto first = static_cast<std::size_t>(t_.tree_start[number]);
      loose_.read(t_, features_, first, static_cast<std::size_t>(t_.tree_start[number + 1]) - first);
      if (!slice(loose_, features_.n_planes, perfect_)) return false;
      add(first, static_cast<std::uint32_t>(t_.tree_output[number]));
    }
    return true;
  }

  void write(PlanWriter& writer) {
    PlanHeader& header = writer.header;
    header.trees = writer.add(std::move(trees_));
    header.nodes = writer.add(std::move(nodes_));
    header.chains = writer.add(std::move(chains_));
    header.leaves = writer.add(std::move(leaves_), 192);
    header.leaf_bytes = writer.add(std::move(leaf_bytes_));
    header.n_scratch = n_scratch_;
  }

 private:
  void add(std::size_t first, std::uint32_t output) {
    const bool is_double = sizeof(S) == 8;
    const std::size_t width = t_.vector_leaves ? t_.n_outputs : 1;
    const std::uint32_t n_slots = 1u << perfect_.depth;
    const bool compact = is_double && width == 1 && perfect_.depth == 7 && loose_.n_leaves() <= 64;
    trees_.push_back({perfect_.depth, output, size(nodes_), size(leaves_), size(chains_), size(perfect_.chains),
                      size(leaf_bytes_), compact});
    nodes_.insert(nodes_.end(), perfect_.nodes.begin(), perfect_.nodes.end());
    chains_.insert(chains_.end(), perfect_.chains.begin(), perfect_.chains.end());
    n_scratch_ = std::max(n_scratch_, size(perfect_.chains));
    const std::uint32_t n_bytes = leaf_bytes_of(perfect_.depth, is_double, compact);
    for (std::size_t k = 0; k < width; ++k) {
      const std::size_t from = leaves_.size();
      for (const std::uint32_t leaf : perfect_.leaves) {
        leaves_.push_back(leaf == PerfectTree::nobody ? S(0) : static_cast<S>(t_.value[(first + leaf) * width + k]));
      }
      if (n_bytes == 0) continue;
      const std::size_t bytes = leaf_bytes_.size();
      leaf_bytes_.resize(bytes + n_bytes);
      if (compact) {
        write_compact(from, bytes);
      } else {
        const std::size_t pitch = n_bytes / sizeof(S);  // a register's worth at least
        for (std::uint32_t i = 0; i < n_slots; ++i) write_bytes(leaves_[from + i], bytes + i, pitch);
      }
    }
  }

  void write_compact(std::size_t from, std::size_t bytes) {
    std::uint8_t next = 0;
    for (std::size_t i = 0; i < perfect_.leaves.size(); ++i) {
      if (perfect_.leaves[i] == PerfectTree::nobody) continue;
      leaf_bytes_[bytes + i] = next;
      write_bytes(leaves_[from + i], bytes + 128 + next, 64);
      ++next;
    }
  }

  void write_bytes(S value, std::size_t at, std::size_t pitch) {
    std::uint8_t bytes[sizeof(S)];
    std::memcpy(bytes, &value, sizeof(S));
    for (std::size_t j = 0; j < sizeof(S); ++j) leaf_bytes_[at + j * pitch] = bytes[j];
  }

  template <class V>
  static std::uint32_t size(const V& values) {
    if (values.size() > 0xFFFFFFFFu) throw std::invalid_argument("the forest is too large");
    return static_cast<std::uint32_t>(values.size());
  }

  const ForestTables& t_;
  const PlannedFeatures& features_;
  LooseTree loose_;
  PerfectTree perfect_;
  std::vector<PlanTree> trees_;
  std::vector<std::uint16_t> nodes_;
  std::vector<PlanChain> chains_;
  std::vector<S> leaves_;
  std::vector<std::uint8_t> leaf_bytes_;
  std::uint32_t n_scratch_ = 0;
};

template <class S>
bool plan_trees_as(const ForestTables& tables, const PlannedFeatures& features, PlanWriter& writer) {
  TreeSections<S> sections(tables, features);
  if (!sections.add_all()) return false;
  sections.write(writer);
  return true;
}

}  // namespace

void plan_sliced_trees(const ForestTables& tables, const PlannedFeatures& features, PlanWriter& writer) {
  const bool done = tables.sum_precision == Precision::double_precision
                        ? plan_trees_as<double>(tables, features, writer)
                        : plan_trees_as<float>(tables, features, writer);
  if (!done) writer.header.not_sliced = static_cast<std::uint32_t>(NotSliced::big_tree);
  writer.header.is_sliced = done;
}

}  // namespace kernels
