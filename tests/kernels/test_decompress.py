"""ROOT's frames, by the C libraries and by Python, whole and damaged."""

from __future__ import annotations

import lzma
import struct
import zlib

import cramjam
import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

import kernels
from kernels.decompressors import Decompressors, chosen, decompress, found

CODECS = ("zlib", "lzma", "lz4", "zstd")
BY_PYTHON = chosen(())
WAYS = [pytest.param(found(), id="libraries"), pytest.param(BY_PYTHON, id="python")]


def frame(codec: str, raw: bytes) -> bytes:
    """One frame as ROOT writes it."""
    if codec == "zlib":
        tag, body = b"ZL\x08", zlib.compress(raw, 1)
    elif codec == "lzma":
        tag, body = b"XZ\x00", lzma.compress(raw, preset=1)
    elif codec == "lz4":
        packed = bytes(cramjam.lz4.compress_block(raw, store_size=False))
        tag, body = b"L4\x01", struct.pack(">Q", xxhash.xxh64(packed).intdigest()) + packed
    else:
        tag, body = b"ZS\x01", bytes(cramjam.zstd.compress(raw))
    return tag + len(body).to_bytes(3, "little") + len(raw).to_bytes(3, "little") + body


def sample(size: int, seed: int = 1) -> bytes:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 7, size, np.uint8).tobytes()


def test_the_libraries_are_found() -> None:
    """All of them where the packages are installed; else everything would be slow, and no one would know why."""
    assert kernels.decompressors() == {
        "zlib": "libdeflate",
        "lz4": "liblz4",
        "zstd": "libzstd",
        "lzma": "liblzma",
        "xxh3": "libxxhash",
    }
    assert BY_PYTHON.names == {"zlib": "zlib", "lz4": "cramjam", "zstd": "cramjam", "lzma": "lzma", "xxh3": "xxhash"}


@pytest.mark.parametrize("using", WAYS)
@pytest.mark.parametrize("codec", CODECS)
def test_frames(using: Decompressors, codec: str) -> None:
    raw = sample(5000)
    assert decompress(frame(codec, raw), len(raw), using) == raw


@pytest.mark.parametrize("using", WAYS)
def test_several_frames_of_different_kinds(using: Decompressors) -> None:
    parts = [sample(1000 + i, i) for i in range(8)]
    data = b"".join(frame(CODECS[i % 4], part) for i, part in enumerate(parts))
    raw = b"".join(parts)
    assert decompress(data, len(raw), using) == raw


def test_stored_bytes() -> None:
    raw = sample(999)
    assert decompress(raw, 999) == raw
    assert decompress(b"", 0) == b""


@given(st.binary(max_size=300))
def test_xxhash(data: bytes) -> None:
    """LZ4's checksum of any length, against the library: bytes whose hash is wrong are refused before they are decoded."""
    body = struct.pack(">Q", xxhash.xxh64(data).intdigest()) + data
    framed = b"L4\x01" + len(body).to_bytes(3, "little") + (200).to_bytes(3, "little") + body
    reason = ""
    try:
        decompress(framed, 200)
    except ValueError as error:  # random bytes are no LZ4 data
        reason = str(error)
    assert "checksum" not in reason
    wrong = framed[:9] + bytes([framed[9] ^ 1]) + framed[10:]
    with pytest.raises(ValueError, match=r"checksum|promises|size"):
        decompress(wrong, 200)


@pytest.mark.parametrize("using", WAYS)
@pytest.mark.parametrize("codec", CODECS)
@given(data=st.data())
def test_damage_is_an_error_or_harmless(using: Decompressors, codec: str, data: st.DataObject) -> None:
    raw = sample(400)
    good = bytearray(frame(codec, raw))
    for _ in range(data.draw(st.integers(0, 3))):
        good[data.draw(st.integers(0, len(good) - 1))] ^= data.draw(st.integers(1, 255))
    cut = bytes(good[: data.draw(st.integers(0, len(good)))])
    size = data.draw(st.sampled_from([400, 400, 399, 401, 100_000]))
    try:
        result = decompress(cut, size, using)
    except ValueError:
        return
    assert len(result) == size


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"CS\x08" + bytes(20), "first algorithm"),
        (b"??\x08" + bytes(20), "no known compression"),
        (b"ZL\x08", "end too early"),
        (b"ZL\x08\xff\xff\xff\x64\x00\x00" + bytes(20), "beyond its end"),
        (b"ZL\x08\x05\x00\x00\x00\x00\x00" + bytes(20), "another size"),
        (b"ZL\x08\x05\x00\x00\xff\xff\x00" + bytes(20), "another size"),
    ],
)
def test_headers(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decompress(data, 100)


def test_promises_take_no_memory() -> None:
    """A few bytes that say they hold gigabytes are refused by their headers."""
    one = b"ZL\x08\x05\x00\x00\xff\xff\xff" + bytes(5)
    with pytest.raises(ValueError, match="cannot hold what it promises"):
        decompress(one * 100, 100 * (2**24 - 1))
