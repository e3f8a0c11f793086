#pragma once
#include "globals.hh"
class G4FastStep {
 public:
  bool killed = false;
  G4double deposited = 0;
  void KillPrimaryTrack() { killed = true; }
  void SetPrimaryTrackPathLength(G4double) {}
  void ProposeTotalEnergyDeposited(G4double energy) { deposited = energy; }
};
