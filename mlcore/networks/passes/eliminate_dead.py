"""Nodes whose outputs nobody reads are taken out."""

from __future__ import annotations

from mlcore.networks.ir import Graph, Value


def eliminate_dead(graph: Graph) -> None:
    """Take out what contributes to no output, in subgraphs too."""
    _eliminate(graph, set(graph.outputs))


def _eliminate(graph: Graph, alive: set[Value]) -> None:
    kept = []
    for node in reversed(graph.nodes):
        if not any(value in alive for value in node.outputs):
            continue
        kept.append(node)
        alive.update(node.present())
        for inner in node.graphs:
            alive.update(inner.outputs)
            _eliminate(inner, alive)
    graph.nodes[:] = reversed(kept)
