"""Poolings against PyTorch, torchvision's definitions and ONNX's reference evaluator, of fixed and of given sizes."""

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

RNG = np.random.default_rng(5)


@st.composite
def windows(draw: st.DrawFn) -> dict[str, Any]:
    rank = draw(st.integers(1, 3))
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    return {
        "rank": rank,
        "batch": draw(st.integers(0, 2)),
        "size": [draw(st.integers(6, 9)) for _ in range(rank)],
        "kernel": kernel,
        "strides": [draw(st.integers(1, 3)) for _ in range(rank)],
        "dilations": [draw(st.integers(1, 2)) for _ in range(rank)],
        "pads": [draw(st.integers(0, size // 2)) for size in kernel],
        "ceil": draw(st.booleans()),
        "count": draw(st.booleans()),
        "dtype": np.dtype(draw(st.sampled_from([np.float32, np.float64, np.float16]))),
        "dynamic": draw(st.booleans()),
    }


def inputs(p: dict[str, Any]) -> list[tuple[Array]]:
    return [
        (RNG.standard_normal((p["batch"] + more, 2, *(size + more for size in p["size"]))).astype(p["dtype"]),)
        for more in range(1 + p["dynamic"])
    ]


def wide(x: Array) -> torch.Tensor:
    return torch.tensor(x.astype(np.float32) if x.dtype == np.float16 else x)


def maximum(p: dict[str, Any]) -> Case:
    calls = inputs(p)

    def expected(x: Array) -> list[Array]:
        function = getattr(torch.nn.functional, f"max_pool{p['rank']}d")
        found, places = function(
            wide(x), p["kernel"], p["strides"], p["pads"], p["dilations"], ceil_mode=p["ceil"], return_indices=True
        )
        # PyTorch counts within each plane, ONNX in the whole tensor.
        planes = np.arange(x.shape[0] * 2).reshape(x.shape[0], 2, *[1] * p["rank"])
        return [found.numpy().astype(p["dtype"]), places.numpy() + planes * int(np.prod(x.shape[2:]))][: 1 + p["count"]]

    model = node_model(
        "MaxPool",
        list(calls[0]),
        opset=22,
        outputs=[p["dtype"], np.int64][: 1 + p["count"]],
        dynamic=p["dynamic"],
        kernel_shape=p["kernel"],
        strides=p["strides"],
        dilations=p["dilations"],
        pads=p["pads"] * 2,
        ceil_mode=int(p["ceil"]),
    )
    return Case(model, tuple(calls), 0, 0, expected)


def average(p: dict[str, Any]) -> Case:
    calls = inputs(p)

    def expected(x: Array) -> list[Array]:
        function = getattr(torch.nn.functional, f"avg_pool{p['rank']}d")
        found = function(wide(x), p["kernel"], p["strides"], p["pads"], ceil_mode=p["ceil"], count_include_pad=p["count"])
        return [found.numpy().astype(p["dtype"])]

    model = node_model(
        "AveragePool",
        list(calls[0]),
        opset=19,
        outputs=[p["dtype"]],
        dynamic=p["dynamic"],
        kernel_shape=p["kernel"],
        strides=p["strides"],
        pads=p["pads"] * 2,
        ceil_mode=int(p["ceil"]),
        count_include_pad=int(p["count"]),
    )
    tolerance = 2e-3 if p["dtype"] == np.float16 else 1e-5  # a rounding of the result; another order of the sum
    return Case(model, tuple(calls), tolerance, tolerance, expected)


def norm(p: dict[str, Any]) -> Case:
    calls = inputs(p)
    power = 1 + len(p["kernel"])

    def expected(x: Array) -> list[Array]:
        padded = np.pad(np.abs(x.astype(np.float64)) ** power, [(0, 0), (0, 0), *((pad, pad) for pad in p["pads"])])
        for axis, (size, step, apart) in enumerate(zip(p["kernel"], p["strides"], p["dilations"], strict=True)):
            count = (padded.shape[2 + axis] - (size - 1) * apart - 1) // step + 1
            padded = sum(np.take(padded, np.arange(count) * step + k * apart, 2 + axis) for k in range(size))
        return [(padded ** (1 / power)).astype(p["dtype"])]

    model = node_model(
        "LpPool", list(calls[0]), opset=18, outputs=[p["dtype"]], dynamic=p["dynamic"], kernel_shape=p["kernel"],
        strides=p["strides"], dilations=p["dilations"], pads=p["pads"] * 2, p=power,
    )  # fmt: skip
    tolerance = 2e-3 if p["dtype"] == np.float16 else 1e-5
    return Case(model, tuple(calls), tolerance, tolerance, expected)


def test_windows_of_any_rank() -> None:
    hold([make(p) for make, count in ((maximum, 14), (average, 14), (norm, 8)) for p in drawn(windows(), count)])


def test_whole_planes() -> None:
    cases = []
    for kind, function in (
        ("GlobalAveragePool", lambda x: x.mean(axis=tuple(range(2, x.ndim)), keepdims=True)),
        ("GlobalMaxPool", lambda x: x.max(axis=tuple(range(2, x.ndim)), keepdims=True)),
        ("GlobalLpPool", lambda x: np.sqrt((x**2).sum(axis=tuple(range(2, x.ndim)), keepdims=True))),
    ):
        for rank in (2, 3, 5):
            calls = tuple((RNG.standard_normal((2, 3, *[4 + more] * (rank - 2))).astype(np.float32),) for more in range(2))
            model = node_model(kind, list(calls[0]), opset=13, dynamic=True)
            cases.append(Case(model, calls, 1e-5, 1e-6, lambda x, f=function: [f(x)]))
    hold(cases)


def test_maxima_go_back_to_where_they_stood() -> None:
    x = RNG.standard_normal((2, 3, 6, 4)).astype(np.float32)
    pooled, places = torch.nn.functional.max_pool2d(torch.tensor(x), 2, return_indices=True)
    planes = np.arange(6).reshape(2, 3, 1, 1) * 24
    given = (pooled.numpy(), places.numpy() + planes)
    expected = torch.nn.functional.max_unpool2d(pooled, places, 2).numpy()
    larger = np.zeros((2, 3, 8, 5), np.float32)
    larger[:, :, :6, :4] = expected
    attributes: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}
    wanted = np.array(larger.shape)
    late = node_model("MaxUnpool", [*given, wanted], opset=11, **attributes)
    hold(
        [
            Case(node_model("MaxUnpool", given, opset=11, dynamic=True, **attributes), (given,), 0, 0, lambda *_: [expected]),
            Case(late, ((*given, wanted),), 0, 0, lambda *_: [larger]),
        ]
    )
    emitted = translate(late, "unpool")
    library, _ = build([emitted], BuildOptions(flags=QUICK))
    function = Function(library, emitted)
    with pytest.raises(InputError, match="index outside"):
        function([given[0], given[1] + 1000, wanted])
    with pytest.raises(InputError, match="too small an output"):
        function([*given, wanted - 4])


def test_regions() -> None:
    """Against ONNX's evaluator; the region pooling of the first definitions by its own definition."""
    x = RNG.standard_normal((2, 3, 12, 10)).astype(np.float32)
    boxes = np.array([[0, 0, 9, 9], [2.5, 1, 8, 30], [-3, -4, 5, 2], [4, 4, 4, 4]], np.float32)
    images = np.array([0, 1, 1, 0])
    cases = []
    for opset in (10, 16):
        for mode in ("avg", "max"):
            for ratio in (0, 2):
                settings: dict[str, Any] = {"mode": mode, "sampling_ratio": ratio, "output_height": 3, "output_width": 2}
                if opset == 16:
                    settings["coordinate_transformation_mode"] = "half_pixel"
                model = node_model("RoiAlign", [x, boxes, images], opset=opset, dynamic=True, spatial_scale=0.75, **settings)
                # ONNX's evaluator moves regions by half an element in every version; version 10 did not.
                later = settings | {"coordinate_transformation_mode": "half_pixel" if opset == 16 else "output_half_pixel"}
                oracle = Case(node_model("RoiAlign", [x, boxes, images], opset=16, spatial_scale=0.75, **later), ())
                cases.append(Case(model, ((x, boxes, images),), 1e-4, 1e-5, lambda *call, o=oracle: o.answers(call)))

    def expected(x: Array, rois: Array) -> list[Array]:
        result = np.zeros((len(rois), 3, 2, 2), np.float32)
        for n, (image, *corners) in enumerate(rois):
            left, top, right, bottom = (int(np.floor(c * 0.5 + 0.5)) for c in corners)
            height, width = (max(b - a + 1, 1) / 2 for a, b in ((top, bottom), (left, right)))
            for r in range(2):
                for c in range(2):
                    rows = slice(*np.clip([top + np.floor(r * height), top + np.ceil((r + 1) * height)], 0, 12).astype(int))
                    columns = slice(*np.clip([left + np.floor(c * width), left + np.ceil((c + 1) * width)], 0, 10).astype(int))
                    part = x[int(image), :, rows, columns]
                    result[n, :, r, c] = part.max(axis=(1, 2)) if part.size else 0
        return [result]

    rois = np.array([[0, 0, 0, 18, 20], [1, 5, 3, 11, 9], [1, 40, 40, 50, 50]], np.float32)
    model = node_model("MaxRoiPool", [x, rois], opset=22, dynamic=True, pooled_shape=[2, 2], spatial_scale=0.5)
    cases.append(Case(model, ((x, rois),), 0, 0, expected))
    hold(cases)
    emitted = [translate(cases[0].model, "align"), translate(model, "pool")]
    library, _ = build(emitted, BuildOptions(flags=QUICK))
    align, pool = (Function(library, item) for item in emitted)
    with pytest.raises(InputError, match="not in the batch"):
        align([x, boxes, images + 1])
    with pytest.raises(InputError, match="too many samples"):
        align([x, boxes * np.float32(np.nan), images])
    with pytest.raises(InputError, match="not in the batch"):
        pool([x, rois + 1])


@pytest.mark.parametrize(
    ("kind", "attributes", "message"),
    [
        ("MaxPool", {}, "no kernel_shape"),
        ("MaxPool", {"kernel_shape": [0, 1]}, "kernel_shape of 0"),
        ("MaxPool", {"kernel_shape": [2]}, "1 kernel_shape for 2"),
        ("MaxPool", {"kernel_shape": [2, 2], "storage_order": 7}, "storage_order"),
        ("AveragePool", {"kernel_shape": [9, 2]}, "windows that fit"),
        ("LpPool", {"kernel_shape": [2, 2], "p": 0}, "p = 0"),
    ],
)
def test_contradictions_are_told(kind: str, attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        translate(node_model(kind, [np.zeros((1, 1, 4, 4), np.float32)], opset=22, **attributes), "wrong")
