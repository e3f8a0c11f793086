#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace kernels {

// Energy of a detector simulation's steps, in layers, angles and rings around a shower's axis.
//
// `attach` makes a sensitive detector of Geant4 call it: the detector's object gets a copy of its table of virtual functions in
// which ProcessHits is replaced. No header of Geant4 is used; where things lie in its classes holds for one version and has to be
// proved with a step of known content, as mlcore.showers.fullsim does before each simulation.
class StepScorer {
 public:
  // Edges ascend; depths count along the axis from the origin.
  StepScorer(std::vector<double> depths, std::size_t angles, std::vector<double> radii);
  ~StepScorer();
  StepScorer(const StepScorer&) = delete;
  StepScorer& operator=(const StepScorer&) = delete;

  void attach(void* detector, std::size_t slot);
  void detach();

  // Unit vectors: angle 0, angle pi / 2 and the direction of depth.
  void set_axes(const std::array<double, 9>& axes) { axes_ = axes; }
  void clear();
  void add(double energy, double x, double y, double z);

  const std::vector<double>& energies() const { return energies_; }
  double outside() const { return outside_; }
  std::uint64_t steps() const { return steps_; }

 private:
  static constexpr std::size_t kHead = 3;  // this object, the offset to the top, the type
  static constexpr std::size_t kSlots = 16;
  static bool process_hits(void* detector, const void* step, void* history);

  struct Edges {
    explicit Edges(std::vector<double> values);
    // The bin of a value, or `count` outside.
    std::size_t find(double value) const;
    std::vector<double> values;
    std::size_t count;
    double scale;  // bins to a unit of length where all are equal, else 0
  };

  Edges depths_, radii_;
  std::size_t angles_;
  std::array<double, 9> axes_{1, 0, 0, 0, 1, 0, 0, 0, 1};
  std::vector<double> energies_;
  double outside_ = 0;
  std::uint64_t steps_ = 0;
  std::array<void*, kHead + kSlots> table_{};
  void** detector_ = nullptr;
  void* original_ = nullptr;
};

}  // namespace kernels
