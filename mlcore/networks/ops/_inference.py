"""Inference: types and known numbers of a node's outputs, set once its inputs have theirs."""

from __future__ import annotations

import math

from mlcore.errors import InputError, UnsupportedOperatorError
from mlcore.networks.ir import DType, Graph, Node, TensorType, Value
from mlcore.networks.ir.graph import MOST_ELEMENTS
from mlcore.networks.ops import Facts

MOST_BYTES = 2**46


def infer_node(node: Node, facts: Facts) -> None:
    """Set the types of a node's outputs, and their elements where those are known.

    Raises
    ------
    InputError
        The node contradicts its inputs.
    """
    if not node.outputs:
        raise InputError(f"{node.where} has no output", hint="Export the model again.", code="network.node")
    try:
        types = node.operator.infer(node, facts)
    except InputError as error:
        if node.where not in error.message and not isinstance(error, UnsupportedOperatorError):
            error.message = f"{node.where}: {error.message}"
            error.args = (error.message,)
        raise
    for value, found in zip(node.outputs, types, strict=False):
        value.type = found
        check_size(value, node.where)
    for value in node.outputs[len(types) :]:
        value.name = ""  # the operator has no such output: whoever reads it finds nothing
    first = node.outputs[0]
    if (
        isinstance(first.type, TensorType)
        and (first.type.dtype.is_integer or first.type.dtype is DType.BOOL)
        and first.type.shape is not None
        and len(first.type.shape) <= 1
    ):
        count = first.type.count
        if isinstance(count, int) and count <= MOST_ELEMENTS:
            found = node.operator.elements(node)
            known = None if found is None else tuple(item for item in found if item is not None)
            if found is not None and known is not None and len(known) == len(found):
                first.elements = known
            elif known:
                first.some_elements = found


def check_size(value: Value, where: str) -> None:
    """Refuse a tensor that no machine holds, so that sizes in bytes stay far from what 64 bits can count.

    Raises
    ------
    InputError
        Its sizes that are numbers come to more than `MOST_BYTES`.
    """
    kind = value.type
    if isinstance(kind, TensorType) and kind.shape is not None:
        fixed = math.prod(max(size, 1) for size in kind.shape if isinstance(size, int))
        if fixed * kind.dtype.bytes > MOST_BYTES:
            raise InputError(f"{where}: {value.name!r} is larger than any memory: {kind}", code="network.large")


def infer_graph(graph: Graph, facts: Facts) -> None:
    """Set the types of all values of a graph whose inputs have theirs."""
    for node in graph.nodes:
        infer_node(node, facts)
