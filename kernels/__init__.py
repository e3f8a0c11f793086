"""Native kernels under a typed Python face.

Public names: `ForestTables` (a forest as flat arrays), `build_forest` and `forest_from_plan` (its native predictor, a
`NativeForest`); `PackedMatrix`, `map_float32`, `softmax` and `layer_normalize` (of networks, float32); `active_target` and
`available_targets` (the CPU targets that the kernels are compiled for); `log_float32`. `kernels.reference` holds the pure NumPy
oracle of each kernel.
"""

from kernels._native import (
    NativeForest,
    PackedMatrix,
    active_target,
    available_targets,
    layer_normalize,
    log_float32,
    map_float32,
    softmax,
)
from kernels.tables import Comparison, ForestTables, Link, Missing, build_forest, forest_from_plan

__all__ = [
    "Comparison",
    "ForestTables",
    "Link",
    "Missing",
    "NativeForest",
    "PackedMatrix",
    "active_target",
    "available_targets",
    "build_forest",
    "forest_from_plan",
    "layer_normalize",
    "log_float32",
    "map_float32",
    "softmax",
]
