"""Nodes that compute what another has computed already are taken out: equal operators, inputs and attributes.

Constants of equal contents become one, so that weights that several nodes share are stored once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from typing import Any

import numpy as np

from mlcore.networks.ir import Array, Graph, Node, TensorType, Value
from mlcore.networks.passes._rewrite import all_graphs, replace


def eliminate_common(graph: Graph) -> None:
    """Keep the first of equal nodes, in each graph by itself."""
    _share_constants(graph)
    for one in all_graphs(graph):
        _eliminate(one)


def _share_constants(graph: Graph) -> None:
    first: dict[Hashable, Value] = {}
    replacements: dict[Value, Value] = {}
    for value in dict.fromkeys(graph.used()):
        if value.constant is None or value in replacements:
            continue
        kept = first.setdefault(_contents(value.constant), value)
        if kept is not value:
            replacements[value] = kept
    replace(graph, replacements)


def _contents(array: Array) -> Hashable:
    if array.dtype == np.object_:
        return ("text", array.shape, tuple(array.reshape(-1)))
    return (str(array.dtype), array.shape, hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest())


def _eliminate(graph: Graph) -> None:
    seen: dict[Hashable, Node] = {}
    replacements: dict[Value, Value] = {}
    kept = []
    outputs = set(graph.outputs)
    for node in graph.nodes:
        node.inputs = [None if value is None else replacements.get(value, value) for value in node.inputs]
        if not node.operator.deterministic or any(True for _ in node.graphs) or _is_late(node):
            kept.append(node)
            continue
        first = seen.setdefault(_key(node), node)
        if first is node or any(value in outputs for value in node.outputs):
            kept.append(node)
            continue
        replacements.update(zip(node.outputs, first.outputs, strict=True))
    graph.nodes[:] = kept
    replace(graph, replacements)


def _is_late(node: Node) -> bool:
    """Whether a node finds out sizes: its symbols are its own, and used by others."""
    return any(not isinstance(value.type, TensorType) or value.type.is_late for value in node.outputs)


def _key(node: Node) -> Hashable:
    attributes = tuple(sorted((key, _frozen(item)) for key, item in node.attributes.items()))
    # The shape of a view made by a pass stands in its output alone.
    outputs = tuple((bool(value.name), value.type) for value in node.outputs)
    return (node.kind, node.version, tuple(map(id, node.inputs)), attributes, outputs)


def _frozen(item: Any) -> str:
    return repr(_contents(item)) if isinstance(item, np.ndarray) else repr(item)
