"""Sequences and optional values against Python's lists, whose semantics ONNX's definitions have, and ONNX's evaluator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from onnx import TensorProto, helper, parser

from mlcore.errors import InputError
from mlcore.networks.build import QUICK, BuildOptions, Function, build
from mlcore.networks.compiler import translate
from tests.mlcore.networks.conftest import Case, drawn, hold


def model(text: str, opset: int = 18) -> Any:
    """A model in ONNX's textual form."""
    return parser.parse_model(f'<ir_version: 10, opset_import: ["": {opset}]> g {text}')


def function(text: str, opset: int = 18) -> Function:
    emitted = translate(model(text, opset), "f")
    library, _ = build([emitted], BuildOptions(flags=QUICK))
    return Function(library, emitted)


def floats(*shape: int) -> np.ndarray[Any, Any]:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape) - 3


def test_parts_of_an_axis() -> None:
    cases = []
    text = """(float[n, m, k] x, int64 i) => (float[a, b, c] y, int64 count, float[d, e, f] whole) {{
        {constants}
        s = SplitToSequence<axis = {axis}, keepdims = {keep}>({inputs})
        t = SequenceAt(s, i)
        y = Relu(t)
        count = SequenceLength(s)
        whole = ConcatFromSequence<axis = {axis}, new_axis = {new}>(s)
    }}"""
    for axis in (0, 1, -1):
        for keep in (0, 1):
            for split in (None, "{2}", "{1, 3, 0}"):
                shape = [1, 1, 1]
                shape[axis] = 4
                constants = "" if split is None else f"split = Constant<value = int64{'[3]' if ',' in split else ''} {split}>()"
                inputs = "x" if split is None else "x, split"
                new = int(not keep and split is None)
                source = text.format(constants=constants, axis=axis, keep=keep, inputs=inputs, new=new)
                if new:
                    source = source.replace("float[a, b, c] y", "float[a, b] y")
                calls = []
                for sizes in ((2, 2, 2), (3, 1, 3)) if split is None else ((3, 2, 3), (1, 5, 2)):
                    real = list(sizes)
                    if split is not None:
                        real[axis] = 4
                    calls.append((floats(*real), np.array(-1 if new else 0)))
                # Nothing is computed but a maximum: the results are exact.
                cases.append(Case(model(source), tuple(calls), rtol=0, atol=0))
    hold(cases)


def test_lists_that_grow_and_shrink() -> None:
    """What Python's list does, step by step, places drawn by Hypothesis."""
    steps = st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=1, max_size=6)
    cases = []
    for number, plan in enumerate(drawn(steps, 24)):
        items, lines = [0, 1], ["s0 = SequenceConstruct(x, z)"]
        tensors = {0: "x", 1: "z"}
        for grow, place in plan:
            last = f"s{len(lines) - 1}"
            name, at = f"s{len(lines)}", f"p{number}_{len(lines)}"
            if grow:
                place = max(-len(items), min(place, len(items)))
                item = len(lines) % 2
                items.insert(place if place >= 0 else place + len(items), item)
                text = f"{name} = SequenceInsert({last}, {tensors[item]}, {at})"
            elif -len(items) <= place < len(items):
                items.pop(place)
                text = f"{name} = SequenceErase({last}, {at})"
            else:
                continue
            lines.append(f"{at} = Constant<value = int64 {{{place}}}>()\n{text}")
        body = "\n".join([*lines, f"y = Identity(s{len(lines) - 1})"])
        x, z = floats(2), floats(1, 3)
        wanted = [[x, z][item] for item in items]
        source = f"(float[n] x, float[1, m] z) => (seq(float[]) y) {{ {body} }}"
        cases.append(Case(model(source), ((x, z),), rtol=0, atol=0, expected=lambda _x, _z, wanted=wanted: [wanted]))
    hold(cases)


def test_tensors_of_one_shape_keep_it() -> None:
    graph = translate(
        model("(float[n, 3] a, float[n, 3] b, int64 i) => (float[n, 3] y) { s = SequenceConstruct(a, b) y = SequenceAt(s, i) }"),
        "f",
    )
    assert str(graph.outputs[0].value.type) == "float32[n, 3]"


def test_a_list_made_in_a_loop_has_a_rank_behind_it() -> None:
    text = """(float[n, 2] x, int64 rounds) => (float[a, 2] y) {
        empty = SequenceEmpty<dtype = 1>()
        true = Constant<value = bool {1}>()
        s = Loop(rounds, true, empty) <body = body (int64 i, bool c, seq(float[]) before) => (bool go, seq(float[]) after) {
            go = Identity(c)
            f = CastLike(i, x)
            t = Add(x, f)
            after = SequenceInsert(before, t)
        }>
        joined = ConcatFromSequence<axis = 0>(s)
        two = Constant<value = float[2, 2] {1, 0, 0, 2}>()
        y = MatMul(joined, two)
    }"""
    calls = tuple((floats(n, 2), np.array(rounds)) for n, rounds in ((1, 1), (3, 4), (2, 0 + 2)))
    hold([Case(model(text), calls)])
    with pytest.raises(InputError, match="empty sequence"):
        function(text)([floats(1, 2), np.array(0)])


def test_the_shape_that_a_model_declares_holds_behind_sequences_of_any_shapes() -> None:
    text = """(seq(float[]) s, int64 i) => (float[n, 2] y) <float[n, 2] t> {
        t = SequenceAt(s, i)
        y = Relu(t)
    }"""
    run = function(text)
    items = [floats(3, 2), floats(5, 2), floats(2), floats(2, 3)]
    np.testing.assert_array_equal(run([items, np.array(1)])[0], np.maximum(items[1], 0))
    np.testing.assert_array_equal(run([items, np.array(-4)])[0], np.maximum(items[0], 0))
    with pytest.raises(InputError, match="another number of axes"):
        run([items, np.array(2)])
    with pytest.raises(InputError, match="another shape"):
        run([items, np.array(3)])
    with pytest.raises(InputError, match="no element at this place"):
        run([items, np.array(4)])


def test_tensors_of_unknown_rank_come_out_as_they_are() -> None:
    run = function("(seq(float[]) s, int64 i) => (float[] y) { y = SequenceAt(s, i) }", 12)
    items = [floats(2, 1), floats(), floats(0, 3)]
    for i, item in enumerate(items):
        (found,) = run([items, np.array(i)])
        np.testing.assert_array_equal(found, item)


@pytest.mark.parametrize(
    ("kind", "dtype", "items"),
    [
        ("string", object, [["a", ""], ["äé", "b\0c"]]),
        ("bool", np.bool_, [[True, False], [False, False]]),
        ("float16", np.float16, [[1.5, -2], [np.inf, 0]]),
    ],
)
def test_every_kind_of_element(kind: str, dtype: Any, items: list[Any]) -> None:
    run = function(
        f"({kind}[n] a, {kind}[n] b, int64 i) => ({kind}[n] y, {kind}[2, m] both) {{"
        "s = SequenceConstruct(a, b) y = SequenceAt(s, i) both = ConcatFromSequence<axis = 0, new_axis = 1>(s) }"
    )
    arrays = [np.array(item, dtype) for item in items]
    y, both = run([*arrays, np.array(1)])
    np.testing.assert_array_equal(y, arrays[1])
    np.testing.assert_array_equal(both, np.stack(arrays))


def test_optional_values() -> None:
    x = floats(4)
    case = Case(
        _optional_model(),
        ((np.array(True), x), (np.array(False), x[:2])),
        rtol=0,
        atol=0,
        expected=lambda c, x: [c, x if c else -x],
    )
    hold([case])


def _optional_model() -> Any:
    """A tensor that is there or not, as a condition says. ONNX's textual form cannot write its attribute."""
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, ["n"])
    optional = helper.make_optional_type_proto(tensor)
    info = helper.make_value_info
    absent = helper.make_node("Optional", [], ["b"])
    absent.attribute.append(helper.make_attribute("type", tensor))
    branches = {
        "then_branch": helper.make_graph([helper.make_node("Optional", ["x"], ["a"])], "t", [], [info("a", optional)]),
        "else_branch": helper.make_graph([absent], "e", [], [info("b", optional)]),
    }
    takes = {
        "then_branch": helper.make_graph([helper.make_node("OptionalGetElement", ["o"], ["d"])], "g", [], [info("d", tensor)]),
        "else_branch": helper.make_graph([helper.make_node("Neg", ["x"], ["d"])], "z", [], [info("d", tensor)]),
    }
    nodes = [
        helper.make_node("If", ["c"], ["o"], **branches),
        helper.make_node("OptionalHasElement", ["o"], ["there"]),
        helper.make_node("If", ["there"], ["y"], **takes),
    ]
    inputs = [
        helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"]),
    ]
    outputs = [
        helper.make_tensor_value_info("there", TensorProto.BOOL, []),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["m"]),
    ]
    return helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 18)], ir_version=10
    )


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("(float[2] a, int64[2] b) => (seq(float[]) s) { s = SequenceConstruct(a, b) }", "mixes float32, int64"),
        ("(float[2] a, int64 i) => (float y) { y = SequenceAt(a, i) }", "needs a sequence"),
        ("(seq(float[]) s, int64[2] i) => (float y) { y = SequenceAt(s, i) }", "one number for a place"),
        ("(seq(float[2]) s) => (float y) { y = ConcatFromSequence<axis = 1>(s) }", "axis 1"),
        ("(seq(float[]) s) => (float[n] y) { t = ConcatFromSequence<axis = 0>(s) y = Relu(t) }", "rank"),
        ("(float[4] x, int64[1, 1] n) => (seq(float[]) s) { s = SplitToSequence(x, n) }", "sizes of the shape"),
        ("() => (seq(float[]) s) { s = SequenceEmpty<dtype = 14>() }", "element type 14"),
    ],
)
def test_contradictions_are_refused(text: str, what: str) -> None:
    with pytest.raises(InputError, match=what):
        translate(model(text), "f")


def test_what_only_the_values_tell_is_refused_by_the_code() -> None:
    run = function("(float[n] x, int64 size) => (seq(float[]) s) { s = SplitToSequence(x, size) }")
    assert [item.tolist() for item in run([floats(3), np.array(2)])[0]] == [[-3, -2], [-1]]
    for size in (0, -1):
        with pytest.raises(InputError, match="parts of no size"):
            run([floats(3), np.array(size)])
    run = function("(float[n] x, int64[m] sizes) => (seq(float[]) s) { s = SplitToSequence(x, sizes) }")
    for sizes in ([1, 1], [4, -1], [2**62, 2**62]):
        with pytest.raises(InputError, match="not the whole"):
            run([floats(3), np.array(sizes)])
    run = function("(seq(float[]) s, float[n] x, int64 i) => (seq(float[]) t) { t = SequenceInsert(s, x, i) }")
    for place in (2, -2):
        with pytest.raises(InputError, match="no such place"):
            run([[floats(1)], floats(2), np.array(place)])
    run = function("(seq(float[]) s) => (seq(float[]) t) { t = SequenceErase(s) }")
    with pytest.raises(InputError, match="no element"):
        run([[]])
