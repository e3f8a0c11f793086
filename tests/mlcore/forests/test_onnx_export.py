"""A forest as ONNX predicts as the forest does, by ONNX's own evaluator; what the operator cannot express is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from mlcore.errors import UnsupportedFeatureError
from mlcore.forests import Forest, load
from mlcore.forests.benchmark import made_rows
from mlcore.forests.ir import Link
from mlcore.forests.onnx_export import to_onnx

Train = Callable[..., Any]
N_ROWS = 60  # the evaluator walks node by node in Python


def compared(forest: Forest, missing: float = 0.1) -> None:
    rows = made_rows(forest.model, N_ROWS, missing=missing)
    proto = onnx.load_from_string(to_onnx(forest.model))
    onnx.checker.check_model(proto)
    found = ReferenceEvaluator(proto).run(None, {"rows": rows})[0]
    wanted = forest.predict(rows).reshape(N_ROWS, -1)
    assert found.shape == wanted.shape
    # float32 sums in another order, and float32 results of double sums
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("objective", ["reg:squarederror", "binary:logistic", "multi:softprob", "multi:softmax", "count:poisson"])
def test_xgboost(xgboost_booster: Train, objective: str) -> None:
    compared(load(xgboost_booster(objective=objective)))


def test_double_thresholds_come_back_bit_for_bit(lightgbm_booster: Train, tmp_path: Path) -> None:
    """ONNX's own evaluator knows no double attributes, so the model is read back."""
    model = load(lightgbm_booster(objective="regression")).model
    (tmp_path / "m.onnx").write_bytes(to_onnx(model))
    onnx.checker.check_model(tmp_path / "m.onnx")
    back = load(tmp_path / "m.onnx")
    rows = made_rows(model, 2000, missing=0.1)
    assert np.array_equal(back.leaves(rows), Forest(model).leaves(rows))
    # the operator's results are float32
    np.testing.assert_allclose(back.predict(rows), Forest(model).predict(rows), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("link", list(Link))
def test_every_link_has_its_form(xgboost_booster: Train, link: Link) -> None:
    model = load(xgboost_booster()).model
    compared(Forest(replace(model, link=link, link_scale=0.7, divisor=3.0)))


def test_sets_of_categories_are_refused(lightgbm_booster: Train) -> None:
    with pytest.raises(UnsupportedFeatureError, match="categories"):
        to_onnx(load(lightgbm_booster(categorical=True)).model)


def test_zeros_that_count_as_missing_are_refused(lightgbm_booster: Train) -> None:
    with pytest.raises(UnsupportedFeatureError, match="zero"):
        to_onnx(load(lightgbm_booster(zero_as_missing=True)).model)
