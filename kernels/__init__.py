"""Native kernels under a typed Python face.

Public names: `ForestTables` (a forest as flat arrays), `build_forest` and `forest_from_plan` (its native predictor, a
`NativeForest`), `active_target` and `available_targets` (the CPU targets that the kernels are compiled for), `log_float32`.
`kernels.reference` holds the pure NumPy oracle of each kernel.
"""

from kernels._native import NativeForest, active_target, available_targets, log_float32
from kernels.tables import Comparison, ForestTables, Link, Missing, build_forest, forest_from_plan

__all__ = [
    "Comparison",
    "ForestTables",
    "Link",
    "Missing",
    "NativeForest",
    "active_target",
    "available_targets",
    "build_forest",
    "forest_from_plan",
    "log_float32",
]
