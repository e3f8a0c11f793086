// Single events: the choice of the engine, and what its part of a plan must hold.
#include "kernels/single_event.hpp"

#include <cstring>
#include <stdexcept>

namespace kernels {

#ifdef KERNELS_X86
namespace avx512 {
SingleEngine single_engine(const PlanHeader* plan);
}
namespace avx2 {
SingleEngine single_engine(const PlanHeader* plan);
}
#endif
namespace portable {
SingleEngine single_engine(const PlanHeader* plan);
bool takes_planes(const PlanHeader* plan);
bool takes_gathers(const PlanHeader* plan);
}

SingleEngine single_engine(const char* target, const PlanHeader* plan) {
#ifdef KERNELS_X86
  if (std::strcmp(target, "avx512") == 0) return avx512::single_engine(plan);
  if (std::strcmp(target, "avx2") == 0) return avx2::single_engine(plan);
#else
  static_cast<void>(target);
#endif
  return portable::single_engine(plan);
}

std::string describe_single(const char* target, const PlanHeader* plan) {
  const SingleForest& forest = *section<SingleForest>(plan, plan->single[single_forest]);
  const bool on_planes = portable::takes_planes(plan);
  const bool has_lanes = std::strcmp(target, "avx512") == 0;
  const bool by_gathers = has_lanes && portable::takes_gathers(plan);
  const bool in_lanes = has_lanes && static_cast<SingleKind>(forest.kind) == SingleKind::lanes;
  const auto walk = [&](const char* reason) {
    if (in_lanes) return "lanes, " + std::string(target) + ": sixteen trees at once, level by level, because " + std::string(reason);
    if (by_gathers) return "gathers, " + std::string(target) + ": sixteen trees at once, because " + std::string(reason);
    return (on_planes ? "planes, " : "walk, ") + std::string(target) + (on_planes ? ": a byte a condition" : "") +
           ", eight trees in step, because " + reason;
  };
  if (std::strcmp(target, "avx512") != 0 && std::strcmp(target, "avx2") != 0) return walk("this target looks up no bytes");
  switch (static_cast<SingleKind>(forest.kind)) {
    case SingleKind::packs:
      return "packs, " + std::string(target) + ": eight trees in step, three levels at once";
    case SingleKind::words:
      return "words, " + std::string(target) + ": all nodes of a tree at once";
    case SingleKind::lanes:
    case SingleKind::walk:
      break;
  }
  switch (static_cast<NotSingle>(forest.reason)) {
    case NotSingle::vector_leaves: return walk("a leaf adds to every output");
    case NotSingle::categories: return walk("a node tests categories");
    case NotSingle::too_many_columns: return walk("its features and thresholds need more than 128 bytes a row");
    case NotSingle::not_planned: return walk("its conditions are too many or too mixed for planes");
    case NotSingle::shape: return walk("its trees are large and far from perfect");
    case NotSingle::no: break;
  }
  return walk("the plan says so");
}

// ---- Checks ----------------------------------------------------------------------------------------------------------

namespace {

[[noreturn]] void reject(const char* what) {
  throw std::invalid_argument("the plan is damaged: single events: " + std::string(what));
}

class Checker {
 public:
  explicit Checker(const PlanHeader* plan) : plan_(plan) {}

  void run() {
    if (need<SingleForest>(single_forest, 1) != 1) reject("their description is missing");
    forest_ = section<SingleForest>(plan_, plan_->single[single_forest]);
    const auto kind = static_cast<SingleKind>(forest_->kind);
    if (kind == SingleKind::walk) return;
    if (plan_->vector_leaves) reject("the leaves are of another kind");
    real_bytes_ = plan_->sum_is_double ? 8 : 4;
    if (kind == SingleKind::lanes) return check_lanes();
    check_row();
    if (kind == SingleKind::packs) {
      check_packs();
    } else if (kind == SingleKind::words) {
      check_words();
    } else {
      reject("an unknown kind");
    }
  }

 private:
  // The section's number of elements, at least `least`, with 64 bytes behind them.
  template <class T>
  std::uint64_t need(SingleSection number, std::uint64_t least) {
    const Span& span = plan_->single[number];
    if (span.offset % 64 != 0 || span.offset < sizeof(PlanHeader) || span.offset > plan_->size ||
        span.count > (plan_->size - span.offset) / sizeof(T) || plan_->size - span.offset - span.count * sizeof(T) < 64) {
      reject("a section lies outside");
    }
    if (span.count < least) reject("a section is too short");
    return span.count;
  }

  void check_row() {
    const std::uint64_t n = need<SingleSearch>(single_searches, forest_->n_searches);
    if (n != forest_->n_searches || n > row_columns || forest_->n_one_line > n || forest_->n_columns > row_columns ||
        n % search_group != 0 || forest_->n_one_line % search_group != 0) {
      reject("the row is too long");
    }
    const std::uint64_t n_lines = need<float>(single_float_lines, 0) / line_cuts;
    if (need<double>(single_double_lines, 0) / line_cuts < (plan_->threshold_is_double ? n_lines : 0)) reject("cuts are missing");
    const auto* searches = section<SingleSearch>(plan_, plan_->single[single_searches]);
    for (std::uint64_t i = 0; i < n; ++i) {
      // A value leads to one of sixteen lines after the pivots: as many as the pivots hold numbers.
      std::uint64_t n_search_lines = 1;
      if (i >= forest_->n_one_line && searches[i].first_line < n_lines) {
        n_search_lines = 2 + most_reached(searches[i].first_line);
      }
      if (searches[i].feature >= plan_->n_features || searches[i].missing > 2 || searches[i].first_line + n_search_lines > n_lines) {
        reject("a search is out of range");
      }
    }
    need<std::uint8_t>(single_columns_of, 2 * row_columns);
    const auto* columns = section<std::uint8_t>(plan_, plan_->single[single_columns_of]);
    for (std::uint32_t i = 0; i < row_columns; ++i) {
      if (columns[i] >= (n > 64 || forest_->n_columns > 64 ? 128 : 64)) reject("a column is out of range");
    }
    check_outputs();
  }

  void check_outputs() {
    if (need<SingleOutput>(single_outputs, plan_->n_outputs) != plan_->n_outputs) reject("outputs are missing");
  }

  // How many pivots some value can be at or above, in either precision.
  std::uint64_t most_reached(std::uint64_t line) const {
    const float* singles = section<float>(plan_, plan_->single[single_float_lines]) + line * line_cuts;
    const double* doubles = section<double>(plan_, plan_->single[single_double_lines]) + line * line_cuts;
    std::uint64_t n_singles = 0;
    std::uint64_t n_doubles = 0;
    for (std::uint32_t i = 0; i < line_cuts; ++i) {
      n_singles += singles[i] == singles[i];
      if (plan_->threshold_is_double) n_doubles += doubles[i] == doubles[i];
    }
    return n_singles > n_doubles ? n_singles : n_doubles;
  }

  // Trees that the outputs reach, counted in whole packs of `step`.
  std::uint64_t n_trees(std::uint64_t step) const {
    const auto* outputs = section<SingleOutput>(plan_, plan_->single[single_outputs]);
    std::uint64_t n = 0;
    for (std::uint32_t i = 0; i < plan_->n_outputs; ++i) {
      if (outputs[i].first_tree % step != 0) reject("an output is out of range");
      const std::uint64_t end = outputs[i].first_tree + (outputs[i].n_trees + step - 1) / step * step;
      n = end > n ? end : n;
    }
    return n;
  }

  void need_leaves(std::uint64_t least) {
    if (real_bytes_ == 8) {
      need<double>(single_leaves, least);
    } else {
      need<float>(single_leaves, least);
    }
  }

  void check_packs() {
    const std::uint64_t rounds = forest_->rounds;
    const std::uint64_t n = n_trees(pack_trees);
    const std::uint64_t middles = forest_->tree_middles;
    const std::uint64_t finals = forest_->tree_finals;
    if (rounds < 1 || rounds > 3 || middles > 8 || finals > 64) reject("the trees are too deep");
    const std::uint64_t final_bytes = 16 + 8 * real_bytes_;
    need<std::uint8_t>(single_nodes, n * 16);
    if (rounds == 3) need<std::uint8_t>(single_middles, n * middles * 16);
    if (rounds > 1) {
      need<std::uint8_t>(single_finals, n * finals * final_bytes);
    } else {
      need<std::uint8_t>(single_leaves, n * 8 * real_bytes_);
    }
    need<std::uint32_t>(single_exits, 4 * chunk_patterns);
    // Thresholds in the last place of a chunk keep its bits below 128.
    const auto* nodes = section<std::uint8_t>(plan_, plan_->single[single_nodes]);
    for (std::uint64_t i = 0; i < n * 8; ++i) {
      if (i % 8 == 7 && nodes[i / 64 * 128 + 64 + i % 64] != never_right) reject("a chunk has eight nodes");
    }
    if (rounds == 3) check_chunks(single_middles, n * middles, 16);
    if (rounds > 1) check_chunks(single_finals, n * finals, final_bytes);
    const std::uint64_t last = real_bytes_ * 7;
    if (rounds == 1) check_exits(0, last);
    if (rounds == 2) {
      check_exits(0, finals == 0 ? 0 : (finals - 1) * final_bytes);
      check_exits(1, last);
    }
    if (rounds == 3) {
      if (middles == 0 || finals < 8) reject("chunks are missing");
      check_exits(0, (middles - 1) * 16);
      check_exits(1, (finals - 8) * final_bytes);
      check_exits(2, 7 * final_bytes);
      check_exits(3, last);
    } else if (rounds == 2 && finals == 0) {
      reject("chunks are missing");
    }
  }

  void check_chunks(SingleSection number, std::uint64_t n, std::uint64_t bytes) const {
    const auto* chunks = section<std::uint8_t>(plan_, plan_->single[number]);
    for (std::uint64_t i = 0; i < n; ++i) {
      if (chunks[i * bytes + 15] != never_right) reject("a chunk has eight nodes");
    }
  }

  void check_exits(std::uint32_t table, std::uint64_t largest) const {
    const auto* exits = section<std::uint32_t>(plan_, plan_->single[single_exits]) + table * chunk_patterns;
    for (std::uint32_t i = 0; i < chunk_patterns; ++i) {
      if (exits[i] > largest) reject("an exit is out of range");
    }
  }

  void check_words() {
    if (forest_->rounds != 4 && forest_->rounds != 8) reject("the masks are of an unknown size");
    const std::uint64_t tree_bytes = word_tree_bytes(forest_->rounds);
    const std::uint64_t n = n_trees(1);
    need<std::uint8_t>(single_nodes, n * tree_bytes);
    need_leaves(n * 8 * word_chunks);
    const std::uint64_t n_shapes = need<std::uint8_t>(single_shapes, 0) / chunk_patterns;
    const auto* shapes = section<std::uint8_t>(plan_, plan_->single[single_shapes]);
    for (std::uint64_t i = 0; i < n_shapes * chunk_patterns; ++i) {
      if (shapes[i] > chunk_nodes) reject("an exit is out of range");
    }
    const auto* trees = section<std::uint8_t>(plan_, plan_->single[single_nodes]);
    for (std::uint64_t i = 0; i < n; ++i) check_word(trees + i * tree_bytes + 2 * word_nodes, n_shapes);
  }

  // Some chunk must be reached whatever the bits are, and all places must be good.
  void check_word(const std::uint8_t* masks, std::uint64_t n_shapes) const {
    const std::size_t mask_bytes = forest_->rounds;
    bool always = false;
    for (std::size_t i = 0; i < word_chunks; ++i) {
      std::uint64_t asked = 0;
      std::memcpy(&asked, masks + (word_chunks + i) * mask_bytes, mask_bytes);
      always |= asked == 0;
      std::uint16_t place;
      std::memcpy(&place, masks + 2 * word_chunks * mask_bytes + 2 * i, sizeof place);
      if (place >> 6 >= n_shapes) reject("an exit table is out of range");
    }
    if (!always) reject("a tree has no root");
  }

  // The engine takes all of the plan's trees, one output's after the other's.
  void check_lanes() {
    const std::uint64_t depth = forest_->rounds;
    if (depth < lane_top_levels || depth > max_lane_depth) reject("the trees are too deep");
    check_outputs();
    const auto* outputs = section<SingleOutput>(plan_, plan_->single[single_outputs]);
    std::uint64_t n_taken = 0;
    for (std::uint32_t i = 0; i < plan_->n_outputs; ++i) n_taken += outputs[i].n_trees;
    if (n_taken != plan_->n_trees) reject("an output is out of range");
    const std::uint64_t n = (std::uint64_t(plan_->n_trees) + lane_step - 1) / lane_step * lane_step;
    const std::uint64_t n_top = n / lane_trees * lane_top_nodes;
    const std::uint64_t n_below = n * ((1u << depth) - 1 - lane_top_nodes);
    need<std::uint32_t>(single_nodes, n_top * 2 * lane_trees);
    need<std::uint64_t>(single_finals, n_below);
    need_leaves(n << depth);
    const auto* top = section<std::uint32_t>(plan_, plan_->single[single_nodes]);
    const auto* below = section<std::uint64_t>(plan_, plan_->single[single_finals]);
    std::uint32_t largest = 0;
    for (std::uint64_t i = 0; i < n_top * lane_trees; ++i) {
      const std::uint32_t feature = top[i / lane_trees * 2 * lane_trees + lane_trees + i % lane_trees] & lane_feature;
      largest = feature > largest ? feature : largest;
    }
    for (std::uint64_t i = 0; i < n_below; ++i) {
      const std::uint32_t feature = static_cast<std::uint32_t>(below[i] >> 32) & lane_feature;
      largest = feature > largest ? feature : largest;
    }
    if (largest >= plan_->n_features) reject("a feature is out of range");
  }

  const PlanHeader* plan_;
  const SingleForest* forest_ = nullptr;
  std::uint64_t real_bytes_ = 4;
};

}  // namespace

void check_single(const PlanHeader* plan) { Checker(plan).run(); }

}  // namespace kernels
