"""The forests' benchmark: what its peers are given is the model, and wrong answers are noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import environment
from benchmarks.environment import UnavailableError
from benchmarks.forests import models, native, peers
from benchmarks.forests.flat import Flat, rounded, write_onnx
from benchmarks.forests.models import Model, Recipe
from benchmarks.forests.native import Native
from mlcore import forests


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A small model of three classes."""
    parameters = {"objective": "multi:softprob", "num_class": 3, "max_depth": 3, "tree_method": "hist", "nthread": 1}
    recipe = Recipe("small", "small", "xgboost", parameters, 4, n_rows=500, n_classes=3)
    return Model(recipe, models.trained_one(tmp_path_factory.mktemp("cache"), recipe), first_four=False)


def test_equal_recipes_share_a_file(model: Model) -> None:
    same = Recipe(**model.recipe.__dict__)
    assert same.file_name == model.path.name
    assert Recipe(**{**model.recipe.__dict__, "n_trees": 5}).file_name != model.path.name


def test_rows_are_the_same_each_time_and_a_twentieth_is_missing(model: Model) -> None:
    whole, missing = model.rows(400, nan=False), model.rows(400, nan=True)
    assert not np.isnan(whole).any()
    assert np.isnan(missing).mean() == pytest.approx(models.NAN_SHARE, abs=0.01)
    assert np.array_equal(whole[~np.isnan(missing)], missing[~np.isnan(missing)])
    assert np.array_equal(whole, model.rows(400, nan=False))


def test_thresholds_decide_float32_as_the_doubles_do() -> None:
    threshold = np.array([0.1, 0.5, -0.1, 1 + 1e-9, 1 - 1e-9])
    x = np.concatenate(
        [np.nextafter(threshold.astype(np.float32), np.float32(to)) for to in (-9, 9)] + [threshold.astype(np.float32)]
    )
    for down, decides in ((True, np.less_equal), (False, np.less)):
        single = rounded(threshold, down=down)
        assert single.dtype == np.float32
        assert np.array_equal(decides.outer(x.astype(np.float64), threshold), decides.outer(x, single))


def test_the_onnx_model_answers_as_the_library(model: Model, tmp_path: Path) -> None:
    from onnx.reference import ReferenceEvaluator

    write_onnx(Flat.of(forests.load(model.path).model), tmp_path / "model.onnx")
    rows = model.rows(50, nan=True)
    (margin,) = ReferenceEvaluator(str(tmp_path / "model.onnx")).run(None, {"rows": rows})
    assert np.allclose(margin, models.library_margin(model, rows), atol=1e-6)


def test_a_compiled_contender_answers_as_the_library(model: Model, tmp_path: Path) -> None:
    task = peers.Task(model, tmp_path)
    rows = model.rows(200, nan=False)
    expected = models.library_margin(model, rows)
    contender = peers._rbdt(task)
    for batch in (1, 7, 200):
        peers.check("RBDT's algorithm", contender.predict(rows, batch=batch), expected)
    xgboost_c = peers._xgboost(task)
    assert np.array_equal(xgboost_c.predict(rows, batch=64), expected)


def test_a_contender_that_cannot_open_says_why(model: Model, tmp_path: Path) -> None:
    library = native.adapter(tmp_path, "rbdt")
    with pytest.raises(UnavailableError, match="cannot open"):
        Native(library, [tmp_path / "none.flat"], 28, 1, np.float32)
    with pytest.raises(UnavailableError, match="reads models of lightgbm only"):
        peers._lightgbm(peers.Task(model, tmp_path))


def test_rows_of_another_type_are_refused(model: Model, tmp_path: Path) -> None:
    contender = peers._rbdt(peers.Task(model, tmp_path))
    with pytest.raises(ValueError, match="float32"):
        contender.predict(model.rows(5, nan=False).astype(np.float64))


def test_one_wrong_leaf_is_noticed(model: Model) -> None:
    rows = model.rows(100, nan=False)
    expected = models.library_margin(model, rows)
    wrong = expected.copy()
    wrong[17, 1] += 1e-3
    peers.check("xgboost", expected, expected)
    with pytest.raises(AssertionError, match="xgboost answers otherwise"):
        peers.check("xgboost", wrong, expected)
    with pytest.raises(AssertionError, match="answers otherwise"):
        peers.check("xgboost", np.full_like(expected, np.nan), expected)


@pytest.mark.slow  # makes a virtual environment
def test_a_peer_that_cannot_be_installed_gives_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = tmp_path / "lists"
    requirements.mkdir()
    (requirements / "nothing.txt").write_text("./there-is-no-such-package\n", encoding="utf-8")
    monkeypatch.setattr(environment, "REQUIREMENTS", requirements)
    with pytest.raises(UnavailableError, match="cannot be installed here: "):
        environment.environment(tmp_path, "nothing")


def test_all_recipes_train_quickly_shaped_models() -> None:
    recipes: dict[bool, list[Any]] = {quick: models.recipes(quick=quick) for quick in (True, False)}
    assert [recipe.library for recipe in recipes[True]] == [recipe.library for recipe in recipes[False]]
    assert all(small.n_trees < large.n_trees for small, large in zip(recipes[True], recipes[False], strict=True))
    assert [recipe.n_trees for recipe in recipes[False][:4]] == [100, 500, 1000, 500]
