"""The whole compiler on one page: read -> verify -> passes -> verify -> plan memory -> emit -> build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlcore.networks.emit.cpp import Emitted, emit
from mlcore.networks.frontends import onnx as onnx_frontend
from mlcore.networks.frontends.onnx import Shapes
from mlcore.networks.ir import Graph
from mlcore.networks.ir.verify import verify
from mlcore.networks.passes import PIPELINE, TIMED, optimise


def read(source: Path | bytes | Any, *, shapes: Shapes | None = None) -> Graph:
    """A model as a verified graph, before any pass."""
    graph = onnx_frontend.read(source, shapes=shapes)
    verify(graph)
    return graph


def translate(source: Path | bytes | Any, name: str, *, shapes: Shapes | None = None, profile: bool = False) -> Emitted:
    """A model as C++.

    Parameters
    ----------
    source
        What `mlcore.networks.frontends.onnx.read` takes.
    name
        The namespace of the code, an identifier.
    shapes
        Shapes of inputs, instead of those in the model.
    profile
        Whether each node gets a clock; all events of a batch then go through a node together (without `block_batch`).
    """
    graph = read(source, shapes=shapes)
    optimise(graph, TIMED if profile else PIPELINE)
    verify(graph)
    return emit(graph, name, profile=profile)
