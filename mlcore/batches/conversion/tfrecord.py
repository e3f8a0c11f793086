"""TFRecord files of `tf.train.Example`s, written without TensorFlow.

A record is its length, a masked CRC-32C of that, the data, and a masked CRC-32C of the data. The data is a protocol buffer:
`Example{1: Features{1: map<string, Feature>}}`, a `Feature` holding a `FloatList` (field 2) or an `Int64List` (field 3), packed.

References
----------
TensorFlow, tensorflow/core/lib/io/record_writer.h and tensorflow/core/example/feature.proto.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from google_crc32c import value as crc32c

from mlcore.batches.blocks import Array, Jagged, Values
from mlcore.errors import InputError

_CHUNK = 4096
_FLOATS, _INTEGERS = 2, 3


def masked(data: bytes) -> int:
    """CRC-32C of bytes, rotated and shifted as the format wants it, so that checksums of checksums are no problem.

    >>> hex(masked(b"123456789"))
    '0xc78ab0e5'
    """
    value = crc32c(data)
    return int((((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def write_records(file: BinaryIO, columns: Mapping[str, Values]) -> None:
    """Write a record for each row: floats as float32, everything else as int64.

    Raises
    ------
    InputError
        An unsigned number is too large for int64.
    """
    prepared = {name: _prepared(name, values) for name, values in columns.items()}
    rows = len(next(iter(prepared.values())))
    for start in range(0, rows, _CHUNK):
        stop = min(rows, start + _CHUNK)
        file.write(b"".join(_framed(_examples(prepared, start, stop))))


def _prepared(name: str, values: Values) -> Values:
    if isinstance(values, Jagged):
        return Jagged(_numbers(name, values.values), values.offsets)
    return _numbers(name, values.reshape(len(values), -1))


def _numbers(name: str, values: Array) -> Array:
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return values.astype("<f4")
    if values.dtype == np.uint64 and len(values) and values.max() > np.iinfo(np.int64).max:
        raise InputError(
            f"the column {name!r} has numbers that TFRecord cannot hold: above 2**63",
            hint="Define it as a float.",
            code="batches.format",
        )
    return values.astype(np.int64)


def _framed(examples: Iterator[bytes]) -> Iterator[bytes]:
    for data in examples:
        length = struct.pack("<Q", len(data))
        yield length + struct.pack("<I", masked(length)) + data + struct.pack("<I", masked(data))


def _examples(columns: Mapping[str, Values], start: int, stop: int) -> Iterator[bytes]:
    """The protocol buffers of some rows."""
    entries = [list(_entries(name.encode(), values, start, stop)) for name, values in columns.items()]
    for row in zip(*entries, strict=True):
        features = b"".join(row)
        yield b"\x0a" + varint(len(features)) + features


def _entries(name: bytes, values: Values, start: int, stop: int) -> Iterator[bytes]:
    """One entry of the map for each row."""
    if isinstance(values, Jagged):
        offsets = values.offsets[start : stop + 1]
        flat = values.values[offsets[0] : offsets[-1]]
        ends = (offsets - offsets[0]).tolist()
    else:
        flat = values[start:stop].reshape(-1)
        ends = [values.shape[1] * row for row in range(stop - start + 1)]
    field = _FLOATS if flat.dtype.kind == "f" else _INTEGERS
    data, edges = (flat.tobytes(), [4 * end for end in ends]) if field == _FLOATS else _varints(flat, ends)
    key = _message(1, name)
    wrapped: dict[int, tuple[bytes, bytes]] = {}
    for first, last in itertools.pairwise(edges):
        size = last - first
        if size not in wrapped:  # what stands before the numbers depends on their size alone
            inner = b"\x0a" + varint(size)
            kind = bytes([field << 3 | 2]) + varint(len(inner) + size) + inner
            body = key + b"\x12" + varint(len(kind) + size) + kind
            wrapped[size] = b"\x0a" + varint(len(body) + size), body
        yield b"".join((*wrapped[size], data[first:last]))


def _message(field: int, data: bytes) -> bytes:
    return bytes([field << 3 | 2]) + varint(len(data)) + data


def varint(number: int) -> bytes:
    """A number from 0 on, seven bits a byte, the lowest first.

    >>> varint(300)
    b'\\xac\\x02'
    """
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _varints(numbers: npt.NDArray[Any], ends: list[int]) -> tuple[bytes, list[int]]:
    """int64 numbers one after the other, and where in the bytes those of each row end."""
    bits = numbers.astype(np.int64).view(np.uint64)
    groups = (bits[:, None] >> (np.uint64(7) * np.arange(10, dtype=np.uint64))).astype(np.uint8) & 0x7F
    groups[:, 9] &= 1
    used = np.maximum(1, 10 - (groups[:, ::-1] != 0).argmax(axis=1))
    used[~groups.any(axis=1)] = 1
    place = np.arange(10)
    groups |= np.where(place < used[:, None] - 1, 0x80, 0).astype(np.uint8)
    sizes = np.concatenate([[0], np.cumsum(used)])
    return groups[place < used[:, None]].tobytes(), sizes[ends].tolist()
