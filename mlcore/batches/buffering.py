"""Shuffling in one pass: clusters in a random order, through a buffer from which rows are drawn."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator

import numpy as np

from kernels import order_of_range
from mlcore.batches.filling import BLOCK_ROWS, Packer, Progress, Records, Task, each
from mlcore.batches.selection import Selection
from mlcore.batches.stores import ORDER_BYTES, Order, Store, between, move

_SHARE = 0.8
"""Of the budget, for the rows in the buffer and their order."""


class BufferStore(Store):
    """Records that are read anew each epoch, in an order that is random, but not uniformly so; nothing is kept.

    Clusters come in a random order. The buffer is filled; half of its rows, drawn at random, come next; it is filled up again,
    and so on. So a row comes about as early or late as its cluster does, give or take what the buffer holds.

    Parameters
    ----------
    selection
        What is packed.
    units
        Its clusters.
    seed
        Of the order.
    threads, progress
        As of `mlcore.batches.filling.each`.
    budget
        Bytes of memory.
    """

    mode = "buffer"

    def __init__(
        self, selection: Selection, units: list[Task], seed: int, threads: int, progress: Progress, *, budget: int
    ) -> None:
        self._selection, self._units, self._threads, self._progress = selection, units, threads, progress
        digest = hashlib.blake2b(f"buffer\0{seed}".encode(), digest_size=8).digest()
        self._seed = int.from_bytes(digest, "little")
        self._width = Packer(selection, with_id=False).layout.record_bytes
        self._total = sum(unit.stop - unit.start for unit in units)
        self._capacity = max(2, min(int(budget * _SHARE) // (self._width + ORDER_BYTES), self._total))
        # Where rows are cut away the last gaps would be filled a few rows at a time.
        self._enough = self._capacity if selection.keeps_all else self._capacity - self._capacity // 8
        self._rows = self._total if selection.keeps_all else None

    @property
    def rows(self) -> int:
        if self._rows is None:
            self._rows = self._count()
        return self._rows

    def _count(self) -> int:
        lock, rows = threading.Lock(), 0

        def run(packer: Packer, task: Task) -> None:
            nonlocal rows
            kept = sum(map(len, packer.blocks(task)))
            with lock:
                rows += kept

        each(self._units, self._packer, run, self._threads, self._progress)
        return rows

    def _packer(self) -> Packer:
        return Packer(self._selection, with_id=False)

    def pieces(self, epoch: int, start: int = 0, stop: int | None = None) -> Iterator[tuple[Records, Order]]:
        return between(self._drawn(epoch), start, stop)

    def _drawn(self, epoch: int) -> Iterator[tuple[Records, Order]]:
        order = order_of_range(0, len(self._units), self._seed, epoch)
        left = [self._units[number] for number in order.tolist()][::-1]
        buffer = np.empty((self._capacity, self._width), np.uint8)
        have = turn = read = 0
        while True:
            while left and have < self._enough:
                chunk = _taken(left, self._capacity - have)
                have += self._fill(chunk, buffer[have:])
                read += sum(task.stop - task.start for task in chunk)
                self._progress(read, self._total)
            if not have:
                return
            turn += 1
            drawn = order_of_range(0, have, self._seed ^ turn, epoch)
            come = have if not left else max(1, have // 2)
            yield buffer[:have], drawn[:come]
            have = _closed(buffer, np.sort(drawn[come:]))

    def _fill(self, work: list[Task], out: Records) -> int:
        """Records of some rows, in their order; how many."""
        starts = np.cumsum([0, *(task.stop - task.start for task in work)]).tolist()
        places = {task.first: start for task, start in zip(work, starts, strict=False)}
        kept: dict[int, int] = {}

        def run(packer: Packer, task: Task) -> None:
            start = places[task.first]
            kept[task.first] = packer.pack(task, task.start, task.stop, out[start : start + task.stop - task.start])

        each(work, self._packer, run, self._threads, lambda done, total: None)
        rows = 0
        for task in work:
            move(out, places[task.first], rows, kept[task.first])
            rows += kept[task.first]
        return rows


def _taken(left: list[Task], rows: int) -> list[Task]:
    """The next units, the first of which are at the end; the last one is cut where there is no room for all of it."""
    found: list[Task] = []
    while left and rows:
        unit = left.pop()
        count = min(rows, unit.stop - unit.start)
        if count < unit.stop - unit.start:
            left.append(Task(unit.part, unit.start + count, unit.stop, unit.first + count))
        found.append(Task(unit.part, unit.start, unit.start + count, unit.first))
        rows -= count
    return found


def _closed(records: Records, stay: Order) -> int:
    """Move the records at ascending positions to the front; how many they are."""
    for start in range(0, len(stay), BLOCK_ROWS):
        some = stay[start : start + BLOCK_ROWS]
        records[start : start + len(some)] = records[some]
    return len(stay)
