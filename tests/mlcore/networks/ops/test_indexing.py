"""Gathers, scatters and selections against NumPy, of fixed and of given sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from mlcore.errors import InputError
from mlcore.networks.build import FAST, QUICK, BuildOptions, Function, build
from mlcore.networks.compiler import translate
from tests.mlcore.networks.conftest import Array, Case, drawn, hold, node_model

RNG = np.random.default_rng(3)
DTYPES = [np.float32, np.int64, np.uint8, np.float64, np.bool_, np.float16, object]
REDUCTIONS = {"none": lambda old, new: new, "add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def values(dtype: Any, shape: Any) -> Array:
    numbers = RNG.integers(-50, 50, shape)
    if dtype is object:
        return numbers.astype(str).astype(object)
    return numbers.astype(dtype) if dtype is not np.bool_ else numbers % 2 == 0


def grown(shape: list[int], dynamic: bool) -> list[list[int]]:
    return [shape, [size + 1 for size in shape]] if dynamic else [shape]


@st.composite
def elements(draw: st.DrawFn) -> Case:
    scatters = draw(st.booleans())
    reduction = draw(st.sampled_from(sorted(REDUCTIONS))) if scatters else "none"
    dtype = draw(st.sampled_from(DTYPES if reduction == "none" else [np.float32, np.int64, np.uint8, np.float64]))
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    axis, dynamic = draw(st.integers(-len(shape), len(shape) - 1)), draw(st.booleans())
    kind = draw(st.sampled_from([np.int32, np.int64]))
    less = [draw(st.integers(0, size)) for size in shape]
    calls = []
    for size in grown(shape, dynamic):
        count = [small + (large - old) for small, large, old in zip(less, size, shape, strict=True)]
        n = size[axis]
        indices = RNG.integers(-n, n, count).astype(kind)
        call = [values(dtype, size), indices]
        if scatters:
            call.append(values(dtype, count))
        calls.append(tuple(call))

    def answer(x: Array, indices: Array, updates: Array | None = None) -> list[Array]:
        y = np.empty(indices.shape, x.dtype) if updates is None else x.copy()
        for index in np.ndindex(indices.shape):
            place = list(index)
            place[axis] = int(indices[index])
            if updates is None:
                y[index] = x[tuple(place)]
            else:
                y[tuple(place)] = REDUCTIONS[reduction](y[tuple(place)], updates[index])
        return [y]

    name = "ScatterElements" if scatters else "GatherElements"
    attributes = {"reduction": reduction} if scatters else {}
    model = node_model(name, calls[0], opset=18, outputs=[dtype], dynamic=dynamic, axis=axis, **attributes)
    return Case(model, tuple(calls), expected=answer)


@st.composite
def tuples(draw: st.DrawFn) -> Case:
    scatters = draw(st.booleans())
    reduction = draw(st.sampled_from(sorted(REDUCTIONS))) if scatters else "none"
    dtype = draw(st.sampled_from(DTYPES if reduction == "none" else [np.float32, np.int64, np.float64]))
    batch = [] if scatters else draw(st.lists(st.integers(1, 2), max_size=2))
    deep = draw(st.lists(st.integers(1, 4), min_size=1, max_size=2))
    tail = draw(st.lists(st.integers(0, 3), max_size=2))
    count = draw(st.lists(st.integers(0, 3), max_size=2))
    indices = np.stack([RNG.integers(-n, n, [*batch, *count]) for n in deep], -1)
    x = values(dtype, [*batch, *deep, *tail])
    call = [x, indices]
    if scatters:
        call.append(values(dtype, [*count, *tail]))

    def answer(x: Array, indices: Array, updates: Array | None = None) -> list[Array]:
        if updates is None:
            y = np.empty([*batch, *count, *tail], x.dtype)
            for index in np.ndindex(*batch, *count):
                y[index] = x[(*index[: len(batch)], *indices[index])]
            return [y]
        y = x.copy()
        for index in np.ndindex(*count):
            y[tuple(indices[index])] = REDUCTIONS[reduction](y[tuple(indices[index])], updates[index])
        return [y]

    name = "ScatterND" if scatters else "GatherND"
    attributes = {"reduction": reduction} if scatters else {"batch_dims": len(batch)}
    known = draw(st.booleans())
    model = node_model(name, call, opset=18, outputs=[dtype], constants=[1] if known else [], **attributes)
    return Case(model, (tuple(item for i, item in enumerate(call) if not (known and i == 1)),), expected=(
        (lambda x, *rest: answer(x, indices, *rest)) if known else answer
    ))  # fmt: skip


def test_by_number() -> None:
    hold([*drawn(elements(), 45), *drawn(tuples(), 45)])


def test_caches() -> None:
    cases = []
    for mode in ("linear", "circular"):
        for axis, shape in ((-2, (2, 3, 5, 4)), (1, (2, 5, 3)), (-1, (2, 3, 5))):
            cache, new = values(np.float32, shape), list(shape)
            new[axis] = 2
            update, places = values(np.float32, new), np.array([3, 1] if mode == "linear" else [4, 7])
            model = node_model("TensorScatter", [cache, update, places], opset=24, axis=axis, mode=mode, dynamic=True)
            cases.append(Case(model, ((cache, update, places),)))
        first = node_model("TensorScatter", [cache, update], opset=24, axis=-1, mode=mode)
        cases.append(
            Case(first, ((cache, update),), expected=lambda cache, update: [np.concatenate([update, cache[..., 2:]], -1)])
        )
    hold(cases)


# One-hot, conditions, what differs.


@st.composite
def one_hots(draw: st.DrawFn) -> Case:
    shape = draw(st.lists(st.integers(0, 3), max_size=2))
    depth = draw(st.integers(0, 4))
    axis = draw(st.integers(-len(shape) - 1, len(shape)))
    indices = RNG.integers(-depth - 2, depth + 2, shape).astype(draw(st.sampled_from([np.int64, np.float32, np.int8])))
    pair = values(draw(st.sampled_from([np.float32, np.int64, np.bool_, object])), 2)
    count = np.array(depth) if draw(st.booleans()) else np.array([depth], np.float32)
    known, dynamic = draw(st.booleans()), draw(st.booleans())

    def answer(indices: Array, *_: Any) -> list[Array]:
        whole = indices.astype(np.int64)
        hit = np.where(whole < 0, whole + depth, whole)[..., None] == np.arange(depth)
        y = np.where(hit & (whole >= -depth)[..., None], pair[1], pair[0])
        return [np.moveaxis(y, -1, axis).astype(pair.dtype)]

    model = node_model(
        "OneHot", [indices, count, pair], opset=11, outputs=[pair.dtype], constants=[1] if known else [], dynamic=dynamic,
        fixed=[1, 2], axis=axis,
    )  # fmt: skip
    return Case(model, ((indices, pair) if known else (indices, count, pair),), expected=answer)


@st.composite
def selections(draw: st.DrawFn) -> Case:
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 4), min_size=1, max_size=3))
    axis = draw(st.one_of(st.none(), st.integers(-len(shape), len(shape) - 1)))
    dynamic = draw(st.booleans())
    n = int(np.prod(shape)) if axis is None else shape[axis]
    condition = RNG.integers(0, 2, draw(st.integers(0, n))) == 1
    attributes = {} if axis is None else {"axis": axis}
    x = values(dtype, shape)
    model = node_model("Compress", [x, condition], opset=11, outputs=[dtype], dynamic=dynamic, **attributes)
    return Case(model, ((x, condition),), expected=lambda x, condition: [np.compress(condition, x, axis)])


@st.composite
def places(draw: st.DrawFn) -> Case:
    dtype = draw(st.sampled_from([np.float32, np.int64, np.bool_, np.uint8]))
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    dynamic = draw(st.booleans())
    calls = [RNG.integers(0, 2, size).astype(dtype) for size in grown(shape, dynamic)]
    model = node_model("NonZero", calls[:1], opset=13, outputs=[np.int64], dynamic=dynamic)

    def answer(x: Array) -> list[Array]:
        return [np.array(np.nonzero(x)) if x.ndim else np.zeros((0, int(x != 0)), np.int64)]

    return Case(model, tuple((x,) for x in calls), expected=answer)


@st.composite
def differences(draw: st.DrawFn) -> Case:
    dtype = draw(st.sampled_from([np.float32, np.int64, np.int8, object, np.float16]))
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    axis = draw(st.one_of(st.none(), st.integers(-len(shape), len(shape) - 1)))
    ordered, dynamic = draw(st.integers(0, 1)), draw(st.booleans())
    wanted = [dtype] + [np.int64 if draw(st.booleans()) else None for _ in range(3)]
    while wanted[-1] is None:
        wanted.pop()
    calls = [
        RNG.integers(0, 2, size).astype(dtype) if dtype is not object else values(object, size) for size in grown(shape, dynamic)
    ]

    def answer(x: Array) -> list[Any]:
        slices = [(item,) for item in x.reshape(-1)] if axis is None else [
            tuple(np.take(x, i, axis).reshape(-1)) for i in range(x.shape[axis])
        ]  # fmt: skip
        kinds = sorted(set(slices)) if ordered else list(dict.fromkeys(slices))
        first = [slices.index(item) for item in kinds]
        y = x.reshape(-1)[first] if axis is None else np.take(x, first, axis)
        found = [y, np.array(first), np.array([kinds.index(item) for item in slices]), np.array(list(map(slices.count, kinds)))]
        return [item for item, kind in zip(found, wanted, strict=False) if kind is not None]

    attributes = {"sorted": ordered} if axis is None else {"sorted": ordered, "axis": axis}
    model = node_model("Unique", calls[:1], opset=11, outputs=wanted, dynamic=dynamic, **attributes)
    for i, kind in enumerate(wanted):
        if kind is None:
            model.graph.node[0].output[i] = ""
    return Case(model, tuple((x,) for x in calls), expected=answer)


def test_one_hot_and_conditions() -> None:
    hold([*drawn(one_hots(), 30), *drawn(selections(), 25), *drawn(places(), 20)])


def test_what_differs() -> None:
    nan = np.array([np.nan, 1, np.nan, -0.0, 0.0], np.float32)
    model = node_model("Unique", [nan], opset=11, outputs=[np.float32, np.int64, np.int64, np.int64])
    special = Case(model, ((nan,),), expected=lambda _: [
        np.array([-0.0, 1, np.nan], np.float32), np.array([3, 1, 0]), np.array([2, 1, 2, 0, 0]), np.array([2, 1, 2])
    ])  # fmt: skip
    hold([special, *drawn(differences(), 30)])


# The best.


def best(x: Array, k: int, axis: int, largest: int) -> list[Array]:
    """Whole sorting; of equals the first, NaN as the largest."""
    key = np.where(np.isnan(x.astype(np.float64)), np.inf, x.astype(np.float64))
    nan = np.isnan(x.astype(np.float64))
    order = np.lexsort((np.indices(x.shape)[axis], -nan.astype(int) if largest else nan, -key if largest else key), axis=axis)
    places = np.take(order, range(k), axis)
    return [np.take_along_axis(x, places, axis), places]


@st.composite
def tops(draw: st.DrawFn) -> Case:
    dtype = draw(st.sampled_from([np.float32, np.int32, np.float16, np.float64, np.int64]))
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    axis, largest = draw(st.integers(-len(shape), len(shape) - 1)), draw(st.integers(0, 1))
    shape[axis] = draw(st.sampled_from([1, 2, 5, 16, 17, 40, 90, 200]))
    k = draw(st.sampled_from([0, 1, 3, 6, 7, 16, 24, 25, 64, 65, 100]))
    k = min(k, shape[axis])
    style, dynamic = draw(st.sampled_from(["known", "late"])), draw(st.booleans())
    calls = []
    for size in grown(shape, dynamic):
        # Few different numbers, so that there are equals; some are no numbers.
        x = RNG.integers(-20, 20, size).astype(dtype)
        if np.issubdtype(dtype, np.floating) and draw(st.booleans()):
            x[RNG.random(size) < 0.1] = np.nan
        calls.append(x)
    count = np.array([k])
    model = node_model(
        "TopK", [calls[0], count], opset=11, outputs=[dtype, np.int64], constants=[1] if style == "known" else [],
        dynamic=dynamic, fixed=[1], axis=axis, largest=largest,
    )  # fmt: skip
    given = () if style == "known" else (count,)
    return Case(model, tuple((x, *given) for x in calls), expected=lambda x, *_: best(x, k, axis, largest))


def test_top_k() -> None:
    x = RNG.integers(-9, 9, (3, 70)).astype(np.float32)
    first = node_model("TopK", [x], opset=9, outputs=[np.float32, np.int64], k=4)
    places = node_model("TopK", [x, np.array([66])], opset=24, outputs=[np.float32, np.int64], constants=[1])
    places.graph.node[0].output[0] = ""
    places.graph.output.pop(0)
    hold([
        Case(first, ((x,),), expected=lambda x: best(x, 4, -1, 1)),
        Case(places, ((x,),), expected=lambda x: best(x, 66, -1, 1)[1:]),
        *drawn(tops(), 50),
    ])  # fmt: skip


@pytest.mark.parametrize("flags", [QUICK, (*QUICK, "-mavx2"), (*QUICK, "-mavx2", "-mfma"), FAST])
@pytest.mark.parametrize("largest", [0, 1])
def test_top_k_of_different_numbers(flags: tuple[str, ...], largest: int) -> None:
    """Lengths around those of vectors; zeros of both signs, infinities, numbers that are none, denormals, equal ones."""
    sizes = [16, 17, 31, 32, 33, 47, 48, 64, 100, 129, 500]
    cases, code = [], []
    for n in sizes:
        for k in (2, 4, 6, 7, 8, 12, 16, 17, 24, 32):
            x = RNG.standard_normal((40, n)).astype(np.float32)
            x[10:20] = np.sort(x[10:20])[:, :: RNG.choice([-1, 1])]
            special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 1e-42, -1e-42, 1e30], np.float32)
            x[20:30][RNG.random((10, n)) < 0.5] = RNG.choice(special)
            x[30:35] = RNG.choice(special, (5, n))
            x[35:] = RNG.integers(0, 3, (5, n))
            k = min(k, n)
            model = node_model(
                "TopK", [x, np.array([k])], opset=11, outputs=[np.float32, np.int64], constants=[1], largest=largest
            )
            code.append(translate(model, f"top_{len(code)}"))
            cases.append((x, k))
    library, _ = build(code, BuildOptions(flags=flags))
    for item, (x, k) in zip(code, cases, strict=True):
        for found, wanted in zip(Function(library, item)([x]), best(x, k, -1, largest), strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_nearest_neighbours_of_any_number_of_particles() -> None:
    """k smaller than the number of particles where there are few: TopK of a size that the model computes."""
    from onnx import helper, numpy_helper

    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["n"], axis=0),
        helper.make_node("Min", ["n", "most"], ["k"]),
        helper.make_node("TopK", ["x", "k"], ["values", "places"], axis=1, largest=0),
    ]
    constants = [numpy_helper.from_array(np.array([number]), name) for name, number in (("one", 1), ("most", 3))]
    outputs = [helper.make_tensor_value_info("values", 1, None), helper.make_tensor_value_info("places", 7, None)]
    graph = helper.make_graph(nodes, "knn", [helper.make_tensor_value_info("x", 1, ["events", "n"])], outputs, constants)
    emitted = translate(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), "knn")
    assert [port.form for port in emitted.outputs] == ["plain", "plain"]
    library, _ = build([emitted], BuildOptions(flags=QUICK))
    function = Function(library, emitted)
    for n in (0, 2, 3, 50):
        x = RNG.standard_normal((4, n)).astype(np.float32)
        found = function([x])
        for mine, wanted in zip(found, best(x, min(n, 3), 1, 0) if n else [x, x.astype(np.int64)], strict=True):
            np.testing.assert_array_equal(mine, wanted)


def test_boxes() -> None:
    """Against the definition, box by box."""
    cases = []
    for center in (0, 1):
        boxes = RNG.random((2, 30, 4)).astype(np.float32)
        scores = RNG.integers(0, 10, (2, 3, 30)).astype(np.float32) / 10
        limits = [np.array([4]), np.array([0.3], np.float32), np.array([0.2], np.float32)]
        for n in range(4):
            inputs = [boxes, scores, *limits[:n]]
            model = node_model("NonMaxSuppression", inputs, opset=11, outputs=[np.int64], dynamic=n == 3, fixed=[2, 3, 4],
                               center_point_box=center)  # fmt: skip
            cases.append(
                Case(model, (tuple(inputs),), expected=lambda *given, center=center: [suppressed(*given, center=center)])
            )
    hold(cases)


def suppressed(
    boxes: Array, scores: Array, most: Array | None = None, limit: Any = (0.0,), least: Any = None, *, center: int
) -> Array:
    def corners(box: Array) -> tuple[Array, Array]:
        if center:
            return box[:2] - box[2:] / 2, box[:2] + box[2:] / 2
        return np.minimum(box[:2], box[2:]), np.maximum(box[:2], box[2:])

    def overlap(a: Array, b: Array) -> float:
        (low_a, high_a), (low_b, high_b) = corners(a), corners(b)
        shared = np.prod(np.maximum(np.minimum(high_a, high_b) - np.maximum(low_a, low_b), 0))
        both = np.prod(high_a - low_a) + np.prod(high_b - low_b) - shared
        return float(shared / both) if shared > 0 and both > 0 else 0.0

    found: list[tuple[int, int, int]] = []
    for b in range(scores.shape[0]):
        for c in range(scores.shape[1]):
            taken: list[int] = []
            for i in np.lexsort((np.arange(scores.shape[2]), -scores[b, c])):
                if least is not None and not scores[b, c, i] > least[0]:
                    continue
                if len(taken) < (0 if most is None else most[0]) and all(
                    overlap(boxes[b, i], boxes[b, j]) <= limit[0] for j in taken
                ):
                    taken.append(int(i))
            found += [(b, c, i) for i in taken]
    return np.array(found, np.int64).reshape(-1, 3)


def test_features() -> None:
    x, indices = values(np.float32, (2, 4)), np.array([[3, 1, 1]])
    row = values(np.int64, 4)
    matrix = node_model("ArrayFeatureExtractor", [x, indices], opset=15, domain="ai.onnx.ml", dynamic=True)
    vector = node_model("ArrayFeatureExtractor", [row, indices], opset=15, domain="ai.onnx.ml", outputs=[np.int64])
    hold([
        Case(matrix, ((x, indices),), expected=lambda x, indices: [x[:, indices[0]]]),
        Case(vector, ((row, indices),), expected=lambda x, indices: [x[indices]]),
    ])  # fmt: skip


# What is refused.

X = np.zeros((2, 3), np.float32)
I = np.zeros((2, 3), np.int64)  # noqa: E741 - indices

REFUSED: list[tuple[Any, str]] = [
    (node_model("GatherElements", [X, I[0]], opset=13), "has indices"),
    (node_model("GatherElements", [X, np.zeros((3, 3), np.int64)], opset=13, axis=1), "beyond axis 0"),
    (node_model("ScatterElements", [X, I, X[:1]], opset=18), "differ"),
    (node_model("ScatterElements", [X, I, X], opset=18, reduction="median"), "median"),
    (node_model("ScatterElements", [X, I, I], opset=18), "int64 into float32"),
    (node_model("ScatterElements", [X.astype(str).astype(object), I, X.astype(str).astype(object)], opset=18, outputs=[object],
                reduction="add"), "texts"),
    (node_model("GatherND", [X, np.zeros((1, 3), np.int64)], opset=13), "tuples of 3"),
    (node_model("GatherND", [X, I], opset=13, batch_dims=2), "2 axes of a batch"),
    (node_model("GatherND", [X, I], opset=13, dynamic=True), "rank is not known"),
    (node_model("ScatterND", [X, np.zeros((1, 1), np.int64), X], opset=18), "differ"),
    (node_model("TensorScatter", [X, X], opset=24, axis=0), "axis 0"),
    (node_model("TensorScatter", [X, np.zeros((2, 4), np.float32)], opset=24, axis=1), "no more than"),
    (node_model("OneHot", [I, np.array([-1]), X[0, :2]], opset=11, constants=[1]), "0 or more"),
    (node_model("OneHot", [I, np.array([1]), X[0]], opset=11, constants=[1]), "two values"),
    (node_model("Compress", [X, I[0]], opset=11), "condition"),
    (node_model("TopK", [X, np.array([4])], opset=11, constants=[1], outputs=[np.float32, np.int64]), "no more elements"),
    (node_model("TopK", [X, np.array([-1])], opset=11, constants=[1], outputs=[np.float32, np.int64]), "0 or more"),
    (node_model("NonMaxSuppression", [X, X], opset=11, outputs=[np.int64]), "is given"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "problem"), REFUSED, ids=[f"{m.graph.name}-{p}" for m, p in REFUSED])
def test_contradictions_are_refused_when_the_model_is_read(model: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        translate(model, "refused")


def test_bad_numbers_are_refused_when_the_code_runs() -> None:
    far = I + 2**62
    one = np.array([0])
    wrong: list[tuple[Any, list[tuple[Any, ...]], str]] = [
        (node_model("GatherElements", [X, I], opset=13, axis=1), [(X, I + 3), (X, I - 4), (X, far)], "beyond its axis"),
        (node_model("ScatterElements", [X, I, X], opset=18, axis=1), [(X, I + 3, X), (X, I - 4, X)], "beyond its axis"),
        (node_model("GatherND", [X, I[:, :2]], opset=13), [(X, I[:, :2] + 2), (X, -far[:, :2])], "beyond its axis"),
        (node_model("ScatterND", [X, I[:, :2], X[:, 0]], opset=18), [(X, I[:, :2] + 2, X[:, 0])], "beyond its axis"),
        (node_model("TensorScatter", [X, X[:, :2], I[:, 0]], opset=24, axis=1),
         [(X, X[:, :2], I[:, 0] + 2), (X, X[:, :2], I[:, 0] - 1)], "beyond its axis"),
        (node_model("OneHot", [I, one, X[0, :2]], opset=11), [(I, one - 1, X[0, :2])], "negative depth"),
        (node_model("OneHot", [I, one, X[0, :2]], opset=11), [(I, one + 2**61, X[0, :2])], "larger than memory"),
        (node_model("Compress", [X, np.ones(4, bool)], opset=11, axis=1), [(X, np.ones(4, bool))], "beyond its axis"),
        (node_model("TopK", [X, one], opset=11, outputs=[np.float32, np.int64]), [(X, one + 4), (X, one - 1)], "more elements"),
        (node_model("GatherElements", [X, I], opset=13, axis=1, dynamic=True), [(X[:1], I)], "beyond axis 0"),
    ]  # fmt: skip
    emitted = [translate(model, f"wrong_{i}") for i, (model, _, _) in enumerate(wrong)]
    library, _ = build(emitted, BuildOptions(flags=QUICK))
    for (_, calls, problem), item in zip(wrong, emitted, strict=True):
        function = Function(library, item)
        for call in calls:
            with pytest.raises(InputError, match=problem):
                function(list(call))
