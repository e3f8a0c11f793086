// From a forest's nodes to its plan.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "kernels/forest.hpp"
#include "kernels/plan.hpp"

namespace kernels {

struct FreeAligned {
  void operator()(unsigned char* data) const noexcept;
};

// A plan in memory of its own, aligned to 64 bytes.
struct Plan {
  std::unique_ptr<unsigned char, FreeAligned> bytes;
  std::size_t size = 0;
  const PlanHeader* header() const { return reinterpret_cast<const PlanHeader*>(bytes.get()); }
};

std::unique_ptr<unsigned char, FreeAligned> aligned_bytes(std::size_t size);

// Collects the sections of a plan.
class PlanWriter {
 public:
  PlanHeader header{};

  // `padding` zero bytes follow the section, for engines that load whole registers.
  template <class T>
  Span add(std::vector<T> values, std::size_t padding = 64) {
    static_assert(std::is_trivially_copyable_v<T>);
    auto kept = std::make_shared<std::vector<T>>(std::move(values));
    const Span span{size_, kept->size()};
    const std::size_t n_bytes = kept->size() * sizeof(T);
    sections_.push_back({kept, reinterpret_cast<const unsigned char*>(kept->data()), size_, n_bytes});
    size_ = (size_ + n_bytes + padding + 63) / 64 * 64;
    return span;
  }

  Plan finish();

 private:
  struct Section {
    std::shared_ptr<void> owner;
    const unsigned char* data;
    std::size_t offset;
    std::size_t n_bytes;
  };
  std::vector<Section> sections_;
  std::size_t size_ = (sizeof(PlanHeader) + 63) / 64 * 64;
};

// The features' cuts and what each node asks of them.
struct PlannedFeatures {
  std::vector<PlanFeature> features;
  std::vector<std::uint32_t> first_sorted_cut;  // n_features + 1, into sorted_cuts
  std::vector<double> sorted_cuts;              // ascending for each feature; exact singles for a single-precision forest
  std::vector<std::uint32_t> node_cut;          // number of an inner node's cut among its feature's, or of its set
  std::vector<std::uint32_t> node_plane;        // the plane that decides an inner node
  std::vector<std::uint8_t> node_direction;     // 1 where an inner node sends missing values right
  std::vector<float> float_cuts;
  std::vector<double> double_cuts;
  std::vector<std::uint32_t> directions;
  std::vector<std::uint32_t> extras;
  std::vector<std::uint16_t> classes;
  std::vector<PlanSet> sets;
  std::vector<PlanRun> runs;
  std::uint32_t n_planes = 2;
  NotSliced reason = NotSliced::no;
};

PlannedFeatures plan_features(const ForestTables& tables);
void plan_sliced_trees(const ForestTables& tables, const PlannedFeatures& features, PlanWriter& writer);
// Depth and inner nodes of a tree.
struct TreeShape {
  std::uint32_t depth;
  std::uint32_t n_splits;
};

// Checks the tables, too: std::invalid_argument names what is wrong.
std::vector<TreeShape> plan_walk(const ForestTables& tables, PlanWriter& writer);

// Checks the tables and builds everything; std::invalid_argument names what is wrong.
Plan build_plan(const ForestTables& tables);

// std::invalid_argument where the bytes are no plan that the engines may run.
void validate_plan(const unsigned char* data, std::size_t size);

}  // namespace kernels
