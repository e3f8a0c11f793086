"""Random damage to a file: an edit is its kind, a place from 0 to 1 and a number, so that any source of chance can draw it."""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence

Edit = tuple[str, float, int]

NUMBERS = [
    b"-1",
    b"0",
    b"1",
    b"2",
    b"255",
    b"65536",
    b"2147483647",
    b"-2147483648",
    b"4294967296",
    b"9223372036854775807",
    b"9" * 40,
    b"1e308",
    b"-1e400",
    b"1e-320",
    b"nan",
    b"NaN",
    b"inf",
    b"-Infinity",
    b"0.5",
    b"1_0",
    b"\xd9\xa3",  # an Arabic digit
    b"",
    b'"text"',
    b"null",
    b"[]",
    b"{}",
    b"true",
]
WORDS = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x3FFFFFFF, 2**63 - 1, 2**63, 2**64 - 1]


def _byte(data: bytearray, at: int, value: int) -> None:
    data[at] = value & 255


def _bit(data: bytearray, at: int, value: int) -> None:
    data[at] ^= 1 << (value & 7)


def _cut(data: bytearray, at: int, value: int) -> None:
    del data[at:]


def _remove(data: bytearray, at: int, value: int) -> None:
    del data[at : at + 1 + value % 64]


def _repeat(data: bytearray, at: int, value: int) -> None:
    data[at:at] = data[at : at + 1 + value % 64] * (1 + value // 64 % 3)


def _move(data: bytearray, at: int, value: int) -> None:
    start = value % len(data)
    data[at:at] = data[start : start + 32]


def _number(data: bytearray, at: int, value: int) -> None:
    """Another number for the next one written in digits."""
    match = re.compile(rb"[-+]?[0-9][0-9.eE+-]*").search(data, at, at + 4096)
    if match:
        data[match.start() : match.end()] = NUMBERS[value % len(NUMBERS)]


def _word(data: bytearray, at: int, value: int) -> None:
    """Another number for the one, two, four or eight bytes here."""
    size = (1, 2, 4, 8)[value % 4]
    number = WORDS[value // 4 % len(WORDS)] & ((1 << 8 * size) - 1)
    data[at : at + size] = number.to_bytes(size, "little" if value // 64 % 2 else "big")


KINDS: dict[str, Callable[[bytearray, int, int], None]] = {
    "byte": _byte,
    "bit": _bit,
    "cut": _cut,
    "remove": _remove,
    "repeat": _repeat,
    "move": _move,
    "number": _number,
    "word": _word,
}


def damaged(data: bytes, edits: Sequence[Edit]) -> bytes:
    """The file after some edits."""
    changed = bytearray(data)
    for kind, place, value in edits:
        if not changed:
            break
        KINDS[kind](changed, min(int(place * len(changed)), len(changed) - 1), value)
    return bytes(changed)


def damaged_inside(format_name: str, data: bytes, edits: Sequence[Edit]) -> bytes:
    """The file after some edits to what a container holds, so that its check sums do not catch them first."""
    inside = {"skops": _inside_zip, "ml4ep-forest": _sealed}.get(format_name)
    return damaged(data, edits) if inside is None else inside(data, edits)


def _inside_zip(data: bytes, edits: Sequence[Edit]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info: archive.read(info) for info in archive.infolist()}
    # The description of the estimator is among a few arrays; it deserves half of the damage.
    schema = next(info for info in members if info.filename == "schema.json")
    chosen = schema if edits[0][2] % 2 else list(members)[edits[0][2] // 2 % len(members)]
    members[chosen] = damaged(members[chosen], edits)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for info, content in members.items():
            archive.writestr(info.filename, content, zipfile.ZIP_STORED)
    return out.getvalue()


def _sealed(data: bytes, edits: Sequence[Edit]) -> bytes:
    """A saved forest with its check sums made to fit again: of the sections, of the metadata, of the header."""
    changed = bytearray(damaged(data, edits))
    header = struct.Struct("<8sIIQI")
    start = header.size + 4
    if len(changed) < start:
        return bytes(changed)
    magic, version, length, _, _ = header.unpack_from(changed)
    metadata = bytes(changed[start : start + length])
    try:
        facts = json.loads(metadata)
        for section in facts["sections"]:
            offset, size = section["offset"], section["size"]
            section["crc32"] = zlib.crc32(changed[offset : offset + size])
        text = json.dumps(facts, separators=(",", ":")).encode().ljust(length)
        metadata = text if len(text) == length else metadata
    except (ValueError, KeyError, TypeError):
        pass  # the metadata themselves were hit
    changed[start : start + len(metadata)] = metadata
    header.pack_into(changed, 0, magic, version, length, len(changed), zlib.crc32(metadata))
    struct.pack_into("<I", changed, header.size, zlib.crc32(changed[: header.size]))
    return bytes(changed)


def cuts(data: bytes, most: int = 300) -> list[int]:
    """Places to cut a file at: all of a small one; of a larger one what follows its marks of structure, evenly thinned."""
    if len(data) <= most:
        return list(range(len(data)))
    marks = [match.end() for match in re.finditer(rb'[{}\[\]<>,:"=\n]|[\x00-\x08#$LSU]', data)]
    places = sorted({0, 1, 4, 8, len(data) - 1, *marks})
    return [place for place in places[:: max(1, len(places) // most)] if place < len(data)]
