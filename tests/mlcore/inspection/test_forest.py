"""Forests: what is told agrees with what the libraries say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost

from mlcore.inspection import Bars, Distribution, Inspection, drawings, inspect

CLASSES = 3


def rows(inspection: Inspection, title: str) -> list[dict[str, Any]]:
    table = next(table for table in inspection.tables if table.title == title)
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(400, 4))
    return x, (x[:, 0] > 0).astype(int) + (x[:, 2] > 0)


@pytest.mark.parametrize("suffix", ["json", "ubj"])
def test_xgboost(suffix: str, data: Any, tmp_path: Path) -> None:
    x, y = data
    matrix = xgboost.DMatrix(x, y, feature_names=["pt", "eta", "m", "phi"])
    booster = xgboost.train({"objective": "multi:softprob", "num_class": CLASSES, "max_depth": 3}, matrix, 5)
    path = tmp_path / f"m.{suffix}"
    booster.save_model(path)
    found = inspect(path)
    facts = dict(found.facts)
    assert found.kind == f"xgboost-{suffix}"
    assert (facts["Trees"], facts["Classes"], facts["Features"], facts["Objective"]) == (15, CLASSES, 4, "multi:softprob")
    assert facts["Depth"] <= 3
    assert str(facts["Library"]).startswith("xgboost ")
    weights = booster.get_score(importance_type="weight")
    assert {row["Name"]: row["Splits"] for row in rows(found, "Features") if row["Splits"]} == weights
    dumps = booster.get_dump()
    assert [row["Nodes"] for row in rows(found, "Trees")] == [len(dump.splitlines()) for dump in dumps]
    assert facts["Leaves"] == sum(dump.count("leaf=") for dump in dumps)


def test_lightgbm(data: Any, tmp_path: Path) -> None:
    x, y = data
    parameters = {"objective": "multiclass", "num_class": CLASSES, "num_leaves": 7, "verbose": -1}
    booster = lightgbm.train(parameters, lightgbm.Dataset(x, y, feature_name=["pt", "eta", "m", "phi"]), 4)
    path = tmp_path / "m.txt"
    booster.save_model(path)
    found = inspect(path)
    facts = dict(found.facts)
    assert (facts["Trees"], facts["Classes"], facts["Features"]) == (12, CLASSES, 4)
    splits = {row["Number"]: row["Splits"] for row in rows(found, "Features")}
    assert [splits[number] for number in range(4)] == booster.feature_importance("split").tolist()
    assert [row["Splits"] for row in rows(found, "Features")] == sorted(splits.values(), reverse=True)
    assert [row["Leaves"] for row in rows(found, "Trees")] == [tree["num_leaves"] for tree in booster.dump_model()["tree_info"]]


def test_charts_and_drawings_fit_into_json_and_agree_with_the_trees(data: Any, tmp_path: Path) -> None:
    x, y = data
    booster = xgboost.train({"max_depth": 3}, xgboost.DMatrix(x, y, feature_names=["pt", ">b&eta", "m", "phi"]), 20)
    booster.save_model(tmp_path / "m.json")
    found = inspect(tmp_path / "m.json")
    assert (len(found.drawings), found.n_drawings) == (16, 20)
    importance = next(chart for chart in found.charts if isinstance(chart, Bars))
    assert ">b&eta" in importance.labels
    for _, shares in importance.series:
        assert sum(shares) == pytest.approx(100)
    depths = next(chart for chart in found.charts if isinstance(chart, Distribution) and chart.title == "Leaves by depth")
    assert sum(depths.counts) == dict(found.facts)["Leaves"]
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["n_drawings"] == 20
    more = drawings(tmp_path / "m.json", 16, 16)
    assert [drawing.title for drawing in more] == ["Tree 16", "Tree 17", "Tree 18", "Tree 19"]
