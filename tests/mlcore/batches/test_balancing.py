"""Balanced classes: how many rows, which, and in what order, from memory and from disk."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mlcore.batches import Balance, BatchLoader, Sample
from mlcore.batches.balancing import _Members
from mlcore.errors import DataError, InputError

ROWS = 30_000
SMALL = 1_000_000
LARGE = 64_000_000


@pytest.fixture(scope="module")
def tables() -> dict[str, Any]:
    """One row of 20 is of class 1."""
    rng = np.random.default_rng(6)
    floats = {f"f{i}": rng.normal(size=ROWS).astype(np.float32) for i in range(8)}
    return {**floats, "row": np.arange(ROWS), "label": (rng.random(ROWS) < 0.05).astype(np.int32)}


NAMES = ["row", *(f"f{i}" for i in range(8))]


def rows_of(loader: BatchLoader) -> np.ndarray:
    return np.concatenate([x[:, 0] for x, *_ in loader.numpy()]).astype(np.int64)


@settings(max_examples=25, deadline=None)
@given(
    how=st.sampled_from(["over", "under"]),
    ratio=st.sampled_from([1.0, 0.5, 0.33, 0.04]),
    replacement=st.booleans(),
    memory=st.sampled_from([SMALL, LARGE]),
    threads=st.integers(1, 3),
    cut=st.sampled_from([None, "f0 > 0"]),
    seed=st.integers(0, 2**63),
)
def test_sizes_and_rows(
    tables: dict[str, Any], how: Any, ratio: float, replacement: bool, memory: int, threads: int, cut: str | None, seed: int
) -> None:
    balance = Balance(how, ratio=ratio, replacement=replacement)
    loader = BatchLoader(
        tables, NAMES, target="label", balance=balance, filter=cut, memory=memory, threads=threads, seed=seed, batch_size=1000
    )
    assert loader.mode == ("spill" if memory == SMALL else "memory")
    kept = np.ones(ROWS, bool) if cut is None else tables["f0"] > 0
    sizes = np.bincount(tables["label"][kept])
    large, small = int(sizes[0]), int(sizes[1])
    over = [large, max(small, round(ratio * large))]
    wanted = over if how == "over" else [min(large, round(small / ratio)), small]
    drawn = []
    for _ in range(3):
        counts = np.zeros(ROWS, int)
        batches = 0
        for x, y in loader.numpy():
            rows = x[:, 0].astype(int)
            np.testing.assert_array_equal(x[:, 3], tables["f2"][rows])
            np.testing.assert_array_equal(y, tables["label"][rows])
            np.add.at(counts, rows, 1)
            batches += 1
        assert batches == len(loader)
        assert loader.rows == counts.sum()
        assert not counts[~kept].any()
        for label in (0, 1):
            times = counts[kept & (tables["label"] == label)]
            assert times.sum() == wanted[label]
            if wanted[label] == sizes[label]:
                assert (times == 1).all()
            elif not replacement:
                assert set(times.tolist()) <= {wanted[label] // sizes[label], wanted[label] // sizes[label] + 1}
            else:
                # Dispersion of multinomial counts about their mean is chi-square of n - 1 degrees of freedom; six sigma.
                mean = wanted[label] / sizes[label]
                dispersion, freedom = ((times - mean) ** 2).sum() / mean, sizes[label] - 1
                assert abs(dispersion - freedom) < 6 * np.sqrt(freedom * (2 + 1 / mean))
        drawn.append(counts)
    if wanted != [large, small] and (replacement or any(w % s for w, s in zip(wanted, (large, small), strict=True))):
        assert not np.array_equal(drawn[0], drawn[1])


@pytest.mark.parametrize(
    "balance", [Balance("over"), Balance("under", 0.3), Balance("over", 0.7, True), Balance("under", 1, True)]
)
@pytest.mark.parametrize("cut", [None, "f1 < 0.5"])
def test_one_order_for_a_seed(tables: dict[str, Any], balance: Balance, cut: str | None) -> None:
    orders = []
    for memory, threads in ((SMALL, 1), (SMALL, 3), (LARGE, 2)):
        loader = BatchLoader(tables, NAMES, target="label", balance=balance, filter=cut, memory=memory, threads=threads, seed=9)
        orders.append([rows_of(loader) for _ in range(3)])
    for other in orders[1:]:
        for a, b in zip(other, orders[0], strict=True):
            np.testing.assert_array_equal(a, b)


def test_epochs_that_are_left_or_chosen(tables: dict[str, Any]) -> None:
    def make(memory: int) -> BatchLoader:
        return BatchLoader(tables, NAMES, target="label", balance=Balance("over"), memory=memory, seed=2)

    wanted = make(LARGE)
    expected = [rows_of(wanted) for _ in range(4)]
    loader = make(SMALL)
    next(loader.numpy())
    np.testing.assert_array_equal(rows_of(loader), expected[1])
    loader.epoch = 3
    np.testing.assert_array_equal(rows_of(loader), expected[3])
    loader.epoch = 0
    np.testing.assert_array_equal(rows_of(loader), expected[0])
    both = make(LARGE)
    pairs = list(zip(both.numpy(), both.numpy(), strict=True))
    for number in (0, 1):
        np.testing.assert_array_equal(np.concatenate([pair[number][0][:, 0] for pair in pairs]), expected[number])


def test_copies_lie_anywhere(tables: dict[str, Any]) -> None:
    """Neighbours among n numbers that are uniform and independent are Beta(1, n) apart; so are the copies of a row, and rows."""
    loader = BatchLoader(tables, NAMES, target="label", balance=Balance("over"), seed=4)
    rows = rows_of(loader)
    counts = np.bincount(rows, minlength=ROWS)
    order = np.argsort(rows, kind="stable")
    for times in np.unique(counts[tables["label"] == 1]):
        places = order[counts[rows[order]] == times].reshape(-1, times)
        np.testing.assert_array_equal(rows[places], rows[places[:, :1]].repeat(times, 1))
        gaps = np.diff(places[:, :2])[:, 0] / len(rows)
        assert stats.kstest(gaps, stats.beta(1, times).cdf).pvalue > 1e-6
    by_place = tables["label"][rows][: len(rows) // 10 * 10].reshape(10, -1).mean(axis=1)
    np.testing.assert_allclose(by_place, 0.5, atol=6 * 0.5 / np.sqrt(len(rows) / 10))


def test_each_row_is_drawn_as_often_as_another(tables: dict[str, Any]) -> None:
    """Over 200 epochs, how often rows of the large class come: chi-square, with the variance of draws without replacement."""
    loader = BatchLoader(
        {"row": tables["row"][:2000], "label": tables["label"][:2000]}, ["row"], target="label", balance=Balance("under")
    )
    counts = np.zeros(2000, int)
    epochs = 200
    for _ in range(epochs):
        np.add.at(counts, rows_of(loader), 1)
    large = counts[tables["label"][:2000] == 0]
    assert (counts[tables["label"][:2000] == 1] == epochs).all()
    p = large.mean() / epochs
    chi_square = ((large - large.mean()) ** 2).sum() / (epochs * p * (1 - p))
    assert abs(chi_square - len(large)) < 6 * np.sqrt(2 * len(large))


def test_samples_and_several_classes() -> None:
    sizes = {0: 500, 1: 90, 2: 30}
    samples = [Sample({"x": np.full(size, float(label))}, label=label) for label, size in sizes.items()]
    for by in (None, "label", "sample_label"):
        _, y = next(BatchLoader(samples, balance=Balance("over", 0.5, by=by), batch_size=10_000).numpy())
        assert np.bincount(y.astype(int)).tolist() == [500, 250, 250]
    _, y = next(BatchLoader(samples, balance=Balance("under", 0.5), batch_size=10_000).numpy())
    assert np.bincount(y.astype(int)).tolist() == [60, 60, 30]


def test_splits_are_balanced_each(tables: dict[str, Any]) -> None:
    loader = BatchLoader(tables, NAMES, target="label", balance=Balance("under"))
    parts = loader.split(train=0.8, validation=0.2)
    rows = [rows_of(part) for part in parts.values()]
    assert not set(rows[0]) & set(rows[1])
    for some in rows:
        assert tables["label"][some].mean() == 0.5


@given(st.lists(st.integers(0, 5000), unique=True, min_size=1), st.lists(st.integers(300_000, 400_000), unique=True))
def test_members(near: list[int], far: list[int]) -> None:
    members = _Members(400_001)
    for ids in (near, far, [200_000, 250_000]):
        if ids:
            members.add(np.array(ids, np.uint64))
    np.testing.assert_array_equal(np.concatenate(list(members)), sorted([*near, *far, 200_000, 250_000]))
    assert members.size == len(near) + len(far) + 2


def test_what_is_asked_wrongly_is_said(tables: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="balanced by 'up'"):
        Balance("up")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="0 is no ratio"):
        Balance("over", 0)
    with pytest.raises(InputError, match="random order"):
        BatchLoader(tables, target="label", balance=Balance("over"), shuffle=False)
    with pytest.raises(InputError, match="there are 0 targets"):
        BatchLoader(tables, balance=Balance("over"))
    with pytest.raises(DataError, match="no target 'labl'") as caught:
        BatchLoader(tables, target=["label", "f0"], balance=Balance("over", by="labl"))
    assert "label" in caught.value.hint
    with pytest.raises(InputError, match="more than 16 different values"):
        next(BatchLoader(tables, ["f0"], target="f1", balance=Balance("over")).numpy())
    with pytest.raises(InputError, match="only 0 is there"):
        next(BatchLoader(tables, ["f0"], target="label", filter="label == 0", balance=Balance("over")).numpy())
    for memory in (SMALL, LARGE):
        with pytest.raises(InputError, match="none is there"):
            next(BatchLoader(tables, NAMES, target="label", filter="f0 > 99", balance=Balance("over"), memory=memory).numpy())
    with pytest.raises(InputError, match="NaN in some rows"):
        next(BatchLoader({"x": np.zeros(2), "y": np.array([1, np.nan])}, target="y", balance=Balance("over")).numpy())
