"""Small networks that between them use each part of the runtime, with inputs for some calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

from tests.mlcore.networks.models import mlp, model

Array = npt.NDArray[Any]
FLOAT, INT64, BOOL, UINT8 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL, TensorProto.UINT8


@dataclass(frozen=True)
class Case:
    """A model and the inputs of some calls; ``refused`` are calls that have to fail."""

    model: Any
    calls: tuple[dict[str, Array], ...]
    refused: tuple[dict[str, Array], ...] = ()
    rtol: float = 1e-4
    atol: float = 1e-5


_CASES: dict[str, Callable[[np.random.Generator], Case]] = {}


def case(make: Callable[[np.random.Generator], Case]) -> Callable[[np.random.Generator], Case]:
    _CASES[make.__name__] = make
    return make


def cases() -> dict[str, Case]:
    """All cases by name."""
    return {name: make(np.random.default_rng(i)) for i, (name, make) in enumerate(_CASES.items())}


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    """A node with the names of inputs and outputs between spaces; ``-`` is one that is left out."""
    return helper.make_node(
        kind, ["" if name == "-" else name for name in inputs.split()], outputs.split(), name=f"{kind} {outputs}", **attributes
    )


def normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


@case
def dense(rng: np.random.Generator) -> Case:
    """Rows and columns that fill no block of a product."""
    calls = tuple({"x": normal(rng, n, 8)} for n in (1, 0, 17, 5))
    return Case(mlp(width=19), calls, refused=({"x": normal(rng, 3, 7)},))


@case
def convolution(rng: np.random.Generator) -> Case:
    nodes = [
        node("Conv", "x w b", "a", pads=[1, 1, 1, 1]),
        node("Relu", "a", "c"),
        node("Conv", "c depthwise", "d", group=6, strides=[2, 1], dilations=[1, 2], pads=[1, 0, 1, 2]),
        node("MaxPool", "d", "e", kernel_shape=[3, 2], pads=[1, 0, 1, 1], ceil_mode=1),
        node("ConvTranspose", "e up", "f", strides=[2, 2], output_padding=[1, 0]),
        node("BatchNormalization", "f scale bias mean var", "g"),
        node("AveragePool", "g", "h", kernel_shape=[2, 3], auto_pad="SAME_LOWER"),
        node("GlobalAveragePool", "h", "y"),
    ]
    constants = {
        "w": normal(rng, 6, 3, 3, 3), "b": normal(rng, 6), "depthwise": normal(rng, 6, 1, 3, 2), "up": normal(rng, 6, 5, 3, 3),
        "scale": normal(rng, 5), "bias": normal(rng, 5), "mean": normal(rng, 5), "var": 0.5 + rng.random(5).astype(np.float32),
    }  # fmt: skip
    proto = model(nodes, {"x": (FLOAT, ["n", 3, "h", "w"])}, {"y": FLOAT}, constants)
    return Case(proto, tuple({"x": normal(rng, n, 3, h, w)} for n, h, w in ((1, 9, 7), (3, 5, 13))))


@case
def attention(rng: np.random.Generator) -> Case:
    """As exporters write it, with a mask of booleans, and layers' normalisation."""
    nodes = [
        node("MatMul", "q kt", "s"),
        node("Mul", "s scale", "t"),
        node("Where", "mask t low", "u"),
        node("Softmax", "u", "p", axis=-1),
        node("MatMul", "p v", "o"),
        node("LayerNormalization", "o gain shift", "y", axis=-1),
    ]
    shape: list[int | str] = ["b", 2, "n", 5]
    inputs: dict[str, Any] = {"q": (FLOAT, shape), "kt": (FLOAT, ["b", 2, 5, "m"]), "v": (FLOAT, ["b", 2, "m", 7])}
    inputs["mask"] = (BOOL, ["b", 1, "n", "m"])
    constants = {
        "scale": np.float32(0.4), "low": np.float32(-1e9), "gain": normal(rng, 7), "shift": normal(rng, 7),
    }  # fmt: skip
    calls = []
    for b, n, m in ((1, 3, 19), (2, 33, 5), (1, 1, 1)):
        mask = rng.random((b, 1, n, m)) < 0.7
        mask[..., 0] = True
        calls.append({"q": normal(rng, b, 2, n, 5), "kt": normal(rng, b, 2, 5, m), "v": normal(rng, b, 2, m, 7), "mask": mask})
    return Case(model(nodes, inputs, {"y": FLOAT}, constants), tuple(calls))


@case
def recurrent(rng: np.random.Generator) -> Case:
    nodes = [
        node("LSTM", "x w r b lengths", "a h c", hidden_size=5, direction="bidirectional"),
        node("GRU", "x gw gr", "g", hidden_size=3, linear_before_reset=1),
    ]
    constants = {
        "w": normal(rng, 2, 20, 4), "r": normal(rng, 2, 20, 5), "b": normal(rng, 2, 40),
        "gw": normal(rng, 1, 9, 4), "gr": normal(rng, 1, 9, 3),
    }  # fmt: skip
    inputs: dict[str, Any] = {"x": (FLOAT, ["t", "b", 4]), "lengths": (TensorProto.INT32, ["b"])}
    proto = model(nodes, inputs, {"a": FLOAT, "h": FLOAT, "c": FLOAT, "g": FLOAT}, constants)
    calls = [{"x": normal(rng, t, b, 4), "lengths": np.full(b, t, np.int32)} for t, b in ((6, 3), (1, 1), (4, 7))]
    return Case(proto, tuple(calls))


@case
def reductions(rng: np.random.Generator) -> Case:
    nodes = [
        node("ReduceSum", "x last", "a", keepdims=0),
        node("ReduceLogSumExp", "x", "b", axes=[1], keepdims=1),
        node("ReduceMax", "x", "c", axes=[0, 2], keepdims=0),
        node("ArgMax", "x", "d", axis=1, keepdims=0, select_last_index=1),
        node("CumSum", "x axis", "e", reverse=1),
        node("ReduceMean", "x", "f", axes=[2]),
        node("Softmax", "x", "g", axis=1),
        node("LpNormalization", "x", "h", axis=1, p=1),
    ]
    constants = {"last": np.array([-1]), "axis": np.array(2)}
    outputs = {name: INT64 if name == "d" else FLOAT for name in "abcdefgh"}
    proto = model(nodes, {"x": (FLOAT, ["n", "m", "k"])}, outputs, constants)
    return Case(proto, tuple({"x": normal(rng, *shape)} for shape in ((2, 3, 21), (1, 1, 1), (5, 17, 2))))


@case
def indexing(rng: np.random.Generator) -> Case:
    nodes = [
        node("Gather", "x i", "a", axis=1),
        node("GatherElements", "x j", "b", axis=1),
        node("ScatterElements", "x j u", "c", axis=1, reduction="add"),
        node("GatherND", "x pairs", "d"),
        node("ScatterND", "x pairs values", "e"),
        node("OneHot", "i depth on", "f"),
        node("Compress", "x keep", "g", axis=0),
    ]
    constants = {"depth": np.array(6), "on": np.array([0.5, 2], np.float32)}
    inputs: dict[str, Any] = {
        "x": (FLOAT, ["n", "m"]), "i": (INT64, ["k"]), "j": (INT64, ["n", "l"]), "u": (FLOAT, ["n", "l"]),
        "pairs": (INT64, ["p", 2]), "values": (FLOAT, ["p"]), "keep": (BOOL, ["n"]),
    }  # fmt: skip
    proto = model(nodes, inputs, dict.fromkeys("abcdefg", FLOAT), constants)

    def call(n: int, m: int, k: int, last: int) -> dict[str, Array]:
        return {
            "x": normal(rng, n, m), "i": rng.integers(-m, m, k), "j": rng.integers(-m, m, (n, 3)), "u": normal(rng, n, 3),
            "pairs": np.stack([np.arange(n), rng.integers(0, m, n)], 1) if last == 0 else np.array([[n - 1, last]] * n),
            "values": normal(rng, n), "keep": rng.random(n) < 0.5,
        }  # fmt: skip

    wrong = call(3, 4, 2, 0)
    return Case(
        proto,
        (call(5, 4, 7, 0), call(1, 1, 1, 0), call(9, 23, 2, 0)),
        refused=(wrong | {"i": np.array([4, 0])}, wrong | {"j": wrong["j"] * 0 - 5}, call(3, 4, 2, 2**40)),
    )


@case
def loops(rng: np.random.Generator) -> Case:
    """A Loop that collects, and stops by itself; a Scan; an If whose branches give other sizes."""
    body = helper.make_graph(
        [
            node("Add", "s v", "next"),
            node("ReduceSum", "next", "total", keepdims=0),
            node("Less", "total limit", "go"),
            node("Identity", "next", "collected"),
        ],
        "body",
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in
         (("i", INT64, []), ("cond", BOOL, []), ("s", FLOAT, [None]))],
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in
         (("go", BOOL, []), ("next", FLOAT, [None]), ("collected", FLOAT, [None]))],
    )  # fmt: skip
    step = helper.make_graph(
        [node("Mul", "state row", "new"), node("Exp", "new", "out")],
        "step",
        [helper.make_tensor_value_info(name, FLOAT, [None]) for name in ("state", "row")],
        [helper.make_tensor_value_info(name, FLOAT, [None]) for name in ("new", "out")],
    )
    branches = {
        key: helper.make_graph([inner], key, [], [helper.make_tensor_value_info("r", FLOAT, None)])
        for key, inner in (("then_branch", node("Concat", "v v", "r", axis=0)), ("else_branch", node("Neg", "v", "r")))
    }
    nodes = [
        node("Loop", "count always v", "last all", body=body),
        node("Scan", "v rows", "state outs", body=step, num_scan_inputs=1),
        node("ReduceSum", "v", "sum", keepdims=0),
        node("Greater", "sum limit", "big"),
        node("If", "big", "chosen", **branches),
    ]
    inputs: dict[str, Any] = {"count": (INT64, []), "v": (FLOAT, ["n"]), "rows": (FLOAT, ["t", "n"])}
    constants = {"always": np.array(True), "limit": np.float32(30)}
    proto = model(nodes, inputs, dict.fromkeys(("last", "all", "state", "outs", "chosen"), FLOAT), constants)
    calls = [
        {"count": np.array(count), "v": rng.random(n).astype(np.float32) + shift, "rows": 0.3 * normal(rng, t, n)}
        for count, n, t, shift in ((4, 3, 5, 0), (50, 6, 1, 1), (2, 1, 2, 40))
    ]
    return Case(proto, tuple(np_float32(call) for call in calls))


def np_float32(call: dict[str, Array]) -> dict[str, Array]:
    """Sums of float32 and Python numbers stay float32."""
    return {name: array.astype(np.float32) if array.dtype.kind == "f" else array for name, array in call.items()}


@case
def sequences(rng: np.random.Generator) -> Case:
    nodes = [
        node("SplitToSequence", "x", "parts", axis=0, keepdims=1),
        node("SequenceInsert", "parts x where", "more"),
        node("SequenceErase", "more first", "fewer"),
        node("ConcatFromSequence", "fewer", "y", axis=0),
        node("SequenceLength", "fewer", "length"),
        node("SequenceAt", "more where", "at"),
        node("Identity", "at", "one"),
    ]
    constants = {"where": np.array(1), "first": np.array(0)}
    proto = model(nodes, {"x": (FLOAT, ["n", 3])}, {"y": FLOAT, "length": INT64, "one": FLOAT}, constants)
    return Case(proto, tuple({"x": normal(rng, n, 3)} for n in (2, 5, 1)))


@case
def late_sizes(rng: np.random.Generator) -> Case:
    nodes = [
        node("TopK", "x k", "values places", axis=-1),
        node("NonZero", "x", "where"),
        node("Unique", "ids", "unique index inverse counts"),
        node("NonMaxSuppression", "boxes scores most overlap", "chosen"),
    ]
    inputs: dict[str, Any] = {
        "x": (FLOAT, ["n", "m"]), "k": (INT64, [1]), "ids": (INT64, ["l"]), "boxes": (FLOAT, [1, "p", 4]),
        "scores": (FLOAT, [1, 1, "p"]),
    }  # fmt: skip
    outputs = {"values": FLOAT} | dict.fromkeys(
        ("places", "where", "unique", "index", "inverse", "counts", "chosen"), INT64
    )  # fmt: skip
    constants = {"most": np.array([3]), "overlap": np.array([0.5], np.float32)}
    calls = []
    for n, m, k, length, p in ((2, 9, 4, 12, 6), (1, 1, 1, 1, 1), (3, 40, 40, 50, 20)):
        corner = rng.random((1, p, 2)).astype(np.float32)
        boxes = np.concatenate([corner, corner + np.float32(0.3)], -1)
        x = normal(rng, n, m) * (rng.random((n, m)) < 0.6)
        x = x + np.arange(n * m).reshape(n, m).astype(np.float32) * np.float32(1e-3) * (x != 0)
        scores = rng.random((1, 1, p)).astype(np.float32)
        calls.append({"x": x, "k": np.array([k]), "ids": rng.integers(0, 9, length), "boxes": boxes, "scores": scores})
    wrong = calls[0] | {"k": np.array([10])}
    return Case(model(nodes, inputs, outputs, constants), tuple(calls), refused=(wrong, calls[0] | {"k": np.array([-1])}))


@case
def resizing(rng: np.random.Generator) -> Case:
    nodes = [
        node("Resize", "x - scales", "a", mode="linear", coordinate_transformation_mode="half_pixel"),
        node("Resize", "x - - sizes", "b", mode="cubic", coordinate_transformation_mode="align_corners"),
        node("Resize", "x - down", "c", mode="nearest", nearest_mode="floor"),
        node("GridSample", "x grid", "d", mode="bilinear", padding_mode="border"),
        node("DepthToSpace", "x", "e", blocksize=2),
    ]
    constants = {
        "scales": np.array([1, 1, 1.7, 2.3], np.float32), "sizes": np.array([1, 4, 7, 5]),
        "down": np.array([1, 1, 0.6, 0.5], np.float32),
    }  # fmt: skip
    inputs: dict[str, Any] = {"x": (FLOAT, [1, 4, 5, 6]), "grid": (FLOAT, [1, "h", "w", 2])}
    proto = model(nodes, inputs, dict.fromkeys("abcde", FLOAT), constants)
    return Case(proto, tuple({"x": normal(rng, 1, 4, 5, 6), "grid": 2 * normal(rng, 1, h, w, 2)} for h, w in ((3, 2), (1, 9))))


@case
def quantised(rng: np.random.Generator) -> Case:
    nodes = [
        node("QuantizeLinear", "x sx zx", "q"),
        node("QLinearConv", "q sx zx w sw zw sy zy bias", "c", pads=[1, 1, 1, 1]),
        node("DequantizeLinear", "c sy zy", "y"),
        node("DynamicQuantizeLinear", "x", "dq ds dz"),
        node("Flatten", "q", "flat"),
        node("MatMulInteger", "flat m zx", "i"),
    ]
    constants: dict[str, Array] = {
        "sx": np.array(0.03, np.float32), "zx": np.array(120, np.uint8), "sy": np.array(0.05, np.float32),
        "zy": np.array(100, np.uint8), "w": rng.integers(-90, 90, (5, 3, 3, 3)).astype(np.int8),
        "sw": (0.01 * rng.random(5) + 0.005).astype(np.float32), "zw": np.zeros(5, np.int8),
        "bias": rng.integers(-500, 500, 5).astype(np.int32), "m": rng.integers(-90, 90, (105, 9)).astype(np.int8),
    }  # fmt: skip
    outputs = {"y": FLOAT, "i": TensorProto.INT32, "dq": UINT8, "ds": FLOAT, "dz": UINT8}
    proto = model(nodes, {"x": (FLOAT, ["n", 3, 5, 7])}, outputs, constants)
    # Rounding to whole steps may fall to either side: half a step of 0.05, and one of 255.
    return Case(proto, tuple({"x": normal(rng, n, 3, 5, 7)} for n in (1, 4)), atol=0.051)


@case
def shapes(rng: np.random.Generator) -> Case:
    """What moves numbers: transposes, slices, pads, tiles, broadcasting, conversions."""
    nodes = [
        node("Transpose", "x", "t", perm=[2, 0, 1]),
        node("Slice", "t starts ends axes steps", "a"),
        node("Pad", "x pads", "b", mode="reflect"),
        node("Tile", "x repeats", "c"),
        node("Concat", "x x", "d", axis=1),
        node("Split", "d", "e f", axis=1),
        node("Expand", "row wide", "g"),
        node("Cast", "x", "h", to=TensorProto.FLOAT16),
        node("Cast", "h", "i", to=FLOAT),
        node("Add", "x row", "j"),
        node("Erf", "j", "k"),
        node("Einsum", "x x", "l", equation="bij,bkj->bik"),
    ]
    constants = {
        "starts": np.array([-1, 0]), "ends": np.array([-(2**60), 2**60]), "axes": np.array([0, 2]), "steps": np.array([-2, 1]),
        "pads": np.array([0, 1, 2, 0, 1, 1]), "repeats": np.array([1, 3, 2]), "wide": np.array([3, 2, 1]),
    }  # fmt: skip
    inputs: dict[str, Any] = {"x": (FLOAT, ["n", "m", "k"]), "row": (FLOAT, [1, "k"])}
    proto = model(nodes, inputs, dict.fromkeys("abcefgikl", FLOAT), constants)
    calls = [{"x": normal(rng, *shape), "row": normal(rng, 1, shape[2])} for shape in ((2, 3, 5), (1, 2, 18), (3, 4, 4))]
    return Case(proto, tuple(calls), rtol=2e-3, refused=({"x": normal(rng, 2, 3, 5), "row": normal(rng, 1, 4)},))


@case
def texts(rng: np.random.Generator) -> Case:
    """Numbers to texts and back; patterns."""
    nodes = [
        node("Cast", "x", "t", to=TensorProto.STRING),
        node("StringConcat", "t t", "tt"),
        node("RegexFullMatch", "tt", "y", pattern=r"-?(\d+)-?\d*[1-5]"),
        node("Cast", "t", "back", to=INT64),
        node("StringSplit", "tt", "pieces count", delimiter="1"),
    ]
    proto = model(nodes, {"x": (INT64, ["n"])}, {"y": BOOL, "back": INT64, "count": INT64}, opset=20)
    return Case(proto, tuple({"x": rng.integers(-(10**9), 10**9, n)} for n in (1, 40)))
