"""A reader of UBJSON for untrusted files: no length is believed before the bytes for it are there.

References
----------
UBJSON draft 12. XGBoost writes objects without a count, keys and texts with an ``L`` length, and typed arrays
``[$<type>#<count>`` of big-endian numbers, which are read as NumPy arrays.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from mlcore.errors import InputError

MAX_DEPTH = 64

_NUMBERS: dict[bytes, np.dtype[Any]] = {
    b"i": np.dtype(">i1"),
    b"U": np.dtype(">u1"),
    b"I": np.dtype(">i2"),
    b"l": np.dtype(">i4"),
    b"L": np.dtype(">i8"),
    b"d": np.dtype(">f4"),
    b"D": np.dtype(">f8"),
}
_CONSTANTS = {b"Z": None, b"T": True, b"F": False}


def loads(data: bytes) -> Any:
    """Read one UBJSON value.

    Raises
    ------
    InputError
        Truncated, too deep, or no UBJSON; the message gives the byte.
    """
    reader = _Reader(data)
    value = reader.value(reader.marker(), 0)
    if data[reader.at :].strip(b"N\x00"):
        reader.fail("there is more after the end")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
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
            marker = self.marker()
            if count is None and marker == b"]":
                break
            items.append(self.value(marker, depth + 1))
        return items

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
            found[key] = self.value(kind or self.marker(), depth + 1)
            n += 1
        return found
