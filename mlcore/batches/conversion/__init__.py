"""From a source to shards: a recipe says what is made; rows are scattered to pieces, and pieces joined to shards.

`convert` does it all; jobs do its steps (`plan`, a scatter for each task, a join for each shard) in several processes. Each row
comes once. A format of shards is a class in `shards`; `snippets` writes the code that trains on them.
"""

from __future__ import annotations

from mlcore.batches.conversion.convert import Plan, convert, plan
from mlcore.batches.conversion.joining import Manifest

__all__ = ["Manifest", "Plan", "convert", "plan"]
