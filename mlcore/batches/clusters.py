"""The rows of a source by storage units: what shards are dealt, and what a buffer reads in another order each epoch."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable

from mlcore.batches.filling import TASK_ROWS, Task, boundaries
from mlcore.batches.selection import Selection
from mlcore.batches.sources import Source
from mlcore.errors import InputError

Shard = tuple[int, int]

_PIECES = 16
"""A shard has so many units at least, where there are so many rows: larger ones are cut."""


def clusters(source: Source, selection: Selection, *, most: int, least: int = 1) -> list[Task]:
    """All rows in order, by clusters, row groups or files.

    Parameters
    ----------
    source, selection
        Whose columns count.
    most
        Rows of a unit; larger ones are cut in equal pieces.
    least
        Smaller ones of a part are joined up to it.
    """
    found: list[Task] = []
    before = 0
    for part in source.parts:
        start = 0
        for stop in boundaries(part, selection).tolist():
            if (stop - start < least and stop < part.rows) or stop == start:
                continue
            pieces = -(-(stop - start) // most)
            edges = [start + (stop - start) * number // pieces for number in range(pieces + 1)]
            found += [Task(part, low, high, before + low) for low, high in itertools.pairwise(edges)]
            start = stop
        before += part.rows
    return found


def check_shard(shard: Shard) -> None:
    """Make sure that it is one.

    Raises
    ------
    InputError
        It is not.
    """
    rank, world = shard
    if not 0 <= rank < world:
        raise InputError(
            f"shard {rank} of {world} is none", hint="Give (rank, world) with 0 <= rank < world.", code="batches.shard"
        )


def shard_tasks(source: Source, selection: Selection, shard: Shard) -> list[Task]:
    """The rows of one shard, which are no other's; all together are all rows.

    Units are dealt in order, each to the shard that has the fewest rows, so a shard has its part of every file, and no more rows
    than another by more than a unit.
    """
    rank, world = shard
    most = max(1, min(TASK_ROWS, source.rows // (world * _PIECES)))
    loads = [(0, each) for each in range(world)]
    mine = []
    for unit in clusters(source, selection, most=most):
        rows, owner = heapq.heappop(loads)
        heapq.heappush(loads, (rows + unit.stop - unit.start, owner))
        if owner == rank:
            mine.append(unit)
    return joined(mine)


def joined(units: Iterable[Task]) -> list[Task]:
    """Units that follow each other as one, up to what is one thread's piece of work."""
    found: list[Task] = []
    for unit in units:
        last = found[-1] if found else None
        if last is not None and last.part is unit.part and last.stop == unit.start and unit.stop - last.start <= TASK_ROWS:
            found[-1] = Task(last.part, last.start, unit.stop, last.first)
        else:
            found.append(unit)
    return found
