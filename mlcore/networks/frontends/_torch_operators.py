"""PyTorch's operators that its exporter to ONNX does not translate, or wrongly; and layers that keep their length open.

`torch.export` takes an LSTM apart step by step, by which the length of the sequence becomes a number. While a module is captured,
its recurrent layers call operators of our own instead, which say nothing but shapes.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

Translation = Callable[..., Any]

_GATES = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn_tanh": (0,), "rnn_relu": (0,)}
"""Where ONNX's gates stand in PyTorch's weights: i, o, f, g in i, f, g, o; z, r, n in r, z, n."""


@functools.cache
def _recurrent_operators() -> dict[str, Any]:
    """The operators that stand for recurrent layers, by PyTorch's name."""
    import torch

    library = torch.library.Library("ml4ep", "DEF")  # type: ignore[no-untyped-call]
    found = {}
    for kind in _GATES:
        state, results = ("Tensor[] hx", "(Tensor, Tensor, Tensor)") if kind == "lstm" else ("Tensor hx", "(Tensor, Tensor)")
        schema = f"{kind}(Tensor input, {state}, Tensor[] params, bool has_biases, int num_layers, float dropout, bool train, "
        library.define(f"{schema}bool bidirectional, bool batch_first) -> {results}")  # type: ignore[no-untyped-call]
        torch.library.register_fake(f"ml4ep::{kind}", functools.partial(_shapes, kind), lib=library)
        torch.library.impl(library, kind, "CPU")(getattr(torch._VF, kind))
        found[kind] = getattr(torch.ops.ml4ep, kind).default
    library.define(
        "sequence(Tensor x, Tensor h, Tensor c, Tensor w, Tensor r, Tensor b, str kind, str[] activations, float[] alphas, "
        "float[] betas, bool reset_after) -> (Tensor, Tensor, Tensor)"
    )  # type: ignore[no-untyped-call]
    torch.library.register_fake("ml4ep::sequence", _sequence_shapes, lib=library)
    found["sequence"] = torch.ops.ml4ep.sequence.default
    found["library"] = library  # which takes its operators with it
    return found


def sequence() -> Any:
    """The operator that stands for one recurrent layer with ONNX's weights: x, (batch, steps, inputs), to outputs, (batch, steps,
    units), and the last states.
    """
    return _recurrent_operators()["sequence"]


def _sequence_shapes(x: Any, h: Any, c: Any, w: Any, r: Any, b: Any, *options: Any) -> Any:
    return x.new_empty((*x.shape[:2], r.shape[2])), h.new_empty(h.shape), c.new_empty(c.shape)


def _shapes(
    kind: str,
    x: Any,
    hx: Any,
    params: Any,
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    both: bool,
    first: bool,
) -> Any:
    states = [*hx] if kind == "lstm" else [hx]
    width = states[0].shape[2] * (2 if both else 1)
    return (x.new_empty((*x.shape[:2], width)), *(state.new_empty(state.shape) for state in states))


@contextlib.contextmanager
def open_lengths() -> Iterator[None]:
    """Let recurrent layers, and `max_pool1d`, be captured with a length that differs from call to call."""
    import torch
    from torch.nn.modules import rnn as module

    rnn: Any = module  # whose own alias of PyTorch's functions is what layers call

    operators = _recurrent_operators()
    original = rnn._VF

    def layer(kind: str) -> Callable[..., Any]:
        plain, ours = getattr(original, kind), operators[kind]

        def call(x: Any, hx: Any, params: Any, *options: Any) -> Any:
            # Packed sequences have sizes of batches in second place; projections have one weight more.
            usual = not isinstance(params, torch.Tensor) and len(params) == _n_params(*options[:2], both=options[4])
            return (ours if usual else plain)(x, hx, params, *options)

        return call

    cells = ("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
    others = {name: getattr(original, name) for name in cells}
    pool: Any = torch.max_pool1d
    rnn._VF = SimpleNamespace(**others, **{kind: layer(kind) for kind in _GATES})
    torch.max_pool1d = _max_pool1d  # PyTorch's own makes the length a number
    try:
        yield
    finally:
        rnn._VF = original
        torch.max_pool1d = pool


def _max_pool1d(
    input: Any,  # noqa: A002 - PyTorch's name
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Any:
    """`torch.max_pool1d` by way of two dimensions."""
    import torch

    def along(value: Any, across: int) -> list[int]:
        return [across, *(value if isinstance(value, list | tuple) else [value])]

    stride = kernel_size if stride is None or stride == [] else stride
    windows = along(kernel_size, 1), along(stride, 1), along(padding, 0), along(dilation, 1)
    return torch.max_pool2d(input.unsqueeze(-2), *windows, ceil_mode).squeeze(-2)


def _n_params(has_biases: Any, num_layers: Any, *, both: bool) -> int:
    return int(num_layers) * (2 if both else 1) * (4 if has_biases else 2)


@functools.cache
def translations() -> dict[Callable[..., Any], Translation]:
    """What PyTorch's exporter takes as a table of translations of one's own."""
    import torch

    aten, ours = torch.ops.aten, _recurrent_operators()
    found: dict[Callable[..., Any], Translation] = {
        aten.atan2.default: _atan2,
        aten.hypot.default: _hypot,
        aten.sort.stable: _stable_sort,
    }
    for kind in _GATES:
        translation = functools.partial(_recurrent, kind)
        found[getattr(aten, kind).input] = found[ours[kind]] = _with_signature(translation)
    found[ours["sequence"]] = _sequence
    return found


def _with_signature(translation: Callable[..., Any]) -> Translation:
    def recurrent(
        input: Any,  # noqa: A002 - PyTorch's names, by which the exporter calls it
        hx: Any,
        params: Any,
        has_biases: bool,
        num_layers: int,
        dropout: float,
        train: bool,
        bidirectional: bool,
        batch_first: bool,
    ) -> Any:
        return translation(input, hx, params, has_biases, num_layers, bidirectional, batch_first)

    return recurrent


def _number(value: float, like: Any) -> Any:
    """A constant of the type of another value, exact in double precision too."""
    from onnx import TensorProto, helper
    from onnxscript import opset20 as op

    return op.CastLike(op.Constant(value=helper.make_tensor("value", TensorProto.DOUBLE, [], [value])), like)


def _atan2(self: Any, other: Any) -> Any:
    """The angle of (other, self), with zeros, infinities and NaN as C has them; the exporter loses all three."""
    from onnxscript import opset20 as op

    def is_negative(x: Any) -> Any:
        """Whether a number or a zero has a sign."""
        zero = _number(0.0, x)
        return op.Less(op.Where(op.Equal(x, zero), op.Reciprocal(x), x), zero)

    angle = op.Atan(_quotient(op.Abs(self), op.Abs(other)))
    angle = op.Where(is_negative(other), op.Sub(_number(math.pi, angle), angle), angle)
    return op.Where(is_negative(self), op.Neg(angle), angle)


def _hypot(self: Any, other: Any) -> Any:
    """The length of (self, other), which is in range where its square is not."""
    from onnxscript import opset20 as op

    up, along = op.Abs(self), op.Abs(other)
    longer = op.Max(up, along)
    ratio = _quotient(op.Min(up, along), longer)
    return op.Mul(longer, op.Sqrt(op.Add(_number(1.0, ratio), op.Mul(ratio, ratio))))


def _quotient(up: Any, along: Any) -> Any:
    """Of two that are not negative: 0 where both are 0, 1 where both are infinite."""
    from onnxscript import opset20 as op

    return op.Where(op.Equal(up, along), op.Sign(up), op.Div(up, along))


def _stable_sort(self: Any, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
    """All elements by `TopK`, of which the lower index comes first where two are equal."""
    from onnxscript import opset20 as op

    size = op.Shape(self, start=-1) if dim == -1 else op.Shape(self, start=dim, end=dim + 1)
    return op.TopK(self, size, axis=dim, largest=int(descending), sorted=1)


def _recurrent(
    kind: str, x: Any, hx: Any, params: Sequence[Any], has_biases: bool, num_layers: int, both: bool, batch_first: bool
) -> Any:
    """Layers of recurrent cells, each one node of ONNX."""
    from onnxscript import opset20 as op

    def gates(weight: Any) -> Any:
        order = _GATES[kind]
        if len(order) == 1:
            return weight
        parts = op.Split(weight, num_outputs=len(order), axis=0)
        return op.Concat(*(parts[place] for place in order), axis=0)

    states = [*hx] if kind == "lstm" else [hx]
    n_ways, n_each = 2 if both else 1, 4 if has_biases else 2
    if len(params) != _n_params(has_biases, num_layers, both=both):
        raise ValueError("projections of recurrent layers have no place in ONNX")
    activations = {"rnn_tanh": ["Tanh"], "rnn_relu": ["Relu"]}.get(kind)
    options: dict[str, Any] = {
        "hidden_size": int(states[0].shape[2]),
        "direction": "bidirectional" if both else "forward",
        **({"linear_before_reset": 1} if kind == "gru" else {}),
        **({"activations": activations * n_ways} if activations else {}),
    }
    node = {"lstm": op.LSTM, "gru": op.GRU}.get(kind, op.RNN)
    x = op.Transpose(x, perm=[1, 0, 2]) if batch_first else x
    last: list[list[Any]] = [[] for _ in states]
    for layer in range(num_layers):
        ways = [params[(layer * n_ways + way) * n_each : (layer * n_ways + way + 1) * n_each] for way in range(n_ways)]
        w, r = (op.Concat(*(op.Unsqueeze(gates(way[place]), [0]) for way in ways), axis=0) for place in (0, 1))
        bias = None
        if has_biases:
            bias = op.Concat(*(op.Unsqueeze(op.Concat(gates(way[2]), gates(way[3]), axis=0), [0]) for way in ways), axis=0)
        start = [state if num_layers == 1 else op.Slice(state, [layer * n_ways], [(layer + 1) * n_ways], [0]) for state in states]
        y, *ends = node(x, w, r, bias, None, *start, **options)
        x = op.Reshape(op.Transpose(y, perm=[0, 2, 1, 3]), [0, 0, -1]) if both else op.Squeeze(y, [1])
        for place, end in enumerate(ends):
            last[place].append(end)
    x = op.Transpose(x, perm=[1, 0, 2]) if batch_first else x
    return (x, *(ends[0] if num_layers == 1 else op.Concat(*ends, axis=0) for ends in last))


def _sequence(
    x: Any,
    h: Any,
    c: Any,
    w: Any,
    r: Any,
    b: Any,
    kind: str,
    activations: Sequence[str],
    alphas: Sequence[float],
    betas: Sequence[float],
    reset_after: bool,
) -> Any:
    """One recurrent layer with the weights of ONNX."""
    from onnxscript import opset20 as op

    options: dict[str, Any] = {
        "hidden_size": int(r.shape[2]),
        "activations": list(activations),
        **({"activation_alpha": list(alphas)} if alphas else {}),
        **({"activation_beta": list(betas)} if betas else {}),
        **({"linear_before_reset": int(reset_after)} if kind == "GRU" else {}),
    }
    states = [op.Unsqueeze(state, [0]) for state in ((h, c) if kind == "LSTM" else (h,))]
    node = {"LSTM": op.LSTM, "GRU": op.GRU}.get(kind, op.RNN)
    y, *ends = node(op.Transpose(x, perm=[1, 0, 2]), w, r, b, None, *states, **options)
    y = op.Transpose(op.Squeeze(y, [1]), perm=[1, 0, 2])
    last = [op.Squeeze(end, [0]) for end in ends]
    return y, last[0], last[-1]
