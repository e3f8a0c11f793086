"""Nodes that change nothing are taken out: Identity, Dropout at inference, casts to the same type, reshapes to the same shape."""

from __future__ import annotations

from mlcore.networks.ir import Graph, Node, TensorType, Value
from mlcore.networks.passes._rewrite import all_graphs, replace

_WITHOUT_EFFECT = frozenset(
    {"Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Expand", "Dropout", "Transpose", "fused::View"}
)


def eliminate_identity(graph: Graph) -> None:
    """Let readers of such a node's output read its input."""
    replacements: dict[Value, Value] = {}
    for one in all_graphs(graph):
        kept = []
        outputs = set(one.outputs)
        for node in one.nodes:
            if _changes_nothing(node) and node.output not in outputs:
                replacements[node.output] = node.input(0)
            else:
                kept.append(node)
        one.nodes[:] = kept
    replace(graph, replacements)


def _changes_nothing(node: Node) -> bool:
    if node.kind not in _WITHOUT_EFFECT or len([value for value in node.outputs if value.name]) != 1:
        return False
    before, after = node.input(0).type, node.output.type
    if node.kind == "Identity":
        return before == after
    if before != after or not isinstance(after, TensorType) or after.is_late:
        return False
    if node.kind == "Dropout":
        training = node.optional(2)
        return node.version >= 7 and (training is None or (training.constant is not None and not bool(training.constant)))
    if node.kind == "Transpose":
        order = node.integers("perm") or list(range(node.input(0).rank))[::-1]
        moved = [axis for axis in order if node.input(0).shape[axis] != 1]
        return moved == sorted(moved)
    return True
