#pragma once
inline double G4UniformRand() {
  static unsigned long long state = 1;
  state = state * 6364136223846793005ULL + 1442695040888963407ULL;
  return static_cast<double>((state >> 11) % (1ULL << 53)) / 9007199254740992.0;
}
