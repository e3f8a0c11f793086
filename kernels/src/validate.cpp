// A plan may come from a file: everything that an engine follows is checked before it runs.
#include <cmath>
#include <stdexcept>
#include <string>

#include "kernels/single_event.hpp"
#include "planner.hpp"
#include "walk_flags.hpp"

namespace kernels {
namespace {

[[noreturn]] void reject(const std::string& what) { throw std::invalid_argument("the plan is damaged: " + what); }

class Validator {
 public:
  Validator(const unsigned char* data, std::size_t size) : plan_(reinterpret_cast<const PlanHeader*>(data)), size_(size) {}

  void run() {
    check_header();
    check_walk();
    if (plan_->is_sliced != 0) check_sliced();
    check_single(plan_);
  }

 private:
  template <class T>
  const T* checked(const Span& span, const char* name, std::uint64_t padding = 0) {
    if (span.offset % 64 != 0 || span.offset < sizeof(PlanHeader) || span.offset > size_ ||
        span.count > (size_ - span.offset) / sizeof(T) || size_ - span.offset - span.count * sizeof(T) < padding) {
      reject(std::string(name) + " lie outside");
    }
    return section<T>(plan_, span);
  }

  void check_header() {
    if (size_ < sizeof(PlanHeader)) reject("it is too short");
    if (std::memcmp(plan_->magic, plan_magic, sizeof plan_magic) != 0) reject("it does not begin as one");
    if (plan_->version != plan_version) {
      throw std::invalid_argument("the plan has version " + std::to_string(plan_->version) + ", this program reads version " +
                                  std::to_string(plan_version));
    }
    if (plan_->size != size_) reject("its size is wrong");
    if (plan_->n_features == 0 || plan_->n_features > walk_max_features) reject("its number of features is out of range");
    if (plan_->n_outputs == 0 || plan_->n_outputs > 1u << 16) reject("its number of outputs is out of range");
    if (plan_->link >= n_links) reject("its link is unknown");
    if (is_pair(static_cast<Link>(plan_->link)) && plan_->n_outputs != 1) reject("its link does not fit");
    if (plan_->threshold_is_double > 1 || plan_->sum_is_double > 1 || plan_->vector_leaves > 1 || plan_->is_sliced > 1) {
      reject("a flag is out of range");
    }
    if (!std::isfinite(plan_->divisor) || !std::isfinite(plan_->link_scale) || !(plan_->zero_threshold >= 0)) {
      reject("a factor is no number");
    }
    real_bytes_ = plan_->sum_is_double != 0 ? 8 : 4;
    width_ = plan_->vector_leaves != 0 ? plan_->n_outputs : 1;
    reals(plan_->base, "the bases", plan_->n_outputs);
  }

  void reals(const Span& span, const char* name, std::uint64_t least, std::uint64_t padding = 0) {
    if (real_bytes_ == 8) {
      checked<double>(span, name, padding);
    } else {
      checked<float>(span, name, padding);
    }
    if (span.count < least) reject(std::string(name) + " are too few");
  }

  void check_walk() {
    if (plan_->threshold_is_double != 0) {
      check_walk_nodes<double>();
    } else {
      check_walk_nodes<float>();
    }
  }

  template <class T>
  void check_walk_nodes() {
    const auto* nodes = checked<WalkNode<T>>(plan_->walk_nodes, "the nodes");
    const std::uint64_t n_nodes = plan_->walk_nodes.count;
    const auto* roots = checked<std::uint32_t>(plan_->walk_roots, "the roots");
    const auto* outputs = checked<std::uint32_t>(plan_->walk_outputs, "the outputs");
    checked<std::int32_t>(plan_->walk_leaf_nodes, "the leaves' numbers");
    const std::uint64_t n_leaves = plan_->walk_leaf_nodes.count;
    if (n_leaves > size_ / (width_ * real_bytes_)) reject("the leaves are too many");
    reals(plan_->walk_values, "the leaves", n_leaves * width_);
    const auto* sets = checked<WalkSet>(plan_->walk_sets, "the sets");
    checked<std::uint32_t>(plan_->walk_words, "the sets' words");
    if (plan_->walk_roots.count != plan_->n_trees || plan_->walk_outputs.count != plan_->n_trees) reject("trees are missing");
    for (std::uint32_t i = 0; i < plan_->n_trees; ++i) {
      if (roots[i] >= n_nodes || outputs[i] >= plan_->n_outputs) reject("tree " + std::to_string(i) + " is out of range");
    }
    std::uint32_t wrong = 0;
    std::uint64_t n_categorical = 0;
    for (std::uint64_t i = 0; i < n_nodes; ++i) {
      const WalkNode<T>& node = nodes[i];
      const bool leaf = (node.feature_and_flags & walk_leaf) != 0;
      // Children come after their parents, so that every walk ends.
      wrong |= leaf ? node.next >= n_leaves : node.next <= i || node.next + std::uint64_t(1) >= n_nodes;
      wrong |= (node.feature_and_flags & walk_max_features) >= plan_->n_features;
      if ((node.feature_and_flags & walk_categorical) != 0) {
        if (n_categorical >= plan_->walk_sets.count || sets[n_categorical].node != i) reject("a set is missing");
        ++n_categorical;
      }
    }
    if (wrong != 0) reject("a node is out of range");
    for (std::uint64_t i = 0; i < plan_->walk_sets.count; ++i) {
      if (std::uint64_t(sets[i].first_word) + sets[i].n_words > plan_->walk_words.count) reject("a set is out of range");
    }
  }

  void check_sliced() {
    const auto* features = checked<PlanFeature>(plan_->features, "the features");
    const auto* trees = checked<PlanTree>(plan_->trees, "the trees");
    if (plan_->features.count != plan_->n_features || plan_->trees.count != plan_->n_trees) reject("features or trees are missing");
    checked<float>(plan_->float_cuts, "the cuts", 64);
    checked<double>(plan_->double_cuts, "the cuts", 64);
    checked<std::uint32_t>(plan_->directions, "the directions");
    checked<std::uint32_t>(plan_->extras, "the extra planes");
    checked<std::uint16_t>(plan_->classes, "the classes");
    checked<PlanSet>(plan_->sets, "the sets of categories");
    checked<PlanRun>(plan_->runs, "the runs of classes");
    checked<std::uint16_t>(plan_->nodes, "the planes of nodes");
    checked<PlanChain>(plan_->chains, "the chains");
    reals(plan_->leaves, "the leaves of sliced trees", 0, 192);
    checked<std::uint8_t>(plan_->leaf_bytes, "the leaves' bytes", 64);
    if (plan_->n_planes < 2 || plan_->n_planes > 65535 || plan_->n_scratch > 65535 - plan_->n_planes) reject("its planes are too many");
    for (std::uint32_t i = 0; i < plan_->n_features; ++i) check_feature(features[i]);
    for (std::uint32_t i = 0; i < plan_->n_trees; ++i) check_tree(trees[i]);
  }

  void check_feature(const PlanFeature& f) {
    const std::uint64_t n_planes = std::uint64_t(f.n_cuts) + f.n_extras + f.n_sets;
    bool good = f.levels <= max_levels && f.n_cuts < 1u << f.levels && f.first_plane + n_planes <= plan_->n_planes &&
                (f.first_plane >= 2 || n_planes == 0) && f.first_direction + n_planes <= plan_->directions.count &&
                std::uint64_t(f.first_extra) + f.n_extras <= plan_->extras.count;
    if (f.n_categories == 0) {
      const std::uint64_t end = std::uint64_t(f.first_cut) + (1u << f.levels);
      good = good && f.n_sets == 0 && end <= plan_->float_cuts.count;
      if (plan_->threshold_is_double != 0) good = good && end <= plan_->double_cuts.count;
    } else {
      good = good && f.n_extras == 0 && std::uint64_t(f.first_class) + f.n_categories <= plan_->classes.count &&
             std::uint64_t(f.first_set) + f.n_sets <= plan_->sets.count;
    }
    if (!good) reject("a feature is out of range");
    const auto* extras = section<std::uint32_t>(plan_, plan_->extras) + f.first_extra;
    for (std::uint32_t i = 0; i < f.n_extras; ++i) {
      if (extras[i] >= f.n_cuts) reject("an extra plane is out of range");
    }
    const auto* sets = section<PlanSet>(plan_, plan_->sets) + f.first_set;
    for (std::uint32_t i = 0; i < f.n_sets; ++i) {
      if (std::uint64_t(sets[i].first_run) + sets[i].n_runs > plan_->runs.count) reject("a set of categories is out of range");
      const auto* runs = section<PlanRun>(plan_, plan_->runs) + sets[i].first_run;
      for (std::uint32_t j = 0; j < sets[i].n_runs; ++j) {
        if (runs[j].from > f.n_cuts || runs[j].to == 0) reject("a run of classes is out of range");
      }
    }
  }

  void check_tree(const PlanTree& tree) {
    if (tree.depth < 1 || tree.depth > max_depth || tree.is_compact > 1) reject("a tree's depth is out of range");
    if (tree.is_compact != 0 && (tree.depth != 7 || real_bytes_ != 8 || width_ != 1)) reject("a tree's leaves are out of range");
    const std::uint64_t n_slots = 1u << tree.depth;
    const std::uint64_t n_bytes = leaf_bytes_of(tree.depth, real_bytes_ == 8, tree.is_compact != 0);
    if (tree.output >= plan_->n_outputs || tree.first_node + n_slots - 1 > plan_->nodes.count ||
        tree.first_leaf + n_slots * width_ > plan_->leaves.count || tree.first_byte + n_bytes * width_ > plan_->leaf_bytes.count ||
        std::uint64_t(tree.first_chain) + tree.n_chains > plan_->chains.count || tree.n_chains > plan_->n_scratch) {
      reject("a tree is out of range");
    }
    const auto* nodes = section<std::uint16_t>(plan_, plan_->nodes) + tree.first_node;
    std::uint32_t largest = 0;
    for (std::uint64_t i = 0; i + 1 < n_slots; ++i) largest = nodes[i] > largest ? nodes[i] : largest;
    if (largest >= plan_->n_planes + tree.n_chains) reject("a tree's plane is out of range");
    const auto* chains = section<PlanChain>(plan_, plan_->chains) + tree.first_chain;
    for (std::uint32_t i = 0; i < tree.n_chains; ++i) {
      if (chains[i].first >= plan_->n_planes + i || chains[i].second >= plan_->n_planes + i) reject("a chain is out of range");
    }
  }

  const PlanHeader* plan_;
  std::uint64_t size_;
  std::uint64_t real_bytes_ = 4;
  std::uint64_t width_ = 1;
};

}  // namespace

void validate_plan(const unsigned char* data, std::size_t size) {
  if (reinterpret_cast<std::uintptr_t>(data) % 64 != 0) throw std::invalid_argument("the plan must lie at a multiple of 64");
  Validator(data, size).run();
}

}  // namespace kernels
