"""What a conversion makes of a source: which columns and rows, in which order, split how, in files of which format."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kernels import row_keys
from mlcore.batches.blocks import Block, Jagged, Values
from mlcore.batches.conversion.shards import Format, shard_format
from mlcore.batches.padding import unpadded
from mlcore.batches.schema import Schema
from mlcore.batches.selection import Names, Precision, Selection
from mlcore.batches.skipping import OnError, check_on_error
from mlcore.batches.sources import Part
from mlcore.batches.splitting import check_columns, shares
from mlcore.errors import InputError

if TYPE_CHECKING:
    from mlcore.batches.skipping import Skipped

MOST_BUCKETS = 4096
PART_BITS = 40
"""A row's number is that of its part, then that of the row in it, in this many bits."""


@dataclass(frozen=True)
class Recipe:
    """All that decides what shards hold, beside the source.

    Attributes
    ----------
    format
        Of the shards.
    columns, target, weight, filter, define, pad, dtype
        As of `mlcore.batches.BatchLoader`; `dtype` is that of matrices, where a format has them: columns keep their own.
    rows_per_shard
        Of every shard but the last of each split.
    shuffle, seed
        Whether the order is random, and which.
    split
        Names and shares, such as ``{"train": 0.8, "validation": 0.2}``; rows beyond their sum are left out. Empty for no split.
    split_by, split_seed
        As `by` and `seed` of `mlcore.batches.BatchLoader.split`, which puts the same rows on the same sides.
    on_error
        Whether rows that cannot be read, and files that cannot be opened, are an error or left out, and counted.
    buckets
        A power of two: how finely rows are sorted at first.
    """

    format: Format = "parquet"
    columns: tuple[str, ...] | None = None
    target: Names = ()
    weight: Names = ()
    filter: str | None = None
    define: Mapping[str, str] = field(default_factory=dict)
    pad: Mapping[str, int] = field(default_factory=dict)
    dtype: Precision = "float32"
    rows_per_shard: int = 250_000
    shuffle: bool = True
    seed: int = 0
    split: Mapping[str, float] = field(default_factory=dict)
    split_by: tuple[str, ...] = ()
    split_seed: int = 0
    on_error: OnError = "raise"
    buckets: int = 16

    def __post_init__(self) -> None:
        shard_format(self.format)
        check_on_error(self.on_error)
        if self.rows_per_shard < 1:
            raise InputError(f"a shard of {self.rows_per_shard} rows is none", hint="Give 1 or more.", code="batches.shards")
        if not 0 <= self.seed < 2**64:
            raise InputError(f"{self.seed} is no seed", hint="Give a whole number from 0 to 2**64 - 1.", code="batches.seed")
        for name in self.split:
            if not name.isidentifier():
                raise InputError(
                    f"{name!r} cannot be the name of a split: files are called by it",
                    hint="Take letters, digits and underscores.",
                    code="batches.split",
                )
        shares(self.split, self.split_by, self.split_seed, 0)  # says what is wrong

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Recipe:
        """What `to_json` gave."""
        lists: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
        return cls(**lists)

    @property
    def mark(self) -> str:
        """Another one for every other recipe."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    @property
    def splits(self) -> tuple[str, ...]:
        """The names that files begin with."""
        return tuple(self.split) or ("shard",)

    @property
    def skips(self) -> bool:
        """Whether what cannot be read is left out."""
        return self.on_error == "skip"

    def selection(self, schema: Schema, hidden: Collection[str] = (), skipped: Skipped | None = None) -> Selection:
        """The columns and rows of a table; hidden columns are features only where named, `skipped` takes what is damaged.

        Raises
        ------
        InputError, DataError
            A column is missing, or cannot be written in the format.
        """
        as_lists = self.columns is not None and shard_format(self.format).jagged  # of all columns, only those that need no lists
        selection = Selection(
            schema, columns=self.columns, target=self.target, weight=self.weight, keep=self.filter, define=self.define,
            pad=self.pad, dtype=self.dtype, form="dict", jagged="offsets" if as_lists else "pad", hidden=hidden, skipped=skipped,
        )  # fmt: skip
        for name in selection.packed:
            if selection.is_ragged(name) and selection.known[name].shape:
                raise unpadded(selection.known[name])  # lists of arrays are not written
        check_columns(self.split_by, selection.known)
        return selection

    def read(self, selection: Selection) -> tuple[str, ...]:
        """The columns that have to be read, those that split rows among them."""
        more = [name for name in self.split_by if name not in selection.defined]
        defined = [column for name in self.split_by if name in selection.defined for column in selection.defined[name].columns]
        return tuple(dict.fromkeys([*selection.read, *more, *(name for name in defined if name not in selection.defined)]))

    def row_bytes(self, selection: Selection) -> int:
        """Of a row in memory, about; a jagged column is taken for ten values."""
        total = 16
        for name in selection.packed:
            column = selection.known[name]
            values = self.pad.get(name, 10) if column.jagged else column.items
            total += values * (column.dtype.itemsize if column.dtype is not None else 8)
        return total

    def order(self, ids: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        """By which rows are sorted, for their numbers; that of an epoch of a loader of one part."""
        return row_keys(ids, self.seed, 0) if self.shuffle else ids

    def bucket(self, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Of keys that `order` gave; rows that are not shuffled need none."""
        if not self.shuffle or self.buckets == 1:
            return np.zeros(len(keys), np.int64)
        return (keys >> np.uint64(64 - (self.buckets - 1).bit_length())).astype(np.int64)

    def assign(self, part: Part, first: int, rows: int, block: Block, identity: str = "") -> npt.NDArray[np.int64]:
        """The number of the split of each row, int64, shape (n_rows,); that behind the last for those in none.

        Parameters
        ----------
        part, first, rows, block, identity
            As of `mlcore.batches.splitting.RowChoice.mask`.
        """
        found = np.full(rows, len(self.split), np.int64)
        if not self.split:
            return found
        for number, choice in enumerate(shares(self.split, self.split_by, self.split_seed, 0).values()):
            found[choice.mask(part, first, rows, block, identity)] = number
        return found

    def groups(self, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The columns of x, y and w, of those that there are."""
        targets, weights = _names(self.target), _names(self.weight)
        features = self.columns if self.columns is not None else tuple(n for n in names if n not in (*targets, *weights))
        return {role: members for role, members in (("x", features), ("y", targets), ("w", weights)) if members}


def numbers_of(part: int, start: int, stop: int) -> npt.NDArray[np.uint64]:
    """The numbers of rows of a part."""
    return (np.uint64(part) << np.uint64(PART_BITS)) + np.arange(start, stop, dtype=np.uint64)


def buckets_for(size: float, bucket: float) -> int:
    """A power of two, so that buckets of a total are about as large as wanted."""
    return 1 << max(0, min(MOST_BUCKETS.bit_length() - 1, math.ceil(math.log2(max(1.0, size / bucket)))))


def selected(block: Block, names: Sequence[str], pad: Mapping[str, int]) -> Iterator[tuple[str, Values]]:
    """Columns of a block, jagged ones padded where that is asked for; arrays of several dimensions as rows."""
    for name in names:
        values = block[name]
        if isinstance(values, Jagged):
            yield name, padded(values, pad[name]) if name in pad else values
        else:
            yield name, values if values.ndim == 1 else values.reshape(len(values), math.prod(values.shape[1:]))


def padded(values: Jagged, width: int) -> npt.NDArray[Any]:
    """The first values of each row, and zeros where there are fewer, shape (n_rows, width)."""
    found = np.zeros((len(values), width), values.values.dtype)
    place = np.arange(width)
    there = place < values.counts[:, None]
    found[there] = values.values[(values.offsets[:-1, None] + place)[there]]
    return found


def _names(names: Names) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)
