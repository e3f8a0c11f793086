"""Resampling against ONNX's reference evaluator and PyTorch, of fixed and of given sizes."""

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

RNG = np.random.default_rng(23)
# Scales and their multiples are exact in floats and doubles, so that no nearest element hangs on a rounding.
SCALES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5)


@st.composite
def resizings(draw: st.DrawFn) -> dict[str, Any]:
    rank = draw(st.integers(1, 4))
    mode = draw(st.sampled_from(["nearest", "linear", "cubic"]))
    coordinates = draw(
        st.sampled_from(["half_pixel", "half_pixel_symmetric", "align_corners", "asymmetric", "tf_crop_and_resize"])
    )
    axes = sorted(draw(st.sets(st.integers(0, rank - 1), min_size=1)))
    attributes: dict[str, Any] = {
        "mode": mode,
        "coordinate_transformation_mode": coordinates,
        "axes": axes,
        "nearest_mode": draw(st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])),
    }
    if mode != "nearest":
        attributes["exclude_outside"] = draw(st.integers(0, 1))
        attributes["antialias"] = draw(st.integers(0, 1)) if coordinates != "tf_crop_and_resize" else 0
    if coordinates == "tf_crop_and_resize":
        attributes["extrapolation_value"] = 10.0
    use_sizes = draw(st.booleans())
    if coordinates == "tf_crop_and_resize":
        use_sizes = True  # the evaluator leaves the region out of what scales make of a size
    elif use_sizes:
        attributes["keep_aspect_ratio_policy"] = draw(st.sampled_from(["stretch", "not_larger", "not_smaller"]))
    return {
        "shape": tuple(draw(st.integers(2, 6)) for _ in range(rank)),
        "scales": [draw(st.sampled_from(SCALES)) for _ in axes],
        "use_sizes": use_sizes,
        "roi": [draw(st.sampled_from([-0.25, 0.0, 0.25])) for _ in axes]
        + [draw(st.sampled_from([0.75, 1.0, 1.25])) for _ in axes],
        "dtype": np.dtype(draw(st.sampled_from([np.float32, np.float64]))),
        "constant": draw(st.booleans()),
        "dynamic": draw(st.booleans()),
        "attributes": attributes,
    }


def case(p: dict[str, Any]) -> Case:
    axes = p["attributes"]["axes"]
    calls = []
    for more in range(1 + p["dynamic"]):
        x = RNG.standard_normal(tuple(size + 2 * more for size in p["shape"])).astype(p["dtype"])
        scales = None if p["use_sizes"] else np.array(p["scales"], np.float32)
        sizes = np.array([max(1, int(x.shape[axis] * s)) for axis, s in zip(axes, p["scales"], strict=True)])
        crops = p["attributes"]["coordinate_transformation_mode"] == "tf_crop_and_resize"
        roi = np.array(p["roi"], np.float32) if crops else None
        calls.append([x, roi, scales, sizes if p["use_sizes"] else None])
    held = {1, 2, 3} if p["constant"] and not (p["use_sizes"] and p["dynamic"]) else set()
    model = node_model(
        "Resize", calls[0], opset=19, outputs=[p["dtype"]], constants=sorted(held), dynamic=p["dynamic"], **p["attributes"]
    )
    for item in model.graph.input[1:]:
        # Their lengths are known: the rank of the result would not be, else.
        for dim, size in zip(item.type.tensor_type.shape.dim, calls[0][int(item.name[1:])].shape, strict=True):
            dim.dim_value = size
    given = tuple(tuple(item for i, item in enumerate(call) if item is not None and i not in held) for call in calls)
    # Coordinates are computed in the type of the data; the evaluator weighs elements in float32 in its cubic mode.
    tolerance = 1e-4 if p["dtype"] == np.float32 else 1e-5 if p["attributes"]["mode"] == "cubic" else 1e-10
    return Case(model, given, tolerance, tolerance)


def test_scales_and_sizes_known_or_given_with_the_call() -> None:
    hold([case(p) for p in drawn(resizings(), 40)])


def test_images_as_pytorch_makes_them() -> None:
    x = RNG.standard_normal((2, 3, 7, 5)).astype(np.float32)
    cases = []
    for mode, torch_mode in (("linear", "bilinear"), ("cubic", "bicubic")):
        for align in (False, True):
            for size in ((14, 10), (3, 9)):
                attributes = {"coordinate_transformation_mode": "align_corners" if align else "pytorch_half_pixel"}
                model = node_model(
                    "Resize", [x, None, None, np.array([2, 3, *size])], opset=13, constants=(3,), mode=mode, **attributes
                )
                cases.append(
                    Case(
                        model, ((x,),), 1e-4, 1e-5,
                        lambda x, m=torch_mode, a=align, s=size: [
                            torch.nn.functional.interpolate(torch.tensor(x), s, mode=m, align_corners=a).numpy()
                        ],
                    )
                )  # fmt: skip
    for opset in (7, 9, 10):
        kind = "Resize" if opset == 10 else "Upsample"
        scales = np.array([1, 1, 2, 3], np.float32)
        if opset == 7:
            model = node_model(kind, [x], opset=7, scales=scales.tolist(), dynamic=True)
        else:
            model = node_model(kind, [x, scales], opset=opset, constants=(1,), dynamic=True)
        calls = ((x,), (x[:, :, :4],))
        cases.append(Case(model, calls, 0, 0, lambda x: [x.repeat(2, 2).repeat(3, 3)]))
    hold(cases)


def test_whole_numbers_stay_in_their_range() -> None:
    """Cubic interpolation overshoots: 8-bit numbers are cut off at their ends, as PyTorch's are after rounding."""
    x = np.array([[0, 0, 255, 255, 0, 0]], np.uint8)
    model = node_model(
        "Resize", [x, None, np.array([1, 4], np.float32)], opset=19, outputs=[np.uint8], constants=(2,), mode="cubic"
    )
    double = node_model("Resize", [x.astype(float), None, np.array([1, 4], np.float32)], opset=19, constants=(2,), mode="cubic")
    oracle = Case(double, ())
    hold([Case(model, ((x,),), 0, 0, lambda x: [np.clip(oracle.answers((x.astype(float),))[0], 0, 255).astype(np.uint8)])])


def test_places_that_are_given() -> None:
    cases = []
    for mode in ("bilinear", "nearest", "bicubic"):
        for padding in ("zeros", "border", "reflection"):
            for align in (0, 1):
                x = RNG.standard_normal((2, 3, 5, 4)).astype(np.float32)
                grid = RNG.uniform(-1.6, 1.6, (2, 3, 6, 2)).astype(np.float32)
                model = node_model(
                    "GridSample", [x, grid], opset=16, dynamic=True, mode=mode, padding_mode=padding, align_corners=align
                )

                def expected(x: Array, g: Array, *, m: str = mode, p: str = padding, a: int = align) -> list[Array]:
                    return [torch.nn.functional.grid_sample(torch.tensor(x), torch.tensor(g), m, p, bool(a)).numpy()]

                calls = ((x, grid), (x[:1, :, :4], grid[:1, :2]))
                # ONNX moves places to the border before it looks for their neighbours, PyTorch's bicubic mode after.
                if mode == "bicubic" and padding == "border":
                    later = node_model("GridSample", [x, grid], opset=20, mode="cubic", padding_mode=padding, align_corners=align)
                    oracle = Case(later, ())
                    cases.append(Case(model, calls, 1e-4, 2e-5, lambda *call, o=oracle: o.answers(call)))
                else:
                    cases.append(Case(model, calls, 1e-4, 2e-5, expected))
    x = RNG.standard_normal((1, 2, 3, 5, 4)).astype(np.float32)
    grid = RNG.uniform(-1.3, 1.3, (1, 2, 3, 2, 3)).astype(np.float32)
    model = node_model("GridSample", [x, grid], opset=20, dynamic=True, mode="linear", padding_mode="border")
    cases.append(
        Case(
            model, ((x, grid),), 1e-4, 2e-5,
            lambda x, g: [torch.nn.functional.grid_sample(torch.tensor(x), torch.tensor(g), "bilinear", "border", False).numpy()],
        )
    )  # fmt: skip
    for size in ((2, 3, 4, 5), (2, 1, 2, 3, 4)):
        theta = RNG.standard_normal((2, len(size) - 2, len(size) - 1)).astype(np.float32)
        for align in (0, 1):
            sizes = np.array(size), np.array(size) + np.array([0, 0, *[1] * (len(size) - 2)])
            late = node_model("AffineGrid", [theta, sizes[0]], opset=20, align_corners=align)

            def grids(t: Array, s: Array, *, a: int = align) -> list[Array]:
                return [torch.nn.functional.affine_grid(torch.tensor(t), [int(i) for i in s], bool(a)).numpy()]

            cases.append(Case(late, tuple((theta, item) for item in sizes), 1e-5, 1e-5, grids))
    hold(cases)


def test_places_that_are_no_numbers_are_outside() -> None:
    x = np.ones((1, 1, 3, 3), np.float32)
    grid = np.array([np.nan, np.inf, -np.inf, 3e38], np.float32).reshape(1, 1, 2, 2)
    emitted = [
        translate(node_model("GridSample", [x, grid], opset=16, mode=mode, padding_mode=padding), f"grid_{mode}_{padding}")
        for mode in ("bilinear", "nearest", "bicubic")
        for padding in ("zeros", "border", "reflection")
    ]
    library, _ = build(emitted, BuildOptions(flags=QUICK))
    for item in emitted:
        (y,) = Function(library, item)([x, grid])
        assert y.shape == (1, 1, 1, 2)
        if item.name.endswith("zeros"):
            np.testing.assert_array_equal(y, 0)


def test_sizes_and_scales_that_make_nothing_are_refused() -> None:
    x = np.ones((4, 4), np.float32)
    models = [
        node_model("Resize", [x, None, np.array([2, 2], np.float32)], opset=13),
        node_model("Resize", [x, None, None, np.array([2, 2])], opset=13),
    ]
    emitted = [translate(model, f"late_{i}") for i, model in enumerate(models)]
    library, _ = build(emitted, BuildOptions(flags=QUICK))
    by_scale, by_size = (Function(library, item) for item in emitted)
    for scale in (0.0, -1.0, np.nan, 1e30):
        with pytest.raises(InputError, match="scale"):
            by_scale([x, np.array([1, scale], np.float32)])
    with pytest.raises(InputError, match="negative size"):
        by_size([x, np.array([-1, 2])])


@pytest.mark.parametrize(
    ("inputs", "attributes", "message"),
    [
        ([None, np.array([1, 0], np.float32)], {}, "scale of 0"),
        ([None, np.array([1, 2, 3], np.float32)], {}, "a scale for each axis"),
        ([None, None], {}, "neither scales nor sizes"),
        ([None, None, np.array([-1, 2])], {}, "wants the sizes"),
        ([None, np.array([1, 2], np.float32)], {"mode": "best"}, "mode 'best'"),
        ([None, np.array([1, 2], np.float32)], {"coordinate_transformation_mode": "tf_crop_and_resize"}, "no roi"),
        ([None, np.array([1, 2], np.float32)], {"axes": [0, 0]}, "twice"),
    ],
)
def test_contradictions_are_told(inputs: list[Array | None], attributes: dict[str, Any], message: str) -> None:
    model = node_model("Resize", [np.ones((2, 3), np.float32), *inputs], opset=18, constants=(1, 2, 3), **attributes)
    with pytest.raises(InputError, match=message):
        translate(model, "wrong")
