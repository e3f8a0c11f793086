"""Training batches from ROOT files and tables: every row exactly once an epoch, in a uniformly random order.

Public names: `BatchLoader` gives the batches; `convert` writes them to shards, which a `Manifest` describes; `open_source` says
what a file holds, as a `Schema` of `Column`s.
"""

from __future__ import annotations

from mlcore.batches.convert import convert
from mlcore.batches.joining import Manifest
from mlcore.batches.loader import BatchLoader
from mlcore.batches.schema import Column, Schema
from mlcore.batches.sources import open_source

__all__ = ["BatchLoader", "Column", "Manifest", "Schema", "convert", "open_source"]
