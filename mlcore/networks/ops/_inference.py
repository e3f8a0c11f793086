"""Inference: types and known numbers of a node's outputs, set once its inputs have theirs."""

from __future__ import annotations

from mlcore.errors import InputError, UnsupportedOperatorError
from mlcore.networks.ir import DType, Graph, Node, TensorType
from mlcore.networks.ir.graph import MOST_ELEMENTS
from mlcore.networks.ops import Facts


def infer_node(node: Node, facts: Facts) -> None:
    """Set the types of a node's outputs, and their elements where those are known.

    Raises
    ------
    InputError
        The node contradicts its inputs.
    """
    try:
        types = node.operator.infer(node, facts)
    except InputError as error:
        if node.where not in error.message and not isinstance(error, UnsupportedOperatorError):
            error.message = f"{node.where}: {error.message}"
            error.args = (error.message,)
        raise
    for value, found in zip(node.outputs, types, strict=False):
        value.type = found
    first = node.outputs[0]
    if (
        isinstance(first.type, TensorType)
        and (first.type.dtype.is_integer or first.type.dtype is DType.BOOL)
        and first.type.shape is not None
        and len(first.type.shape) <= 1
    ):
        count = first.type.count
        if isinstance(count, int) and count <= MOST_ELEMENTS:
            first.elements = node.operator.elements(node)


def infer_graph(graph: Graph, facts: Facts) -> None:
    """Set the types of all values of a graph whose inputs have theirs."""
    for node in graph.nodes:
        infer_node(node, facts)
