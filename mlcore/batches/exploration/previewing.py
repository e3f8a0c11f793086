"""What a filter keeps, found out in a short time: from all rows where they are few, else from ranges all over the source."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.batches.blocks import Jagged, Values
from mlcore.batches.filling import tasks
from mlcore.batches.selection import Selection
from mlcore.batches.sources import BlockReader, Part, Source
from mlcore.batches.statistics import Binning

BLOCK_ROWS = 16_384
BINS = 50


@dataclass(frozen=True)
class Preview:
    """What a filter keeps.

    Attributes
    ----------
    rows, looked_at, kept
        Of the source, those that were read, and those of them that the filter keeps.
    column
        That the histogram is of; values of jagged ones count one by one. Empty where there is none.
    edges
        Of the histogram.
    before, after
        Values of all rows that were read, and of those that are kept, in each bin.
    """

    rows: int
    looked_at: int
    kept: int
    column: str
    edges: tuple[float, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def complete(self) -> bool:
        """Whether all rows were read."""
        return self.looked_at == self.rows

    @property
    def share(self) -> float:
        """Of the rows that were read."""
        return self.kept / self.looked_at if self.looked_at else 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"complete": self.complete, "share": self.share}


def preview(
    source: Source,
    *,
    keep: str | None = None,
    define: Mapping[str, str] | None = None,
    column: str = "",
    seconds: float = 2.0,
    seed: int = 0,
) -> Preview:
    """Count what a filter keeps, and draw one column before and after.

    Parameters
    ----------
    source
        What is read, in blocks in a random order.
    keep, define
        As `filter` and `define` of `mlcore.batches.BatchLoader`.
    column
        Of the histogram; by default the first one that the filter names, else the first of all.
    seconds
        After which no block is begun; one is read always.

    Raises
    ------
    InputError, DataError
        An expression or the column cannot be used.
    DamagedDataError
        Rows cannot be read.
    """
    schema = source.schema
    able = [name for name, entry in schema.items() if not entry.why_not]
    probe = Selection(schema, columns=able[:1], keep=keep, define=define, form="dict", jagged="offsets")
    chosen = column or next(iter(probe.keep.columns if probe.keep else ()), able[0])
    selection = Selection(schema, columns=[chosen], keep=keep, define=define, form="dict", jagged="offsets")
    selection.known.features([chosen])
    blocks = [
        (task.part, start, min(start + BLOCK_ROWS, task.stop))
        for task in tasks(source, selection)
        for start in range(task.start, task.stop, BLOCK_ROWS)
    ]
    order = np.random.default_rng(seed).permutation(len(blocks))
    looked_at = kept = 0
    edges = np.linspace(0.0, 1.0, 2)
    before = after = np.zeros(1, np.int64)
    readers: dict[int, BlockReader] = {}
    begun = time.monotonic()
    try:
        for number in order:
            part, start, stop = blocks[number]
            block, mask = selection.compute(_reader(readers, part, selection).read(start, stop))
            mask = selection.chosen(block, mask, part, start, stop - start)
            values = _flat(block[chosen], None)
            if not looked_at:
                edges = Binning.of(values[:, None], BINS).edges[0]
                before, after = np.zeros(len(edges) - 1, np.int64), np.zeros(len(edges) - 1, np.int64)
            looked_at += stop - start
            kept += stop - start if mask is None else int(mask.sum())
            before = before + np.histogram(values, edges)[0]
            after = after + (np.histogram(_flat(block[chosen], mask), edges)[0])
            if time.monotonic() - begun > seconds:
                break
    finally:
        for reader in readers.values():
            reader.close()
    return Preview(source.rows, looked_at, kept, chosen, tuple(edges.tolist()), tuple(before.tolist()), tuple(after.tolist()))


def _reader(readers: dict[int, BlockReader], part: Part, selection: Selection) -> BlockReader:
    if id(part) not in readers:
        readers[id(part)] = part.reader(selection.read, BLOCK_ROWS)
    return readers[id(part)]


def _flat(values: Values, mask: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.float64]:
    """All finite values of the rows that are kept."""
    if isinstance(values, Jagged):
        flat = values.values if mask is None else values.values[np.repeat(mask, values.counts)]
    else:
        flat = values if mask is None else values[mask]
    found = flat.reshape(-1).astype(np.float64)
    return found[np.isfinite(found)]
