"""ROOT's RDataFrame: its event loop runs over some rows at a time, with what it defines and filters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.batches.blocks import Block, Values
from mlcore.batches.schema import Column, Schema
from mlcore.batches.sources._formats import Format, made_by
from mlcore.batches.sources._places import fingerprint
from mlcore.batches.sources._readers import ArraysReader, PiecesReader
from mlcore.batches.sources._values import jagged_of, number_column, plain
from mlcore.batches.sources.part import BlockReader, Part

STEP = 262_144
"""Rows that one event loop gives."""

_TYPES = {
    "bool": "bool", "Bool_t": "bool",
    "char": "int8", "Char_t": "int8", "signed char": "int8", "int8_t": "int8", "std::int8_t": "int8",
    "unsigned char": "uint8", "UChar_t": "uint8", "uint8_t": "uint8", "std::uint8_t": "uint8", "std::byte": "uint8",
    "short": "int16", "Short_t": "int16", "int16_t": "int16", "std::int16_t": "int16",
    "unsigned short": "uint16", "UShort_t": "uint16", "uint16_t": "uint16", "std::uint16_t": "uint16",
    "int": "int32", "Int_t": "int32", "int32_t": "int32", "std::int32_t": "int32",
    "unsigned int": "uint32", "UInt_t": "uint32", "uint32_t": "uint32", "std::uint32_t": "uint32", "unsigned": "uint32",
    "long": "int64", "Long64_t": "int64", "long long": "int64", "int64_t": "int64", "std::int64_t": "int64", "Long_t": "int64",
    "unsigned long": "uint64", "ULong64_t": "uint64", "unsigned long long": "uint64", "uint64_t": "uint64",
    "std::uint64_t": "uint64", "ULong_t": "uint64", "size_t": "uint64", "std::size_t": "uint64",
    "float": "float32", "Float_t": "float32", "Float16_t": "float32",
    "double": "float64", "Double_t": "float64", "Double32_t": "float64",
}  # fmt: skip
_LISTS = re.compile(
    r"(?:ROOT::VecOps::|ROOT::)?RVec(?:<(?P<rvec>[^<>,]+)>|(?P<short>[FDIBLUC]|UI|UL|LL|ULL)$)|(?:std::)?vector<(?P<vector>[^<>,]+)>"
)
_SHORT = {"F": "float", "D": "double", "I": "int", "B": "bool", "L": "long", "C": "char", "UI": "unsigned", "UL": "unsigned long"}
_SHORT |= {"LL": "long long", "ULL": "unsigned long long"}


class FramePart(Part):
    """A data frame of ROOT's, lazy: each reading runs its event loop.

    Ranges of rows need an event loop each. With ROOT's implicit multi-threading there are no ranges, and the order of rows is
    another one in every loop; so the columns of a reader are then read once and kept in memory.
    """

    def __init__(self, frame: Any) -> None:
        self.name = "the data frame"
        self._frame = frame
        self._whole: dict[str, Values] = {}
        names = sorted(str(column) for column in frame.GetColumnNames())
        columns = [_column(name, str(frame.GetColumnType(name))) for name in names]
        self.schema = Schema(columns, where=self.name)
        self.rows = int(frame.Count().GetValue())
        kinds = [f"{column.name} {column.typename}" for column in columns]
        # What a frame computes cannot be told from outside; frames that look alike differ.
        self.fingerprint = fingerprint("frame", str(id(frame)), str(self.rows), *kinds)
        self.lasting = False

    def boundaries(self, columns: Sequence[str]) -> npt.NDArray[np.int64]:
        self.schema.features(columns)
        return np.unique(np.append(np.arange(0, self.rows, STEP, dtype=np.int64), self.rows))

    def reader(self, columns: Sequence[str], block_rows: int = 8192) -> BlockReader:
        found = self.schema.features(columns)
        if _threads():
            missing = [column for column in self.schema.values() if not column.why_not and column.name in columns]
            if any(column.name not in self._whole for column in missing):
                # All at once: two loops of several threads give their rows in two orders.
                wanted = [column for column in self.schema.values() if column.name in {*columns, *self._whole}]
                self._whole = self.arrays(self._frame, wanted)
            return ArraysReader({name: self._whole[name] for name in columns}, block_rows)
        return _Reader(self, found, block_rows)

    @staticmethod
    def arrays(frame: Any, columns: Sequence[Column]) -> dict[str, Values]:
        """The columns of a frame, by one event loop."""
        arrays = frame.AsNumpy([column.name for column in columns])
        return {column.name: _values(arrays[column.name], column) for column in columns}

    def range(self, start: int, stop: int) -> Any:
        """A frame of some of the rows."""
        return self._frame.Range(start, stop)

    def check_unchanged(self) -> None:
        """A frame does not change; the files that it reads are its own affair."""


class _Reader(PiecesReader):
    def __init__(self, part: FramePart, columns: Sequence[Column], block_rows: int) -> None:
        super().__init__(block_rows)
        self.part = part
        self.columns = tuple(columns)

    def pieces(self, start: int) -> Iterator[Block]:
        while start < self.part.rows:
            stop = min(self.part.rows, (start // STEP + 1) * STEP)
            yield self.part.arrays(self.part.range(start, stop), self.columns)
            start = stop


def _threads() -> bool:
    import ROOT

    return bool(ROOT.IsImplicitMTEnabled())


def _column(name: str, typename: str) -> Column:
    if typename in _TYPES:
        return number_column(name, np.dtype(_TYPES[typename]), typename=typename)
    found = _LISTS.fullmatch(typename)
    if found:
        inner = found["rvec"] or found["vector"] or _SHORT[found["short"]]
        if inner.strip() in _TYPES:
            return number_column(name, np.dtype(_TYPES[inner.strip()]), jagged=True, typename=typename)
    return Column(name, None, typename=typename, why_not="it holds neither numbers nor vectors of numbers")


def _values(given: Any, column: Column) -> Values:
    if not column.jagged:
        return plain(np.asarray(given, column.dtype))
    rows = [np.asarray(row, column.dtype) for row in given]
    counts = np.array([len(row) for row in rows], np.int64)
    return jagged_of(np.concatenate(rows) if rows else np.empty(0, column.dtype), counts)


def takes(given: object) -> bool:
    """Whether it is a data frame, or a step of one."""
    name = type(given).__name__
    return (made_by(given, "cppyy") or made_by(given, "ROOT")) and ("RDataFrame" in name or "RInterface" in name)


FORMAT = Format("RDataFrame", takes=takes, open_object=FramePart)
