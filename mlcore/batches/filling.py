"""From a source to records: ranges of rows are read, cut and packed by several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from kernels import ColumnReader, DecodeError, pack_columns
from mlcore.batches.blocks import Block, Jagged
from mlcore.batches.selection import ID_BYTES, Selection
from mlcore.batches.skipping import readable
from mlcore.batches.sources import BlockReader, DamagedDataError, Part, Source

Records: TypeAlias = npt.NDArray[np.uint8]
Progress: TypeAlias = Callable[[int, int], None]

BLOCK_ROWS = 8192
BLOCK_BYTES = 8_000_000
"""Fewer rows are packed at a time where they would take more than this."""
TASK_ROWS = 32 * BLOCK_ROWS
"""About as many rows are one thread's next piece of work."""


@dataclass(frozen=True)
class Task:
    """Rows of one part that one thread packs.

    Attributes
    ----------
    part
        Of the source.
    start, stop
        Rows of the part.
    first
        The number of row `start` among all rows of the source.
    """

    part: Part
    start: int
    stop: int
    first: int


def tasks(source: Source, selection: Selection) -> list[Task]:
    """All rows in order, cut where little has to be decoded twice."""
    found: list[Task] = []
    first = 0
    for part in source.parts:
        cuts = boundaries(part, selection)
        start = 0
        while start < part.rows:
            wanted = start + TASK_ROWS
            near = cuts[np.searchsorted(cuts, wanted) :]
            stop = int(near[0]) if len(near) and near[0] <= wanted + TASK_ROWS // 2 else wanted
            stop = part.rows if stop + TASK_ROWS // 2 > part.rows else stop
            found.append(Task(part, start, stop, first + start))
            start = stop
        first += part.rows
    return found


def boundaries(part: Part, selection: Selection) -> npt.NDArray[np.int64]:
    """Those of the columns that are read; damage that is to be skipped is left to whoever reads it."""
    try:
        return part.boundaries(selection.read)
    except DamagedDataError:
        if selection.skipped is None:
            raise
        return np.array([0, part.rows], np.int64)


def affordable_threads(source: Source, selection: Selection, threads: int, room: int) -> int:
    """How many threads can read at a time without their readers taking more than so many bytes; one at least."""
    most = 0
    for part in source.parts:
        try:
            most = max(most, part.reader_bytes([name for name in selection.read if name not in part.constants]))
        except DamagedDataError:  # whoever reads it says what is wrong
            continue
    return max(1, min(threads, room // most)) if most else threads


class Packer:
    """Packs rows of tasks into records, for one thread.

    Parameters
    ----------
    selection
        What is packed.
    with_id
        Whether each record ends with the number of its row in the source.
    """

    def __init__(self, selection: Selection, *, with_id: bool) -> None:
        self.selection, self.with_id = selection, with_id
        self.columns = selection.read if selection.is_plain else selection.packed
        self.layout = selection.layout(self.columns, with_id=with_id)
        self._native_layout = self.layout
        self._reader: BlockReader | None = None
        self._part: Part | None = None

    def blocks(self, task: Task) -> Iterator[Records]:
        """The records of a task, in blocks that are overwritten by the next."""
        width = self.layout.record_bytes
        step = min(BLOCK_ROWS, max(256, BLOCK_BYTES // width))
        out = np.empty((step, width), np.uint8)
        for start in range(task.start, task.stop, step):
            stop = min(start + step, task.stop)
            kept = self.pack(task, start, stop, out)
            yield out[:kept]

    def pack(self, task: Task, start: int, stop: int, out: Records) -> int:
        """Rows of a task's part as the first records of `out`; how many are kept."""
        skipped = self.selection.skipped
        try:
            reader = self._opened(task.part)
        except DamagedDataError as error:
            if skipped is None:
                raise
            skipped.add(task.part.name, start, stop, error.message)
            return 0
        if self.selection.is_plain and reader.native is not None and task.part.keep is None:
            try:
                return self._pack_natively(reader, reader.native, task, start, stop, out)
            except DamagedDataError:
                if skipped is None:
                    raise
        kept = 0
        for low in range(start, stop, BLOCK_ROWS):
            high = min(low + BLOCK_ROWS, stop)
            if skipped is None:
                kept += self._pack_block(reader.read(low, high), task, low, high, out[kept:])
                continue
            for begin, end, block in readable(reader, task.part.name, low, high, skipped):
                kept += self._pack_block(block, task, begin, end, out[kept:])
        return kept

    def _pack_natively(self, reader: BlockReader, native: ColumnReader, task: Task, start: int, stop: int, out: Records) -> int:
        reader.check_rows(stop)
        try:
            kept = native.pack_range(self._native_layout, start, stop, out)
        except DecodeError as error:
            raise reader.damaged(error) from error
        self._number(out, kept, None, task.first + start - task.start)
        return kept

    def _pack_block(self, block: Block, task: Task, start: int, stop: int, out: Records) -> int:
        block, mask = self.selection.compute(_with_constants(block, task.part, stop - start))
        mask = self.selection.chosen(block, mask, task.part, start, stop - start)
        arrays = [
            (values.values, values.offsets) if isinstance(values, Jagged) else values
            for values in (block[name] for name in self.columns)
        ]
        kept = pack_columns(arrays, self.layout, out, mask)
        self._number(out, kept, mask, task.first + start - task.start)
        return kept

    def _number(self, out: Records, kept: int, mask: npt.NDArray[np.bool_] | None, first: int) -> None:
        if not self.with_id or kept == 0:
            return
        numbers = np.arange(kept, dtype=np.uint64) if mask is None else np.flatnonzero(mask).astype(np.uint64)
        numbers += np.uint64(first)
        offset = self.selection.id_offset
        out[:kept, offset : offset + ID_BYTES] = numbers.view(np.uint8).reshape(kept, ID_BYTES)

    def _opened(self, part: Part) -> BlockReader:
        if self._reader is None or self._part is not part:
            self.close()
            names = [name for name in self.selection.read if name not in part.constants]
            self._reader, self._part = part.reader(names, BLOCK_ROWS), part
            if self.selection.is_plain:
                self._native_layout = self.selection.layout(names, with_id=self.with_id, constants=part.constants)
        return self._reader

    def close(self) -> None:
        """Give back the reader."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def _with_constants(block: Block, part: Part, rows: int) -> Block:
    if not part.constants:
        return block
    return {**block, **{name: np.full(rows, value) for name, value in part.constants.items()}}


def each(
    work: list[Task],
    make: Callable[[], Packer],
    run: Callable[[Packer, Task], None],
    threads: int,
    progress: Progress,
) -> None:
    """Run tasks in threads, each of which has a packer of its own; the first error ends it all.

    Parameters
    ----------
    work
        The tasks.
    make
        A packer for a thread.
    run
        What is done with a task.
    threads
        Their number.
    progress
        Called with the rows that are done and all rows, from the thread that calls this.
    """
    total, done = sum(task.stop - task.start for task in work), 0
    local = threading.local()
    packers: list[Packer] = []

    def one(task: Task) -> int:
        if not hasattr(local, "packer"):
            local.packer = make()
            packers.append(local.packer)
        run(local.packer, task)
        return task.stop - task.start

    pool = ThreadPoolExecutor(max(1, threads), thread_name_prefix="batches")
    try:
        for future in as_completed([pool.submit(one, task) for task in work]):
            done += future.result()
            progress(done, total)
    finally:
        pool.shutdown(cancel_futures=True)
        for packer in packers:
            packer.close()
