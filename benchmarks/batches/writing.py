"""``python writing.py FILE ROWS NUMBERS VECTORS KIND ALGORITHM LEVEL``: a data set, by ROOT's RDataFrame, row by row."""

from __future__ import annotations

import sys

TREE = "events"
GENERATOR = """
#include <cmath>
#include <cstdint>
#include <ROOT/RVec.hxx>
namespace made {
// Numbers that depend on row and column alone.
inline std::uint64_t mixed(std::uint64_t row, std::uint64_t column) {
  std::uint64_t z = (row << 12 | column) * 0x9e3779b97f4a7c15ULL + 0x632be59bd9b4e019ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}
// Normally distributed, with all bits of the mantissa in use.
inline float normal(std::uint64_t row, std::uint64_t column) {
  const std::uint64_t bits = mixed(row, column);
  const float radius = std::sqrt(-2 * std::log((float((bits >> 40) & 0xffffff) + 0.5f) / 16777216.0f));
  return radius * std::cos(float(bits & 0xffffff) * (6.2831853f / 16777216.0f));
}
inline float label(std::uint64_t row) { return float(mixed(row, 4000) & 1); }
inline float high(std::uint64_t row) { return float(row / 4096); }
inline float low(std::uint64_t row) { return float(row % 4096); }
inline ROOT::RVecF vector(std::uint64_t row, std::uint64_t which) {
  ROOT::RVecF values(mixed(row, 3000 + which) % 7);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = normal(row, 3100 + 8 * which + i);
  return values;
}
}  // namespace made
"""


def main(path: str, rows: int, numbers: int, vectors: int, kind: str, algorithm: str, level: int) -> None:
    """Write one data set."""
    import ROOT

    ROOT.gInterpreter.Declare(GENERATOR)
    definitions = {f"f{i}": f"made::normal(rdfentry_, {i})" for i in range(numbers)}
    definitions |= {f"v{i}": f"made::vector(rdfentry_, {i})" for i in range(vectors)}
    definitions |= {"row_high": "made::high(rdfentry_)", "row_low": "made::low(rdfentry_)", "label": "made::label(rdfentry_)"}
    frame = ROOT.RDataFrame(rows)
    for name, expression in definitions.items():
        frame = frame.Define(name, expression)
    options = ROOT.RDF.RSnapshotOptions()
    options.fCompressionAlgorithm = getattr(ROOT.RCompressionSetting.EAlgorithm, f"k{algorithm}")
    options.fCompressionLevel = level
    formats = ROOT.RDF.ESnapshotOutputFormat
    options.fOutputFormat = formats.kRNTuple if kind == "rntuple" else formats.kTTree
    frame.Snapshot(TREE, path, list(definitions), options)


if __name__ == "__main__":
    FILE, ROWS, NUMBERS, VECTORS, KIND, ALGORITHM, LEVEL = sys.argv[1:]
    main(FILE, int(ROWS), int(NUMBERS), int(VECTORS), KIND, ALGORITHM, int(LEVEL))
