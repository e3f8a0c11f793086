"""Native kernels under a typed Python face.

Public names: `ForestTables` (a forest as flat arrays), `build_forest` and `forest_from_plan` (its native predictor, a
`NativeForest`); `PackedMatrix`, `map_float32`, `softmax` and `layer_normalize` (of networks, float32); `active_target` and
`available_targets` (the CPU targets that the kernels are compiled for); `log_float32`.
Of columns and rows: `ColumnReader` decodes what `ColumnPlan`s describe in `SourceFile`s (`open_file`, `memory_file`,
`basket_bytes`; `DecodeError`), `RowLayout` and `RowField` say what records it is packed into, `pack_columns` packs arrays, and
`decompressors` names the libraries that are used. `row_keys` orders rows by seed and epoch (`order_of_range`, `order_of_ids`,
`order_of_records`), `gather_rows` makes arrays of records in such an order, and a `SpillFile` with its `SpillWriter`s holds
records on disk, in buckets of their keys.
Of showers: `GFlash`, electromagnetic showers as spots of energy or in voxels; a `StepScorer` adds up a simulation's steps.
`kernels.reference`, `kernels.reference_columns`, `kernels.reference_rows` and `kernels.reference_showers` hold the pure NumPy
oracle of each kernel.
"""

from kernels._native import (
    GFlash,
    NativeForest,
    PackedMatrix,
    SourceFile,
    SpillFile,
    SpillWriter,
    StepScorer,
    active_target,
    available_targets,
    gather_rows,
    layer_normalize,
    log_float32,
    map_float32,
    order_of_ids,
    order_of_keys,
    order_of_range,
    order_of_records,
    row_keys,
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
    "GFlash",
    "Link",
    "Missing",
    "NativeForest",
    "PackedMatrix",
    "RowField",
    "RowLayout",
    "SourceFile",
    "SpillFile",
    "SpillWriter",
    "StepScorer",
    "active_target",
    "available_targets",
    "basket_bytes",
    "build_forest",
    "decompressors",
    "forest_from_plan",
    "gather_rows",
    "layer_normalize",
    "log_float32",
    "map_float32",
    "memory_file",
    "open_file",
    "order_of_ids",
    "order_of_keys",
    "order_of_range",
    "order_of_records",
    "pack_columns",
    "row_keys",
    "softmax",
]
