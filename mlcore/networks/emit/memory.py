"""Where tensors lie: values that are never alive together share memory.

Sizes that are numbers get their place here, the largest first, each at the lowest offset where nothing alive at the same time
lies. Sizes with symbols share *slots* with others of equal size; slots stand behind the numbers, at offsets that are computed
when a call begins.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass

from mlcore.networks.code import Storage
from mlcore.networks.ir import Size

ALIGNMENT = 64
SLACK = 64
"""Bytes behind each tensor that a kernel may read (never use): vectors that reach over the end."""


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
        In bytes, of storages whose sizes are numbers.
    static_bytes
        The end of those.
    slots
        Of the others, in the order in which they stand.
    """

    offsets: dict[Storage, int]
    static_bytes: int
    slots: tuple[Slot, ...]


def aligned(n_bytes: int) -> int:
    """A number of bytes with its slack, rounded up to where the next tensor may begin."""
    return -(-(n_bytes + SLACK) // ALIGNMENT) * ALIGNMENT


def plan(storages: Sequence[Storage]) -> MemoryPlan:
    """Place all storages of kind ``"planned"``."""
    planned = [storage for storage in storages if storage.kind == "planned"]
    offsets, end = _static([storage for storage in planned if isinstance(storage.count, int)])
    return MemoryPlan(offsets, end, _slots([storage for storage in planned if not isinstance(storage.count, int)]))


def _static(storages: Sequence[Storage]) -> tuple[dict[Storage, int], int]:
    offsets: dict[Storage, int] = {}
    placed: list[tuple[int, int, Storage]] = []  # offset, end, by offset
    end = 0
    sized = [(storage.count * storage.element_bytes, storage) for storage in storages]
    for n_bytes, storage in sorted(
        ((n, item) for n, item in sized if isinstance(n, int)), key=lambda pair: (-pair[0], pair[1].first)
    ):
        needed = aligned(n_bytes)
        offset = 0
        for start, stop, other in placed:
            if other.last < storage.first or storage.last < other.first:
                continue
            if offset + needed <= start:
                break
            offset = max(offset, stop)
        offsets[storage] = offset
        insort(placed, (offset, offset + needed, storage), key=lambda item: item[:2])
        end = max(end, offset + needed)
    return offsets, end


def _slots(storages: Sequence[Storage]) -> tuple[Slot, ...]:
    slots: list[tuple[Size, list[Storage]]] = []
    for storage in sorted(storages, key=lambda item: item.first):
        n_bytes = storage.count * storage.element_bytes
        for size, held in slots:
            if size == n_bytes and held[-1].last < storage.first:
                held.append(storage)
                break
        else:
            slots.append((n_bytes, [storage]))
    return tuple(Slot(size, tuple(held)) for size, held in slots)
