#pragma once
#include "G4Track.hh"
class G4FastTrack {
 public:
  const G4Track* track;
  const G4Track* GetPrimaryTrack() const { return track; }
};
