"""Calling compiled networks with NumPy arrays, through the C face that every one of them has.

`Native` needs nothing but the library, the weights and a `Face`: names and types of inputs and outputs. So it serves in the
process that compiled the network (`Function`) as in a child that knows nothing of the model (`mlcore.networks.child`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlcore.errors import InputError, RunError, ToolchainError
from mlcore.networks.emit.cpp import Emitted
from mlcore.networks.ir import Array, DType, OptionalType, SequenceType, TensorType, ValueType

MAX_RANK = 12
ALIGNMENT = 64


@dataclass(frozen=True)
class Face:
    """What a caller has to know of a function: its name, its inputs and outputs, how many of its nodes have clocks."""

    name: str
    inputs: tuple[tuple[str, ValueType], ...]
    outputs: tuple[tuple[str, ValueType], ...]
    n_profiled: int = 0

    @classmethod
    def of(cls, emitted: Emitted) -> Face:
        """The face of generated code."""
        inputs, outputs = (tuple((port.name, port.value.type) for port in ports) for ports in (emitted.inputs, emitted.outputs))
        return cls(emitted.name, inputs, outputs, len(emitted.profiled))

    def to_json(self) -> dict[str, Any]:
        """As plain values; of shapes there is nothing, the library checks them itself."""
        inputs, outputs = ([[name, _plain(kind)] for name, kind in ports] for ports in (self.inputs, self.outputs))
        return {"name": self.name, "inputs": inputs, "outputs": outputs, "n_profiled": self.n_profiled}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Face:
        """What `to_json` gave."""
        inputs, outputs = (tuple((name, _type(kind)) for name, kind in values[key]) for key in ("inputs", "outputs"))
        return cls(values["name"], inputs, outputs, values["n_profiled"])


def _plain(kind: ValueType) -> list[Any]:
    if isinstance(kind, TensorType):
        return ["tensor", kind.dtype.number]
    return ["sequence" if isinstance(kind, SequenceType) else "optional", _plain(kind.element)]


def _type(values: list[Any]) -> Any:
    name, inner = values
    if name == "tensor":
        dtype = DType.of_number(inner)
        if dtype is None:
            raise ValueError(f"there is no element type {inner}")
        return TensorType(dtype)
    return SequenceType(_type(inner)) if name == "sequence" else OptionalType(_type(inner))


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


class Native:
    """A function in a loaded library, called with NumPy arrays. One call at a time.

    Parameters
    ----------
    library
        A shared library that `mlcore.networks.build.build` made.
    face
        Of the function.
    weights
        Its constants: bytes, or uint8 of shape (n_bytes,).

    Raises
    ------
    ToolchainError
        The library cannot be opened, or there is no memory for a workspace.
    """

    def __init__(self, library: Path, face: Face, weights: bytes | Array) -> None:
        self.face = face
        try:
            self._library = ctypes.CDLL(str(library))
        except OSError as error:
            raise ToolchainError(f"the compiled network cannot be loaded: {error}", code="toolchain.load") from error
        self._weights = _aligned(np.frombuffer(weights, np.uint8) if isinstance(weights, bytes) else weights)
        opened = getattr(self._library, f"{face.name}_open")
        opened.restype, opened.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
        self._close = getattr(self._library, f"{face.name}_close")
        self._close.restype, self._close.argtypes = None, [ctypes.c_void_p]
        value = ctypes.POINTER(_Value)
        arguments = [ctypes.c_void_p, value, value, ctypes.c_char_p, ctypes.c_int64]
        self._call = getattr(self._library, f"{face.name}_call")
        self._call.restype, self._call.argtypes = ctypes.c_int, arguments
        self._repeat = getattr(self._library, f"{face.name}_repeat", None)
        if self._repeat is not None:
            self._repeat.restype = ctypes.c_int
            self._repeat.argtypes = [*arguments, ctypes.c_int64, ctypes.POINTER(ctypes.c_int64)]
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
        RunError
            There is not enough memory.
        """
        keep: list[Any] = []
        given, results, message = self._arguments(inputs, keep)
        self._done(self._call(self._handle, given, results, message, len(message)), message)
        return [_from_c(item, kind) for item, (_, kind) in zip(results, self.face.outputs, strict=False)]

    def seconds_per_call(self, inputs: Sequence[Any], *, seconds: float = 0.5, samples: int = 11) -> float:
        """The median time of a call among calls in a row, with the loop in the library.

        Parameters
        ----------
        inputs
            As of a call.
        seconds
            About how long to measure.
        samples
            Of as many calls as fill the time.

        Raises
        ------
        InputError
            As of a call; or the library was not built with `BuildOptions.timed`.
        """
        if self._repeat is None:
            raise InputError("the library has no loop to be timed", hint="Build it with BuildOptions(timed=True).")
        keep: list[Any] = []
        given, results, message = self._arguments(inputs, keep)
        spent = ctypes.c_int64()

        repeat = self._repeat

        def of(count: int) -> float:
            status = repeat(self._handle, given, results, message, len(message), count, ctypes.byref(spent))
            self._done(status, message)
            return spent.value / 1e9 / count

        of(1)  # the workspace grows
        count = max(1, min(10_000_000, int(seconds / samples / max(of(1), 1e-8))))
        return float(np.median([of(count) for _ in range(samples)]))

    def spent(self) -> list[float]:
        """Seconds in each node that has a clock, over all calls since this was asked last."""
        found = (ctypes.c_int64 * max(1, self.face.n_profiled))()
        function = getattr(self._library, f"{self.face.name}_spent", None)
        if function is None:
            return []
        function.restype, function.argtypes = None, [ctypes.c_void_p, ctypes.POINTER(ctypes.c_int64)]
        function(self._handle, found)
        return [item / 1e9 for item in found[: self.face.n_profiled]]

    def profile(self, inputs: Sequence[Any], *, seconds: float = 1.0, most: int = 1000) -> Array:
        """What each node that has a clock took in each of some calls.

        Parameters
        ----------
        inputs
            As of a call.
        seconds
            About how long to measure.
        most
            Calls.

        Returns
        -------
        numpy.ndarray
            float64, shape (n_calls, n_nodes), seconds; at least three calls.
        """
        import time

        self(inputs)  # the workspace grows
        self.spent()
        keep: list[Any] = []
        given, results, message = self._arguments(inputs, keep)
        rows: list[list[float]] = []
        end = time.monotonic() + seconds
        while len(rows) < 3 or (len(rows) < most and time.monotonic() < end):
            self._done(self._call(self._handle, given, results, message, len(message)), message)
            rows.append(self.spent())
        return np.array(rows)

    def _arguments(self, inputs: Sequence[Any], keep: list[Any]) -> tuple[Any, Any, Any]:
        """The arguments of a call; `keep` holds what they point to."""
        ports = self.face.inputs
        if len(inputs) != len(ports):
            raise InputError(f"the network takes {len(ports)} inputs, and was given {len(inputs)}", code="network.inputs")
        given = (_Value * max(1, len(ports)))(
            *(_to_c(item, kind, name, keep) for item, (name, kind) in zip(inputs, ports, strict=True))
        )
        return given, (_Value * max(1, len(self.face.outputs)))(), ctypes.create_string_buffer(2000)

    @staticmethod
    def _done(status: int, message: Any) -> None:
        if status == OUT_OF_MEMORY:
            raise RunError(
                "the network needs more memory than there is for it",
                hint="Give it fewer events in one call.",
                code="network.memory",
            )
        if status:
            raise InputError(message.value.decode("utf-8", "replace"), code="network.run")


OUT_OF_MEMORY = 2
"""What a call returns where memory cannot be got (`nn::guarded`)."""


class Function(Native):
    """A graph's function in a loaded library of this process.

    Parameters
    ----------
    library
        From `mlcore.networks.build.build`.
    emitted
        What was built.
    """

    def __init__(self, library: Path, emitted: Emitted) -> None:
        self.emitted = emitted
        super().__init__(library, Face.of(emitted), emitted.weights)


def _aligned(weights: Array) -> Array:
    """The weights at a multiple of 64, with as many bytes behind them that may be read."""
    room = np.zeros(len(weights) + 2 * ALIGNMENT, np.uint8)
    shift = -room.ctypes.data % ALIGNMENT
    room[shift : shift + len(weights)] = weights
    return room[shift:]


def _to_c(item: Any, kind: ValueType, name: str, keep: list[Any]) -> _Value:
    if isinstance(kind, OptionalType):
        return _Value() if item is None else _to_c(item, kind.element, name, keep)
    if isinstance(kind, SequenceType):
        if not isinstance(item, list | tuple):
            raise InputError(f"the input {name!r} is a sequence: give a list of arrays", code="network.inputs")
        items = (_Value * max(1, len(item)))(*(_to_c(inner, kind.element, name, keep) for inner in item))
        keep.append(items)
        return _Value(_SEQUENCE, kind.element.dtype.number, 0, (ctypes.c_int64 * MAX_RANK)(), None, len(item), items)
    if item is None:
        raise InputError(f"the input {name!r} is missing", code="network.inputs")
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
            raise InputError(f"the input {name!r} is {array.dtype}, where {kind.dtype} is needed", code="network.inputs")
        array = np.ascontiguousarray(array).reshape(array.shape)
        keep.append(array)
        address = array.ctypes.data
    if array.ndim > MAX_RANK:
        raise InputError(f"the input {name!r} has {array.ndim} axes; {MAX_RANK} are the most", code="network.inputs")
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
