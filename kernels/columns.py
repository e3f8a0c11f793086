"""Columns of ROOT files, decoded and packed into rows without Python: baskets of a TTree and pages of an RNTuple.

Who reads a file's metadata says where each column's bytes lie (`ColumnPlan`), and a `ColumnReader` turns ranges of rows into
arrays, or into records whose form a `RowLayout` gives. `pack_columns` makes the same records of arrays from anywhere else.
"""

from __future__ import annotations

import itertools
import math
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from kernels import _native
from kernels._native import SourceFile
from kernels.decompressors import Decompressors, fallback, found

NUMBER_TYPES = (
    "bool",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
)
"""The types of numbers that columns and records may have, in the order of their native codes. No record holds float16."""

PAGE_FIELDS = ("file", "offset", "bytes", "first", "count", "base")
"""The columns of `ColumnPlan.pages`."""

Kind: TypeAlias = Literal["basket", "page"]
Encoding: TypeAlias = Literal["plain", "split", "zigzag", "delta", "bits"]
Array: TypeAlias = npt.NDArray[Any]

_ENCODINGS = ("plain", "split", "zigzag", "delta", "bits")
_SIGNED = ("int16", "int32", "int64")


class DecodeError(ValueError):
    """A basket or page that cannot be decoded; other rows of the same columns can.

    Attributes
    ----------
    column
        Index of the column in the reader.
    page
        Index of the basket or page in the column's plan; in the plan of its offsets where `of_offsets`.
    of_offsets
        Whether the page is one of the plan's offsets, which several columns may share.
    start, stop
        The rows that are lost with it, as far as they are known; some may lie outside of what was asked for. Rows before `start`
        can be read, and reading can go on at `stop`, which lies past the first row that was asked for.
    reason
        What is wrong, such as ``"zlib data is damaged"``.
    """

    def __init__(self, column: int, page: int, of_offsets: bool, start: int, stop: int, reason: str) -> None:
        what = "page of offsets" if of_offsets else "page"
        super().__init__(f"column {column}, {what} {page}, rows {start} to {stop}: {reason}")
        self.column = column
        self.page = page
        self.of_offsets = of_offsets
        self.start = start
        self.stop = stop
        self.reason = reason


@dataclass(frozen=True, eq=False)
class ColumnPlan:
    """Where the bytes of one column lie and how they are to be read.

    Attributes
    ----------
    kind
        ``"basket"``: baskets of a TTree's branch, big-endian, each with its key in front as it lies in the file.
        ``"page"``: pages of an RNTuple's column, little-endian.
    dtype
        Of the stored numbers and of what the reader gives, one of `NUMBER_TYPES`: for example ``"float32"``.
        An RNTuple's Byte and Char are uint8, Bit is bool, Index32/Index64 are uint32/uint64.
    pages
        int64, shape (n_pages, 6), one basket or page a row (`PAGE_FIELDS`), in the order of the rows, none of them empty:

        - ``file``: index into the reader's files,
        - ``offset``: where it begins in that file, for a basket the beginning of its TKey (fBasketSeek),
        - ``bytes``: on disk; with the TKey for baskets (fBasketBytes), without the checksum for pages (locator's num_bytes),
        - ``first``: for baskets the number of its first row (fBasketEntry); for pages the number of its first *value*, counted
          from the column's first (with fixed arrays and vectors a row has several),
        - ``count``: of its rows (basket) or values (page),
        - ``base``: for the pages of an index column the number of the first value of their cluster in the column that the index
          counts (for ``jets.pt`` the values of ``jets.pt`` in the clusters before; for arrays of fixed size in a vector count
          the arrays). 0 everywhere else.

        Pages follow one another without gaps. The first one need not be 0: rows before it, and behind the last, cannot be read.
    items
        Values of one row (arrays of fixed size, several dimensions flattened); of one element of a row where it is jagged.
    encoding
        Of pages: ``"plain"``; ``"split"`` (SplitReal16/32/64, SplitUInt16/32/64); ``"zigzag"`` (SplitInt16/32/64);
        ``"delta"`` (SplitIndex32/64, of plans of offsets only); ``"bits"`` (Bit). Of baskets always ``"plain"``. What is not
        here (Real32Trunc, Real32Quant, Switch; Double32 and Float16 in branches) cannot be planned.
    jagged
        Of baskets: rows differ in their number of values, and each basket carries the offsets of its rows behind the data.
        Baskets without (written with the IO feature kGenerateOffsetMap) cannot be planned.
    header_bytes
        Of jagged baskets: bytes before the values of each row, 10 for a std::vector of numbers, 0 for ``x[n]``.
    checksums
        Of pages: bool, shape (n_pages,), which of them are followed by their XXH3, least significant byte first; a page that does
        not match it is damaged. None for none of them.
    offsets
        Of pages: the index column (``"uint32"`` or ``"uint64"``, ``"plain"`` or ``"delta"``) that counts the values of the rows,
        where the column is jagged. Its pages count rows. Columns that share one (``jets.pt``, ``jets.eta``) should hold the same
        object: it is decoded once for all of them.

    Raises
    ------
    ValueError
        Something does not fit together.
    """

    kind: Kind
    dtype: str
    pages: npt.NDArray[np.int64]
    items: int = 1
    encoding: Encoding = "plain"
    jagged: bool = False
    header_bytes: int = 0
    offsets: ColumnPlan | None = None
    checksums: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("basket", "page"):
            raise ValueError(f"there is no kind {self.kind!r}; take 'basket' or 'page'")
        if self.dtype not in NUMBER_TYPES:
            raise ValueError(f"columns of {self.dtype!r} cannot be planned; the types are {', '.join(NUMBER_TYPES)}")
        if self.encoding not in _ENCODINGS:
            raise ValueError(f"there is no encoding {self.encoding!r}; take one of {', '.join(_ENCODINGS)}")
        if self.items < 1:
            raise ValueError(f"a row has at least one value, not {self.items}")
        self._check_kind()
        self._check_encoding()
        _check_pages(self.pages)
        if self.checksums is not None and (self.kind == "basket" or self.checksums.shape != (len(self.pages),)):
            raise ValueError("checksums are of pages, and for each of them it is told whether it has one")

    def _check_kind(self) -> None:
        if self.kind == "basket":
            if self.encoding != "plain" or self.offsets is not None or self.dtype == "float16":
                raise ValueError("a plan of baskets has the encoding 'plain', no plan of offsets and no float16")
            if self.header_bytes < 0 or (self.header_bytes and not self.jagged):
                raise ValueError("only the rows of jagged baskets have header bytes")
        elif self.header_bytes or self.jagged:
            raise ValueError("pages have no header bytes, and are jagged by a plan of offsets")
        elif self.offsets is not None and not self.offsets.is_index:
            raise ValueError("the offsets are an index column: pages of uint32 or uint64, plain or delta, one value a row")

    def _check_encoding(self) -> None:
        wide = np.dtype(self.dtype).itemsize > 1
        fits = {
            "plain": True,
            "split": wide,
            "zigzag": self.dtype in _SIGNED,
            "delta": self.dtype in ("uint32", "uint64"),
            "bits": self.dtype == "bool",
        }
        if not fits[self.encoding]:
            raise ValueError(f"{self.dtype} has no encoding {self.encoding!r}")

    @property
    def is_index(self) -> bool:
        """Whether it can be the offsets of another plan."""
        return (
            self.kind == "page"
            and self.dtype in ("uint32", "uint64")
            and self.encoding in ("plain", "delta")
            and self.items == 1
            and self.offsets is None
        )

    @property
    def is_jagged(self) -> bool:
        """Whether rows differ in their number of values."""
        return self.jagged or self.offsets is not None


def _check_pages(pages: npt.NDArray[np.int64]) -> None:
    if pages.dtype != np.int64 or pages.ndim != 2 or pages.shape[1] != len(PAGE_FIELDS):
        raise ValueError(f"pages are int64 of shape (n_pages, {len(PAGE_FIELDS)}), not {pages.dtype} of {pages.shape}")
    if (pages < 0).any():
        raise ValueError("pages hold no negative numbers")
    first, count = pages[:, 3], pages[:, 4]
    if (count < 1).any():
        raise ValueError("no page is empty: leave out those without rows")
    if (first > 2**62).any() or (count > 2**40).any() or (pages[:, 1] > 2**62).any() or (pages[:, 2] > 2**40).any():
        raise ValueError("a page lies or counts beyond any file")
    if not np.array_equal(first[1:], first[:-1] + count[:-1]):
        raise ValueError("each page begins where the one before ends")


def basket_bytes(data: Array | bytes, byte_offsets: Array | None = None) -> bytes:
    """A basket as it would lie in a file, uncompressed, of one that is embedded in its tree: for `memory_file`.

    Parameters
    ----------
    data
        Its data without key and offsets (uproot's ``basket.data``).
    byte_offsets
        Where each row begins in `data`, and the end: int, shape (n_rows + 1,) (uproot's ``basket.byte_offsets``).
    """
    body = bytes(data) if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes()
    key_bytes = 37  # the shortest key that has all that is read of it
    tail = b""
    if byte_offsets is not None:
        table = np.asarray(byte_offsets, np.int64) + key_bytes
        tail = struct.pack(">i", len(table)) + table.astype(">i4").tobytes()
    size = len(body) + len(tail)
    key = struct.pack(">ihiIhh", key_bytes + size, 4, size, 0, key_bytes, 1)
    rows = 0 if byte_offsets is None else len(byte_offsets) - 1
    return key + struct.pack(">HiiiiB", 3, size, 0, rows, key_bytes + len(body), 0) + body + tail


@dataclass(frozen=True)
class RowField:
    """One field of a record: values of a column, or a constant.

    Attributes
    ----------
    column
        Index of the column; None for a constant.
    offset
        Where its values begin in the record, in bytes; of any alignment.
    dtype
        Of the values in the record, one of `NUMBER_TYPES` but float16, in the machine's byte order.
    width
        Values a row. The values of a row of a jagged column, or of a fixed array, are cut to it or padded.
    pad
        What is padded with.
    value
        Of a constant; it fills all of `width`.
    mask
        Where a mask begins in the record, in bytes: `width` bytes, 1 where a value is the column's, 0 where it is padded.
    """

    column: int | None
    offset: int
    dtype: str = "float32"
    width: int = 1
    pad: float = 0.0
    value: float = 0.0
    mask: int | None = None

    def __post_init__(self) -> None:
        if self.dtype not in NUMBER_TYPES or self.dtype == "float16":
            raise ValueError(f"a record holds no {self.dtype!r}")
        if self.width < 1 or self.offset < 0 or (self.mask is not None and self.mask < 0):
            raise ValueError("a field has at least one value and begins within the record")
        if self.column is not None and self.column < 0:
            raise ValueError("columns are counted from 0")
        _number(self.pad, self.dtype)
        _number(self.value, self.dtype)

    @property
    def bytes(self) -> int:
        """Of its values in the record."""
        return self.width * np.dtype(self.dtype).itemsize


def _number(number: float, dtype: str) -> bytes:
    """A number as it lies in memory."""
    if dtype.startswith(("int", "uint")):
        limits = np.iinfo(dtype)
        if not (limits.min <= number <= limits.max and number == int(number)):
            raise ValueError(f"{number} is no {dtype}")
        number = int(number)
    with np.errstate(over="ignore"):
        return np.asarray(number).astype(dtype).tobytes()


@dataclass(frozen=True)
class RowLayout:
    """Where the fields lie in a record.

    Attributes
    ----------
    fields
        In any order; they do not overlap.
    record_bytes
        Of one record. Bytes that belong to no field are left as they are.

    Raises
    ------
    ValueError
        Fields overlap or reach out of the record.
    """

    fields: tuple[RowField, ...]
    record_bytes: int

    def __post_init__(self) -> None:
        spans = [(entry.offset, entry.offset + entry.bytes) for entry in self.fields]
        spans += [(entry.mask, entry.mask + entry.width) for entry in self.fields if entry.mask is not None]
        spans.sort()
        if spans and spans[-1][1] > self.record_bytes:
            raise ValueError(f"a field reaches to byte {spans[-1][1]} of a record of {self.record_bytes}")
        for (_, stop), (start, _) in itertools.pairwise(spans):
            if start < stop:
                raise ValueError(f"two fields have byte {start} of the record")

    @cached_property
    def native(self) -> _native.NativeLayout:
        """The layout as the kernels take it."""
        fields = [
            (
                -1 if entry.column is None else entry.column,
                entry.offset,
                NUMBER_TYPES.index(entry.dtype),
                entry.width,
                _number(entry.pad, entry.dtype),
                _number(entry.value, entry.dtype),
                -1 if entry.mask is None else entry.mask,
            )
            for entry in self.fields
        ]
        return _native.NativeLayout(fields, self.record_bytes)


def open_file(path: str | Path) -> SourceFile:
    """A file to read from, open as long as the handle lives.

    Raises
    ------
    OSError
        It cannot be opened.
    """
    return _native.open_file(os.fspath(path))


def memory_file(pieces: Iterable[tuple[int, bytes]]) -> SourceFile:
    """Pieces of a file that were fetched already, each with its offset; a page lies within one piece.

    Embedded baskets (`basket_bytes`) are given one behind the other, at offsets of your choice.
    """
    return _native.memory_file([(offset, bytes(data)) for offset, data in pieces])


class ColumnReader(_native.NativeReader):
    """Decodes columns block by block; for one thread at a time.

    Parameters
    ----------
    files
        What the plans' pages lie in.
    columns
        The plans.
    block_rows
        The most rows that one `read` takes.
    using
        What decompresses; by default the best that is installed.
    target
        The CPU target, by default the active one.

    Raises
    ------
    ValueError
        A plan names a file that is not there.
    """

    def __init__(
        self,
        files: Sequence[SourceFile],
        columns: Sequence[ColumnPlan],
        block_rows: int = 8192,
        *,
        using: Decompressors | None = None,
        target: str = "",
    ) -> None:
        streams = [_stream(plan) for plan in columns]
        shared: dict[int, int] = {}
        pairs = []
        for number, plan in enumerate(columns):
            offsets = -1
            if plan.offsets is not None:
                if id(plan.offsets) not in shared:
                    shared[id(plan.offsets)] = len(streams)
                    streams.append(_stream(plan.offsets))
                offsets = shared[id(plan.offsets)]
            pairs.append((number, offsets))
        super().__init__(list(files), streams, pairs, block_rows, list((using or found()).addresses), fallback, target)

    def pack(self, layout: RowLayout, out: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_] | None = None) -> int:
        """Write the rows of the block as records.

        Parameters
        ----------
        layout
            Of a record; its columns are numbers of this reader's.
        out
            uint8, shape (at least the kept rows, record_bytes).
        mask
            bool, shape (n_rows,): the rows to keep; None keeps all.

        Returns
        -------
        int
            The rows kept: the first ones of `out`.

        Raises
        ------
        ValueError
            The shapes do not fit.
        """
        return self._pack(layout.native, out, mask)

    def pack_range(self, layout: RowLayout, start: int, stop: int, out: npt.NDArray[np.uint8]) -> int:
        """Read any number of rows and write them as records, block by block without Python.

        Parameters
        ----------
        layout
            Of a record.
        start, stop
            The rows.
        out
            uint8, shape (at least ``stop - start``, record_bytes).

        Returns
        -------
        int
            The number of rows.

        Raises
        ------
        DecodeError
            A page cannot be decoded. Rows of the blocks before are in `out`; those of the block with the page are not.
        """
        return self._pack_range(layout.native, start, stop, out)


def _stream(plan: ColumnPlan) -> tuple[int, int, int, int, bool, int, npt.NDArray[np.int64]]:
    kind = 0 if plan.kind == "basket" else 1
    checksums = np.zeros(len(plan.pages), np.int64) if plan.checksums is None else plan.checksums.astype(np.int64)
    return (
        kind,
        NUMBER_TYPES.index(plan.dtype),
        _ENCODINGS.index(plan.encoding),
        plan.items,
        plan.jagged,
        plan.header_bytes,
        np.column_stack([plan.pages, checksums]),
    )


ColumnArray: TypeAlias = Array | tuple[Array, Array]
"""A column in memory: shape (n_rows, *items); or values of shape (n_values, *items) and offsets, int, shape (n_rows + 1,)."""


def pack_columns(
    columns: Sequence[ColumnArray],
    layout: RowLayout,
    out: npt.NDArray[np.uint8],
    mask: npt.NDArray[np.bool_] | None = None,
    *,
    target: str = "",
) -> int:
    """Write rows of arrays as records, as `ColumnReader.pack` does.

    Numbers are converted as C++ does, with an answer for every one of them: floating point beyond the range of an integer type
    becomes its limit and NaN becomes 0; integers wrap; every number but 0 is True, and so is NaN.

    Parameters
    ----------
    columns
        Of any type in `NUMBER_TYPES`, in either byte order.
    layout
        Of a record; a layout of constants alone needs columns as well, for the number of rows.
    out
        uint8, shape (at least the kept rows, record_bytes).
    mask
        bool, shape (n_rows,): the rows to keep; None keeps all.
    target
        The CPU target, by default the active one.

    Returns
    -------
    int
        The rows kept: the first ones of `out`.

    Raises
    ------
    ValueError
        The columns differ in their number of rows, or the shapes do not fit.
    TypeError
        A column is of no type of numbers that there is.
    """
    rows = None
    parts = []
    for column in columns:
        values, offsets = column if isinstance(column, tuple) else (column, None)
        n = len(values) if offsets is None else len(offsets) - 1
        if rows is not None and n != rows:
            raise ValueError(f"a column has {n} rows where the first has {rows}")
        rows = n
        if values.dtype.name not in NUMBER_TYPES:
            raise TypeError(f"there is no column of {values.dtype}; the types are {', '.join(NUMBER_TYPES)}")
        plain = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
        code = NUMBER_TYPES.index(plain.dtype.name)
        starts = None if offsets is None else np.ascontiguousarray(offsets, np.int64)
        parts.append((code, plain.reshape(-1).view(np.uint8), starts, math.prod(plain.shape[1:])))
    if rows is None:
        raise ValueError("without columns there are no rows")
    return _native.pack_columns(parts, rows, layout.native, out, mask, target)
