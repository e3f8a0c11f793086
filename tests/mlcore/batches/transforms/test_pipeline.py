"""Pipelines: what they compute in every backend, and how they are kept."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from onnx.reference import ReferenceEvaluator

from mlcore.batches.transforms import Clip, Impute, Log, MinMax, OneHot, Pipeline, Quantile, Standardize
from mlcore.errors import DataError, InputError

RNG = np.random.default_rng(3)
N_ROWS = 3000
BLOCK = {
    "pt": RNG.exponential(30, N_ROWS),
    "eta": RNG.normal(0, 1.5, N_ROWS),
    "phi": RNG.uniform(-3, 3, N_ROWS),
    "mass": RNG.exponential(5, N_ROWS),
    "run": 300_000 + RNG.integers(0, 9, N_ROWS),
    "btag": np.where(RNG.random(N_ROWS) < 0.2, np.nan, RNG.random(N_ROWS)),
    "iso": np.round(RNG.exponential(1, N_ROWS), 1),
    "charge": RNG.choice(np.array([-1.0, 1.0, 2.0]), N_ROWS),
    "plain": RNG.normal(size=N_ROWS),
}
PIPELINE = Pipeline(
    {
        "pt": [Log(), Standardize()],
        "eta": [Clip(-2.5, 2.5), Standardize()],
        "phi": [Clip(low=-3.0), MinMax()],
        "mass": [Impute(1.0), Quantile()],
        "iso": [Impute("median"), Quantile(33)],
        "run": Standardize(),
        "btag": [Impute("mean"), Standardize(), Clip(-3.0, 3.0)],
        "charge": OneHot(),
        "plain": [],
    }
).fit([BLOCK])


def matrix_with_odd_rows(pipeline: Pipeline) -> np.ndarray:
    """float32 rows of the data, and some that no fit has seen."""
    rows = np.stack([BLOCK[name] for name in pipeline.columns], 1).astype(np.float32)
    odd = np.full((6, rows.shape[1]), np.array([[np.nan], [np.inf], [-np.inf], [0.0], [-5.0], [1e30]]), np.float32)
    return np.concatenate([rows, odd])


def test_values_are_those_of_the_steps() -> None:
    x = np.stack([BLOCK[name] for name in PIPELINE.columns], 1)
    result = PIPELINE.transform(x)
    assert result.dtype == np.float32
    assert PIPELINE.names == (
        "pt",
        "eta",
        "phi",
        "mass",
        "iso",
        "run",
        "btag",
        "charge = -1",
        "charge = 1",
        "charge = 2",
        "plain",
    )
    assert result.shape == (N_ROWS, 11)
    log = np.log1p(BLOCK["pt"])
    assert_allclose(result[:, 0], (log - log.mean()) / log.std(), rtol=1e-5, atol=1e-6)
    assert_allclose(result[:, 5].astype(float).std(), 1, rtol=1e-6)
    filled = np.where(np.isnan(BLOCK["btag"]), np.nanmean(BLOCK["btag"]), BLOCK["btag"])
    assert_allclose(
        result[:, 6], np.clip((filled - np.nanmean(BLOCK["btag"])) / np.nanstd(BLOCK["btag"]), -3, 3), rtol=1e-5, atol=1e-6
    )
    assert_array_equal(result[:, 7:10], BLOCK["charge"][:, None] == [-1, 1, 2])
    assert_array_equal(result[:, 10], BLOCK["plain"].astype(np.float32))


def alike(result: np.ndarray, expected: np.ndarray) -> None:
    assert result.dtype == np.float32
    # Both compute in double precision and round once; functions may differ in its last place, which moves a float by one at most.
    assert_allclose(result, expected, rtol=3e-7, atol=1e-12)


def test_onnx_computes_the_same() -> None:
    rows = matrix_with_odd_rows(PIPELINE)
    expected = PIPELINE.transform(rows)
    model = PIPELINE.to_onnx()
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    alike(session.run(None, {"features": rows})[0], expected)
    with np.errstate(all="ignore"):
        alike(ReferenceEvaluator(model).run(None, {"features": rows})[0], expected)


def test_torch_computes_the_same() -> None:
    rows = matrix_with_odd_rows(PIPELINE)
    module = PIPELINE.to_torch()
    alike(module(torch.from_numpy(rows)).numpy(), PIPELINE.transform(rows))
    assert not list(module.parameters())
    other = Pipeline.from_json(PIPELINE.to_json()).to_torch()
    other.load_state_dict(module.state_dict())


def test_other_orders_of_columns() -> None:
    columns = ["charge", "extra", *reversed([name for name in PIPELINE.columns if name != "charge"])]
    rows = RNG.normal(size=(50, len(columns))).astype(np.float32)
    places = [columns.index(name) for name in PIPELINE.columns]
    inner = PIPELINE.transform(rows[:, places])
    reordered = PIPELINE.for_columns(columns)
    assert reordered.names[:4] == ("charge = -1", "charge = 1", "charge = 2", "extra")
    result = reordered.transform(rows)
    assert_array_equal(result[:, [reordered.names.index(name) for name in PIPELINE.names]], inner)
    assert_array_equal(result[:, 3], rows[:, 1])
    session = onnxruntime.InferenceSession(PIPELINE.to_onnx(columns).SerializeToString(), providers=["CPUExecutionProvider"])
    alike(session.run(None, {"features": rows})[0], result)
    alike(PIPELINE.to_torch(columns)(torch.from_numpy(rows)).numpy(), result)
    with pytest.raises(DataError, match="pt"):
        PIPELINE.to_onnx(["eta"])
    with pytest.raises(InputError, match="twice"):
        PIPELINE.for_columns([*PIPELINE.columns, "pt"])


def test_a_large_mean_is_taken_off_without_loss() -> None:
    """Float32 arithmetic would be off by a sixth of a standard deviation."""
    runs = (16_000_000 + RNG.integers(0, 10, 500)).astype(np.float32)
    pipeline = Pipeline({"run": Standardize()}).fit([{"run": runs}])
    exact = (runs.astype(float) - runs.astype(float).mean()) / runs.astype(float).std()
    session = onnxruntime.InferenceSession(pipeline.to_onnx().SerializeToString(), providers=["CPUExecutionProvider"])
    for result in (
        pipeline.transform(runs[:, None]),
        session.run(None, {"features": runs[:, None]})[0],
        pipeline.to_torch()(torch.from_numpy(runs[:, None])).numpy(),
    ):
        assert_allclose(result[:, 0], exact, rtol=1e-6, atol=1e-9)


FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=150, deadline=None)
@given(
    FLOATS,
    st.floats(min_value=1e-300, allow_infinity=False),
    st.lists(st.floats(-1e100, 1e100), min_size=1, max_size=5, unique=True),
    st.text(max_size=5),
)
def test_json_keeps_every_bit(one: float, width: float, knots: list[float], name: str) -> None:
    ordered = tuple(sorted(knots))
    pipeline = Pipeline(
        {
            name: [Log(one), Clip(high=one), Standardize(one, width)],
            name + "2": [Impute("median", one), Quantile(9, ordered, ordered)],
            name + "3": [OneHot((-2.0, 0.0, 5.0))],
            name + "4": [],
            name + "5": [Impute(one), MinMax()],
        }
    )
    read = Pipeline.from_json(pipeline.to_json())
    assert read == pipeline
    assert repr(read) == repr(pipeline)  # tells -0.0 from 0.0


def test_a_pipeline_from_json_transforms_alike() -> None:
    rows = matrix_with_odd_rows(PIPELINE)
    assert_array_equal(Pipeline.from_json(PIPELINE.to_json()).transform(rows), PIPELINE.transform(rows))


def damaged(**changes: Any) -> str:
    return json.dumps({"format": "ml4ep-transforms", "version": 1, "columns": []} | changes)


def column(**fields: Any) -> str:
    return damaged(columns=[{"name": "x", "steps": [fields]}])


DAMAGED = [
    "",
    "[]",
    "{",
    "[" * 100_000,
    damaged(format="other"),
    damaged(version=2),
    damaged(columns=3),
    damaged(columns=[3]),
    damaged(columns=[{"name": "x"}]),
    damaged(columns=[{"name": "x", "steps": []}] * 2),
    damaged(),
    column(step="standardise", mean=1, std=1),
    column(step=["standardize"]),
    column(step="standardize", mean=1),
    column(step="standardize", mean=1, std=1, more=1),
    column(step="standardize", mean=1, std=0),
    column(step="standardize", mean="1", std=1),
    column(step="standardize", mean=True, std=1),
    column(step="standardize", mean=[1], std=1),
    column(step="standardize", mean=float("nan"), std=1),
    column(step="standardize", mean=10**400, std=1),
    column(step="minmax", low=2, high=1),
    column(step="clip", low=None, high=None),
    column(step="clip", low=2, high=1),
    column(step="log", shift=None),
    column(step="impute", value="mode", found=None),
    column(step="impute", value=None, found=None),
    column(step="impute", value=[1], found=None),
    column(step="quantile", n_knots=1, knots=None, heights=None),
    column(step="quantile", n_knots=9, knots=[1, 1], heights=[1, 2]),
    column(step="quantile", n_knots=9, knots=[1, 2], heights=[1]),
    column(step="quantile", n_knots=9, knots=[1, "2"], heights=[1, 2]),
    column(step="quantile", n_knots=9, knots=[], heights=[]),
    column(step="onehot", categories=[1.5], most=3),
    column(step="onehot", categories=[2, 1], most=3),
    column(step="onehot", categories=3, most=3),
    column(step="onehot", categories=None, most=0),
]


@pytest.mark.parametrize("text", DAMAGED, ids=lambda text: text[:70])
def test_what_is_no_pipeline_is_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        Pipeline.from_json(text)
    assert caught.value.code == "batches.transform"


def test_steps_that_cannot_follow_each_other() -> None:
    for chain in ([Standardize(), MinMax()], [Quantile(), Standardize()], [Standardize(), Impute("mean")], [OneHot(), Clip(0.0)]):
        with pytest.raises(InputError) as caught:
            Pipeline({"x": chain})
        assert caught.value.hint
    Pipeline({"x": [Standardize(0.0, 1.0), MinMax()]})
    with pytest.raises(InputError):
        Pipeline({})
    with pytest.raises(InputError, match="for a step"):
        Pipeline({"x": ["log"]})  # type: ignore[list-item]


def test_matrices_that_do_not_fit() -> None:
    for matrix in (np.zeros(9), np.zeros((3, 8)), np.zeros((3, 9), complex), np.full((3, 9), "a")):
        with pytest.raises(InputError):
            PIPELINE.transform(matrix)
    assert PIPELINE.transform(np.zeros((0, 9))).shape == (0, 11)
    unfitted = Pipeline({"x": Standardize()})
    for act in (lambda: unfitted.transform([[1.0]]), unfitted.to_onnx, unfitted.to_torch, lambda: unfitted.names):
        with pytest.raises(InputError, match="not fitted"):
            act()


def test_a_fit_changes_nothing_but_gives_a_new_pipeline() -> None:
    pipeline = Pipeline({"x": Standardize(), "y": MinMax(0.0, 1.0)})
    done = pipeline.fit([{"x": np.array([1.0, 3.0])}])  # y needs nothing of the data
    assert not pipeline.is_fitted
    assert done.is_fitted
    assert done.fit([]) is done
    assert done.steps["y"] == (MinMax(0.0, 1.0),)


def test_neither_torch_nor_onnx_is_loaded_without_need() -> None:
    code = """
import sys
from mlcore.batches.transforms import Pipeline, Standardize
import numpy as np
Pipeline({"x": Standardize()}).fit([{"x": np.arange(3.0)}]).transform(np.zeros((1, 1)))
import mlcore.batches.expressions
assert not {"torch", "onnx"} & set(sys.modules), "loaded"
"""
    subprocess.run([sys.executable, "-c", code], check=True)
