"""Classes of equal, or of chosen, size: rows of the small ones come several times an epoch, or not all of the large ones do.

What an epoch draws is decided for each row by a hash of seed, epoch and row, so it is the same from memory and from disk. Only
which rows a class has is kept in memory: a bit for each row of the source and class.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kernels import order_of_ids, row_keys
from mlcore.batches.samples import LABEL
from mlcore.batches.selection import ID_BYTES, Selection
from mlcore.errors import DataError, InputError

Ids = npt.NDArray[np.uint64]
Records = npt.NDArray[np.uint8]

DRAW_BYTES = 40
"""Memory that drawing a row takes while it is drawn: its number, class, key and copies."""
MOST_CLASSES = 16
_STEP = 1 << 16
"""Rows that are looked at at a time."""
_OF_LABELS = "label"


@dataclass(frozen=True)
class Balance:
    """How classes are made to be of like size.

    Attributes
    ----------
    how
        ``"over"``: rows of the smaller classes come several times. ``"under"``: of the larger ones only some come, others in each
        epoch.
    ratio
        Of the smallest class to the largest, above 0 and up to 1.
    replacement
        Whether rows are drawn one by one, so that one can come several times while another does not; else a row comes at most
        once more than another of its class.
    by
        The column of the classes, a target; by default the label of samples, or the only target. ``"label"`` is the label of
        samples.

    Raises
    ------
    InputError
        One of them makes no sense.
    """

    how: Literal["over", "under"]
    ratio: float = 1.0
    replacement: bool = False
    by: str | None = None

    def __post_init__(self) -> None:
        if self.how not in ("over", "under"):
            raise InputError(
                f"classes cannot be balanced by {self.how!r}", hint='Choose "over" or "under".', code="batches.balance"
            )
        if not 0 < self.ratio <= 1:
            raise InputError(
                f"{self.ratio} is no ratio of the smallest class to the largest",
                hint="Give a number above 0, up to 1.",
                code="batches.balance",
            )

    def sizes(self, sizes: list[int]) -> list[int]:
        """How many rows an epoch draws of classes of these sizes.

        >>> Balance("over", ratio=0.5).sizes([10, 100]), Balance("under", ratio=0.5).sizes([10, 100])
        ([50, 100], [10, 20])
        """
        if self.how == "over":
            least = round(self.ratio * max(sizes))
            return [max(size, least) for size in sizes]
        most = round(min(sizes) / self.ratio)
        return [min(size, most) for size in sizes]


class _Members:
    """Which rows of the source a class has: a bit for each.

    Parameters
    ----------
    total
        Rows of the source.
    """

    def __init__(self, total: int) -> None:
        self.bits = np.zeros(-(-total // 8), np.uint8)  # pages that nothing is written to take no memory
        self.total = total
        self.size = 0

    def add(self, ids: Ids) -> None:
        """Add rows by their numbers, of which none was added before; most quickly where they lie close together."""
        self.size += len(ids)
        if int(ids.max() - ids.min()) > 64 * len(ids) + _STEP:
            np.bitwise_or.at(self.bits, ids >> np.uint64(3), (1 << (ids & np.uint64(7))).astype(np.uint8))
            return
        low, high = int(ids.min()) // 8, int(ids.max()) // 8 + 1
        here = np.zeros((high - low) * 8, np.bool_)
        here[ids - np.uint64(low * 8)] = True
        self.bits[low:high] |= np.packbits(here, bitorder="little")

    def __iter__(self) -> Iterator[Ids]:
        """Their numbers in ascending order, some at a time."""
        for low in range(0, len(self.bits), _STEP // 8):
            found = np.flatnonzero(np.unpackbits(self.bits[low : low + _STEP // 8], bitorder="little"))
            yield found.astype(np.uint64) + np.uint64(low * 8)


@dataclass(frozen=True)
class _Share:
    """How often rows of a class come in an epoch.

    Attributes
    ----------
    times
        Each row so often.
    limit
        And once more where its key is not above this one; None where none is.
    counts
        Instead of both, how often each row of the source comes, shape (n_rows_of_source,).
    """

    times: int
    limit: np.uint64 | None = None
    counts: npt.NDArray[np.unsignedinteger[Any]] | None = None


class Draw:
    """Which rows come in an epoch, and how often.

    Parameters
    ----------
    balance
        What is asked for.
    selection
        What records hold.
    total
        Rows of the source.
    seed
        Of the order.

    Raises
    ------
    InputError
        The classes are no target of one number each row.
    """

    def __init__(self, balance: Balance, selection: Selection, total: int, seed: int) -> None:
        self.balance, self.seed, self.total = balance, seed, total
        self.column = class_column(balance, selection)
        layout = selection.layout(selection.packed, with_id=True)
        wanted = selection.packed.index(self.column)
        place = next(entry for entry in layout.fields if entry.column == wanted)
        if place.width != 1:
            raise InputError(
                f"{self.column!r} has several numbers each row, and is no class", hint="Name another.", code="batches.balance"
            )
        self._offset, self._dtype, self._id_offset = place.offset, np.dtype(place.dtype), selection.id_offset
        self._members: dict[float, _Members] = {}
        self._values: npt.NDArray[Any] = np.zeros(0, self._dtype)
        self._wanted: list[int] = []
        self._shares: dict[int, list[_Share]] = {}
        self._lock = threading.Lock()
        digest = hashlib.blake2b(f"balance\0{seed}".encode(), digest_size=8).digest()
        self._salt = int.from_bytes(digest, "little")

    def classes(self, records: Records) -> npt.NDArray[Any]:
        """What each record's class is, shape (n_rows,); a view."""
        if not len(records):
            return np.zeros(0, self._dtype)
        return np.ndarray((len(records),), self._dtype, records, self._offset, (records.shape[1],))

    def ids(self, records: Records) -> Ids:
        """The number of each record's row; of copies, more than there are rows."""
        place = slice(self._id_offset, self._id_offset + ID_BYTES)
        return np.ascontiguousarray(records[:, place]).view(np.uint64)[:, 0]

    def see(self, ids: Ids, values: npt.NDArray[Any]) -> None:
        """Count rows, some thousand at a time; from any thread.

        Raises
        ------
        InputError
            There are too many classes, or a row is of none.
        """
        if not len(ids):
            return
        with self._lock:
            for value in self._new(values):
                self._members[float(value)] = _Members(self.total)
            self._values = np.sort(np.array(list(self._members), self._dtype))
            if len(self._values) > MOST_CLASSES:
                raise InputError(
                    f"{self.column!r} has more than {MOST_CLASSES} different values, and is no class",
                    hint="Balance by a column that is the class, such as a label.",
                    code="batches.balance",
                )
            codes = self._codes(values)
            for code in np.unique(codes):
                self._members[float(self._values[code])].add(ids[codes == code])

    def _new(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The values that were not seen before."""
        if len(self._values) and (self._values[np.minimum(self._codes(values), len(self._values) - 1)] == values).all():
            return values[:0]
        if values.dtype.kind == "f" and np.isnan(values).any():
            raise InputError(
                f"{self.column!r} is NaN in some rows, and no class", hint="Filter them out.", code="batches.balance"
            )
        return np.setdiff1d(values, self._values)

    def _codes(self, values: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
        return np.searchsorted(self._values, values)

    def seen(self) -> None:
        """All rows were counted.

        Raises
        ------
        InputError
            There are less than two classes.
        """
        if len(self._values) < 2:
            found = f"only {float(self._values[0]):g}" if len(self._values) else "none"
            raise InputError(
                f"classes of {self.column!r} cannot be balanced: {found} is there",
                hint="Look at the filter, or leave out balance.",
                code="batches.balance",
            )
        self._wanted = self.balance.sizes(self._sizes)

    @property
    def _sizes(self) -> list[int]:
        return [self._members[float(value)].size for value in self._values]

    @property
    def rows(self) -> int:
        """Of an epoch."""
        return sum(self._wanted)

    @property
    def copies(self) -> int:
        """The most records that an epoch has beyond one for each row."""
        return sum(
            wanted if self.balance.replacement and wanted != size else max(0, wanted - size)
            for size, wanted in zip(self._sizes, self._wanted, strict=True)
        )

    def times(self, ids: Ids, values: npt.NDArray[Any], epoch: int) -> npt.NDArray[np.int64]:
        """How often rows come in an epoch, int64, shape (n_rows,)."""
        with self._lock:
            if epoch not in self._shares:
                while len(self._shares) > 1:  # one epoch comes while rows are made ready for the next
                    del self._shares[next(iter(self._shares))]
                self._shares[epoch] = [self._share(number, epoch) for number in range(len(self._values))]
            shares = self._shares[epoch]
        codes = self._codes(values)
        result = np.zeros(len(ids), np.int64)
        for code, share in enumerate(shares):
            here = np.flatnonzero(codes == code)
            if share.counts is not None:
                result[here] = share.counts[ids[here]]
                continue
            result[here] = share.times
            if share.limit is not None:
                result[here] += row_keys(ids[here], self._salt, epoch) <= share.limit
        return result

    def _share(self, code: int, epoch: int) -> _Share:
        members, wanted = self._members[float(self._values[code])], self._wanted[code]
        if wanted == members.size:
            return _Share(1)
        if self.balance.replacement:
            return _Share(0, counts=self._counts(members, wanted, epoch, code))
        times, more = divmod(wanted, members.size)
        return _Share(times, self._smallest(members, more, epoch) if more else None)

    def _smallest(self, members: _Members, count: int, epoch: int) -> np.uint64:
        """The key that `count` rows of a class are not above: exactly so many, since no two are equal."""
        histogram = np.zeros(1 << 16, np.int64)
        for ids in members:
            histogram += np.bincount(row_keys(ids, self._salt, epoch) >> np.uint64(48), minlength=len(histogram))
        below = np.cumsum(histogram)
        bin_ = int(np.searchsorted(below, count))
        before = int(below[bin_ - 1]) if bin_ else 0
        found = []
        for ids in members:
            keys = row_keys(ids, self._salt, epoch)
            found.append(keys[keys >> np.uint64(48) == np.uint64(bin_)])
        keys = np.concatenate(found)
        return np.uint64(np.partition(keys, count - before - 1)[count - before - 1])

    def _counts(self, members: _Members, draws: int, epoch: int, code: int) -> npt.NDArray[np.unsignedinteger[Any]]:
        """How often each row comes where so many are drawn one by one."""
        kind: type[np.unsignedinteger[Any]] = (
            np.uint8 if draws < 32 * members.size else np.uint32
        )  # 255 and more are beyond anything that is drawn
        by_rank = np.zeros(members.size, kind)
        for start in range(0, draws, _STEP):
            numbers = np.arange(start, min(start + _STEP, draws), dtype=np.uint64)
            keys = row_keys(numbers, self._salt ^ (code + 1), epoch)
            np.add.at(by_rank, ((keys >> np.uint64(32)) * np.uint64(members.size)) >> np.uint64(32), 1)
        counts = np.zeros(self.total, kind)
        rank = 0
        for ids in members:
            counts[ids] = by_rank[rank : rank + len(ids)]
            rank += len(ids)
        return counts

    def order(self, ids: Ids, values: npt.NDArray[Any], epoch: int) -> npt.NDArray[np.uint32]:
        """Positions of all rows of an epoch in its order, some once, some often, some not at all."""
        times = np.empty(len(ids), np.uint32)
        for start in range(0, len(ids), _STEP):
            here = slice(start, start + _STEP)
            times[here] = self.times(ids[here], values[here], epoch)
        positions = np.repeat(np.arange(len(ids), dtype=np.uint32), times)
        drawn = ids[positions]
        if times.max(initial=0) > 1:  # copies have numbers behind those of all rows
            drawn += _numbers_of_copies(times) * np.uint64(self.total)
        return positions[order_of_ids(drawn, self.seed, epoch)]

    def come(self, records: Records, order: npt.NDArray[np.uint32], epoch: int) -> npt.NDArray[np.uint32]:
        """Of an order of records and copies, those that come in an epoch."""
        ids = self.ids(records)
        chosen = ids >= np.uint64(self.total)
        rows = np.flatnonzero(~chosen)
        chosen[rows] = self.times(ids[rows], self.classes(records)[rows], epoch) > 0
        return order[chosen[order]]

    def spread(self, records: Records, epoch: int) -> Iterator[Records]:
        """Records without their copies, and the copies that an epoch needs."""
        for start in range(0, len(records), _STEP // 8):
            some = records[start : start + _STEP // 8]
            some = np.ascontiguousarray(some[self.ids(some) < np.uint64(self.total)])
            yield some
            ids = self.ids(some)
            more = np.maximum(self.times(ids, self.classes(some), epoch) - 1, 0)
            positions, numbers = np.repeat(np.arange(len(some)), more), _numbers_of_copies(more) + np.uint64(1)
            for first in range(0, len(positions), _STEP // 8):
                here = positions[first : first + _STEP // 8]
                copies = some[here]
                new = ids[here] + numbers[first : first + len(here)] * np.uint64(self.total)
                copies[:, self._id_offset : self._id_offset + ID_BYTES] = new.view(np.uint8).reshape(len(new), ID_BYTES)
                yield copies


def _numbers_of_copies(times: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """For rows that come so often, numbers of each one's copies: 0, 1, ..."""
    firsts = np.repeat(np.cumsum(times, dtype=np.uint64) - times.astype(np.uint64), times)
    return np.arange(len(firsts), dtype=np.uint64) - firsts


def class_column(balance: Balance, selection: Selection) -> str:
    """The column that classes are of.

    Raises
    ------
    InputError
        It is not clear which one is meant.
    DataError
        It is no target.
    """
    targets = selection.groups["y"][0] if "y" in selection.groups else ()
    if balance.by is None:
        found = LABEL if LABEL in targets else targets[0] if len(targets) == 1 else ""
        if not found:
            raise InputError(
                f"there are {len(targets)} targets, and classes are of one",
                hint="Give samples labels, or name the target: Balance(..., by=...).",
                code="batches.balance",
            )
        return found
    name = LABEL if balance.by == _OF_LABELS and balance.by not in targets else balance.by
    if name not in targets:
        raise DataError.missing("target", balance.by, targets, where="the selection")
    return name
