"""Measuring is honest: no figure for a wrong answer, none better than it is, and a reason wherever there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlcore.benchmarks.arrays import load_arrays, save_arrays
from mlcore.benchmarks.cases import Case
from mlcore.benchmarks.cells import Cell, Settings
from mlcore.benchmarks.engines import Site
from mlcore.benchmarks.measure import Group, cores_for, measure_group
from mlcore.benchmarks.processes import CellError, Child
from tests.mlcore.benchmarks import fake_engines

FAKES = "tests.mlcore.benchmarks.fake_engines:"
BRIEF = Settings(repetitions=3, seconds=0.002, repeats=0, patience=0.5, timeout=60)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("cache"))


def doubling(folder: Path) -> Case:
    """A case whose right answer is twice its input."""
    folder.mkdir(exist_ok=True)
    x = np.linspace(-1, 1, 64, dtype=np.float32).reshape(4, 16)
    save_arrays(folder / "inputs.npz", {"x": x})
    save_arrays(folder / "expected.npz", {"y": 2 * x})
    (folder / "model.onnx").touch()
    case = Case(folder, "doubling", "Doubling", "network", "", 4, 0, "arithmetic", "model.onnx")
    case.save()
    return case


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return doubling(tmp_path_factory.mktemp("case"))


def measured(case: Case, site: Site, *names: str, threads: int = 1, settings: Settings = BRIEF) -> list[Cell]:
    return measure_group(Group(case, threads, tuple(FAKES + name for name in names)), site, settings)


def test_names_of_arrays_are_free(tmp_path: Path) -> None:
    arrays = {"file": np.arange(3), "a/b:0": np.ones((2, 2), np.float32), "": np.zeros(())}
    save_arrays(tmp_path / "x", arrays)
    found = load_arrays(tmp_path / "x")
    assert [*found] == [*arrays]
    assert all(np.array_equal(found[name], array) and found[name].dtype == array.dtype for name, array in arrays.items())


def test_a_case_tells_how_answers_differ(case: Case) -> None:
    right = dict(case.expected)
    assert case.differs(right) == ""
    assert case.differs({"y": right["y"] * np.float32(1 + 1e-6)}) == ""
    assert "off by" in case.differs({"y": right["y"] * np.float32(1.01)})
    assert "missing" in case.differs({"z": right["y"]})
    assert "shape" in case.differs({"y": right["y"].ravel()})
    holed = right["y"].copy()
    holed[0, 0] = np.nan
    assert "not finite" in case.differs({"y": holed})


def test_a_wrong_answer_has_no_time(case: Case, site: Site) -> None:
    good, wrong, nan, later = measured(case, site, "GOOD", "WRONG", "NAN", "WRONG_LATER")
    assert good.status == "measured"
    assert good.wall is not None
    for cell in (wrong, nan, later):
        assert cell.status == "wrong", cell
        assert cell.wall is None
        assert cell.throughput is None
        assert "median" not in json.dumps(cell.to_json())
    assert "off by 0.005 of its largest value" in wrong.reason
    assert "not finite" in nan.reason
    assert "after it was timed" in later.reason


def test_an_engine_that_sleeps_is_as_slow_as_it_sleeps(case: Case, site: Site) -> None:
    good, sleeping = measured(case, site, "GOOD", "SLEEPING")
    assert sleeping.wall is not None
    assert sleeping.cpu is not None
    assert good.wall is not None
    # A sleep may take longer on a busy machine, and never less; asleep, it takes no CPU time to speak of.
    assert fake_engines.SLEEP <= sleeping.wall.median < 10 * fake_engines.SLEEP
    assert sleeping.cpu.median < sleeping.wall.median / 2
    assert sleeping.first is not None
    assert sleeping.first >= fake_engines.SLEEP
    assert sleeping.throughput == pytest.approx(4 / sleeping.wall.median)
    assert good.wall.median < sleeping.wall.median


def test_memory_shows_what_an_engine_holds_and_what_it_leaks(case: Case, site: Site) -> None:
    good, large, leaking = measured(case, site, "GOOD", "LARGE", "LEAKING")
    assert good.memory is not None
    assert large.memory is not None
    assert leaking.memory is not None
    assert good.memory.growth == large.memory.growth == 0
    held = 64 << 20
    assert held <= large.memory.peak - good.memory.peak < held + (16 << 20)
    assert fake_engines.LEAK / 2 < leaking.memory.growth < 2 * fake_engines.LEAK
    assert leaking.memory.peak > good.memory.peak + 4 * fake_engines.LEAK


def test_what_gives_no_figure_gives_a_reason(case: Case, site: Site) -> None:
    absent, refusing, crashing, good = measured(case, site, "ABSENT", "REFUSING", "CRASHING", "GOOD")
    assert (absent.status, absent.reason) == ("absent", "not installed: pip install fake-engine")
    assert (refusing.status, refusing.reason) == ("refused", "it has no operator Double")
    assert crashing.status == "failed"
    assert "Segmentation fault" in crashing.reason
    assert good.status == "measured"  # what breaks beside it does it no harm


def test_more_threads_than_cores_are_refused(case: Case, site: Site) -> None:
    (cell,) = measured(case, site, "GOOD", threads=len(cores_for(10_000)) + 1)
    assert cell.status == "refused"
    assert "core" in cell.reason


def test_an_engine_that_takes_too_long_is_left(case: Case, site: Site) -> None:
    hurried = Settings(repetitions=3, seconds=0.002, repeats=0, timeout=0.01)
    (cell,) = measured(case, site, "SLEEPING", settings=hurried)
    assert cell.status == "failed"
    assert "takes more than 0.01 s" in cell.reason


def test_a_cell_is_the_same_when_it_is_read_back(case: Case, site: Site) -> None:
    for cell in measured(case, site, "GOOD", "WRONG"):
        assert Cell.from_json(json.loads(json.dumps(cell.to_json()))) == cell


def test_a_noisy_cell_is_repeated_and_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlcore.benchmarks import measure

    class Flickering:
        """Samples that never agree."""

        def __init__(self) -> None:
            self.asked = 0

        def ask(self, line: str) -> dict[str, Any]:
            what, _, number = line.partition(" ")
            if what != "run":
                return {"resident": 0}
            self.asked += 1
            return {"wall": int(number) * (1e-3 if self.asked % 4 < 2 else 5e-3), "cpu": 0.0}

    flickering = Flickering()
    settings = Settings(repetitions=9, seconds=0.001, repeats=2)
    opened = measure._Open("x", fake_engines.GOOD, None, flickering, {}, 1, 0.0, Path())  # type: ignore[arg-type]
    monkeypatch.setattr(measure, "_take", lambda each: each.wall.append(each.sample()[0]))
    measure._timed([opened], None, settings, {}, None)  # type: ignore[arg-type]
    assert flickering.asked >= 27  # three times nine
    assert opened.notes == {"spread"}


def test_a_child_that_ends_says_its_last_words(tmp_path: Path) -> None:
    command = ["/bin/sh", "-c", "echo one >&2; echo the last words >&2; exit 3"]
    with Child(command, {}, tmp_path, 10) as child, pytest.raises(CellError, match="status 3 the last words"):
        child.first()


NATIVE = "tests.mlcore.benchmarks.fake_native:"


def test_engines_behind_c_are_measured_as_honestly(case: Case, site: Site) -> None:
    names = ("GOOD", "WRONG", "LEAKING", "ALLOCATING", "CRASHING", "REFUSING")
    cells = measure_group(Group(case, 1, tuple(NATIVE + name for name in names)), site, BRIEF)
    good, wrong, leaking, allocating, crashing, refusing = cells
    assert (wrong.status, wrong.wall) == ("wrong", None)
    assert "off by" in wrong.reason
    assert crashing.status == "failed"
    assert "Aborted" in crashing.reason
    assert (refusing.status, refusing.reason) == ("refused", 'no "Double" here')
    for cell in (good, leaking, allocating):
        assert cell.status == "measured", cell.reason
        assert cell.memory is not None
    assert good.memory is not None
    assert leaking.memory is not None
    assert allocating.memory is not None
    assert (good.memory.allocated, good.memory.growth) == (0, 0)
    assert (allocating.memory.allocated, allocating.memory.allocations, allocating.memory.growth) == (1000, 1, 0)
    assert leaking.memory.allocated == 64 << 10
    assert (32 << 10) < leaking.memory.growth < (128 << 10)


@pytest.mark.skipif(len(cores_for(2)) < 2, reason="this machine has one core")
def test_users_beside_each_other_have_their_own_tensors(case: Case, site: Site) -> None:
    (cell,) = measure_group(Group(case, 2, (NATIVE + "GOOD",)), site, BRIEF)
    assert cell.status == "measured", cell.reason
    assert cell.users == 2
    assert cell.wall is not None
    assert cell.throughput == pytest.approx(2 * 4 / cell.wall.median)
