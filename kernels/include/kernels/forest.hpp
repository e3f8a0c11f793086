// A forest of decision trees, evaluated one node at a time: the plain predictor that every faster engine is held against.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/plan.hpp"
#include "kernels/rows.hpp"
#include "kernels/single_engine.hpp"

namespace kernels {

// How an inner node compares a feature with its threshold, or tests it against its set of categories. True goes left.
enum class Comparison : std::uint8_t {
  less = 0,        // x < threshold
  less_equal = 1,  // x <= threshold
  in_set = 2,      // trunc(x) is a listed category; a negative value after truncation is not
  not_in_set = 3,  // x is negative, or floor(x) is not a listed category
};

enum class Precision : std::uint8_t { single_precision = 0, double_precision = 1 };

// A borrowed array.
template <class T>
struct View {
  const T* data = nullptr;
  std::size_t size = 0;
  const T& operator[](std::size_t i) const { return data[i]; }
};

// All nodes of all trees, tree after tree, as borrowed arrays. Children are numbered within their own tree; the first node
// of a tree is its root. Thresholds and values are given as doubles; they are exact singles where the precision says so.
struct ForestTables {
  std::size_t n_features = 0;
  std::size_t n_outputs = 0;
  Precision threshold_precision = Precision::single_precision;
  Precision sum_precision = Precision::single_precision;
  double zero_threshold = 0;
  View<std::int64_t> tree_start;      // n_trees + 1
  View<std::int32_t> tree_output;     // n_trees
  View<std::int32_t> feature;         // n_nodes, -1 marks a leaf
  View<double> threshold;             // n_nodes
  View<std::int32_t> left;            // n_nodes
  View<std::int32_t> right;           // n_nodes
  View<std::uint8_t> comparison;      // n_nodes
  View<std::uint8_t> missing;         // n_nodes
  View<std::uint8_t> default_left;    // n_nodes
  View<double> value;                 // n_nodes, the leaves' values; for vector leaves n_outputs for each node
  View<std::int64_t> category_start;  // n_nodes + 1, into category_words
  View<std::uint32_t> category_words;
  View<double> base;  // n_outputs, where each sum starts
  bool vector_leaves = false;
  Link link = Link::identity;
  double link_scale = 1;
  double divisor = 1;
};

struct Engine;

// A forest ready to predict. Immutable, so any number of threads may call it at once.
class Forest {
 public:
  // Checks the tables and plans the forest; std::invalid_argument names what is wrong.
  static std::unique_ptr<Forest> build(const ForestTables& tables);
  // Runs a plan where it lies, at an address that is a multiple of 64. It is checked first; `owner` keeps the memory.
  static std::unique_ptr<Forest> from_plan(const void* plan, std::size_t size, std::shared_ptr<void> owner);
  ~Forest();

  // out: (n_rows, n_outputs), C order, in the sum's precision. Each sum starts at `base` and adds its trees in order.
  void margin(const Rows<float>& x, void* out, std::size_t n_threads) const;
  void margin(const Rows<double>& x, void* out, std::size_t n_threads) const;
  // out: (n_rows, n_predictions), C order, in the sum's precision.
  void predict(const Rows<float>& x, void* out, std::size_t n_threads) const;
  void predict(const Rows<double>& x, void* out, std::size_t n_threads) const;
  // out: (n_rows, n_trees), C order: the leaf's number within its tree.
  void leaves(const Rows<float>& x, std::int32_t* out, std::size_t n_threads) const;
  void leaves(const Rows<double>& x, std::int32_t* out, std::size_t n_threads) const;

  // One row of contiguous features into `out`, as above; allocates nothing once its thread has met the forest. Margins in lanes
  // may differ from those of batches in their last bits.
  void margin_one(const float* row, void* out, SumOrder order = SumOrder::sequential) const { single_.float_row[int(order)](plan_, row, out); }
  void margin_one(const double* row, void* out, SumOrder order = SumOrder::sequential) const { single_.double_row[int(order)](plan_, row, out); }
  void predict_one(const float* row, void* out, SumOrder order = SumOrder::sequential) const;
  void predict_one(const double* row, void* out, SumOrder order = SumOrder::sequential) const;

  std::size_t n_features() const { return plan_->n_features; }
  std::size_t n_outputs() const { return plan_->n_outputs; }
  std::size_t n_predictions() const;
  std::size_t n_trees() const { return plan_->n_trees; }
  Precision sum_precision() const { return static_cast<Precision>(plan_->sum_is_double); }
  const PlanHeader* plan() const { return plan_; }
  const Engine& engine() const { return *engine_; }
  // Which engine serves which number of rows, and why, in words.
  std::vector<std::pair<std::string, std::string>> engines() const;

 private:
  Forest() = default;
  template <class X>
  void run(const Rows<X>& x, void* out, std::size_t n_threads, bool link) const;

  const PlanHeader* plan_ = nullptr;
  template <class X>
  void run_one(const X* row, void* out, SumOrder order) const;

  const Engine* engine_ = nullptr;
  SingleEngine single_{};
  std::shared_ptr<void> memory_;
};

// The CPU targets that this build holds and this CPU can run, the best first; and the one in use, which the environment variable
// KERNELS_FORCE_TARGET chooses where it is set. std::invalid_argument where it names none of them.
std::vector<std::string> available_targets();
std::string active_target();

}  // namespace kernels
