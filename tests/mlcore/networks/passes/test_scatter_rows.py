"""Indices that repeat along the other axes move whole rows; all others move elements as before."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from mlcore.networks.build import QUICK, BuildOptions, Function, build
from mlcore.networks.compiler import read
from mlcore.networks.emit.cpp import emit
from mlcore.networks.ir import Graph
from mlcore.networks.passes import optimise
from tests.mlcore.networks.models import model

RNG = np.random.default_rng(11)
ROWS, EDGES = 5, 9


def scattered(kind: str, width: tuple[int, ...], constants: dict[str, Any], **attributes: Any) -> onnx.ModelProto:
    """Places of edges, expanded to the width of the rows, and what is moved by them."""
    shape = np.array([EDGES, *width])
    column = np.array([-1, *[1] * len(width)])
    nodes = [
        helper.make_node("Reshape", ["places", "column"], ["tall"]),
        helper.make_node("Expand", ["tall", "shape"], ["wide"]),
        helper.make_node(kind, ["data", "wide", *(["updates"] if kind == "ScatterElements" else [])], ["y"], **attributes),
    ]
    ports: dict[str, tuple[int, list[int | str] | None]] = {
        "places": (TensorProto.INT64, [EDGES]),
        "data": (TensorProto.FLOAT, [ROWS, *width]),
        "updates": (TensorProto.FLOAT, [EDGES, *width]),
    }
    if kind != "ScatterElements":
        del ports["updates"]
    inputs = {name: port for name, port in ports.items() if name not in constants}
    return model(nodes, inputs, {"y": TensorProto.FLOAT}, {"column": column, "shape": shape, **constants}, opset=18)


def kinds(graph: Graph) -> list[str]:
    return [node.kind for node in graph.nodes]


def test_rows_are_moved_as_elements_were() -> None:
    same = np.full((EDGES, 3), -0.5, np.float32)
    zeros = np.where(np.arange(EDGES * 3) % 2 == 0, np.float32(0), np.float32(-0.0)).reshape(EDGES, 3)
    protos = [
        scattered("GatherElements", (3,), {}),
        scattered("GatherElements", (2, 3), {}, axis=-3),
        *(scattered("ScatterElements", (3,), {}, reduction=how) for how in ("none", "add", "mul", "min", "max")),
        scattered("ScatterElements", (2, 3), {}, reduction="add"),
        scattered("ScatterElements", (3,), {"updates": same}, reduction="max"),
        scattered("ScatterElements", (3,), {"updates": zeros}),
        scattered("ScatterElements", (3,), {"data": np.full((ROWS, 3), np.float32(-np.inf))}, reduction="max"),
        scattered("ScatterElements", (3,), {"updates": same, "data": np.zeros((ROWS, 3), np.float32)}, reduction="add"),
    ]
    emitted = []
    for number, proto in enumerate(protos):
        graph = read(proto)
        optimise(graph)
        assert kinds(graph)[-1] in ("Gather", "ScatterND")
        assert "Expand" not in kinds(graph)
        emitted.append(emit(graph, f"rows_{number}"))
    library, _ = build(emitted, BuildOptions(flags=QUICK))
    for item, proto in zip(emitted, protos, strict=True):
        values = {}
        for port in proto.graph.input:
            sizes = [size.dim_value for size in port.type.tensor_type.shape.dim]
            values[port.name] = RNG.standard_normal(sizes).astype(np.float32)
        values["places"] = RNG.integers(-ROWS, ROWS, EDGES)  # some twice, some from behind
        (found,) = Function(library, item)(list(values.values()))
        (wanted,) = ReferenceEvaluator(proto).run(None, values)
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(np.signbit(found), np.signbit(wanted))


def other(tall: list[int], axis: int, dtype: int = TensorProto.INT64) -> onnx.ModelProto:
    """Indices that are expanded from another shape, or along another axis."""
    nodes = [
        helper.make_node("Expand", ["places", "shape"], ["wide"]),
        helper.make_node("ScatterElements", ["data", "wide", "updates"], ["y"], axis=axis, reduction="add"),
    ]
    ports: dict[str, tuple[int, list[int | str] | None]] = {
        "places": (dtype, [*tall]),
        "data": (TensorProto.FLOAT, [4, 4]),
        "updates": (TensorProto.FLOAT, [4, 4]),
    }
    return model(nodes, ports, {"y": TensorProto.FLOAT}, {"shape": np.array([4, 4])}, opset=18)


@pytest.mark.parametrize(
    "proto",
    [
        pytest.param(other([1, 4], 0), id="one index for a column"),
        pytest.param(other([4], 0), id="one index for a column, of fewer axes"),
        pytest.param(other([4, 1], 1), id="along another axis"),
        pytest.param(other([4, 1], 0, TensorProto.INT32), id="indices of another type"),
    ],
)
def test_other_indices_move_elements(proto: onnx.ModelProto) -> None:
    graph = read(proto)
    optimise(graph)
    assert kinds(graph) == ["Expand", "ScatterElements"]


def test_numbers_that_are_all_equal_are_no_weights() -> None:
    updates = np.full((EDGES, 3), np.float32(2))
    graph = read(scattered("ScatterElements", (3,), {"updates": updates}, reduction="add"))
    optimise(graph)
    assert updates.tobytes() not in emit(graph, "equal").weights
