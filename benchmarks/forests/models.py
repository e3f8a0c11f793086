"""The seven models of the comparison: made here, trained once, kept in the cache."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore import forests

Array = npt.NDArray[Any]

NAN_SHARE = 0.05


@dataclass(frozen=True)
class Recipe:
    """How a model is trained; equal recipes share their file in the cache."""

    key: str
    title: str
    library: str
    parameters: Mapping[str, Any]
    n_trees: int
    n_features: int = 28
    n_rows: int = 200_000
    n_classes: int = 2
    with_nan: bool = False
    """Whether the rows of the training have missing values; LightGBM reads NaN as zero where they had none."""

    @property
    def file_name(self) -> str:
        content = {**self.__dict__, "title": "", "parameters": dict(self.parameters)}
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]
        suffix = {"xgboost": "ubj", "lightgbm": "txt", "scikit-learn": "pickle"}[self.library]
        return f"{self.key}-{digest}.{suffix}"


@dataclass(frozen=True)
class Model:
    """A trained model and rows to give it.

    Attributes
    ----------
    first_four
        Whether it is one of the four that the higher goals are about.
    nan_refused
        Why there is no figure for rows with missing values; empty where there is one.
    """

    recipe: Recipe
    path: Path
    first_four: bool
    nan_refused: str = ""

    @property
    def key(self) -> str:
        return self.recipe.key

    @property
    def title(self) -> str:
        return self.recipe.title

    @property
    def library(self) -> str:
        return self.recipe.library

    @property
    def n_features(self) -> int:
        return self.recipe.n_features

    @property
    def n_outputs(self) -> int:
        return self.recipe.n_classes if self.recipe.n_classes > 2 else 1

    @cached_property
    def estimator(self) -> Any:
        """The object of scikit-learn, from this benchmark's own cache."""
        return pickle.loads(self.path.read_bytes())  # noqa: S301  # written by `_sklearn` below, on this machine

    def load(self) -> forests.Forest:
        """The forest as this project reads it: from the file, or from the estimator where the library has no file format."""
        return forests.load(self.estimator if self.library == "scikit-learn" else self.path)

    def rows(self, n_rows: int, *, nan: bool) -> Array:
        """Rows that the training has not seen, float32, shape (n_rows, n_features)."""
        x, _ = _events(n_rows, self.n_features, self.recipe.n_classes, seed=2)
        return _with_nan(x, seed=3) if nan else x


def trained(cache: Path, *, quick: bool) -> list[Model]:
    """All models, the first four first; what is not in the cache is trained, which takes minutes the first time."""
    return [
        Model(recipe, trained_one(cache, recipe), first_four=index < 4, nan_refused=_NAN_REFUSED.get(recipe.library, ""))
        for index, recipe in enumerate(recipes(quick=quick))
    ]


def trained_one(cache: Path, recipe: Recipe) -> Path:
    """The file of one model."""
    folder = cache / "forests"
    folder.mkdir(parents=True, exist_ok=True)
    return _trained(folder, recipe)


def with_nan(cache: Path, model: Model) -> Model:
    """The model for rows with missing values: the same one, except where its library has to meet them in the training."""
    if model.library != "lightgbm":
        return model
    recipe = Recipe(**{**model.recipe.__dict__, "with_nan": True})
    return Model(recipe, trained_one(cache, recipe), model.first_four)


_NAN_REFUSED = {"scikit-learn": "GradientBoostingClassifier refuses NaN, and the histogram one has no exact splits"}


def recipes(*, quick: bool) -> list[Recipe]:
    """The recipes; quick ones have the same shapes and far fewer trees and rows."""

    def xgboost(n_trees: int, depth: int, eta: float, **others: Any) -> Recipe:
        n_trees = max(5, n_trees // 20) if quick else n_trees
        n_classes, n_features = others.get("n_classes", 2), others.get("n_features", 28)
        objective = {"objective": "multi:softprob", "num_class": n_classes} if n_classes > 2 else {"objective": "binary:logistic"}
        title = f"XGBoost, {f'{n_classes} classes × ' if n_classes > 2 else ''}{n_trees} trees of depth {depth}"
        title += f", {n_features} features" if n_features != 28 else ""
        key = f"xgboost-{n_trees}x{depth}" + (f"-{n_classes}-classes" if n_classes > 2 else "")
        key += f"-{n_features}-features" if n_features != 28 else ""
        parameters = {**objective, "max_depth": depth, "eta": eta, "tree_method": "hist"}
        return Recipe(key, title, "xgboost", parameters, n_trees, n_rows=10_000 if quick else 200_000, **others)

    lightgbm_trees, sklearn_trees = (25, 10) if quick else (500, 300)
    return [
        xgboost(100, 3, 0.2),
        xgboost(500, 6, 0.05),
        xgboost(1000, 8, 0.03),
        Recipe(
            f"lightgbm-{lightgbm_trees}x63",
            f"LightGBM, {lightgbm_trees} trees of 63 leaves",
            "lightgbm",
            {"objective": "binary", "num_leaves": 63, "learning_rate": 0.05, "verbosity": -1},
            lightgbm_trees,
            n_rows=10_000 if quick else 200_000,
        ),
        xgboost(200, 6, 0.1, n_classes=5),
        xgboost(500, 6, 0.05, n_features=300),
        Recipe(
            f"sklearn-{sklearn_trees}x6-exact",
            f"scikit-learn, {sklearn_trees} trees of depth 6 with exact splits",
            "scikit-learn",
            {"max_depth": 6, "learning_rate": 0.1, "random_state": 1},
            sklearn_trees,
            n_rows=5_000 if quick else 50_000,
        ),
    ]


def _events(n_rows: int, n_features: int, n_classes: int, seed: int) -> tuple[Array, Array]:
    """Physics-like features, float32, shape (n_rows, n_features): momenta, angles, masses; and labels."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_rows, n_features)).astype(np.float32)
    x[:, :8] = np.exp(0.6 * x[:, :8])
    x[:, 8:14] = 2 * np.arctan(x[:, 8:14])
    score = (
        np.log(x[:, 0]) * np.log(x[:, 1])
        + np.sin(2 * x[:, 8]) * x[:, 14]
        + 0.7 * x[:, 15] * x[:, 16]
        + 0.5 * np.cos(x[:, 9] + 2 * x[:, 10]) * x[:, 17]
        + 0.4 * (x[:, 18] ** 2 - 1)
        + 0.3 * x[:, 19] * np.abs(x[:, 20])
        - 0.2 * x[:, 22] * x[:, 23] * x[:, 24]
        + 0.15 * x[:, 25:28].sum(axis=1)
    )
    if n_features > 28:
        score = score + 0.1 * (x[:, 28:60] * x[:, 60:92]).sum(axis=1)
    score = score + 0.7 * rng.logistic(size=n_rows)
    if n_classes == 2:
        return x, (score > 0).astype(np.float32)
    return x, np.digitize(score, np.quantile(score, np.arange(1, n_classes) / n_classes)).astype(np.float32)


def _with_nan(x: Array, seed: int) -> Array:
    x = x.copy()
    x[np.random.default_rng(seed).random(x.shape) < NAN_SHARE] = np.nan
    return x


def _trained(folder: Path, recipe: Recipe) -> Path:
    path = folder / recipe.file_name
    if not path.exists():
        print(f"  training {recipe.title} ...", flush=True)
        x, y = _events(recipe.n_rows, recipe.n_features, recipe.n_classes, seed=1)
        part = path.with_name(f"part-{path.name}")
        _TRAINERS[recipe.library](recipe, _with_nan(x, seed=4) if recipe.with_nan else x, y, part)
        part.rename(path)
    return path


def _xgboost(recipe: Recipe, x: Array, y: Array, path: Path) -> None:
    import xgboost

    xgboost.train(dict(recipe.parameters), xgboost.DMatrix(x, y), recipe.n_trees).save_model(path)


def _lightgbm(recipe: Recipe, x: Array, y: Array, path: Path) -> None:
    import lightgbm

    lightgbm.train(dict(recipe.parameters), lightgbm.Dataset(x, y), recipe.n_trees).save_model(path)


def _sklearn(recipe: Recipe, x: Array, y: Array, path: Path) -> None:
    from sklearn.ensemble import GradientBoostingClassifier

    estimator = GradientBoostingClassifier(n_estimators=recipe.n_trees, **recipe.parameters).fit(x, y)
    path.write_bytes(pickle.dumps(estimator))


_TRAINERS: dict[str, Callable[[Recipe, Array, Array, Path], None]] = {
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "scikit-learn": _sklearn,
}


def library_margin(model: Model, x: Array) -> Array:
    """The margin of the library that trained the model: what every contender's answer is held against, (n_rows, n_outputs)."""
    if model.library == "xgboost":
        import xgboost

        margin = xgboost.Booster({"nthread": 1}, model_file=model.path).inplace_predict(x, predict_type="margin")
    elif model.library == "lightgbm":
        import lightgbm

        margin = lightgbm.Booster(model_file=model.path).predict(x, raw_score=True, num_threads=1)
    else:
        margin = model.estimator.decision_function(x)
    return np.asarray(margin).reshape(len(x), -1)
