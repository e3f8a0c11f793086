"""XGBoost forests in ROOT files, written by ROOT, against RBDT's evaluation and XGBoost itself."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlcore.errors import InputError, UnsupportedFeatureError
from mlcore.forests import load
from mlcore.forests.forest import Forest
from tests.mlcore.forests import root_files
from tests.mlcore.forests.conftest import events, train_xgboost

pytestmark = pytest.mark.skipif(not find_spec("ROOT"), reason="the root wheel is for Linux only")

Array = np.ndarray[Any, Any]
f32 = np.float32
KINDS = {"logistic": "binary:logistic", "identity": "reg:squarederror", "softmax": "multi:softprob"}


def booster_of(kind: str, **parameters: Any) -> Any:
    # The base score is given: SaveXGBoost and XGBoost then round it alike.
    return train_xgboost(objective=KINDS[kind], max_depth=4, base_score=0.5, **parameters)


def flat(kind: str, **parameters: Any) -> root_files.Flat:
    score = 0.0 if kind == "logistic" else 0.5  # log(0.5 / 0.5)
    n_outputs = 3 if kind == "softmax" else 1
    return root_files.flat(booster_of(kind, **parameters), n_outputs=n_outputs, logistic=kind == "logistic", base_score=score)


def levels(kind: str, *, bias: float | None = None, **parameters: Any) -> root_files.Levels:
    n_outputs = 3 if kind == "softmax" else 1
    booster = booster_of(kind, **parameters)
    return root_files.levels(booster, depth=4, n_outputs=n_outputs, n_features=6, objective=kind, bias=bias)


def forest_of(path: Path, key: str | None = None) -> Forest:
    return load(path if key is None else f"{path}:{key}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """flat.root and levels.root with one model each objective; several.root with both layouts."""
    folder = tmp_path_factory.mktemp("root")
    files = {
        "flat.root": {kind: flat(kind) for kind in KINDS},
        "levels.root": {kind: levels(kind) for kind in KINDS},
        "several.root": {"new": flat("logistic"), "old": levels("logistic")},
        "one.root": {"myBDT": flat("logistic")},
        "bias.root": {"myModel": levels("identity", bias=0.5)},
        "stumps.root": {"myBDT": flat("softmax", gamma=1e9)},
    }
    root_files.write(folder, files)
    return folder


def probes(cuts: list[float], seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    values = np.array(cuts, f32)
    beside = [values, np.nextafter(values, f32(np.inf)), np.nextafter(values, f32(-np.inf))]
    pool = np.concatenate([*beside, np.array([0, -0.0, np.nan, np.inf, -np.inf, 1e-45], f32), rng.normal(size=50).astype(f32)])
    return rng.choice(pool, (300, 6))


def rbdt(model: root_files.Flat, rows: Array) -> Array:
    """The sums of class RBDT, one event after the other."""
    n_outputs = len(model["BaseResponses"]) if len(model["BaseResponses"]) > 2 else 1
    out = np.empty((len(rows), n_outputs), f32)
    for i, row in enumerate(rows):
        out[i] = [f32(model["BaseScore"]) + f32(model["BaseResponses"][k]) for k in range(n_outputs)]
        for number, root in zip(model["TreeNumbers"], model["RootIndices"], strict=True):
            index, first = root, True
            while first or index > 0:
                first = False
                below = row[model["CutIndices"][index]] < f32(model["CutValues"][index])
                index = model["LeftIndices" if below else "RightIndices"][index]
            out[i, number % n_outputs] += f32(model["Responses"][-index])
    return out


def branchless(model: root_files.Levels, rows: Array, real: Any = f32) -> Array:
    """The sums of the older class: walk down the filled trees, after sorting them by their root."""
    depth, n_outputs = model["max_depth"][0], model["num_outputs"][0]
    trees = []
    for i, output in enumerate(model["outputs"]):
        inputs = model["inputs"][i * (2**depth - 1) : (i + 1) * (2**depth - 1)]
        values = [real(v) for v in model["thresholds"][i * (2 ** (depth + 1) - 1) : (i + 1) * (2 ** (depth + 1) - 1)]]
        for index in range(2 ** (depth + 1) - 1):
            parent = (index - 1) // 2
            if index and inputs[parent] == -1:
                values[index] = values[parent]
                if index < len(inputs):
                    inputs[index] = -1
        trees.append((output, [max(feature, 0) for feature in inputs], values))
    trees.sort(key=lambda tree: (tree[1][0], tree[2][0]))
    out = np.zeros((len(rows), n_outputs), real)
    for i, row in enumerate(rows):
        for output, inputs, values in trees:
            index = 0
            for _ in range(depth):
                index = 2 * index + 1 + int(real(row[inputs[index]]) > values[index])
            out[i, output] += values[index]
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_the_flat_layout_is_rbdt(kind: str, folder: Path) -> None:
    model, forest = flat(kind), forest_of(folder / "flat.root", kind)
    rows = probes(model["CutValues"])[:, : forest.model.n_features]
    margin = forest.margin(rows)
    assert margin.dtype == f32
    np.testing.assert_array_equal(margin.reshape(len(rows), -1), rbdt(model, rows))


@pytest.mark.parametrize("kind", KINDS)
def test_the_flat_layout_is_xgboost_where_nothing_is_missing(kind: str, folder: Path) -> None:
    import xgboost

    booster, forest = booster_of(kind), forest_of(folder / "flat.root", kind)
    rows = events(500, seed=3)[0]
    rows = rows[~np.isnan(rows).any(axis=1)]
    matrix = xgboost.DMatrix(rows)
    np.testing.assert_array_equal(forest.margin(rows), booster.predict(matrix, output_margin=True))
    np.testing.assert_allclose(forest.predict(rows), booster.predict(matrix), rtol=8 * np.finfo(f32).eps)


@pytest.mark.parametrize("kind", KINDS)
def test_the_layout_of_vectors_is_the_older_rbdt(kind: str, folder: Path) -> None:
    model, forest = levels(kind), forest_of(folder / "levels.root", kind)
    rows = probes(model["thresholds"])
    np.testing.assert_array_equal(forest.margin(rows).reshape(len(rows), -1), branchless(model, rows))
    assert forest.info.objective == kind
    total = {"logistic": None, "identity": None, "softmax": 1.0}[kind]
    if total:
        np.testing.assert_allclose(forest.predict(rows).sum(axis=1), total, rtol=1e-6)


def test_a_bias_is_a_tree_of_a_lone_leaf(folder: Path) -> None:
    model, forest = levels("identity", bias=0.5), forest_of(folder / "bias.root")
    rows = probes(model["thresholds"])
    np.testing.assert_array_equal(forest.margin(rows), branchless(model, rows)[:, 0])
    assert forest.info.n_trees == len(model["outputs"])


def test_double_vectors_decide_and_sum_in_double(tmp_path: Path) -> None:
    model = levels("logistic")
    root_files.write(tmp_path, {"double.root": {"m": model}}, real="double")
    forest = forest_of(tmp_path / "double.root")
    rows = probes(model["thresholds"]).astype(np.float64) * (1 + 1e-12)
    assert forest.margin(rows).dtype == np.float64
    np.testing.assert_array_equal(forest.margin(rows), branchless(model, rows, np.float64)[:, 0])


def test_trees_that_are_lone_leaves_are_in_the_base(folder: Path) -> None:
    model, forest = flat("softmax", gamma=1e9), forest_of(folder / "stumps.root")
    assert forest.info.n_trees == 0
    np.testing.assert_array_equal(forest.margin(np.zeros((1, 1), f32)), rbdt(model, np.zeros((1, 1), f32)))


def test_all_of_root_s_compressions(folder: Path, tmp_path: Path) -> None:
    settings = {"none": 0, "zlib": 109, "lzma": 207, "lz4": 404, "zstandard": 505}
    root_files.write(tmp_path, {name: {"myBDT": flat("logistic")} for name in settings}, compression=settings)
    assert len({(tmp_path / name).stat().st_size for name in settings}) == len(settings)
    expected = forest_of(folder / "one.root")
    rows = events(50)[0][:, : expected.model.n_features]
    for name in settings:
        np.testing.assert_array_equal(forest_of(tmp_path / name).margin(rows), expected.margin(rows), name)


def test_the_key_chooses_and_its_absence_lists_all(folder: Path) -> None:
    path = folder / "several.root"
    assert forest_of(path, "new").info.n_trees == forest_of(path, "old").info.n_trees
    with pytest.raises(InputError, match="several forests: new, old") as caught:
        forest_of(path)
    assert "load(" in caught.value.hint
    with pytest.raises(InputError, match="no forest 'older': new, old"):
        forest_of(path, "older")


def test_only_files_of_several_models_have_keys(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    booster_of("logistic").save_model(path)
    with pytest.raises(InputError, match=r"model.json holds one model.*'myBDT'"):
        load(f"{path}:myBDT")
    with pytest.raises(InputError, match="cannot be read"):
        load(f"{tmp_path}/none.root:myBDT")
    path.rename(tmp_path / "model:1.json")
    assert load(tmp_path / "model:1.json").info.format == "xgboost-json"


def test_a_file_without_a_forest_says_what_it_holds(tmp_path: Path) -> None:
    import uproot

    with uproot.recreate(tmp_path / "histograms.root") as file:
        file["h"] = np.histogram(np.zeros(3))
    with pytest.raises(InputError, match=r"holds no forest, but h \(TH1D\)"):
        forest_of(tmp_path / "histograms.root")


def test_another_version_of_the_class_is_refused(tmp_path: Path) -> None:
    root_files.write(tmp_path, {"new.root": {"myBDT": flat("logistic")}}, version=2)
    with pytest.raises(UnsupportedFeatureError, match="myBDT is of version 2 of the class RBDT"):
        forest_of(tmp_path / "new.root")


BAD_FLAT: dict[str, tuple[dict[str, Any], str]] = {
    "feature beyond all": ({"CutIndices": [2**31 - 1]}, "2147483648 features"),
    "NaN cut": ({"CutValues": [float("nan")]}, "tree 0, node 0: its threshold is not a number"),
    "infinite leaf": ({"Responses": [float("inf"), 1.0]}, "tree 0, node 1: the leaf's value is not finite"),
    "child a leaf that is not there": ({"RightIndices": [-2]}, "tree 0, node 0: its child is out of range"),
    "child beyond the tree": ({"RightIndices": [1]}, "tree 0, node 0: its child is out of range"),
    "children too few": ({"RightIndices": []}, "differ in length"),
    "root elsewhere": ({"RootIndices": [1]}, "do not follow one another"),
    "root negative": ({"RootIndices": [-1]}, "do not follow one another"),
    "tree number": ({"TreeNumbers": [-1]}, "numbers that do not fit"),
    "no output": ({"BaseResponses": []}, "0 outputs"),
    "NaN base": ({"BaseResponses": [float("nan")]}, "base score"),
}


@pytest.mark.parametrize("case", BAD_FLAT)
def test_damaged_contents_are_named(case: str, damaged: Path) -> None:
    with pytest.raises(InputError, match=BAD_FLAT[case][1]) as caught:
        forest_of(damaged / f"{list(BAD_FLAT).index(case)}.root")
    assert caught.value.hint


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    good: root_files.Flat = {
        "RootIndices": [0],
        "CutIndices": [0],
        "CutValues": [0.5],
        "LeftIndices": [0],
        "RightIndices": [-1],
        "Responses": [1.0, 2.0],
        "TreeNumbers": [0],
        "BaseResponses": [0.0],
        "BaseScore": 0.0,
        "Logistic": False,
    }
    folder = tmp_path_factory.mktemp("damaged")
    root_files.write(folder, {f"{i}.root": {"m": good | change} for i, (change, _) in enumerate(BAD_FLAT.values())})
    return folder
