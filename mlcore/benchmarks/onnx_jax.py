"""ONNX as functions of JAX, for the operators that the zoo's files have: what XLA is given.

Files come with fixed shapes and folded constants, so whatever decides a shape (axes, sizes, repeats) is an initializer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Attributes = Mapping[str, Any]
Operator = Callable[..., Any]


class UnsupportedOperatorError(Exception):
    """An operator that is not here."""


def function(model: Any, output_names: Sequence[str]) -> Callable[..., tuple[Any, ...]]:
    """The graph of an ONNX model as a function of its inputs, in their order, that JAX can trace."""
    from onnx import helper, numpy_helper

    graph = model.graph
    constants = {initializer.name: numpy_helper.to_array(initializer) for initializer in graph.initializer}
    names = [value.name for value in graph.input if value.name not in constants]
    steps = []
    for node in graph.node:
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        if node.op_type == "Constant":
            constants[node.output[0]] = numpy_helper.to_array(attributes["value"])
            continue
        if node.op_type not in OPERATORS or node.domain:
            raise UnsupportedOperatorError(f"the conversion to JAX has no {node.op_type}")
        steps.append((OPERATORS[node.op_type], attributes, tuple(node.input), tuple(node.output)))

    def compute(*inputs: Any) -> tuple[Any, ...]:
        values: dict[str, Any] = {**constants, "": None, **dict(zip(names, inputs, strict=True))}
        for operator, attributes, given, returned in steps:
            answer = operator(attributes, *(values[name] for name in given))
            values.update(zip(returned, answer if isinstance(answer, tuple) else (answer,), strict=False))
        return tuple(values[name] for name in output_names)

    return compute


def _numbers(value: Any) -> list[int]:
    return [int(number) for number in np.asarray(value).ravel()]


def _jnp() -> Any:
    from jax import numpy

    return numpy


def _elementwise(name: str) -> Operator:
    return lambda _a, *x: getattr(_jnp(), name)(*x)


def _of_jax(name: str, **options: tuple[str, Any]) -> Operator:
    """An activation of `jax.nn`; options are attributes with their defaults."""

    def apply(a: Attributes, x: Any) -> Any:
        import jax

        return getattr(jax.nn, name)(x, **{key: a.get(attribute, default) for key, (attribute, default) in options.items()})

    return apply


def _gemm(a: Attributes, x: Any, y: Any, c: Any = None) -> Any:
    x, y = x.T if a.get("transA") else x, y.T if a.get("transB") else y
    product = x @ y * a["alpha"] if a.get("alpha", 1.0) != 1 else x @ y
    return product if c is None else product + (c * a["beta"] if a.get("beta", 1.0) != 1 else c)


def _conv(a: Attributes, x: Any, weight: Any, bias: Any = None) -> Any:
    import jax

    rank = x.ndim - 2
    pads = a.get("pads", [0] * (2 * rank))
    if a.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise UnsupportedOperatorError("the conversion to JAX has no Conv with auto_pad")
    y = jax.lax.conv_general_dilated(
        x,
        weight,
        a.get("strides", [1] * rank),
        [*zip(pads[:rank], pads[rank:], strict=True)],
        rhs_dilation=a.get("dilations", [1] * rank),
        feature_group_count=a.get("group", 1),
    )
    return y if bias is None else y + bias.reshape(1, -1, *[1] * rank)


def _max_pool(a: Attributes, x: Any) -> Any:
    import jax

    rank = x.ndim - 2
    pads = a.get("pads", [0] * (2 * rank))
    if a.get("ceil_mode") or a.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise UnsupportedOperatorError("the conversion to JAX has no MaxPool with ceil_mode or auto_pad")
    return jax.lax.reduce_window(
        x,
        -np.inf,
        jax.lax.max,
        (1, 1, *a["kernel_shape"]),
        (1, 1, *a.get("strides", [1] * rank)),
        ((0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)),
    )


def _batch_normalization(a: Attributes, x: Any, scale: Any, bias: Any, mean: Any, variance: Any) -> Any:
    factor = scale / np.sqrt(variance + np.float32(a.get("epsilon", 1e-5)))
    shape = (1, -1, *[1] * (x.ndim - 2))
    return x * factor.reshape(shape) + (bias - mean * factor).reshape(shape)


def _layer_normalization(a: Attributes, x: Any, scale: Any, bias: Any = None) -> Any:
    axes = tuple(range(a.get("axis", -1) % x.ndim, x.ndim))
    centred = x - x.mean(axes, keepdims=True)
    y = centred / _jnp().sqrt((centred * centred).mean(axes, keepdims=True) + a.get("epsilon", 1e-5)) * scale
    return y if bias is None else y + bias


def _reduce(name: str) -> Operator:
    def apply(a: Attributes, x: Any, axes: Any = None) -> Any:
        chosen = a.get("axes", None if axes is None else _numbers(axes))
        return getattr(_jnp(), name)(x, axis=None if chosen is None else tuple(chosen), keepdims=bool(a.get("keepdims", 1)))

    return apply


def _reshape(_a: Attributes, x: Any, shape: Any) -> Any:
    return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(_numbers(shape))])


def _expand(_a: Attributes, x: Any, shape: Any) -> Any:
    return _jnp().broadcast_to(x, np.broadcast_shapes(x.shape, tuple(_numbers(shape))))


def _squeeze(_a: Attributes, x: Any, axes: Any = None) -> Any:
    return x.squeeze(None if axes is None else tuple(_numbers(axes)))


def _unsqueeze(_a: Attributes, x: Any, axes: Any) -> Any:
    return _jnp().expand_dims(x, tuple(_numbers(axes)))


def _slice(_a: Attributes, x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Any:
    first, last = _numbers(starts), _numbers(ends)
    where = range(len(first)) if axes is None else _numbers(axes)
    stride = [1] * len(first) if steps is None else _numbers(steps)
    cuts = [slice(None)] * x.ndim
    for axis, start, end, step in zip(where, first, last, stride, strict=True):
        # "Before the first" is a large negative number in ONNX and None in Python.
        cuts[axis] = slice(start, None if step < 0 and end < -x.shape[axis] else end, step)
    return x[tuple(cuts)]


def _split(a: Attributes, x: Any, sizes: Any = None) -> tuple[Any, ...]:
    axis = a.get("axis", 0)
    if sizes is None:
        raise UnsupportedOperatorError("the conversion to JAX has no Split without sizes")
    return tuple(_jnp().split(x, np.cumsum(_numbers(sizes))[:-1].tolist(), axis))


def _top_k(a: Attributes, x: Any, k: Any) -> tuple[Any, Any]:
    import jax

    if a.get("axis", -1) not in (-1, x.ndim - 1):
        raise UnsupportedOperatorError("the conversion to JAX has TopK along the last axis only")
    sign = 1 if a.get("largest", 1) else -1
    values, indices = jax.lax.top_k(sign * x, _numbers(k)[0])
    return sign * values, indices.astype(np.int32)


def _gather(a: Attributes, x: Any, indices: Any) -> Any:
    axis = a.get("axis", 0)
    if isinstance(x, np.ndarray):
        x = _jnp().asarray(x)
    size = x.shape[axis]
    indices = indices % size if isinstance(indices, np.ndarray) else _jnp().where(indices < 0, indices + size, indices)
    return _jnp().take(x, indices, axis, mode="clip")


def _scatter_elements(a: Attributes, x: Any, indices: Any, updates: Any) -> Any:
    axis = a.get("axis", 0)
    places: list[Any] = list(_jnp().meshgrid(*(np.arange(size) for size in indices.shape), indexing="ij"))
    places[axis] = indices
    at = _jnp().asarray(x).at[tuple(places)]
    ways = {b"none": at.set, b"add": at.add, b"max": at.max, b"min": at.min, b"mul": at.multiply}
    return ways[a.get("reduction", b"none")](updates)


def _scatter_nd(a: Attributes, x: Any, indices: Any, updates: Any) -> Any:
    if a.get("reduction", b"none") != b"none":
        raise UnsupportedOperatorError("the conversion to JAX has no ScatterND with a reduction")
    return _jnp().asarray(x).at[tuple(_jnp().moveaxis(indices, -1, 0))].set(updates)


def _gelu(a: Attributes, x: Any) -> Any:
    import jax

    return jax.nn.gelu(x, approximate=a.get("approximate", b"none") == b"tanh")


def _cast(a: Attributes, x: Any) -> Any:
    from onnx import helper

    return x.astype(helper.tensor_dtype_to_np_dtype(a["to"]))


def _clip(_a: Attributes, x: Any, low: Any = None, high: Any = None) -> Any:
    return _jnp().clip(x, low, high)


def _recurrent(a: Attributes, x: Any, weight: Any, recurrence: Any, bias: Any, lengths: Any) -> tuple[Any, Any, Any]:
    """Projections of the inputs (steps, batch, gates) and the recurrence of a single direction."""
    if a.get("direction", b"forward") != b"forward" or "activations" in a or lengths is not None or a.get("layout"):
        raise UnsupportedOperatorError("the conversion to JAX has the usual forward recurrent layers only")
    hidden = a["hidden_size"]
    gates = weight.shape[1]
    bias = np.zeros((1, 2 * gates), np.float32) if bias is None else bias
    return x @ weight[0].T + bias[0, :gates], (recurrence[0].T, bias[0, gates:]), hidden


def _lstm(
    a: Attributes, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None, c: Any = None, p: Any = None
) -> tuple[Any, Any, Any]:
    import jax

    if p is not None:
        raise UnsupportedOperatorError("the conversion to JAX has no LSTM with peepholes")
    given, (recurrence, bias), hidden = _recurrent(a, x, w, r, b, lengths)
    h, c = (np.zeros((x.shape[1], hidden), np.float32) if state is None else state[0] for state in (h, c))
    states = []
    for step in given:
        i, o, f, g = _jnp().split(step + h @ recurrence + bias, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * _jnp().tanh(g)
        h = jax.nn.sigmoid(o) * _jnp().tanh(c)
        states.append(h)
    return _jnp().stack(states)[:, None], h[None], c[None]


def _gru(a: Attributes, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None) -> tuple[Any, Any]:
    import jax

    if not a.get("linear_before_reset"):
        raise UnsupportedOperatorError("the conversion to JAX has GRU with linear_before_reset only, which is PyTorch's")
    given, (recurrence, bias), hidden = _recurrent(a, x, w, r, b, lengths)
    h = np.zeros((x.shape[1], hidden), np.float32) if h is None else h[0]
    states = []
    for step in given:
        zx, rx, nx = _jnp().split(step, 3, axis=-1)
        zh, rh, nh = _jnp().split(h @ recurrence + bias, 3, axis=-1)
        z = jax.nn.sigmoid(zx + zh)
        h = (1 - z) * _jnp().tanh(nx + jax.nn.sigmoid(rx + rh) * nh) + z * h
        states.append(h)
    return _jnp().stack(states)[:, None], h[None]


OPERATORS: dict[str, Operator] = {
    "Add": _elementwise("add"),
    "Atan": _elementwise("arctan"),
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda a, *x: _jnp().concatenate(x, axis=a["axis"]),
    "Conv": _conv,
    "Div": lambda _a, x, y: x / y,
    "Elu": _of_jax("elu", alpha=("alpha", 1.0)),
    "Equal": _elementwise("equal"),
    "Erf": lambda _a, x: __import__("jax").scipy.special.erf(x),
    "Exp": _elementwise("exp"),
    "Expand": _expand,
    "Flatten": lambda a, x: x.reshape(int(np.prod(x.shape[: a.get("axis", 1)])), -1),
    "Floor": _elementwise("floor"),
    "GRU": _gru,
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda _a, x: x.mean(tuple(range(2, x.ndim)), keepdims=True),
    "Greater": _elementwise("greater"),
    "LSTM": _lstm,
    "LayerNormalization": _layer_normalization,
    "LeakyRelu": _of_jax("leaky_relu", negative_slope=("alpha", 0.01)),
    "Less": _elementwise("less"),
    "Log": _elementwise("log"),
    "MatMul": _elementwise("matmul"),
    "Max": _elementwise("maximum"),
    "MaxPool": _max_pool,
    "Min": _elementwise("minimum"),
    "Mul": _elementwise("multiply"),
    "Not": _elementwise("logical_not"),
    "Pow": lambda _a, x, y: x * x if np.ndim(y) == 0 and isinstance(y, np.ndarray) and y == 2 else x**y,
    "ReduceMean": _reduce("mean"),
    "ReduceSum": _reduce("sum"),
    "Relu": _of_jax("relu"),
    "Reshape": _reshape,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
    "Sigmoid": _of_jax("sigmoid"),
    "Slice": _slice,
    "Softmax": _of_jax("softmax", axis=("axis", -1)),
    "Softplus": _of_jax("softplus"),
    "Split": _split,
    "Sqrt": _elementwise("sqrt"),
    "Squeeze": _squeeze,
    "Sub": _elementwise("subtract"),
    "Tanh": _elementwise("tanh"),
    "Tile": lambda _a, x, repeats: _jnp().tile(x, _numbers(repeats)),
    "TopK": _top_k,
    "Transpose": lambda a, x: x.transpose(a.get("perm")),
    "Unsqueeze": _unsqueeze,
    "Where": _elementwise("where"),
}
