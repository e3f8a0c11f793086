"""Times by node, and the memory of a call as numbers and as a picture."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from onnx import TensorProto, helper

from mlcore import networks
from mlcore.errors import DataError, InputError
from mlcore.networks.build import QUICK, BuildOptions
from mlcore.networks.compiler import translate
from mlcore.networks.memory_map import MOST_BLOCKS, MemoryMap
from tests.mlcore.networks.models import mlp, model

OPTIONS = BuildOptions(flags=QUICK)


def two_products(n: int | str = "n") -> object:
    """A product of 4 x 4 matrices beside one of 400 x 400."""
    nodes = [
        helper.make_node("MatMul", ["x", "small"], ["a"], name="small"),
        helper.make_node("MatMul", ["a", "wide"], ["b"], name="wide"),
        helper.make_node("MatMul", ["b", "large"], ["y"], name="large"),
    ]
    rng = np.random.default_rng(2)
    weights = {
        "small": rng.standard_normal((4, 4)).astype(np.float32),
        "wide": rng.standard_normal((4, 400)).astype(np.float32),
        "large": rng.standard_normal((400, 400)).astype(np.float32),
    }
    return model(nodes, {"x": (TensorProto.FLOAT, [n, 4])}, {"y": TensorProto.FLOAT}, weights)


def test_the_costly_node_takes_the_time() -> None:
    found = networks.profile(two_products(), sizes={"n": 64}, seconds=0.1, options=OPTIONS)
    assert found.sizes == {"n": 64}
    assert [node.name for node in found.nodes] == ["small", "wide", "large"]
    times = {node.name: node.seconds for node in found.nodes}
    # 10 000 times the operations: at least ten times the time, on any machine.
    assert times["large"] > 10 * times["small"] >= 0
    assert found.seconds >= 0.9 * times["large"]
    ((kind, (count, seconds)),) = found.by_kind().items()
    assert (kind, count) == ("fused::Linear", 3)
    assert seconds == pytest.approx(sum(times.values()))
    assert json.loads(json.dumps(found.to_json()))["nodes"][2]["name"] == "large"


def test_sizes_that_the_network_does_not_take_are_passed_over() -> None:
    nodes = [helper.make_node("Add", ["x", "y"], ["sum"]), helper.make_node("Reshape", ["sum", "shape"], ["z"])]
    ports: dict[str, tuple[int, list[int | str] | None]] = {
        "x": (TensorProto.FLOAT, ["n", 3]),
        "y": (TensorProto.FLOAT, ["m", 3]),
    }
    proto = model(nodes, ports, {"z": TensorProto.FLOAT}, {"shape": np.array([-1, 4])})
    found = networks.profile(proto, seconds=0.02, options=OPTIONS)
    assert found.sizes == {"n": 16, "m": 16}
    assert networks.profile(proto, sizes={"n": 8}, seconds=0.02, options=OPTIONS).sizes == {"n": 8, "m": 8}
    with pytest.raises(InputError):
        networks.profile(proto, sizes={"n": 5}, seconds=0.02, options=OPTIONS)


def test_loops_count_as_one_node_and_their_steps_are_named() -> None:
    body = helper.make_graph(
        [helper.make_node("Mul", ["a", "a"], ["b"]), helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("a", TensorProto.FLOAT, [3]),
        ],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []), helper.make_tensor_value_info("b", TensorProto.FLOAT, [3])],
    )
    nodes = [
        helper.make_node("Loop", ["rounds", "", "x"], ["z"], body=body, name="loop"),
        helper.make_node("Add", ["z", "x"], ["s"], name="sum"),
        helper.make_node("Tanh", ["s"], ["y"], name="tanh"),
    ]
    proto = model(nodes, {"x": (TensorProto.FLOAT, [3])}, {"y": TensorProto.FLOAT}, {"rounds": np.array(5, np.int64)})
    found = networks.profile(proto, inputs={"x": np.full(3, 0.5)}, seconds=0.02, options=OPTIONS)
    assert [node.kind for node in found.nodes] == ["Loop", "fused::Elementwise"]
    assert found.nodes[1].made_of == ("Add", "Tanh")


def test_the_profiled_code_computes_the_same() -> None:
    from mlcore.networks.build import build
    from mlcore.networks.calling import Function

    x = np.random.default_rng(1).standard_normal((5, 8)).astype(np.float32)
    plain, clocked = translate(mlp(), "network"), translate(mlp(), "network", profile=True)
    assert "chrono" not in plain.code + plain.entry
    assert len(clocked.profiled) == 2
    functions = [Function(build([item], OPTIONS)[0], item) for item in (plain, clocked)]
    np.testing.assert_array_equal(functions[0]([x])[0], functions[1]([x])[0])
    assert functions[0].spent() == []
    assert min(functions[1].spent()) > 0
    assert functions[1].spent() == [0.0, 0.0]  # it was handed out


@pytest.mark.parametrize(
    ("arguments", "kind", "told"),
    [
        ({"sizes": {"m": 3}}, InputError, "no size 'm'"),
        ({"sizes": {"n": -1}}, InputError, "the size 'n' is -1"),
        ({"inputs": {"z": np.zeros(1)}}, DataError, "no input 'z'"),
        ({"inputs": {}}, InputError, "the input 'x' is missing"),
    ],
)
def test_what_cannot_be_profiled_is_told(arguments: dict[str, object], kind: type[Exception], told: str) -> None:
    with pytest.raises(kind, match=told):
        networks.profile(two_products(), options=OPTIONS, **arguments)  # type: ignore[arg-type]


# Memory.


def test_the_map_has_the_tensors_of_a_call() -> None:
    found = MemoryMap.of(translate(two_products(), "network"), {"n": 10})
    sizes = {block.name: block.bytes for block in found.blocks}
    assert sizes == {"a": 10 * 4 * 4, "b": 10 * 400 * 4}  # the output is the caller's
    a, b = sorted(found.blocks, key=lambda block: block.name)
    assert a.first < b.first <= a.last < b.last
    assert not (a.offset < b.offset + b.bytes and b.offset < a.offset + a.bytes)
    assert found.bytes >= sum(sizes.values())
    assert all(block.shares_slot for block in found.blocks)
    fixed = MemoryMap.of(translate(two_products(10), "network"), {})
    assert {block.name: block.bytes for block in fixed.blocks} == sizes
    assert not any(block.shares_slot for block in fixed.blocks)


def test_the_picture_is_well_formed_and_has_no_style() -> None:
    found = MemoryMap.of(translate(two_products(), "network"), {"n": 10})
    svg = found.svg()
    root = ET.fromstring(svg)  # noqa: S314 - our own text
    boxes = root.findall(".//g/rect[@class='span']")
    assert len(boxes) == len(found.blocks)
    for box in boxes:
        assert 0 <= float(box.attrib["y"]) <= 300
        assert float(box.attrib["width"]) > 0
    assert "style" not in svg
    assert "fill=" not in svg
    assert "For n = 10." in found.caption


def test_a_network_without_memory_has_no_picture() -> None:
    proto = model([helper.make_node("Relu", ["x"], ["y"])], {"x": (TensorProto.FLOAT, [4])}, {"y": TensorProto.FLOAT})
    found = MemoryMap.of(translate(proto, "network"), {})
    assert (found.bytes, found.blocks, found.svg()) == (0, (), "")


def test_hostile_names_are_text_in_the_picture() -> None:
    hostile = '</title><script>alert("1")</script>&'
    nodes = [
        helper.make_node("Softmax", ["x"], [hostile]),
        helper.make_node("Softmax", [hostile], ["y"], axis=0),
    ]
    proto = model(nodes, {"x": (TensorProto.FLOAT, [4, 4])}, {"y": TensorProto.FLOAT})
    svg = MemoryMap.of(translate(proto, "network"), {}).svg()
    ET.fromstring(svg)  # noqa: S314 - our own text
    assert "<script" not in svg
    assert "&lt;script&gt;" in svg


def test_a_picture_has_so_many_tensors_at_most() -> None:
    n = 2 * MOST_BLOCKS
    nodes = [helper.make_node("Softmax", [f"v{i}"], [f"v{i + 1}"], axis=i % 2) for i in range(n)]
    proto = model(nodes, {"v0": (TensorProto.FLOAT, [4, 4])}, {f"v{n}": TensorProto.FLOAT})
    found = MemoryMap.of(translate(proto, "network"), {})
    assert len(found.blocks) == n - 1
    assert len(re.findall('class="span"', found.svg())) == MOST_BLOCKS
    assert f"The {MOST_BLOCKS} largest of {n - 1} tensors are drawn." in found.caption
