"""Training batches from ROOT files and tables: every row exactly once an epoch, in a uniformly random order.

Public names: `BatchLoader` gives the batches, of a source or of `Sample`s with labels and weights, with classes in a `Balance`.
`Pad` says how jagged columns are padded; a `JaggedArray` has all their values.
`Cache` is a folder that keeps records for later runs (`CacheWarning` where it cannot). `convert` writes the rows to shards, which
a `Manifest` describes. `Skipped` is what was left out as damaged, with a `SkippedRowsWarning`. `open_source` says what a file
holds, as a `Schema` of `Column`s. `Statistics` are of columns (`ColumnStatistics`) and of classes (`ClassStatistics`).
"""

from __future__ import annotations

from mlcore.batches.balancing import Balance
from mlcore.batches.cache import Cache, CacheWarning
from mlcore.batches.conversion import Manifest, convert
from mlcore.batches.forms import JaggedArray
from mlcore.batches.loader import BatchLoader
from mlcore.batches.padding import Pad
from mlcore.batches.samples import Sample
from mlcore.batches.schema import Column, Schema
from mlcore.batches.skipping import Skipped, SkippedRowsWarning
from mlcore.batches.sources import open_source
from mlcore.batches.statistics import ClassStatistics, ColumnStatistics, Statistics

__all__ = [
    "Balance",
    "BatchLoader",
    "Cache",
    "CacheWarning",
    "ClassStatistics",
    "Column",
    "ColumnStatistics",
    "JaggedArray",
    "Manifest",
    "Pad",
    "Sample",
    "Schema",
    "Skipped",
    "SkippedRowsWarning",
    "Statistics",
    "convert",
    "open_source",
]
