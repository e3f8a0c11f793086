"""ROOT files: trees, RNTuples, branches and histograms, from files written here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from mlcore.errors import DataError, InputError
from mlcore.inspection import Inspection, Table, histogram, inspect

N = 1000


def write_tree(out: Any, name: str, content: dict[str, Any]) -> None:
    """A TTree: a plain assignment may write an RNTuple."""
    types = {
        key: values.type.content if isinstance(values, ak.Array) else np.dtype((values.dtype, values.shape[1:]))
        for key, values in content.items()
    }
    out.mktree(name, types)
    out[name].extend(content)


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    rng = np.random.default_rng(5)
    counts = rng.poisson(2.0, N)
    jets = ak.unflatten(rng.exponential(30.0, counts.sum()).astype(np.float32), counts)
    return {
        "mass": rng.normal(91.2, 2.5, N),
        "charge": rng.choice(np.array([-1, 1], np.int32), N),
        "run": rng.integers(10**6, 10**6 + 5000, N),
        "trigger": rng.random(N) < 0.3,
        "jet_pt": jets,
        "nasty": np.where(np.arange(N) % 10 == 0, np.nan, np.arange(N, dtype=float)),
    }


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]) -> Path:
    # A colon in the name is nothing special in a file system, and is to uproot.
    path = tmp_path_factory.mktemp("root") / "zee:2024.root"
    with uproot.recreate(path, compression=uproot.ZLIB(4)) as out:
        write_tree(out, "events", {name: values[: N // 2] for name, values in content.items()})
        out["events"].extend({name: values[N // 2 :] for name, values in content.items()})
        write_tree(out, "deep/er/tree", {"x": np.arange(3)})
        out["hist"] = np.histogram(content["mass"], 20)
        out["label"] = "hello"
        out.mkrntuple("ntuple", {"energy": content["mass"], "hits": content["jet_pt"]})
        write_tree(out, "vectors", {"v": np.arange(12.0).reshape(4, 3), "flat": np.full(4, 7)})
        out.mktree("empty", {"x": np.dtype("f8")})
    return path


@pytest.fixture(scope="module")
def inspection(file: Path) -> Inspection:
    return inspect(file)


def tree_table(inspection: Inspection, name: str) -> Table:
    return next(table for table in inspection.tables if table.of.partition(";")[0] == name)


def test_facts(inspection: Inspection) -> None:
    facts = dict(inspection.facts)
    assert facts["Compression"] == "ZLIB(4)"
    assert facts["Trees"] == 4
    assert facts["RNTuples"] == 1
    assert "TH1D" in str(facts["Classes"])


def test_branches(inspection: Inspection, content: dict[str, Any]) -> None:
    table = tree_table(inspection, "events")
    assert table.title == "Tree events;1: 1,000 entries, 7 branches"  # one more counts the jets
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert rows["mass"]["Type"] == "double"
    assert rows["jet_pt"]["Type"] == "float[]"
    assert rows["trigger"]["Type"] == "bool"
    assert all(row["Entries"] == N and row["Baskets"] == 2 for row in rows.values())
    unpacked = rows["mass"]["Bytes unpacked"]
    assert isinstance(unpacked, int)
    assert 8 * N <= unpacked < 8 * N + 500  # the values and the baskets' headers
    assert rows["charge"]["Ratio"] > 2


def test_nested_tree_and_fields_of_ntuple(inspection: Inspection) -> None:
    assert tree_table(inspection, "deep/er/tree").rows[0][0] == "x"
    table = tree_table(inspection, "ntuple")
    assert table.title == "RNTuple ntuple;1: 1,000 entries, 2 fields"
    sizes = {row[0]: row[2] for row in table.rows}
    assert set(sizes) == {"energy", "hits"}
    assert all(isinstance(size, int) and 1000 < size < 20_000 for size in sizes.values())


def test_objects(inspection: Inspection) -> None:
    listing = next(table for table in inspection.tables if table.title == "Objects")
    assert ("hist;1", "TH1D") in {row[:2] for row in listing.rows}


def test_histogram_agrees_with_numpy(file: Path, content: dict[str, Any]) -> None:
    found = histogram(file, "events", "mass", bins=40)
    counts, edges = np.histogram(content["mass"], 40)
    # The edges are computed by another formula: their last digit may differ.
    np.testing.assert_allclose(found.edges, edges, rtol=1e-14)
    np.testing.assert_array_equal(found.counts, counts)
    assert found.mean == pytest.approx(content["mass"].mean(), rel=1e-12)
    assert (found.entries_read, found.entries, found.values, found.not_finite) == (N, N, N, 0)


def test_jagged_branch_is_flattened(file: Path, content: dict[str, Any]) -> None:
    flat = ak.to_numpy(ak.flatten(content["jet_pt"]))
    for tree, branch in (("events", "jet_pt"), ("ntuple", "hits")):
        found = histogram(file, tree, branch)
        assert sum(found.counts) == found.values == len(flat)
        assert found.deviation == pytest.approx(flat.astype(float).std(), rel=1e-9)


def test_array_branch_is_flattened(file: Path) -> None:
    assert histogram(file, "vectors", "v").values == 12


def test_first_entries_only(file: Path) -> None:
    found = histogram(file, "events", "mass", max_entries=100)
    assert (found.entries_read, found.entries, found.values) == (100, N, 100)


def test_few_integers_get_a_bin_each(file: Path, content: dict[str, Any]) -> None:
    found = histogram(file, "events", "charge")
    assert found.edges == (-1.5, -0.5, 0.5, 1.5)
    assert found.counts == (int((content["charge"] == -1).sum()), 0, int((content["charge"] == 1).sum()))


def test_many_integers_get_bins_of_equal_width(file: Path, content: dict[str, Any]) -> None:
    found = histogram(file, "events", "run", bins=60)
    widths = set(np.diff(found.edges).tolist())
    assert len(widths) == 1
    assert widths.pop().is_integer()
    assert len(found.counts) <= 60
    assert sum(found.counts) == N


def test_bool_and_constant(file: Path, content: dict[str, Any]) -> None:
    assert histogram(file, "events", "trigger").counts == (N - int(content["trigger"].sum()), int(content["trigger"].sum()))
    assert sum(histogram(file, "vectors", "flat").counts) == 4


def test_not_finite_values_are_counted_apart(file: Path) -> None:
    found = histogram(file, "events", "nasty")
    assert found.not_finite == N // 10
    assert sum(found.counts) == N - N // 10


def test_nothing_to_draw(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "nan.root"
    with uproot.recreate(path) as out:
        write_tree(out, "t", {"x": np.array([np.inf, -np.inf, np.nan])})
    for where, tree in ((file, "empty"), (path, "t")):
        with pytest.raises(InputError, match="no finite value") as caught:
            histogram(where, tree, "x")
        assert caught.value.code == "inspection.no-values"


@pytest.mark.parametrize(
    "values",
    [[1e308, -1e308], [5e-324, 0.0], [1e300, 1e300], [1.0, np.nextafter(1.0, 2)], [-0.0, 0.0]],
    ids=["wide", "denormal", "large-constant", "one-ulp", "zeros"],
)
def test_extreme_values(values: list[float], tmp_path: Path) -> None:
    path = tmp_path / "x.root"
    with uproot.recreate(path) as out:
        write_tree(out, "t", {"x": np.array(values)})
    found = histogram(path, "t", "x", 10)
    assert sum(found.counts) == sum(map(np.isfinite, values))
    assert list(found.edges) == sorted(found.edges)
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["values"] == len(values)


@pytest.mark.parametrize("values", [[-(2**63), 2**63 - 1], [2**63 - 1, 2**63 - 1]])
def test_extreme_integers(values: list[int], tmp_path: Path) -> None:
    path = tmp_path / "x.root"
    with uproot.recreate(path) as out:
        write_tree(out, "t", {"x": np.array(values, np.int64)})
    assert sum(histogram(path, "t", "x", 10).counts) == 2


def test_missing_names_lead_to_near_ones(file: Path) -> None:
    with pytest.raises(DataError) as caught:
        histogram(file, "event", "mass")
    assert "events;1" in caught.value.hint
    with pytest.raises(DataError) as caught:
        histogram(file, "events", "jetpt")
    assert "jet_pt" in caught.value.hint


def test_strings_are_no_numbers(tmp_path: Path) -> None:
    path = tmp_path / "s.root"
    with uproot.recreate(path) as out:
        out.mkrntuple("t", {"name": ak.Array(["a", "bc"]), "p4": ak.Array([{"x": 1.0, "y": 2.0}] * 2)})
    for branch in ("name", "p4"):
        with pytest.raises(InputError, match="not numbers"):
            histogram(path, "t", branch)


@pytest.mark.parametrize(("bins", "entries"), [(0, 10), (10**9, 10), (10, 0), (-1, 5)])
def test_out_of_range(bins: int, entries: int, file: Path) -> None:
    with pytest.raises(InputError, match="bins"):
        histogram(file, "events", "mass", bins, entries)


def test_object_that_is_no_tree(file: Path) -> None:
    with pytest.raises(DataError):
        histogram(file, "hist", "x")


def test_cut_file_says_how_much_is_there(file: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.root"
    cut.write_bytes(file.read_bytes()[:20_000])
    with pytest.raises(InputError) as caught:
        inspect(cut)
    assert caught.value.code in {"inspection.truncated", "inspection.damaged"}
