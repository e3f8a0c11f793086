"""A reader of UBJSON for untrusted files: no length is believed before the bytes for it are there.

Lists of many objects that look alike, such as trees, can be read as a `Table`: the first object is read as any other and
leaves behind what lies around its numbers; where the next ones have the same bytes there, only lengths are to be read.

References
----------
UBJSON draft 12. XGBoost writes objects without a count, keys and texts with an ``L`` length, and typed arrays
``[$<type>#<count>`` of big-endian numbers, which are read as NumPy arrays.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from mmap import mmap
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from mlcore.errors import InputError

MAX_DEPTH = 64
MAX_RUN = 512
"""Numbers of a list that are looked at together."""

_NUMBERS: dict[bytes, np.dtype[Any]] = {
    b"i": np.dtype(">i1"),
    b"U": np.dtype(">u1"),
    b"I": np.dtype(">i2"),
    b"l": np.dtype(">i4"),
    b"L": np.dtype(">i8"),
    b"d": np.dtype(">f4"),
    b"D": np.dtype(">f8"),
}
Spans = list[int]
"""Where something begins and ends, object by object: begin, end, begin, end and so on."""

_CONSTANTS = {b"Z": None, b"T": True, b"F": False}


class Table:
    """A list of objects, field by field; a field within an inner object is called ``outer.inner``."""

    def __init__(
        self, data: bytes | mmap, n_rows: int, fields: Mapping[str, np.dtype[Any] | None], spans: Mapping[str, Spans]
    ) -> None:
        self._data = data
        self._n_rows = n_rows
        self._fields = fields
        self._spans = spans

    def __len__(self) -> int:
        return self._n_rows

    def has_array(self, name: str) -> bool:
        """Whether the objects have a typed array of this name."""
        return self._fields.get(name) is not None

    def has_text(self, name: str) -> bool:
        """Whether the objects have a text of this name."""
        return name in self._fields and self._fields[name] is None

    def array(self, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        """The numbers of all objects, one after the other, and how many each has, shape (n_rows,); new arrays."""
        dtype = self._fields[name]
        if dtype is None:
            raise KeyError(name)
        numbers = np.frombuffer(bytearray().join(self._parts(name)), dtype)
        if not dtype.isnative:  # one byte is, in any order
            numbers = numbers.byteswap(inplace=True).view(dtype.newbyteorder("="))
        edges = np.array(self._spans[name], np.int64)
        return numbers, (edges[1::2] - edges[::2]) // dtype.itemsize

    def texts(self, name: str) -> list[bytes]:
        """A text of each object, in UTF-8 if the file is right."""
        return [bytes(part) for part in self._parts(name)]

    def _parts(self, name: str) -> list[memoryview]:
        view = memoryview(self._data)
        edges = iter(self._spans[name])
        return [view[start:end] for start, end in zip(edges, edges, strict=True)]


def loads(data: bytes | mmap, tables: Mapping[str, frozenset[str]] | None = None) -> Any:
    """Read one UBJSON value.

    Parameters
    ----------
    data
        The whole document, which may be a mapped file.
    tables
        For the key of a list of objects, which of their fields matter: such a list comes as a `Table` of these fields
        where its objects have the same fields in the same order, else as a list of dictionaries.

    Raises
    ------
    InputError
        Truncated, too deep, or no UBJSON; the message gives the byte.
    """
    reader = _Reader(data, tables or {})
    value = reader.value(reader.marker(), 0)
    if data[reader.at :].strip(b"N\x00"):
        reader.fail("there is more after the end")
    return value


@dataclass(frozen=True)
class _Step:
    """What comes next in an object of known layout: bytes that are always the same, then something to read.

    Its kind is ``b"$"``, an array of `dtype` behind its length; ``b"S"``, a text behind its length; ``b"#"``, a number
    behind its marker; or ``b"}"``, nothing more.
    """

    same: bytes
    kind: bytes
    name: str
    dtype: np.dtype[Any]


_ANY = np.dtype(np.uint8)
_SIZES = {marker[0]: dtype.itemsize for marker, dtype in _NUMBERS.items()}


class _Reader:
    def __init__(self, data: bytes | mmap, tables: Mapping[str, frozenset[str]]) -> None:
        self.data = data
        self.tables = tables
        self.at = 0

    def fail(self, what: str) -> NoReturn:
        raise InputError(
            f"the UBJSON breaks at byte {self.at}: {what}",
            hint="The file is truncated or damaged; save the model again.",
            code="forest.ubjson",
        )

    def take(self, n: int) -> bytes:
        if n < 0 or n > len(self.data) - self.at:
            self.fail(f"{n} bytes should follow, {len(self.data) - self.at} do")
        self.at += n
        return self.data[self.at - n : self.at]

    def marker(self) -> bytes:
        marker = self.take(1)
        while marker == b"N":  # no-operation
            marker = self.take(1)
        return marker

    def peek(self) -> bytes:
        return self.data[self.at : self.at + 1]

    def number(self, marker: bytes) -> int | float:
        dtype = _NUMBERS[marker]
        number: int | float = np.frombuffer(self.take(dtype.itemsize), dtype)[0].item()
        return number

    def length(self) -> int:
        marker = self.take(1)
        if marker not in (b"i", b"U", b"I", b"l", b"L"):
            self.fail("a length should follow")
        return int(self.number(marker))

    def text(self) -> str:
        raw = self.take(self.length())
        try:
            return raw.decode()
        except UnicodeDecodeError:
            self.fail("a text is not UTF-8")

    def value(self, marker: bytes, depth: int) -> Any:
        if depth > MAX_DEPTH:
            self.fail("it is nested too deeply")
        if marker in _NUMBERS:
            return self.number(marker)
        if marker in _CONSTANTS:
            return _CONSTANTS[marker]
        if marker == b"S":
            return self.text()
        if marker == b"C":
            return self.take(1).decode("latin-1")
        if marker == b"[":
            return self.array(depth)
        if marker != b"{":
            self.fail(f"unknown marker {marker!r}")
        return self.mapping(depth)

    def header(self) -> tuple[bytes | None, int | None]:
        """Type and count of a container, where it states them."""
        kind = None
        if self.peek() == b"$":
            self.take(1)
            kind = self.take(1)
        if self.peek() != b"#":
            if kind is not None:
                self.fail("a typed container needs a count")
            return None, None
        self.take(1)
        count = self.length()
        if not 0 <= count <= len(self.data) - self.at:  # the smallest item takes one byte
            self.fail(f"{count} items cannot follow")
        return kind, count

    def array(self, depth: int) -> Any:
        kind, count = self.header()
        if kind is not None and count is not None:
            if kind in _NUMBERS:
                dtype = _NUMBERS[kind]
                raw = np.frombuffer(self.take(count * dtype.itemsize), dtype)
                return raw.astype(dtype.newbyteorder("="))
            if kind not in (b"S", b"[", b"{"):
                self.fail(f"an array of {kind!r} is not possible")
            return [self.value(kind, depth + 1) for _ in range(count)]
        items: list[Any] = []
        while count is None or len(items) < count:
            if count is not None:
                items += self.like_numbers(count - len(items))
                if len(items) == count:
                    break
            marker = self.marker()
            if count is None and marker == b"]":
                break
            items.append(self.value(marker, depth + 1))
        return items

    def like_numbers(self, most: int) -> list[Any]:
        """The numbers that follow with the same marker each, up to so many and up to a bound."""
        dtype = _NUMBERS.get(self.peek())
        if dtype is None:
            return []
        step = 1 + dtype.itemsize
        n = min(most, MAX_RUN, (len(self.data) - self.at) // step)
        pairs = np.frombuffer(self.data, np.uint8, n * step, self.at).reshape(n, step)
        others = np.flatnonzero(pairs[:, 0] != self.data[self.at])
        n = int(others[0]) if len(others) else n
        self.at += n * step
        return list(np.ascontiguousarray(pairs[:n, 1:]).view(dtype)[:, 0].tolist())

    def mapping(self, depth: int) -> dict[str, Any]:
        kind, count = self.header()
        if kind is not None and kind not in _NUMBERS and kind not in (b"S", b"[", b"{"):
            self.fail(f"an object of {kind!r} is not possible")
        found: dict[str, Any] = {}
        n = 0
        while count is None or n < count:
            while self.peek() == b"N":
                self.take(1)
            if count is None and self.peek() == b"}":
                self.take(1)
                break
            key = self.text()
            if key in found:
                self.fail(f"the key {key[:40]!r} appears twice")
            if key in self.tables and kind is None:
                found[key] = self.table_or_value(self.tables[key], depth + 1)
            else:
                found[key] = self.value(kind or self.marker(), depth + 1)
            n += 1
        return found

    def table_or_value(self, wanted: frozenset[str], depth: int) -> Any:
        """A list of objects as a `Table`, or whatever else it is as a value."""
        start = self.at
        if self.marker() == b"[" and self.peek() == b"#":
            _, count = self.header()
            if count:
                table = self.table(count, wanted)
                if table is not None:
                    return table
        self.at = start
        return self.value(self.marker(), depth)

    def table(self, count: int, wanted: frozenset[str]) -> Table | None:
        """So many objects as a table; None where they differ too much."""
        steps: list[_Step] | None = None
        spans: dict[str, Spans] = {}
        columns: list[tuple[str, bytes, np.dtype[Any]]] | None = None
        n_rows = 0
        while n_rows < count:
            start = self.at
            steps = self.layout(wanted)
            found = None if steps is None else [(s.name, s.kind, s.dtype) for s in steps if s.name]
            if steps is None or (columns is not None and found != columns):
                return None
            columns = found
            spans = spans or {name: [] for name, _, _ in found or ()}
            self.at = start
            n_rows = self.rows(n_rows, count, steps, spans)
        fields = {name: dtype if kind == b"$" else None for name, kind, dtype in columns or ()}
        return Table(self.data, count, fields, spans)

    def rows(self, row: int, count: int, steps: list[_Step], spans: dict[str, Spans]) -> int:
        """Read objects of a layout until one differs or all are read; the number of the next row.

        The first object has the layout, as it was taken from there.
        """
        data, size = self.data, len(self.data)
        length_at = struct.Struct(">q").unpack_from
        plan = [
            (
                step.same,
                len(step.same),
                step.dtype.itemsize if step.kind in (b"$", b"S") else 0,
                step.kind == b"#",
                spans.get(step.name),
            )
            for step in steps
        ]
        at = self.at
        while row < count:
            start = at
            for same, n_same, itemsize, is_number, edges in plan:
                if data[at : at + n_same] != same:
                    for taken in spans.values():
                        del taken[2 * row :]
                    self.at = start
                    return row
                at += n_same
                if itemsize:
                    if at + 8 > size:
                        self.at = at
                        self.fail("a length should follow")
                    begin = at + 8
                    at = begin + itemsize * length_at(data, at)[0]
                    if at < begin or at > size:
                        self.at = begin
                        self.fail(f"{(at - begin) // itemsize} items cannot follow")
                    if edges is not None:
                        edges.append(begin)
                        edges.append(at)
                elif is_number:
                    at += 1 + _SIZES.get(data[at] if at < size else 0, size)
            row += 1
        if at > size:
            self.at = size
            self.fail("a number should follow")
        self.at = at
        return row

    def layout(self, wanted: frozenset[str]) -> list[_Step] | None:
        """Read an object and tell its layout; None where it holds something that a table cannot."""
        steps: list[_Step] = []
        seen: set[str] = set()
        same = self.at  # from where on the bytes are always the same
        if self.take(1) != b"{" or self.peek() in (b"#", b"$"):
            return None
        outer = ""
        while True:
            if self.peek() == b"}":
                self.take(1)
                if not outer:
                    steps.append(_Step(self.data[same : self.at], b"}", "", _ANY))
                    return steps
                outer = ""
                continue
            name = outer + self.text()
            if name in seen:
                self.fail(f"the key {name[:40]!r} appears twice")
            seen.add(name)
            before = self.at
            marker = self.take(1)
            if marker == b"{" and not outer and self.peek() not in (b"#", b"$"):
                outer = f"{name}."
                continue
            if marker == b"[":
                if self.take(1) != b"$" or (kind := self.take(1)) not in _NUMBERS or self.take(2) != b"#L":
                    return None
                step = _Step(self.data[same : self.at], b"$", name if name in wanted else "", _NUMBERS[kind])
            elif marker == b"S":
                if self.take(1) != b"L":
                    return None
                step = _Step(self.data[same : self.at], b"S", name if name in wanted else "", _ANY)
            elif marker in _NUMBERS and name not in wanted:
                self.take(_NUMBERS[marker].itemsize)
                step = _Step(self.data[same:before], b"#", "", _ANY)
            else:
                return None
            if step.kind != b"#":
                self.take(int(self.number(b"L")) * step.dtype.itemsize)
            steps.append(step)
            same = self.at
