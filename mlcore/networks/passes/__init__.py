"""Passes: rewrites of a graph, each in a module of its own, all in order on this page."""

from __future__ import annotations

from collections.abc import Callable

from mlcore.networks.ir import Graph
from mlcore.networks.passes.eliminate_dead import eliminate_dead

Pass = Callable[[Graph], None]

PIPELINE: tuple[Pass, ...] = (eliminate_dead,)


def optimise(graph: Graph) -> None:
    """Run all passes in order; the graph is changed in place."""
    for run in PIPELINE:
        run(graph)
