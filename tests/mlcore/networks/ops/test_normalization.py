"""Normalisations against NumPy's definitions in float64 and ONNX's reference evaluator, of fixed and of given sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from mlcore.errors import InputError
from mlcore.networks.build import QUICK, BuildOptions, Function, build
from mlcore.networks.compiler import translate
from tests.mlcore.networks.conftest import Array, Case, drawn, hold, node_model

RNG = np.random.default_rng(11)
EPSILON = 2.0**-10  # the same number as a float
# A few roundings of the type, relative to numbers of about one.
LOOSE = {np.dtype(np.float32): 2e-5, np.dtype(np.float64): 1e-12, np.dtype(np.float16): 4e-3}


def normal(x: Array, axes: tuple[int, ...]) -> Array:
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) / np.sqrt(variance + EPSILON)


@st.composite
def tensors(draw: st.DrawFn) -> dict[str, Any]:
    shape = (draw(st.integers(1, 3)), 2 * draw(st.integers(1, 3)), *draw(st.lists(st.integers(1, 20), min_size=1, max_size=2)))
    return {
        "shape": shape,
        "dtype": np.dtype(draw(st.sampled_from([np.float32, np.float64, np.float16]))),
        "dynamic": draw(st.booleans()),
        "axis": draw(st.integers(-len(shape), len(shape) - 1)),
        "bias": draw(st.booleans()),
    }


def made(p: dict[str, Any]) -> list[Array]:
    """Tensors of the shape, the second with another batch."""
    return [
        (RNG.standard_normal((p["shape"][0] + more, *p["shape"][1:])) * 3 + 1).astype(p["dtype"])
        for more in range(1 + p["dynamic"])
    ]


def case(kind: str, p: dict[str, Any], parameters: list[Array | None], function: Any, opset: int, **attributes: Any) -> Case:
    data = made(p)
    model = node_model(
        kind,
        [data[0], *parameters],
        opset=opset,
        outputs=[p["dtype"]],
        constants=range(1, 1 + len(parameters)),
        dynamic=p["dynamic"],
        epsilon=EPSILON,
        **attributes,
    )
    wide = [None if item is None else item.astype(np.float64) for item in parameters]
    tolerance = LOOSE[p["dtype"]]
    return Case(
        model,
        tuple((x,) for x in data),
        tolerance,
        tolerance,
        lambda x: [function(x.astype(np.float64), *wide).astype(p["dtype"])],
    )


def per_channel(item: Array, rank: int) -> Array:
    return item.reshape(-1, *[1] * (rank - 2))


def test_normalisations_of_any_shape() -> None:
    cases = []
    for p in drawn(tensors(), 10):
        rank, axis = len(p["shape"]), p["axis"] % len(p["shape"])
        axes = tuple(range(axis, rank))
        if axis > 0:  # rows that do not change with the batch
            scale, shift = (RNG.standard_normal(p["shape"][axis:]).astype(p["dtype"]) for _ in range(2))
            cases.append(
                case(
                    "LayerNormalization", p, [scale, shift if p["bias"] else None],
                    lambda x, s, b, a=axes: normal(x, a) * s + (0 if b is None else b), 17, axis=p["axis"],
                )
            )  # fmt: skip
            cases.append(
                case(
                    "RMSNormalization", p, [scale],
                    lambda x, s, a=axes: x / np.sqrt((x**2).mean(a, keepdims=True) + EPSILON) * s, 23, axis=p["axis"],
                )
            )  # fmt: skip
        channels = p["shape"][1]
        scale, shift = (RNG.standard_normal(channels).astype(p["dtype"]) for _ in range(2))
        mean, variance = RNG.standard_normal(channels).astype(p["dtype"]), RNG.uniform(0.5, 2, channels).astype(p["dtype"])
        across = tuple(range(2, rank))
        cases.append(
            case(
                "InstanceNormalization", p, [scale, shift],
                lambda x, s, b, a=across: normal(x, a) * per_channel(s, x.ndim) + per_channel(b, x.ndim), 6,
            )
        )  # fmt: skip
        cases.append(
            case(
                "BatchNormalization", p, [scale, shift, mean, variance],
                lambda x, s, b, m, v: (x - per_channel(m, x.ndim)) / np.sqrt(per_channel(v, x.ndim) + EPSILON)
                * per_channel(s, x.ndim) + per_channel(b, x.ndim), 15,
            )
        )  # fmt: skip
        cases.append(
            case(
                "GroupNormalization", p, [scale, shift],
                lambda x, s, b: normal(x.reshape(len(x), 2, -1), (2,)).reshape(x.shape) * per_channel(s, x.ndim)
                + per_channel(b, x.ndim), 21, num_groups=2,
            )
        )  # fmt: skip
    hold(cases)


def test_training_hands_out_statistics() -> None:
    x = RNG.standard_normal((4, 3, 5)).astype(np.float32)
    scale, shift, mean, variance = (RNG.uniform(0.5, 2, 3).astype(np.float32) for _ in range(4))
    data = [x, scale, shift, mean, variance]

    def expected(x: Array, s: Array, b: Array, m: Array, v: Array) -> list[Array]:
        wide = x.astype(np.float64)
        y = normal(wide, (0, 2)) * s[:, None] + b[:, None]
        running = [0.75 * old + 0.25 * fresh for old, fresh in ((m, wide.mean((0, 2))), (v, wide.var((0, 2))))]
        return [item.astype(np.float32) for item in (y, *running)]

    model = node_model(
        "BatchNormalization",
        data,
        opset=15,
        outputs=[np.float32] * 3,
        dynamic=True,
        training_mode=1,
        momentum=0.75,
        epsilon=EPSILON,
    )
    hold([Case(model, (tuple(data), (x[:2], *data[1:])), 2e-5, 2e-5, expected)])


def test_scales_that_broadcast_and_statistics_of_rows() -> None:
    x = RNG.standard_normal((3, 4, 6)).astype(np.float32)
    scale, shift = RNG.standard_normal((4, 1)).astype(np.float32), RNG.standard_normal(1).astype(np.float32)

    def expected(x: Array) -> list[Array]:
        wide = x.astype(np.float64)
        statistics = wide.mean((1, 2), keepdims=True), 1 / np.sqrt(wide.var((1, 2), keepdims=True) + EPSILON)
        return [(normal(wide, (1, 2)) * scale + shift).astype(np.float32), *(item.astype(np.float32) for item in statistics)]

    model = node_model(
        "LayerNormalization", [x, scale, shift], opset=17, outputs=[np.float32] * 3, constants=(1, 2), dynamic=True, axis=1,
        epsilon=EPSILON,
    )  # fmt: skip
    hold([Case(model, ((x,), (x[:, :, :5],)), 2e-5, 2e-5, expected)])


def test_responses_of_neighbouring_channels() -> None:
    cases = []
    for size in (1, 2, 5):
        x = RNG.standard_normal((2, 4, 3, 2)).astype(np.float32)

        def expected(x: Array, size: int = size) -> list[Array]:
            squares = np.zeros(x.shape)
            for channel in range(x.shape[1]):
                first, last = channel - (size - 1) // 2, channel + size // 2
                squares[:, channel] = (x[:, max(first, 0) : last + 1].astype(np.float64) ** 2).sum(1)
            return [(x / (2 + 0.3 / size * squares) ** 0.75).astype(np.float32)]

        model = node_model("LRN", [x], opset=13, dynamic=True, size=size, alpha=0.3, beta=0.75, bias=2.0)
        cases.append(Case(model, ((x,), (x[:, :3],)), 2e-5, 2e-5, expected))
    for axes in ([0, 2, 3], [1], [-1, 0]):
        x = RNG.standard_normal((2, 4, 3, 2)).astype(np.float32)
        model = node_model("MeanVarianceNormalization", [x], opset=13, dynamic=True, axes=axes)
        cases.append(
            Case(
                model, ((x,), (x[:1],)), 2e-4, 2e-4,
                lambda x, a=tuple(axes): [(x - x.mean(a, keepdims=True)) / (x.std(a, keepdims=True) + 1e-9)],
            )
        )  # fmt: skip
    hold(cases)


def test_dropout_is_the_identity_or_what_its_seed_says() -> None:
    x = RNG.standard_normal((6, 7)).astype(np.float32)
    ratio, flag = np.float32(0.25), np.array(True)
    cases = [
        Case(
            node_model("Dropout", [x, ratio, flag], opset=13, outputs=[np.float32, bool], seed=5, dynamic=True),
            ((x, ratio, flag),),
        ),
        Case(node_model("Dropout", [x], opset=10, outputs=[np.float32, bool], dynamic=True), ((x,),)),
        Case(node_model("Dropout", [x], opset=7, dynamic=True, ratio=0.9), ((x,),), 0, 0, lambda x: [x]),
    ]
    hold(cases)
    emitted = translate(cases[0].model, "dropout")
    library, _ = build([emitted], BuildOptions(flags=QUICK))
    function = Function(library, emitted)
    untrained = function([x, ratio, np.array(False)])
    np.testing.assert_array_equal(untrained[0], x)
    assert untrained[1].all()
    with pytest.raises(InputError, match="ratio"):
        function([x, np.float32(1.0), flag])


def test_unseeded_dropout_keeps_the_right_part_and_differs() -> None:
    x = np.ones(100_000, np.float32)
    emitted = translate(node_model("Dropout", [x, np.float32(0.3), np.array(True)], opset=13, constants=(1, 2)), "unseeded")
    library, _ = build([emitted], BuildOptions(flags=QUICK))
    function = Function(library, emitted)
    first, second = function([x])[0], function([x])[0]
    # 7 standard deviations of a share of 0.7 among 100 000.
    assert abs((first != 0).mean() - 0.7) < 7 * np.sqrt(0.21 / 1e5)
    np.testing.assert_allclose(first[first != 0], 1 / 0.7, rtol=1e-6)
    assert (first != second).any()


@pytest.mark.parametrize(
    ("kind", "shapes", "attributes", "message"),
    [
        ("LayerNormalization", [(2, 3), (4,)], {}, "broadcasts"),
        ("LayerNormalization", [(2, 3), (3,)], {"axis": 5}, "axis 5"),
        ("LayerNormalization", [(2, 3), (3,)], {"stash_type": 7}, "stash_type"),
        ("GroupNormalization", [(2, 3, 4), (3,), (3,)], {"num_groups": 2}, "into 2 groups"),
        ("BatchNormalization", [(2, 3, 4), (3,), (3,), (2,), (3,)], {}, "input 3 for each channel"),
        ("InstanceNormalization", [(2, 3, 4), (2,), (3,)], {}, "input 1 for each channel"),
        ("LRN", [(2, 3, 4)], {"size": 0}, "0 channels"),
        ("MeanVarianceNormalization", [(2, 3)], {"axes": [0, 0]}, "twice"),
    ],
)
def test_contradictions_are_told(kind: str, shapes: list[tuple[int, ...]], attributes: dict[str, Any], message: str) -> None:
    model = node_model(kind, [np.ones(shape, np.float32) for shape in shapes], opset=22, **attributes)
    with pytest.raises(InputError, match=message):
        translate(model, "wrong")


def test_old_definitions_need_no_spatial_statistics() -> None:
    """``spatial=0`` of versions before 9: statistics of each element."""
    x = RNG.standard_normal((3, 2, 4)).astype(np.float32)
    parameters = [RNG.uniform(0.5, 2, (2, 4)).astype(np.float32) for _ in range(4)]
    model = node_model("BatchNormalization", [x, *parameters], opset=7, constants=(1, 2, 3, 4), spatial=0, epsilon=EPSILON)
    scale, shift, mean, variance = parameters
    hold([Case(model, ((x,),), 2e-5, 2e-5, lambda x: [(x - mean) / np.sqrt(variance + np.float32(EPSILON)) * scale + shift])])
