"""Which side of a split a row is on, decided by a hash of the row alone: the same whatever else there is to be read."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from kernels import row_keys
from mlcore.batches.blocks import Array, Block, Jagged
from mlcore.batches.schema import Schema
from mlcore.batches.sources import Part
from mlcore.errors import InputError

_END = 1 << 64
_ROUNDING = 1e-9
"""By which the sum of shares such as .7, .2 and .1 may be more than 1."""


@dataclass(frozen=True)
class RowChoice:
    """The rows whose hashes lie in a range.

    Attributes
    ----------
    low, high
        Of the range, from 0 to 2**64; `high` is not in it.
    seed
        Of the hash.
    level
        How many choices were made before this one: each has a hash of its own, so a part of a part is a random one.
    by
        The columns that are hashed; empty for the row's place, which is the file's name and the number of the row in the file.
    outside
        Whether the rows that are not in the range are meant instead.
    """

    low: int
    high: int
    seed: int
    level: int = 0
    by: tuple[str, ...] = ()
    outside: bool = False

    def mask(self, part: Part, first: int, rows: int, block: Block, identity: str = "") -> npt.NDArray[np.bool_]:
        """Which rows are meant, bool, shape (n_rows,).

        Parameters
        ----------
        part
            That the rows are of.
        first, rows
            The number of the first one in the part, and how many there are.
        block
            The columns of `by`.
        identity
            What the part is known by, where the file's name here is not the one that people gave it.
        """
        if self.by:
            keys = np.zeros(rows, np.uint64)
            for number, name in enumerate(self.by):
                keys = row_keys(keys ^ exact_bits(_flat(block, name)), _salted(self.seed, self.level), number)
        else:
            salt = _salted(self.seed, self.level, identity or part.identity)
            keys = row_keys(np.arange(first, first + rows, dtype=np.uint64), salt, 0)
        inside = keys >= np.uint64(self.low) if self.low < _END else np.zeros(rows, np.bool_)
        if self.high < _END:
            inside &= keys < np.uint64(self.high)
        return ~inside if self.outside else inside


def shares(fractions: Mapping[str, float], by: Sequence[str], seed: int, level: int) -> dict[str, RowChoice]:
    """Disjoint choices of these shares of all rows.

    Raises
    ------
    InputError
        A share is none, or together they are more than everything.
    """
    for name, fraction in fractions.items():
        if not (math.isfinite(fraction) and 0 < fraction <= 1):
            raise InputError(
                f"{name}={fraction} is no share of the rows", hint="Give more than 0, up to 1.", code="batches.split"
            )
    total = math.fsum(fractions.values())
    if total > 1 + _ROUNDING:
        raise InputError(f"the shares of a split are {total:g} together", hint="Give 1 or less.", code="batches.split")
    scale = Fraction(1) if total <= 1 - _ROUNDING else sum(map(Fraction, fractions.values()), Fraction(0))
    edges, sum_before = [0], Fraction(0)
    for fraction in fractions.values():
        sum_before += Fraction(fraction)
        edges.append(min(_END, round(sum_before / scale * _END)))
    return {
        name: RowChoice(low, high, seed, level, tuple(by))
        for name, (low, high) in zip(fractions, itertools.pairwise(edges), strict=True)
    }


def folds(count: int, by: Sequence[str], seed: int, level: int) -> list[tuple[RowChoice, RowChoice]]:
    """For each of `count` equal parts, everything else and the part.

    Raises
    ------
    InputError
        They are less than two.
    """
    if count < 2:
        raise InputError(f"rows cannot be folded {count} times", hint="Give 2 or more.", code="batches.split")
    edges = [number * _END // count for number in range(count + 1)]
    return [
        (RowChoice(low, high, seed, level, tuple(by), outside=True), RowChoice(low, high, seed, level, tuple(by)))
        for low, high in itertools.pairwise(edges)
    ]


def check_columns(by: Sequence[str], known: Schema) -> None:
    """Make sure that rows can be told apart by these columns.

    Raises
    ------
    DataError
        There is no such column.
    InputError
        It has not one number each row.
    """
    for name in by:
        column = known[name]
        if column.dtype is None or column.why_not or column.jagged or column.shape:
            why = column.why_not or "it has not one number each row"
            raise InputError(
                f"rows cannot be split by the column {name!r}: {why}", hint="Take another one.", code="batches.split"
            )


def exact_bits(values: Array) -> npt.NDArray[np.uint64]:
    """64 bits of each number, equal where the numbers of a column are: 0 and -0 are, and every NaN is one."""
    if values.dtype.kind in "biu":
        return values.astype(np.uint64) if values.dtype.kind != "i" else values.astype(np.int64).view(np.uint64)
    wide = values.astype(np.float64) + 0.0  # which makes 0 of -0
    wide[np.isnan(wide)] = np.nan
    return wide.view(np.uint64)


def _flat(block: Block, name: str) -> Array:
    values = block[name]
    if isinstance(values, Jagged):
        raise TypeError("columns to split by are checked to have one number each row")
    return values


def _salted(seed: int, level: int, identity: str = "") -> int:
    digest = hashlib.blake2b(f"split\0{seed}\0{level}\0{identity}".encode(errors="surrogateescape"), digest_size=8)
    return int.from_bytes(digest.digest(), "little")
