"""Damaged rows and files that are left out: exactly those, and told."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest

from mlcore.batches import BatchLoader, Sample, SkippedRowsWarning
from mlcore.batches.sources import DamagedDataError, Part, open_source
from mlcore.errors import InputError
from tests.mlcore.batches.damaged_files import EDGES, ROWS, damage, write

SMALL = 1_000_000


@pytest.fixture(scope="module")
def tables() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    floats = {f"f{i}": rng.normal(size=ROWS).astype(np.float32) for i in range(4)}
    return {"row": np.arange(ROWS, dtype=np.int32), **floats}


@pytest.fixture(params=["tree", "ntuple"])
def path(request: pytest.FixtureRequest, tmp_path: Path, tables: dict[str, np.ndarray]) -> Path:
    return write(tmp_path / f"{request.param}.root", request.param, tables)


def rows_of(loader: BatchLoader) -> np.ndarray:
    return np.concatenate([np.empty(0), *(y for _, y in loader.numpy())]).astype(np.int64)


def test_other_rows_come_once_and_in_one_order(path: Path, tables: dict[str, np.ndarray]) -> None:
    """In memory, on disk and streamed, natively and by blocks, with any number of threads."""
    lost = np.zeros(ROWS, bool)
    for column, first in (("f1", 0), ("f3", EDGES[1])):
        start, stop = damage(path, column, first)
        lost[start:stop] = True
    rows = np.flatnonzero(~lost)
    names = ["f0", "f1", "f2", "f3"]
    expected = np.stack([tables[name] for name in names], 1)
    with pytest.raises(DamagedDataError, match=r"column 'f[13]'"):
        next(BatchLoader(path, names, target="row").numpy())
    orders = []
    for memory, threads, shuffle, cut in (
        (SMALL, 1, True, None),
        (SMALL, 3, True, None),
        (64_000_000, 1, True, None),
        (64_000_000, 3, True, "row >= 0"),
        (SMALL, 1, False, None),
        (64_000_000, 2, False, None),
    ):
        loader = BatchLoader(
            path, names, target="row", on_error="skip", memory=memory, threads=threads, shuffle=shuffle, filter=cut, seed=2
        )
        assert loader.skipped.rows == 0
        assert not loader.skipped
        with pytest.warns(SkippedRowsWarning, match=rf"^{lost.sum()} rows were skipped: .*column 'f[13]'"):
            found = rows_of(loader)
        np.testing.assert_array_equal(np.sort(found), rows)
        with warnings.catch_warnings():  # it was said once
            warnings.simplefilter("error")
            for x, y in loader.numpy():
                np.testing.assert_array_equal(x, expected[y.astype(int)])
        assert loader.skipped.rows == lost.sum()
        assert len(loader.skipped.messages) == 2
        assert all(str(path) in message for message in loader.skipped.messages)
        assert loader.rows == len(rows)
        if shuffle:
            orders.append(found)
    for other in orders[1:]:
        np.testing.assert_array_equal(other, orders[0])


def test_nothing_is_lost_of_a_sound_file(path: Path) -> None:
    """And the order is that of a loader that raises."""
    loader = BatchLoader(path, ["f0"], target="row", on_error="skip", seed=4)
    np.testing.assert_array_equal(rows_of(loader), rows_of(BatchLoader(path, ["f0"], target="row", seed=4)))
    assert (loader.skipped.rows, loader.skipped.messages, loader.skipped.files) == (0, (), {})


def test_splits_count_for_themselves(path: Path) -> None:
    start, stop = damage(path, "f1", EDGES[1])
    parts = BatchLoader(path, ["f1"], target="row", on_error="skip").split(a=0.5, b=0.5)
    found = []
    for part in parts.values():
        with pytest.warns(SkippedRowsWarning):
            found.append(rows_of(part))
        assert part.skipped.rows == stop - start
    np.testing.assert_array_equal(np.sort(np.concatenate(found)), np.setdiff1d(np.arange(ROWS), np.arange(start, stop)))


def test_files_that_cannot_be_opened(tmp_path: Path, tables: dict[str, np.ndarray]) -> None:
    sound = write(tmp_path / "a.root", "tree", tables)
    short = write(tmp_path / "b.root", "tree", tables)
    os.truncate(short, 300)
    (tmp_path / "c.root").write_text("no file of rows\n")
    gone = tmp_path / "d.root"
    with pytest.raises(InputError, match="cut short"):
        BatchLoader([sound, short], ["f0"])
    files = [sound, short, tmp_path / "c.root", gone]
    loader = BatchLoader(files, ["f0"], target="row", on_error="skip", tree="Events")
    assert set(loader.skipped.files) == {str(file) for file in files[1:]}
    with pytest.warns(SkippedRowsWarning, match=r"^3 files were skipped: .*b\.root is cut short"):
        np.testing.assert_array_equal(np.sort(rows_of(loader)), np.arange(ROWS))
    samples = [Sample(sound, label=1), Sample([short, gone], label=0)]
    loader = BatchLoader(samples, ["row"], on_error="skip")
    with pytest.warns(SkippedRowsWarning, match="2 files were skipped"):
        assert rows_of(loader).sum() == ROWS
    with pytest.raises(InputError, match="cut short"):
        BatchLoader([short, gone], ["f0"], on_error="skip")


def test_a_column_whose_end_was_lost(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Natively packed rows end where the column does."""
    kind = type(open_source(path).parts[0])
    monkeypatch.setattr(kind, "covered", lambda self, name: EDGES[2] if name == "f2" else ROWS)
    with pytest.raises(DamagedDataError, match=f"column 'f2' ends at row {EDGES[2]} of {ROWS}"):
        next(BatchLoader(path, ["f2"], target="row").numpy())
    loader = BatchLoader(path, ["f2"], target="row", on_error="skip")
    with pytest.warns(SkippedRowsWarning, match=f"{ROWS - EDGES[2]} rows were skipped"):
        np.testing.assert_array_equal(np.sort(rows_of(loader)), np.arange(EDGES[2]))


def test_a_part_of_which_nothing_is_clear(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Metadata of a column that makes no sense costs the rows of its file."""
    kind = type(open_source(path).parts[0])

    def damaged(self: Part, name: str) -> None:
        raise ValueError("no sense")

    monkeypatch.setattr(kind, "make_plan", damaged)
    loader = BatchLoader([{"f0": np.zeros(5, np.float32), "row": np.arange(5)}, path], ["f0"], target="f0", on_error="skip")
    with pytest.warns(SkippedRowsWarning, match=f"{ROWS} rows were skipped: .*it is not clear where"):
        assert len(rows_of(loader)) == 5


def test_what_is_asked_wrongly_is_said(path: Path) -> None:
    with pytest.raises(InputError, match="on_error='ignore' is unknown"):
        BatchLoader(path, on_error="ignore")  # type: ignore[arg-type]
