"""The whole compiler on one page: read -> verify -> passes -> verify -> plan memory -> emit -> build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlcore.networks import frontends
from mlcore.networks.emit.cpp import Emitted, emit
from mlcore.networks.frontends import Shapes
from mlcore.networks.ir import Graph
from mlcore.networks.ir.verify import verify
from mlcore.networks.passes import optimise, pipeline


def read(source: Path | str | bytes | Any, *, shapes: Shapes | None = None, example: Any = None) -> Graph:
    """A model as a verified graph, before any pass."""
    graph = frontends.read(source, shapes=shapes, example=example)
    verify(graph)
    return graph


def optimised(
    source: Path | str | bytes | Any,
    *,
    shapes: Shapes | None = None,
    example: Any = None,
    strict: bool = False,
    profile: bool = False,
) -> Graph:
    """A model as a verified graph, after all passes; arguments as of `translate`."""
    graph = read(source, shapes=shapes, example=example)
    optimise(graph, pipeline(strict=strict, timed=profile))
    verify(graph)
    return graph


def translate(
    source: Path | str | bytes | Any,
    name: str,
    *,
    shapes: Shapes | None = None,
    example: Any = None,
    strict: bool = False,
    profile: bool = False,
) -> Emitted:
    """A model as C++.

    Parameters
    ----------
    source
        What `mlcore.networks.frontends.as_onnx` takes.
    name
        The namespace of the code, an identifier.
    shapes
        Shapes of inputs, instead of those in the model.
    example
        Of a module: its arguments.
    strict
        Whether no number may be computed in another way than the model says (`passes.ALGEBRA`).
    profile
        Whether each node gets a clock; all events of a batch then go through a node together (without `block_batch`).
    """
    graph = optimised(source, shapes=shapes, example=example, strict=strict, profile=profile)
    return emit(graph, name, profile=profile)
