"""Quantised operators against ONNX's reference evaluator and the definitions, of fixed and of given sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from mlcore.errors import InputError
from mlcore.networks.compiler import translate
from tests.mlcore.networks.conftest import Array, Case, drawn, hold, node_model

RNG = np.random.default_rng(17)


@st.composite
def granularities(draw: st.DrawFn) -> dict[str, Any]:
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))
    return {
        "shape": shape,
        "axis": draw(st.integers(-len(shape), len(shape) - 1)),
        "fine": draw(st.sampled_from(["tensor", "axis", "block"])),
        "block": draw(st.integers(1, 4)),
        "dtype": np.dtype(draw(st.sampled_from([np.uint8, np.int8, np.uint16, np.int16]))),
        "real": np.dtype(draw(st.sampled_from([np.float32, np.float16]))),
        "zero": draw(st.booleans()),
        "dynamic": draw(st.booleans()),
    }


def parameters(p: dict[str, Any]) -> tuple[Array, Array]:
    """Scales and zero points."""
    axis = p["axis"] % len(p["shape"])
    shape: tuple[int, ...] = ()
    if p["fine"] == "axis":
        shape = (p["shape"][axis],)
    elif p["fine"] == "block":
        shape = tuple(-(-size // p["block"]) if i == axis else size for i, size in enumerate(p["shape"]))
    info = np.iinfo(p["dtype"])
    scale = (2.0 ** RNG.integers(-4, 1, shape)).astype(p["real"])  # exact quotients: no result hangs on a rounding
    return scale, RNG.integers(max(info.min, -20), 20, shape).astype(p["dtype"])


def spread(p: dict[str, Any], item: Array) -> Array:
    """Scales or zero points, one for each element."""
    axis = p["axis"] % len(p["shape"])
    if p["fine"] == "axis":
        return item.reshape(-1, *[1] * (len(p["shape"]) - axis - 1))
    return np.repeat(item, p["block"], axis).take(np.arange(p["shape"][axis]), axis) if p["fine"] == "block" else item


def quantise_case(p: dict[str, Any]) -> Case:
    scale, zero = parameters(p)
    x = (RNG.integers(-300, 300, p["shape"]) / 8).astype(p["real"])
    info = np.iinfo(p["dtype"])

    def expected(x: Array) -> list[Array]:
        y = np.rint(x.astype(np.float64) / spread(p, scale)) + (spread(p, zero).astype(np.int64) if p["zero"] else 0)
        low, high = (info.min, info.max) if p["zero"] else (0, 255)
        return [np.clip(y, low, high).astype(p["dtype"] if p["zero"] else np.uint8)]

    attributes = {"block_size": p["block"]} if p["fine"] == "block" else {}
    model = node_model(
        "QuantizeLinear", [x, scale, zero if p["zero"] else None], opset=21, outputs=[p["dtype"] if p["zero"] else np.uint8],
        constants=(1, 2), dynamic=p["dynamic"], axis=p["axis"], **attributes,
    )  # fmt: skip
    return Case(model, ((x,),), 0, 0, expected)


def dequantise_case(p: dict[str, Any]) -> Case:
    scale, zero = parameters(p)
    info = np.iinfo(p["dtype"])
    x = RNG.integers(info.min, info.max + 1, p["shape"]).astype(p["dtype"])

    def expected(x: Array) -> list[Array]:
        y = (x.astype(np.float64) - (spread(p, zero) if p["zero"] else 0)) * spread(p, scale)
        with np.errstate(over="ignore"):
            return [y.astype(p["real"])]

    attributes = {"block_size": p["block"]} if p["fine"] == "block" else {}
    model = node_model(
        "DequantizeLinear", [x, scale, zero if p["zero"] else None], opset=21, outputs=[p["real"]], constants=(1, 2),
        dynamic=p["dynamic"], axis=p["axis"], **attributes,
    )  # fmt: skip
    return Case(model, ((x,),), 0, 0, expected)


def test_scales_of_every_granularity() -> None:
    hold([make(p) for make in (quantise_case, dequantise_case) for p in drawn(granularities(), 20)])


def test_ranges_of_tensors() -> None:
    cases = []
    for x in (RNG.standard_normal((3, 4)), RNG.uniform(2, 3, 5), -RNG.uniform(2, 3, (1, 5)), np.zeros((0, 2))):
        x = x.astype(np.float32)

        def expected(x: Array) -> list[Array]:
            low, high = (np.float32(f(x, initial=0)) for f in (np.min, np.max))
            scale = np.float32(1) if low == high else np.float32((high - low) / np.float32(255))
            zero = np.clip(np.rint(-low / scale), 0, 255)
            y = np.clip(np.rint(x / scale) + zero, 0, 255)
            return [y.astype(np.uint8), np.array(scale), np.array(zero, np.uint8)]

        model = node_model("DynamicQuantizeLinear", [x], opset=11, outputs=[np.uint8, np.float32, np.uint8], dynamic=True)
        cases.append(Case(model, ((x,),), 0, 0, expected))
    hold(cases)


def test_products() -> None:
    cases = []
    for left, right, a_zero, b_zero in (
        ((3, 4), (4, 5), (), ()),
        ((2, 3, 4), (4, 5), (2, 3, 1), (5,)),
        ((4,), (4, 5), (), (5,)),
        ((2, 1, 3, 4), (3, 4, 5), (3,), (3, 1, 5)),
    ):
        a, b = RNG.integers(0, 256, left).astype(np.uint8), RNG.integers(-128, 128, right).astype(np.int8)
        zeros = RNG.integers(100, 156, a_zero).astype(np.uint8), RNG.integers(-20, 20, b_zero).astype(np.int8)

        def sums(a: Array, b: Array, *zeros: Array) -> Array:
            rows = zeros[0].reshape(*zeros[0].shape, 1) if zeros[0].ndim == 1 else zeros[0]
            return (a.astype(np.int64) - rows.astype(np.int64)) @ (b.astype(np.int64) - zeros[1].astype(np.int64))

        model = node_model("MatMulInteger", [a, b, *zeros], opset=10, outputs=[np.int32], dynamic=len(left) == len(right))
        cases.append(Case(model, ((a, b, *zeros),), 0, 0, lambda *call, f=sums: [f(*call).astype(np.int32)]))
        scales = np.full(a_zero, 0.5, np.float32), (2.0 ** RNG.integers(-9, -6, b_zero)).astype(np.float32)
        y_scale, y_zero = np.float32(4), np.int8(-3)

        def requantised(a: Array, sa: Array, za: Array, b: Array, sb: Array, zb: Array, f: Any = sums) -> list[Array]:
            rows = sa.reshape(*sa.shape, 1) if sa.ndim == 1 else sa
            y = np.rint(f(a, b, za, zb) * (rows.astype(np.float64) * sb / 4)) - 3
            return [np.clip(y, -128, 127).astype(np.int8)]

        model = node_model(
            "QLinearMatMul", [a, scales[0], zeros[0], b, scales[1], zeros[1], y_scale, y_zero], opset=21, outputs=[np.int8],
            constants=(6, 7), dynamic=len(left) == len(right),
        )  # fmt: skip
        cases.append(Case(model, ((a, scales[0], zeros[0], b, scales[1], zeros[1]),), 0, 0, requantised))
    hold(cases)


def test_convolutions_are_quantised_again() -> None:
    x = RNG.integers(0, 256, (2, 4, 6)).astype(np.uint8)
    w, zeros = RNG.integers(-128, 128, (4, 2, 3)).astype(np.int8), RNG.integers(-5, 5, 4).astype(np.int8)
    scales, bias = (2.0 ** RNG.integers(-8, -5, 4)).astype(np.float32), RNG.integers(-500, 500, 4).astype(np.int32)

    def expected(x: Array) -> list[Array]:
        moved, factors = np.pad(x.astype(np.int64) - 120, [(0, 0), (0, 0), (1, 0)]), w.astype(np.int64) - zeros[:, None, None]
        y = np.zeros((len(x), 4, (moved.shape[2] - 3) // 2 + 1))
        for channel in range(4):
            group = moved[:, channel // 2 * 2 : channel // 2 * 2 + 2]
            for o in range(y.shape[2]):
                y[:, channel, o] = (group[:, :, 2 * o : 2 * o + 3] * factors[channel]).sum((1, 2)) + bias[channel]
        return [np.clip(np.rint(y * (0.5 * scales[:, None] / 2)) + 7, 0, 255).astype(np.uint8)]

    inputs = [x, np.float32(0.5), np.uint8(120), w, scales, zeros, np.float32(2), np.uint8(7), bias]
    model = node_model(
        "QLinearConv",
        inputs,
        opset=10,
        outputs=[np.uint8],
        constants=range(1, 9),
        dynamic=True,
        group=2,
        strides=[2],
        pads=[1, 0],
    )
    hold([Case(model, ((x,), (x[:1, :, :5],)), 0, 0, expected)])


@pytest.mark.parametrize(
    ("kind", "inputs", "attributes", "message"),
    [
        ("QuantizeLinear", [np.ones((2, 3), np.float32), np.ones(2, np.float32)], {}, "a scale for each place"),
        ("QuantizeLinear", [np.ones((2, 3), np.float32), np.ones((2, 3), np.float32)], {}, "blocks of 0"),
        ("QuantizeLinear", [np.ones(3, np.float32), np.float32(1)], {"output_dtype": 1}, "quantises to float32"),
        ("DequantizeLinear", [np.ones(3, np.int8), np.float32(1), np.uint8(1)], {}, "zero point of uint8"),
        ("MatMulInteger", [np.ones((2, 3), np.int8), np.ones((4, 2), np.int8)], {}, "sums over one axis"),
    ],
)
def test_contradictions_are_told(kind: str, inputs: list[Array], attributes: dict[str, Any], message: str) -> None:
    inputs = [np.asarray(item) for item in inputs]
    with pytest.raises(InputError, match=message):
        translate(node_model(kind, inputs, opset=21, outputs=[np.int32], **attributes), "wrong")
