"""A network that Python runs: compiled once, kept in a cache, called with arrays by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mlcore.errors import DataError, InputError, ToolchainError
from mlcore.networks.build import BuildOptions, build
from mlcore.networks.calling import Function
from mlcore.networks.compiler import optimised
from mlcore.networks.emit.cpp import Emitted, Port, emit
from mlcore.networks.frontends import Shapes, as_onnx
from mlcore.networks.interpreted import Interpreted
from mlcore.networks.ir import DType, TensorType
from mlcore.networks.isolated import CALL_LIMITS, IsolatedFunction
from mlcore.toolchain.compiler import find_compiler
from mlcore.toolchain.sandbox import Limits


@dataclass(frozen=True)
class PortInfo:
    """An input or output: its name in the model, element type and shape, symbols by name."""

    name: str
    dtype: str
    shape: tuple[int | str, ...] | None


class Network:
    """A compiled network. One call at a time; each thread needs one of its own.

    Parameters
    ----------
    function
        What calls the compiled code, in this process or in a child; or what evaluates the network without a compiler.
    compile_seconds
        What the compiler took; 0 where the library came from the cache.
    """

    def __init__(self, function: Function | IsolatedFunction | Interpreted, compile_seconds: float) -> None:
        self._emitted = function.emitted
        self._function = function
        self.compile_seconds = compile_seconds

    @property
    def engine(self) -> Literal["compiled", "interpreted"]:
        """What runs: code compiled for this network, or (without a compiler) kernels node by node, which is slower."""
        return "interpreted" if isinstance(self._function, Interpreted) else "compiled"

    @property
    def inputs(self) -> tuple[PortInfo, ...]:
        return tuple(map(_info, self._emitted.inputs))

    @property
    def outputs(self) -> tuple[PortInfo, ...]:
        return tuple(map(_info, self._emitted.outputs))

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The outputs for some inputs.

        Parameters
        ----------
        inputs
            An array for each input by its name in the model; shapes as the model has them, symbols being free. Element types
            are converted where no value changes.

        Returns
        -------
        dict
            NumPy arrays by the outputs' names; lists for sequences.

        Raises
        ------
        DataError
            There is no input of a name.
        InputError
            An input is missing, or of a wrong shape or type.
        RunError
            In a child: it crashed, or went over a limit.
        """
        return dict(zip((port.name for port in self._emitted.outputs), self._function(given(self._emitted, inputs)), strict=True))

    def close(self) -> None:
        """End the child, where there is one; the next call starts another."""
        if isinstance(self._function, IsolatedFunction):
            self._function.close()


def given(emitted: Emitted, inputs: Mapping[str, Any]) -> list[Any]:
    """Inputs by name in the order of a network's, with its element types.

    Raises
    ------
    DataError
        There is no input of a name.
    InputError
        An input is missing, or its values do not fit into the network's element type.
    """
    names = [port.name for port in emitted.inputs]
    for name in inputs:
        if name not in names:
            raise DataError.missing("input", name, names, where="the network")
    for name in names:
        if name not in inputs:
            raise InputError(f"the input {name!r} is missing", hint=f"Inputs: {', '.join(names)}.", code="network.inputs")
    return [_converted(inputs[port.name], port) for port in emitted.inputs]


def _has_compiler() -> bool:
    try:
        find_compiler()
    except ToolchainError:
        return False
    return True


def _info(port: Port) -> PortInfo:
    kind = port.value.type
    if not isinstance(kind, TensorType):
        return PortInfo(port.name, str(kind), None)
    shape = None if kind.shape is None else tuple(size if isinstance(size, int) else str(size) for size in kind.shape)
    return PortInfo(port.name, str(kind.dtype), shape)


def _converted(item: Any, port: Port) -> Any:
    kind = port.value.type
    if item is None or isinstance(item, list) or not isinstance(kind, TensorType) or kind.dtype is DType.STRING:
        return item
    array = np.asarray(item)
    wanted = kind.dtype.numpy
    if array.dtype == wanted:
        return array
    converted = array.astype(wanted)
    if not np.array_equal(converted.astype(array.dtype), array, equal_nan=array.dtype.kind == "f"):
        raise InputError(
            f"the input {port.name!r} is {array.dtype}, and its values do not fit into {kind.dtype}",
            hint=f"Convert it: array.astype({str(kind.dtype)!r}).",
            code="network.inputs",
        )
    return converted


def load(
    source: Path | str | bytes | Any,
    *,
    shapes: Shapes | None = None,
    example: Any = None,
    options: BuildOptions | None = None,
    isolate: bool = False,
    limits: Limits = CALL_LIMITS,
    verify: bool = False,
) -> Network:
    """Compile a network, or take it from the cache.

    Parameters
    ----------
    source
        What `mlcore.networks.frontends.as_onnx` takes: an ONNX model, as a file or in memory, or a PyTorch module.
    shapes
        Shapes of inputs instead of the model's: numbers, or names of sizes that each call may choose.
    example
        Of a PyTorch module: its arguments, as a tuple or by name; without it, random float32 of `shapes`.
    options
        Compiler, flags, cache, how free the arithmetic is.
    isolate
        Whether the code runs in a child process with limits, as it should where the model is a stranger's. A call then takes a
        tenth of a millisecond more.
    limits
        Of the child: its memory, and the seconds of each call.
    verify
        Whether the code is held against ONNX Runtime or ONNX's evaluator on random inputs, as `compile_model` always does.

    Raises
    ------
    VerificationError
        The code disagrees with what it was held against.
    InputError, UnsupportedOperatorError
        As `mlcore.networks.frontends.read`.
    ToolchainError
        The compiler failed, or (`isolate`) there is none.

    Notes
    -----
    Where there is no compiler, and the code is not to be isolated, the network is evaluated node by node (`Network.engine`).
    """
    options = options or BuildOptions()
    model = as_onnx(source, shapes=shapes, example=example)
    graph = optimised(model, shapes=shapes, strict=options.math == "strict")
    emitted = emit(graph, "network")
    if options.compiler is None and not isolate and not _has_compiler():
        return Network(Interpreted(model, emitted), 0.0)
    library, seconds = build([emitted], options)
    function = IsolatedFunction(library, emitted, limits) if isolate else Function(library, emitted)
    network = Network(function, seconds)
    if verify:
        from mlcore.networks.conversion import compared

        try:
            compared(model, graph, function)
        except BaseException:
            network.close()
            raise
    return network
