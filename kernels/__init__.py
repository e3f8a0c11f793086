"""Native kernels under a typed Python face.

Public names: `ForestTables` (a forest as flat arrays), `build_forest` and `forest_from_plan` (its native predictor, a
`NativeForest`); `PackedMatrix`, `map_float32`, `softmax` and `layer_normalize` (of networks, float32); `active_target` and
`available_targets` (the CPU targets that the kernels are compiled for); `log_float32`.
Of columns and rows: `ColumnReader` decodes what `ColumnPlan`s describe in `SourceFile`s (`open_file`, `memory_file`,
`basket_bytes`; `DecodeError`), `RowLayout` and `RowField` say what records it is packed into, `pack_columns` packs arrays, and
`decompressors` names the libraries that are used.
`kernels.reference` and `kernels.reference_columns` hold the pure NumPy oracle of each kernel.
"""

from kernels._native import (
    NativeForest,
    PackedMatrix,
    SourceFile,
    active_target,
    available_targets,
    layer_normalize,
    log_float32,
    map_float32,
    softmax,
)
from kernels.columns import (
    ColumnPlan,
    ColumnReader,
    DecodeError,
    RowField,
    RowLayout,
    basket_bytes,
    memory_file,
    open_file,
    pack_columns,
)
from kernels.decompressors import decompressors
from kernels.tables import Comparison, ForestTables, Link, Missing, build_forest, forest_from_plan

__all__ = [
    "ColumnPlan",
    "ColumnReader",
    "Comparison",
    "DecodeError",
    "ForestTables",
    "Link",
    "Missing",
    "NativeForest",
    "PackedMatrix",
    "RowField",
    "RowLayout",
    "SourceFile",
    "active_target",
    "available_targets",
    "basket_bytes",
    "build_forest",
    "decompressors",
    "forest_from_plan",
    "layer_normalize",
    "log_float32",
    "map_float32",
    "memory_file",
    "open_file",
    "pack_columns",
    "softmax",
]
