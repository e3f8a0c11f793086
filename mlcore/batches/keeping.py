"""Which store keeps the records of a loader, and how it comes to hold them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from mlcore.batches.balancing import DRAW_BYTES, Balance, Draw
from mlcore.batches.buffering import BufferStore
from mlcore.batches.cache import Cache, CachedRecords, CacheWriter, Entry
from mlcore.batches.clusters import Shard, clusters, shard_tasks
from mlcore.batches.feeding import Arena, Extents, Feed, Sink, SourceFeed
from mlcore.batches.filling import BLOCK_ROWS, TASK_ROWS, Packer, Progress, Records, Task, affordable_threads, tasks
from mlcore.batches.selection import Selection
from mlcore.batches.sources import Source
from mlcore.batches.spilling import SpillStore
from mlcore.batches.stores import ORDER_BYTES, MemoryStore, Order, Store, StreamStore, between, packed

READING = 40_000_000
"""Bytes beside the budget that readers may keep of pages."""

Shuffle = bool | Literal["buffer"]


@dataclass(frozen=True)
class Keeping:
    """What a loader asks of its store.

    Attributes
    ----------
    source, selection, shard
        What is kept.
    shuffle, seed, epoch, balance
        In which order it comes; `epoch` is the first one that is asked for.
    budget, directory, cache
        Where it may lie.
    threads, progress
        As of `mlcore.batches.filling.each`.
    """

    source: Source
    selection: Selection
    shard: Shard | None
    shuffle: Shuffle
    seed: int
    epoch: int
    balance: Balance | None
    budget: int
    directory: Path | None
    cache: Cache | None
    threads: int
    progress: Progress

    def store(self) -> Store:
        """The store, filled."""
        if self.shuffle == "buffer":
            units = self.work() if self.shard else clusters(self.source, self.selection, most=TASK_ROWS, least=BLOCK_ROWS)
            return BufferStore(self.selection, units, self.seed, self._readers, self.progress, budget=self.budget)
        if self.cache is None:
            return self._kept()
        slot = {"selection": self.selection.described(), "parts": [part.name for part in self.source.parts], "shard": self.shard}
        entry = self.cache.entry(slot, self.source.fingerprint, self._width)
        with entry.locked():
            found = entry.open() or self._written(entry)
        return self._kept() if found is None else self._cached(found)

    @property
    def fits(self) -> bool:
        """Whether all rows would fit the memory, as can be told before they are read."""
        return self.shuffle != "buffer" and _rows(self.work()) <= self._most

    @property
    def _width(self) -> int:
        """Bytes of a record with its number."""
        return Packer(self.selection, with_id=True).layout.record_bytes

    @property
    def _most(self) -> int:
        """Rows that fit the memory together with what ordering them takes."""
        drawing = 0 if self.balance is None else DRAW_BYTES * (2 if self.balance.how == "over" else 1)
        numbered = self.selection.numbered or self.cache is not None
        return self.budget // (Packer(self.selection, with_id=numbered).layout.record_bytes + ORDER_BYTES + drawing)

    def work(self) -> list[Task]:
        """The rows that are read."""
        if self.shard is None:
            return tasks(self.source, self.selection)
        return shard_tasks(self.source, self.selection, self.shard)

    @property
    def _readers(self) -> int:
        """Threads that read the source. What they keep of it comes on top of the rows, so large pages allow fewer of them."""
        width = self._width
        room = READING + self.budget * ORDER_BYTES // (width + ORDER_BYTES)
        return affordable_threads(self.source, self.selection, self.threads, room)

    def _feed(self, work: list[Task]) -> SourceFeed:
        return SourceFeed(self.selection, work, self._readers, self.progress)

    def _kept(self) -> Store:
        """Read from the source."""
        work = self.work()
        if _rows(work) <= self._most:
            numbered = self.selection.numbered
            records = packed(self.selection, work, self._readers, self.progress, numbered=numbered)
            return self._in_memory(records, numbered=numbered)
        if not self.selection.keeps_all:
            return self._grown(work)
        return self._spilled(self._feed(work)) if self.shuffle else self._stream(work)

    def _grown(self, work: list[Task]) -> Store:
        """In memory as long as there is room; what is there moves to the disk when there is none."""
        feed = self._feed(work)
        arena = Arena(self._width, self._most)
        lock = threading.Lock()
        spill: SpillStore | None = None

        def overflow() -> SpillStore:
            nonlocal spill
            with lock:
                if spill is None:
                    if not self.shuffle:
                        raise _NoRoomError
                    fresh = self._empty_spill(feed.total)
                    arena.drain(fresh.sink())
                    spill = fresh
                return spill

        def make() -> Sink:
            own: Sink | None = None

            def sink(records: Records) -> None:
                nonlocal own
                if own is None:
                    if arena.add(records):
                        return
                    own = overflow().sink()
                own(records)

            return sink

        try:
            feed.run(make)
        except _NoRoomError:
            return self._stream(work)
        if spill is None:
            return self._in_memory(arena.records, numbered=True, extents=arena.extents)
        spill.filled()
        return spill

    def _written(self, entry: Entry) -> CachedRecords | None:
        """Read from the source into the cache."""
        writer = CacheWriter(entry)
        try:
            if writer.usable:
                self._feed(self.work()).run(lambda: writer.add)
            # What is damaged today may be whole the next time.
            return writer.finish(keep=not self.selection.skipped)
        finally:
            writer.abandon()

    def _cached(self, found: CachedRecords) -> Store:
        if found.rows <= self._most:
            return self._in_memory(found.mapped(), numbered=True, extents=found.extents)
        return self._spilled(found.feed(self.threads, self.progress)) if self.shuffle else _CachedStore(found)

    def _in_memory(self, records: Records, *, numbered: bool, extents: Extents | None = None) -> MemoryStore:
        seed = self.seed if self.shuffle else None
        return MemoryStore(records, self.selection, seed, self._draw(), numbered=numbered, extents=extents)

    def _stream(self, work: list[Task]) -> StreamStore:
        return StreamStore(self.selection, work)

    def _spilled(self, feed: Feed) -> SpillStore:
        spill = self._empty_spill(feed.total)
        feed.run(spill.sink)
        spill.filled()
        return spill

    def _empty_spill(self, total: int) -> SpillStore:
        return SpillStore(
            self.selection,
            self.seed,
            total=total,
            threads=self.threads,
            budget=self.budget,
            directory=self.directory,
            epoch=self.epoch,
            draw=self._draw(),
        )

    def _draw(self) -> Draw | None:
        return None if self.balance is None else Draw(self.balance, self.selection, self.source.rows, self.seed)


class _NoRoomError(Exception):
    """Rows in the order of the source do not fit the memory."""


class _CachedStore(Store):
    """Records in the order of the source, read from the cache each epoch."""

    mode = "stream"

    def __init__(self, records: CachedRecords) -> None:
        self._records = records

    @property
    def rows(self) -> int:
        return self._records.rows

    def pieces(self, epoch: int, start: int = 0, stop: int | None = None) -> Iterator[tuple[Records, Order]]:
        return between(self._blocks(), start, stop)

    def _blocks(self) -> Iterator[tuple[Records, Order]]:
        extents = self._records.extents
        order = np.arange(int(extents[:, 2].max(initial=0)), dtype=np.uint32)
        for _, position, count in extents[np.argsort(extents[:, 0])].tolist():
            yield self._records.read(position, count), order[:count]


def _rows(work: list[Task]) -> int:
    return sum(task.stop - task.start for task in work)
