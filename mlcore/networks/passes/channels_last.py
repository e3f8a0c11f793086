"""Convolutions with constant weights run with the channels last, as products of packed weights; those of points are `MatMul`.

Each stands between two transposes, which sink and cancel (`sink_transposes`): a chain of convolutions, activations and poolings
then runs in one layout. A bias becomes an elementwise step, so that it and what follows join the product (`fuse_epilogue`).
"""

from __future__ import annotations

from typing import cast

import numpy as np

from mlcore.networks.ir import Array, DType, Graph, Node, TensorType, Value, constant, product
from mlcore.networks.ops import find
from mlcore.networks.ops._channels_last import CONVOLUTION
from mlcore.networks.ops._windows import Windows
from mlcore.networks.ops.convolution import Conv, groups_of
from mlcore.networks.passes._rewrite import all_graphs

_TYPES = (DType.FLOAT32, DType.FLOAT64)

MOST_TAPS = 512
MOST_GROUPS = 64
"""Of kernels with more taps or groups, which are not depthwise, the code would be long."""


def channels_last(graph: Graph) -> None:
    """Rewrite in each graph by itself."""
    for one in all_graphs(graph):
        one.nodes[:] = [new for node in one.nodes for new in (_rewritten(node) or [node])]


def last_order(rank: int) -> list[int]:
    """The order of axes that puts the channels last."""
    return [0, *range(2, rank), 1]


def first_order(rank: int) -> list[int]:
    """The order of axes that puts them back."""
    return [0, rank - 1, *range(1, rank - 1)]


def _rewritten(node: Node) -> list[Node] | None:
    if node.kind != "Conv" or node.output.dtype not in _TYPES or node.output.tensor.is_late:
        return None
    weights = node.constant(1)
    if weights is None or weights.size == 0:
        return None
    windows = cast("Conv", node.operator).windows(node)
    groups, rank = groups_of(node), weights.ndim
    depthwise = weights.shape[1] == 1 and weights.shape[0] == groups
    taps = cast("int", product(windows.kernel))
    if any(isinstance(size, int) and size < 0 for size in (*windows.before, *windows.after)):
        return None
    if taps > MOST_TAPS or (groups > MOST_GROUPS and not depthwise):
        return None
    transpose, out = find("", "Transpose"), node.output
    x = node.input(0)
    turned = Value(f"{x.name}, channels last", TensorType(x.dtype, (x.shape[0], *x.shape[2:], x.shape[1])))
    kind = TensorType(out.dtype, (out.shape[0], *out.shape[2:], out.shape[1]))
    raw = Value(f"{out.name}, channels last", kind)
    made = [Node(transpose, 13, [x], [turned], {"perm": last_order(rank)}, "")]
    name = node.input(1).name
    if is_pointwise(windows) and groups == 1:
        matrix = constant(name, np.ascontiguousarray(weights.reshape(weights.shape[:2]).T))
        made.append(Node(find("", "MatMul"), 13, [turned, matrix], [raw], {}, node.name))
    else:
        matrix = constant(name, matrices(weights, groups))
        made.append(Node(CONVOLUTION, 1, [turned, matrix], [raw], {"windows": windows}, node.name))
    if node.has(2):
        bias = node.input(2)
        biased = Value(f"{out.name}, with bias", kind)
        made.append(Node(find("", "Add"), 14, [raw, bias], [biased], {}, node.name))
        raw = biased
    return [*made, Node(transpose, 13, [raw], [out], {"perm": first_order(rank)}, "")]


def is_pointwise(windows: Windows) -> bool:
    """Whether every window is one point of the input, and every point a window."""
    ones = (*windows.kernel, *windows.strides)
    return all(size == 1 for size in ones) and all(size == 0 for size in (*windows.before, *windows.after))


def matrices(weights: Array, groups: int) -> Array:
    """Weights (groups * outputs, channels, taps...) as matrices (groups, taps * channels, outputs)."""
    grouped = weights.reshape(groups, -1, weights.shape[1], int(np.prod(weights.shape[2:])))
    return np.ascontiguousarray(grouped.transpose(0, 3, 2, 1).reshape(groups, -1, grouped.shape[1]))
