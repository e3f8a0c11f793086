"""Inputs that try a forest where it may go wrong: at its thresholds, beside them, and at the edges of the number line."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.forests.ir import Comparison, FloatName, TreeModel

SPECIAL_SHARE = 0.04
NEAR_SHARE = 0.75
WIDEST = float(np.finfo(np.float64).max) / 4


def probes(model: TreeModel, *, dtype: FloatName, n_rows: int, seed: int = 0) -> npt.NDArray[Any]:
    """Random rows for a forest.

    Every threshold of every feature is met exactly, one unit in the last place below and one above, as far as
    ``n_rows`` reaches; among them are numbers from the range of the thresholds, NaN, infinities, zeros of both signs,
    subnormal and largest numbers, and, for categorical features, categories inside and outside of the listed ones.

    Returns
    -------
    ndarray
        `dtype`, shape (n_rows, n_features).
    """
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    limits = np.finfo(kind)
    special = np.array(
        [np.nan, np.inf, -np.inf, 0.0, -0.0, limits.smallest_subnormal, -limits.tiny, limits.max, limits.min, 1e-35, -1e-36], kind
    )
    thresholds, categories = model.thresholds(), _categories(model)
    rows = np.empty((n_rows, model.n_features), kind)
    for feature in range(model.n_features):
        near = _near(thresholds.get(feature, np.zeros(1)), kind)
        column = _cycled(near, n_rows, rng)
        # Beside an infinite threshold lies the largest number, of which a multiple would overflow.
        spread = np.clip(np.append(near[np.isfinite(near)].astype(np.float64), 0.0), -WIDEST, WIDEST)
        low, high = float(np.quantile(spread, 0.02)), float(np.quantile(spread, 0.98))
        width = min(max(high - low, abs(high), 1e-3), WIDEST)
        away = rng.random(n_rows) > NEAR_SHARE
        with np.errstate(over="ignore"):
            column[away] = rng.uniform(low - 0.2 * width, high + 0.2 * width, int(away.sum())).astype(kind)
        if feature in categories:
            largest = max(categories[feature], default=0)
            pool = np.array([*categories[feature], *range(-1, largest + 3), -0.5, 0.5, largest + 0.5, 1e10], kind)
            column = np.where(rng.random(n_rows) < 0.9, _cycled(pool, n_rows, rng), column)
        odd = rng.random(n_rows) < SPECIAL_SHARE
        column[odd] = rng.choice(special, int(odd.sum()))
        rows[:, feature] = column
    # Real events often miss whole groups of features; some rows here miss most of them.
    sparse = rng.random(n_rows) < 0.05
    rows[sparse] = np.where(rng.random(rows[sparse].shape) < 0.6, kind.type(np.nan), rows[sparse])
    rows[:1] = np.nan
    return rows


def _near(thresholds: npt.NDArray[Any], kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """Each threshold and its two neighbours, in the thresholds' precision and in that of the rows."""
    with np.errstate(over="ignore", under="ignore"):
        below, above = np.nextafter(thresholds, -np.inf), np.nextafter(thresholds, np.inf)
        exact = np.concatenate([thresholds, below, above]).astype(kind)
        if kind.itemsize <= thresholds.dtype.itemsize:
            rounded = thresholds.astype(kind)
            exact = np.concatenate([exact, np.nextafter(rounded, kind.type(-np.inf)), np.nextafter(rounded, kind.type(np.inf))])
    return np.unique(exact)


def _cycled(values: npt.NDArray[Any], n_rows: int, rng: np.random.Generator) -> npt.NDArray[Any]:
    """All values in random order, again and again."""
    repeats = -(-n_rows // len(values))
    return np.concatenate([rng.permutation(values) for _ in range(repeats)])[:n_rows]


def _categories(model: TreeModel) -> dict[int, set[int]]:
    """Some listed categories of each categorical feature."""
    found: dict[int, set[int]] = {}
    for tree in model.trees:
        for node in np.flatnonzero((tree.feature >= 0) & (tree.comparison >= Comparison.IN_SET)).tolist():
            known = found.setdefault(int(tree.feature[node]), set())
            if len(known) < 4096:
                known.update(tree.categories.get(node, ())[:256])
    return found
