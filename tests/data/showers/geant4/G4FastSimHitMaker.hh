#pragma once
#include <vector>
#include "G4FastHit.hh"
#include "G4FastTrack.hh"
class G4FastSimHitMaker {
 public:
  static std::vector<G4FastHit>& seen() {
    static std::vector<G4FastHit> all;
    return all;
  }
  void make(const G4FastHit& hit, const G4FastTrack&) { seen().push_back(hit); }
};
