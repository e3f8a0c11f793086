#pragma once
#include "G4ParticleDefinition.hh"
#include "G4ThreeVector.hh"
class G4Track {
 public:
  G4ParticleDefinition* definition;
  G4ThreeVector position, direction;
  G4double energy;
  G4ParticleDefinition* GetDefinition() const { return definition; }
  const G4ThreeVector& GetPosition() const { return position; }
  const G4ThreeVector& GetMomentumDirection() const { return direction; }
  G4double GetKineticEnergy() const { return energy; }
};
