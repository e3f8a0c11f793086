"""Objects of a ROOT file as plain bytes.

uproot reads the directories. The objects' content is unpacked here, within limits that a damaged or hostile file cannot
move, and no class is built from what a file says of its own classes.
"""

from __future__ import annotations

import io
import lzma
import struct
import zlib
from dataclasses import dataclass
from typing import Any

from mlcore.errors import InputError

MAX_CONTENT = 128 << 20
"""Bytes of one object once unpacked."""

MAX_RATIO = 1100
"""Unpacked bytes to one packed byte; zlib reaches 1032."""

_FOLDERS = ("TDirectory", "TDirectoryFile")
_HINT = "The file is truncated or damaged; write it again."


@dataclass(frozen=True)
class RootObject:
    """A key of a ROOT file.

    Attributes
    ----------
    class_name
        C++ class of the object.
    start, stop
        Where its packed bytes are in the file.
    size
        How many bytes they unpack to.
    """

    class_name: str
    start: int
    stop: int
    size: int


def objects(data: bytes) -> dict[str, RootObject]:
    """The objects of a file and of its folders, one level deep, by name (``"folder/name"``); the newest cycle of each.

    Raises
    ------
    InputError
        The file is truncated or damaged.
    """
    import uproot

    try:
        # Without its caches, which are shared by all files that claim the same identity.
        with uproot.open(io.BytesIO(data), object_cache=None, array_cache=None) as root:
            found = _keys(root, "")
            for name in [name for name, key in found.items() if key.class_name in _FOLDERS]:
                found |= _keys(root[name], f"{name}/")
                del found[name]
            return found
    except Exception as error:  # uproot answers damage with whatever its parsing stumbles over
        summary = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"the ROOT file cannot be read: {summary}", hint=_HINT, code="forest.root") from None


def _keys(folder: Any, prefix: str) -> dict[str, RootObject]:
    found = {}
    for name in folder.iterkeys(recursive=False, cycle=False):
        if "/" in name or ";" in name:
            continue  # no name that ROOT gives to a model
        key = folder.key(name)
        start = key.fSeekKey + key.fKeylen
        found[prefix + name] = RootObject(key.fClassName, start, key.fSeekKey + key.fNbytes, key.fObjlen)
    return found


def content(data: bytes, item: RootObject, place: str) -> bytes:
    """The unpacked bytes of an object.

    Raises
    ------
    InputError
        They are not all there, do not unpack to what is announced, or are too many.
    """
    packed = data[item.start : item.stop] if 0 < item.start < item.stop <= len(data) else b""
    if not packed:
        raise _damaged(place, "lies outside of the file")
    if not 0 < item.size <= min(MAX_CONTENT, MAX_RATIO * len(packed)):
        raise _damaged(place, f"announces {item.size} bytes from {len(packed)} packed ones")
    if item.size == len(packed):
        return packed
    parts: list[bytes] = []
    position = left = 0
    left = item.size
    while left > 0:
        header = packed[position : position + 9]
        if len(header) < 9:
            raise _damaged(place, f"ends {left} bytes too early")
        n_packed, n_plain = (int.from_bytes(header[k : k + 3], "little") for k in (3, 6))
        block = packed[position + 9 : position + 9 + n_packed]
        if len(block) < n_packed or not 0 < n_plain <= left:
            raise _damaged(place, f"has a damaged block at byte {position}")
        parts.append(_unpacked(header[:2], block, n_plain, place))
        position += 9 + n_packed
        left -= n_plain
    return b"".join(parts)


def _unpacked(method: bytes, block: bytes, size: int, place: str) -> bytes:
    """One block, by the two letters that name its compression; never more than `size` bytes are made of it."""
    try:
        match method:
            case b"ZL":
                plain = zlib.decompressobj().decompress(block, size)
            case b"XZ":
                plain = lzma.LZMADecompressor(memlimit=128 << 20).decompress(block, size)
            case b"L4":
                import cramjam

                plain = bytes(cramjam.lz4.decompress_block(block[8:], output_len=size))  # after a checksum
            case b"ZS":
                import cramjam

                buffer = bytearray(size)
                plain = bytes(buffer[: cramjam.zstd.decompress_into(block, buffer)])
            case _:
                raise _damaged(place, f"is packed by the unknown method {method!r}")
    except InputError:
        raise
    except (zlib.error, lzma.LZMAError, EOFError, ValueError, RuntimeError, OSError) as error:
        raise _damaged(place, f"does not unpack: {str(error)[:100]}") from None
    if len(plain) != size:
        raise _damaged(place, f"unpacks to {len(plain)} bytes instead of {size}")
    return plain


class Buffer:
    """ROOT's big-endian serialisation, read from its beginning to its end."""

    def __init__(self, data: bytes, place: str) -> None:
        self.data = data
        self.place = place
        self.position = 0

    def number(self, code: str) -> Any:
        """One number, by its letter of `struct`."""
        return struct.unpack(">" + code, self.bytes(struct.calcsize(">" + code)))[0]

    def bytes(self, count: int) -> bytes:
        end = self.position + count
        if count < 0 or end > len(self.data):
            raise _damaged(self.place, f"ends at byte {len(self.data)}, where {count} more should follow byte {self.position}")
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def version(self) -> tuple[int, int]:
        """A byte count and the version of a class: the version and where what belongs to it ends."""
        count = self.number("I")
        end = self.position + (count & 0x3FFFFFFF)
        if not count & 0x40000000 or end > len(self.data):
            raise _damaged(self.place, f"has no byte count at byte {self.position - 4}")
        return int(self.number("H")), end

    def end(self) -> None:
        if self.position != len(self.data):
            raise _damaged(self.place, f"goes on after its last field, at byte {self.position}")


def _damaged(place: str, what: str) -> InputError:
    return InputError(f"{place} {what}", hint=_HINT, code="forest.root")
