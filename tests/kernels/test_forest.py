"""Every engine of every CPU target against the NumPy oracle, bit for bit."""

from __future__ import annotations

import dataclasses
from functools import cache
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
    with np.errstate(over="ignore", under="ignore"):
        thresholds = tables.threshold.astype(dtype)
        pool = np.concatenate(
            [np.array(INPUTS, dtype), thresholds, np.nextafter(thresholds, np.inf), np.nextafter(thresholds, -np.inf)]
        )
    return np.where(rng.random(shape) < 0.8, rng.choice(pool, shape), rng.normal(size=shape).astype(dtype)).astype(dtype)


TARGETS = kernels.available_targets()


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("KERNELS_FORCE_TARGET", request.param)
    return str(request.param)


Expected = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


def oracle(tables: kernels.ForestTables, x: np.ndarray[Any, Any]) -> Expected:
    return reference.forest_leaves(tables, x), reference.forest_margin(tables, x)


def check(tables: kernels.ForestTables, x: np.ndarray[Any, Any], answers: Expected) -> kernels.NativeForest:
    """Hold margins and leaves of the active target against the oracle's, for all rows and for a few of them."""
    forest = kernels.build_forest(tables)
    leaves, expected = answers
    np.testing.assert_array_equal(forest.leaves(x), leaves)
    expected = expected[:, 0] if tables.n_outputs == 1 else expected
    for n_rows in (len(x), min(len(x), 70), 3, 1):
        margin = forest.margin(x[:n_rows])
        assert margin.dtype == expected.dtype
        assert margin.tobytes() == expected[:n_rows].tobytes()
    return forest


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(tables=random_tables(), seed=st.integers(0, 2**32), dtype=st.sampled_from(["float32", "float64"]))
def test_kernel_equals_the_oracle(target: str, tables: kernels.ForestTables, seed: int, dtype: str) -> None:
    x = random_inputs(tables, seed, dtype)
    check(tables, x, oracle(tables, x))


def grown_tables(seed: int, shape: str, **options: Any) -> kernels.ForestTables:
    """Larger forests of one kind of comparison: `shape` is how deep and how lopsided the trees are."""
    rng = np.random.default_rng(seed)
    n_inner, lopsided, n_trees = {
        "stumps": (1, False, 9),
        "shallow": (7, False, 40),
        "usual": (50, False, 20),
        "lopsided": (62, True, 12),
        "large": (150, False, 8),
        "deep": (700, False, 3),
        "beyond": (4200, False, 1),
    }[shape]
    n_features = options.get("n_features", 6)
    threshold_dtype, sum_dtype = options.get("threshold_dtype", "float32"), options.get("sum_dtype", "float32")
    n_thresholds = options.get("n_thresholds", 40)
    vector_leaves, n_outputs = options.get("vector_leaves", False), options.get("n_outputs", 1)
    pool = rng.normal(size=(n_features, n_thresholds)).astype(threshold_dtype).astype(np.float64)
    if options.get("infinite"):
        pool[:, :3] = [np.inf, -np.inf, np.finfo(threshold_dtype).max]
    missing = rng.choice(options.get("missing", [2]), n_features)
    nodes: list[dict[str, Any]] = []
    starts = [0]
    for _ in range(n_trees):
        tree: list[dict[str, Any]] = [{}]
        leaves = [0]
        for _ in range(n_inner):
            leaf = leaves.pop(-1 if lopsided and rng.random() < 0.8 else int(rng.integers(len(leaves))))
            feature = int(rng.integers(n_features))
            tree[leaf] = {
                "feature": feature,
                "threshold": float(rng.choice(pool[feature])),
                "left": len(tree),
                "right": len(tree) + 1,
                "comparison": options.get("comparison", 0),
                "missing": int(missing[feature]),
                "default_left": int(rng.integers(2)),
            }
            leaves += [len(tree), len(tree) + 1]
            tree += [{}, {}]
        nodes += tree
        starts.append(len(nodes))
    width = n_outputs if vector_leaves else 1
    return table(
        nodes,
        n_features=n_features,
        n_outputs=n_outputs,
        threshold_dtype=threshold_dtype,
        sum_dtype=sum_dtype,
        tree_start=np.array(starts, np.int64),
        tree_output=np.zeros(n_trees, np.int32) if vector_leaves else rng.integers(0, n_outputs, n_trees).astype(np.int32),
        value=rng.normal(size=len(nodes) * width).astype(sum_dtype).astype(np.float64),
        base=rng.normal(size=n_outputs).astype(sum_dtype).astype(np.float64),
        vector_leaves=vector_leaves,
    )


GROWN = {
    "stumps": ("stumps", {}),
    "shallow": ("shallow", {}),
    "shallow double": ("shallow", {"sum_dtype": "float64"}),
    "usual": ("usual", {}),
    "usual double": ("usual", {"threshold_dtype": "float64", "sum_dtype": "float64", "comparison": 1}),
    "zero is missing": ("usual", {"threshold_dtype": "float64", "sum_dtype": "float64", "comparison": 1, "missing": [0, 1, 2]}),
    "infinite": ("usual", {"infinite": True, "n_thresholds": 7, "comparison": 1, "missing": [0, 2]}),
    "infinite double": ("lopsided", {"infinite": True, "threshold_dtype": "float64", "sum_dtype": "float64", "comparison": 1}),
    "infinite, less": ("usual", {"infinite": True, "n_thresholds": 8}),
    "lopsided": ("lopsided", {}),
    "lopsided double": ("lopsided", {"threshold_dtype": "float64", "sum_dtype": "float64"}),
    "large": ("large", {}),
    "large double": ("large", {"sum_dtype": "float64"}),
    "deep": ("deep", {}),
    "deep double": ("deep", {"sum_dtype": "float64", "n_outputs": 2, "vector_leaves": True}),
    "beyond 4096 leaves": ("beyond", {}),
    "many thresholds": ("usual", {"n_thresholds": 100_000, "n_features": 2}),
    "many features": ("usual", {"n_features": 300}),
    "classes": ("usual", {"n_outputs": 5}),
    "vector leaves": ("usual", {"n_outputs": 4, "vector_leaves": True}),
    "vector leaves double": ("lopsided", {"n_outputs": 3, "vector_leaves": True, "sum_dtype": "float64"}),
}


@cache
def grown(case: str, dtype: str) -> tuple[kernels.ForestTables, np.ndarray[Any, Any], Expected]:
    """A forest, rows enough for a wide block and a rest, and the oracle's answers."""
    shape, options = GROWN[case]
    tables = grown_tables(7, shape, **options)
    x = random_inputs(tables, 3, dtype, n_rows=590)
    return tables, x, oracle(tables, x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", GROWN)
def test_forests_of_every_shape(target: str, case: str, dtype: str) -> None:
    tables, x, answers = grown(case, dtype)
    forest = check(tables, x, answers)
    engine = next(iter(forest.engines().values()))
    assert target in engine
    assert ("walk" in engine) == (case == "beyond 4096 leaves"), engine


def test_a_plan_runs_where_it_lies(target: str) -> None:
    tables = grown_tables(1, "lopsided", threshold_dtype="float64", sum_dtype="float64")
    plan = kernels.build_forest(tables).plan()
    x = random_inputs(tables, 3, "float32", n_rows=200)
    kept = kernels.forest_from_plan(aligned(plan))
    assert kept.margin(x).tobytes() == kernels.build_forest(tables).margin(x).tobytes()
    assert kept.plan() == plan


def aligned(data: bytes) -> memoryview:
    memory = np.zeros(len(data) + 64, np.uint8)
    start = -memory.ctypes.data % 64
    memory[start : start + len(data)] = np.frombuffer(data, np.uint8)
    return memoryview(memory[start : start + len(data)])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_plans_are_refused_or_run(data: st.DataObject) -> None:
    """A plan that passes the check may predict nonsense, but never reads or writes outside."""
    tables = grown_tables(1, data.draw(st.sampled_from(["shallow", "lopsided"])), missing=[2])
    plan = bytearray(kernels.build_forest(tables).plan())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.one_of(st.integers(0, 900), st.integers(0, len(plan) - 1)))
        plan[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        plan = plan[: data.draw(st.integers(0, len(plan)))]
    try:
        forest = kernels.forest_from_plan(aligned(bytes(plan)))
    except ValueError:
        return
    x = random_inputs(tables, 3, "float32", n_rows=100)
    if forest.n_features == tables.n_features and forest.n_outputs < 1000:
        forest.predict(x)
        forest.leaves(x)


def test_a_plan_of_another_version_is_refused_by_its_number() -> None:
    plan = bytearray(kernels.build_forest(grown_tables(1, "shallow", missing=[2])).plan())
    version = int.from_bytes(plan[8:12], "little")
    for other in (1, version + 1):
        plan[8:12] = other.to_bytes(4, "little")
        with pytest.raises(ValueError, match=f"the plan has version {other}, this program reads version {version}"):
            kernels.forest_from_plan(aligned(bytes(plan)))


def test_a_target_that_cannot_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNELS_FORCE_TARGET", "pentium")
    with pytest.raises(ValueError, match=r"'pentium'; this CPU can run .*portable"):
        kernels.build_forest(table(STUMP))
    with pytest.raises(ValueError, match="pentium"):
        kernels.active_target()


def test_the_best_target_is_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KERNELS_FORCE_TARGET", raising=False)
    assert kernels.active_target() == TARGETS[0]
    assert TARGETS[-1] == "portable"


@pytest.mark.parametrize("link", kernels.Link)
@pytest.mark.parametrize("sum_dtype", ["float32", "float64"])
def test_links(link: kernels.Link, sum_dtype: str) -> None:
    """Within a few last bits, which `exp` of NumPy and of the C library differ by."""
    n_outputs = 1 if link.name.endswith("PAIR") else 3
    tables = grown_tables(5, "shallow", n_outputs=n_outputs, sum_dtype=sum_dtype)
    tables = dataclasses.replace(tables, link=link, link_scale=0.5, divisor=3.0)
    x = random_inputs(tables, 3, "float32", n_rows=700)
    expected = reference.forest_prediction(tables, x)
    expected = expected[:, 0] if expected.shape[1] == 1 else expected
    predicted = kernels.build_forest(tables).predict(x)
    assert predicted.shape == expected.shape
    np.testing.assert_allclose(predicted, expected, rtol=8 * np.finfo(sum_dtype).eps, atol=4 * np.finfo(sum_dtype).eps)


def test_results_go_where_the_caller_says() -> None:
    forest = kernels.build_forest(table(STUMP))
    x = np.zeros((20, 2), np.float32)
    out = np.empty(20, np.float32)
    assert forest.margin(x, out) is out
    np.testing.assert_array_equal(out, np.full(20, -1.0))
    frozen = np.empty(20, np.float32)
    frozen.flags.writeable = False
    for wrong in (
        np.empty(19, np.float32),
        np.empty(20),
        np.empty((20, 1), np.float32),
        np.empty(40, np.float32)[::2],
        frozen,
        [0.0],
    ):
        with pytest.raises((TypeError, ValueError, BufferError)):
            forest.margin(x, wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_layout_and_thread_count_give_the_same_bits(target: str, dtype: str) -> None:
    tables = grown_tables(2, "usual")
    x = random_inputs(tables, 1, dtype, n_rows=1500)
    forest = kernels.build_forest(tables)
    expected = reference.forest_margin(tables, x)[:, 0]
    wide = np.repeat(np.repeat(x, 2, axis=0), 3, axis=1)
    for variant in (x, np.asfortranarray(x), wide[::2, ::3], x[::-1][::-1]):
        for threads in (1, 2, 5):
            np.testing.assert_array_equal(forest.margin(variant, threads=threads), expected)
    np.testing.assert_array_equal(forest.margin(x[::-1]), expected[::-1])
    assert forest.margin(x[:0]).shape == (0,)


def test_nan_reads_as_zero_where_nothing_is_missing() -> None:
    nan = np.full((1, 2), np.nan, np.float32)
    stump = kernels.build_forest(table([{**STUMP[0], "missing": 0, "default_left": 0}, *STUMP[1:]]))
    assert stump.margin(nan)[0] == -1.0  # 0 < 0.5
    listed = {**STUMP[0], "missing": 0, "comparison": 2, "words": [1]}
    assert kernels.build_forest(table([listed, *STUMP[1:]])).margin(nan)[0] == -1.0  # category 0 is listed


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
    "short": (STUMP, {"value": np.zeros(2)}, "a number for each node"),
    "start": (STUMP, {"tree_start": np.array([0, 2])}, "run from 0"),
    "base": (STUMP, {"base": np.zeros(2)}, "n_outputs entries"),
    "categories": (STUMP, {"category_start": np.array([0, 0, 0, 1])}, "category"),
    "dtype": (STUMP, {"sum_dtype": "float16"}, "precision"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_tables_are_refused(case: str) -> None:
    rows, changes, message = BAD_TABLES[case]
    with pytest.raises(ValueError, match=message):
        kernels.build_forest(table(rows, **changes))


def test_wrong_width_and_type_are_refused() -> None:
    forest = kernels.build_forest(table(STUMP))
    with pytest.raises(ValueError, match="3 columns, the forest needs 2"):
        forest.margin(np.zeros((4, 3), np.float32))
    with pytest.raises(TypeError):
        forest.margin(np.zeros((4, 2), np.int64))
    with pytest.raises(TypeError):
        forest.margin(np.zeros(2, np.float32))


def test_log_float32_is_close_to_the_exact_logarithm() -> None:
    for x in (0.5, 1.0, 3.0, 1e-30, 1e30):
        assert kernels.log_float32(x) == pytest.approx(np.log(x), rel=2e-7, abs=1e-7)
