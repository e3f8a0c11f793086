// The bit-sliced engine: all trees for a block of rows at a time, one bit a row.
//
//   1. bin      each feature's values go down the search tree of its cuts; every level leaves one plane of bits
//   2. planes   the bits of the bin become one plane for each cut: "the value is at or above it"
//   3. trees    each node picks between its children's planes by its own; what remains are the bits of the leaf's number
//   4. leaves   planes become bytes, bytes look their leaves up, and the sums take them in the order of the trees
//
// `Ops` supplies the planes' type and the steps that depend on the CPU. Nothing is allocated: the workspace comes from outside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/plan.hpp"
#include "kernels/rows.hpp"

namespace kernels {
namespace KERNELS_TARGET {

constexpr std::size_t tile_features = 16;  // that are brought into columns at a time

template <class Ops, class S>
struct BitSliced {
  using V = typename Ops::V;
  static constexpr std::size_t rows = Ops::rows;

  struct Workspace {
    V* planes;
    V* bits;                // of a bin, the highest first
    double* tile;           // tile_features columns of a block
    S* sums;                // n_outputs times a block, in the order of `Ops::row_of`
    std::uint8_t* indices;  // leaf numbers of one tree: the low bytes, then those of a deep tree's high bytes
  };

  static constexpr std::size_t round_up(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

  static constexpr std::size_t workspace_bytes(const PlanHeader* plan) {
    return round_up((plan->n_planes + plan->n_scratch + 1) * sizeof(V)) + round_up((max_levels + 1) * sizeof(V)) +
           tile_features * rows * sizeof(double) + round_up(plan->n_outputs * rows * sizeof(S)) + 2 * rows + 64;
  }

  static Workspace workspace(const PlanHeader* plan, unsigned char* memory) {
    Workspace w;
    w.planes = reinterpret_cast<V*>(memory);
    memory += round_up((plan->n_planes + plan->n_scratch + 1) * sizeof(V));
    w.bits = reinterpret_cast<V*>(memory);
    memory += round_up((max_levels + 1) * sizeof(V));
    w.tile = reinterpret_cast<double*>(memory);
    memory += tile_features * rows * sizeof(double);
    w.sums = reinterpret_cast<S*>(memory);
    memory += round_up(plan->n_outputs * rows * sizeof(S));
    w.indices = memory;
    return w;
  }

  // Margins of at most `rows` rows: out[row * n_outputs + output].
  template <class X>
  static void block(const PlanHeader* plan, const Rows<X>& x, std::size_t first, std::size_t n, S* out, Workspace& w) {
    w.planes[plane_zeros] = Ops::zeros();
    w.planes[plane_ones] = Ops::ones();
    if (sizeof(X) == 8 && plan->threshold_is_double) {
      all_planes<X, double>(plan, section<double>(plan, plan->double_cuts), x, first, n, w);
    } else {
      all_planes<X, float>(plan, section<float>(plan, plan->float_cuts), x, first, n, w);
    }
    const S* base = section<S>(plan, plan->base);
    for (std::size_t k = 0; k < plan->n_outputs; ++k) {
      for (std::size_t i = 0; i < rows; ++i) w.sums[k * rows + i] = base[k];
    }
    all_trees(plan, w);
    const std::size_t width = plan->n_outputs;
    if (width == 1) {
      Ops::in_row_order(w.sums, n, out);
    } else {
      for (std::size_t k = 0; k < width; ++k) {
        for (std::size_t i = 0; i < rows; ++i) {
          const std::size_t row = Ops::template row_of<S>(i);
          if (row < n) out[row * width + k] = w.sums[k * rows + i];
        }
      }
    }
  }

 private:
  // R: the precision in which values meet cuts.
  template <class X, class R>
  static void all_planes(const PlanHeader* plan, const R* cuts, const Rows<X>& x, std::size_t first, std::size_t n,
                         Workspace& w) {
    const PlanFeature* features = section<PlanFeature>(plan, plan->features);
    R* tile = reinterpret_cast<R*>(w.tile);
    for (std::size_t from = 0; from < plan->n_features; from += tile_features) {
      const std::size_t left = plan->n_features - from;
      const std::size_t width = left < tile_features ? left : tile_features;
      Ops::columns(x, first, n, from, width, tile);
      for (std::size_t f = 0; f < width; ++f) feature_planes(plan, features[from + f], cuts, tile + f * rows, w);
    }
  }

  template <class R>
  static void feature_planes(const PlanHeader* plan, const PlanFeature& feature, const R* cuts, const R* x, Workspace& w) {
    if (feature.n_cuts + feature.n_sets == 0) return;
    V* planes = w.planes + feature.first_plane;
    V missing;
    bool any_missing;
    const R* table = cuts + feature.first_cut;
    const bool zero = feature.missing == 1;
    const bool compares = feature.n_categories == 0 && feature.n_cuts <= Ops::most_compared_cuts;
    if (feature.n_categories != 0) {
      any_missing = class_bits(plan, feature, x, w.bits, missing);
    } else if (compares) {
      any_missing = compared_planes(plan, feature, table, x, planes, missing);
    } else {
      any_missing = zero ? Ops::bin(x, table, feature.levels, w.bits, missing, at_or_below<R>(plan->zero_threshold))
                         : Ops::bin(x, table, feature.levels, w.bits, missing);
    }
    if (!compares && feature.n_cuts != 0) cut_planes(w.bits, feature.levels, feature.n_cuts, planes);
    const std::uint32_t* direction = section<std::uint32_t>(plan, plan->directions) + feature.first_direction;
    if (feature.n_categories != 0) {
      set_planes(plan, feature, planes);
      direction += feature.n_cuts;
      planes += feature.n_cuts;
      if (any_missing) give_direction(planes, feature.n_sets, missing, direction);
      return;
    }
    const std::uint32_t* extras = section<std::uint32_t>(plan, plan->extras) + feature.first_extra;
    for (std::uint32_t i = 0; i < feature.n_extras; ++i) Ops::store(planes + feature.n_cuts + i, Ops::load(planes + extras[i]));
    if (any_missing) give_direction(planes, feature.n_cuts + feature.n_extras, missing, direction);
  }

  static void give_direction(V* planes, std::uint32_t n, V missing, const std::uint32_t* direction) {
    for (std::uint32_t i = 0; i < n; ++i) Ops::store(planes + i, Ops::mux(missing, Ops::all(direction[i]), Ops::load(planes + i)));
  }

  // A few cuts, each compared with all values.
  template <class R>
  static bool compared_planes([[maybe_unused]] const PlanHeader* plan, [[maybe_unused]] const PlanFeature& feature,
                              [[maybe_unused]] const R* table, [[maybe_unused]] const R* x, [[maybe_unused]] V* planes,
                              [[maybe_unused]] V& missing) {
    if constexpr (Ops::most_compared_cuts > 0) {
      for (std::uint32_t k = 0; k < feature.n_cuts; ++k) {
        // The number of trailing zeros of k + 1 is the cut's height above the bottom level of the search tree.
        std::uint32_t height = 0;
        while (((k + 1) >> height & 1u) == 0) ++height;
        const std::uint32_t place = (1u << (feature.levels - 1 - height)) + ((k + 1) >> (height + 1));
        Ops::store(planes + k, Ops::at_or_above(x, table[place]));
      }
      return feature.missing == 1 ? Ops::find_missing(x, missing, at_or_below<R>(plan->zero_threshold)) : Ops::find_missing(x, missing);
    } else {
      return false;
    }
  }

  // The planes "bin > k" for k < n from the bits of the bins, sixteen cuts at a time.
  static void cut_planes(const V* bits, std::uint32_t levels, std::uint32_t n, V* planes) {
    V bit[4];
    const std::uint32_t n_low = levels < 4 ? levels : 4;
    for (std::uint32_t i = 0; i < 4; ++i) bit[i] = i < n_low ? Ops::load(bits + levels - 1 - i) : Ops::zeros();
    V low[16];  // the four lowest bits exceed l
    {
      const V two[4] = {Ops::either(bit[0], bit[1]), bit[1], Ops::both(bit[0], bit[1]), Ops::zeros()};
      const V more[4] = {Ops::either(bit[2], bit[3]), bit[3], Ops::both(bit[2], bit[3]), Ops::zeros()};
      const V equal[4] = {Ops::without(Ops::ones(), more[0]), Ops::without(bit[2], bit[3]), Ops::without(bit[3], bit[2]),
                          more[2]};
      for (int l = 0; l < 16; ++l) low[l] = Ops::exceeds(more[l / 4], equal[l / 4], two[l % 4]);
    }
    for (std::uint32_t from = 0; from < n; from += 16) {
      const std::uint32_t high = from / 16;
      V more = Ops::zeros(), equal = Ops::ones();
      for (std::uint32_t i = 4; i < levels; ++i) {  // the higher bits, the lowest of them first
        const V b = Ops::load(bits + levels - 1 - i);
        if ((high >> (i - 4) & 1u) != 0) {
          more = Ops::both(b, more);
          equal = Ops::both(b, equal);
        } else {
          more = Ops::either(b, more);
          equal = Ops::without(equal, b);
        }
      }
      if (n - from >= 16) {
        for (std::uint32_t l = 0; l < 16; ++l) Ops::store(planes + from + l, Ops::exceeds(more, equal, low[l]));
      } else {
        for (std::uint32_t l = 0; l < n - from; ++l) Ops::store(planes + from + l, Ops::exceeds(more, equal, low[l]));
      }
    }
  }

  template <class R>
  static bool class_bits(const PlanHeader* plan, const PlanFeature& feature, const R* x, V* bits, V& missing) {
    const std::uint16_t* classes = section<std::uint16_t>(plan, plan->classes) + feature.first_class;
    std::uint64_t words[max_levels + 1][rows / 64] = {};
    bool any = false;
    for (std::size_t row = 0; row < rows; ++row) {
      const R value = x[row];
      const std::uint64_t one = std::uint64_t(1) << (row % 64);
      if (is_nan(value)) {
        words[max_levels][row / 64] |= one;
        any = true;
        continue;
      }
      const bool inside = (feature.truncates != 0 ? value > R(-1) : value >= R(0)) && value < R(feature.n_categories);
      const std::uint32_t number = inside ? classes[static_cast<std::uint32_t>(value < R(0) ? R(0) : value)] : 0;
      for (std::uint32_t i = 0; i < feature.levels; ++i) {
        if ((number >> (feature.levels - 1 - i) & 1u) != 0) words[i][row / 64] |= one;
      }
    }
    for (std::uint32_t i = 0; i < feature.levels; ++i) std::memcpy(bits + i, words[i], sizeof(V));
    std::memcpy(&missing, words[max_levels], sizeof(V));
    return any;
  }

  static void set_planes(const PlanHeader* plan, const PlanFeature& feature, V* planes) {
    const PlanSet* sets = section<PlanSet>(plan, plan->sets) + feature.first_set;
    const PlanRun* runs = section<PlanRun>(plan, plan->runs);
    for (std::uint32_t i = 0; i < feature.n_sets; ++i) {
      V plane = Ops::zeros();
      for (std::uint32_t j = 0; j < sets[i].n_runs; ++j) {
        const PlanRun& run = runs[sets[i].first_run + j];
        const V from = run.from == 0 ? Ops::ones() : Ops::load(planes + run.from - 1);
        const V past = run.to > feature.n_cuts ? Ops::zeros() : Ops::load(planes + run.to - 1);
        plane = Ops::either(plane, Ops::without(from, past));
      }
      Ops::store(planes + feature.n_cuts + i, plane);
    }
  }

  static void all_trees(const PlanHeader* plan, Workspace& w) {
    const PlanTree* trees = section<PlanTree>(plan, plan->trees);
    const PlanChain* chains = section<PlanChain>(plan, plan->chains);
    for (std::size_t i = 0; i < plan->n_trees; ++i) {
      const PlanTree& tree = trees[i];
      const PlanChain* chain = chains + tree.first_chain;
      for (std::uint32_t j = 0; j < tree.n_chains; ++j) {
        Ops::store(w.planes + plan->n_planes + j,
                   Ops::both_flipped(Ops::load(w.planes + chain[j].first), Ops::load(w.planes + chain[j].second), chain[j].flip));
      }
      switch (tree.depth) {
        case 1: one_tree<1>(plan, tree, w); break;
        case 2: one_tree<2>(plan, tree, w); break;
        case 3: one_tree<3>(plan, tree, w); break;
        case 4: one_tree<4>(plan, tree, w); break;
        case 5: one_tree<5>(plan, tree, w); break;
        case 6: one_tree<6>(plan, tree, w); break;
        case 7: one_tree<7>(plan, tree, w); break;
        case 8: one_tree<8>(plan, tree, w); break;
        case 9: deep_tree<1>(plan, tree, w); break;
        case 10: deep_tree<2>(plan, tree, w); break;
        case 11: deep_tree<3>(plan, tree, w); break;
        default: deep_tree<4>(plan, tree, w); break;
      }
    }
  }

  // Level `bottom`'s bit of the leaf's number: the node that the bits above lead to.
  template <int level, int bottom>
  static KERNELS_INLINE V fold(const V* planes, const std::uint16_t* nodes, const V* above, int position) {
    if constexpr (level == bottom) {
      return Ops::load(planes + nodes[(1 << bottom) - 1 + position]);
    } else {
      const V left = fold<level + 1, bottom>(planes, nodes, above, 2 * position);
      const V right = fold<level + 1, bottom>(planes, nodes, above, 2 * position + 1);
      return Ops::mux(above[level], right, left);
    }
  }

  // The bits of the leaf's number, the highest first.
  template <int depth>
  static KERNELS_INLINE void leaf_bits(const V* planes, const std::uint16_t* nodes, V* p) {
    p[0] = fold<0, 0>(planes, nodes, p, 0);
    if constexpr (depth > 1) p[1] = fold<0, 1>(planes, nodes, p, 0);
    if constexpr (depth > 2) p[2] = fold<0, 2>(planes, nodes, p, 0);
    if constexpr (depth > 3) p[3] = fold<0, 3>(planes, nodes, p, 0);
    if constexpr (depth > 4) p[4] = fold<0, 4>(planes, nodes, p, 0);
    if constexpr (depth > 5) p[5] = fold<0, 5>(planes, nodes, p, 0);
    if constexpr (depth > 6) p[6] = fold<0, 6>(planes, nodes, p, 0);
    if constexpr (depth > 7) p[7] = fold<0, 7>(planes, nodes, p, 0);
  }

  template <int depth>
  static KERNELS_NOINLINE void one_tree(const PlanHeader* plan, const PlanTree& tree, Workspace& w) {
    V p[8];
    leaf_bits<depth>(w.planes, section<std::uint16_t>(plan, plan->nodes) + tree.first_node, p);
    Ops::template indices<depth>(p, w.indices);
    const S* leaves = section<S>(plan, plan->leaves) + tree.first_leaf;
    const std::uint8_t* bytes = section<std::uint8_t>(plan, plan->leaf_bytes) + tree.first_byte;
    if (!plan->vector_leaves) {
      Ops::template add<depth>(w.indices, leaves, bytes, tree.is_compact != 0, w.sums + tree.output * rows);
      return;
    }
    const std::size_t n_bytes = leaf_bytes_of(depth, sizeof(S) == 8, false);
    for (std::size_t k = 0; k < plan->n_outputs; ++k) {
      Ops::template add<depth>(w.indices, leaves + (k << depth), bytes + k * n_bytes, false, w.sums + k * rows);
    }
  }

  // A tree whose `top` levels choose between subtrees of eight levels each.
  template <int top>
  static KERNELS_NOINLINE void deep_tree(const PlanHeader* plan, const PlanTree& tree, Workspace& w) {
    const std::uint16_t* nodes = section<std::uint16_t>(plan, plan->nodes) + tree.first_node;
    V high[8], low[8];
    leaf_bits<top>(w.planes, nodes, high);
    for (V& bit : low) bit = Ops::zeros();
    for (int i = 0; i < 1 << top; ++i) {
      std::uint16_t subtree[255];
      for (int level = 0; level < 8; ++level) {
        std::memcpy(subtree + (1 << level) - 1, nodes + (1 << (top + level)) - 1 + (i << level), sizeof(std::uint16_t) << level);
      }
      V p[8];
      leaf_bits<8>(w.planes, subtree, p);
      V chosen = Ops::ones();
      for (int level = 0; level < top; ++level) {
        chosen = (i >> (top - 1 - level) & 1) != 0 ? Ops::both(chosen, high[level]) : Ops::without(chosen, high[level]);
      }
      for (int level = 0; level < 8; ++level) low[level] = Ops::exceeds(low[level], p[level], chosen);
    }
    Ops::template indices<8>(low, w.indices);
    Ops::template indices<top>(high, w.indices + rows);
    const S* leaves = section<S>(plan, plan->leaves) + tree.first_leaf;
    const std::size_t n_outputs = plan->vector_leaves != 0 ? plan->n_outputs : 1;
    for (std::size_t k = 0; k < n_outputs; ++k) {
      Ops::add_deep(w.indices, leaves + (k << tree.depth), w.sums + (tree.output + k) * rows);
    }
  }
};

}  // namespace KERNELS_TARGET
}  // namespace kernels
