"""The C functions that decompress, taken by address from installed wheels, and Python functions where one is not found.

Nothing is linked: libdeflate comes with the package `deflate`, LZ4 with `lz4`, Zstandard with `zstandard`, LZMA with Python's
own `lzma` or the system, and the checksums of pages with `xxhash`. Where a function is missing, Python's own modules, `cramjam`
and `xxhash` do the same, more slowly.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
import importlib.util
import lzma
import zlib
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kernels import _native

_CODECS = ("zlib", "lzma", "lz4", "zstd", "xxh3")
"""In the order of the native numbers."""

_FUNCTIONS = {
    "zlib": ("libdeflate_alloc_decompressor", "libdeflate_zlib_decompress", "libdeflate_free_decompressor"),
    "lz4": ("LZ4_decompress_safe",),
    "zstd": ("ZSTD_createDCtx", "ZSTD_decompressDCtx", "ZSTD_freeDCtx"),
    "lzma": ("lzma_stream_buffer_decode",),
    "xxh3": ("XXH3_64bits",),
}
"""In the order of the native table. The last one is no compression: it makes the checksums of an RNTuple's pages."""

_LIBRARIES = {"zlib": "libdeflate", "lz4": "liblz4", "zstd": "libzstd", "lzma": "liblzma", "xxh3": "libxxhash"}
_FALLBACKS = {"zlib": "zlib", "lz4": "cramjam", "zstd": "cramjam", "lzma": "lzma", "xxh3": "xxhash"}
_MODULES = {
    "zlib": "deflate._deflate",
    "lz4": "lz4.block._block",
    "zstd": "zstandard._cffi",
    "lzma": "_lzma",
    "xxh3": "xxhash._xxhash",
}


@dataclass(frozen=True)
class Decompressors:
    """What decompresses.

    Attributes
    ----------
    addresses
        Of the C functions, in the native order; 0 where there is none.
    names
        Of the library that serves each compression: ``{"zlib": "libdeflate", "lz4": "liblz4", "zstd": "libzstd", "lzma":
        "liblzma", "xxh3": "libxxhash"}``, or of the Python module that takes its place (``"zlib"``, ``"cramjam"``, ``"lzma"``,
        ``"xxhash"``).
    """

    addresses: tuple[int, ...]
    names: dict[str, str]


def decompressors() -> dict[str, str]:
    """Which library serves each compression, for reports: ``{"zlib": "libdeflate", ...}``."""
    return dict(found().names)


@cache
def found() -> Decompressors:
    """What this machine has, looked up once."""
    return chosen(_MODULES)


def chosen(codecs: Container[str]) -> Decompressors:
    """The C functions of these compressions alone; Python's functions serve the others.

    Parameters
    ----------
    codecs
        Some of ``"zlib"``, ``"lz4"``, ``"zstd"``, ``"lzma"``, ``"xxh3"``.
    """
    addresses: list[int] = []
    names = {}
    for codec, functions in _FUNCTIONS.items():
        places = _addresses(codec) if codec in codecs else None
        names[codec] = _FALLBACKS[codec] if places is None else _LIBRARIES[codec]
        addresses += places or [0] * len(functions)
    return Decompressors(tuple(addresses), names)


def _addresses(codec: str) -> list[int] | None:
    for path in _candidates(codec):
        try:
            library = ctypes.CDLL(path)
            places = [ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0 for name in _FUNCTIONS[codec]]
        except (OSError, AttributeError):
            continue
        if all(places):
            return places
    return None


def _candidates(codec: str) -> Iterator[str]:
    try:
        spec = importlib.util.find_spec(_MODULES[codec])
    except (ImportError, ValueError):
        spec = None
    if spec is not None and spec.origin is not None and spec.origin.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES)):
        yield str(Path(spec.origin))
    if codec == "lzma":
        yield "liblzma.so.5"


def fallback(codec: int, data: bytes, raw_bytes: int) -> bytes:
    """Decompress one frame in Python, called by the native side where it has no C function.

    Parameters
    ----------
    codec
        Its number: zlib 0, LZMA 1, LZ4 2, Zstandard 3; 4 asks for the checksum XXH3 of the data, least significant byte first.
    data
        The frame without ROOT's header and checksum.
    raw_bytes
        Of the result.
    """
    return _PYTHON[_CODECS[codec]](data, raw_bytes)


def _zlib(data: bytes, raw_bytes: int) -> bytes:
    return zlib.decompressobj().decompress(data, raw_bytes)


def _lzma(data: bytes, raw_bytes: int) -> bytes:
    return lzma.LZMADecompressor(memlimit=256 << 20).decompress(data, raw_bytes)


def _lz4(data: bytes, raw_bytes: int) -> bytes:
    import cramjam

    return bytes(cramjam.lz4.decompress_block(data, output_len=raw_bytes))


def _zstd(data: bytes, raw_bytes: int) -> bytes:
    import cramjam

    return bytes(cramjam.zstd.decompress(data, output_len=raw_bytes))


def _xxh3(data: bytes, raw_bytes: int) -> bytes:
    import xxhash

    return xxhash.xxh3_64_intdigest(data).to_bytes(raw_bytes, "little")


_PYTHON: dict[str, Callable[[bytes, int], bytes]] = {"zlib": _zlib, "lzma": _lzma, "lz4": _lz4, "zstd": _zstd, "xxh3": _xxh3}


def decompress(data: bytes, raw_bytes: int, using: Decompressors | None = None) -> bytes:
    """What ROOT compressed: frames of any of its compressions, or bytes that are stored as they are.

    Parameters
    ----------
    data
        The frames, each with its header of nine bytes.
    raw_bytes
        Of the result, as the key or page list says.

    Raises
    ------
    ValueError
        The bytes are damaged, or compressed in a way that is not supported.
    """
    return _native.decompress(data, raw_bytes, list((using or found()).addresses), fallback)
