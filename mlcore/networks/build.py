"""From generated code to a library that Python calls: compiled in the sandbox, kept in a cache by content.

The cache's key covers the code, the runtime headers, the compiler's version and its flags, so a stale library is never loaded.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import kernels
from mlcore.errors import InputError, ToolchainError
from mlcore.networks.emit.cpp import Emitted, Port
from mlcore.networks.ir import Array, DType, OptionalType, SequenceType, TensorType, ValueType
from mlcore.toolchain.compiler import Compiler, find_compiler

INCLUDE = Path(kernels.__file__).parent / "include"

FAST = ("-std=c++17", "-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
QUICK = ("-std=c++17", "-O1", "-ffp-contract=off")
"""Flags for code that is run once, as in tests of single operators: it compiles several times faster."""

MAX_RANK = 12


@dataclass(frozen=True)
class BuildOptions:
    """How generated code is compiled.

    Attributes
    ----------
    flags
        Of the compiler.
    compiler
        By default the first that is found.
    cache
        Folder of compiled libraries; by default one that lives as long as this process.
    """

    flags: tuple[str, ...] = FAST
    compiler: Compiler | None = None
    cache: Path | None = None


_own: list[tempfile.TemporaryDirectory[str]] = []
_own_lock = threading.Lock()


def _own_cache() -> Path:
    """A folder for this process: one, whichever threads ask for it first."""
    with _own_lock:
        if not _own:
            _own.append(tempfile.TemporaryDirectory(prefix="networks-"))
        return Path(_own[0].name)


@cache
def _runtime_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(INCLUDE.rglob("*.hpp")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def translation_unit(emitted: Sequence[Emitted]) -> str:
    """One C++ file with the code and the C faces of some graphs."""
    headers = sorted({header for item in emitted for header in (*item.headers, "kernels/nn/entry.hpp")})
    includes = [f'#include "{header}"' for header in headers]
    return "\n".join([*includes, "", *(item.code for item in emitted), *(item.entry for item in emitted)])


def build(
    emitted: Sequence[Emitted], options: BuildOptions | None = None, *, cancelled: Callable[[], bool] | None = None
) -> tuple[Path, float]:
    """Compile some graphs into one library.

    Returns
    -------
    tuple
        The library, and the seconds that the compiler took (0 from the cache).

    Raises
    ------
    ToolchainError
        There is no compiler, or it failed.
    """
    options = options or BuildOptions()
    compiler = options.compiler or find_compiler()
    text = translation_unit(emitted)
    key = hashlib.sha256("\0".join((text, _runtime_digest(), compiler.version, *options.flags, _cpu())).encode()).hexdigest()[:24]
    folder = options.cache or _own_cache()
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / f"network-{key}.so"
    if library.exists():
        return library, 0.0
    work = Path(tempfile.mkdtemp(prefix="building-", dir=folder))
    try:
        source = work / "network.cpp"
        source.write_text(text, encoding="utf-8")
        outcome = compiler.build(
            [source],
            work / "network.so",
            flags=(*options.flags, "-shared", "-fPIC", "-w"),
            include=[INCLUDE],
            cancelled=cancelled,
        )
        os.replace(work / "network.so", library)  # noqa: PTH105 - atomic over what another process may have made meanwhile
        return library, outcome.seconds
    finally:
        shutil.rmtree(work, ignore_errors=True)


@cache
def _cpu() -> str:
    """What -march=native depends on."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")


# Calling.


class _Value(ctypes.Structure):
    pass


_Value._fields_ = [
    ("kind", ctypes.c_int32),
    ("dtype", ctypes.c_int32),
    ("rank", ctypes.c_int64),
    ("dims", ctypes.c_int64 * MAX_RANK),
    ("data", ctypes.c_void_p),
    ("count", ctypes.c_int64),
    ("items", ctypes.POINTER(_Value)),
]


class _Text(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("size", ctypes.c_int64)]


_NONE, _TENSOR, _SEQUENCE = 0, 1, 2


class Function:
    """A graph's function in a loaded library, called with NumPy arrays. One call at a time."""

    def __init__(self, library: Path, emitted: Emitted) -> None:
        self.emitted = emitted
        self._library = ctypes.CDLL(str(library))
        self._weights = np.frombuffer(emitted.weights + bytes(64), np.uint8)
        start = -self._weights.ctypes.data % 64
        if start:
            aligned = np.zeros(len(emitted.weights) + 128, np.uint8)
            shift = -aligned.ctypes.data % 64
            aligned[shift : shift + len(emitted.weights)] = np.frombuffer(emitted.weights, np.uint8)
            self._weights = aligned[shift:]
        opened = getattr(self._library, f"{emitted.name}_open")
        opened.restype, opened.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
        self._close = getattr(self._library, f"{emitted.name}_close")
        self._close.restype, self._close.argtypes = None, [ctypes.c_void_p]
        self._call = getattr(self._library, f"{emitted.name}_call")
        self._call.restype = ctypes.c_int
        self._call.argtypes = [ctypes.c_void_p, ctypes.POINTER(_Value), ctypes.POINTER(_Value), ctypes.c_char_p, ctypes.c_int64]
        self._handle = opened(self._weights.ctypes.data)
        if not self._handle:
            raise ToolchainError("there is not enough memory for the network's workspace")

    def __del__(self) -> None:
        handle = getattr(self, "_handle", None)
        if handle:
            self._close(handle)
            self._handle = None

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """Run once.

        Parameters
        ----------
        inputs
            In the order of the graph's: arrays of the exact element type, lists of arrays for sequences, None for absent
            optional values.

        Raises
        ------
        InputError
            An input has a wrong type or shape, or the network cannot be applied to its values.
        """
        ports = self.emitted.inputs
        if len(inputs) != len(ports):
            raise InputError(f"the network takes {len(ports)} inputs, and was given {len(inputs)}", code="network.inputs")
        keep: list[Any] = []
        given = (_Value * max(1, len(ports)))(
            *(_to_c(item, port.value.type, port, keep) for item, port in zip(inputs, ports, strict=True))
        )
        results = (_Value * max(1, len(self.emitted.outputs)))()
        message = ctypes.create_string_buffer(2000)
        status = self._call(self._handle, given, results, message, len(message))
        if status:
            raise InputError(message.value.decode("utf-8", "replace"), code="network.run")
        return [_from_c(item, port.value.type) for item, port in zip(results, self.emitted.outputs, strict=False)]


def _to_c(item: Any, kind: ValueType, port: Port, keep: list[Any]) -> _Value:
    if isinstance(kind, OptionalType):
        return _Value() if item is None else _to_c(item, kind.element, port, keep)
    if isinstance(kind, SequenceType):
        if not isinstance(item, list | tuple):
            raise InputError(f"the input {port.name!r} is a sequence: give a list of arrays", code="network.inputs")
        items = (_Value * max(1, len(item)))(*(_to_c(inner, kind.element, port, keep) for inner in item))
        keep.append(items)
        return _Value(_SEQUENCE, kind.element.dtype.number, 0, (ctypes.c_int64 * MAX_RANK)(), None, len(item), items)
    if item is None:
        raise InputError(f"the input {port.name!r} is missing", code="network.inputs")
    array = np.asarray(item)
    if kind.dtype is DType.STRING:
        encoded = [str(text).encode("utf-8", "surrogateescape") for text in array.reshape(-1)]
        addresses = (ctypes.cast(ctypes.c_char_p(text), ctypes.c_void_p).value for text in encoded)
        texts = (_Text * max(1, len(encoded)))(
            *(_Text(address, len(text)) for address, text in zip(addresses, encoded, strict=True))
        )
        keep.append((encoded, texts))
        address = ctypes.addressof(texts)
    else:
        if array.dtype != kind.dtype.numpy:
            raise InputError(f"the input {port.name!r} is {array.dtype}, where {kind.dtype} is needed", code="network.inputs")
        array = np.ascontiguousarray(array).reshape(array.shape)
        keep.append(array)
        address = array.ctypes.data
    if array.ndim > MAX_RANK:
        raise InputError(f"the input {port.name!r} has {array.ndim} axes; {MAX_RANK} are the most", code="network.inputs")
    dims = (ctypes.c_int64 * MAX_RANK)(*array.shape)
    return _Value(_TENSOR, kind.dtype.number, array.ndim, dims, address, array.size, None)


def _from_c(value: _Value, kind: ValueType) -> Any:
    if isinstance(kind, OptionalType):
        return None if value.kind == _NONE else _from_c(value, kind.element)
    if isinstance(kind, SequenceType):
        return [_from_c(value.items[i], kind.element) for i in range(value.count)]
    assert isinstance(kind, TensorType)  # noqa: S101 - the three kinds of types
    return _array(value, kind.dtype)


def _array(value: _Value, dtype: DType) -> Array:
    shape = tuple(value.dims[: value.rank])
    count = int(np.prod(shape, dtype=np.int64))
    if dtype is DType.STRING:
        result = np.empty(count, np.object_)
        texts = ctypes.cast(value.data, ctypes.POINTER(_Text))
        for i in range(count):
            text = ctypes.string_at(texts[i].data, texts[i].size) if texts[i].size else b""
            result[i] = text.decode("utf-8", "surrogateescape")
        return result.reshape(shape)
    if not count:
        return np.empty(shape, dtype.numpy)
    raw = ctypes.string_at(value.data, count * dtype.bytes)
    return np.frombuffer(raw, dtype.numpy).reshape(shape).copy()
