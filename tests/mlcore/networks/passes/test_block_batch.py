"""Nodes whose results for an event need that event alone go through the batch in blocks, and give what they gave before."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from mlcore.networks.build import QUICK, BuildOptions, Function, build
from mlcore.networks.compiler import read
from mlcore.networks.emit.cpp import Emitted, emit
from mlcore.networks.ir import Graph
from mlcore.networks.ir.verify import verify
from mlcore.networks.passes import PIPELINE, optimise
from mlcore.networks.passes.block_batch import block_batch
from tests.mlcore.networks.models import model

RNG = np.random.default_rng(5)
TOKENS, WIDTH, HEADS = 26, 6, 2
WHOLE = [one for one in PIPELINE if one is not block_batch]


def made(kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> Any:
    return helper.make_node(kind, inputs, outputs, **attributes)


def block(batch: int | str) -> Any:
    """A transformer's block; besides its result, the tokens after the attention and a mean over the batch come out."""
    nodes = [
        made("LayerNormalization", ["x", "scale", "shift"], ["normal"], axis=-1),
        made("MatMul", ["normal", "w1"], ["qkv"]),
        made("Slice", ["qkv", "zero", "width", "last"], ["q"]),
        made("Slice", ["qkv", "width", "twice", "last"], ["k"]),
        made("Slice", ["qkv", "twice", "thrice", "last"], ["v"]),
    ]
    for name in "qkv":
        nodes.append(made("Reshape", [name, "heads"], [f"{name}1"]))
        nodes.append(made("Transpose", [f"{name}1"], [f"{name}2"], perm=[0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]))
    nodes += [
        made("MatMul", ["q2", "k2"], ["scores"]),
        made("Add", ["scores", "mask"], ["masked"]),
        made("Softmax", ["masked"], ["weights"], axis=-1),
        made("MatMul", ["weights", "v2"], ["seen"]),
        made("Transpose", ["seen"], ["turned"], perm=[0, 2, 1, 3]),
        made("Reshape", ["turned", "flat"], ["joined"]),
        made("Add", ["x", "joined"], ["tokens"]),
        made("ReduceMean", ["condition"], ["level"], axes=[0], keepdims=1),  # not apart, and reads nothing of the run
        made("Mul", ["tokens", "gate"], ["gated"]),
        made("Add", ["gated", "level"], ["shifted"]),
        made("MatMul", ["shifted", "w2"], ["hidden"]),
        made("Relu", ["hidden"], ["active"]),
        made("Concat", ["active", "tokens"], ["both"], axis=2),
        made("ReduceMax", ["both"], ["most"], axes=[1], keepdims=0),
        made("ReduceMean", ["most"], ["mean"], axes=[0], keepdims=0),
    ]

    def weights(*shape: int) -> Any:
        return RNG.standard_normal(shape).astype(np.float32)

    def whole(*values: int) -> Any:
        return np.array(values, np.int64)

    constants = {
        "scale": weights(WIDTH), "shift": weights(WIDTH), "w1": weights(WIDTH, 3 * WIDTH), "w2": weights(WIDTH, 5),
        "zero": whole(0), "width": whole(WIDTH), "twice": whole(2 * WIDTH), "thrice": whole(3 * WIDTH), "last": whole(-1),
        "heads": whole(0, TOKENS, HEADS, WIDTH // HEADS), "flat": whole(0, TOKENS, WIDTH),
    }  # fmt: skip
    inputs: dict[str, tuple[int, list[int | str] | None]] = {
        "x": (TensorProto.FLOAT, [batch, TOKENS, WIDTH]),
        "mask": (TensorProto.FLOAT, [batch, 1, 1, TOKENS]),
        "gate": (TensorProto.FLOAT, [TOKENS, 1]),
        "condition": (TensorProto.FLOAT, [3, 1, WIDTH]),
    }
    return model(nodes, inputs, dict.fromkeys(("most", "tokens", "mean"), TensorProto.FLOAT), constants)


def arrays(batch: int) -> list[Any]:
    shapes = [(batch, TOKENS, WIDTH), (batch, 1, 1, TOKENS), (TOKENS, 1), (3, 1, WIDTH)]
    return [RNG.standard_normal(shape).astype(np.float32) for shape in shapes]


def kinds(graph: Graph) -> list[str]:
    return [node.kind for node in graph.nodes]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of a test are large enough to be worth a loop, event by event."""
    module = sys.modules[block_batch.__module__]
    for name in ("LARGE", "NEAR", "LARGE_ROWS", "NEAR_ROWS"):
        monkeypatch.setattr(module, name, 0)


@pytest.mark.usefixtures("small")
def test_a_block_gives_what_it_gave_before() -> None:
    emitted: list[Emitted] = []
    for batch in (4, "batch"):
        proto = block(batch)
        for passes in ([], WHOLE, [block_batch], PIPELINE):
            graph = read(proto)
            optimise(graph, passes)
            verify(graph)
            assert ("fused::Blocks" in kinds(graph)) == (block_batch in passes)
            if block_batch in passes:
                assert kinds(graph)[-2:] == ["fused::Blocks", "ReduceMean"]
            emitted.append(emit(graph, f"case_{len(emitted)}"))
    library, _ = build(emitted, BuildOptions(flags=QUICK))
    functions = [Function(library, item) for item in emitted]
    for first, batches in ((0, [4]), (4, [1, 3, 0])):
        for batch in batches:
            x = arrays(batch)
            plain, whole, split, both = (function(x) for function in functions[first : first + 4])
            for wanted, *found in zip(plain, whole, split, both, strict=True):
                for one in found:
                    # Of numbers about ten: products are summed in the same order, additions may be fused.
                    np.testing.assert_allclose(one, wanted, rtol=2e-5, atol=1e-5)


def two_products(*between: Any, shape: list[int]) -> Graph:
    nodes = [made("MatMul", ["x", "w"], ["a"]), *between, made("MatMul", ["b", "w"], ["y"])]
    weights = np.ones((shape[-1], shape[-1]), np.float32)
    constants = {"w": weights, "batch": np.arange(4 * shape[-1], dtype=np.float32).reshape(4, 1, -1)}
    proto = model(nodes, {"x": (TensorProto.FLOAT, list(shape))}, {"y": TensorProto.FLOAT}, constants)
    graph = read(proto)
    block_batch(graph)
    verify(graph)
    return graph


@pytest.mark.parametrize(
    ("between", "shape"),
    [
        pytest.param(made("Relu", ["a"], ["b"]), [1, 30, 8], id="one event"),
        pytest.param(made("Relu", ["a"], ["b"]), [4, 30, 400], id="weights beyond the cache"),
        pytest.param(made("Softmax", ["a"], ["b"], axis=0), [4, 30, 8], id="over the batch"),
        pytest.param(made("Transpose", ["a"], ["b"], perm=[1, 0, 2]), [4, 30, 8], id="the batch moves"),
    ],
)
@pytest.mark.usefixtures("small")
def test_what_does_not_pay_or_mixes_events_stays(between: Any, shape: list[int]) -> None:
    assert "fused::Blocks" not in kinds(two_products(between, shape=shape))


def test_what_fits_into_a_cache_stays() -> None:
    assert "fused::Blocks" not in kinds(two_products(made("Relu", ["a"], ["b"]), shape=[4, 30, 8]))


def test_blocks_have_as_many_events_as_stay_near() -> None:
    graph = two_products(made("Relu", ["a"], ["b"]), shape=[96, 100, 64])
    (loop,) = graph.nodes
    assert (loop.kind, loop.attributes["events"], loop.attributes["block"]) == ("fused::Blocks", 96, 2)


@pytest.mark.usefixtures("small")
def test_rows_of_edges_are_a_batch_of_their_own() -> None:
    """Edges read rows of nodes; the sum over the edges of a node needs all of them."""
    nodes = [
        made("Gather", ["x", "to"], ["a"]),
        made("Gather", ["x", "source"], ["b"]),
        made("Sub", ["a", "b"], ["difference"]),
        made("Abs", ["difference"], ["c"]),
        made("MatMul", ["c", "w"], ["d"]),
        made("Relu", ["d"], ["e"]),
        made("Reshape", ["to", "column"], ["places"]),
        made("ScatterND", ["zeros", "places", "e"], ["y"], reduction="add"),
    ]
    ports: dict[str, tuple[int, list[int | str] | None]] = {
        "x": (TensorProto.FLOAT, [6, 5]), "to": (TensorProto.INT64, [24]), "source": (TensorProto.INT64, [24]),
    }  # fmt: skip
    w = RNG.standard_normal((5, 4)).astype(np.float32)
    constants = {"w": w, "column": np.array([-1, 1]), "zeros": np.zeros((6, 4), np.float32)}
    graph = read(model(nodes, ports, {"y": TensorProto.FLOAT}, constants, opset=18))
    optimise(graph)
    verify(graph)
    (loop,) = (node for node in graph.nodes if node.kind == "fused::Blocks")
    assert (loop.attributes["events"], kinds(graph)[-1]) == (24, "ScatterND")
    emitted = emit(graph, "edges")
    library, _ = build([emitted], BuildOptions(flags=QUICK))
    x, to, source = RNG.standard_normal((6, 5)).astype(np.float32), RNG.integers(0, 6, 24), RNG.integers(0, 6, 24)
    wanted = np.zeros((6, 4), np.float32)
    np.add.at(wanted, to, np.maximum(np.abs(x[to] - x[source]) @ w, 0))
    np.testing.assert_allclose(Function(library, emitted)([x, to, source])[0], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("small")
def test_a_constant_of_the_batch_is_sliced() -> None:
    graph = two_products(made("Add", ["a", "batch"], ["b"]), shape=[4, 30, 8])
    assert kinds(graph) == ["fused::Blocks"]
    emitted = emit(graph, "constants")
    library, _ = build([emitted], BuildOptions(flags=QUICK))
    x = RNG.standard_normal((4, 30, 8)).astype(np.float32)
    ones = np.ones((8, 8), np.float32)
    np.testing.assert_allclose(
        Function(library, emitted)([x])[0], (x @ ones + np.arange(32).reshape(4, 1, 8)) @ ones, rtol=1e-4, atol=1e-4
    )


@pytest.mark.usefixtures("small")
def test_what_a_run_computes_is_not_read_whole_inside_it() -> None:
    nodes = [
        made("MatMul", ["x", "w"], ["a"]),
        made("MatMul", ["a", "w"], ["between"]),
        made("MatMul", ["between", "w"], ["b"]),
        made("Gather", ["x2", "index"], ["c"], axis=1),
        made("Reshape", ["a", "shape"], ["wide"]),  # (4, 30, 8) as (1, 120, 8): every event needs all of it
        made("MatMul", ["b", "turn"], ["d"]),
        made("ReduceSum", ["wide", "one"], ["total"], keepdims=1),
        made("Add", ["d", "total"], ["y"]),
    ]
    constants = {
        "w": np.eye(8, dtype=np.float32), "turn": np.eye(8, dtype=np.float32), "index": np.array([0]),
        "shape": np.array([1, 120, 8]), "one": np.array([1]),
    }  # fmt: skip
    ports: dict[str, tuple[int, list[int | str] | None]] = {name: (TensorProto.FLOAT, [4, 30, 8]) for name in ("x", "x2")}
    proto = model(nodes, ports, {"y": TensorProto.FLOAT, "c": TensorProto.FLOAT}, constants)
    graph = read(proto)
    block_batch(graph)
    verify(graph)
    assert kinds(graph)[0] == "fused::Blocks"
    assert "Add" in kinds(graph)
    emitted = emit(graph, "whole")
    library, _ = build([emitted], BuildOptions(flags=QUICK))
    x, x2 = (RNG.standard_normal((4, 30, 8)).astype(np.float32) for _ in range(2))
    y, c = Function(library, emitted)([x, x2])
    np.testing.assert_allclose(y, x + x.sum((0, 1)), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(c, x2[:, :1])
