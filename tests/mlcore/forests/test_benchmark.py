"""The benchmark of a forest: rows that reach the trees, answers before times, honest absences, timings by a clock of the test."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mlcore.errors import InputError, VerificationError
from mlcore.forests import load, peers
from mlcore.forests.benchmark import OWN, benchmark, made_rows
from mlcore.forests.peers import PEERS, AbsentError, Peer, Setting

Train = Callable[..., Any]


@pytest.fixture(scope="module")
def model(xgboost_booster: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "m.json"
    xgboost_booster(objective="binary:logistic").save_model(path)
    return path


def peer(key: str, predict: Callable[[Any], Any] | Exception, module: str = "numpy") -> Peer:
    """A peer of the test's own."""

    def opened(setting: Setting) -> Any:
        if isinstance(predict, Exception):
            raise predict
        return predict

    return Peer(key, key.title(), module, module, opened)


# --- rows -----------------------------------------------------------------------------------------------------------------------


def test_rows_reach_nearly_every_leaf(xgboost_booster: Train) -> None:
    forest = load(xgboost_booster(max_depth=3, rounds=8))
    rows = made_rows(forest.model, 20_000)
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()
    reached = forest.leaves(rows)
    possible = sum(int((tree.feature < 0).sum()) for tree in forest.model.trees)
    met = sum(len(np.unique(reached[:, number])) for number in range(len(forest.model.trees)))
    assert met > 0.95 * possible
    assert np.array_equal(rows, made_rows(forest.model, 20_000), equal_nan=True)


def test_rows_have_the_missing_values_and_categories_that_were_asked_for(lightgbm_booster: Train) -> None:
    model = load(lightgbm_booster(categorical=True)).model
    rows = made_rows(model, 4000, missing=0.05)
    assert 0.04 < np.isnan(rows).mean() < 0.06
    categories = made_rows(model, 4000)[:, 5]
    assert np.array_equal(categories, np.trunc(categories))
    assert len(np.unique(categories)) > 30


# --- answers --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_the_library_that_trained_the_model_is_the_reference(
    xgboost_booster: Train, lightgbm_booster: Train, tmp_path: Path, library: str
) -> None:
    path = tmp_path / ("m.ubj" if library == "xgboost" else "m.txt")
    (xgboost_booster if library == "xgboost" else lightgbm_booster)().save_model(path)
    known = {key: PEERS[key] for key in ("xgboost", "lightgbm")}
    messages: list[str] = []
    steps: list[float] = []
    found = benchmark(
        path, tmp_path, batches=[1, 100], seconds=0.2, peers=known, log=messages.append,
        progress=lambda fraction, _: steps.append(fraction),
    )  # fmt: skip
    assert found.reference == library
    assert {one.key for one in found.contenders} == {OWN, library}
    own = next(one for one in found.contenders if one.key == OWN)
    assert own.identical == 1  # identity links: the margins themselves
    assert own.largest_difference == 0
    (absent,) = found.absences
    assert "does not read" in absent.reason
    assert found.batches == (1, 100)
    assert found.ratio(library, 1) == 1
    assert all(timing.lower <= timing.median <= timing.upper for timing in found.timings)
    assert steps == sorted(steps)
    assert steps[-1] == 1
    assert json.loads(json.dumps(found.to_json()))["reference"] == library
    assert any("identical" in message for message in messages)


def test_scikit_learn_reads_its_own_models_again(tmp_path: Path) -> None:
    skops_io = pytest.importorskip("skops.io")
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4)).astype(np.float32)
    skops_io.dump(RandomForestClassifier(5, random_state=0).fit(x, x[:, 0] > 0), tmp_path / "m.skops")
    found = benchmark(tmp_path / "m.skops", tmp_path, batches=[16], seconds=0.1, peers={"sklearn": PEERS["sklearn"]})
    assert found.reference == "sklearn"
    assert [one.identical for one in found.contenders] == [1, 1]


def test_rounds_after_the_best_one_are_left_out_by_the_library_too(xgboost_booster: Train, tmp_path: Path) -> None:
    booster = xgboost_booster(rounds=12)
    booster.set_attr(best_iteration="5")
    booster.save_model(tmp_path / "m.json")
    known = {"xgboost": PEERS["xgboost"]}
    found = benchmark(tmp_path / "m.json", tmp_path, batches=[8], seconds=0.1, peers=known, iterations="best")
    assert found.n_trees == 6
    assert found.contenders[1].largest_difference == 0


def test_who_answers_otherwise_is_named_and_not_timed(model: Path, tmp_path: Path) -> None:
    forest = load(model)

    def wrong(rows: Any) -> Any:
        answer = forest.predict(rows).copy()
        answer[3:5] += 0.25
        return answer

    others = {
        "wrong": peer("wrong", wrong),
        "shape": peer("shape", lambda rows: np.zeros((len(rows), 3))),
        "right": peer("right", forest.predict),
        "breaks": peer("breaks", lambda rows: forest.predict(rows) if len(rows) < 9 else 1 / 0),
    }
    found = benchmark(model, tmp_path, batches=[16], seconds=0.1, peers=others)
    assert {one.key for one in found.contenders} == {OWN, "right"}
    told = {one.key: one.reason for one in found.absences}
    assert told["wrong"].startswith("its answers differ in 2 of 4096 rows, by up to ")
    assert "another shape" in told["shape"]
    assert "division by zero" in told["breaks"]
    assert {timing.key for timing in found.timings} == {OWN, "right"}


def test_a_difference_from_the_source_library_is_a_defect_of_ours(model: Path, tmp_path: Path) -> None:
    wrong = peer("xgboost", lambda rows: np.full(len(rows), 0.123))
    with pytest.raises(VerificationError, match="Xgboost disagree"):
        benchmark(model, tmp_path, batches=[4], seconds=0.1, peers={"xgboost": wrong})


def test_who_is_not_installed_is_told_how_to_come(model: Path, tmp_path: Path) -> None:
    others = {
        "gone": peer("gone", lambda rows: rows, module="no_such_module_anywhere"),
        "refuses": peer("refuses", AbsentError("takes other models")),
        "fails": peer("fails", RuntimeError("broken\nin two lines")),
    }
    found = benchmark(model, tmp_path, batches=[4], seconds=0.1, peers=others)
    assert {(one.key, one.reason, one.install) for one in found.absences} == {
        ("gone", "not installed", "pip install no_such_module_anywhere"),
        ("refuses", "takes other models", ""),
        ("fails", "it refuses the model: broken", ""),
    }
    assert found.reference == OWN


def test_a_saved_forest_is_no_file_of_the_library_that_trained_it(model: Path, tmp_path: Path) -> None:
    load(model).save(tmp_path / "m.forest")
    found = benchmark(tmp_path / "m.forest", tmp_path, batches=[4], seconds=0.1, peers={"xgboost": PEERS["xgboost"]})
    assert found.library.startswith("xgboost")
    assert [one.reason for one in found.absences] == ["does not read ml4ep-forest files"]


def test_too_large_a_model_is_not_given_to_a_c_compiler(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "TL2CGEN_NODES", 10)
    setting = Setting(model, load(model), 1, tmp_path)
    with pytest.raises(AbsentError, match="minutes"):
        PEERS["tl2cgen"].start(setting)


# --- times ----------------------------------------------------------------------------------------------------------------------


def test_times_are_those_of_the_clock(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contenders take 2, 3 and 10 µs a row on the test's clock; the real time that passes does not count."""
    forest = load(model)
    now = 0.0

    def taking(seconds: float) -> Callable[..., Any]:
        def predict(rows: Any, threads: int = 1) -> Any:
            nonlocal now
            now += seconds * len(rows)
            return forest.predict(rows)

        return predict

    ours = SimpleNamespace(model=forest.model, info=forest.info, predict=taking(2e-6))
    monkeypatch.setattr("mlcore.forests.benchmark.load", lambda path, iterations: ours)
    others = {"other": peer("other", taking(3e-6)), "xgboost": peer("xgboost", taking(1e-5))}
    found = benchmark(model, tmp_path, batches=[1000], seconds=0.5, peers=others, clock=lambda: now)
    medians = {timing.key: timing.median for timing in found.timings}
    assert medians == {OWN: pytest.approx(2), "other": pytest.approx(3), "xgboost": pytest.approx(10)}
    assert found.ratio("other", 1000) == pytest.approx(0.3)
    assert found.ratio("nobody", 1000) is None


def test_the_time_asked_for_is_about_kept(model: Path, tmp_path: Path) -> None:
    start = time.monotonic()
    benchmark(model, tmp_path, batches=[1, 1000], seconds=0.5, peers={})
    assert time.monotonic() - start < 60


def test_few_rows_are_repeated_for_a_large_batch(model: Path, tmp_path: Path) -> None:
    found = benchmark(model, tmp_path, rows=np.zeros((3, 6)), batches=[50], seconds=0.1, peers={})
    assert found.rows == "given"
    assert found.checked == 3
    assert found.timing(OWN, 50) is not None


@pytest.mark.parametrize("rows", [np.zeros((3, 5)), np.zeros(6), np.zeros((0, 6))])
def test_rows_that_do_not_fit_are_refused(model: Path, tmp_path: Path, rows: Any) -> None:
    with pytest.raises(InputError):
        benchmark(model, tmp_path, rows=rows, batches=[1], peers={})
