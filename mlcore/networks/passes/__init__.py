"""Passes: rewrites of a graph, each in a module of its own, all in order on this page.

Constants are folded while a model is read (`mlcore.networks.frontends.onnx`), since shapes depend on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlcore.networks.ir import Graph
from mlcore.networks.passes.absorb_transposes import absorb_transposes
from mlcore.networks.passes.block_batch import block_batch
from mlcore.networks.passes.channels_last import channels_last
from mlcore.networks.passes.distribute_products import distribute_products
from mlcore.networks.passes.drop_expansions import drop_expansions
from mlcore.networks.passes.eliminate_common import eliminate_common
from mlcore.networks.passes.eliminate_dead import eliminate_dead
from mlcore.networks.passes.eliminate_identity import eliminate_identity
from mlcore.networks.passes.filter_convolutions import filter_convolutions
from mlcore.networks.passes.fold_batch_normalization import fold_batch_normalization
from mlcore.networks.passes.form_linear import form_linear
from mlcore.networks.passes.fuse_attention import fuse_attention
from mlcore.networks.passes.fuse_elementwise import fuse_elementwise
from mlcore.networks.passes.fuse_epilogue import fuse_epilogue
from mlcore.networks.passes.lift_transposes import lift_transposes
from mlcore.networks.passes.lower_einsum import lower_einsum
from mlcore.networks.passes.scatter_rows import scatter_rows
from mlcore.networks.passes.simplify_powers import simplify_powers
from mlcore.networks.passes.sink_transposes import sink_transposes

Pass = Callable[[Graph], None]

PIPELINE: tuple[Pass, ...] = (
    eliminate_identity,
    eliminate_common,
    eliminate_dead,
    simplify_powers,
    fold_batch_normalization,
    lower_einsum,
    fuse_attention,
    channels_last,
    sink_transposes,
    eliminate_identity,
    absorb_transposes,
    drop_expansions,
    scatter_rows,
    eliminate_dead,
    lift_transposes,
    eliminate_identity,
    eliminate_common,
    distribute_products,
    eliminate_dead,
    form_linear,
    fuse_epilogue,
    fuse_elementwise,
    eliminate_dead,
    block_batch,
    filter_convolutions,
)

ALGEBRA: tuple[Pass, ...] = (fold_batch_normalization, distribute_products, filter_convolutions)
"""Passes that compute the same numbers in another way, so that they are rounded in other places."""


def pipeline(*, strict: bool = False, timed: bool = False) -> tuple[Pass, ...]:
    """The passes in order.

    Parameters
    ----------
    strict
        Whether every number is to be computed as the model says: without `ALGEBRA`.
    timed
        Whether each node gets a clock: without the loop over a batch, which would have one clock for all that is in it.
    """
    left_out = (ALGEBRA if strict else ()) + ((block_batch,) if timed else ())
    return tuple(run for run in PIPELINE if run not in left_out)


def optimise(graph: Graph, passes: Sequence[Pass] = PIPELINE) -> None:
    """Run passes in order; the graph is changed in place."""
    for run in passes:
        run(graph)
