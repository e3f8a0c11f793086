// The cuts, planes and sets of each feature.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "planner.hpp"

namespace kernels {
namespace {

std::uint64_t bits_of(double x) {
  std::uint64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

// Numbers the distinct (feature, cut) pairs in order of appearance.
class CutNumbers {
 public:
  struct Cut {
    std::uint64_t bits;
    std::uint32_t feature;
    double value;
  };

  std::uint32_t number(std::uint32_t feature, double cut) {
    const std::uint64_t bits = bits_of(cut);
    std::size_t slot = hash(feature, bits);
    for (; slots_[slot] != none; slot = (slot + 1) & (slots_.size() - 1)) {
      const Cut& found = cuts_[slots_[slot]];
      if (found.bits == bits && found.feature == feature) return slots_[slot];
    }
    slots_[slot] = static_cast<std::uint32_t>(cuts_.size());
    cuts_.push_back({bits, feature, cut});
    if (cuts_.size() * 2 > slots_.size()) grow();
    return static_cast<std::uint32_t>(cuts_.size() - 1);
  }

  const std::vector<Cut>& cuts() const { return cuts_; }

 private:
  static constexpr std::uint32_t none = ~0u;

  std::size_t hash(std::uint32_t feature, std::uint64_t bits) const {
    const std::uint64_t mixed = (bits ^ (feature * 0x9E3779B97F4A7C15ull)) * 0xD6E8FEB86659FD93ull;
    return (mixed >> 32) & (slots_.size() - 1);
  }

  void grow() {
    slots_.assign(slots_.size() * 2, none);
    for (std::uint32_t i = 0; i < cuts_.size(); ++i) {
      std::size_t slot = hash(cuts_[i].feature, cuts_[i].bits);
      while (slots_[slot] != none) slot = (slot + 1) & (slots_.size() - 1);
      slots_[slot] = i;
    }
  }

  std::vector<Cut> cuts_;
  std::vector<std::uint32_t> slots_ = std::vector<std::uint32_t>(4096, none);
};

// The number x with "goes right" equal to "value >= x", in the precision of the thresholds; NaN, which no value is at or above,
// where nothing goes right.
double cut_of(Comparison comparison, double threshold, bool single) {
  double cut = threshold;
  if (comparison == Comparison::less_equal) {
    if (threshold == std::numeric_limits<double>::infinity()) return std::numeric_limits<double>::quiet_NaN();
    cut = single ? std::nextafter(static_cast<float>(threshold), std::numeric_limits<float>::infinity())
                 : std::nextafter(threshold, std::numeric_limits<double>::infinity());
  }
  return cut == 0 ? 0.0 : cut;  // no negative zero
}

float smallest_single_at_or_above(double cut) {
  const float nearest = static_cast<float>(cut);
  return static_cast<double>(nearest) >= cut ? nearest
                                             : std::nextafter(nearest, std::numeric_limits<float>::infinity());
}

constexpr std::size_t max_categories = 1 << 15;  // each has a signature while the plan is made

// Writes ascending cuts as the levels of a search tree, NaN in the places left over.
template <class T>
void add_levels(const std::vector<T>& ascending, std::uint32_t levels, std::vector<T>& out) {
  out.push_back(T(0));
  for (std::uint32_t level = 0; level < levels; ++level) {
    const std::size_t step = std::size_t(1) << (levels - level);
    for (std::size_t i = step / 2 - 1; i < (std::size_t(1) << levels) - 1; i += step) {
      out.push_back(i < ascending.size() ? ascending[i] : std::numeric_limits<T>::quiet_NaN());
    }
  }
}

struct CategorySetKey {
  std::vector<std::uint32_t> words;  // without zeros at the end
  bool in_set;
  bool direction;
  bool operator<(const CategorySetKey& other) const {
    return std::tie(words, in_set, direction) < std::tie(other.words, other.in_set, other.direction);
  }
};

bool lists(const std::vector<std::uint32_t>& words, std::size_t category) {
  return category / 32 < words.size() && ((words[category / 32] >> (category % 32)) & 1u) != 0;
}

// The classes and planes of a categorical feature whose sets are numbered by `keys`.
void add_categorical(const std::map<CategorySetKey, std::uint32_t>& keys, PlanFeature& feature, PlannedFeatures& out) {
  std::vector<const CategorySetKey*> sets(keys.size());
  for (const auto& [key, number] : keys) sets[number] = &key;
  std::size_t n_categories = 1;
  for (const CategorySetKey* set : sets) n_categories = std::max(n_categories, set->words.size() * 32);
  if (n_categories > max_categories) {
    out.reason = NotSliced::too_many_cuts;
    return;
  }
  // A category's signature tells which sets list it; class 0 is in none.
  std::map<std::vector<bool>, std::uint16_t> class_of{{std::vector<bool>(sets.size(), false), 0}};
  std::vector<std::vector<bool>> signatures(n_categories);
  for (std::size_t category = 0; category < n_categories; ++category) {
    for (const CategorySetKey* set : sets) signatures[category].push_back(lists(set->words, category));
    class_of.emplace(signatures[category], 0);
  }
  std::vector<std::vector<bool>> members;  // of each class
  for (auto& [signature, number] : class_of) {
    number = static_cast<std::uint16_t>(members.size());
    members.push_back(signature);
  }
  feature.n_categories = static_cast<std::uint32_t>(n_categories);
  feature.first_class = static_cast<std::uint32_t>(out.classes.size());
  for (const auto& signature : signatures) out.classes.push_back(class_of[signature]);
  feature.n_cuts = static_cast<std::uint32_t>(members.size() - 1);
  while ((1u << feature.levels) <= feature.n_cuts) ++feature.levels;
  feature.first_set = static_cast<std::uint32_t>(out.sets.size());
  feature.n_sets = static_cast<std::uint32_t>(sets.size());
  feature.truncates = sets[0]->in_set;
  out.directions.insert(out.directions.end(), feature.n_cuts, 0u);
  for (std::size_t i = 0; i < sets.size(); ++i) {
    if (sets[i]->in_set != (feature.truncates != 0)) out.reason = NotSliced::mixed_kinds;
    PlanSet set{static_cast<std::uint32_t>(out.runs.size()), 0};
    for (std::uint32_t number = 0; number < members.size(); ++number) {
      if (members[number][i] == sets[i]->in_set) continue;  // goes left
      if (set.n_runs > 0 && out.runs.back().to == number) {
        ++out.runs.back().to;
      } else {
        out.runs.push_back({number, number + 1});
        ++set.n_runs;
      }
    }
    out.sets.push_back(set);
    out.directions.push_back(sets[i]->direction ? ~0u : 0u);
  }
}

}  // namespace

PlannedFeatures plan_features(const ForestTables& t) {
  PlannedFeatures out;
  const std::size_t n_nodes = t.feature.size;
  const bool single = t.threshold_precision == Precision::single_precision;
  out.node_cut.assign(n_nodes, 0);
  out.node_plane.assign(n_nodes, plane_zeros);

  CutNumbers numbers;
  std::vector<std::uint8_t> kinds(t.n_features, 0);        // bit 0: numeric nodes, 1: categorical ones
  std::vector<std::uint8_t> missing_kinds(t.n_features, 0);  // bit 0: NaN is missing, 1: zero is
  std::vector<std::uint8_t> seen_directions;               // of each cut: bit 0: left, 1: right
  out.node_direction.assign(n_nodes, 0);
  std::map<std::uint32_t, std::map<CategorySetKey, std::uint32_t>> sets;
  for (std::size_t i = 0; i < n_nodes; ++i) {
    if (t.feature[i] < 0) continue;
    const auto feature = static_cast<std::uint32_t>(t.feature[i]);
    const auto comparison = static_cast<Comparison>(t.comparison[i]);
    const auto missing = static_cast<Missing>(t.missing[i]);
    missing_kinds[feature] |= missing == Missing::zero ? 2 : 1;
    if (comparison == Comparison::in_set || comparison == Comparison::not_in_set) {
      kinds[feature] |= 2;
      CategorySetKey key{{}, comparison == Comparison::in_set, t.default_left[i] == 0};
      const auto from = static_cast<std::size_t>(t.category_start[i]), to = static_cast<std::size_t>(t.category_start[i + 1]);
      key.words.assign(t.category_words.data + from, t.category_words.data + to);
      while (!key.words.empty() && key.words.back() == 0) key.words.pop_back();
      if (missing == Missing::none) key.direction = lists(key.words, 0) != key.in_set;
      auto& known = sets[feature];
      out.node_cut[i] = known.emplace(std::move(key), static_cast<std::uint32_t>(known.size())).first->second;
      continue;
    }
    kinds[feature] |= 1;
    const double cut = cut_of(comparison, t.threshold[i], single);
    const std::uint32_t number = numbers.number(feature, cut);
    out.node_direction[i] = missing == Missing::none ? 0.0 >= cut : t.default_left[i] == 0;
    out.node_cut[i] = number;
    if (number == seen_directions.size()) seen_directions.push_back(0);
    seen_directions[number] |= out.node_direction[i] != 0 ? 2 : 1;
  }

  // Cuts in ascending order, and the rank of each among its feature's.
  const auto& cuts = numbers.cuts();
  std::vector<std::uint32_t> order(cuts.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    if (cuts[a].feature != cuts[b].feature) return cuts[a].feature < cuts[b].feature;
    return cuts[a].value < cuts[b].value || (std::isnan(cuts[b].value) && !std::isnan(cuts[a].value));
  });
  std::vector<std::uint32_t> rank(cuts.size()), extra(cuts.size(), 0);
  out.features.assign(t.n_features, {});
  out.first_sorted_cut.assign(t.n_features + 1, 0);
  std::size_t at = 0;
  for (std::uint32_t f = 0; f < t.n_features; ++f) {
    PlanFeature& feature = out.features[f];
    if (kinds[f] == 3) out.reason = NotSliced::mixed_kinds;
    if (missing_kinds[f] == 3 || (missing_kinds[f] == 2 && kinds[f] == 2)) out.reason = NotSliced::mixed_missing;
    feature.missing = static_cast<std::uint32_t>(missing_kinds[f] == 2 ? Missing::zero : Missing::nan);
    feature.first_plane = out.n_planes;
    feature.first_direction = static_cast<std::uint32_t>(out.directions.size());
    feature.first_cut = static_cast<std::uint32_t>(out.float_cuts.size());
    feature.first_extra = static_cast<std::uint32_t>(out.extras.size());
    out.first_sorted_cut[f] = static_cast<std::uint32_t>(out.sorted_cuts.size());
    if (kinds[f] == 2) {
      add_categorical(sets[f], feature, out);
    } else {
      std::vector<float> singles;
      std::vector<double> doubles;
      for (; at < order.size() && cuts[order[at]].feature == f; ++at) {
        const std::uint32_t number = order[at];
        rank[number] = feature.n_cuts++;
        out.directions.push_back(seen_directions[number] == 2 ? ~0u : 0u);
        out.sorted_cuts.push_back(cuts[number].value);
        doubles.push_back(cuts[number].value);
        singles.push_back(smallest_single_at_or_above(cuts[number].value));
        if (seen_directions[number] == 3) {
          extra[number] = feature.n_extras++;
          out.extras.push_back(rank[number]);
        }
      }
      out.directions.insert(out.directions.end(), feature.n_extras, ~0u);
      while ((1u << feature.levels) <= feature.n_cuts && feature.levels <= max_levels) ++feature.levels;
      if (feature.levels > max_levels) {
        out.reason = NotSliced::too_many_cuts;
        return out;
      }
      add_levels(singles, feature.levels, out.float_cuts);
      if (!single) add_levels(doubles, feature.levels, out.double_cuts);
    }
    out.n_planes += feature.n_cuts + feature.n_extras + feature.n_sets;
    if (out.n_planes > 65000) {
      out.reason = NotSliced::too_many_planes;
      return out;
    }
  }
  out.first_sorted_cut[t.n_features] = static_cast<std::uint32_t>(out.sorted_cuts.size());
  for (std::size_t i = 0; i < n_nodes; ++i) {
    if (t.feature[i] < 0) continue;
    const PlanFeature& feature = out.features[static_cast<std::size_t>(t.feature[i])];
    if (feature.n_sets != 0) {
      out.node_plane[i] = feature.first_plane + feature.n_cuts + out.node_cut[i];
      continue;
    }
    const std::uint32_t number = out.node_cut[i];
    const bool in_extra = seen_directions[number] == 3 && out.node_direction[i] != 0;
    out.node_cut[i] = rank[number];
    out.node_plane[i] = feature.first_plane + (in_extra ? feature.n_cuts + extra[number] : rank[number]);
  }
  return out;
}

}  // namespace kernels
