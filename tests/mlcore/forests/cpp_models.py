"""Random forests for the tests of generated C++."""

from __future__ import annotations

import numpy as np

from kernels import Comparison, Missing
from mlcore.forests.ir import FloatName, Link, Source, Tree, TreeModel

SPECIAL = [0.0, -0.0, 1e-36, -1e-36, np.inf, -np.inf, 1e-45, 3e38]


def random_tree(
    rng: np.random.Generator,
    *,
    n_splits: int,
    n_features: int,
    comparisons: list[Comparison],
    missings: list[Missing],
    precision: tuple[FloatName, FloatName],
    special: bool = True,
    chain: bool = False,
    output: int = 0,
    width: int = 0,
) -> Tree:
    """A tree of this many splits; a `chain` splits its newest leaf each time, `width` numbers a leaf make it a vector."""
    left, right, feature = [-1], [-1], [-1]
    for _ in range(n_splits):
        leaves = [i for i, value in enumerate(feature) if value < 0]
        leaf = leaves[-1] if chain else int(rng.choice(leaves))
        feature[leaf], left[leaf], right[leaf] = int(rng.integers(n_features)), len(feature), len(feature) + 1
        feature += [-1, -1]
        left += [-1, -1]
        right += [-1, -1]
    n = len(feature)
    comparison = rng.choice([int(kind) for kind in comparisons], n).astype(np.uint8)
    threshold = rng.normal(size=n)
    if special:
        threshold = np.where(rng.random(n) < 0.2, rng.choice(SPECIAL, n), threshold)
    listed = {i: tuple(np.flatnonzero(rng.random(70) < 0.3).tolist()) for i in range(n) if comparison[i] >= 2}
    return Tree(
        output=output,
        feature=np.array(feature, np.int32),
        threshold=threshold.astype(precision[0]),
        left=np.array(left, np.int32),
        right=np.array(right, np.int32),
        comparison=comparison,
        missing=rng.choice([int(kind) for kind in missings], n).astype(np.uint8),
        default_left=rng.random(n) < 0.5,
        value=rng.normal(size=(n, width) if width else n).astype(precision[1]),
        categories={i: listed[i] for i in listed if feature[i] >= 0},
    )


def model_of(
    trees: list[Tree],
    rng: np.random.Generator,
    *,
    n_features: int,
    n_outputs: int,
    precision: tuple[FloatName, FloatName],
    link: Link = Link.IDENTITY,
) -> TreeModel:
    """Trees as a model with a base, a divisor and a scaled link."""
    return TreeModel(
        source=Source("random", "xgboost", "0", str(link), "none"),
        n_features=n_features,
        n_outputs=n_outputs,
        feature_names=(),
        trees=tuple(trees),
        base=rng.normal(size=n_outputs).astype(precision[1]),
        threshold_dtype=precision[0],
        sum_dtype=precision[1],
        link=link,
        link_scale=1.5 if link is Link.SIGMOID else 1.0,
        divisor=float(rng.integers(1, 4)),
        zero_threshold=1e-35,
    )


def random_model(seed: int, *, link: Link, precision: tuple[FloatName, FloatName], n_outputs: int = 1) -> TreeModel:
    """Random trees over five features; every third seed mixes all comparisons and kinds of missing value."""
    rng = np.random.default_rng(seed)
    comparisons = [list(Comparison), [Comparison.LESS], [Comparison.LESS_EQUAL]][seed % 3]
    missings = [list(Missing), [Missing.NAN], [Missing.NAN, Missing.NONE]][seed % 3]
    trees = [
        random_tree(
            rng, n_splits=int(rng.integers(0, 25)), n_features=5, comparisons=comparisons, missings=missings,
            precision=precision, output=number % n_outputs,
        )
        for number in range(int(rng.integers(1, 30)))
    ]  # fmt: skip
    return model_of(trees, rng, n_features=5, n_outputs=n_outputs, precision=precision, link=link)


def shaped_models() -> dict[str, TreeModel]:
    """Forests that each take another way through the engines."""
    single: tuple[FloatName, FloatName] = ("float32", "float32")
    double: tuple[FloatName, FloatName] = ("float64", "float64")
    less, nan = [Comparison.LESS], [Missing.NAN]
    rng = np.random.default_rng(5)

    def forest(
        n_trees: int, n_splits: int, n_features: int, precision: tuple[FloatName, FloatName], link: Link, n_outputs: int = 1,
        comparisons: list[Comparison] = less, missings: list[Missing] = nan, width: int = 0, chain: bool = False,
    ) -> TreeModel:  # fmt: skip
        trees = [
            random_tree(
                rng, n_splits=n_splits, n_features=n_features, comparisons=comparisons, missings=missings, precision=precision,
                special=False, chain=chain, output=0 if width else i % n_outputs, width=width,
            )
            for i in range(n_trees)
        ]  # fmt: skip
        return model_of(trees, rng, n_features=n_features, n_outputs=n_outputs, precision=precision, link=link)

    return {
        "small": forest(20, 6, 5, single, Link.SIGMOID),
        "classes": forest(63, 15, 9, double, Link.SOFTMAX, n_outputs=3, comparisons=[Comparison.LESS_EQUAL]),
        "zeros": forest(30, 30, 6, double, Link.SIGMOID_PAIR, missings=[Missing.ZERO]),
        "vectors": forest(25, 20, 7, ("float32", "float64"), Link.SIGMOID, n_outputs=3, width=3),
        "categories": forest(40, 12, 4, single, Link.EXP, comparisons=[Comparison.IN_SET]),
        "deep": forest(4, 60, 6, single, Link.IDENTITY, chain=True),
        "cuts": forest(40, 63, 2, single, Link.STEP),
        "wide": forest(90, 7, 150, single, Link.LOG1P_EXP),
        "wide_classes": forest(50, 15, 140, double, Link.SOFTMAX, n_outputs=3, missings=[Missing.ZERO]),
    }


def perfect_model(rng: np.random.Generator, *, n_trees: int, depth: int, n_features: int, n_cuts: int) -> TreeModel:
    """Trees whose leaves are all at one depth, over a grid of thresholds."""
    n = 2 ** (depth + 1) - 1
    inner = np.arange(n) < 2**depth - 1
    left = np.where(inner, 2 * np.arange(n) + 1, -1).astype(np.int32)
    grid = rng.normal(size=n_cuts).astype(np.float32)
    trees = [
        Tree(
            output=0,
            feature=np.where(inner, rng.integers(0, n_features, n), -1).astype(np.int32),
            threshold=rng.choice(grid, n),
            left=left,
            right=np.where(inner, left + 1, -1).astype(np.int32),
            comparison=np.full(n, Comparison.LESS, np.uint8),
            missing=np.full(n, Missing.NAN, np.uint8),
            default_left=rng.random(n) < 0.5,
            value=rng.normal(size=n).astype(np.float32),
            categories={},
        )
        for _ in range(n_trees)
    ]
    return model_of(trees, rng, n_features=n_features, n_outputs=1, precision=("float32", "float32"))
