"""Keras 3: a model on its PyTorch backend, through `mlcore.networks.frontends.pytorch`.

The batch and all sizes that the model leaves open stay open. Recurrent layers, which Keras takes apart step by step, become one
node each. Files are read by `mlcore.networks.frontends.keras_file`.
"""

from __future__ import annotations

import contextlib
import inspect
import keyword
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mlcore.errors import InputError
from mlcore.networks.frontends import pytorch
from mlcore.networks.frontends._torch_operators import sequence
from mlcore.networks.frontends.onnx import Shapes

Sizes = tuple[int | str, ...]

_BATCH, _LENGTH = 3, 48
"""Sizes that a model is captured with: the batch, and what others are multiples of."""

_ACTIVATIONS = {
    "elu": ("Elu", (1.0,), ()), "hard_sigmoid": ("HardSigmoid", (1 / 6,), (0.5,)), "leaky_relu": ("LeakyRelu", (0.2,), ()),
    "linear": ("Affine", (1.0,), (0.0,)), "relu": ("Relu", (), ()), "sigmoid": ("Sigmoid", (), ()),
    "softplus": ("Softplus", (), ()), "softsign": ("Softsign", (), ()), "tanh": ("Tanh", (), ()),
}  # fmt: skip
"""Of recurrent layers: ONNX's name with its alphas and betas."""


def read(model: Any, *, shapes: Shapes | None = None) -> Any:
    """A model as an ``onnx.ModelProto``: inputs have their layers' names, outputs those of their keys, else of their layers.

    Parameters
    ----------
    model
        A built ``keras.Model``. On another backend than PyTorch's it goes by way of a file, so that only Keras' own layers are
        taken.
    shapes
        Shapes of inputs by name, where the model leaves sizes open: numbers, or other names of them.

    Raises
    ------
    InputError
        It has not been built, or what it does depends on more than it may.
    UnsupportedOperatorError
        The exporter has no translation of an operator.
    """
    import keras
    import torch

    if keras.config.backend() != "torch" or torch.cuda.is_available():
        return _by_file(model)
    inputs = list(getattr(model, "inputs", None) or [])
    if not inputs:
        raise InputError(
            "the model says nothing about its inputs",
            hint="Begin a Sequential model with keras.Input, and write others as functional ones: keras.Model(inputs, outputs).",
            code="network.example",
        )
    names = _names([getattr(tensor, "name", "") or f"input_{place}" for place, tensor in enumerate(inputs)])
    wanted = [_sizes(name, tensor.shape, shapes or {}) for name, tensor in zip(names, inputs, strict=True)]
    outputs = _names(_output_names(model))
    arguments = _names([_argument(name) for name in names])
    network = _network(model, arguments, outputs)
    sizes = dict(zip(arguments, wanted, strict=True))
    failures: list[InputError] = []
    for step in (1, 0):  # lengths of several inputs as different numbers, or where they have to agree, as the same
        example = _example(inputs, wanted, step)
        try:
            with recurrent_layers(), same_padding():
                program = pytorch.capture(network, sizes, example)
            break
        except InputError as error:
            failures.append(error)
    else:
        raise failures[-1]
    onnx_model = pytorch.to_onnx(program, sizes)
    pytorch.name_inputs(onnx_model.graph, names)
    return onnx_model


def _by_file(model: Any) -> Any:
    import onnx

    from mlcore.networks.frontends.child import converted

    with tempfile.TemporaryDirectory(prefix="keras-") as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return onnx.ModelProto.FromString(converted("keras", path))


def _argument(name: str) -> str:
    """A name that an argument may have."""
    name = re.sub(r"\W", "_", name, flags=re.ASCII)
    return name if name.isidentifier() and not keyword.iskeyword(name) and name != "self" else f"input_{name}"


def _network(model: Any, arguments: Sequence[str], names: Sequence[str]) -> Any:
    """A module that takes the inputs one by one and gives the outputs by name."""
    import keras
    import torch

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *inputs: Any) -> dict[str, Any]:
            outputs = model(keras.tree.pack_sequence_as(_structure(model, "input"), list(inputs)), training=False)
            return dict(zip(names, keras.tree.flatten(outputs), strict=True))

    # So that PyTorch knows the inputs by their names.
    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("self", *arguments)]
    Network.forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return Network().eval()


def _structure(model: Any, side: str) -> Any:
    """The tensors that go in or come out, in their containers; Sequential models have one of each, and say less."""
    import keras

    return getattr(model, f"{side}s")[0] if isinstance(model, keras.Sequential) else getattr(model, side)


def _output_names(model: Any) -> list[str]:
    """Keys of the structure that the model gives, else the layers that the outputs come from."""
    import keras

    found = []
    for path, tensor in keras.tree.flatten_with_path(_structure(model, "output")):
        keys = "_".join(str(key) for key in path) if any(isinstance(key, str) for key in path) else ""
        found.append(keys or tensor._keras_history.operation.name)
    return found


def _names(wanted: Sequence[str]) -> list[str]:
    """Names, of which none is there twice."""
    names: list[str] = []
    for name in wanted:
        count = sum(other == name for other in wanted[: len(names)])
        names.append(name if not count else f"{name}_{count}")
    return names


def _sizes(name: str, shape: Sequence[int | None], shapes: Shapes) -> Sizes:
    given = shapes.get(name)
    if given is not None:
        if len(given) != len(shape):
            raise InputError(f"the input {name!r} has {len(shape)} axes, which {given} has not", code="network.shapes")
        return tuple(given)
    return tuple(size if size is not None else "batch" if axis == 0 else f"{name}_{axis}" for axis, size in enumerate(shape))


def _example(inputs: Sequence[Any], wanted: Sequence[Sizes], step: int) -> tuple[Any, ...]:
    """Inputs that a model is captured with: floats are random, numbers of other kinds zero, the first of any vocabulary."""
    import torch

    numbers: dict[str, int] = {}
    for size in (size for sizes in wanted for size in sizes if isinstance(size, str)):
        numbers.setdefault(size, _BATCH if size == "batch" else _LENGTH * (1 + step * len(numbers)))
    generator = torch.Generator().manual_seed(0)
    found = []
    for tensor, sizes in zip(inputs, wanted, strict=True):
        shape = [size if isinstance(size, int) else numbers[size] for size in sizes]
        dtype = getattr(torch, str(tensor.dtype))
        found.append(
            torch.randn(shape, generator=generator).to(dtype) if dtype.is_floating_point else torch.zeros(shape, dtype=dtype)
        )
    return tuple(found)


# Windows that are padded so that the output is as long as the input, by the stride.


@contextlib.contextmanager
def same_padding() -> Iterator[None]:
    """Let the padding follow open sizes, of which Keras fixes whether they are even; and averages count what is there alone.

    The latter is what Keras does on its other backends; on PyTorch's, its averages repeat the edges where both sides differ.
    """
    from keras.src.backend.torch import nn

    padded, average = nn._apply_same_padding, nn.average_pool

    def apply(x: Any, kernel: Any, strides: Any, data_format: Any, kind: str, dilation: Any = 1) -> Any:
        dilation = dilation if kind != "pooling" else 1
        return _padded(x, kernel, strides, dilation, "replicate" if kind == "pooling" else "constant"), 0

    def average_pool(inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid", data_format: Any = None) -> Any:
        if padding != "same":
            return average(inputs, pool_size, strides, padding, data_format)
        first = nn.backend.standardize_data_format(data_format) == "channels_first"
        x = inputs if first else inputs.movedim(-1, 1)
        count = x.ndim - 2
        kernel, stride = _each(pool_size, count), _each(pool_size if strides is None else strides, count)
        x, ones = (_padded(of, kernel, stride, 1, "constant") for of in (x, x.new_ones((1, 1, *x.shape[2:]))))
        pool = getattr(torch.nn.functional, f"avg_pool{count}d")
        x = pool(x, kernel, stride) / pool(ones, kernel, stride)
        return x if first else x.movedim(1, -1)

    import torch

    nn._apply_same_padding, nn.average_pool = apply, average_pool
    try:
        yield
    finally:
        nn._apply_same_padding, nn.average_pool = padded, average


def _each(value: Any, count: int) -> list[int]:
    return [value] * count if isinstance(value, int) else list(value)


def _padded(x: Any, kernel: Any, strides: Any, dilation: Any, mode: str) -> Any:
    """Spatial axes, which stand last, padded as little as needed, one more behind than before."""
    import torch

    sym_max: Any = torch.sym_max
    count = x.ndim - 2
    pads: list[Any] = []
    for size, width, stride, step in zip(
        x.shape[2:], _each(kernel, count), _each(strides, count), _each(dilation, count), strict=True
    ):
        reach = (width - 1) * step + 1
        total = sym_max(0, (size + stride - 1) // stride * stride - stride + reach - size) if stride > 1 else reach - 1
        pads = [total // 2, total - total // 2, *pads]
    return torch.nn.functional.pad(x, pads, mode) if any(not isinstance(pad, int) or pad for pad in pads) else x


# Recurrent layers.


@contextlib.contextmanager
def recurrent_layers() -> Iterator[None]:
    """Let LSTM, GRU and SimpleRNN be captured as one operator each, which takes any length.

    With a mask, with cells of other kinds, or with an activation that ONNX's nodes have not, they remain steps: then their
    length has to be a number.
    """
    from keras import layers

    kinds = (layers.RNN, layers.LSTM, layers.GRU, layers.SimpleRNN)
    own = {kind: vars(kind).get("inner_loop") for kind in kinds}

    def with_steps(plain: Any) -> Any:
        def inner_loop(self: Any, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
            unroll, self.unroll = self.unroll, True  # Keras' other loop makes the batch a number, too
            try:
                return plain(self, sequences, initial_state, mask, training=training)
            finally:
                self.unroll = unroll

        return inner_loop

    def with_operator(plain: Any) -> Any:
        def inner_loop(self: Any, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
            node = _node(self)
            if node is None or any(part is not None for part in (mask if isinstance(mask, list | tuple) else [mask])):
                return plain(self, sequences, initial_state, mask, training=training)
            return _as_operator(self, node, sequences, initial_state)

        return inner_loop

    try:
        for kind in kinds:
            kind.inner_loop = (with_steps if kind is layers.RNN else with_operator)(kind.inner_loop)
        yield
    finally:
        for kind, method in own.items():
            if method is None:
                del kind.inner_loop
            else:
                kind.inner_loop = method


def _node(layer: Any) -> dict[str, Any] | None:
    """The kind and the activations of the node that a layer becomes."""
    import keras

    cell = layer.cell
    kind = next((name for name in ("LSTM", "GRU", "SimpleRNN") if type(cell) is getattr(keras.layers, f"{name}Cell")), None)
    if kind is None or cell.compute_dtype != "float32":
        return None
    functions = {"LSTM": ["recurrent_activation", "activation", "activation"], "GRU": ["recurrent_activation", "activation"]}
    names = [keras.activations.serialize(getattr(cell, part)) for part in functions.get(kind, ["activation"])]
    if not all(isinstance(name, str) and name in _ACTIVATIONS for name in names):
        return None
    found = [_ACTIVATIONS[name] for name in names]
    return {
        "kind": {"SimpleRNN": "RNN"}.get(kind, kind),
        "activations": [name for name, _, _ in found],
        "alphas": [alpha for _, alphas, _ in found for alpha in alphas],
        "betas": [beta for _, _, betas in found for beta in betas],
        "reset_after": kind == "GRU" and bool(cell.reset_after),
    }


def _as_operator(layer: Any, node: dict[str, Any], x: Any, initial_state: Any) -> Any:
    """Last output, all outputs, states, as `inner_loop` gives them."""
    import torch
    from keras import ops

    cell = layer.cell
    order = (0, 3, 1, 2) if node["kind"] == "LSTM" else None  # i, f, c, o in Keras; ONNX has i, o, f, c

    def gates(weight: Any) -> Any:
        if order is None:
            return weight
        parts = torch.chunk(weight, 4, dim=-1)
        return torch.cat([parts[place] for place in order], dim=-1)

    w, r = (gates(ops.convert_to_tensor(weight)).t().unsqueeze(0) for weight in (cell.kernel, cell.recurrent_kernel))
    if cell.bias is None:
        bias = x.new_zeros(2 * w.shape[1])
    else:
        bias = ops.convert_to_tensor(cell.bias)
        bias = bias.reshape(-1) if bias.ndim == 2 else torch.cat([gates(bias), torch.zeros_like(bias)])
    states = list(initial_state) if isinstance(initial_state, list | tuple) else [initial_state]
    x = x.to(w.dtype)
    if layer.go_backwards:
        x = torch.flip(x, [1])
    y, h, c = sequence()(
        x, states[0], states[-1], w, r, bias.unsqueeze(0), node["kind"], node["activations"], node["alphas"], node["betas"],
        node["reset_after"],
    )  # fmt: skip
    return h, y, [h, c] if node["kind"] == "LSTM" else [h]
