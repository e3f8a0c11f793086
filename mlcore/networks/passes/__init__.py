"""Passes: rewrites of a graph, each in a module of its own, all in order on this page.

Constants are folded while a model is read (`mlcore.networks.frontends.onnx`), since shapes depend on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlcore.networks.ir import Graph
from mlcore.networks.passes.eliminate_common import eliminate_common
from mlcore.networks.passes.eliminate_dead import eliminate_dead
from mlcore.networks.passes.eliminate_identity import eliminate_identity
from mlcore.networks.passes.fuse_elementwise import fuse_elementwise

Pass = Callable[[Graph], None]

PIPELINE: tuple[Pass, ...] = (
    eliminate_identity,
    eliminate_common,
    eliminate_dead,
    fuse_elementwise,
)


def optimise(graph: Graph, passes: Sequence[Pass] = PIPELINE) -> None:
    """Run passes in order; the graph is changed in place."""
    for run in passes:
        run(graph)
