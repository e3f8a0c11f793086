"""What passes share: who reads a value, and putting another in its place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mlcore.networks.ir import Graph, Node, Value


@dataclass(eq=False)
class Uses:
    """Who reads each value of a graph.

    Attributes
    ----------
    nodes
        The nodes of the graph itself that read a value, once for each time.
    elsewhere
        Values that are outputs of the graph, or read inside subgraphs.
    producer
        The node of the graph itself that computes a value.
    """

    nodes: dict[Value, list[Node]] = field(default_factory=lambda: defaultdict(list))
    elsewhere: set[Value] = field(default_factory=set)
    producer: dict[Value, Node] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: Graph) -> Uses:
        found = cls()
        found.elsewhere.update(graph.outputs)
        for node in graph.nodes:
            for value in node.present():
                found.nodes[value].append(node)
            for inner in node.graphs:
                found.elsewhere.update(inner.used())
            for value in node.outputs:
                found.producer[value] = node
        return found

    def only(self, value: Value) -> Node | None:
        """The one node that reads a value, once, where nobody else does."""
        readers = self.nodes.get(value, [])
        return readers[0] if len(readers) == 1 and value not in self.elsewhere else None


def replace(graph: Graph, replacements: Mapping[Value, Value]) -> None:
    """Put other values in the places where some are read, subgraphs included."""
    if not replacements:
        return

    def final(value: Value) -> Value:
        while value in replacements:
            value = replacements[value]
        return value

    for node in graph.nodes:
        node.inputs = [None if value is None else final(value) for value in node.inputs]
        for inner in node.graphs:
            replace(inner, replacements)
    graph.outputs = [final(value) for value in graph.outputs]


def all_graphs(graph: Graph) -> Iterator[Graph]:
    """A graph and all graphs inside its nodes."""
    yield graph
    for node in graph.nodes:
        for inner in node.graphs:
            yield from all_graphs(inner)


REDUCTIONS = frozenset(
    {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare"}
)
"""Operators that put elements along axes together."""


def axes_of(node: Node) -> list[int]:
    """The axes of a reduction, counted from the front; none where they are not known, or all."""
    listed = node.integers("axes")
    if node.has(1):
        known = node.input(1).elements or ()
        listed = [item for item in known if isinstance(item, int)]
        if len(listed) != len(known):
            return []
    return [node.axis(axis, node.input(0).rank) for axis in listed or ()]
