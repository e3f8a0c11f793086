"""Native kernels under a typed Python face.

Public names: `ForestTables` (a forest as flat arrays), `scalar_forest` (builds its native predictor, a `ScalarForest`)
and `log_float32`. `kernels.reference` holds the pure NumPy oracle of each kernel.
"""

from kernels._native import ScalarForest, log_float32
from kernels.tables import Comparison, ForestTables, Missing, scalar_forest

__all__ = ["Comparison", "ForestTables", "Missing", "ScalarForest", "log_float32", "scalar_forest"]
