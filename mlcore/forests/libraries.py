"""Oracles: what the source library itself computes for a model, or the plain NumPy reference where no library opens the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels import reference
from mlcore.errors import InputError
from mlcore.forests.frontends import HEAD_BYTES, saved
from mlcore.forests.ir import TreeModel

Rows = npt.NDArray[Any]


@dataclass(frozen=True)
class Oracle:
    """A model in its own library, on one thread.

    Attributes
    ----------
    library
        Name and version, for example ``"XGBoost 3.2.0"``, or `REFERENCE`.
    margin, predict
        From rows, shape (n_rows, n_features), to shapes (n_rows, n_outputs) and (n_rows, n_predictions).
    once
        One plain call of the library's fastest prediction, to be timed; None where there is no library.
    exact
        Whether the library rounds the margin of such rows as its plain sum in tree order: bool, shape (n_rows,).
    most_rows
        That it computes in a few seconds.
    """

    library: str
    margin: Callable[[Rows], Rows]
    predict: Callable[[Rows], Rows]
    once: Callable[[Rows], object] | None
    exact: Callable[[Rows], npt.NDArray[np.bool_]]
    most_rows: int = 1 << 30


REFERENCE = "the plain NumPy reference"
"""The name of `kernels.reference` as an oracle."""

_REFERENCE_STEPS = 1_000_000  # from the roots to the leaves, some microseconds each


def oracle(path: Path | object, model: TreeModel) -> Oracle:
    """The best oracle of a model: its own library for XGBoost's, LightGBM's and skops' files, for all others the reference.

    Parameters
    ----------
    path
        The file, or a model in the same process.
    model
        What the frontend read from it and the verifier passed.

    Raises
    ------
    InputError
        The library itself refuses the file.
    """
    if isinstance(path, Path) and path.is_file() and not _is_saved(path):
        match model.source.format:
            case "skops":
                from mlcore.forests.sklearn_library import sklearn_oracle

                return sklearn_oracle(path, model)
            case "xgboost-json" | "xgboost-ubj":
                return _xgboost(path, model)
            case "lightgbm-text":
                return _lightgbm(path, model)
    return _reference(model)


def _is_saved(path: Path) -> bool:
    """Whether it is of the project's own format, which keeps the name of the first one."""
    with path.open("rb") as file:
        return saved.matches(file.read(HEAD_BYTES))


def _reference(model: TreeModel) -> Oracle:
    tables = model.tables()
    steps = max(1, len(model.trees) * max(model.depth, 1))

    def predict(rows: Rows) -> Rows:
        return reference.forest_prediction(tables, rows).reshape(len(rows), -1)

    return Oracle(
        library=REFERENCE,
        margin=lambda rows: reference.forest_margin(tables, rows),
        predict=predict,
        once=None,
        exact=lambda rows: np.ones(len(rows), bool),
        most_rows=max(1, _REFERENCE_STEPS // steps),
    )


def _xgboost(path: Path, model: TreeModel) -> Oracle:
    import xgboost

    booster = xgboost.Booster({"nthread": 1})
    try:
        # The suffix decides how XGBoost reads a file, so bytes are given with their format.
        booster.load_model(bytearray(path.read_bytes()))
        booster.set_param({"nthread": 1})
    except xgboost.core.XGBoostError as error:
        raise InputError(f"XGBoost refuses the model: {_first_line(error)}", code="forest.refused") from None
    rounds = (0, model.n_rounds or 0)

    def run(rows: Rows, *, margin: bool) -> Rows:
        # Only inplace_predict takes infinities, only predict sums the trees of a dart booster without further rounding.
        kind = "margin" if margin else "value"
        inplace = np.asarray(booster.inplace_predict(rows, iteration_range=rounds, predict_type=kind, validate_features=False))
        out = inplace.reshape(len(rows), -1).copy()
        finite = _finite(rows)
        if finite.any():
            matrix = xgboost.DMatrix(rows[finite], nthread=1)
            through = booster.predict(matrix, output_margin=margin, iteration_range=rounds, validate_features=False)
            out[finite] = np.asarray(through).reshape(int(finite.sum()), -1)
        return out

    def exact(rows: Rows) -> npt.NDArray[np.bool_]:
        if model.source.booster == "dart":
            return _finite(rows)
        return np.ones(len(rows), bool)

    return Oracle(
        library=f"XGBoost {xgboost.__version__}",
        margin=lambda rows: run(rows, margin=True),
        predict=lambda rows: run(rows, margin=False),
        once=lambda rows: booster.inplace_predict(rows, iteration_range=rounds, validate_features=False),
        exact=exact,
    )


def _lightgbm(path: Path, model: TreeModel) -> Oracle:
    import lightgbm

    try:
        booster = lightgbm.Booster(model_str=path.read_text(encoding="utf-8"))
    except lightgbm.basic.LightGBMError as error:
        raise InputError(f"LightGBM refuses the model: {_first_line(error)}", code="forest.refused") from None

    def run(rows: Rows, *, margin: bool) -> Rows:
        out = booster.predict(rows, raw_score=margin, num_threads=1)
        return np.asarray(out, np.float64).reshape(len(rows), -1)

    return Oracle(
        library=f"LightGBM {lightgbm.__version__}",
        margin=lambda rows: run(rows, margin=True),
        predict=lambda rows: run(rows, margin=False),
        once=lambda rows: booster.predict(rows, num_threads=1),
        exact=lambda rows: np.ones(len(rows), bool),
    )


def _finite(rows: Rows) -> npt.NDArray[np.bool_]:
    """Which rows hold no infinity once they are float32."""
    with np.errstate(over="ignore"):
        infinite = np.isinf(rows.astype(np.float32))
    return np.logical_not(infinite.any(axis=1))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300]
