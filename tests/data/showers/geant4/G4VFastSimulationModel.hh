#pragma once
#include "G4FastStep.hh"
#include "G4FastTrack.hh"
class G4Region;
class G4VFastSimulationModel {
 public:
  G4VFastSimulationModel(const G4String& name, G4Region*, G4bool = false) : name_(name) {}
  virtual ~G4VFastSimulationModel() = default;
  virtual G4bool IsApplicable(const G4ParticleDefinition&) = 0;
  virtual G4bool ModelTrigger(const G4FastTrack&) = 0;
  virtual void DoIt(const G4FastTrack&, G4FastStep&) = 0;
  const G4String GetName() const { return name_; }

 private:
  G4String name_;
};
