"""Resident memory stays within the budget and 60 MB, measured in processes of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

from benchmarks.peak_memory import peak_memory
from mlcore.batches.filling import affordable_threads
from mlcore.batches.selection import Selection
from mlcore.batches.sources import open_source

NAMES = [f"f{i}" for i in range(16)]
IMPORTS = "import mlcore.batches, uproot, awkward"
OVER = 60_000_000


def write(path: Path, rows: int, chunk: int, compression: Any = None) -> str:
    """Sixteen columns of numbers and the number of the row, float32, in baskets of `chunk` rows."""
    rng = np.random.default_rng(1)
    columns = {name: rng.standard_normal(chunk).astype(np.float32) for name in NAMES}
    with uproot.recreate(path, compression=compression) as file:
        tree = file.mktree("Events", dict.fromkeys([*NAMES, "row"], np.float32))
        for start in range(0, rows, chunk):
            tree.extend({**columns, "row": np.arange(start, start + chunk, dtype=np.float32)})
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("budget")


@pytest.fixture(scope="module")
def million(folder: Path) -> str:
    return write(folder / "1m.root", 1_000_000, 100_000)


@pytest.fixture(scope="module")
def ten_million(folder: Path) -> str:
    return write(folder / "10m.root", 10_000_000, 100_000)


def over_imports(source: str, options: str, epochs: int = 2) -> tuple[float, str]:
    """Bytes beyond the imports, and the mode; every row came."""
    statements = f"""
loader = mlcore.batches.BatchLoader({source!r}, seed=1, {options})
rows = 0
for _ in range({epochs}):
    for x in loader.numpy():
        rows += len(x)
result = [loader.mode, rows, {epochs} * loader.rows]
"""
    peak = peak_memory(IMPORTS, statements)
    mode, rows, expected = peak.result  # type: ignore[misc]
    assert rows == expected > 0
    return peak.over_imports, mode


@pytest.mark.slow
@pytest.mark.parametrize("budget", [64_000_000, 256_000_000])
@pytest.mark.parametrize("rows", [1_000_000, 10_000_000])
def test_shuffled_rows(request: pytest.FixtureRequest, rows: int, budget: int) -> None:
    source = request.getfixturevalue("million" if rows == 1_000_000 else "ten_million")
    taken, mode = over_imports(source, f"memory={budget}")
    assert mode == ("memory" if rows * 80 < budget else "spill")
    assert taken <= budget + OVER


@pytest.mark.slow
@pytest.mark.parametrize("budget", [64_000_000, 256_000_000])
@pytest.mark.parametrize(
    ("more", "mode"),
    [
        ("filter='row >= 0'", "spill"),  # is in memory at first
        ("shuffle='buffer'", "buffer"),
        ("shuffle=False", "stream"),
    ],
)
def test_other_orders(ten_million: str, budget: int, more: str, mode: str) -> None:
    taken, found = over_imports(ten_million, f"memory={budget}, {more}", epochs=1)
    assert found == mode
    assert taken <= budget + OVER


@pytest.mark.slow
def test_rows_that_only_just_fit(ten_million: str) -> None:
    """With a number each, and what ordering them takes."""
    taken, mode = over_imports(ten_million, "memory=256_000_000, filter='row < 2900000'")
    assert mode == "memory"
    assert taken <= 256_000_000 + OVER


@pytest.mark.slow
@pytest.mark.parametrize("budget", [64_000_000, 256_000_000])
def test_the_cache_counts_as_well(million: str, folder: Path, budget: int) -> None:
    for _ in range(2):
        taken, _ = over_imports(million, f"memory={budget}, cache={str(folder / 'cache')!r}")
        assert taken <= budget + OVER


@pytest.mark.slow
def test_large_baskets(folder: Path) -> None:
    """Which readers keep: fewer threads read then."""
    source = write(folder / "large.root", 4_000_000, 1_000_000, uproot.LZ4(1))
    taken, _ = over_imports(source, "memory=64_000_000, threads=4")
    assert taken <= 64_000_000 + OVER + 17 * 4_000_000  # what one reader keeps


def test_threads_are_as_many_as_readers_can_be(folder: Path) -> None:
    source = open_source(write(folder / "few.root", 20_000, 10_000))
    selection = Selection(source.schema)
    one = 17 * 10_000 * 4
    assert source.parts[0].reader_bytes(selection.read) in range(one, one + 17 * 1000)
    assert affordable_threads(source, selection, 8, 4 * one + 100_000) == 4
    assert affordable_threads(source, selection, 8, 100) == 1
    assert affordable_threads(source, selection, 2, 10**12) == 2
    arrays = open_source({"a": np.arange(4.0)})
    assert affordable_threads(arrays, Selection(arrays.schema), 8, 0) == 8


def test_memory_of_a_process_is_measured() -> None:
    peak = peak_memory("import numpy", "result = int(numpy.ones(50_000_000, numpy.uint8).sum(dtype=numpy.int64))")
    assert peak.result == 50_000_000
    assert 49_000_000 < peak.over_imports < 60_000_000  # the kernel counts pages in bulk
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        peak_memory("", "1 / 0")
