"""ROOT files that were never closed: what was saved in them, as ROOT's own recovery finds it; the file stays as it is.

A file's table of contents is written when it is closed. Until then, and in a copy that was cut short, the trees that were saved
on the way (`TTree::AutoSave`) lie in the file, each behind a header that names it. They are looked for from record to record,
and uproot is shown the file with a table of contents added.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

HEADER = 512
"""Bytes of a record that are read for its header: the names in it are short."""
MOST = 5_000_000
"""Records that are looked at."""


@dataclass(frozen=True)
class _Header:
    """What the beginnings of a file and of its first folder say; the places of what is to be changed in them."""

    begin: int
    end: int
    keys_bytes: int
    keys_seek: int
    end_at: int
    end_wide: bool
    folder_at: int
    folder_wide: bool


@dataclass(frozen=True)
class _Record:
    offset: int
    size: int
    kind: str
    name: str
    header: bytes


class PatchedFile(io.RawIOBase):
    """A file with some bytes changed and some added, for reading."""

    def __init__(self, stream: BinaryIO, size: int, patches: dict[int, bytes], tail: bytes) -> None:
        super().__init__()
        self._stream = stream
        self._size = size
        self._patches = patches
        self._tail = tail
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size + len(self._tail)}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        end = self._size + len(self._tail)
        stop = end if size is None or size < 0 else min(end, self._at + size)
        if stop <= self._at:
            return b""
        data = bytearray()
        if self._at < self._size:
            self._stream.seek(self._at)
            data += self._stream.read(min(stop, self._size) - self._at)
        if stop > self._size:
            data += self._tail[max(0, self._at - self._size) : stop - self._size]
        for place, patch in self._patches.items():
            for i, byte in enumerate(patch):
                if self._at <= place + i < self._at + len(data):
                    data[place + i - self._at] = byte
        self._at += len(data)
        return bytes(data)

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


def recovered(path: str, classes: tuple[str, ...]) -> PatchedFile | None:
    """A local file with a table of what lies in it, where it has none; None where it has one, or nothing is found.

    Parameters
    ----------
    path
        Of the file.
    classes
        Of the objects to look for.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    size = Path(path).stat().st_size
    stream = Path(path).open("rb")  # noqa: SIM115 - it is handed on
    try:
        header = _header(stream)
        if header is None or (header.keys_bytes > 0 and 0 < header.keys_seek <= size - header.keys_bytes):
            stream.close()
            return None
        found: dict[str, _Record] = {}
        for record in _records(stream, header, size):
            if record.kind in classes:
                found[record.name] = record  # the last one was saved last
        if not found or (size >= 2**31 - 2**20 and not (header.end_wide and header.folder_wide)):
            stream.close()
            return None
        return _patched(stream, header, size, list(found.values()))
    except (struct.error, IndexError, UnicodeDecodeError):
        stream.close()
        return None


def _header(stream: BinaryIO) -> _Header | None:
    head = stream.read(64)
    if len(head) < 64 or not head.startswith(b"root"):
        return None
    version, begin = struct.unpack_from(">ii", head, 4)
    wide = version >= 1_000_000
    end, _, _, _, name_bytes = struct.unpack_from(">qqiii" if wide else ">iiiii", head, 12)
    stream.seek(begin + name_bytes)
    folder = stream.read(64)
    (folder_version,) = struct.unpack_from(">h", folder, 0)
    folder_wide = folder_version > 1000
    keys_bytes = struct.unpack_from(">i", folder, 10)[0]
    keys_seek = struct.unpack_from(">qqq" if folder_wide else ">iii", folder, 18)[2]
    return _Header(begin, end, keys_bytes, keys_seek, 12, wide, begin + name_bytes, folder_wide)


def _records(stream: BinaryIO, header: _Header, size: int) -> Iterator[_Record]:
    """The records that lie in a file completely, one behind the other."""
    offset = header.begin
    for _ in range(MOST):
        stream.seek(offset)
        head = stream.read(HEADER)
        if len(head) < 26:
            return
        (length,) = struct.unpack_from(">i", head, 0)
        if length < 0:  # a gap
            offset -= length
            continue
        if length < 26 or offset + length > size:
            return
        version, _, _, header_bytes, _ = struct.unpack_from(">hIIhh", head, 4)
        at = 34 if version > 1000 else 26
        kind, at = _text(head, at)
        name, _ = _text(head, at)
        if 0 < header_bytes <= min(length, HEADER):
            yield _Record(offset, length, kind, name, head[:header_bytes])
        offset += length


def _text(data: bytes, at: int) -> tuple[str, int]:
    length = data[at]
    at += 1
    if length == 255:
        (length,) = struct.unpack_from(">i", data, at)
        at += 4
    return data[at : at + length].decode("utf-8", "replace"), at + length


def _patched(stream: BinaryIO, header: _Header, size: int, records: list[_Record]) -> PatchedFile:
    body = struct.pack(">i", len(records)) + b"".join(record.header for record in records)
    names = b"\x05TFile\x00\x00"
    wide = size > 2**31 - 2**20
    places = struct.pack(">qq" if wide else ">ii", size, header.begin)
    header_bytes = 18 + len(places) + len(names)
    version = 1004 if wide else 4
    key = struct.pack(">ihIIhh", header_bytes + len(body), version, len(body), 0, header_bytes, 1) + places + names
    tail = key + body
    patches = {
        header.end_at: struct.pack(">q" if header.end_wide else ">i", size + len(tail)),
        header.folder_at + 10: struct.pack(">i", len(tail)),
        header.folder_at + (34 if header.folder_wide else 26): struct.pack(">q" if header.folder_wide else ">i", size),
    }
    return PatchedFile(stream, size, patches, tail)
