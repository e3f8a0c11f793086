"""Statistics against NumPy's, whatever the threads, modes and blocks are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mlcore.batches import BatchLoader, Sample, SkippedRowsWarning, Statistics, filling, measuring
from mlcore.batches.statistics import SHARES, Binning, quantiles_of
from mlcore.errors import InputError
from tests.mlcore.batches.damaged_files import damage, write

ROWS = 30_000


def tables() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    signal = rng.random(ROWS) < 0.3
    x = rng.normal(size=ROWS) + signal
    odd = rng.exponential(size=ROWS)
    odd[::7] = np.nan
    odd[5::1000] = np.inf
    odd[6::3000] = -np.inf
    return {
        "x": x,
        "far": 1e8 + rng.normal(size=ROWS) + x,
        "odd": odd,
        "n": rng.poisson(3, ROWS).astype(np.int32),
        "same": np.full(ROWS, 0.1),
        "pair": np.stack([x, -x], 1) + rng.normal(size=(ROWS, 2)),
        "label": signal.astype(np.int32),
        "w": rng.random(ROWS) * 2,
        "row": np.arange(ROWS),
    }


TABLES = tables()
FEATURES = ["x", "far", "odd", "n", "same", "pair"]


def check(found: Statistics, chosen: np.ndarray, weighted: bool) -> None:
    """Against NumPy, of the rows that are chosen."""
    assert found.rows == chosen.sum()
    matrix = np.column_stack([TABLES[name].astype(np.float64) for name in FEATURES])[chosen]
    weights = TABLES["w"][chosen] if weighted else np.ones(chosen.sum())
    assert found.feature_names == ("x", "far", "odd", "n", "same", "pair[0]", "pair[1]")
    for column, values in zip(found.columns, matrix.T, strict=False):
        good = np.isfinite(values)
        assert (column.count, column.missing) == (good.sum(), np.isnan(values).sum())
        assert column.infinite == np.isinf(values).sum()
        values, given = values[good], weights[good]
        assert (column.minimum, column.maximum) == (values.min(), values.max())
        mean = np.average(values, weights=given)
        deviation = np.sqrt(np.average((values - mean) ** 2, weights=given))
        np.testing.assert_allclose(column.mean, mean, rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(column.standard_deviation, deviation, rtol=1e-7, atol=1e-9)
        counts, _ = np.histogram(values, column.edges, weights=given)
        np.testing.assert_allclose(column.counts, counts, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(column.below, given[values < column.edges[0]].sum(), rtol=1e-9)
        np.testing.assert_allclose(column.above, given[values > column.edges[-1]].sum(), rtol=1e-9)
        assert found.sample_rows == found.rows
        if not weighted:  # each row's middle is at (k - 1/2) / n
            expected = np.quantile(values, SHARES, method="hazen")
            np.testing.assert_allclose(list(column.quantiles.values()), expected, rtol=1e-12, atol=1e-12)
    for i, a in enumerate(matrix.T):
        for j, b in enumerate(matrix.T):
            good = np.isfinite(a) & np.isfinite(b)
            covariance = np.cov(a[good], b[good], aweights=weights[good])
            expected = (
                covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
                if "same" not in (FEATURES[min(i, 5)], FEATURES[min(j, 5)])
                else np.nan
            )
            np.testing.assert_allclose(found.correlation[i, j], expected, rtol=1e-6, atol=1e-7)


def loader(**more: Any) -> BatchLoader:
    return BatchLoader(TABLES, FEATURES, dtype="float64", target="label", weight="w", **more)


@settings(max_examples=10, deadline=None)
@given(weighted=st.booleans(), threads=st.integers(1, 3), cut=st.sampled_from([None, "x > 0.5", "row > 29000"]))
def test_columns_and_correlations(weighted: bool, threads: int, cut: str | None) -> None:
    chosen = {None: TABLES["row"] >= 0, "x > 0.5": TABLES["x"] > 0.5, "row > 29000": TABLES["row"] > 29000}[cut]
    found = loader(threads=threads, filter=cut).statistics(weighted=weighted)
    check(found, chosen, weighted)
    assert found.class_column == "label"
    assert [entry.value for entry in found.classes] == [0, 1]
    for entry in found.classes:
        of_class = chosen & (TABLES["label"] == entry.value)
        assert entry.rows == of_class.sum()
        np.testing.assert_allclose(
            entry.columns[0].mean, np.average(TABLES["x"][of_class], weights=TABLES["w"][of_class] if weighted else None)
        )
        counts, _ = np.histogram(
            TABLES["x"][of_class], found.columns[0].edges, weights=TABLES["w"][of_class] if weighted else None
        )
        np.testing.assert_allclose(entry.columns[0].counts, counts, rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(entry.columns[0].edges, found.columns[0].edges)


def test_threads_change_no_digit() -> None:
    texts = {loader(threads=threads).statistics().to_json() for threads in (1, 2, 3)}
    assert len(texts) == 1


def test_many_blocks_and_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several tasks, and quantiles of fewer rows than there are: within six standard errors, whatever the threads."""
    monkeypatch.setattr(filling, "TASK_ROWS", 5000)
    monkeypatch.setattr(measuring, "SAMPLE_ROWS", 4000)
    some = [loader(threads=threads).statistics() for threads in (1, 3)]
    assert some[0].to_json() == some[1].to_json()
    assert some[0].sample_rows == 4000
    column = some[0].columns[0]
    values = np.sort(TABLES["x"])
    for share, value in column.quantiles.items():
        error = np.sqrt(share * (1 - share) / 4000)
        assert abs(np.searchsorted(values, value) / ROWS - share) < 6 * error
    np.testing.assert_allclose(column.mean, TABLES["x"].mean(), rtol=1e-12)


def test_of_files_samples_and_splits(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    arrays = {name: rng.normal(loc, size=5000).astype(np.float32) for name, loc in (("a", 0), ("b", 2))}
    for name, values in arrays.items():
        with uproot.recreate(tmp_path / f"{name}.root") as file:
            file["t"] = {"v": values}
    samples = [Sample(tmp_path / "a.root", label=0, name="first"), Sample(tmp_path / "b.root", label=1, weight=3, name="second")]
    whole = BatchLoader(samples, ["v"])
    found = whole.statistics(weighted=True)
    assert [(entry.name, entry.rows, entry.weight) for entry in found.classes] == [
        ("first", 5000, 5000),
        ("second", 5000, 15_000),
    ]
    for entry, values in zip(found.classes, arrays.values(), strict=True):
        np.testing.assert_allclose(entry.columns[0].mean, values.astype(np.float64).mean())
    assert [column.role for column in found.columns] == ["feature", "target", "weight"]
    parts = [part.statistics() for part in whole.split(a=0.5, b=0.5).values()]
    assert sum(part.rows for part in parts) == 10_000
    together = sum(part.columns[0].mean * part.rows for part in parts) / 10_000
    np.testing.assert_allclose(together, whole.statistics().columns[0].mean)


def test_texts() -> None:
    found = loader().statistics()
    data = json.loads(found.to_json())
    assert data["rows"] == ROWS
    assert data["columns"][0]["quantiles"]["0.5"] == found.columns[0].quantiles[0.5]
    assert data["correlation"][0][4] is None
    assert len(data["classes"]) == 2
    lines = found.table().splitlines()
    assert lines[0] == f"{ROWS} rows"
    assert lines[1].split() == [
        "column",
        "finite",
        "missing",
        "infinite",
        "mean",
        "deviation",
        "least",
        "5%",
        "50%",
        "95%",
        "most",
    ]
    assert lines[2].split()[:2] == ["x", str(ROWS)]
    assert len({len(line) for line in lines[1:10]}) == 1
    assert "label = 1:" in found.table()


def test_a_target_of_many_values_makes_no_classes() -> None:
    found = BatchLoader(TABLES, ["n"], target="x").statistics()
    assert (found.class_column, found.classes) == ("", ())
    # Also where some thousand rows do not tell yet.
    late = np.where(np.arange(300_000) % 101 == 50, np.arange(300_000), 0)
    values = BatchLoader({"v": np.arange(300_000.0), "y": late}, ["v"], target="y", threads=2).statistics()
    assert (values.rows, values.class_column) == (300_000, "")
    np.testing.assert_allclose(values.columns[0].mean, 299_999 / 2)
    one = BatchLoader({"v": np.arange(4.0), "y": [0, np.nan, 1, np.nan]}, ["v"], target="y").statistics()
    assert [entry.rows for entry in one.classes] == [1, 1, 2]
    assert np.isnan(one.classes[-1].value)


def test_nothing_there() -> None:
    found = loader(filter="x > 1000").statistics()
    assert found.rows == 0
    assert all(np.isnan(column.mean) and column.count == 0 and not column.counts.any() for column in found.columns)
    json.loads(found.to_json())
    empty = BatchLoader({"v": np.full(10, np.nan)}, ["v"]).statistics().columns[0]
    assert (empty.count, empty.missing) == (0, 10)
    assert np.isnan([empty.mean, empty.minimum, empty.standard_deviation, empty.quantiles[0.5]]).all()


@given(
    values=st.lists(st.floats(-1e300, 1e300) | st.integers(-20, 20).map(float), min_size=1, max_size=50),
    pilot=st.lists(st.floats(-1e3, 1e3) | st.integers(-20, 20).map(float), max_size=50),
    bins=st.integers(1, 12),
)
def test_bins(values: list[float], pilot: list[float], bins: int) -> None:
    """Every value has one place, which NumPy finds as well."""
    binning = Binning.of(np.array(pilot)[:, None].reshape(-1, 1), bins)
    edges = binning.edges[0, : binning.bins[0] + 1]
    assert (np.diff(edges) > 0).all()
    values = [*values, *edges, *np.nextafter(edges, -np.inf), *np.nextafter(edges, np.inf)]
    places = binning.places(np.array(values)[:, None])[:, 0]
    counts, _ = np.histogram(values, edges)
    np.testing.assert_array_equal(np.bincount(places, minlength=len(edges) + 1)[1 : len(edges)], counts)
    np.testing.assert_array_equal(places == 0, np.array(values) < edges[0])
    np.testing.assert_array_equal(places == len(edges), np.array(values) > edges[-1])


def test_weights_of_quantiles_are_repetitions() -> None:
    """A row of weight 3 is about three rows: both are near the normal distribution's."""
    rng = np.random.default_rng(3)
    values, weights = rng.normal(size=(20_000, 1)), rng.integers(0, 4, 20_000).astype(np.float64)
    repeated = quantiles_of(np.repeat(values, weights.astype(int), axis=0), None)
    np.testing.assert_allclose(quantiles_of(values, weights), repeated, atol=1e-3)
    np.testing.assert_allclose(repeated[0], stats.norm.ppf(SHARES), atol=0.1)


def test_damage_is_left_out(tmp_path: Path) -> None:
    arrays = {"row": np.arange(60_000, dtype=np.int32), "f0": np.random.default_rng(1).normal(size=60_000).astype(np.float32)}
    path = write(tmp_path / "t.root", "tree", arrays)
    start, stop = damage(path, "f0", 20_000)
    with pytest.warns(SkippedRowsWarning):
        found = BatchLoader(path, ["row", "f0"], on_error="skip").statistics()
    kept = np.setdiff1d(arrays["row"], np.arange(start, stop))
    assert found.rows == len(kept)
    np.testing.assert_allclose(found.columns[0].mean, kept.mean())


def test_what_is_asked_wrongly_is_said() -> None:
    with pytest.raises(InputError, match="no weights"):
        BatchLoader(TABLES, ["x"]).statistics(weighted=True)
    with pytest.raises(InputError, match="0 bins"):
        BatchLoader(TABLES, ["x"]).statistics(bins=0)
