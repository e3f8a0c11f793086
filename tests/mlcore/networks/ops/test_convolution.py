"""Convolutions against ONNX's reference evaluator and PyTorch, of fixed and of given sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from mlcore.errors import InputError
from mlcore.networks.build import QUICK, BuildOptions, Function, build
from mlcore.networks.compiler import translate
from tests.mlcore.networks.conftest import Array, Case, drawn, hold, node_model

RNG = np.random.default_rng(3)
# Sums of up to a hundred products in another order than the oracle's.
LOOSE = {np.dtype(np.float32): (1e-4, 1e-5), np.dtype(np.float64): (1e-10, 1e-12), np.dtype(np.float16): (2e-3, 2e-3)}


@st.composite
def windows(draw: st.DrawFn, most_rank: int = 3) -> dict[str, Any]:
    rank = draw(st.integers(1, most_rank))
    each = lambda low, high: [draw(st.integers(low, high)) for _ in range(rank)]  # noqa: E731
    kernel, strides, dilations = each(1, 3), each(1, 3), each(1, 2)
    return {
        "rank": rank,
        "batch": draw(st.integers(0, 2)),
        "groups": draw(st.integers(1, 2)),
        "channels": draw(st.integers(1, 2)),
        "out": draw(st.integers(1, 3)),
        "size": [draw(st.integers(5, 8)) for _ in range(rank)],
        "kernel": kernel,
        "strides": strides,
        "dilations": dilations,
        "before": each(0, 2),
        "after": each(0, 2),
        "extra": [draw(st.integers(0, max(0, stride - 1))) for stride in strides],
        "bias": draw(st.booleans()),
        "dtype": np.dtype(draw(st.sampled_from([np.float32, np.float64, np.float16]))),
        "dynamic": draw(st.booleans()),
    }


def torch_conv(p: dict[str, Any], x: Array, w: Array, b: Array | None) -> list[Array]:
    """PyTorch's convolution; in float32 where it has no other."""
    kind = np.float64 if p["dtype"] == np.float64 else np.float32
    pads = [item for pair in reversed(list(zip(p["before"], p["after"], strict=True))) for item in pair]
    padded = torch.nn.functional.pad(torch.tensor(x.astype(kind)), pads)
    function = (torch.nn.functional.conv1d, torch.nn.functional.conv2d, torch.nn.functional.conv3d)[p["rank"] - 1]
    bias = None if b is None else torch.tensor(b.astype(kind))
    result = function(
        padded, torch.tensor(w.astype(kind)), bias, stride=p["strides"], dilation=p["dilations"], groups=p["groups"]
    )
    return [result.numpy().astype(p["dtype"])]


def conv_case(p: dict[str, Any]) -> Case:
    w = RNG.standard_normal((p["groups"] * p["out"], p["channels"], *p["kernel"])).astype(p["dtype"])
    b = RNG.standard_normal(len(w)).astype(p["dtype"]) if p["bias"] else None
    calls = []
    for more in (0, 1) if p["dynamic"] else (0,):
        shape = (p["batch"] + more, p["groups"] * p["channels"], *(size + more for size in p["size"]))
        calls.append((RNG.standard_normal(shape).astype(p["dtype"]),))
    model = node_model(
        "Conv",
        [calls[0][0], w, b],
        opset=22,
        outputs=[p["dtype"]],
        constants=(1, 2),
        dynamic=p["dynamic"],
        strides=p["strides"],
        dilations=p["dilations"],
        group=p["groups"],
        pads=[*p["before"], *p["after"]],
    )
    rtol, atol = LOOSE[p["dtype"]]
    return Case(model, tuple(calls), rtol, atol, lambda x: torch_conv(p, x, w, b))


def torch_transposed(p: dict[str, Any], x: Array, w: Array, b: Array | None) -> list[Array]:
    kind = np.float64 if p["dtype"] == np.float64 else np.float32
    names = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
    function = getattr(torch.nn.functional, names[p["rank"] - 1])
    bias = None if b is None else torch.tensor(b.astype(kind))
    full = function(
        torch.tensor(x.astype(kind)),
        torch.tensor(w.astype(kind)),
        bias,
        stride=p["strides"],
        dilation=p["dilations"],
        groups=p["groups"],
    ).numpy()
    # Extra rows behind the last hold the bias alone; padding is cut off.
    full = np.pad(full, [(0, 0), (0, 0), *((0, extra) for extra in p["extra"])])
    if b is not None:
        shape = tuple(
            (x.shape[2 + i] - 1) * p["strides"][i] + (p["kernel"][i] - 1) * p["dilations"][i] + 1 for i in range(p["rank"])
        )
        beyond = np.ones(full.shape, bool)
        beyond[(slice(None), slice(None), *(slice(size) for size in shape))] = False
        full = np.where(beyond, b.astype(kind).reshape(-1, *[1] * p["rank"]), full)
    cut = tuple(slice(before, size - after) for before, after, size in zip(p["before"], p["after"], full.shape[2:], strict=True))
    return [full[(slice(None), slice(None), *cut)].astype(p["dtype"])]


def transposed_case(p: dict[str, Any]) -> Case:
    w = RNG.standard_normal((p["groups"] * p["channels"], p["out"], *p["kernel"])).astype(p["dtype"])
    b = RNG.standard_normal(p["groups"] * p["out"]).astype(p["dtype"]) if p["bias"] else None
    calls = []
    for more in (0, 1) if p["dynamic"] else (0,):
        shape = (p["batch"] + more, p["groups"] * p["channels"], *(size + more for size in p["size"]))
        calls.append((RNG.standard_normal(shape).astype(p["dtype"]),))
    model = node_model(
        "ConvTranspose",
        [calls[0][0], w, b],
        opset=22,
        outputs=[p["dtype"]],
        constants=(1, 2),
        dynamic=p["dynamic"],
        strides=p["strides"],
        dilations=p["dilations"],
        group=p["groups"],
        pads=[*p["before"], *p["after"]],
        output_padding=p["extra"],
    )
    rtol, atol = LOOSE[p["dtype"]]
    return Case(model, tuple(calls), rtol, atol, lambda x: torch_transposed(p, x, w, b))


def test_convolutions_of_any_rank() -> None:
    hold([conv_case(p) for p in drawn(windows(), 14)] + [transposed_case(p) for p in drawn(windows(), 14)])


def test_padding_that_keeps_sizes() -> None:
    """By the definitions: ceil(in / stride) outputs; odd padding goes behind for SAME_UPPER, before for SAME_LOWER."""
    cases = []
    for mode in ("SAME_UPPER", "SAME_LOWER"):
        for size, stride, kernel, dilation in ((5, 2, 3, 1), (6, 2, 3, 1), (7, 3, 2, 2), (4, 1, 4, 1)):
            for dynamic in (False, True):
                w = RNG.standard_normal((2, 1, kernel)).astype(np.float32)
                calls = [(RNG.standard_normal((1, 1, size + 2 * more)).astype(np.float32),) for more in range(1 + dynamic)]

                def expected(x: Array, *, w: Array = w, k: Any = (mode, stride, kernel, dilation)) -> list[Array]:
                    mode, stride, kernel, dilation = k
                    count = -(-x.shape[2] // stride)
                    total = max((count - 1) * stride + (kernel - 1) * dilation + 1 - x.shape[2], 0)
                    small, large = total // 2, total - total // 2
                    before, after = (small, large) if mode == "SAME_UPPER" else (large, small)
                    p = {"rank": 1, "before": [before], "after": [after], "strides": [stride], "dilations": [dilation]}
                    return torch_conv(p | {"groups": 1, "dtype": np.dtype(np.float32)}, x, w, None)

                model = node_model(
                    "Conv", [calls[0][0], w], opset=11, constants=(1,), dynamic=dynamic, auto_pad=mode, strides=[stride],
                    dilations=[dilation],
                )  # fmt: skip
                cases.append(Case(model, tuple(calls), 1e-4, 1e-5, expected))
    hold(cases)


def test_quantised_and_weights_given_with_the_call() -> None:
    x = RNG.integers(0, 255, (2, 4, 6, 5)).astype(np.uint8)
    w = RNG.integers(-128, 127, (4, 2, 3, 2)).astype(np.int8)
    zeros = RNG.integers(-5, 5, 4).astype(np.int8)

    def expected(x: Array, w: Array) -> list[Array]:
        moved = x.astype(np.float64) - 9, w.astype(np.float64) - zeros[:, None, None, None]
        p = {"rank": 2, "before": [1, 0], "after": [0, 1], "strides": [2, 1], "dilations": [1, 1], "groups": 2}
        return [torch_conv(p | {"dtype": np.dtype(np.float64)}, *moved, None)[0].astype(np.int32)]

    model = node_model(
        "ConvInteger", [x, w, np.uint8(9).reshape(()), zeros], opset=10, outputs=[np.int32], constants=(2, 3), dynamic=True,
        group=2, strides=[2, 1], pads=[1, 0, 0, 1],
    )  # fmt: skip
    hold([Case(model, ((x, w), (x[:1, :, :5], w)), 0, 0, expected)])


def test_columns_of_images_that_the_call_gives() -> None:
    """Folding is the transpose of unfolding, by PyTorch."""

    def expected(columns: Array, image: Array, block: Array) -> list[Array]:
        folded = torch.nn.functional.fold(
            torch.tensor(columns), tuple(image), tuple(block), dilation=(1, 2), padding=(1, 0), stride=(2, 1)
        )
        return [folded.numpy()]

    calls = []
    for image, block in (((5, 6), (3, 2)), ((4, 5), (2, 3))):
        counts = [(image[0] + 2 - block[0]) // 2 + 1, image[1] - 2 * (block[1] - 1)]
        columns = RNG.standard_normal((2, 3 * block[0] * block[1], counts[0] * counts[1])).astype(np.float32)
        calls.append((columns, np.array(image), np.array(block)))
    attributes: dict[str, Any] = {"pads": [1, 0, 1, 0], "strides": [2, 1], "dilations": [1, 2]}
    late = node_model("Col2Im", calls[0], opset=18, **attributes)
    for axis in (1, 2):
        late.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"n{axis}"
    fixed = node_model("Col2Im", calls[0], opset=18, constants=(1, 2), **attributes)
    first = calls[0]
    hold(
        [
            Case(late, tuple(calls), 1e-5, 1e-5, expected),
            Case(fixed, (first[:1],), 1e-5, 1e-5, lambda x: expected(x, *first[1:])),
        ]
    )
    emitted = translate(late, "columns")
    library, _ = build([emitted], BuildOptions(flags=QUICK))
    function = Function(library, emitted)
    for image, block in (((50, 6), (3, 2)), ((-1, 6), (3, 2)), ((5, 6), (0, 2)), ((5, 2**40), (3, 2))):
        with pytest.raises(InputError, match="Col2Im"):
            function([first[0], np.array(image), np.array(block)])


@pytest.mark.parametrize(
    ("attributes", "shapes", "message"),
    [
        ({}, [(1, 2, 5), (3, 3, 2)], "channels of its input"),
        ({"group": 2}, [(1, 4, 5), (3, 2, 2)], "divides 3 output channels"),
        ({"group": 0}, [(1, 4, 5), (3, 2, 2)], "0 groups"),
        ({"strides": [0]}, [(1, 2, 5), (3, 2, 2)], "strides of 0"),
        ({"strides": [1, 1]}, [(1, 2, 5), (3, 2, 2)], "2 strides for 1"),
        ({"dilations": [2**40]}, [(1, 2, 5), (3, 2, 2)], "out of range"),
        ({"kernel_shape": [3]}, [(1, 2, 5), (3, 2, 2)], "says kernel_shape"),
        ({"auto_pad": "SOME"}, [(1, 2, 5), (3, 2, 2)], "auto_pad"),
        ({}, [(1, 2, 5), (3, 2, 7)], "windows that fit"),
        ({}, [(1, 2), (3, 2)], "spatial axes"),
    ],
)
def test_contradictions_are_told(attributes: dict[str, Any], shapes: list[tuple[int, ...]], message: str) -> None:
    model = node_model("Conv", [np.zeros(shape, np.float32) for shape in shapes], opset=11, **attributes)
    with pytest.raises(InputError, match=message):
        translate(model, "wrong")


def test_an_input_smaller_than_the_kernel_is_refused_when_the_code_runs() -> None:
    w = np.ones((1, 1, 5), np.float32)
    emitted = translate(node_model("Conv", [np.zeros((1, 1, 9), np.float32), w], opset=11, constants=(1,), dynamic=True), "small")
    library, _ = build([emitted], BuildOptions(flags=QUICK))
    function = Function(library, emitted)
    np.testing.assert_array_equal(function([np.ones((1, 1, 5), np.float32)])[0], [[[5]]])
    with pytest.raises(InputError, match="too small"):
        function([np.ones((1, 1, 3), np.float32)])
