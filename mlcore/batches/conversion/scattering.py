"""The first step of a conversion: the rows of a task go to a piece file, sorted into buckets by a hash of their numbers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlcore.batches.blocks import Block, Jagged, Values
from mlcore.batches.conversion.pieces import ROW, DamagedPieceError, Piece, to_arrow, write_piece
from mlcore.batches.conversion.recipe import PART_BITS, Recipe, numbers_of, selected
from mlcore.batches.filling import Progress, tasks
from mlcore.batches.selection import Selection
from mlcore.batches.skipping import Skipped, readable
from mlcore.batches.sources import DamagedDataError, Part, Source

BLOCK_ROWS = 65_536
_SPLIT = "__split__"


@dataclass(frozen=True)
class Task:
    """Rows of a part that are scattered at a time.

    Attributes
    ----------
    part
        Its number.
    start, stop
        Its rows.
    """

    part: int
    start: int
    stop: int

    @property
    def file(self) -> str:
        """The name of its piece."""
        return f"{self.part:05d}-{self.start:012d}.piece"


def scatter(
    part: Part, recipe: Recipe, task: Task, path: Path, *, name: str = "", progress: Progress = lambda done, all_: None
) -> Piece:
    """The rows of a task as a piece file; one that is there and whole is kept.

    Parameters
    ----------
    part
        That the task is of.
    recipe
        What is made of the source.
    task
        Which rows.
    path
        Of the piece.
    name
        What the part is called in the manifest, and known by where rows are split by their place; by default its own name.
    progress
        Called with the rows that are read, and all of the task.

    Raises
    ------
    InputError, DataError, StorageError
        The rows cannot be read, or the piece cannot be written.
    """
    try:
        piece = Piece.open(path)
        if (piece.recipe, piece.start, piece.stop, piece.fingerprint) == (recipe.mark, task.start, task.stop, part.fingerprint):
            return piece
    except (FileNotFoundError, DamagedPieceError):
        pass
    skipped = Skipped({}) if recipe.skips else None
    selection = recipe.selection(part.schema, skipped=skipped)
    batches = []
    for start, stop, read in _blocks(part, recipe.read(selection), task, skipped):
        block, mask = selection.compute(read)
        mask = selection.chosen(block, mask, part, start, stop - start)
        ids = numbers_of(task.part, start, stop)
        columns: dict[str, Any] = dict(selected(block, selection.packed, recipe.pad))
        columns |= {ROW: ids, _SPLIT: recipe.assign(part, start, stop - start, block, name)}
        batches.append(_kept(columns, mask))
        progress(stop - task.start, task.stop - task.start)
    part.check_unchanged()
    lost = () if skipped is None else skipped.ranges
    batches = batches or [_empty(selection, recipe)]
    schema = batches[0].schema.remove(batches[0].schema.get_field_index(_SPLIT))
    write_piece(
        path, _blobs(batches, recipe, task), schema, recipe=recipe.mark, name=name or part.name, number=task.part,
        start=task.start, stop=task.stop, fingerprint=part.fingerprint,
        skipped=[(start, stop, why.replace(part.name, name or part.name)) for _, start, stop, why in lost],
    )  # fmt: skip
    return Piece.open(path)


def _blocks(part: Part, columns: Sequence[str], task: Task, skipped: Skipped | None) -> Iterator[tuple[int, int, Block]]:
    """The rows of a task that can be read, some at a time: the first one, the one behind the last, and what they hold."""
    try:
        reader = part.reader(columns, BLOCK_ROWS)
    except DamagedDataError as error:
        if skipped is None:
            raise
        skipped.add(part.name, task.start, task.stop, error.message)
        return
    with reader:
        for start in range(task.start, task.stop, BLOCK_ROWS):
            stop = min(task.stop, start + BLOCK_ROWS)
            if skipped is None:
                yield start, stop, reader.read(start, stop)
            else:
                yield from readable(reader, part.name, start, stop, skipped)


def _empty(selection: Selection, recipe: Recipe) -> Any:
    """No rows of the columns."""
    block: dict[str, Values] = {}
    for name in selection.packed:
        column = selection.known[name]
        values = np.empty((0, *column.shape), column.dtype)
        block[name] = Jagged(values, np.zeros(1, np.int64)) if column.jagged else values
    columns = dict(selected(block, selection.packed, recipe.pad))
    return to_arrow({**columns, ROW: np.empty(0, np.uint64), _SPLIT: np.empty(0, np.int64)})


def _kept(columns: Mapping[str, Any], mask: Any) -> Any:
    """The rows of a block that are kept, in memory of their own: the block's is overwritten."""
    import pyarrow as pa

    batch = to_arrow(columns)
    rows = np.arange(batch.num_rows) if mask is None else np.flatnonzero(mask)
    return batch.take(pa.array(rows))


def _blobs(batches: list[Any], recipe: Recipe, task: Task) -> Iterator[tuple[int, int, Any]]:
    """Split, bucket and rows, in ascending order; the list is emptied."""
    import pyarrow as pa

    table = pa.Table.from_batches(batches)
    batches.clear()
    splits = table.column(_SPLIT).to_numpy()
    table = table.drop_columns([_SPLIT]).combine_chunks()
    keys = recipe.order(table.column(ROW).to_numpy())
    buckets = recipe.bucket(keys)
    if not recipe.shuffle:
        buckets = np.full(len(keys), task.part << PART_BITS | task.start)
    order = np.lexsort((buckets, splits))
    order = order[: np.searchsorted(splits[order], len(recipe.splits))]  # those in no split come last
    edges = np.flatnonzero(np.diff(splits[order]) | np.diff(buckets[order])) + 1
    for start, stop in itertools.pairwise([0, *edges.tolist(), len(order)] if len(order) else []):
        rows = table.take(pa.array(order[start:stop])).combine_chunks().to_batches()
        first = order[start]
        yield int(splits[first]), int(buckets[first]), rows[0]


def cut_part(part: Part, selection: Selection, number: int, rows: int) -> Iterator[Task]:
    """The tasks of one part."""
    start = stop = 0
    for small in tasks(Source((part,), part.schema), selection):
        stop = small.stop
        if stop - start >= rows:
            yield Task(number, start, stop)
            start = stop
    if stop > start or part.rows == 0:
        yield Task(number, start, max(stop, start))
