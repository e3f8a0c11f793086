"""Where records lie between epochs: in memory, or nowhere; on disk they are `mlcore.batches.spilling`'s."""

from __future__ import annotations

import itertools
import mmap
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels import gather_rows, order_of_range, order_of_records
from mlcore.batches.balancing import Draw
from mlcore.batches.feeding import Extents
from mlcore.batches.filling import Packer, Progress, Records, Task, each
from mlcore.batches.selection import ID_BYTES, Selection
from mlcore.errors import MLCoreError

Order = npt.NDArray[np.uint32]

ORDER_BYTES = 12
"""Memory that ordering a row takes: 4 bytes of the order, 8 while it is sorted."""
PAGE = 4096


class StorageError(MLCoreError, OSError):
    """The disk is full or fails while rows are kept there; nothing stays behind."""

    code = "batches.storage"


class Store(ABC):
    """Records of all kept rows.

    Attributes
    ----------
    mode
        ``memory``, ``spill``, ``stream`` or ``buffer``.
    """

    mode: str

    @property
    @abstractmethod
    def rows(self) -> int:
        """Their number."""

    @abstractmethod
    def pieces(self, epoch: int, start: int = 0, stop: int | None = None) -> Iterator[tuple[Records, Order]]:
        """All records once: some at a time, each with the order in which they come; overwritten by the next.

        Parameters
        ----------
        epoch
            Whose order it is.
        start, stop
            Only the rows at these positions of the order; by default all.
        """


def between(pieces: Iterator[tuple[Records, Order]], start: int, stop: int | None) -> Iterator[tuple[Records, Order]]:
    """What of an epoch lies at these positions."""
    at = 0
    for records, order in pieces:
        here = order[max(start - at, 0) : None if stop is None else max(stop - at, 0)]
        at += len(order)
        if len(here):
            yield records, here
        if stop is not None and at >= stop:
            return


class MemoryStore(Store):
    """All records in memory.

    Parameters
    ----------
    records
        Of all kept rows; in the order of the source where there are no extents.
    selection
        What they hold.
    seed
        Of the order; None keeps the order of the source.
    draw
        Which rows come, and how often; None for each once. There is a seed then.
    numbered
        Whether records end with the numbers of their rows; else they are 0, 1, ...
    extents
        Where the rows are; None where they are in the order of the source.
    """

    mode = "memory"

    def __init__(
        self,
        records: Records,
        selection: Selection,
        seed: int | None,
        draw: Draw | None = None,
        *,
        numbered: bool,
        extents: Extents | None = None,
    ) -> None:
        self.records, self.seed, self.draw = records, seed, draw
        self._extents = extents
        self._id_offset = selection.id_offset if numbered else None
        if draw is not None:
            for start in range(0, len(records), PAGE):
                draw.see(self._ids(start, start + PAGE), draw.classes(records[start : start + PAGE]))
            draw.seen()

    @property
    def rows(self) -> int:
        return len(self.records) if self.draw is None else self.draw.rows

    def _ids(self, start: int, stop: int) -> npt.NDArray[np.uint64]:
        """The numbers of the rows of some records."""
        stop = min(stop, len(self.records))
        if self._id_offset is None or self.draw is None:
            return np.arange(start, stop, dtype=np.uint64)
        return self.draw.ids(self.records[start:stop])

    def pieces(self, epoch: int, start: int = 0, stop: int | None = None) -> Iterator[tuple[Records, Order]]:
        yield self.records, self._order(epoch)[start:stop]

    def _order(self, epoch: int) -> Order:
        if self.seed is None:
            return source_order(self._extents, len(self.records))
        if self.draw is not None:
            return self.draw.order(self._ids(0, len(self.records)), self.draw.classes(self.records), epoch)
        if self._id_offset is None:
            return order_of_range(0, self.rows, self.seed, epoch)
        return order_of_records(self.records, self._id_offset, ID_BYTES, self.seed, epoch)


def source_order(extents: Extents | None, rows: int) -> Order:
    """The positions of records in the order of the source."""
    order = np.arange(rows, dtype=np.uint32)
    if extents is None or not len(extents):
        return order
    at = 0
    for _, position, count in extents[np.argsort(extents[:, 0])].tolist():
        order[at : at + count] = np.arange(position, position + count, dtype=np.uint32)
        at += count
    return order


def packed(selection: Selection, work: list[Task], threads: int, progress: Progress, *, numbered: bool) -> Records:
    """All kept rows as records in the order of the source.

    Parameters
    ----------
    selection, work
        What is packed, from which rows.
    threads, progress
        As of `mlcore.batches.filling.each`.
    numbered
        Whether records end with the numbers of their rows.
    """
    total = sum(task.stop - task.start for task in work)
    width = Packer(selection, with_id=numbered).layout.record_bytes
    # Pages that no row is written to take no memory.
    memory = mmap.mmap(-1, max(1, total * width), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    records = np.frombuffer(memory, np.uint8)[: total * width].reshape(total, width)
    starts, start = {}, 0
    for task in work:
        starts[task.first] = start
        start += task.stop - task.start
    kept: dict[int, int] = {}

    def run(packer: Packer, task: Task) -> None:
        begin = starts[task.first]
        kept[task.first] = packer.pack(task, task.start, task.stop, records[begin : begin + task.stop - task.start])

    each(work, lambda: Packer(selection, with_id=numbered), run, threads, progress)
    rows = 0
    for task in work:
        begin, count = starts[task.first], kept[task.first]
        move(records, begin, rows, count)
        rows += count
    unused = -(-rows * width // mmap.PAGESIZE) * mmap.PAGESIZE
    if unused < len(memory):
        memory.madvise(mmap.MADV_DONTNEED, unused, len(memory) - unused)
    return records[:rows]


def move(records: Records, start: int, to: int, count: int) -> None:
    """Close a gap, in steps, since NumPy copies what overlaps."""
    if start == to:
        return
    step = max(1, min(count, (1 << 20) // records.shape[1]))
    for done in range(0, count, step):
        some = min(step, count - done)
        records[to + done : to + done + some] = records[start + done : start + done + some]


class StreamStore(Store):
    """Records in the order of the source, read anew each epoch: nothing is kept.

    Parameters
    ----------
    selection, work
        As of `packed`.
    """

    mode = "stream"

    def __init__(self, selection: Selection, work: list[Task]) -> None:
        self._selection, self._work = selection, work
        self._rows = sum(task.stop - task.start for task in work) if selection.keeps_all else None

    @property
    def rows(self) -> int:
        if self._rows is None:
            self._rows = sum(len(records) for records, _ in self.pieces(0))
        return self._rows

    def pieces(self, epoch: int, start: int = 0, stop: int | None = None) -> Iterator[tuple[Records, Order]]:
        work = list(self._work)
        if self._selection.keeps_all:  # what is skipped need not be read
            while work and start >= work[0].stop - work[0].start:
                rows = work.pop(0)
                start -= rows.stop - rows.start
                stop = None if stop is None else stop - (rows.stop - rows.start)
        return between(self._blocks(work), start, stop)

    def _blocks(self, work: list[Task]) -> Iterator[tuple[Records, Order]]:
        packer = Packer(self._selection, with_id=False)
        with closing(packer):
            for task in work:
                for records in packer.blocks(task):
                    yield records, np.arange(len(records), dtype=np.uint32)


@contextmanager
def disk(directory: Path) -> Iterator[None]:
    """Turns an error of the system into one that says what to do.

    Raises
    ------
    StorageError
        Of any other `OSError`.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, MLCoreError):
            raise
        raise StorageError(
            f"rows cannot be kept in {directory}: {error.strerror or error}",
            hint="Free space there, name another folder as spill_directory, or give a larger memory budget.",
        ) from error


def gathered(
    pieces: Iterator[tuple[Records, Order]], selection: Selection, rows: int, *, buffers: int = 0
) -> Iterator[tuple[npt.NDArray[Any], ...]]:
    """The outputs of a selection as arrays of `rows` rows each but the last ones, from pieces of any size.

    Every one is new; or, with `buffers`, overwritten after so many others.
    """
    outputs = selection.outputs
    offsets = [output.offset for output in outputs]
    reused: list[tuple[npt.NDArray[Any], ...]] = []
    turn = itertools.count()

    def fresh() -> tuple[npt.NDArray[Any], ...]:
        number = next(turn)
        if buffers and number >= buffers:
            return reused[number % buffers]
        arrays = tuple(np.empty((rows, *output.shape), output.dtype) for output in outputs)
        if buffers:
            reused.append(arrays)
        return arrays

    arrays, have = fresh(), 0
    for records, order in pieces:
        at = 0
        while at < len(order):
            count = min(rows - have, len(order) - at)
            gather_rows(records, order[at : at + count], offsets, [array[have : have + count] for array in arrays])
            at += count
            have += count
            if have == rows:
                yield arrays
                arrays, have = fresh(), 0
    if have:
        yield tuple(array[:have] for array in arrays)
