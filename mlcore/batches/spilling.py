"""Records that do not fit the memory: on disk, in buckets of the epoch's order."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kernels import SpillFile, SpillWriter, order_of_keys, order_of_records
from mlcore.batches.balancing import DRAW_BYTES, Draw
from mlcore.batches.feeding import Sink
from mlcore.batches.filling import Records
from mlcore.batches.selection import ID_BYTES, Selection
from mlcore.batches.stores import ORDER_BYTES, PAGE, Order, Store, disk
from mlcore.errors import InputError

POOL_SHARE = 0.55
"""Of the budget at most, for the rows of one bucket and their order."""
BUFFER_SHARE = 0.2
"""Of the budget, for rows on their way to the disk."""
HELD_SHARE = 0.95
"""Of the budget, for these and for rows that never go to the disk."""
BUCKET_BYTES = 40_000_000
"""Of rows that are read and put in order near the processor; buckets are larger where buffers of `BLOCK` leave no room."""
KEY_BYTES = 8
BLOCK = 16 * PAGE


class SpillStore(Store):
    """Records in buckets by their keys of the epoch that comes next: some in memory, most on disk, and one bucket at a time read.

    While a bucket is read, its rows go to the buckets of the epoch after, so that epochs are independent of each other.

    It is filled by sinks, one for each thread, and ready after `filled`.

    Parameters
    ----------
    selection, seed, draw
        As of `MemoryStore`; there is an order always.
    total
        At most so many records.
    threads
        That fill it.
    budget
        Bytes of memory.
    directory
        Where the file is; a temporary one by default.
    epoch
        The one that is to be consumed first.

    Raises
    ------
    StorageError
        The disk is full, or fails.
    """

    mode = "spill"

    def __init__(
        self,
        selection: Selection,
        seed: int,
        *,
        total: int,
        threads: int,
        budget: int,
        directory: Path | None = None,
        epoch: int = 0,
        draw: Draw | None = None,
    ) -> None:
        self.seed, self.epoch, self.draw = seed, epoch, draw
        self.directory = Path(tempfile.gettempdir() if directory is None else directory)
        self._lock = threading.Lock()
        self._turns = 0
        self._id_offset = selection.id_offset
        self._width = width = selection.id_offset + ID_BYTES
        each = width + ORDER_BYTES + (KEY_BYTES if draw is None else DRAW_BYTES)
        self._pool = max(1, int(budget * POOL_SHARE) // each)
        self._most = int(budget * BUFFER_SHARE) // (threads * BLOCK)
        self.buckets = self._buckets(total)
        buffers = int(budget * BUFFER_SHARE) // (threads * self.buckets)
        block = max(PAGE, -(-width // PAGE) * PAGE, min(BLOCK, buffers // PAGE * PAGE))
        used = threads * self.buckets * block + min(self._pool, total * 10 // (self.buckets * 9)) * each
        held = max(0, int(budget * HELD_SHARE) - used) if draw is None else 0
        self._writers: list[SpillWriter] = []
        self._left: list[int] | None = None
        with disk(self.directory):
            self._file = SpillFile(os.fspath(self.directory), width, self._id_offset, ID_BYTES, block, held)
            self._file.begin(self.buckets, seed, epoch)

    def _buckets(self, rows: int) -> int:
        fewest = -(-rows * 10 // (self._pool * 9)) or 1  # rows of a bucket vary a little
        return max(fewest, min(rows * self._width // BUCKET_BYTES, self._most))

    def sink(self) -> Sink:
        """What one thread fills it by."""
        writer = SpillWriter(self._file)
        self._writers.append(writer)

        def sink(records: Records) -> None:
            if self.draw is not None:
                self.draw.see(self.draw.ids(records), self.draw.classes(records))
            with disk(self.directory):
                writer.add(records)

        return sink

    def filled(self) -> None:
        """All records are there."""
        with disk(self.directory):
            for writer in self._writers:
                writer.flush()
            self._writers.clear()
            self._file.turn()
            self._rows = int(self._file.counts().sum())
            if self.draw is not None:
                self.draw.seen()
                if self.draw.copies:
                    self.buckets = self._buckets(self._rows + self.draw.copies)
                    self._go_to(self.epoch)

    @property
    def rows(self) -> int:
        return self._rows if self.draw is None else self.draw.rows

    def pieces(self, epoch: int, start: int = 0, stop: int | None = None) -> Iterator[tuple[Records, Order]]:
        with self._guarded():
            self._turns += 1
            turn = self._turns
            self._finish()
            if epoch != self.epoch:
                self._go_to(epoch)
            parts = len(self._file.counts())
            records, keys = self._room()
            self._begin(epoch + 1)
        at = 0
        while True:
            with self._guarded():
                self._check_turn(turn)
                if not self._left:
                    self._finish()
                    return
                if stop is not None and at >= stop:
                    return  # the next epoch begins by passing on the rest
                rows = self._take(records, keys)
                some = records[:rows]
                if self.draw is not None:
                    order = order_of_records(some, self._id_offset, ID_BYTES, self.seed, epoch)
                    order = self.draw.come(some, order, epoch)
                elif at + rows <= start:  # it is skipped, in whatever order
                    order = np.zeros(rows, np.uint32)
                else:
                    order = order_of_keys(keys[:rows], parts)
            here = order[max(start - at, 0) : None if stop is None else stop - at]
            at += len(order)
            if len(here):
                yield some, here

    def _room(self) -> tuple[Records, npt.NDArray[np.uint64]]:
        """For the records of any bucket, and their keys."""
        most = int(self._file.counts().max(initial=0))
        return np.empty((most, self._width), np.uint8), np.empty(most, np.uint64)

    def _check_turn(self, turn: int) -> None:
        if turn != self._turns:
            raise InputError(
                "another epoch of this loader was begun: rows on disk are in the order of one epoch at a time",
                hint="Finish an epoch before the next, give more memory, or make a loader for each.",
                code="batches.turn",
            )

    def _take(self, records: Records, keys: npt.NDArray[np.uint64]) -> int:
        """Read the next bucket, whose rows go to the next epoch's buckets at once; how many rows it has.

        The keys are those of this epoch; there are none where rows are drawn.
        """
        bucket = (self._left or []).pop(0)
        if self.draw is None:
            return self._writer.take(bucket, records, keys)
        rows = self._file.read(bucket, records)
        self._file.release(bucket)
        for some in self.draw.spread(records[:rows], self._written):
            self._writer.add(some)
        return rows

    def _finish(self) -> None:
        """Pass on what an iteration that was left has not consumed, and turn to the next epoch."""
        if self._left is None:
            return
        if self._left:
            records, keys = self._room()
            while self._left:
                self._take(records, keys)
        self._writer.flush()
        del self._writer
        self._file.turn()
        self._left = None
        self.epoch += 1

    def _go_to(self, epoch: int) -> None:
        """Bucket all rows for another epoch than the next."""
        self._begin(epoch)
        self._finish()
        self.epoch = epoch

    def _begin(self, epoch: int) -> None:
        """Begin to move all rows to the buckets of an epoch."""
        self._left = list(range(len(self._file.counts())))
        self._file.begin(self.buckets, self.seed, epoch)
        self._writer, self._written = SpillWriter(self._file), epoch

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """For one thread at a time."""
        with self._lock, disk(self.directory):
            yield
