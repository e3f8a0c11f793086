"""What a forest looks like from inside: which features it uses and how, its thresholds, its trees, its leaves.

Public names: `analyse` gives an `Analysis`, all in NumPy over the flat arrays of the tree IR, without walking through single
nodes. Files of models hold no training data, so nothing here says what a feature is worth on events; the two measures of
importance are counted and computed from the trees alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.forests.ir import Comparison, TreeModel, Trees

LARGEST = 1e300  # of what a histogram shows, so that widths are finite

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FeatureUse:
    """How the forest uses its features; every array has the shape (n_features,).

    Attributes
    ----------
    splits
        Nodes that ask for the feature: what XGBoost calls "weight" and LightGBM "split".
    trees
        Trees that ask for it at least once.
    spread
        The variance of the trees' outputs that its splits cause when every split sends half of the rows to each side:
        for a node at depth ``d`` whose subtrees have the means ``a`` and ``b``, ``2**-d * (a - b)**2 / 4``. Over all nodes
        of a tree these add up to the variance of its leaves' values, each leaf weighted with ``2**-depth``. It needs no data,
        and it is not the gain of the training. Several outputs are added up.
    spread_share
        `spread` as fractions of the whole; zeros where all leaves are alike.
    thresholds
        Distinct numeric thresholds.
    """

    splits: Ints
    trees: Ints
    spread: Floats
    spread_share: Floats
    thresholds: Ints

    @property
    def split_share(self) -> Floats:
        """`splits` as fractions of all splits; zeros where there are none."""
        return _share(self.splits.astype(np.float64))


@dataclass(frozen=True, eq=False)
class TreeShapes:
    """The trees one by one; every array has the shape (n_trees,).

    Attributes
    ----------
    output
        The output that the tree adds to; 0 where leaves are vectors.
    depth, nodes, leaves
        Splits on the longest way, nodes in all, leaves among them.
    lowest, highest
        Of the leaves' values.
    mean_depth
        Mean number of splits before a leaf, each leaf counted once.
    """

    output: Ints
    depth: Ints
    nodes: Ints
    leaves: Ints
    lowest: Floats
    highest: Floats
    mean_depth: Floats


@dataclass(frozen=True, eq=False)
class Analysis:
    """The whole of it.

    Attributes
    ----------
    features, trees
        As above.
    leaf_depths
        int64, shape (depth + 1,): leaves at each depth.
    leaf_values
        float64, all leaves' values in the order of the nodes; vectors one number after the other.
    thresholds
        For each feature that has any: the numeric thresholds of all its splits, ascending, repeated as often as they occur.
    categorical_splits, missing_splits
        Splits by a set of categories, and splits that send missing values their own way.
    """

    features: FeatureUse
    trees: TreeShapes
    leaf_depths: Ints
    leaf_values: Floats
    thresholds: dict[int, Floats]
    categorical_splits: int
    missing_splits: int


def analyse(model: TreeModel) -> Analysis:
    """Look at a verified forest.

    Parameters
    ----------
    model
        The tree IR, as `mlcore.forests.load` gives it in ``forest.model``.

    Returns
    -------
    Analysis
        Of all trees together and one by one.
    """
    trees = model.trees
    inner = np.flatnonzero(~trees.is_leaf)
    leaf = np.flatnonzero(trees.is_leaf)
    root = trees.start[trees.tree_of_node[inner]]
    left, right = root + trees.left[inner], root + trees.right[inner]
    depth = _depths(trees)
    thresholds = _thresholds(trees)
    feature = trees.feature[inner].astype(np.int64)
    values = trees.value[leaf].astype(np.float64)
    # In units of the largest value, whose square may be too large for a float64, or too small.
    unit = float(np.abs(values).max(initial=0.0)) or 1.0
    parts = _spread(trees, unit, inner, left, right, depth)
    spread: Floats = np.bincount(feature, weights=parts, minlength=model.n_features).astype(np.float64)
    pairs = np.unique(trees.tree_of_node[inner].astype(np.int64) * model.n_features + feature)
    use = FeatureUse(
        splits=np.bincount(feature, minlength=model.n_features),
        trees=np.bincount(pairs % model.n_features, minlength=model.n_features),
        spread=_scaled(spread, unit),
        spread_share=_share(spread),
        thresholds=_distinct(thresholds, model.n_features),
    )
    return Analysis(
        features=use,
        trees=_shapes(trees, leaf, depth, values),
        leaf_depths=np.bincount(depth[leaf]),
        leaf_values=values.ravel(),
        thresholds=thresholds,
        categorical_splits=int(np.count_nonzero(trees.comparison[inner] >= Comparison.IN_SET)),
        missing_splits=int(np.count_nonzero(trees.missing[inner])),
    )


def histogram(values: npt.ArrayLike, most_bins: int = 40) -> tuple[Floats, Ints, int]:
    """Edges and counts of a histogram that a few far values do not flatten, and how many values are left out.

    The range is that of the values, unless the middle 98 % of them fill less than a quarter of it (a feature whose missing
    values are written as -999 has such a threshold): then it is that of the middle, and what lies outside is counted.
    """
    found = np.asarray(values, np.float64).ravel()
    found = found[np.isfinite(found)]
    n_values = len(found)
    found = found[np.abs(found) < LARGEST]
    if not len(found):
        return np.array([0.0, 1.0]), np.zeros(1, np.int64), n_values
    low, high = float(found.min()), float(found.max())
    inner_low, inner_high = (float(edge) for edge in np.quantile(found, [0.01, 0.99]))
    if inner_high > inner_low and inner_high - inner_low < (high - low) / 4:
        low, high = inner_low, inner_high
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        half = max(abs(low) * 1e-3, 1e-12)  # all alike
        low, high = low - half, high + half
    inside = found[(found >= low) & (found <= high)]
    bins = int(np.clip(2 * np.sqrt(len(inside)), 8, most_bins))
    counts, edges = np.histogram(inside, bins, (low, high))
    return edges, counts.astype(np.int64), n_values - len(inside)


def _scaled(spread: Floats, unit: float) -> Floats:
    with np.errstate(over="ignore"):  # of values near the largest number
        return spread * unit * unit


def _share(values: Floats) -> Floats:
    total = values.sum()
    return values / total if total > 0 else np.zeros_like(values)


def _depths(trees: Trees) -> Ints:
    """The number of splits above each node, level by level through all trees at once."""
    depth = np.zeros(trees.n_nodes, np.int64)
    level, reached = trees.start[:-1], 0
    while len(level):
        depth[level] = reached
        inner = level[trees.feature[level] >= 0]
        root = trees.start[trees.tree_of_node[inner]]
        level = np.concatenate([root + trees.left[inner], root + trees.right[inner]])
        reached += 1
    return depth


def _spread(trees: Trees, unit: float, inner: Ints, left: Ints, right: Ints, depth: Ints) -> Floats:
    """What each split adds to the variance of its tree, in units squared, in the order of ``inner``; see `FeatureUse.spread`."""
    mean = trees.value.astype(np.float64) / unit
    mean[inner] = 0
    gap = np.zeros((len(inner), *mean.shape[1:]))
    # From the lowest splits up, so that both children's means are known.
    order = np.argsort(-depth[inner], kind="stable")
    edges = np.flatnonzero(np.diff(depth[inner][order])) + 1
    for chosen in np.split(order, edges):
        a, b = mean[left[chosen]], mean[right[chosen]]
        gap[chosen] = a - b
        mean[inner[chosen]] = (a + b) / 2
    added = gap**2 / 4
    weighted: Floats = np.ldexp(added.sum(axis=1) if added.ndim == 2 else added, -depth[inner].clip(max=1100))
    return weighted


def _thresholds(trees: Trees) -> dict[int, Floats]:
    numeric = np.flatnonzero(~trees.is_leaf & (trees.comparison <= Comparison.LESS_EQUAL))
    feature, threshold = trees.feature[numeric], trees.threshold[numeric].astype(np.float64)
    order = np.lexsort((threshold, feature))
    found, first = np.unique(feature[order], return_index=True)
    return dict(zip(found.tolist(), np.split(threshold[order], first[1:]), strict=False))


def _distinct(thresholds: dict[int, Floats], n_features: int) -> Ints:
    counts = np.zeros(n_features, np.int64)
    for feature, values in thresholds.items():
        counts[feature] = 1 + np.count_nonzero(values[1:] != values[:-1])
    return counts


def _shapes(trees: Trees, leaf: Ints, depth: Ints, values: npt.NDArray[Any]) -> TreeShapes:
    of_leaf = trees.tree_of_node[leaf]
    # Leaves lie in the order of their trees, so each tree's are one run.
    first = np.searchsorted(of_leaf, np.arange(len(trees)))
    lowest = values.min(axis=1) if values.ndim == 2 else values
    highest = values.max(axis=1) if values.ndim == 2 else values
    leaves = np.bincount(of_leaf, minlength=len(trees))
    empty = np.empty(0)
    return TreeShapes(
        output=trees.output.astype(np.int64),
        depth=trees.depths.astype(np.int64),
        nodes=np.diff(trees.start).astype(np.int64),
        leaves=leaves,
        lowest=np.minimum.reduceat(lowest, first) if len(trees) else empty,
        highest=np.maximum.reduceat(highest, first) if len(trees) else empty,
        mean_depth=np.bincount(of_leaf, weights=depth[leaf], minlength=len(trees)) / np.maximum(leaves, 1),
    )
