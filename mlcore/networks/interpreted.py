"""Networks without a compiler: ONNX's reference evaluator, with the costly operators done by `kernels`.

It is what `mlcore.networks.load` falls back to where no compiler is found. Products with weights that stay the same,
convolutions, normalisations and exponentials run in native code; everything else is NumPy, node by node.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops import op_conv, op_erf, op_exp, op_layer_normalization, op_matmul, op_sigmoid, op_softmax, op_tanh

import kernels
from mlcore.errors import InputError
from mlcore.networks.emit.cpp import Emitted
from mlcore.networks.ir import Array
from mlcore.networks.ir.sizes import symbols


class _Packed:
    """Weights in the kernels' layout, as long as a node is given the same array."""

    def __init__(self) -> None:
        self._of: Array | None = None
        self._matrices: list[kernels.PackedMatrix] = []

    def matrices(self, weights: Array, parts: Sequence[Array]) -> list[kernels.PackedMatrix]:
        if self._of is not weights:
            self._of, self._matrices = weights, [kernels.PackedMatrix(np.ascontiguousarray(part)) for part in parts]
        return self._matrices


def _is_single(*arrays: Any) -> bool:
    return all(array is None or array.dtype == np.float32 for array in arrays)


class MatMul(op_matmul.MatMul):  # type: ignore[misc]
    """By packed weights, where these are a matrix."""

    def __init__(self, onnx_node: Any, run_params: Any) -> None:
        super().__init__(onnx_node, run_params)
        self._packed = _Packed()

    def _run(self, a: Array, b: Array) -> tuple[Array, ...]:
        if not _is_single(a, b) or b.ndim != 2 or a.ndim < 2 or a.shape[-1] != len(b) or 0 in (*a.shape, *b.shape):
            result: tuple[Array, ...] = super()._run(a, b)
            return result
        (matrix,) = self._packed.matrices(b, [b])
        rows = np.ascontiguousarray(a).reshape(-1, a.shape[-1])
        return (matrix.product(rows).reshape(*a.shape[:-1], b.shape[1]),)


class Conv(op_conv.Conv):  # type: ignore[misc]
    """As a product of the windows, which are laid out row by row."""

    def __init__(self, onnx_node: Any, run_params: Any) -> None:
        super().__init__(onnx_node, run_params)
        self._packed = _Packed()

    def _run(
        self,
        X: Array,  # noqa: N803 - the evaluator's names
        W: Array,  # noqa: N803
        B: Array | None = None,  # noqa: N803
        auto_pad: str | None = None,
        dilations: Sequence[int] | None = None,
        group: int | None = None,
        kernel_shape: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[Array, ...]:
        rank, groups = X.ndim - 2, group or 1
        pads, strides, dilations = pads or [0] * 2 * rank, strides or [1] * rank, dilations or [1] * rank
        if not _is_single(X, W, B) or auto_pad not in (None, "NOTSET") or min(pads) < 0 or 0 in (*X.shape, *W.shape):
            result: tuple[Array, ...] = super()._run(X, W, B, auto_pad, dilations, group, kernel_shape, pads, strides)
            return result
        taps, outputs = W.shape[2:], W.shape[0] // groups
        padded = np.pad(X, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)])
        reach = [(size - 1) * dilation + 1 for size, dilation in zip(taps, dilations, strict=True)]
        windows = sliding_window_view(padded, reach, axis=tuple(range(2, 2 + rank)))
        places = tuple(slice(None, None, step) for step in strides)
        windows = windows[(slice(None), slice(None), *places, *(slice(None, None, step) for step in dilations))]
        out = windows.shape[2 : 2 + rank]
        rows = np.moveaxis(windows, 1, 1 + rank).reshape(X.shape[0] * math.prod(out), groups, -1)
        matrices = self._packed.matrices(W, [part.reshape(outputs, -1).T for part in np.split(W, groups)])
        bias = [None] * groups if B is None else np.split(np.ascontiguousarray(B), groups)
        parts = [
            matrix.product(np.ascontiguousarray(rows[:, number]), added)
            for number, (matrix, added) in enumerate(zip(matrices, bias, strict=True))
        ]
        joined = np.concatenate(parts, axis=1).reshape(X.shape[0], *out, W.shape[0])
        return (np.ascontiguousarray(np.moveaxis(joined, -1, 1)),)


class Softmax(op_softmax.Softmax):  # type: ignore[misc]
    def _run(self, X: Array, axis: int | None = None) -> tuple[Array, ...]:  # noqa: N803
        axis = -1 if axis is None else axis
        if not _is_single(X) or axis % max(X.ndim, 1) != X.ndim - 1 or X.size == 0:
            result: tuple[Array, ...] = super()._run(X, axis)
            return result
        return (kernels.softmax(np.ascontiguousarray(X).reshape(-1, X.shape[-1])).reshape(X.shape),)


class LayerNormalization(op_layer_normalization.LayerNormalization):  # type: ignore[misc]
    def _run(
        self,
        X: Array,  # noqa: N803
        Scale: Array,  # noqa: N803
        B: Array | None = None,  # noqa: N803
        axis: int | None = None,
        epsilon: float | None = None,
        stash_type: int | None = None,
    ) -> tuple[Array, ...]:
        wanted = len(self.onnx_node.output)
        last = axis is None or axis % X.ndim == X.ndim - 1
        if not _is_single(X, Scale, B) or wanted > 1 or not last or Scale.ndim != 1 or X.size == 0:
            result: tuple[Array, ...] = super()._run(X, Scale, B, axis, epsilon, stash_type)
            return result
        shift = np.zeros_like(Scale) if B is None else B
        rows = np.ascontiguousarray(X).reshape(-1, X.shape[-1])
        return (kernels.layer_normalize(rows, Scale, shift, 1e-5 if epsilon is None else epsilon).reshape(X.shape),)


def _elementwise(base: type[OpRun], function: str) -> type[OpRun]:
    """An operator of the evaluator, done by a function of `kernels.map_float32`."""

    def run(self: Any, x: Array) -> tuple[Array, ...]:
        if not _is_single(x):
            result: tuple[Array, ...] = base._run(self, x)
            return result
        return (kernels.map_float32(function, np.ascontiguousarray(x).reshape(-1)).reshape(x.shape),)

    return type(base.__name__, (base,), {"_run": run})


OPERATORS: list[type[OpRun]] = [
    MatMul,
    Conv,
    Softmax,
    LayerNormalization,
    _elementwise(op_erf.Erf, "erf"),
    _elementwise(op_exp.Exp, "exp"),
    _elementwise(op_sigmoid.Sigmoid, "sigmoid"),
    _elementwise(op_tanh.Tanh, "tanh"),
]


class Interpreted:
    """A network that is evaluated node by node; it is called as a compiled one is.

    Parameters
    ----------
    model
        An ONNX file, its bytes or an ``onnx.ModelProto``.
    emitted
        The same network as C++, whose inputs and outputs it has.

    Raises
    ------
    InputError
        The evaluator does not take the model.
    """

    def __init__(self, model: Any, emitted: Emitted) -> None:
        self.emitted = emitted
        try:
            # A file's external data were found inside its folder when it was read.
            loaded = onnx.load(model) if isinstance(model, Path) else model
            loaded = onnx.ModelProto.FromString(loaded) if isinstance(loaded, bytes) else loaded
            self._evaluator = ReferenceEvaluator(loaded, new_ops=OPERATORS)
        except Exception as error:  # it raises whatever it likes on models that it does not take
            raise InputError(
                f"without a C++ compiler this model cannot be run: {' '.join(str(error).split())[:200]}",
                hint="Install g++ or clang++, or the package ziglang.",
                code="network.interpreter",
            ) from error

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """Run once; as `mlcore.networks.calling.Function`."""
        sizes: dict[str, int] = {}
        for port, value in zip(self.emitted.inputs, inputs, strict=True):
            _check(port.name, getattr(port.value.type, "shape", None), value, sizes)
        feeds = {port.name: value for port, value in zip(self.emitted.inputs, inputs, strict=True) if value is not None}
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                return list(self._evaluator.run(None, feeds))
        except Exception as error:
            raise InputError(
                f"the network cannot be applied to these inputs: {' '.join(str(error).split())[:200]}", code="network.inputs"
            ) from error


def _check(name: str, shape: Any, value: Any, sizes: dict[str, int]) -> None:
    """Refuse an array whose shape is not that of an input, or contradicts another's.

    Raises
    ------
    InputError
        It is.
    """
    if shape is None or not isinstance(value, np.ndarray):
        return
    fits = value.ndim == len(shape)
    for wanted, found in itertools.zip_longest(shape, value.shape) if fits else ():
        names = [item.name for item in symbols(wanted)]
        if not names:
            fits = fits and wanted == found
        elif str(wanted) == names[0]:
            fits = fits and sizes.setdefault(names[0], found) == found
    if not fits:
        said = ", ".join(map(str, shape))
        raise InputError(f"the input {name!r} has the shape {list(value.shape)}, where [{said}] is needed", code="network.inputs")
