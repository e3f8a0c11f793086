"""Rows one by one, on every CPU target, against the NumPy oracle, bit for bit."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kernels
from kernels import reference

Array = np.ndarray[Any, Any]
SINGLE_SPANS_AT = 424  # in the plan's header: twelve pairs of an offset and a count
SPECIAL = [0.0, -0.0, np.nan, np.inf, -np.inf, 1e-36, -1e-36, 1e-45, 3e38]


@dataclass(frozen=True)
class Case:
    """How a forest is grown, and by which engine its single events are evaluated where bytes are looked up."""

    engine: str
    depth: int = 30
    splits: int = 10_000
    chain: bool = False
    n_trees: int = 11
    n_features: int = 5
    n_thresholds: int = 20
    n_outputs: int = 1
    threshold_dtype: str = "float32"
    sum_dtype: str = "float32"
    comparisons: tuple[int, ...] = (0, 1)
    missing: tuple[int, ...] = (2,)
    keep: float = 1.0
    vector_leaves: bool = False
    special_thresholds: tuple[float, ...] = ()


DOUBLE: dict[str, Any] = {"threshold_dtype": "float64", "sum_dtype": "float64"}
CASES = {
    "leaves alone": Case("packs", depth=0),
    "stumps": Case("packs", depth=1, n_trees=8),
    "two levels": Case("packs", depth=2, n_trees=9),
    "three levels": Case("packs", depth=3, n_trees=30, keep=0.9),
    "three levels, doubles": Case("packs", depth=3, n_trees=17, **DOUBLE),
    "four levels": Case("packs", depth=4),
    "five levels, classes": Case("packs", depth=5, n_outputs=3, n_trees=20, keep=0.9),
    "six levels": Case("packs", depth=6, keep=0.95),
    "six levels, doubles": Case("packs", depth=6, missing=(0, 1, 2), **DOUBLE),
    "eight levels": Case("packs", depth=8, keep=0.97),
    "nine levels, doubles": Case("packs", depth=9, n_trees=4, **DOUBLE),
    "one threshold each": Case("packs", depth=4, n_thresholds=1),
    "full lines of thresholds": Case("packs", depth=8, n_features=2, n_thresholds=32),
    "255 thresholds": Case("packs", depth=8, n_trees=30, n_features=2, n_thresholds=255),
    "several searches a feature": Case("packs", depth=8, n_trees=30, n_features=3, n_thresholds=900),
    "special thresholds": Case(
        "packs", depth=5, n_trees=40, comparisons=(0,), special_thresholds=(0.0, -0.0, np.inf, -np.inf, 1e-45)
    ),
    "all kinds of missing values": Case("packs", depth=5, n_trees=20, missing=(0, 1, 2)),
    "up to 64 columns": Case("packs", depth=5, n_trees=30, n_features=32),
    "up to 128 columns": Case("packs", depth=5, n_trees=30, n_features=60),
    "more columns": Case("lanes", depth=5, n_trees=30, n_features=100, missing=(0, 1, 2)),
    "lanes, six levels": Case("lanes", depth=6, n_trees=77, n_features=140, keep=0.9),
    "lanes, three levels": Case("lanes", depth=3, n_trees=64, n_features=140, n_thresholds=3),
    "lanes, one tree": Case("lanes", depth=9, n_trees=1, n_features=200),
    "lanes, classes": Case("lanes", depth=5, n_trees=110, n_outputs=5, n_features=120, missing=(0, 1, 2)),
    "lanes, outputs without trees": Case("lanes", depth=7, n_trees=9, n_outputs=40, n_features=150),
    "lanes, doubles": Case("lanes", depth=6, n_trees=40, n_features=130, n_outputs=2, missing=(0, 1, 2), **DOUBLE),
    "lanes, double sums of float thresholds": Case("lanes", depth=5, n_trees=33, n_features=130, sum_dtype="float64"),
    "lanes, float sums of double thresholds": Case("lanes", depth=5, n_trees=32, n_features=130, threshold_dtype="float64"),
    "lanes, special thresholds": Case(
        "lanes", depth=5, n_trees=40, n_features=130, special_thresholds=(0.0, -0.0, np.inf, -np.inf, 1e-45, 1e-35, -1e-35)
    ),
    "lanes, many features": Case("lanes", depth=5, n_trees=40, n_features=4200),
    "lanes, ten levels": Case("lanes", depth=10, n_trees=20, n_features=5),
    "words": Case("words", splits=62),
    "words, doubles": Case("words", splits=62, comparisons=(1,), **DOUBLE),
    "words, double sums of float thresholds": Case("words", splits=40, sum_dtype="float64", keep=0.9),
    "words, float sums of double thresholds": Case("words", splits=64, threshold_dtype="float64", missing=(0, 1, 2)),
    "words, chains": Case("words", depth=64, splits=64, chain=True),
    "words, classes": Case("words", splits=50, n_outputs=4, n_trees=18),
    "words, up to 128 columns": Case("words", splits=60, n_features=50, n_trees=40),
    "large trees": Case("walk", splits=300),
    "large trees, doubles": Case("walk", splits=300, n_outputs=2, missing=(0, 1, 2), **DOUBLE),
    "categories": Case("walk", depth=5, comparisons=(0, 2, 3), missing=(0, 2)),
    "vector leaves": Case("planes", depth=5, n_outputs=3, vector_leaves=True),
    "many lopsided trees of many columns": Case("walk", depth=40, splits=60, chain=True, n_trees=77, n_features=120),
    "many large trees": Case("walk", splits=300, n_trees=45, n_outputs=2, comparisons=(0, 1), missing=(0, 1, 2)),
    "many trees with categories": Case("walk", depth=6, n_trees=33, comparisons=(0, 1, 2, 3), missing=(0, 2)),
    "many trees of vector leaves": Case("planes", depth=5, n_trees=16, n_outputs=3, vector_leaves=True, sum_dtype="float64"),
    "at or below infinity": Case("packs", depth=4, n_trees=30, comparisons=(1,), special_thresholds=(np.inf,)),
}


def grown(case: Case, seed: int) -> kernels.ForestTables:
    """A random forest of the case's shape."""
    rng = np.random.default_rng(seed)
    pool = rng.normal(size=(case.n_features, case.n_thresholds)).astype(case.threshold_dtype).astype(np.float64)
    missing = rng.choice(case.missing, case.n_features)  # a feature's nodes agree about it
    names = ("feature", "threshold", "left", "right", "comparison", "missing", "default_left")
    columns: dict[str, list[Any]] = {name: [] for name in names}
    words: list[list[int]] = []
    starts = [0]
    for _ in range(case.n_trees):
        nodes: list[list[Any]] = [[-1, 0.0, -1, -1, 0, 0, 0]]
        tree_words: list[list[int]] = [[]]
        leaves, splits = [(0, 0)], 0
        while leaves and splits < case.splits:
            node, depth = leaves.pop(-1 if case.chain else int(rng.integers(len(leaves))))
            if depth == case.depth or (depth > 0 and rng.random() > case.keep):
                continue
            feature = int(rng.integers(case.n_features))
            threshold = float(rng.choice(pool[feature]))
            if case.special_thresholds and rng.random() < 0.3:
                threshold = float(np.dtype(case.threshold_dtype).type(rng.choice(case.special_thresholds)))
            comparison = int(rng.choice(case.comparisons))
            nodes[node] = [
                feature,
                threshold,
                len(nodes),
                len(nodes) + 1,
                comparison,
                int(missing[feature]),
                int(rng.integers(2)),
            ]
            tree_words[node] = rng.integers(0, 2**32, 2).tolist() if comparison >= 2 else []
            leaves += [(len(nodes) + i, depth + 1) for i in (rng.permutation(2) if not case.chain else range(2))]
            nodes += [[-1, 0.0, -1, -1, 0, 0, 0] for _ in range(2)]
            tree_words += [[], []]
            splits += 1
        for name, column in zip(names, zip(*nodes, strict=True), strict=True):
            columns[name] += column
        words += tree_words
        starts.append(starts[-1] + len(nodes))
    width = case.n_outputs if case.vector_leaves else 1
    outputs = rng.integers(0, case.n_outputs, case.n_trees)
    return kernels.ForestTables(
        n_features=case.n_features,
        n_outputs=case.n_outputs,
        threshold_dtype=case.threshold_dtype,  # type: ignore[arg-type]
        sum_dtype=case.sum_dtype,  # type: ignore[arg-type]
        zero_threshold=1e-35,
        tree_start=np.array(starts, np.int64),
        tree_output=np.where(case.vector_leaves, 0, outputs).astype(np.int32),
        feature=np.array(columns["feature"], np.int32),
        threshold=np.array(columns["threshold"], np.float64),
        left=np.array(columns["left"], np.int32),
        right=np.array(columns["right"], np.int32),
        comparison=np.array(columns["comparison"], np.uint8),
        missing=np.array(columns["missing"], np.uint8),
        default_left=np.array(columns["default_left"], np.uint8),
        value=rng.normal(size=starts[-1] * width).astype(case.sum_dtype).astype(np.float64),
        category_start=np.cumsum([0, *map(len, words)], dtype=np.int64),
        category_words=np.array([word for node in words for word in node], np.uint32),
        base=rng.normal(size=case.n_outputs).astype(case.sum_dtype).astype(np.float64),
        vector_leaves=case.vector_leaves,
    )


def rows_near_cuts(tables: kernels.ForestTables, seed: int, dtype: str, n_rows: int) -> Array:
    """Rows of thresholds and their neighbours, special numbers and some others; every third without a missing value."""
    rng = np.random.default_rng(seed)
    inner = tables.feature >= 0
    thresholds = tables.threshold[inner].astype(dtype) if inner.any() else np.zeros(1, dtype)
    near = np.concatenate(
        [thresholds, np.nextafter(thresholds, dtype_of(dtype, np.inf)), np.nextafter(thresholds, dtype_of(dtype, -np.inf))]
    )
    with np.errstate(over="ignore"):
        special = np.array(SPECIAL).astype(dtype)
    shape = (n_rows, tables.n_features)
    kind = rng.random(shape)
    x = np.where(kind < 0.6, rng.choice(near, shape), rng.normal(size=shape).astype(dtype))
    x = np.where(kind > 0.85, rng.choice(special, shape), x).astype(dtype)
    x[::3] = np.nan_to_num(x[::3], nan=0.5, posinf=2.0, neginf=-2.0)
    return x


def dtype_of(name: str, value: float) -> Any:
    return np.dtype(name).type(value)


@cache
def prepared(name: str, dtype: str) -> tuple[kernels.ForestTables, Array, Array]:
    tables = grown(CASES[name], 3)
    x = rows_near_cuts(tables, 5, dtype, 45)
    return tables, x, reference.forest_margin(tables, x)


def one_by_one(forest: kernels.NativeForest, x: Array) -> Array:
    return np.concatenate([forest.margin(row[np.newaxis]) for row in x]).reshape(len(x), -1)


@pytest.fixture(params=kernels.available_targets())
def target(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("KERNELS_FORCE_TARGET", request.param)
    return str(request.param)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_rows_one_by_one_equal_the_oracle(target: str, name: str, dtype: str) -> None:
    tables, x, expected = prepared(name, dtype)
    forest = kernels.build_forest(tables)
    engine = forest.engines()["single"]
    case = CASES[name]
    wanted = [case.engine]
    if target == "portable" or (target == "avx2" and case.engine == "lanes"):
        wanted = ["planes", "walk"]
    many = case.n_trees >= 16 and case.threshold_dtype == "float32"
    if target == "avx512" and many and case.engine in ("planes", "walk"):
        wanted = ["gathers"]
    assert any(engine.startswith(f"{each}, {target}") for each in wanted), engine
    assert one_by_one(forest, x).tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", ["six levels", "words, doubles", "large trees", "five levels, classes", "lanes, classes"])
def test_a_plan_kept_gives_the_same_bits(target: str, name: str) -> None:
    tables, x, expected = prepared(name, "float32")
    forest = kernels.forest_from_plan(aligned(kernels.build_forest(tables).plan()))
    assert one_by_one(forest, x).tobytes() == expected.tobytes()


def test_rows_that_do_not_lie_together(target: str) -> None:
    tables, x, expected = prepared("six levels", "float32")
    forest = kernels.build_forest(tables)
    wide = np.repeat(x, 2, axis=1)[:, ::2]
    for start in range(0, len(x), 5):
        assert forest.margin(wide[start : start + 5]).tobytes() == expected[start : start + 5, 0].tobytes()
        assert forest.margin(x[start : start + 5][::-1]).tobytes() == expected[start : start + 5, 0][::-1].tobytes()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32),
    depth=st.integers(0, 12),
    splits=st.integers(0, 70),
    chain=st.booleans(),
    keep=st.floats(0.5, 1),
    n_trees=st.integers(1, 20),
    n_features=st.one_of(st.integers(1, 40), st.integers(129, 200)),
    n_thresholds=st.sampled_from([1, 15, 16, 17, 300]),
    n_outputs=st.integers(1, 3),
    dtypes=st.tuples(*[st.sampled_from(["float32", "float64"])] * 3),
    missing=st.sampled_from([(0,), (1,), (2,), (0, 1, 2)]),
)
def test_random_forests_equal_the_oracle(target: str, seed: int, dtypes: tuple[str, str, str], **options: Any) -> None:
    case = Case("", threshold_dtype=dtypes[0], sum_dtype=dtypes[1], **options)
    tables = grown(case, seed)
    x = rows_near_cuts(tables, seed, dtypes[2], 9)
    assert one_by_one(kernels.build_forest(tables), x).tobytes() == reference.forest_margin(tables, x).tobytes()


@pytest.mark.parametrize("link", [kernels.Link.SIGMOID, kernels.Link.SOFTMAX, kernels.Link.ARGMAX])
def test_a_row_alone_is_predicted_as_in_a_batch(target: str, link: kernels.Link) -> None:
    tables = replace(grown(Case("", depth=5, n_outputs=20, n_trees=60), 1), link=link, divisor=3.0)
    x = rows_near_cuts(tables, 2, "float32", 30)
    forest = kernels.build_forest(tables)
    batch = forest.predict(x)
    alone = np.concatenate([forest.predict(row[np.newaxis]) for row in x])
    assert alone.tobytes() == batch.tobytes()


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_damaged_sections_are_refused_or_run(data: st.DataObject) -> None:
    """What passes the check may predict nonsense, but never reads outside the plan."""
    name = data.draw(st.sampled_from(["three levels", "six levels", "eight levels", "words", "words, chains", "lanes, doubles"]))
    tables, x, _ = prepared(name, "float32")
    plan = bytearray(kernels.build_forest(tables).plan())
    spans = [struct.unpack_from("<QQ", plan, SINGLE_SPANS_AT + 16 * i) for i in range(12)]
    sections = [(offset, count) for offset, count in spans if count]
    assert sections[0][1] == 1, "the header's layout has changed: correct SINGLE_SPANS_AT"
    for _ in range(data.draw(st.integers(1, 4))):
        first, count = data.draw(st.sampled_from([(SINGLE_SPANS_AT, 192), *sections]))
        place = first + data.draw(st.integers(0, max(count, 64) - 1))
        plan[min(place, len(plan) - 1)] = data.draw(st.integers(0, 255))
    try:
        forest = kernels.forest_from_plan(aligned(bytes(plan)))
    except ValueError as error:
        assert "the plan is damaged" in str(error)  # noqa: PT017
        return
    one_by_one(forest, x[:10])


def aligned(data: bytes) -> memoryview:
    memory = np.zeros(len(data) + 64, np.uint8)
    start = -memory.ctypes.data % 64
    memory[start : start + len(data)] = np.frombuffer(data, np.uint8)
    return memoryview(memory[start : start + len(data)])
