"""What each node of a network costs here: seconds by node, measured in the generated code itself."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlcore.errors import InputError
from mlcore.networks.build import BuildOptions, build
from mlcore.networks.compiler import read
from mlcore.networks.emit.cpp import emit
from mlcore.networks.frontends import Shapes
from mlcore.networks.ir import Graph, Node
from mlcore.networks.ir.verify import verify
from mlcore.networks.isolated import CALL_LIMITS, IsolatedFunction
from mlcore.networks.oracle import chosen_sizes, random_inputs, size_choices
from mlcore.networks.passes import optimise, pipeline
from mlcore.networks.predictor import given
from mlcore.toolchain.sandbox import Limits

SMALLEST = 16
"""What symbols are set to where no number is given: the smallest, others are larger by 2 each."""


@dataclass(frozen=True)
class NodeTime:
    """The time of a node.

    Attributes
    ----------
    kind
        Its operator; ``fused::...`` where a pass made it.
    name
        In the model, or "".
    made_of
        Operators that run in the same loop behind it.
    seconds
        Median over the calls, about 20 ns for the clock among them.
    """

    kind: str
    name: str
    made_of: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Profile:
    """The time of each node, in order.

    Attributes
    ----------
    sizes
        The numbers that the symbols had.
    n_calls
        That were measured.
    seconds
        Median of the sum over all nodes.
    """

    sizes: Mapping[str, int]
    n_calls: int
    seconds: float
    nodes: tuple[NodeTime, ...]

    def by_kind(self) -> dict[str, tuple[int, float]]:
        """Number of nodes and seconds by operator, the slowest first."""
        found: dict[str, tuple[int, float]] = {}
        for node in self.nodes:
            count, seconds = found.get(node.kind, (0, 0.0))
            found[node.kind] = (count + 1, seconds + node.seconds)
        return dict(sorted(found.items(), key=lambda item: -item[1][1]))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def profile(
    source: Path | str | bytes | Any,
    *,
    shapes: Shapes | None = None,
    example: Any = None,
    sizes: Mapping[str, int] | None = None,
    inputs: Mapping[str, Any] | None = None,
    seconds: float = 1.0,
    options: BuildOptions | None = None,
    limits: Limits = CALL_LIMITS,
    seed: int = 0,
) -> Profile:
    """Compile a network with clocks, run it in a child process, and say what each node took.

    Parameters
    ----------
    source, shapes, example, options
        As of `mlcore.networks.load`.
    sizes
        Numbers of symbols, by name; others are set to 16 and a little more.
    inputs
        Arrays by name; random ones where none are given.
    seconds
        About how long to measure.
    limits
        Of the child.
    seed
        Of random inputs.

    Raises
    ------
    InputError, UnsupportedOperatorError
        The model cannot be read, or does not take those sizes or inputs.
    ToolchainError
        There is no compiler, or it failed.
    RunError
        The child went over a limit.
    """
    graph = read(source, shapes=shapes, example=example)
    optimise(graph, pipeline(strict=(options or BuildOptions()).math == "strict", timed=True))
    verify(graph)
    emitted = emit(graph, "network", profile=True)
    # Sizes that the network does not take are passed over, but for those that are given.
    choices: list[dict[str, int]] = [{}]
    if inputs is None:
        fixed = {name: number for name, number in chosen(graph, sizes).items() if name in (sizes or {})}
        choices = [choice | fixed for choice in size_choices(graph, SMALLEST)]
        random_inputs(graph, dict.fromkeys(choices[0], 0), seed)  # refuses what has no random values before it is compiled
    library, _ = build([emitted], options)
    with closing(IsolatedFunction(library, emitted, limits)) as function:
        for last, numbers in enumerate(choices, 1 - len(choices)):
            values: list[Any] = given(emitted, inputs) if inputs is not None else list(random_inputs(graph, numbers, seed))
            try:
                rows = function.profile(values, seconds=seconds)
            except InputError:
                if not last:
                    raise
                continue
            break
    medians = np.median(rows, axis=0).tolist() if emitted.profiled else []
    nodes = tuple(
        NodeTime(node.kind, node.name, made_of(node), spent) for node, spent in zip(emitted.profiled, medians, strict=True)
    )
    return Profile(numbers, len(rows), float(np.median(rows.sum(axis=1))) if len(nodes) else 0.0, nodes)


def chosen(graph: Graph, sizes: Mapping[str, int] | None, smallest: int = SMALLEST) -> dict[str, int]:
    """A number for each symbol of a graph's inputs, those that are given first.

    Raises
    ------
    InputError
        There is no symbol of a name, or a number is negative.
    """
    found = chosen_sizes(graph, smallest)
    for name, number in (sizes or {}).items():
        if name not in found:
            known = f"Its symbols: {', '.join(found)}." if found else "All its sizes are numbers."
            raise InputError(f"the network has no size {name!r}", hint=known, code="network.sizes")
        if number < 0:
            raise InputError(f"the size {name!r} is {number}", hint="Sizes are 0 or more.", code="network.sizes")
        found[name] = number
    return found


def made_of(node: Node) -> tuple[str, ...]:
    """The operators that a pass put into one loop with a node."""
    steps: Any = node.attributes.get("steps", [])
    return tuple(step.kind for step in steps) if isinstance(steps, list) else ()
