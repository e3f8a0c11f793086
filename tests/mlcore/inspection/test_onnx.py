"""ONNX models: what they say, and what they must not reach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mlcore.errors import InputError
from mlcore.inspection import Inspection, inspect

FLOAT = TensorProto.FLOAT


def facts(inspection: Inspection) -> dict[str, Any]:
    return dict(inspection.facts)


def table(inspection: Inspection, title: str) -> tuple[tuple[Any, ...], ...]:
    return next(each.rows for each in inspection.tables if each.title == title)


def small_model() -> onnx.ModelProto:
    weights = numpy_helper.from_array(np.ones((4, 3), np.float32), "W")
    bias = numpy_helper.from_array(np.zeros(3, np.float64), "b")
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "W"], ["h"], "first"),
            helper.make_node("Cast", ["h"], ["d"], to=TensorProto.DOUBLE),
            helper.make_node("Add", ["d", "b"], ["y"]),
        ],
        "tagger",
        [helper.make_tensor_value_info("x", FLOAT, ["batch", None]), helper.make_tensor_value_info("W", FLOAT, [4, 3])],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, ["batch", 3])],
        [weights, bias],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)])
    model.producer_name, model.producer_version, model.ir_version = "trainer", "1.2", 9
    helper.set_model_props(model, {"experiment": "demo"})
    return model


def saved(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def test_tells_what_a_model_is(tmp_path: Path) -> None:
    found = inspect(saved(small_model(), tmp_path / "m.onnx"))
    told = facts(found)
    assert told["Graph"] == "tagger"
    assert told["Nodes"] == 3
    assert told["Parameters"] == 15
    assert told["Parameter size"] == "72 B"  # 12 of 4 bytes, 3 of 8
    assert told["IR version"] == 9
    assert told["Written by"] == "trainer 1.2"
    assert table(found, "Inputs") == (("x", "float32", "batch × ?"),)
    assert table(found, "Outputs") == (("y", "float64", "batch × 3"),)
    assert {row[0]: row[2] for row in table(found, "Operators")} == {"MatMul": 1, "Cast": 1, "Add": 1}
    assert table(found, "Opsets") == (("ai.onnx", 17), ("ai.onnx.ml", 3))
    assert table(found, "Metadata") == (("experiment", "demo"),)


def test_drawing_tells_inputs_operators_and_weights(tmp_path: Path) -> None:
    graph = inspect(saved(small_model(), tmp_path / "m.onnx")).graph
    assert graph is not None
    for text in ("<svg", ">x<", ">MatMul<", ">4 × 3<", ">Add<", ">y<"):
        assert text in graph
    assert "style" not in graph
    assert graph.count("<rect") == 5


def test_nodes_of_inner_graphs_and_functions_are_counted(tmp_path: Path) -> None:
    then = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["t"])], "then", [], [helper.make_tensor_value_info("t", FLOAT, None)]
    )
    other = helper.make_graph(
        [helper.make_node("Constant", [], ["e"], value=numpy_helper.from_array(np.zeros(2, np.float32)))],
        "else", [], [helper.make_tensor_value_info("e", FLOAT, None)],
    )  # fmt: skip
    function = helper.make_function(
        "own", "Square", ["a"], ["b"], [helper.make_node("Mul", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    graph = helper.make_graph(
        [
            helper.make_node("If", ["c"], ["i"], then_branch=then, else_branch=other),
            helper.make_node("Square", ["i"], ["y"], domain="own"),
        ],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, [2]), helper.make_tensor_value_info("c", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("y", FLOAT, [2])],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, functions=[function], opset_imports=imports)
    found = inspect(saved(model, tmp_path / "m.onnx"))
    assert {row[0] for row in table(found, "Operators")} == {"If", "Relu", "Constant", "Square", "Mul"}
    assert ("Square", "own", 1, "function of the model") in table(found, "Operators")
    assert found.graph is not None
    # x is used inside the branches alone: it leads to the If all the same.
    assert found.graph.count('<path class="gr"') == 4


def test_other_types_are_told(tmp_path: Path) -> None:
    sequence = helper.make_tensor_sequence_value_info("s", FLOAT, [None, 3])
    sparse = helper.make_sparse_tensor_value_info("p", TensorProto.INT64, [5])
    graph = helper.make_graph(
        [helper.make_node("Identity", ["s"], ["o"])], "g", [sequence, sparse], [helper.make_value_info("o", onnx.TypeProto())]
    )
    found = inspect(saved(helper.make_model(graph), tmp_path / "m.onnx"))
    assert table(found, "Inputs") == (("s", "sequence of float32", "? × 3"), ("p", "sparse int64", "5"))
    assert table(found, "Outputs") == (("o", "unknown", "unknown"),)


@pytest.mark.parametrize("name", ["INT4", "UINT4", "FLOAT16", "BFLOAT16", "FLOAT8E4M3FN", "BOOL", "COMPLEX64"])
def test_sizes_of_rarer_types(name: str, tmp_path: Path) -> None:
    kind = TensorProto.DataType.Value(name)
    model = small_model()
    values = np.zeros(5, helper.tensor_dtype_to_np_dtype(kind))
    model.graph.initializer.append(numpy_helper.from_array(values, "rare"))
    assert facts(inspect(saved(model, tmp_path / "m.onnx")))["Parameters"] == 20


def external(model: onnx.ModelProto, location: str) -> onnx.ModelProto:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    del tensor.external_data[:]
    tensor.external_data.add(key="location", value=location)
    return model


@pytest.mark.parametrize(
    "location",
    [
        "/etc/passwd",
        "../secret.bin",
        "a/../../secret.bin",
        "",
        "C:\\secret.bin",
        "\\\\server\\share",
        "..\\secret.bin",
        "a\0b",
        "link/x",
    ],
)
def test_external_data_outside_the_folder_are_refused(location: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    path = saved(external(small_model(), location), folder / "m.onnx")
    with pytest.raises(InputError, match="outside the model's folder") as caught:
        inspect(path)
    assert caught.value.code == "onnx.external"
    assert "save_as_external_data=False" in caught.value.hint


def test_external_data_of_a_constant_inside_a_branch_are_refused(tmp_path: Path) -> None:
    tensor = external(small_model(), "/etc/passwd").graph.initializer[0]
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["t"], value=tensor)], "inner", [], [helper.make_tensor_value_info("t", FLOAT, None)]
    )
    graph = helper.make_graph(
        [helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)],
        "g",
        [],
        [helper.make_tensor_value_info("y", FLOAT, None)],
    )
    with pytest.raises(InputError, match="outside the model's folder"):
        inspect(saved(helper.make_model(graph), tmp_path / "m.onnx"))


def test_external_data_beside_the_model_are_named(tmp_path: Path) -> None:
    path = saved(external(small_model(), "weights.bin"), tmp_path / "m.onnx")
    assert facts(inspect(path))["External data"] == "weights.bin (not here)"
    (tmp_path / "weights.bin").write_bytes(bytes(48))
    assert facts(inspect(path))["External data"] == "weights.bin"


def test_tensor_that_holds_less_than_it_claims(tmp_path: Path) -> None:
    model = small_model()
    model.graph.initializer[0].dims[0] = 10**12
    with pytest.raises(InputError, match=r"claims 12,000,000,000,000 bytes and holds 48"):
        inspect(saved(model, tmp_path / "m.onnx"))


def test_tensor_of_negative_size(tmp_path: Path) -> None:
    model = small_model()
    model.graph.initializer[0].dims[0] = -4
    with pytest.raises(InputError, match="negative size"):
        inspect(saved(model, tmp_path / "m.onnx"))


def test_name_does_not_choose_the_parser(tmp_path: Path) -> None:
    assert facts(inspect(saved(small_model(), tmp_path / "m.json")))["Nodes"] == 3


def test_hostile_names_are_only_text(tmp_path: Path) -> None:
    model = small_model()
    model.graph.name = "<script>\x07"
    model.graph.node[0].op_type = '"/><script>'
    found = inspect(saved(model, tmp_path / "m.onnx"))
    assert found.graph is not None
    assert "<script" not in found.graph
    assert "\x07" not in str(found.facts)


def test_nested_graphs_are_followed(tmp_path: Path) -> None:
    output = [helper.make_tensor_value_info("y", FLOAT, None)]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [], output)
    for _ in range(20):
        graph = helper.make_graph([helper.make_node("If", ["c"], ["y"], then_branch=graph)], "g", [], output)
    told = facts(inspect(saved(helper.make_model(graph), tmp_path / "m.onnx")))
    assert (told["Nodes"], told["Operators"]) == (21, 2)


def test_graphs_nested_beyond_the_parsers_limit_are_refused(tmp_path: Path) -> None:
    def field(number: int, data: bytes) -> bytes:
        length, size = bytearray(), len(data)
        while size > 127:
            length.append(size & 127 | 128)
            size >>= 7
        return bytes([number << 3 | 2, *length, size]) + data

    graph = b""
    for _ in range(200):
        graph = field(1, field(5, field(6, graph)))  # node, attribute, graph
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x08\x09" + field(7, graph) + field(8, b"\x10\x11"))
    with pytest.raises(InputError, match="damaged"):
        inspect(path)
