"""Operators that move elements, of fixed and of given sizes, with parameters that are known and that come with the call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from onnx import TensorProto, helper

from mlcore.errors import InputError
from mlcore.networks.build import QUICK, BuildOptions, Function, build
from mlcore.networks.compiler import translate
from tests.mlcore.networks import models
from tests.mlcore.networks.conftest import Array, Case, drawn, hold, node_model

RNG = np.random.default_rng(11)
DTYPES = [np.float32, np.float64, np.int64, np.int8, np.bool_, np.float16, np.uint32, object]


def values(dtype: Any, shape: tuple[int, ...]) -> Array:
    """Different numbers, so that each tells where it was."""
    numbers = RNG.integers(-100, 100, shape)
    return numbers.astype(str).astype(object) if dtype is object else numbers.astype(dtype)


def ints(*items: int) -> Array:
    return np.array(items, np.int64)


@st.composite
def tensors(draw: st.DrawFn, least: int = 0, most: int = 4) -> dict[str, Any]:
    shape = draw(st.lists(st.integers(0, 4), min_size=least, max_size=most))
    return {"dtype": draw(st.sampled_from(DTYPES)), "shape": tuple(shape), "dynamic": draw(st.booleans())}


def two_sizes(p: dict[str, Any], axes: Any = None) -> list[tuple[int, ...]]:
    """The shape, and for models of given sizes another one; along the named axes, or all."""
    if not p["dynamic"]:
        return [p["shape"]]
    grown = range(len(p["shape"])) if axes is None else axes
    return [p["shape"], tuple(size + (axis in grown) for axis, size in enumerate(p["shape"]))]


def with_parameters(
    kind: str, p: dict[str, Any], parameters: list[Array | None], known: bool, *, opset: int, expected: Any, **attributes: Any
) -> Case:
    """A case whose first input is data, the others numbers that the model holds or is given."""
    data = [values(p["dtype"], shape) for shape in two_sizes(p)]
    places = range(1, len(parameters) + 1)
    model = node_model(
        kind, [data[0], *parameters], opset=opset, outputs=[p["dtype"]], constants=list(places) if known else [],
        dynamic=p["dynamic"], fixed=list(places), **attributes,
    )  # fmt: skip
    given = [] if known else [item for item in parameters if item is not None]
    return Case(model, tuple((x, *given) for x in data), expected=lambda x, *_: [expected(x)])


# Transpose, Concat, Split.


@st.composite
def transposes(draw: st.DrawFn) -> Case:
    p = draw(tensors())
    rank = len(p["shape"])
    order = draw(st.one_of(st.none(), st.permutations(range(rank))))
    attributes = {} if order is None else {"perm": list(order)}
    data = [values(p["dtype"], shape) for shape in two_sizes(p)]
    model = node_model("Transpose", data[:1], opset=21, outputs=[p["dtype"]], dynamic=p["dynamic"], **attributes)
    return Case(model, tuple((x,) for x in data), expected=lambda x: [np.transpose(x, order)])


@st.composite
def concats(draw: st.DrawFn) -> Case:
    p = draw(tensors(least=1))
    axis = draw(st.integers(-len(p["shape"]), len(p["shape"]) - 1))
    widths = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    calls = []
    for shape in two_sizes(p):
        parts = []
        for width in widths:
            own = list(shape)
            own[axis] = width
            parts.append(values(p["dtype"], tuple(own)))
        calls.append(tuple(parts))
    model = node_model("Concat", calls[0], opset=13, outputs=[p["dtype"]], dynamic=p["dynamic"], axis=axis)
    return Case(model, tuple(calls), expected=lambda *parts: [np.concatenate(parts, axis)])


@st.composite
def splits(draw: st.DrawFn) -> Case:
    p = draw(tensors(least=1))
    axis = draw(st.integers(0, len(p["shape"]) - 1))
    style = draw(st.sampled_from(["attribute", "input", "late", "equal"]))
    if style == "equal":
        n = draw(st.integers(1, 3))
        sizes = [shape[axis] for shape in two_sizes(p)]
        if any(size - (n - 1) * -(-size // n) < 0 for size in sizes):
            p["shape"] = tuple(n if i == axis else size for i, size in enumerate(p["shape"]))
            p["dynamic"] = False
        cut = lambda x: [  # noqa: E731
            np.take(x, range(i * -(-x.shape[axis] // n), min((i + 1) * -(-x.shape[axis] // n), x.shape[axis])), axis)
            for i in range(n)
        ]
        data = [values(p["dtype"], shape) for shape in two_sizes(p)]
        model = node_model(
            "Split",
            data[:1],
            opset=18,
            outputs=[p["dtype"]] * n,
            dynamic=p["dynamic"],
            axis=axis - len(p["shape"]),
            num_outputs=n,
        )
        return Case(model, tuple((x,) for x in data), expected=cut)
    parts = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    p["shape"] = tuple(sum(parts) if i == axis else size for i, size in enumerate(p["shape"]))
    places = np.cumsum(parts)[:-1]
    data = [values(p["dtype"], shape) for shape in two_sizes(p, [i for i in range(len(p["shape"])) if i != axis])]
    outputs = [p["dtype"]] * len(parts)
    cut = lambda x, *_: np.split(x, places, axis)  # noqa: E731
    if style == "attribute":
        model = node_model("Split", data[:1], opset=11, outputs=outputs, dynamic=p["dynamic"], axis=axis, split=parts)
        return Case(model, tuple((x,) for x in data), expected=cut)
    constants = [1] if style == "input" else []
    model = node_model(
        "Split",
        [data[0], ints(*parts)],
        opset=13,
        outputs=outputs,
        constants=constants,
        dynamic=p["dynamic"],
        fixed=[1],
        axis=axis,
    )
    given = () if style == "input" else (ints(*parts),)
    return Case(model, tuple((x, *given) for x in data), expected=cut)


def test_transpose_concat_split() -> None:
    hold([*drawn(transposes(), 15), *drawn(concats(), 15), *drawn(splits(), 30)])


def test_transposes_larger_than_a_tile() -> None:
    cases = []
    for dtype in (np.float32, np.int32, np.float64, np.float16, np.int8, object):
        for shape, order in (
            ((3, 70, 9), (0, 2, 1)),
            ((67, 2, 13), (2, 1, 0)),
            ((2, 5, 8, 66), (0, 3, 1, 2)),
            ((130, 4), (1, 0)),
        ):
            x = values(dtype, shape)
            model = node_model("Transpose", [x], opset=21, outputs=[dtype], perm=list(order))
            cases.append(Case(model, ((x,),), expected=lambda x, order=order: [np.transpose(x, order)]))
    x = values(np.float32, (6, 7, 1))
    model = node_model("Expand", [x, ints(2, 6, 7, 9)], opset=13, constants=[1])
    cases.append(Case(model, ((x,),), expected=lambda x: [np.broadcast_to(x, (2, 6, 7, 9))]))
    backwards = values(np.float32, (9, 20))
    model = node_model("Slice", [backwards, ints(-1), ints(-(2**40)), ints(1), ints(-1)], opset=13, constants=[1, 2, 3, 4])
    cases.append(Case(model, ((backwards,),), expected=lambda x: [x[:, ::-1]]))
    hold(cases)


# Slice, Gather.


def sliced(x: Array, starts: list[int], ends: list[int], axes: list[int], steps: list[int]) -> Array:
    """By the text of the definition: starts and ends are clamped to [0, n] forwards, [0, n - 1] and [-1, n - 1] backwards."""
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        n = x.shape[axis]
        start, end = (place + n if place < 0 else place for place in (start, end))
        if step > 0:
            picked = list(range(min(max(start, 0), n), min(max(end, 0), n), step))
        else:
            picked = list(range(min(max(start, 0), n - 1), min(max(end, -1), n - 1), step)) if n else []
        x = np.take(x, picked, axis)
    return x


@st.composite
def slices(draw: st.DrawFn) -> Case:
    p = draw(tensors(least=1))
    rank = len(p["shape"])
    axes = draw(st.lists(st.integers(0, rank - 1), min_size=1, max_size=rank, unique=True))
    far = [2**31 - 1, 2**63 - 1, -(2**63) + 1, -(2**31)]
    place = st.one_of(st.integers(-6, 6), st.sampled_from(far))
    starts, ends = ([draw(place) for _ in axes] for _ in range(2))
    style = draw(st.sampled_from(["attribute", "known", "late"]))
    steps = [1 if style == "attribute" else draw(st.sampled_from([1, 1, 2, 3, -1, -2, -3])) for _ in axes]
    named = [axis - rank * draw(st.booleans()) for axis in axes]
    cut = lambda x, *_: [sliced(x, starts, ends, axes, steps)]  # noqa: E731
    data = [values(p["dtype"], shape) for shape in two_sizes(p)]
    if style == "attribute":
        model = node_model(
            "Slice", data[:1], opset=9, outputs=[p["dtype"]], dynamic=p["dynamic"], starts=starts, ends=ends, axes=axes
        )
        return Case(model, tuple((x,) for x in data), expected=cut)
    parameters = [ints(*starts), ints(*ends), ints(*named), ints(*steps)]
    return with_parameters("Slice", p, list(parameters), style == "known", opset=13, expected=lambda x: cut(x)[0])


@st.composite
def gathers(draw: st.DrawFn) -> Case:
    p = draw(tensors(least=1))
    axis = draw(st.integers(-len(p["shape"]), len(p["shape"]) - 1))
    n = p["shape"][axis]
    shape = draw(st.lists(st.integers(0, 3), max_size=2)) if n else [0]
    indices = RNG.integers(-n, n, shape) if n else np.zeros(shape, np.int64)
    indices = indices.astype(draw(st.sampled_from([np.int32, np.int64])))
    known = draw(st.booleans())
    return with_parameters(
        "Gather", p, [indices], known, opset=13, axis=axis, expected=lambda x: np.take(x, indices.astype(np.int64), axis)
    )


def test_slice() -> None:
    hold(drawn(slices(), 60))


def test_gather() -> None:
    hold(drawn(gathers(), 25))


# Expand, Tile, Pad.


@st.composite
def expansions(draw: st.DrawFn) -> Case:
    p = draw(tensors(most=3))
    p["dynamic"] = False
    wanted = [size if draw(st.booleans()) else 1 for size in p["shape"]]
    shape = tuple(1 if draw(st.booleans()) else size for size in p["shape"])
    wanted = wanted[draw(st.integers(0, len(wanted))) :] if draw(st.booleans()) else [draw(st.integers(0, 3)), *wanted]
    p["shape"] = shape
    full = np.broadcast_shapes(shape, tuple(wanted))
    known = draw(st.booleans())
    return with_parameters("Expand", p, [ints(*wanted)], known, opset=13, expected=lambda x: np.broadcast_to(x, full))


@st.composite
def tiles(draw: st.DrawFn) -> Case:
    p = draw(tensors(most=3))
    repeats = [draw(st.integers(0, 3)) for _ in p["shape"]]
    return with_parameters(
        "Tile", p, [ints(*repeats)], draw(st.booleans()), opset=13, expected=lambda x: np.tile(x, repeats).reshape(
            [size * count for size, count in zip(x.shape, repeats, strict=True)]
        ),
    )  # fmt: skip


def padded(x: Array, pads: list[tuple[int, int]], mode: str, value: Any) -> Array:
    """Element by element."""
    shape = [size + before + behind for size, (before, behind) in zip(x.shape, pads, strict=True)]
    y = np.empty(shape, x.dtype)
    for index in np.ndindex(*shape):
        source = []
        for place, size, (before, _) in zip(index, x.shape, pads, strict=True):
            at = place - before
            if mode == "edge":
                at = min(max(at, 0), size - 1)
            elif mode == "wrap":
                at %= size
            elif mode == "reflect":
                at = 0 if size == 1 else at % (2 * (size - 1))
                at = at if at < size else 2 * (size - 1) - at
            source.append(at)
        inside = all(0 <= at < size for at, size in zip(source, x.shape, strict=True))
        y[index] = x[tuple(source)] if inside else value
    return y


@st.composite
def pads(draw: st.DrawFn) -> Case:
    p = draw(tensors(least=1, most=3))
    p["dtype"] = draw(st.sampled_from([np.float32, np.int64, np.float16, np.bool_]))
    mode = draw(st.sampled_from(["constant", "constant", "reflect", "edge", "wrap"]))
    if mode != "constant":
        p["shape"] = tuple(max(1, size) for size in p["shape"])
    axes = draw(st.lists(st.integers(0, len(p["shape"]) - 1), unique=True)) if draw(st.booleans()) else None
    amounts = {}
    for axis in range(len(p["shape"])) if axes is None else axes:
        least = -(p["shape"][axis] // 2) if mode == "constant" else 0
        amounts[axis] = (draw(st.integers(least, 5)), draw(st.integers(least, 5)))
    full = [amounts.get(axis, (0, 0)) for axis in range(len(p["shape"]))]
    listed = ints(*(before for before, _ in amounts.values()), *(behind for _, behind in amounts.values()))
    value = np.array(draw(st.integers(0, 3))).astype(p["dtype"]) if draw(st.booleans()) else None
    filling = np.zeros((), p["dtype"])[()] if value is None else value[()]
    if axes is None and p["dtype"] == np.float32 and mode != "wrap" and draw(st.booleans()):
        data = [values(p["dtype"], shape) for shape in two_sizes(p)]
        model = node_model(
            "Pad",
            data[:1],
            opset=2,
            outputs=[p["dtype"]],
            dynamic=p["dynamic"],
            pads=listed.tolist(),
            mode=mode,
            value=float(filling),
        )
        return Case(model, tuple((x,) for x in data), expected=lambda x: [padded(x, full, mode, filling)])
    parameters = [listed, value, None if axes is None else ints(*axes)]
    while parameters[-1] is None:
        parameters.pop()
    return with_parameters(
        "Pad", p, parameters, draw(st.booleans()), opset=19, mode=mode, expected=lambda x: padded(x, full, mode, filling)
    )


def test_expand_tile() -> None:
    hold([*drawn(expansions(), 30), *drawn(tiles(), 25)])


def test_pad() -> None:
    hold(drawn(pads(), 50))


# The others.


@st.composite
def triangles(draw: st.DrawFn) -> Case:
    p = draw(tensors(least=2))
    p["dtype"] = draw(st.sampled_from([np.float32, np.int64, np.bool_]))
    k = draw(st.sampled_from([None, -3, -1, 0, 1, 2, 5, 2**62]))
    upper = draw(st.integers(0, 1))
    shift = min(k or 0, 100)
    keep = np.triu if upper else np.tril
    parameters = [] if k is None else [np.array(k, np.int64)]
    return with_parameters("Trilu", p, parameters, draw(st.booleans()), opset=14, upper=upper, expected=lambda x: keep(x, shift))


@st.composite
def reversals(draw: st.DrawFn) -> Case:
    p = draw(tensors(least=2))
    p["dynamic"] = False
    time = draw(st.integers(0, 1))
    lengths = RNG.integers(0, p["shape"][time] + 1, p["shape"][1 - time])

    def turned(x: Array) -> Array:
        y = np.moveaxis(x, time, 0).copy()
        for row, length in enumerate(lengths):
            y[:length, row] = y[:length, row][::-1].copy()
        return np.moveaxis(y, 0, time)

    return with_parameters(
        "ReverseSequence", p, [lengths], draw(st.booleans()), opset=10, time_axis=time, batch_axis=1 - time, expected=turned
    )


@st.composite
def crops(draw: st.DrawFn) -> Case:
    p = draw(tensors(least=1, most=3))
    p["dtype"] = draw(st.sampled_from([np.float32, np.int64]))
    axes = draw(st.lists(st.integers(0, len(p["shape"]) - 1), min_size=1, unique=True))
    sizes = [draw(st.integers(0, 6)) for _ in axes]

    def cut(x: Array) -> Array:
        for axis, size in zip(axes, sizes, strict=True):
            n = x.shape[axis]
            if size < n:
                x = np.take(x, range((n - size) // 2, (n - size) // 2 + size), axis)
            else:
                around = [(0, 0)] * x.ndim
                around[axis] = ((size - n) // 2, size - n - (size - n) // 2)
                x = np.pad(x, around)
        return x

    return with_parameters("CenterCropPad", p, [ints(*sizes)], draw(st.booleans()), opset=18, axes=axes, expected=cut)


@st.composite
def blocks(draw: st.DrawFn) -> Case:
    block, mode = draw(st.integers(1, 3)), draw(st.sampled_from(["DCR", "CRD"]))
    n, c, h, w = (draw(st.integers(0, 2)) for _ in range(4))
    dtype = draw(st.sampled_from([np.float32, np.int64]))
    dynamic = draw(st.booleans())
    to_space = draw(st.booleans())
    shapes = [(n, c * block**2, h, w) if to_space else (n, c, h * block, w * block)]
    if dynamic:
        shapes.append((n + 1, shapes[0][1] + block**2, shapes[0][2] + block, shapes[0][3] + block))

    def turned(x: Array) -> list[Array]:
        n, c, h, w = x.shape
        b = block
        if to_space and mode == "DCR":
            y = x.reshape(n, b, b, c // b**2, h, w).transpose(0, 3, 4, 1, 5, 2)
        elif to_space:
            y = x.reshape(n, c // b**2, b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
        else:
            y = x.reshape(n, c, h // b, b, w // b, b).transpose((0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4))
        return [y.reshape((n, c // b**2, h * b, w * b) if to_space else (n, c * b**2, h // b, w // b))]

    data = [values(dtype, shape) for shape in shapes]
    kind = "DepthToSpace" if to_space else "SpaceToDepth"
    model = node_model(kind, data[:1], opset=28, outputs=[dtype], dynamic=dynamic, blocksize=block, mode=mode)
    return Case(model, tuple((x,) for x in data), expected=turned)


def test_triangles_reversals_crops_blocks() -> None:
    hold([*drawn(triangles(), 20), *drawn(reversals(), 15), *drawn(crops(), 20), *drawn(blocks(), 15)])


# What is refused.

X = np.zeros((2, 3), np.float32)

REFUSED_EARLY = [
    (node_model("Transpose", [X], opset=13, perm=[0, 0]), "order"),
    (node_model("Concat", [X, X], opset=13, axis=2), "axis 2"),
    (node_model("Concat", [X, X[0]], opset=13, axis=0), "joins"),
    (node_model("Concat", [X, X[:, :2]], opset=13, axis=0), "differ"),
    (node_model("Split", [X, ints(1, 1)], opset=13, constants=[1], outputs=[np.float32] * 2, axis=1), "differ"),
    (node_model("Split", [X, ints(-1, 4)], opset=13, constants=[1], outputs=[np.float32] * 2, axis=1), "0 or more"),
    (node_model("Split", [X], opset=13, outputs=[np.float32] * 2, axis=1), "equal parts"),
    (node_model("Split", [X], opset=18, outputs=[np.float32] * 2, axis=1, num_outputs=3), "2 outputs"),
    (node_model("Slice", [X, ints(0), ints(1), ints(0), ints(0)], opset=13, constants=[1, 2, 3, 4]), "step of zero"),
    (node_model("Slice", [X, ints(0, 0), ints(1, 1), ints(1, -1)], opset=13, constants=[1, 2, 3]), "twice"),
    (node_model("Slice", [X, ints(0), ints(1, 1)], opset=13, constants=[1, 2]), "different lengths"),
    (node_model("Slice", [X], opset=9, starts=[0], ends=[1, 2]), "different lengths"),
    (node_model("Expand", [X, ints(2, 4)], opset=13, constants=[1]), "differ"),
    (node_model("Expand", [X, ints(-1, 3)], opset=13, constants=[1]), "0 or more"),
    (node_model("Tile", [X, ints(1)], opset=13, constants=[1]), "repeats 2 axes"),
    (node_model("Tile", [X, ints(1, -2)], opset=13, constants=[1]), "0 or more"),
    (node_model("Pad", [X, ints(1, 1)], opset=13, constants=[1]), "amounts"),
    (node_model("Pad", [X, ints(0, -2, 0, -2)], opset=13, constants=[1]), "cuts off"),
    (node_model("Pad", [X, ints(0, 0, 0, 0)], opset=13, constants=[1], mode="magic"), "magic"),
    (node_model("Trilu", [X[0]], opset=14), "matrices"),
    (node_model("DepthToSpace", [X.reshape(1, 6, 1, 1)], opset=13, blocksize=2), "channels"),
    (node_model("SpaceToDepth", [X.reshape(1, 1, 2, 3)], opset=13, blocksize=2), "pixels"),
    (node_model("ReverseSequence", [X, ints(1, 1, 1)], opset=10, batch_axis=0, time_axis=2), "first two axes"),
    (node_model("CenterCropPad", [X, ints(1)], opset=18, constants=[1]), "sizes for 2 axes"),
]


@pytest.mark.parametrize(("model", "problem"), REFUSED_EARLY, ids=[f"{m.graph.name}-{p}" for m, p in REFUSED_EARLY])
def test_contradictions_are_refused_when_the_model_is_read(model: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as error:
        translate(model, "refused")
    assert model.graph.name in error.value.message


def test_bad_numbers_are_refused_when_the_code_runs() -> None:
    far = 2**62
    wrong: list[tuple[Any, list[tuple[Array, ...]], str]] = [
        (node_model("Gather", [X, ints(0)], opset=13, axis=1), [(X, ints(3)), (X, ints(-4)), (X, ints(far))], "beyond its axis"),
        (
            node_model("Split", [X, ints(1, 2)], opset=13, outputs=[np.float32] * 2, axis=1),
            [(X, ints(1, 1)), (X, ints(-1, 4)), (X, ints(far, far))],
            "not the whole",
        ),
        (
            node_model("Slice", [X, ints(0), ints(1), ints(0), ints(1)], opset=13),
            [(X, ints(0), ints(1), ints(2), ints(1)), (X, ints(0), ints(1), ints(0), ints(0))],
            "Slice",
        ),
        (node_model("Expand", [X, ints(2, 3)], opset=13), [(X, ints(2, 4))], "differ"),
        (
            node_model("Expand", [X[:, :1], ints(2, 3)], opset=13),
            [(X[:, :1], ints(2, -4)), (X[:, :1], ints(2, far))],
            "larger than",
        ),
        (node_model("Tile", [X, ints(1, 1)], opset=13), [(X, ints(-1, 1))], "less than no time"),
        (node_model("Tile", [X, ints(1, 1)], opset=13), [(X, ints(far, 1)), (X, ints(2**31, 2**31))], "larger than memory"),
        (node_model("Pad", [X, ints(0, 0, 0, 0)], opset=13), [(X, ints(0, -2, 0, -2))], "cuts off"),
        (
            node_model("Pad", [X, ints(0, 0, 0, 0)], opset=13),
            [(X, ints(far, 0, 0, 0)), (X, ints(2**54, 2**54, 0, 0))],
            "larger than",
        ),
        (
            node_model("Pad", [X[:0], ints(0, 0, 0, 0)], opset=13, mode="edge"),
            [(X[:0], ints(1, 0, 0, 0))],
            "empty",
        ),
        (node_model("ReverseSequence", [X, ints(1, 1, 1)], opset=10), [(X, ints(1, 3, 1)), (X, ints(-1, 1, 1))], "length beyond"),
        (node_model("CenterCropPad", [X, ints(1, 1)], opset=18), [(X, ints(-1, 1)), (X, ints(far, far))], "larger than memory"),
    ]
    emitted = [translate(model, f"wrong_{i}") for i, (model, _, _) in enumerate(wrong)]
    library, _ = build(emitted, BuildOptions(flags=QUICK))
    for (model, calls, problem), item in zip(wrong, emitted, strict=True):
        function = Function(library, item)
        for call in calls:
            with pytest.raises(InputError, match=problem):
                function(list(call))
            assert model.graph.name


def test_sizes_that_the_model_computes_are_followed() -> None:
    """x[:, 1:n] + x[:, :n - 1] of any n: what a model slices by its own shape has a size that is known to fit."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Shape", ["x"], ["all"]),
        helper.make_node("Gather", ["all", "one"], ["n"], axis=0),
        helper.make_node("Sub", ["n", "one"], ["less"]),
        helper.make_node("Slice", ["x", "one", "n", "one"], ["right"]),
        helper.make_node("Slice", ["x", "zero", "less", "one"], ["left"]),
        helper.make_node("Add", ["left", "right"], ["y"]),
    ]
    constants = [helper.make_tensor(name, TensorProto.INT64, [1], [number]) for name, number in (("zero", 0), ("one", 1))]
    graph = helper.make_graph(
        nodes, "neighbours", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, "n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    emitted = translate(model, "neighbours")
    assert emitted.outputs[0].form == "plain"
    library, _ = build([emitted], BuildOptions(flags=QUICK))
    function = Function(library, emitted)
    for n in (1, 2, 7):
        x = RNG.standard_normal((2, n)).astype(np.float32)
        np.testing.assert_array_equal(function([x])[0], x[:, :-1] + x[:, 1:])
    with pytest.raises(InputError, match="counts from the front"):
        function([np.zeros((2, 0), np.float32)])


def test_a_slice_of_at_most_one_broadcasts() -> None:
    """``x / ones_like(x[:1, :1])``, ``x[:1, :1] - x`` and an Expand, with open sizes, empty ones too."""
    nodes = [
        helper.make_node("Slice", ["x", "starts", "ends"], ["corner"]),
        helper.make_node("Shape", ["corner"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["twos"], value=helper.make_tensor("two", TensorProto.FLOAT, [1], [2.0])),
        helper.make_node("Div", ["x", "twos"], ["halves"]),
        helper.make_node("Sub", ["corner", "x"], ["differences"]),
        helper.make_node("Shape", ["x"], ["whole"]),
        helper.make_node("Expand", ["corner", "whole"], ["corners"]),
    ]
    outputs = dict.fromkeys(["halves", "differences", "corners"], TensorProto.FLOAT)
    constants = {"starts": np.array([0, 0]), "ends": np.array([1, 1])}
    emitted = translate(models.model(nodes, {"x": (TensorProto.FLOAT, ["b", "n"])}, outputs, constants), "corner")
    function = Function(build([emitted], BuildOptions(flags=QUICK))[0], emitted)
    for shape in ((3, 4), (1, 1), (1, 5), (6, 1), (0, 4), (3, 0), (0, 0)):
        x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        halves, differences, corners = function([x])
        np.testing.assert_array_equal(halves, x / 2)
        np.testing.assert_array_equal(differences, x[:1, :1] - x)
        np.testing.assert_array_equal(corners, np.broadcast_to(x[:1, :1], shape))


def test_nothing_is_not_repeated() -> None:
    """The first of none, against three: no number to take."""
    nodes = [helper.make_node("Slice", ["x", "starts", "ends"], ["first"]), helper.make_node("Add", ["first", "y"], ["sum"])]
    ports = {"x": (TensorProto.FLOAT, ["n"]), "y": (TensorProto.FLOAT, ["m"])}
    constants = {"starts": np.array([0]), "ends": np.array([1])}
    emitted = translate(models.model(nodes, ports, {"sum": TensorProto.FLOAT}, constants), "first")
    function = Function(build([emitted], BuildOptions(flags=QUICK))[0], emitted)
    x, y = np.arange(5, dtype=np.float32), np.ones(3, np.float32)
    np.testing.assert_array_equal(function([x + 4, y])[0], [5, 5, 5])
    assert function([x[:0], y[:0]])[0].shape == (0,)
    with pytest.raises(InputError, match="has nothing there"):
        function([x[:0], y])


def test_squeeze_of_an_open_size_that_is_one_is_refused_by_the_call() -> None:
    emitted = translate(
        models.model(
            [helper.make_node("Squeeze", ["x"], ["y"])], {"x": (TensorProto.FLOAT, ["b", 1, 3])}, {"y": TensorProto.FLOAT}
        ),
        "open",
    )
    function = Function(build([emitted], BuildOptions(flags=QUICK))[0], emitted)
    for size in (0, 2, 5):
        assert function([np.zeros((size, 1, 3), np.float32)])[0].shape == (size, 3)
    with pytest.raises(InputError, match="axis 0, whose size is open, is one"):
        function([np.zeros((1, 1, 3), np.float32)])


def test_shapes_of_which_only_some_sizes_are_known() -> None:
    """Numbers that the call gives beside those of the model: what is known of a shape holds before it runs."""
    nodes = [
        helper.make_node("Split", ["sizes"], ["a", "b"], num_outputs=2),
        helper.make_node("Cast", ["a"], ["a_"], to=TensorProto.INT64),
        helper.make_node("Concat", ["a_", "two", "three"], ["shape"], axis=0),
        helper.make_node("Gather", ["shape", "order"], ["turned"]),
        helper.make_node("Slice", ["shape", "one", "two"], ["middle"]),
        helper.make_node("Expand", ["x", "shape"], ["expanded"]),
        helper.make_node("Squeeze", ["expanded"], ["squeezed"]),  # without axes: only open sizes may not be 1
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("Concat", ["minus", "b", "zero"], ["wanted"], axis=0),
        helper.make_node("Reshape", ["zeros", "wanted"], ["reshaped"]),
        helper.make_node("ConstantOfShape", ["middle"], ["known"]),
        helper.make_node("ConstantOfShape", ["turned"], ["other"]),
    ]
    names = ("expanded", "squeezed", "zeros", "reshaped", "known", "other")
    numbers = {"zero": [0], "one": [1], "two": [2], "three": [3], "minus": [-1], "order": [2, 0]}
    constants = {key: np.array(item, np.int64) for key, item in numbers.items()}
    proto = models.model(
        nodes, {"x": (TensorProto.FLOAT, [1, "n"]), "sizes": (TensorProto.INT64, [2])},
        dict.fromkeys(names, TensorProto.FLOAT), constants, opset=18,
    )  # fmt: skip
    emitted = translate(proto, "partly")
    types = {port.name: str(port.value.type).split("[")[1].split(", ") for port in emitted.outputs}
    assert types["expanded"][1] == "2"
    assert types["zeros"][1:] == ["2", "3]"]
    assert types["reshaped"][2] == "3]"
    assert types["known"] == ["2]"]
    assert types["other"][0] == "3"
    function = Function(build([emitted], BuildOptions(flags=QUICK))[0], emitted)
    for a, b, n in ((5, 1, 3), (2, 4, 1), (0, 3, 3)):
        x = RNG.standard_normal((1, n)).astype(np.float32)
        expanded, squeezed, zeros, reshaped, known, other = function([x, np.array([a, b])])
        np.testing.assert_array_equal(expanded, np.broadcast_to(x, (a, 2, 3)))
        np.testing.assert_array_equal(squeezed, expanded)
        assert (zeros.shape, reshaped.shape, known.shape, other.shape) == ((a, 2, 3), (a * 2 // b, b, 3), (2,), (3, a))
    for sizes, problem in (([5, 7], "cannot tell"), ([1, 1], "is one"), ([-2, 1], "larger than memory")):
        with pytest.raises(InputError, match=problem):
            function([np.zeros((1, 3), np.float32), np.array(sizes)])
    with pytest.raises(InputError, match="differ"):
        function([np.zeros((1, 4), np.float32), np.array([5, 1])])
