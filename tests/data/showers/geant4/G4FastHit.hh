#pragma once
#include "G4ThreeVector.hh"
class G4FastHit {
 public:
  G4FastHit(const G4ThreeVector& position, G4double energy) : position_(position), energy_(energy) {}
  G4ThreeVector GetPosition() const { return position_; }
  G4double GetEnergy() const { return energy_; }

 private:
  G4ThreeVector position_;
  G4double energy_;
};
