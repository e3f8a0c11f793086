"""Where tensors lie: values that are never alive together share memory.

Sizes that are numbers get their place here, the largest first, each at the lowest offset where nothing alive at the same time
lies; where very many are alive together, in the order of time, each in the smallest gap that holds it. So do sizes whose symbols
have bounds, with the largest number that they can be. Other sizes with symbols share
*slots* with others of equal size; slots stand behind the numbers, at offsets that are computed when a call begins.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush, heapreplace

from mlcore.networks.code import Storage
from mlcore.networks.ir import Size, interval

ALIGNMENT = 64
SLACK = 64
"""Bytes behind each tensor that a kernel may read and write (never use): vectors that reach over the end."""

MOST_PAIRS = 2_000_000
"""Pairs of storages alive together up to which each is held against all others; beyond, time and memory would be quadratic."""


@dataclass(frozen=True)
class Slot:
    """Memory for values of one symbolic size."""

    bytes: Size
    storages: tuple[Storage, ...]


@dataclass(frozen=True)
class MemoryPlan:
    """Offsets of planned storages.

    Attributes
    ----------
    offsets
        In bytes, of storages whose sizes are numbers or bounded by one.
    static_bytes
        The end of those.
    slots
        Of the others, in the order in which they stand.
    n_growing
        Storages whose size is found out on the way, in buffers of their own.
    """

    offsets: dict[Storage, int]
    static_bytes: int
    slots: tuple[Slot, ...]
    n_growing: int = 0


def aligned(n_bytes: int) -> int:
    """A number of bytes with its slack, rounded up to where the next tensor may begin."""
    return -(-(n_bytes + SLACK) // ALIGNMENT) * ALIGNMENT


def plan(storages: Sequence[Storage], bounds: Mapping[str, int] | None = None) -> MemoryPlan:
    """Place all storages of kind ``"planned"``; `bounds` are the largest values of symbols, by name."""
    known: list[tuple[int, Storage]] = []
    others: list[Storage] = []
    for storage in storages:
        if storage.kind != "planned":
            continue
        ends = interval(storage.count, bounds or {})
        if ends is None:
            others.append(storage)
        else:
            known.append((aligned(max(0, ends[1]) * storage.element_bytes), storage))
    offsets, end = _static(known)
    slots = _slots(others)
    return MemoryPlan(offsets, end, slots, sum(storage.kind == "late" for storage in storages))


def _static(storages: Sequence[tuple[int, Storage]]) -> tuple[dict[Storage, int], int]:
    """Offsets of storages that need so many bytes, and the end of all."""
    sized = sorted(storages, key=lambda pair: pair[1].first)
    few = _pairs([item for _, item in sized]) <= MOST_PAIRS
    return _by_size(sized) if few else _by_time(sized)


def _pairs(storages: Sequence[Storage]) -> int:
    """How many pairs are alive at the same time."""
    starts, ends = sorted(item.first for item in storages), sorted(item.last for item in storages)
    return sum(number - bisect_left(ends, first) for number, first in enumerate(starts))


def _by_size(sized: Sequence[tuple[int, Storage]]) -> tuple[dict[Storage, int], int]:
    """The largest first, at the lowest offset that is free as long as it lives."""
    together = _alive_together([item for _, item in sized])
    places: dict[int, tuple[int, int]] = {}
    for number in sorted(range(len(sized)), key=lambda number: -sized[number][0]):
        needed, offset = sized[number][0], 0
        for start, stop in sorted(places[other] for other in together[number] if other in places):
            if offset + needed <= start:
                break
            offset = max(offset, stop)
        places[number] = (offset, offset + needed)
    offsets = {sized[number][1]: start for number, (start, _) in places.items()}
    return offsets, max((stop for _, stop in places.values()), default=0)


def _alive_together(storages: Sequence[Storage]) -> list[list[int]]:
    """For each of some storages in the order of their beginnings, the numbers of those that it lives beside."""
    together: list[list[int]] = [[] for _ in storages]
    alive: list[tuple[int, int]] = []  # last, number: a heap
    for number, storage in enumerate(storages):
        while alive and alive[0][0] < storage.first:
            heappop(alive)
        for _, other in alive:
            together[number].append(other)
            together[other].append(number)
        heappush(alive, (storage.last, number))
    return together


@dataclass
class _Gaps:
    """Free memory below an end: gaps by size, and by both of their ends so that neighbours join."""

    end: int = 0
    sizes: list[tuple[int, int]] = field(default_factory=list)  # size, start: sorted
    starts: dict[int, int] = field(default_factory=dict)
    stops: dict[int, int] = field(default_factory=dict)

    def take(self, needed: int) -> int:
        """The smallest gap that is large enough, or new memory at the end."""
        place = bisect_left(self.sizes, (needed, 0))
        if place == len(self.sizes):
            start, self.end = self.end, self.end + needed
            return start
        _, start = self.sizes[place]
        stop = self._remove(start)
        if start + needed < stop:
            self._add(start + needed, stop)
        return start

    def give(self, start: int, stop: int) -> None:
        """Memory that is free again."""
        if start in self.stops:
            before = self.stops[start]
            self._remove(before)
            start = before
        if stop in self.starts:
            stop = self._remove(stop)
        self._add(start, stop)

    def _add(self, start: int, stop: int) -> None:
        insort(self.sizes, (stop - start, start))
        self.starts[start], self.stops[stop] = stop, start

    def _remove(self, start: int) -> int:
        stop = self.starts.pop(start)
        del self.stops[stop], self.sizes[bisect_left(self.sizes, (stop - start, start))]
        return stop


def _by_time(sized: Sequence[tuple[int, Storage]]) -> tuple[dict[Storage, int], int]:
    """In the order of time, in the smallest gap: n log n, and somewhat more memory than `_by_size`."""
    gaps, offsets = _Gaps(), dict[Storage, int]()
    alive: list[tuple[int, int, int]] = []  # last, start, stop: a heap
    for needed, storage in sized:
        while alive and alive[0][0] < storage.first:
            _, start, stop = heappop(alive)
            gaps.give(start, stop)
        start = gaps.take(needed)
        offsets[storage] = start
        heappush(alive, (storage.last, start, start + needed))
    return offsets, gaps.end


def _slots(storages: Sequence[Storage]) -> tuple[Slot, ...]:
    slots: list[tuple[Size, list[Storage]]] = []
    free: dict[Size, list[tuple[int, int]]] = {}  # by size: when each slot's last storage ends, and its number; a heap
    for storage in sorted(storages, key=lambda item: item.first):
        n_bytes = storage.count * storage.element_bytes
        ends = free.setdefault(n_bytes, [])
        if ends and ends[0][0] < storage.first:
            number = ends[0][1]
            slots[number][1].append(storage)
            heapreplace(ends, (storage.last, number))
        else:
            heappush(ends, (storage.last, len(slots)))
            slots.append((n_bytes, [storage]))
    return tuple(Slot(size, tuple(held)) for size, held in slots)
