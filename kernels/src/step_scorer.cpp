#include "step_scorer.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace kernels {

namespace {

constexpr double kTurn = 6.283185307179586;

// G4Step: total energy deposit, non-ionizing part, points before and after. G4StepPoint: position first.
struct StepPoint {
  double position[3];
};
struct Step {
  double energy, non_ionizing;
  const StepPoint *before, *after;
};

}  // namespace

StepScorer::Edges::Edges(std::vector<double> given) : values(std::move(given)), count(values.size() - 1), scale(0) {
  if (values.size() < 2) throw std::invalid_argument("edges are at least two");
  for (std::size_t i = 1; i < values.size(); ++i)
    if (!(values[i] > values[i - 1])) throw std::invalid_argument("edges have to ascend");
  const double width = (values.back() - values.front()) / static_cast<double>(count);
  bool equal = true;
  for (std::size_t i = 0; i <= count; ++i)
    equal = equal && std::abs(values.front() + static_cast<double>(i) * width - values[i]) < 1e-9 * width;
  if (equal) scale = 1 / width;
}

std::size_t StepScorer::Edges::find(double value) const {
  if (!(value >= values.front() && value < values.back())) return count;
  if (scale > 0) return std::min(static_cast<std::size_t>((value - values.front()) * scale), count - 1);
  return static_cast<std::size_t>(std::upper_bound(values.begin(), values.end(), value) - values.begin()) - 1;
}

StepScorer::StepScorer(std::vector<double> depths, std::size_t angles, std::vector<double> radii)
    : depths_(std::move(depths)), radii_(std::move(radii)), angles_(angles) {
  if (angles == 0) throw std::invalid_argument("there is at least one angle");
  energies_.resize(depths_.count * angles * radii_.count);
}

StepScorer::~StepScorer() { detach(); }

void StepScorer::attach(void* detector, std::size_t slot) {
  if (detector_ != nullptr) throw std::invalid_argument("the scorer is attached already");
  if (detector == nullptr || slot >= kSlots) throw std::invalid_argument("no such detector or slot");
  void** const object = static_cast<void**>(detector);
  void** const virtuals = static_cast<void**>(*object);
  std::memcpy(&table_[1], virtuals - 2, (kSlots + 2) * sizeof(void*));
  table_[0] = this;
  bool (*const hits)(void*, const void*, void*) = &StepScorer::process_hits;
  std::memcpy(&table_[kHead + slot], &hits, sizeof(void*));
  original_ = *object;
  *object = &table_[kHead];
  detector_ = object;
}

void StepScorer::detach() {
  if (detector_ == nullptr) return;
  *detector_ = original_;
  detector_ = nullptr;
}

void StepScorer::clear() {
  std::fill(energies_.begin(), energies_.end(), 0.0);
  outside_ = 0;
  steps_ = 0;
}

void StepScorer::add(double energy, double x, double y, double z) {
  ++steps_;
  if (!(energy > 0)) return;
  const double a = axes_[0] * x + axes_[1] * y + axes_[2] * z;
  const double b = axes_[3] * x + axes_[4] * y + axes_[5] * z;
  const double depth = axes_[6] * x + axes_[7] * y + axes_[8] * z;
  const std::size_t layer = depths_.find(depth), ring = radii_.find(std::sqrt(a * a + b * b));
  if (layer == depths_.count || ring == radii_.count) {
    outside_ += energy;
    return;
  }
  const double turn = std::atan2(b, a) / kTurn + 0.5;
  const std::size_t angle = std::min(static_cast<std::size_t>(turn * static_cast<double>(angles_)), angles_ - 1);
  energies_[(layer * angles_ + angle) * radii_.count + ring] += energy;
}

bool StepScorer::process_hits(void* detector, const void* given, void*) {
  StepScorer& self = *static_cast<StepScorer*>((*static_cast<void***>(detector))[-static_cast<std::ptrdiff_t>(kHead)]);
  const Step& step = *static_cast<const Step*>(given);
  const double *const p = step.before->position, *const q = step.after->position;
  self.add(step.energy, 0.5 * (p[0] + q[0]), 0.5 * (p[1] + q[1]), 0.5 * (p[2] + q[2]));
  return step.energy > 0;
}

}  // namespace kernels
