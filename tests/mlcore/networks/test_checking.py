"""check: what is said of a model before anything is compiled, of models that cannot be translated as well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mlcore import networks
from mlcore.errors import InputError, UnsupportedOperatorError
from mlcore.networks.compiler import read
from mlcore.networks.costs import Cost, cost
from mlcore.networks.ir.text import dump
from mlcore.networks.passes import optimise
from tests.mlcore.networks.models import mlp, model

HOSTILE = '"); system("x");\n\\ ??/ */ </title><script>alert(1)</script> ü\u202e'


def test_a_model_that_can_be_compiled() -> None:
    report = networks.check(mlp())
    assert report.supported
    assert report.problem is None
    assert report.unsupported == ()
    assert {use.name: (use.count, use.version, use.support) for use in report.operators} == {
        "MatMul": (1, 13, "yes"), "Add": (1, 14, "yes"), "Relu": (1, 14, "yes"), "Gemm": (1, 13, "yes"),
        "Sigmoid": (1, 13, "yes"),
    }  # fmt: skip
    assert report.inputs == (("x", "float32[batch, 8]"),)
    assert report.outputs == (("y", "float32[batch, 4]"),)
    assert report.symbols == ("batch",)
    assert (report.n_parameters, report.parameter_bytes) == (8 * 16 + 16 + 4 * 16 + 4, 4 * 212)
    assert (report.nodes_before, report.nodes_after) == (5, 2)
    assert report.passes[-1].nodes_after == 2
    assert [node.made_of for node in report.fused] == [("Add", "Relu"), ("Add", "Sigmoid")]
    assert report.workspace == "64*batch"
    assert report.memory is not None
    assert report.memory.sizes == {"batch": 16}
    assert report.total is not None
    assert report.total.macs == "192*batch"
    assert report.costs[0].operator == "MatMul"
    assert json.loads(json.dumps(report.to_json()))["total"]["flops"] == "420*batch"
    assert "fused::Linear" in report.text
    ET.fromstring(report.drawing)  # noqa: S314 - our own text


def test_a_file_and_its_shapes(tmp_path: Path) -> None:
    path = tmp_path / "mlp.onnx"
    path.write_bytes(mlp().SerializeToString())
    report = networks.check(str(path), shapes={"x": (10, 8)})
    assert report.symbols == ()
    assert report.total is not None
    assert report.total.macs == "1920"
    assert report.workspace == str(10 * 16 * 4 + 64)


def broken() -> onnx.ModelProto:
    """Operators that are not supported in the graph itself, in a branch, in a function of the model."""
    inner = helper.make_graph(
        [helper.make_node("FusedGelu", ["x"], ["t"], name="gelu", domain="com.microsoft")],
        "then",
        [],
        [helper.make_tensor_value_info("t", TensorProto.FLOAT, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["e"])], "else", [], [helper.make_tensor_value_info("e", TensorProto.FLOAT, None)]
    )
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="fine"),
        helper.make_node("Relo", ["a"], ["b"], name="misspelt"),
        helper.make_node("If", ["c"], ["d"], name="if", then_branch=inner, else_branch=other),
        helper.make_node("Mine", ["b"], ["f"], name="mine", domain="my"),
        helper.make_node("Mine", ["f"], ["h"], name="again", domain="my"),
        helper.make_node("Other", ["h"], ["y"], name="", domain="nobody"),
    ]
    proto = model(nodes, {"x": (TensorProto.FLOAT, [4]), "c": (TensorProto.BOOL, [1])}, {"y": TensorProto.FLOAT})
    for domain in ("com.microsoft", "my"):
        proto.opset_import.append(helper.make_opsetid(domain, 1))
    body = [helper.make_node("Abs", ["p"], ["q"], name="abs"), helper.make_node("Lost", ["q"], ["r"], name="lost")]
    proto.functions.append(helper.make_function("my", "Mine", ["p"], ["r"], body, [helper.make_opsetid("", 17)]))
    return proto


def test_all_that_is_not_supported_is_named_at_once() -> None:
    report = networks.check(broken())
    assert not report.supported
    assert report.problem is not None
    assert report.problem.code == "network.operator"
    assert [(item.operator, item.node, item.opset) for item in report.unsupported] == [
        ("Relo", "misspelt", 17),
        ("com.microsoft::FusedGelu", "if/gelu", 1),
        ("Lost", "mine/lost", 17),
        ("nobody::Other", "", 0),
    ]
    assert all(item.why and item.hint for item in report.unsupported)
    assert "optimiser" in report.unsupported[1].hint
    support = {use.full_name: (use.count, use.support) for use in report.operators}
    assert support["Relu"] == (1, "yes")
    assert support["my::Mine"] == (2, "function")
    assert support["nobody::Other"] == (1, "no")
    assert report.costs == ()
    json.dumps(report.to_json())


@pytest.mark.parametrize(
    ("domain", "told"), [("ai.onnx.ml", "forest"), ("ai.onnx.preview.training", "eval"), ("mine", "make_function")]
)
def test_what_to_do_depends_on_the_domain(domain: str, told: str) -> None:
    proto = model([helper.make_node("Unheard", ["x"], ["y"], domain=domain)], {"x": (1, [2])}, {"y": 1})
    proto.opset_import.append(helper.make_opsetid(domain, 1))
    (found,) = networks.check(proto).unsupported
    assert told in found.hint


@pytest.mark.parametrize(
    ("domain", "kind", "told"),
    [
        ("ai.onnx.ml", "ZipMap", "zipmap"),
        ("ai.onnx.ml", "CastMap", "Encode"),
    ],
)
def test_an_operator_that_is_known_and_refused_is_not_supported(domain: str, kind: str, told: str) -> None:
    """As the compiler says it."""
    proto = model([helper.make_node(kind, ["x"], ["y"], name="mine", domain=domain)], {"x": (1, [2])}, {"y": 1})
    proto.opset_import.append(helper.make_opsetid(domain, 1))
    report = networks.check(proto)
    assert not report.supported
    assert [use.support for use in report.operators] == ["no"]
    (found,) = report.unsupported
    with pytest.raises(UnsupportedOperatorError) as caught:
        read(proto)
    assert (found.why, found.hint) == (caught.value.why, caught.value.hint)
    assert told in found.hint


def test_operators_that_onnx_defines_by_others_are_supported_through_them() -> None:
    from mlcore.networks.ops import find

    kind = next(name for name in ("Shrink", "Mish", "HardSwish", "Celu", "Swish") if find("", name) is None or name == "Swish")
    proto = model([helper.make_node(kind, ["x"], ["y"])], {"x": (1, [2])}, {"y": 1}, opset=24)
    report = networks.check(proto)
    assert report.supported
    assert report.operators[0].support == ("function" if find("", kind) is None else "yes")


def test_old_definitions_are_supported() -> None:
    proto = model(
        [helper.make_node("Add", ["x", "z"], ["y"], broadcast=1, axis=0)], {"x": (1, [3, 2]), "z": (1, [3])}, {"y": 1}, opset=6
    )
    report = networks.check(proto)
    assert report.supported
    assert report.unsupported == ()


def test_a_contradiction_is_told_without_a_list() -> None:
    proto = model([helper.make_node("MatMul", ["x", "x"], ["y"], name="odd")], {"x": (1, [2, 3])}, {"y": 1})
    report = networks.check(proto)
    assert not report.supported
    assert report.unsupported == ()
    assert report.problem is not None
    assert "'odd'" in report.problem.message


@pytest.mark.parametrize("data", [b"", b"no model", b"\x08\x07"])
def test_what_is_no_model_is_an_error(data: bytes) -> None:
    with pytest.raises(InputError):
        networks.check(data)


def test_hostile_names_stay_text() -> None:
    nodes = [
        helper.make_node("Relu", [HOSTILE], ["a" + HOSTILE], name=HOSTILE),
        helper.make_node("Softmax", ["a" + HOSTILE], ["y" + HOSTILE], name=HOSTILE),
    ]
    proto = model(nodes, {HOSTILE: (1, [HOSTILE, 4])}, {"y" + HOSTILE: 1})
    proto.graph.name = HOSTILE
    report = networks.check(proto)
    assert report.supported
    assert len(report.symbols) == 1
    assert report.symbols[0].isidentifier()
    ET.fromstring(report.drawing)  # noqa: S314 - our own text
    assert "<script" not in report.drawing
    body = report.text.splitlines()
    assert all(line.isprintable() for line in body)
    assert len([line for line in body if line.startswith("  %")]) == 4
    unknown = model([helper.make_node(HOSTILE, ["x"], ["y"], name=HOSTILE, domain=HOSTILE)], {"x": (1, [2])}, {"y": 1})
    (found,) = networks.check(unknown).unsupported
    assert found.node == HOSTILE  # whoever shows it escapes it


# Costs.


def one(kind: str, shapes: dict[str, list[Any]], constants: dict[str, np.ndarray] | None = None, **attributes: Any) -> Cost:
    """The cost of a model of one node."""
    names = [*shapes, *(constants or {})]
    node = helper.make_node(kind, names, ["y"], **attributes)
    graph = read(model([node], {name: (1, shape) for name, shape in shapes.items()}, {"y": 1}, constants, opset=17))
    return cost(graph.nodes[0])


@pytest.mark.parametrize(
    ("kind", "shapes", "attributes", "macs", "flops"),
    [
        ("MatMul", {"a": [2, 3, 5], "b": [5, 7]}, {}, 2 * 3 * 5 * 7, None),
        ("MatMul", {"a": [5], "b": [5]}, {}, 5, None),
        ("Gemm", {"a": [5, 3], "b": [7, 5]}, {"transA": 1, "transB": 1}, 3 * 5 * 7, None),
        ("Conv", {"x": [2, 4, 10, 10], "w": [6, 2, 3, 3]}, {"group": 2}, 2 * 6 * 8 * 8 * 2 * 9, None),
        ("ConvTranspose", {"x": [2, 4, 8], "w": [4, 6, 3]}, {}, 2 * 4 * 8 * 6 * 3, None),
        ("Einsum", {"a": [2, 3, 5], "b": [2, 5, 7]}, {"equation": "bij,bjk->bik"}, 2 * 3 * 5 * 7, None),
        ("LSTM", {"x": [6, 2, 4], "w": [1, 12, 4], "r": [1, 12, 3]}, {"hidden_size": 3}, 6 * 2 * 12 * 7, None),
        ("Relu", {"x": [2, 9]}, {}, 0, 18),
        ("Softmax", {"x": [2, 9]}, {}, 0, 72),
        ("ReduceMax", {"x": [2, 9]}, {"axes": [1]}, 0, 18),
        ("MaxPool", {"x": [1, 2, 6, 6]}, {"kernel_shape": [2, 2], "strides": [2, 2]}, 0, 2 * 9 * 4),
        ("Transpose", {"x": [2, 9]}, {}, 0, 0),
    ],
)  # fmt: skip
def test_costs_are_counted(
    kind: str, shapes: dict[str, list[int]], attributes: dict[str, Any], macs: int, flops: int | None
) -> None:
    found = one(kind, shapes, **attributes)
    assert found.macs == macs
    assert found.flops == (2 * macs if flops is None else flops)
    assert isinstance(found.bytes, int)
    assert found.bytes >= 4 * sum(int(np.prod(shape)) for shape in shapes.values())


def test_views_cost_nothing_and_symbols_stay() -> None:
    assert one("Reshape", {"x": ["n", 6]}, {"shape": np.array([0, 2, 3])}) == Cost()
    found = one("MatMul", {"a": ["n", 5], "b": [5, "m"]})
    assert repr(found.macs) == "5*m*n"
    assert repr(found.bytes) == "20*m + 4*m*n + 20*n"


# Text.


def test_the_text_names_every_value_once_and_shows_subgraphs() -> None:
    proto = broken()
    del proto.graph.node[1:], proto.functions[:]
    then = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["t"])], "then", [], [helper.make_tensor_value_info("t", TensorProto.FLOAT, None)]
    )
    other = helper.make_graph(
        [helper.make_node("Abs", ["x"], ["t"])], "else", [], [helper.make_tensor_value_info("t", TensorProto.FLOAT, None)]
    )
    proto.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other))
    graph = read(proto)
    text = dump(graph)
    assert "    then_branch:" in text
    assert "= Neg (%x)" in text
    assert "%t: float32[4]" in text
    assert "%t_2: float32[4]" in text
    optimise(graph)
    assert dump(graph, most=2).splitlines()[-1].startswith("... and ")
