"""Training batches from ROOT files and tables: every row exactly once an epoch, in a uniformly random order.

Public names: `Schema` and `Column` say what a source holds. `expressions` has filters and new columns, `transforms` what
features go through on their way into a network.
"""

from __future__ import annotations

from mlcore.batches.schema import Column, Schema

__all__ = ["Column", "Schema"]
