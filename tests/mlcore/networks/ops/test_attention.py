"""Attention against ONNX's reference evaluator, of fixed and of given sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from mlcore.errors import InputError
from mlcore.networks.build import QUICK, BuildOptions, Function, build
from mlcore.networks.compiler import translate
from tests.mlcore.networks.conftest import Array, Case, drawn, hold, node_model

RNG = np.random.default_rng(29)


@st.composite
def attentions(draw: st.DrawFn) -> dict[str, Any]:
    shared, group = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    cache = draw(st.sampled_from(["none", "past", "lengths"]))
    return {
        "batch": draw(st.integers(1, 2)),
        "heads": shared * group,
        "shared": shared,
        "rows": draw(st.sampled_from([1, 3, 40])),
        "width": draw(st.sampled_from([1, 5, 18])),
        "past": draw(st.integers(0, 4)) if cache == "past" else None,
        "lengths": cache == "lengths",
        "depth": draw(st.sampled_from([1, 8, 20])),
        "columns": draw(st.sampled_from([3, 16])),
        "joined": draw(st.booleans()),
        "mask": draw(st.sampled_from(["none", "bool", "float", "head", "short"])),
        "causal": draw(st.integers(0, 1)),
        "window": draw(st.sampled_from([(-1, -1), (2, -1), (-1, 1), (3, 2)])),
        "softcap": draw(st.sampled_from([0.0, 0.75])),
        "scale": draw(st.sampled_from([None, 0.5])),
        "look": draw(st.sampled_from([None, 0, 1, 2, 3])),
        "dtype": np.dtype(draw(st.sampled_from([np.float32, np.float64]))),
        "dynamic": draw(st.booleans()),
    }


def case(p: dict[str, Any]) -> Case:
    normal = lambda *shape: RNG.standard_normal(shape).astype(p["dtype"])  # noqa: E731
    calls = []
    for more in range(1 + p["dynamic"]):
        batch, rows, width, past = p["batch"] + more, p["rows"] + more, p["width"] + more, p["past"]
        heads = [(p["heads"], rows, p["depth"]), (p["shared"], width, p["depth"]), (p["shared"], width, p["columns"])]
        tensors: list[Array | None] = [
            normal(batch, length, count * size) if p["joined"] else normal(batch, count, length, size)
            for count, length, size in heads
        ]
        total = width + (past or 0)
        masks: dict[str, Array | None] = {
            "none": None,
            "bool": RNG.random((rows, total)) < 0.7,
            "float": normal(batch, 1, rows, total),
            "head": normal(p["heads"], rows, total),
            "short": RNG.random((rows, max(1, total - 1))) < 0.7,
        }
        tensors.append(masks[p["mask"]])
        if past is None:
            tensors += [None, None]
        else:
            tensors += [normal(batch, p["shared"], past, size) for size in (p["depth"], p["columns"])]
        tensors.append(RNG.integers(1, width + 1, batch) if p["lengths"] else None)
        calls.append(tensors)
    # Mode 0 hands out the scores as they are; the evaluator hands out capped ones.
    softcap = 0.0 if p["look"] == 0 else p["softcap"]
    attributes: dict[str, Any] = {"is_causal": p["causal"], "softcap": softcap}
    attributes |= {"left_window_size": p["window"][0], "right_window_size": p["window"][1]}
    if p["joined"]:
        attributes |= {"q_num_heads": p["heads"], "kv_num_heads": p["shared"]}
    if p["scale"] is not None:
        attributes["scale"] = p["scale"]
    if p["look"] is not None:
        attributes["qk_matmul_output_mode"] = p["look"]
    present = None if p["past"] is None else p["dtype"]
    outputs = [p["dtype"], present, present, None if p["look"] is None else p["dtype"]]
    model = node_model("Attention", calls[0], opset=25, outputs=outputs, dynamic=False, **attributes)
    if p["dynamic"]:
        _name_sizes(model, p)
    given = tuple(tuple(item for item in call if item is not None) for call in calls)
    # The evaluator takes the root of a scale that is given in float32.
    tolerance = 3e-5 if p["dtype"] == np.float32 else 1e-10 if p["scale"] is None else 1e-6
    return Case(model, given, tolerance, tolerance)


def _name_sizes(model: Any, p: dict[str, Any]) -> None:
    """Batch, rows and keys get names; what a mask broadcasts stays 1."""
    axes = {
        0: (0, 1 if p["joined"] else 2),
        1: (0, 1 if p["joined"] else 2),
        2: (0, 1 if p["joined"] else 2),
        4: (0,),
        5: (0,),
        6: (0,),
    }
    for item in model.graph.input:
        place = int(item.name[1:])
        shape = item.type.tensor_type.shape.dim
        axes[3] = (0, 2, 3) if p["mask"] == "float" else (len(shape) - 2, len(shape) - 1)
        for axis in axes[place]:
            shape[axis].dim_param = f"d{place}_{axis}"


def test_everything_that_may_be_asked_for() -> None:
    hold([case(p) for p in drawn(attentions(), 24)])


def test_rows_without_a_key_are_zero() -> None:
    q, k, v = (RNG.standard_normal((1, 1, 3, 4)).astype(np.float32) for _ in range(3))
    mask = np.array([[True, False, True], [False, False, False], [True, True, True]])
    emitted = translate(node_model("Attention", [q, k, v, mask], opset=24), "masked")
    library, _ = build([emitted], BuildOptions(flags=QUICK))
    (y,) = Function(library, emitted)([q, k, v, mask])
    np.testing.assert_array_equal(y[0, 0, 1], 0)
    assert np.isfinite(y).all()
    assert (y[0, 0, [0, 2]] != 0).all()


def test_turns() -> None:
    cases = []
    for interleaved in (0, 1):
        for turned in (0, 4):
            half = (turned or 8) // 2
            caches = [RNG.standard_normal((10, half)).astype(np.float32) for _ in range(2)]
            x = RNG.standard_normal((2, 3, 5, 8)).astype(np.float32)
            places = RNG.integers(0, 10, (2, 5))
            attributes = {"interleaved": interleaved, "rotary_embedding_dim": turned}
            model = node_model("RotaryEmbedding", [x, *caches, places], opset=23, **attributes)
            cases.append(Case(model, ((x, *caches, places),), 1e-5, 1e-6))
            joined = RNG.standard_normal((2, 5, 24)).astype(np.float32)
            taken = [cache[places] for cache in caches]
            model = node_model("RotaryEmbedding", [joined, *taken], opset=23, dynamic=True, num_heads=3, **attributes)
            if not turned:
                # With a named size of heads the caches have half of it.
                model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 24
            cases.append(Case(model, ((joined, *taken), (joined[:1], *(item[:1] for item in taken))), 1e-5, 1e-6))
    hold(cases)
    emitted = translate(cases[0].model, "turns")
    library, _ = build([emitted], BuildOptions(flags=QUICK))
    call = list(cases[0].calls[0])
    call[3] = call[3] + 10
    with pytest.raises(InputError, match="beyond its caches"):
        Function(library, emitted)(call)


@pytest.mark.parametrize(
    ("shapes", "attributes", "message"),
    [
        ([(1, 3, 2, 4), (1, 2, 2, 4), (1, 2, 2, 4)], {}, "shares 2 heads"),
        ([(1, 2, 2, 4), (1, 2, 2, 5), (1, 2, 2, 4)], {}, "as long as its queries"),
        ([(1, 2, 8), (1, 2, 8), (1, 2, 8)], {}, "q_num_heads|among 0 heads"),
        ([(1, 2, 8), (1, 2, 8), (1, 2, 8)], {"q_num_heads": 3, "kv_num_heads": 1}, "among 3 heads"),
        ([(1, 1, 2, 4), (1, 1, 2, 4), (1, 1, 2, 4), (2, 3)], {}, "mask that broadcasts"),
        ([(1, 1, 2, 4), (1, 1, 2, 4), (1, 1, 2, 4)], {"left_window_size": -5}, "left_window_size"),
        ([(1, 1, 2, 4), (1, 1, 2, 4), (1, 1, 2, 4)], {"qk_matmul_output_mode": 9}, "mode 9"),
    ],
)
def test_contradictions_are_told(shapes: list[tuple[int, ...]], attributes: dict[str, Any], message: str) -> None:
    model = node_model("Attention", [np.ones(shape, np.float32) for shape in shapes], opset=25, **attributes)
    with pytest.raises(InputError, match=message):
        translate(model, "wrong")
