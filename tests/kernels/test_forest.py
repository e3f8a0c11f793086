"""The scalar forest predictor against its NumPy oracle, bit for bit."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kernels
from kernels import reference

SPECIAL = [0.0, -0.0, 1.0, -1.0, 2.5, 1e-38, -1e-38, 1e-35, -1e-35, np.finfo(np.float32).max, np.finfo(np.float32).tiny]
INPUTS = [*SPECIAL, np.nan, np.inf, -np.inf, 1e-45, -0.5, 31.0, 32.0, 63.5, 1e9, -3.0]


def table(rows: list[dict[str, Any]], **changes: Any) -> kernels.ForestTables:
    """Tables of one tree from a list of nodes."""
    n = len(rows)
    words = [row.get("words", []) for row in rows]
    tables = kernels.ForestTables(
        n_features=2,
        n_outputs=1,
        threshold_dtype="float32",
        sum_dtype="float32",
        zero_threshold=1e-35,
        tree_start=np.array([0, n], np.int64),
        tree_output=np.zeros(1, np.int32),
        feature=np.array([row.get("feature", -1) for row in rows], np.int32),
        threshold=np.array([row.get("threshold", 0.0) for row in rows]),
        left=np.array([row.get("left", -1) for row in rows], np.int32),
        right=np.array([row.get("right", -1) for row in rows], np.int32),
        comparison=np.array([row.get("comparison", 0) for row in rows], np.uint8),
        missing=np.array([row.get("missing", 2) for row in rows], np.uint8),
        default_left=np.array([row.get("default_left", 0) for row in rows], np.uint8),
        value=np.array([row.get("value", 0.0) for row in rows]),
        category_start=np.cumsum([0, *map(len, words)], dtype=np.int64),
        category_words=np.array([word for node in words for word in node], np.uint32),
        base=np.zeros(1),
    )
    return dataclasses.replace(tables, **changes)


STUMP = [{"feature": 1, "threshold": 0.5, "left": 1, "right": 2}, {"value": -1.0}, {"value": 2.0}]


@st.composite
def random_tables(draw: st.DrawFn) -> kernels.ForestTables:
    """Random trees with every comparison, kind of missing value and pair of precisions."""
    threshold_dtype = draw(st.sampled_from(["float32", "float64"]))
    sum_dtype = draw(st.sampled_from(["float32", "float64"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    comparisons = draw(st.sampled_from([[0], [1], [0, 1, 2, 3]]))
    missings = draw(st.sampled_from([[2], [0, 2], [0, 1, 2]]))
    n_features, n_outputs, n_trees = (int(rng.integers(1, 5)), int(rng.integers(1, 4)), int(rng.integers(1, 6)))
    starts, nodes = [0], []
    for _ in range(n_trees):
        n_inner = int(rng.integers(0, 12))
        tree = [{"value": float(rng.normal())}]
        for _ in range(n_inner):  # split a random leaf
            leaf = int(rng.choice([i for i, node in enumerate(tree) if "feature" not in node]))
            threshold = rng.choice(SPECIAL) if rng.random() < 0.5 else rng.normal()
            tree[leaf] = {
                "feature": int(rng.integers(n_features)),
                "threshold": float(np.dtype(threshold_dtype).type(threshold)),
                "left": len(tree),
                "right": len(tree) + 1,
                "comparison": int(rng.choice(comparisons)),
                "missing": int(rng.choice(missings)),
                "default_left": int(rng.integers(2)),
            }
            if tree[leaf]["comparison"] >= 2:
                tree[leaf]["words"] = rng.integers(0, 2**32, int(rng.integers(1, 3))).tolist()
            tree += [{"value": float(np.dtype(sum_dtype).type(rng.normal()))} for _ in range(2)]
        nodes += tree
        starts.append(len(nodes))
    return table(
        nodes,
        n_features=n_features,
        n_outputs=n_outputs,
        threshold_dtype=threshold_dtype,
        sum_dtype=sum_dtype,
        tree_start=np.array(starts, np.int64),
        tree_output=rng.integers(0, n_outputs, n_trees).astype(np.int32),
        value=np.array([float(np.dtype(sum_dtype).type(node.get("value", 0.0))) for node in nodes]),
        base=rng.normal(size=n_outputs).astype(sum_dtype).astype(np.float64),
    )


def random_inputs(tables: kernels.ForestTables, seed: int, dtype: str, n_rows: int = 40) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    shape = (n_rows, tables.n_features)
    thresholds = tables.threshold.astype(dtype)
    with np.errstate(over="ignore", under="ignore"):
        pool = np.concatenate(
            [np.array(INPUTS, dtype), thresholds, np.nextafter(thresholds, np.inf), np.nextafter(thresholds, -np.inf)]
        )
    return np.where(rng.random(shape) < 0.8, rng.choice(pool, shape), rng.normal(size=shape).astype(dtype)).astype(dtype)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(random_tables(), st.integers(0, 2**32), st.sampled_from(["float32", "float64"]))
def test_kernel_equals_the_oracle(tables: kernels.ForestTables, seed: int, dtype: str) -> None:
    forest = kernels.scalar_forest(tables)
    x = random_inputs(tables, seed, dtype)
    np.testing.assert_array_equal(forest.leaves(x), reference.forest_leaves(tables, x))
    margin, expected = forest.margin(x), reference.forest_margin(tables, x)
    assert margin.dtype == expected.dtype
    assert margin.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_layout_and_thread_count_give_the_same_bits(dtype: str) -> None:
    tables = table(STUMP)
    x = random_inputs(tables, 1, dtype, n_rows=1000)
    forest = kernels.scalar_forest(tables)
    expected = reference.forest_margin(tables, x)
    wide = np.repeat(np.repeat(x, 2, axis=0), 3, axis=1)
    for variant in (x, np.asfortranarray(x), wide[::2, ::3], x[::-1][::-1]):
        for threads in (1, 2, 5):
            np.testing.assert_array_equal(forest.margin(variant, threads=threads), expected)
    assert forest.margin(x[:0]).shape == (0, 1)


def test_nan_reads_as_zero_where_nothing_is_missing() -> None:
    nan = np.full((1, 2), np.nan, np.float32)
    stump = kernels.scalar_forest(table([{**STUMP[0], "missing": 0, "default_left": 0}, *STUMP[1:]]))
    assert stump.margin(nan)[0, 0] == -1.0  # 0 < 0.5
    listed = {**STUMP[0], "missing": 0, "comparison": 2, "words": [1]}
    assert kernels.scalar_forest(table([listed, *STUMP[1:]])).margin(nan)[0, 0] == -1.0  # category 0 is listed


BAD_TABLES = {
    "cycle": ([{**STUMP[0], "left": 0}, *STUMP[1:]], {}, "reached twice"),
    "shared child": ([{**STUMP[0], "right": 1}, *STUMP[1:]], {}, "reached twice"),
    "unreachable": ([*STUMP, {"value": 1.0}], {}, "cannot be reached"),
    "child beyond the tree": ([{**STUMP[0], "right": 3}, *STUMP[1:]], {}, "child is out of range"),
    "negative child": ([{**STUMP[0], "right": -7}, *STUMP[1:]], {}, "child is out of range"),
    "feature": ([{**STUMP[0], "feature": 2}, *STUMP[1:]], {}, "feature is out of range"),
    "NaN threshold": ([{**STUMP[0], "threshold": np.nan}, *STUMP[1:]], {}, "not a number"),
    "comparison": ([{**STUMP[0], "comparison": 9}, *STUMP[1:]], {}, "unknown comparison"),
    "missing": ([{**STUMP[0], "missing": 9}, *STUMP[1:]], {}, "unknown kind of missing"),
    "output": (STUMP, {"tree_output": np.array([1], np.int32)}, "output is out of range"),
    "empty tree": (STUMP, {"tree_start": np.array([0, 0, 3]), "tree_output": np.zeros(2, np.int32)}, "no node"),
    "short": (STUMP, {"value": np.zeros(2)}, "same length"),
    "start": (STUMP, {"tree_start": np.array([0, 2])}, "run from 0"),
    "base": (STUMP, {"base": np.zeros(2)}, "n_outputs entries"),
    "categories": (STUMP, {"category_start": np.array([0, 0, 0, 1])}, "category"),
    "dtype": (STUMP, {"sum_dtype": "float16"}, "precision"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_tables_are_refused(case: str) -> None:
    rows, changes, message = BAD_TABLES[case]
    with pytest.raises(ValueError, match=message):
        kernels.scalar_forest(table(rows, **changes))


def test_wrong_width_and_type_are_refused() -> None:
    forest = kernels.scalar_forest(table(STUMP))
    with pytest.raises(ValueError, match="3 columns, the forest needs 2"):
        forest.margin(np.zeros((4, 3), np.float32))
    with pytest.raises(TypeError):
        forest.margin(np.zeros((4, 2), np.int64))  # type: ignore[call-overload]


def test_log_float32_is_close_to_the_exact_logarithm() -> None:
    for x in (0.5, 1.0, 3.0, 1e-30, 1e30):
        assert kernels.log_float32(x) == pytest.approx(np.log(x), rel=2e-7, abs=1e-7)
