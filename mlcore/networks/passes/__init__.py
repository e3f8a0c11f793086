"""Passes: rewrites of a graph, each in a module of its own, all in order on this page.

Constants are folded while a model is read (`mlcore.networks.frontends.onnx`), since shapes depend on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlcore.networks.ir import Graph
from mlcore.networks.passes.eliminate_common import eliminate_common
from mlcore.networks.passes.eliminate_dead import eliminate_dead
from mlcore.networks.passes.eliminate_identity import eliminate_identity
from mlcore.networks.passes.fold_batch_normalization import fold_batch_normalization
from mlcore.networks.passes.form_linear import form_linear
from mlcore.networks.passes.fuse_attention import fuse_attention
from mlcore.networks.passes.fuse_elementwise import fuse_elementwise
from mlcore.networks.passes.fuse_epilogue import fuse_epilogue
from mlcore.networks.passes.lower_einsum import lower_einsum
from mlcore.networks.passes.sink_transposes import sink_transposes
from mlcore.networks.passes.split_batch import split_batch

Pass = Callable[[Graph], None]

PIPELINE: tuple[Pass, ...] = (
    eliminate_identity,
    eliminate_common,
    eliminate_dead,
    fold_batch_normalization,
    lower_einsum,
    split_batch,
    fuse_attention,
    sink_transposes,
    eliminate_identity,
    form_linear,
    fuse_epilogue,
    fuse_elementwise,
    eliminate_dead,
)


def optimise(graph: Graph, passes: Sequence[Pass] = PIPELINE) -> None:
    """Run passes in order; the graph is changed in place."""
    for run in passes:
        run(graph)
