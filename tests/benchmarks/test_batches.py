"""The batches' benchmark: wrong epochs are noticed, contenders deliver the file, rounds are kept, wrong peers are not timed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import uproot
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.batches import checking, contenders, running, shows
from benchmarks.batches.checking import Content, content, mixing, places, wrong
from benchmarks.batches.contenders import BATCHES, CONTENDERS, OURS, RDATALOADER, ROWS, UPROOT
from benchmarks.batches.data import LOW_ROWS, PADDED, TARGET, TREE, Data, Task, task
from benchmarks.environment import UnavailableError
from benchmarks.measure import Settings
from benchmarks.report import table

ROWS_OF_FILE = 5000
DATA = Data("small", ROWS_OF_FILE, numbers=3)


def columns(rows: int, data: Data) -> dict[str, npt.NDArray[np.float32]]:
    """Numbers of a data set, row by row."""
    random = np.random.default_rng(1)
    number = np.arange(rows)
    found = {name: random.standard_normal(rows, np.float32) for name in data.number_names}
    found |= {"row_high": (number // LOW_ROWS).astype(np.float32), "row_low": (number % LOW_ROWS).astype(np.float32)}
    return {**found, TARGET: random.integers(0, 2, rows).astype(np.float32)}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("batches") / "small.root"
    with uproot.recreate(path) as file:
        file.mktree(TREE, dict.fromkeys(columns(1, DATA), "float32"))
        file[TREE].extend(columns(ROWS_OF_FILE, DATA))
    return path


def whole() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    values = columns(ROWS_OF_FILE, DATA)
    return np.stack([values[name] for name in DATA.features], axis=1), values[TARGET]


def cut(x: Any, y: Any, size: int = 300) -> Iterator[tuple[Any, Any]]:
    return ((x[start : start + size], y[start : start + size]) for start in range(0, len(x), size))


TRUTH = content(cut(*whole()))


def test_content_tells_the_number_of_each_row() -> None:
    np.testing.assert_array_equal(TRUTH.rows, np.arange(ROWS_OF_FILE))
    assert TRUTH.samples.shape == (-(-ROWS_OF_FILE // checking.STEP), 6)


def test_content_of_nothing() -> None:
    assert wrong(content([]), TRUTH) == "0 rows instead of 5000: 5000 rows are missing"


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(50, 6000))
def test_the_order_and_the_size_of_batches_do_not_matter(seed: int, size: int) -> None:
    order = np.random.default_rng(seed).permutation(ROWS_OF_FILE)
    x, y = whole()
    found = content(cut(x[order], y[order, None], size))
    assert wrong(found, TRUTH) is None
    np.testing.assert_array_equal(found.rows, order)


@pytest.mark.parametrize(
    ("taken", "said"),
    [
        (np.arange(1, ROWS_OF_FILE), "1 rows are missing"),
        (np.r_[np.arange(ROWS_OF_FILE), 7, 8], "2 come again"),
        (np.r_[np.arange(ROWS_OF_FILE - 1), 0], "1 rows are missing, 1 come again"),
    ],
)
def test_rows_that_are_missing_or_come_again_are_noticed(taken: npt.NDArray[np.int64], said: str) -> None:
    x, y = whole()
    assert (wrong(content(cut(x[taken], y[taken])), TRUTH) or "").endswith(f": {said}")


@settings(deadline=None, max_examples=20)
@given(st.integers(0, ROWS_OF_FILE - 1), st.integers(0, 2))
def test_one_value_that_differs_is_noticed(row: int, column: int) -> None:
    x, y = whole()
    x[row, column] = np.nextafter(x[row, column], np.float32(np.inf))
    assert "values differ in 1 of 6 columns" in (wrong(content(cut(x, y)), TRUTH) or "")


def test_columns_that_are_put_together_wrongly_are_noticed() -> None:
    x, y = whole()
    x[:, 0] = np.roll(x[:, 0], 1)
    assert "put together wrongly" in (wrong(content(cut(x, y)), TRUTH) or "")


def test_zeros_are_called_so() -> None:
    x, y = whole()
    x[4000:] = 0
    said = "5000 rows instead of 5000: 1000 rows are missing, 1000 come again, 1000 are zeros"
    assert wrong(content(cut(x, y)), TRUTH) == said


def test_rows_of_elsewhere_are_noticed() -> None:
    x, y = whole()
    x[3, -2] = 100
    assert "1 rows are missing, 1 do not belong to it" in (wrong(content(cut(x, y)), TRUTH) or "")


def test_content_is_kept(tmp_path: Path) -> None:
    TRUTH.save(tmp_path / "truth.npz")
    kept = Content.load(tmp_path / "truth.npz")
    np.testing.assert_array_equal(kept.samples, TRUTH.samples)
    assert wrong(TRUTH, kept) is None


def test_mixing_is_one_for_independent_orders_and_large_for_others() -> None:
    rows = np.arange(200_000)
    shuffled = np.random.default_rng(3).permutation(rows)
    # 2401 degrees of freedom: the standard deviation of the quotient is 0.029.
    assert mixing(rows, places(shuffled)) == pytest.approx(1, abs=0.15)
    assert mixing(rows, rows) == pytest.approx(len(rows) / 49)  # as far apart as it can be: n (bins - 1) / (bins - 1)^2
    chunks = np.concatenate([np.random.default_rng(4).permutation(part) for part in np.split(rows, 4)])
    assert mixing(rows, places(chunks)) > 200


@pytest.mark.parametrize("name", [OURS, UPROOT, ROWS, BATCHES])
@pytest.mark.parametrize("cuts", [(), (("f0", ">", 0.25), ("f1", "<", 1.5))])
def test_contenders_deliver_the_file(small: Path, name: str, cuts: tuple[tuple[str, str, float], ...]) -> None:
    torch = name != UPROOT
    asked = task(DATA, small, cuts=cuts, torch=torch, batch=500)
    x, y = whole()
    kept = (x[:, 0] > 0.25) & (x[:, 1] < 1.5) if cuts else slice(None)
    truth = content(cut(x[kept], y[kept]))
    begin = CONTENDERS[name](torch=torch).opened(asked)
    for _ in range(2):
        assert wrong(content(begin()), truth) is None


def test_vectors_are_cut_and_filled_up_alike(tmp_path: Path) -> None:
    data = Data("vectors", 400, numbers=1, vectors=1)
    import awkward

    lengths = np.arange(400) % 7
    vectors = awkward.unflatten(np.random.default_rng(5).standard_normal(lengths.sum(), np.float32), lengths)
    with uproot.recreate(tmp_path / "vectors.root") as file:
        file.mktree(TREE, {**dict.fromkeys(columns(1, data), "float32"), "v0": "var * float32"})
        file[TREE].extend({**columns(400, data), "v0": vectors})
    asked = task(data, tmp_path / "vectors.root")
    found = [content(CONTENDERS[name](torch=False).opened(asked)()) for name in (UPROOT, OURS)]
    assert found[0].samples.shape == (1, 1 + PADDED + 3)
    assert wrong(found[1], found[0]) is None


@pytest.mark.slow  # ROOT compiles for some seconds
def test_root_writes_what_its_loader_delivers(tmp_path: Path) -> None:
    pytest.importorskip("ROOT", reason="ROOT has no wheel here")
    from benchmarks.batches.data import written

    path = written(tmp_path, replace(DATA, rows=2000, vectors=1))
    asked = task(replace(DATA, rows=2000, vectors=1), path)
    truth = running.truth(tmp_path, asked)
    assert Content.load(truth).rows.tolist() == list(range(2000))
    for name in (RDATALOADER, OURS, UPROOT):
        assert [epoch["wrong"] for epoch in running.looked_at(name, asked, truth, 1)] == [None]


def test_a_process_tells_times_rows_and_memory(small: Path) -> None:
    found = running.timed(OURS, task(DATA, small), 2)
    assert [epoch["rows"] for epoch in found["epochs"]] == [ROWS_OF_FILE] * 2
    assert all(0 < epoch["cpu"] < 60 and 0 < epoch["batch"] <= epoch["wall"] for epoch in found["epochs"])
    assert found["peak"] > 0


def test_a_process_that_fails_gives_the_reason(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="there is no such file"):
        running.timed(OURS, Task(str(tmp_path / "nothing.root"), ["f0"], [], 1), 1)


def test_rounds_are_kept_until_all_is_done_or_the_code_changes(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    assert running.Rounds(path, "a")("one", lambda: {"seconds": 1.5}) == {"seconds": 1.5}
    again = running.Rounds(path, "a")
    assert again("one", lambda: pytest.fail("it is known")) == {"seconds": 1.5}
    assert again("two", lambda: 2) == 2
    other = running.Rounds(path, "b")
    assert other("one", lambda: 3) == 3
    other.finished()
    assert not path.exists()


def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, looks: dict[str, Any]) -> shows.Bench:
    """A show whose processes are made up: ours takes 1 s and 0.1 s, RDataLoader 10 s and 2 s, uproot 4 s."""
    seconds = {OURS: (1.0, 0.1), RDATALOADER: (10.0, 2.0), UPROOT: (4.0, 4.0)}

    def looked_at(name: str, *_: Any) -> Any:
        if isinstance(looks.get(name), str):
            raise UnavailableError(looks[name])
        return [{"wrong": trouble, "file": 1.0, "epochs": 1.0} for trouble in looks.get(name, (None, None))]

    def timed(name: str, _task: Task, epochs: int) -> Any:
        first, later = seconds[name]
        return {
            "peak": 3e8,
            "epochs": [{"cpu": first if i == 0 else later, "wall": 9.0, "batch": 1.0, "rows": 5} for i in range(epochs)],
        }

    monkeypatch.setattr(shows, "written", lambda *_: tmp_path / "none.root")
    monkeypatch.setattr(running, "truth", lambda *_: tmp_path / "none.npz")
    monkeypatch.setattr(running, "looked_at", looked_at)
    monkeypatch.setattr(running, "timed", timed)
    show = shows.Show("made up", DATA, shows.Goal(8.0, 25.0), shows.Goal(1.8, 9.0))
    return shows.Bench(show, Settings(quick=True, cache=tmp_path), running.Rounds(tmp_path / "rounds.jsonl", "x"))


def test_comparisons_hold_each_peer_against_its_goal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first, first_uproot, later, later_uproot, peak = bench(monkeypatch, tmp_path, {}).epochs()
    assert (first.reached, first_uproot.reached) == (10, 4)
    assert later.reached == pytest.approx(20)
    assert later_uproot.reached == pytest.approx(40)
    assert peak.within  # 300 MB of 256 and 60
    assert [("missed" in line) for line in table([first, first_uproot, later, later_uproot])[2:]] == [False, False, True, False]


def test_a_peer_that_is_wrong_later_is_timed_in_its_first_epoch_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first, _, later, _, _ = bench(monkeypatch, tmp_path, {RDATALOADER: (None, "5 rows of zeros")}).epochs()
    assert RDATALOADER in first.measured
    assert first.facts.get(RDATALOADER) is None
    assert RDATALOADER not in later.measured
    assert later.reached is None
    assert later.least_ratio is None
    assert later.facts[RDATALOADER] == "wrong: 5 rows of zeros"


def test_a_peer_that_fails_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first, *_ = bench(monkeypatch, tmp_path, {UPROOT: "it cannot"}).epochs()
    assert set(first.measured) == {OURS, RDATALOADER}
    assert first.facts[UPROOT] == "cannot take part: it cannot"


def test_there_are_no_figures_where_ours_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ours is wrong"):
        bench(monkeypatch, tmp_path, {OURS: (None, "1 rows are missing")})


def test_uproot_gives_rows_in_order_for_the_truth(small: Path) -> None:
    x, _ = next(iter(contenders.InOrder(torch=False).chunks(task(DATA, small))))
    np.testing.assert_array_equal(x, whole()[0])
