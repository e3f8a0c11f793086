"""Where records come from: sinks take them, of several threads at a time, whether they are packed anew or were kept."""

from __future__ import annotations

import mmap
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from mlcore.batches.filling import Packer, Progress, Records, Task, each
from mlcore.batches.selection import ID_BYTES, Selection

Sink: TypeAlias = Callable[[Records], None]
"""Takes some records, which are overwritten afterwards; belongs to one thread."""
Extents: TypeAlias = npt.NDArray[np.int64]
"""Records whose rows ascend, shape (n, 3): the number of the first one's row, its position, how many there are."""

_STEP_BYTES = 1 << 20


class Feed(ABC):
    """Records of all kept rows, each with the number of its row.

    Attributes
    ----------
    total
        At most so many.
    """

    total: int

    @abstractmethod
    def run(self, make: Callable[[], Sink]) -> None:
        """Hand on all records, each once; every thread has a sink of its own."""


class SourceFeed(Feed):
    """Records that are packed from a source.

    Parameters
    ----------
    selection, work
        What is packed, from which rows.
    threads, progress
        As of `mlcore.batches.filling.each`.
    """

    def __init__(self, selection: Selection, work: list[Task], threads: int, progress: Progress) -> None:
        self.total = sum(task.stop - task.start for task in work)
        self._selection, self._work, self._threads, self._progress = selection, work, threads, progress

    def run(self, make: Callable[[], Sink]) -> None:
        sinks: dict[int, Sink] = {}

        def run(packer: Packer, task: Task) -> None:
            if id(packer) not in sinks:
                sinks[id(packer)] = make()
            for records in packer.blocks(task):
                sinks[id(packer)](records)

        each(self._work, lambda: Packer(self._selection, with_id=True), run, self._threads, self._progress)


def first_row(records: Records) -> int:
    """The number of the row of the first record, which ends with it."""
    return int(records[0, -ID_BYTES:].view(np.uint64)[0])


class Arena:
    """Records in memory, in the order in which they come; may be added to from any thread.

    Parameters
    ----------
    width
        Bytes of a record.
    most
        Records that there is room for; what is not used takes no memory.
    """

    def __init__(self, width: int, most: int) -> None:
        self._width, self._most = width, most
        self._memory = mmap.mmap(-1, max(1, most * width), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            self._memory.madvise(mmap.MADV_HUGEPAGE)
        self._records = np.frombuffer(self._memory, np.uint8)[: most * width].reshape(most, width)
        self._extents: list[tuple[int, int, int]] = []
        self._rows = 0
        self._full = False
        self._lock = threading.Lock()

    def add(self, records: Records) -> bool:
        """Keep a copy; False, with none of them kept, where there is no room for them, nor for any that follow."""
        with self._lock:
            start, stop = self._rows, self._rows + len(records)
            self._full = self._full or stop > self._most
            if self._full or not len(records):
                return not self._full
            self._records[start:stop] = records
            self._extents.append((first_row(records), start, len(records)))
            self._rows = stop
        return True

    @property
    def records(self) -> Records:
        """All of them; add none afterwards."""
        return self._records[: self._rows]

    @property
    def extents(self) -> Extents:
        return np.array(self._extents, np.int64).reshape(-1, 3)

    def drain(self, sink: Sink) -> None:
        """Hand on all records and give their memory back as this goes on."""
        step = max(1, _STEP_BYTES // self._width)
        while self._rows:
            start = max(0, self._rows - step)
            sink(self._records[start : self._rows])
            unused = -(-start * self._width // mmap.PAGESIZE) * mmap.PAGESIZE
            end = -(-self._rows * self._width // mmap.PAGESIZE) * mmap.PAGESIZE
            if unused < end:
                self._memory.madvise(mmap.MADV_DONTNEED, unused, min(end, len(self._memory)) - unused)
            self._rows = start
        self._extents.clear()
