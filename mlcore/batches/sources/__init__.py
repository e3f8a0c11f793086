"""Where rows come from: one module per format, all behind `Part` and `BlockReader`.

A format is a module here with a `FORMAT`. Public names: `open_source` gives a `Source` of `Part`s, and can leave out files, whose
`Failures` it lists; `source_of` makes one of parts; `BlockReader` reads a part's
rows in blocks, and raises `DamagedDataError` for those that cannot be read. None of the formats' libraries is imported with this.
"""

from __future__ import annotations

from mlcore.batches.sources._source import Failures, Source, open_source, source_of
from mlcore.batches.sources.part import BlockReader, DamagedDataError, Part

__all__ = ["BlockReader", "DamagedDataError", "Failures", "Part", "Source", "open_source", "source_of"]
