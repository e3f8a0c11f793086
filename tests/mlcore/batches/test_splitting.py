"""Splits and folds: disjoint, together everything, and the same whatever else is read."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import reference_rows
from mlcore.batches import BatchLoader
from mlcore.batches.splitting import exact_bits
from mlcore.errors import DataError, InputError

ROWS = 40_000
SMALL = 1_000_000


def write(path: Path, rows: np.ndarray) -> Path:
    """A TTree of two clusters; `event` is the same for four rows each."""
    table = {
        "row": rows.astype(np.int32),
        "event": (rows // 4 + 2**60).astype(np.int64),
        "mass": (rows // 8 * 0.25).astype(np.float32),
        **{f"f{i}": np.random.default_rng(i).normal(size=len(rows)).astype(np.float32) for i in range(4)},
    }
    with uproot.recreate(path) as file:
        tree = file.mktree("Events", {name: values.dtype for name, values in table.items()})
        for part in np.array_split(np.arange(len(rows)), 2):
            tree.extend({name: values[part] for name, values in table.items()})
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("split") / "events.root", np.arange(ROWS))


def rows_of(loader: BatchLoader) -> np.ndarray:
    return np.concatenate([np.empty(0), *(y for _, y in loader.numpy())]).astype(np.int64)


FEATURES = ["f0", "f1", "f2", "f3"]


@settings(max_examples=12, deadline=None)
@given(
    fractions=st.lists(st.integers(1, 5), min_size=1, max_size=4).map(lambda some: [each / 20 for each in some]),
    by=st.sampled_from([(), "event", "mass", ("event", "mass")]),
    memory=st.sampled_from([SMALL, 64_000_000]),
    threads=st.integers(1, 3),
    cut=st.sampled_from([None, "f0 > 0.3"]),
    shuffle=st.booleans(),
    seed=st.integers(0, 2**63),
)
def test_parts_are_disjoint(
    file: Path, fractions: list[float], by: Any, memory: int, threads: int, cut: str | None, shuffle: bool, seed: int
) -> None:
    """Each has about its share, and every epoch gives each of its rows once."""
    loader = BatchLoader(file, FEATURES, target="row", filter=cut, memory=memory, threads=threads, seed=1, shuffle=shuffle)
    names = {f"part{number}": fraction for number, fraction in enumerate(fractions)}
    seen = np.zeros(ROWS, int)
    everything = np.sort(rows_of(loader))
    for name, part in loader.split(by=by, seed=seed, **names).items():
        rows = rows_of(part)
        assert part.rows == len(rows)
        np.testing.assert_array_equal(np.sort(rows_of(part)), np.sort(rows))
        seen[rows] += 1
        expected = names[name] * len(everything)
        # Rows that stay together are fewer draws: up to 8 of them, so sqrt(8) times the spread.
        assert abs(len(rows) - expected) < 6 * np.sqrt(8 * expected) + 10
        if by == "event":
            assert (np.isin(np.arange(ROWS // 4), rows // 4).sum() * 4 == len(rows)) or cut
    assert seen.max() <= 1
    assert set(np.flatnonzero(seen)) <= set(everything)


@pytest.mark.parametrize("by", [(), "event"])
def test_parts_make_the_whole(file: Path, by: Any) -> None:
    loader = BatchLoader(file, ["f0"], target="row", seed=1)
    parts = loader.split(train=0.7, validation=0.2, test=0.1, by=by)
    assert list(parts) == ["train", "validation", "test"]
    np.testing.assert_array_equal(np.sort(np.concatenate([rows_of(part) for part in parts.values()])), np.arange(ROWS))
    pairs = loader.folds(5, by=by, seed=3)
    held = [np.sort(rows_of(validation)) for _, validation in pairs]
    np.testing.assert_array_equal(np.sort(np.concatenate(held)), np.arange(ROWS))
    for (train, _), out in zip(pairs, held, strict=True):
        np.testing.assert_array_equal(np.sort(rows_of(train)), np.setdiff1d(np.arange(ROWS), out))
        assert abs(len(out) - ROWS / 5) < 6 * np.sqrt(4 * ROWS / 5)


def test_order_is_the_same_in_every_mode(file: Path) -> None:
    orders = []
    for memory, threads in ((SMALL, 1), (SMALL, 3), (64_000_000, 2)):
        loader = BatchLoader(file, FEATURES, target="row", memory=memory, threads=threads, seed=5)
        train = loader.split()["train"]
        assert train.mode == ("spill" if memory == SMALL else "memory")
        orders.append([rows_of(train) for _ in range(2)])
    np.testing.assert_array_equal(orders[1], orders[0])
    np.testing.assert_array_equal(orders[2], orders[0])


def test_more_files_move_no_row(tmp_path: Path) -> None:
    """Nor another folder, another order of the files, other columns or a filter."""
    for name, start in (("b.root", 0), ("a.root", 10_000), ("c.root", 20_000)):
        write(tmp_path / name, np.arange(start, start + 5000))
    before = set(rows_of(BatchLoader([tmp_path / "b.root"], ["f0"], target="row").split()["train"]))
    (tmp_path / "elsewhere").mkdir()
    for name in ("a.root", "b.root", "c.root"):
        shutil.move(tmp_path / name, tmp_path / "elsewhere" / name)
    after = rows_of(BatchLoader(tmp_path / "elsewhere", ["f1"], target="row", filter="f2 > 0").split()["train"])
    kept = set(rows_of(BatchLoader(tmp_path / "elsewhere", ["f1"], target="row", filter="f2 > 0")))
    assert {row for row in after if row < 5000} == before & kept
    # And files differ in which of their rows are chosen.
    assert {row - 10_000 for row in after if 10_000 <= row < 15_000} != {row for row in after if row < 5000}


def test_a_row_that_was_chosen_once_is_not_chosen_again_in_the_same_way(file: Path) -> None:
    """A split of a split draws anew: else all of a part would be in its first share."""
    train = BatchLoader(file, ["f0"], target="row").split(train=0.5)["train"]
    inner = train.split(train=0.5, validation=0.5)
    sizes = [part.rows for part in inner.values()]
    assert sum(sizes) == train.rows
    assert all(abs(size - ROWS / 4) < 6 * np.sqrt(ROWS / 4) for size in sizes)


def test_the_hash_of_a_column_is_that_of_its_number(file: Path) -> None:
    """Oracle: the kernels' reference. Events of 61 bits that differ in the last one are told apart."""
    low = 2**60 + np.arange(ROWS // 4)
    from mlcore.batches.splitting import _salted

    keys = reference_rows.row_keys(low.astype(np.uint64), _salted(9, 0), 0)
    train = BatchLoader(file, ["f0"], target="row").split(train=0.25, by="event", seed=9)["train"]
    np.testing.assert_array_equal(np.unique(rows_of(train) // 4), np.flatnonzero(keys < 2**62))


def test_what_a_column_is_hashed_by() -> None:
    np.testing.assert_array_equal(exact_bits(np.array([-1, 5], np.int8)), np.array([2**64 - 1, 5], np.uint64))
    np.testing.assert_array_equal(exact_bits(np.array([2**64 - 1], np.uint64)), np.array([2**64 - 1], np.uint64))
    assert len(np.unique(exact_bits(np.array([0.0, -0.0], np.float32)))) == 1
    odd = np.array([0x7FF8000000000001, 0x7FF8000000000000, 0xFFF8000000000000], np.uint64).view(np.float64)
    assert len(np.unique(exact_bits(odd))) == 1
    assert len(np.unique(exact_bits(np.array([1.0, np.nextafter(1.0, 2)])))) == 2


def test_defined_columns_and_arrays_in_memory() -> None:
    rows = np.arange(3000)
    loader = BatchLoader({"row": rows, "run": rows // 100}, ["run"], target="row", define={"pair": "row // 2"})
    parts = loader.split(a=0.5, b=0.5, by="pair")
    a, b = (set(rows_of(part)) for part in parts.values())
    assert a | b == set(rows)
    assert {row // 2 for row in a}.isdisjoint({row // 2 for row in b})


def test_what_is_asked_wrongly_is_said(file: Path) -> None:
    loader = BatchLoader(file, ["f0"])
    with pytest.raises(InputError, match=r"shares of a split are 1\.1 together"):
        loader.split(train=0.8, validation=0.3)
    with pytest.raises(InputError, match="train=0 is no share"):
        loader.split(train=0)
    with pytest.raises(InputError, match="folded 1 times"):
        loader.folds(1)
    with pytest.raises(DataError, match="no column 'evnt'") as caught:
        loader.split(by="evnt")
    assert "event" in caught.value.hint
    fixed = BatchLoader({"x": np.zeros((5, 2)), "y": np.zeros(5)})
    with pytest.raises(InputError, match="not one number each row"):
        fixed.split(by="x")
    assert sum(part.rows for part in BatchLoader(file, ["f0"]).split(a=0.7, b=0.2, c=0.1).values()) == ROWS
