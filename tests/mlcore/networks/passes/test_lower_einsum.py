"""Einsums that are matrix products become MatMul nodes, and give what they gave before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from mlcore.networks.build import QUICK, BuildOptions, Function, build
from mlcore.networks.compiler import read
from mlcore.networks.emit.cpp import emit
from mlcore.networks.ir.verify import verify
from mlcore.networks.passes import optimise
from mlcore.networks.passes.lower_einsum import lower_einsum
from tests.mlcore.networks.conftest import node_model

RNG = np.random.default_rng(23)
NAMED = "bqk"
SIZES = {"b": 2, "q": 5, "k": 6, "h": 3, "d": 4, "e": 7}

PRODUCTS = [
    "bd,de->be", "bhqd,bhkd->bhqk", "bqhd,bkhd->bhqk", "bhqk,bkhd->bqhd", "bqd,dhe->bqhe", "bqhd,hde->bqe",
    "d,d->", "bd,d->b", "d,de->e", "bqd,bkd->kqb", "dq,db->qb",
]  # fmt: skip
OTHERS = ["bd,e->bde", "bb,bd->d", "bd,bd->bd", "bd,qe->be", "bd->d", "bd,de,eh->bh"]


def operands(equation: str, more: int = 0) -> list[Any]:
    shapes = [[SIZES[label] + more * (label in NAMED) for label in term] for term in equation.partition("->")[0].split(",")]
    return [RNG.standard_normal(shape).astype(np.float32) for shape in shapes]


def named(equation: str) -> Any:
    """A model in which some labels are names of sizes, equal in both operands."""
    model = node_model("Einsum", operands(equation), opset=12, equation=equation)
    for port, term in zip(model.graph.input, equation.partition("->")[0].split(","), strict=True):
        for dim, label in zip(port.type.tensor_type.shape.dim, term, strict=True):
            if label in NAMED:
                dim.dim_param = label
    return model


def kinds(graph: Any) -> list[str]:
    return [node.kind for node in graph.nodes]


def test_products_give_what_they_gave_before() -> None:
    emitted = []
    for i, equation in enumerate(PRODUCTS):
        for j, passes in enumerate(([], [lower_einsum])):
            graph = read(named(equation))
            optimise(graph, passes)
            verify(graph)
            assert ("MatMul" in kinds(graph)) == bool(passes), equation
            assert ("Einsum" in kinds(graph)) != bool(passes), equation
            emitted.append(emit(graph, f"case_{i}_{j}"))
    library, _ = build(emitted, BuildOptions(flags=QUICK))
    for i, equation in enumerate(PRODUCTS):
        before, after = (Function(library, item) for item in emitted[2 * i : 2 * i + 2])
        for more in (0, 1):
            x = operands(equation, more)
            # Sums of at most eight products, perhaps in another order.
            np.testing.assert_allclose(after(x)[0], before(x)[0], rtol=1e-5, atol=1e-6, err_msg=equation)
            np.testing.assert_allclose(after(x)[0], np.einsum(equation, *x), rtol=1e-5, atol=1e-6, err_msg=equation)


@pytest.mark.parametrize("equation", OTHERS)
def test_what_is_no_matrix_product_stays(equation: str) -> None:
    graph = read(named(equation))
    lower_einsum(graph)
    assert kinds(graph) == ["Einsum"]


def test_constant_weights_are_arranged_once() -> None:
    model = node_model("Einsum", operands("bqd,hed->bqhe"), opset=12, constants=[1], equation="bqd,hed->bqhe")
    graph = read(model)
    lower_einsum(graph)
    assert kinds(graph) == ["MatMul", "Reshape"]
    weights = graph.nodes[0].constant(1)
    assert weights is not None
    assert weights.shape == (4, 21)


def test_attention_that_is_written_as_einsums_is_attention() -> None:
    nodes = [
        helper.make_node("Einsum", ["q", "k"], ["scores"], equation="bqhd,bkhd->bhqk"),
        helper.make_node("Softmax", ["scores"], ["weights"], axis=-1),
        helper.make_node("Einsum", ["weights", "v"], ["y"], equation="bhqk,bkhd->bqhd"),
    ]
    shapes = {"q": ["b", "q", 3, 4], "k": ["b", "k", 3, 4], "v": ["b", "k", 3, 4]}
    graph = helper.make_graph(
        nodes, "attention", [helper.make_tensor_value_info(name, 1, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info("y", 1, None)],
    )  # fmt: skip
    found = read(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10))
    optimise(found)
    assert kinds(found) == ["fused::Attention"]
    emitted = emit(found, "attention")
    library, _ = build([emitted], BuildOptions(flags=QUICK))
    q, k, v = (RNG.standard_normal((2, n, 3, 4)).astype(np.float32) for n in (5, 6, 6))
    scores = np.einsum("bqhd,bkhd->bhqk", q, k)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    wanted = np.einsum("bhqk,bkhd->bqhd", e / e.sum(-1, keepdims=True), v)
    np.testing.assert_allclose(Function(library, emitted)([q, k, v])[0], wanted, rtol=1e-5, atol=1e-6)
