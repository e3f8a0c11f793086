"""Damaged, contradictory and hostile models: each is understood or ends in an InputError, in bounded time and memory."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from mlcore import networks
from mlcore.errors import InputError
from mlcore.networks.build import QUICK, BuildOptions, Function, build
from mlcore.networks.compiler import translate
from tests.mlcore.forests.mutations import KINDS, damaged
from tests.mlcore.networks import mutations
from tests.mlcore.networks.models import mlp, model
from tests.mlcore.networks.sanitized_cases import cases
from tests.mlcore.networks.test_checking import broken

X: dict[str, Any] = {"x": (1, [4])}
SAMPLES = [*(each.model for each in cases().values()), mlp(), broken()]
EXAMPLES = settings(max_examples=300, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))


def node(kind: str, inputs: str = "x", outputs: str = "y", **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def whole(array: Any) -> np.ndarray[Any, Any]:
    return np.array(array, np.int64)


# Damage.


def holds(source: Any) -> None:
    """A report, or an error in words."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with contextlib.suppress(InputError):
            report = networks.check(source)
            assert report.supported or (report.problem is not None and report.problem.message.strip())


@EXAMPLES
@given(
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.sampled_from(list(KINDS)), st.floats(0, 1), st.integers(0, 2**16)), max_size=3),
)
def test_files_with_other_bytes(sample: Any, edits: list[tuple[str, float, int]]) -> None:
    holds(damaged(sample.SerializeToString(), edits))


@EXAMPLES
@given(st.sampled_from(SAMPLES), st.integers(0, 2**32), st.integers(1, 3))
def test_models_with_other_fields(sample: Any, seed: int, n_edits: int) -> None:
    holds(mutations.damaged(sample, seed, n_edits))


@pytest.mark.parametrize("cut", [0, 1, 10, 100, -100, -1])
def test_files_that_are_cut_off(cut: int) -> None:
    with pytest.raises(InputError):
        translate(mlp().SerializeToString()[:cut], "network")


# Contradictions.

BROKEN: dict[str, tuple[Callable[[], Any], str]] = {
    "cycle": (lambda: model([node("Add", "x b", "a"), node("Relu", "a", "b"), node("Relu", "b")], X, {"y": 1}), "cycle"),
    "itself": (lambda: model([node("Add", "x y")], X, {"y": 1}), "cycle"),
    "no such output": (lambda: model([node("Relu", "x", "z")], X, {"y": 1}), "before anything computes"),
    "an output that the operator has not": (lambda: model([node("Relu", "x", "y z")], X, {"z": 1}), "'z'"),
    "node without outputs": (lambda: model([node("Relu", "x", "")], X, {"x": 1}), "no output"),
    "node without inputs": (lambda: model([node("Relu", "")], X, {"y": 1}), "no input 0"),
    "sum of one": (lambda: model([node("Add", "x")], X, {"y": 1}), "no input 1"),
    "shapes": (lambda: model([node("MatMul", "x w")], X, {"y": 1}, {"w": np.ones((5, 2), np.float32)}), "4"),
    "a matrix for a shape": (
        lambda: model([node("Expand", "x s")], X | {"s": (7, [2, 2])}, {"y": 1}), "list of sizes",
    ),
    "attribute": (lambda: model([node("Softmax", axis="a")], X, {"y": 1}), "axis"),
    "opset of the far future": (lambda: model([node("Relu")], X, {"y": 1}, opset=2**62), "opset"),
    "strides": (
        lambda: model(
            [node("Conv", "x w", strides=[0, 0])], {"x": (1, [1, 1, 4, 4])}, {"y": 1}, {"w": np.ones((1, 1, 3, 3), np.float32)}
        ),
        "strides",
    ),
    "input of 2^60": (lambda: model([node("Relu")], {"x": (1, [2**60])}, {"y": 1}), "larger than any memory"),
    "sizes whose product wraps to 0": (
        lambda: model([node("ConstantOfShape", "s")], {}, {"y": 1}, {"s": whole([2**62, 4])}), "larger than any memory",
    ),
    "an axis beside an open one": (
        lambda: model([node("Expand", "x s")], {"x": (1, ["n", 1])}, {"y": 1}, {"s": whole([1, 2**62])}),
        "larger than any memory",
    ),
    "range": (
        lambda: model([node("Range", "a b c")], {}, {"y": 7}, {"a": whole(0), "b": whole(2**60), "c": whole(1)}),
        "larger than any memory",
    ),
    "padding": (lambda: model([node("Pad", "x p")], X, {"y": 1}, {"p": whole([2**61, 2**61])}), "larger than any memory"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_contradictions_are_told(name: str) -> None:
    make, told = BROKEN[name]
    with pytest.raises(InputError) as raised:
        translate(make(), "network")
    assert told in raised.value.message + raised.value.hint
    assert not networks.check(make()).supported


@pytest.mark.parametrize("dims", [[2**60], [2**62, 4], [2**40], [-1], [5]])
def test_weights_that_claim_more_than_they_hold(dims: list[int]) -> None:
    proto = model([node("Add", "x w")], X, {"y": 1})
    proto.graph.initializer.add(name="w", data_type=1, dims=dims, raw_data=bytes(16))
    with pytest.raises(InputError, match="'w'"):
        translate(proto, "network")


# Size.


def test_a_hundred_thousand_nodes() -> None:
    """One behind the other: nothing may recur or take the square of their number."""
    count = 100_000
    nodes = [node("Neg", f"v{i}" if i else "x", f"v{i + 1}") for i in range(count)]
    operators, unsupported = networks.checking.scan(model(nodes, X, {f"v{count}": 1}))
    assert (operators[0].count, unsupported) == (count, ())
    assert networks.check(model(nodes[:20_000], X, {"v20000": 1})).nodes_before == 20_000


def test_functions_that_call_each_other_without_end() -> None:
    proto = model([node("F", domain="my")], X, {"y": 1})
    proto.opset_import.append(helper.make_opsetid("my", 1))
    proto.functions.append(
        helper.make_function("my", "F", ["a"], ["b"], [node("F", "a", "b", domain="my")], [helper.make_opsetid("my", 1)])
    )
    with pytest.raises(InputError, match="48 deep"):
        translate(proto, "network")


@pytest.mark.slow
def test_functions_that_double_at_each_level() -> None:
    proto = model([node("F0", domain="my")], X, {"y": 1})
    proto.opset_import.append(helper.make_opsetid("my", 1))
    opsets = [helper.make_opsetid("my", 1), helper.make_opsetid("", 17)]
    for level in range(30):
        calls = [node(f"F{level + 1}", "a", "b", domain="my"), node(f"F{level + 1}", "b", "c", domain="my")]
        proto.functions.append(helper.make_function("my", f"F{level}", ["a"], ["c"], calls, opsets))
    proto.functions.append(helper.make_function("my", "F30", ["a"], ["b"], [node("Relu", "a", "b")], opsets))
    with pytest.raises(InputError, match="more than 200000 nodes"):
        translate(proto, "network")


def field(number: int, content: bytes) -> bytes:
    """A field of protobuf that holds bytes or a message."""
    size, head = len(content), bytearray([number << 3 | 2])
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    return bytes([*head, size]) + content


@pytest.mark.parametrize(("depth", "fits"), [(5, True), (30, True), (1000, False)])
def test_graphs_within_graphs(depth: int, fits: bool) -> None:
    """Protobuf itself takes a hundred messages within each other; so the file is put together by hand."""
    result = [helper.make_tensor_value_info("t", 1, None)]
    plain = helper.make_graph([node("Relu", "x", "t")], "g", [], result)
    inner = plain.SerializeToString()
    for _ in range(depth):
        branch = node("If", "c", "t", else_branch=plain).SerializeToString()
        then = helper.make_attribute("then_branch", plain)
        then.ClearField("g")
        branch += field(5, then.SerializeToString() + field(6, inner))
        inner = field(1, branch) + type(plain)(name="g", output=result).SerializeToString()
    proto = model([], {"x": (1, [4]), "c": (9, [])}, {"t": 1})
    data = proto.SerializeToString() + field(7, field(1, branch))
    if fits:
        assert networks.check(data).supported
    else:
        with pytest.raises(InputError):
            networks.check(data)


# Names.

NAMES = (
    '"); system("touch owned"); //', 'a\nb\r\n#include "/etc/passwd"', "*/ /*", "??/\n??) ??'", "class", "int", "std", "nn",
    "run", "weights", "workspace", "arena", "_A", "a__b", "ü\u202e\u2028 x", "\\", "\\\n", "%s%n", 'R"(', "$(id)`id`", "9", " ",
    "x" * 10_000,
)  # fmt: skip


def test_hostile_names_stay_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As names of values, nodes, graph and sizes; all of them compile in one file, and the code computes."""
    monkeypatch.chdir(tmp_path)
    emitted = []
    for number, name in enumerate(NAMES):
        nodes = [node("Relu"), node("Neg", "x")]
        for i, each in enumerate(nodes):
            del each.input[:], each.output[:]
            each.input.append(name if i == 0 else f"t{name}")
            each.output.append(f"t{name}" if i == 0 else f"y{name}")
            each.name = name
        proto = model(nodes, {name: (1, [name, 4])}, {f"y{name}": 1})
        proto.graph.name = name
        emitted.append(translate(proto, f"network_{number}"))
    library, _ = build(emitted, BuildOptions(QUICK))
    x = np.array([[1, -2, 3, -4], [-5, 6, -7, 8]], np.float32)
    for item in emitted:
        (found,) = Function(library, item)([x])
        np.testing.assert_array_equal(found, -np.maximum(x, 0))
    assert not (tmp_path / "owned").exists()


# External data.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder, beside it a file that is none of its business, and ways to it."""
    place = tmp_path / "model"
    place.mkdir()
    (tmp_path / "secret").write_bytes(bytes(64))
    (place / "weights").write_bytes(np.arange(8, dtype=np.float32).tobytes())
    (place / "link").symlink_to(tmp_path / "secret")
    (place / "folder").symlink_to(tmp_path)
    os.mkfifo(place / "fifo")
    return place


def external(folder: Path, **facts: str) -> Path:
    proto = model([node("Add", "x w")], X, {"y": 1})
    tensor = proto.graph.initializer.add(name="w", data_type=1, dims=[4], data_location=1)
    for key, value in facts.items():
        tensor.external_data.add(key=key, value=value)
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    return folder / "model.onnx"


def test_data_beside_the_model_are_read(folder: Path) -> None:
    emitted = translate(external(folder, location="weights", offset="16"), "network")
    assert np.arange(4, 8, dtype=np.float32).tobytes() in emitted.weights


@pytest.mark.parametrize(
    "location",
    ["../secret", "/dev/zero", "link", "folder/secret", "folder/../secret", "", ".", "fifo", "\0", "w\0", "x" * 5000, "no"],
)
def test_data_elsewhere_are_refused(folder: Path, location: str) -> None:
    with pytest.raises(InputError) as raised:
        translate(external(folder, location=location), "network")
    assert raised.value.code == "network.external"


@pytest.mark.parametrize(
    "facts", [{"offset": "-1"}, {"offset": "17"}, {"offset": "9" * 30}, {"offset": "x"}, {"length": "15"}, {"length": str(2**62)}]
)
def test_data_that_are_not_there_are_refused(folder: Path, facts: dict[str, str]) -> None:
    with pytest.raises(InputError) as raised:
        translate(external(folder, location="weights", **facts), "network")
    assert raised.value.code == "network.external"


def test_data_of_a_model_without_a_folder_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="without its folder"):
        translate(external(folder, location="weights").read_bytes(), "network")


def test_texts_that_are_no_utf8_are_refused() -> None:
    proto = model([node("Identity", "w")], {}, {"y": 8}, {"w": np.array(["a"], object)})
    proto.graph.initializer[0].string_data[0] = b"\xff\xfe"
    with pytest.raises(InputError, match="does not hold what it claims"):
        translate(proto, "network")
