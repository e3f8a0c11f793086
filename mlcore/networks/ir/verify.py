"""The verifier: what has to hold of every graph, between any two passes."""

from __future__ import annotations

from mlcore.errors import VerificationError
from mlcore.networks.ir.graph import Graph, Value
from mlcore.networks.ir.types import DType, TensorType


def verify(graph: Graph) -> None:
    """Check that a graph is well formed.

    Every value is computed once, before it is read; constants have the types that they say; outputs that are computed have types.

    Raises
    ------
    VerificationError
        It is not: a defect of the frontend or the pass that ran last.
    """
    _verify(graph, set())


def _verify(graph: Graph, known: set[Value]) -> None:
    mine = set(graph.inputs) - known
    known |= mine
    for value in graph.inputs:
        if value.constant is not None:
            raise VerificationError(f"the input {value.name!r} of {graph.name!r} has a value")
    for node in graph.nodes:
        for value in node.present():
            _check_read(value, known, node.where)
        for inner in node.graphs:
            _verify(inner, known)
        for value in node.outputs:
            if value in known:
                raise VerificationError(f"{value!r} is computed twice, the second time by {node.where}")
            if value.constant is not None:
                raise VerificationError(f"{value!r} is known, and computed by {node.where}")
            known.add(value)
            mine.add(value)
    for value in graph.outputs:
        _check_read(value, known, f"the output {value.name!r} of {graph.name!r}")
    known -= mine


def _check_read(value: Value, known: set[Value], where: str) -> None:
    if value.constant is None:
        if value not in known:
            raise VerificationError(f"{value!r} is read by {where} before it is computed")
        return
    kind = value.type
    if not isinstance(kind, TensorType) or kind.shape != value.constant.shape or kind.dtype is not DType.of(value.constant):
        raise VerificationError(f"the constant {value.name!r} is {value.constant.dtype}{value.constant.shape}, its type {kind}")
