#pragma once
#include "globals.hh"
class G4ParticleDefinition {
 public:
  explicit G4ParticleDefinition(G4int code) : code_(code) {}
  G4int GetPDGEncoding() const { return code_; }

 private:
  G4int code_;
};
