#include "planner.hpp"

#include <cstdlib>
#include <new>
#include <stdexcept>

#include "kernels/single_event.hpp"

namespace kernels {

void FreeAligned::operator()(unsigned char* data) const noexcept { std::free(data); }

std::unique_ptr<unsigned char, FreeAligned> aligned_bytes(std::size_t size) {
  auto* data = static_cast<unsigned char*>(std::aligned_alloc(64, (size + 63) / 64 * 64));
  if (data == nullptr) throw std::bad_alloc();
  return std::unique_ptr<unsigned char, FreeAligned>(data);
}

Plan PlanWriter::finish() {
  header.size = size_;
  Plan plan{aligned_bytes(size_), size_};
  unsigned char* bytes = plan.bytes.get();
  std::size_t filled = 0;
  const auto put = [&](std::size_t offset, const void* data, std::size_t n_bytes) {
    std::memset(bytes + filled, 0, offset - filled);
    if (n_bytes != 0) std::memcpy(bytes + offset, data, n_bytes);
    filled = offset + n_bytes;
  };
  put(0, &header, sizeof header);
  for (const Section& section : sections_) put(section.offset, section.data, section.n_bytes);
  put(size_, nullptr, 0);
  return plan;
}

Plan build_plan(const ForestTables& t) {
  PlanWriter writer;
  PlanHeader& header = writer.header;
  std::memcpy(header.magic, plan_magic, sizeof header.magic);
  header.version = plan_version;
  const std::vector<TreeShape> shapes = plan_walk(t, writer);
  header.n_features = static_cast<std::uint32_t>(t.n_features);
  header.n_outputs = static_cast<std::uint32_t>(t.n_outputs);
  header.n_trees = static_cast<std::uint32_t>(t.tree_start.size - 1);
  header.zero_threshold = t.zero_threshold;
  header.link = static_cast<std::uint32_t>(t.link);
  header.link_scale = t.link_scale;
  header.divisor = t.divisor;
  header.threshold_is_double = t.threshold_precision == Precision::double_precision;
  header.sum_is_double = t.sum_precision == Precision::double_precision;
  header.vector_leaves = t.vector_leaves;
  if (header.sum_is_double) {
    header.base = writer.add(std::vector<double>(t.base.data, t.base.data + t.base.size));
  } else {
    header.base = writer.add(std::vector<float>(t.base.data, t.base.data + t.base.size));
  }

  PlannedFeatures features = plan_features(t);
  header.not_sliced = static_cast<std::uint32_t>(features.reason);
  if (features.reason == NotSliced::no) {
    header.n_planes = features.n_planes;
    header.features = writer.add(features.features);
    header.float_cuts = writer.add(std::move(features.float_cuts));
    header.double_cuts = writer.add(std::move(features.double_cuts));
    header.directions = writer.add(std::move(features.directions));
    header.extras = writer.add(std::move(features.extras));
    header.classes = writer.add(std::move(features.classes));
    header.sets = writer.add(std::move(features.sets));
    header.runs = writer.add(std::move(features.runs));
    plan_sliced_trees(t, features, writer);
  }
  plan_single(t, features, shapes, writer);
  return writer.finish();
}

}  // namespace kernels
