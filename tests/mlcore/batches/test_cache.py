"""Records that are kept for the next run: the same batches, of the source as it is, whatever happened to the files."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlcore.batches import Balance, BatchLoader, Cache, CacheWarning, Sample, SkippedRowsWarning
from mlcore.batches.cache import CacheWriter
from mlcore.batches.filling import Packer
from mlcore.batches.sources import Part
from mlcore.errors import InputError
from tests.mlcore.batches.damaged_files import damage, write
from tests.mlcore.batches.numbered_rows import LARGE, NAMES, ROWS, SMALL, rows_in


def epochs(loader: BatchLoader, count: int = 2) -> list[list[int]]:
    return [rows_in(loader.numpy()).tolist() for _ in range(count)]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("cut", [None, "f0 > -1", "f0 > 1", "f0 > 99"])
@pytest.mark.parametrize("first", [SMALL, LARGE])
@pytest.mark.parametrize("second", [SMALL, LARGE])
def test_the_next_loader_does_not_read_the_source(
    numbered_tree: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    shuffle: bool, cut: str | None, first: int, second: int,
) -> None:  # fmt: skip
    """And gives the same as one without a cache, whatever memory each has."""
    options: dict[str, Any] = {"target": "row", "filter": cut, "shuffle": shuffle, "seed": 6}
    wanted = epochs(BatchLoader(numbered_tree, NAMES, memory=LARGE, **options))
    assert epochs(BatchLoader(numbered_tree, NAMES, memory=first, cache=tmp_path, threads=3, **options)) == wanted

    def fail(*_: Any) -> int:
        raise AssertionError("the source was read")

    monkeypatch.setattr(Packer, "pack", fail)
    loader = BatchLoader(numbered_tree, NAMES, memory=second, cache=str(tmp_path), **options)
    assert epochs(loader) == wanted
    assert len(Cache(tmp_path).files) == 1


def test_features_are_those_of_their_rows(numbered_tree: str, numbered: dict[str, Any], tmp_path: Path) -> None:
    expected = np.stack([numbered[name] for name in NAMES], 1)
    for _ in range(2):
        for x, y in BatchLoader(numbered_tree, NAMES, target="row", cache=tmp_path).numpy():
            np.testing.assert_array_equal(x, expected[y.astype(np.int64)])


def test_what_is_asked_otherwise_has_a_file_of_its_own(numbered_tree: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"cache": tmp_path, "seed": 1, "target": "row"}
    loaders = [
        BatchLoader(numbered_tree, NAMES, **options),
        BatchLoader(numbered_tree, NAMES[:2], **options),
        BatchLoader(numbered_tree, NAMES, **options, dtype="float64"),
        BatchLoader(numbered_tree, NAMES, **options, filter="f0 > 0"),
        BatchLoader(numbered_tree, NAMES, **options, filter="f0 > 1"),
        BatchLoader(numbered_tree, ["a"], **options, define={"a": "f0 + f1"}),
        BatchLoader(numbered_tree, ["a"], **options, define={"a": "f0 - f1"}),
        BatchLoader(numbered_tree, NAMES, **options, shard=(0, 2)),
        BatchLoader(numbered_tree, NAMES, **options, shard=(1, 2)),
        *BatchLoader(numbered_tree, NAMES, **options).split().values(),
    ]
    for number, loader in enumerate(loaders, 1):
        wanted = loader.split(all=1)["all"]
        wanted._cache = None
        assert epochs(loader, 1) == epochs(wanted, 1)
        assert len(Cache(tmp_path).files) == number
    epochs(BatchLoader(numbered_tree, NAMES, target="row", cache=tmp_path, seed=99, batch_size=7, memory=SMALL), 1)
    assert len(Cache(tmp_path).files) == len(loaders)


def test_classes_are_balanced_from_the_cache(numbered: dict[str, Any], tmp_path: Path) -> None:
    table = {**numbered, "label": (numbered["f0"] > 1).astype(np.int32)}
    found = []
    for memory in (SMALL, LARGE, SMALL):
        loader = BatchLoader(
            table, ["row"], target="label", seed=4, memory=memory, balance=Balance("over"), cache=tmp_path, batch_size=1000
        )
        found.append(np.concatenate([x[:, 0] for x, _ in loader.numpy()]))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_a_source_that_changed_is_read_again(numbered: dict[str, Any], tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", **numbered)

    def sum_of_all() -> float:
        return float(sum(x.sum(dtype=np.float64) for x in BatchLoader(tmp_path / "rows.npz", ["row"], cache=tmp_path).numpy()))

    before = sum_of_all()
    np.savez(tmp_path / "rows.npz", **{**numbered, "row": numbered["row"] + 1})
    assert sum_of_all() == before + len(numbered["row"])
    assert len(Cache(tmp_path).files) == 1


def damage_header(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)


def damage_table(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def leave_nothing(path: Path) -> None:
    path.write_bytes(b"")


def damage_records(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100_000] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("spoil", [damage_header, damage_table, cut_short, leave_nothing])
@pytest.mark.parametrize("memory", [SMALL, LARGE])
def test_a_damaged_file_is_noticed(numbered_tree: str, tmp_path: Path, spoil: Any, memory: int) -> None:
    options: dict[str, Any] = {"target": "row", "cache": tmp_path, "seed": 6, "memory": memory}
    wanted = epochs(BatchLoader(numbered_tree, NAMES, **options))
    (path,) = Cache(tmp_path).files
    whole = path.stat().st_size
    spoil(path)
    with pytest.warns(CacheWarning, match="is written anew"):
        assert epochs(BatchLoader(numbered_tree, NAMES, **options)) == wanted
    assert path.stat().st_size == whole
    assert epochs(BatchLoader(numbered_tree, NAMES, **options)) == wanted  # which would be an error if it warned


def test_every_byte_is_checked_where_that_is_asked_for(numbered_tree: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"target": "row", "cache": Cache(tmp_path, verify=True), "seed": 6}
    wanted = epochs(BatchLoader(numbered_tree, NAMES, **options))
    assert epochs(BatchLoader(numbered_tree, NAMES, **options)) == wanted
    damage_records(*Cache(tmp_path).files)
    with pytest.warns(CacheWarning, match="others than were written"):
        assert epochs(BatchLoader(numbered_tree, NAMES, **options)) == wanted


def test_the_oldest_go_where_there_is_a_limit(numbered_tree: str, tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit="4 MB")
    for number, name in enumerate(["f0", "f1", "f2"]):  # 60 000 records of 16 bytes each: nearly 1 MB
        rows_in(BatchLoader(numbered_tree, [name], target="row", cache=cache).numpy())
        os.utime(cache.files[-1], (number, number))
    rows_in(BatchLoader(numbered_tree, ["f0"], target="row", cache=cache).numpy())  # is used last now
    first = cache.files[-1]
    rows_in(BatchLoader(numbered_tree, NAMES, target="row", cache=cache).numpy())  # twice as large
    assert first in cache.files
    assert len(cache.files) == 3
    assert cache.bytes_on_disk <= 4_000_000
    loader = BatchLoader(numbered_tree, NAMES, target="row", cache=Cache(tmp_path / "small", limit="1 MB"), seed=3)
    with pytest.warns(CacheWarning, match="the limit is 1000000"):
        found = epochs(loader)
    assert found == epochs(BatchLoader(numbered_tree, NAMES, target="row", seed=3))
    assert not Cache(tmp_path / "small").files
    cache.clear()
    assert cache.bytes_on_disk == 0
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("memory", [SMALL, LARGE])
def test_a_full_disk_costs_the_cache_alone(
    numbered_tree: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(CacheWriter, "_write", fail)
    loader = BatchLoader(numbered_tree, NAMES, target="row", cache=tmp_path, seed=3, memory=memory)
    with pytest.warns(CacheWarning, match="no space"):
        found = epochs(loader)
    assert found == epochs(BatchLoader(numbered_tree, NAMES, target="row", seed=3))
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]


def test_a_run_that_is_broken_off_leaves_nothing(numbered_tree: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(BatchLoader(numbered_tree, target="row", cache=tmp_path, progress=stop).numpy())
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]


def test_what_a_killed_process_left_goes(numbered_tree: str, tmp_path: Path) -> None:
    loader = BatchLoader(numbered_tree, target="row", cache=tmp_path)
    rows_in(loader.numpy())
    (path,) = Cache(tmp_path).files
    left, other = path.with_suffix(".abcd.part"), tmp_path / "other.abcd.part"
    for each in (left, other):
        each.write_bytes(b"some")
    Cache(tmp_path).clear()
    rows_in(BatchLoader(numbered_tree, target="row", cache=tmp_path).numpy())
    assert other.exists()
    assert not left.exists()


def test_what_cannot_be_known_again_is_refused(numbered_tree: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as an RDataFrame, whose fingerprint is of this process alone."""
    monkeypatch.setattr(Part, "lasting", False)
    with pytest.raises(InputError, match="known again"):
        BatchLoader([Sample(numbered_tree, label=1)], cache=tmp_path)
    with pytest.raises(InputError, match="known again"):
        BatchLoader(numbered_tree, friends=[numbered_tree], cache=tmp_path)


@pytest.mark.parametrize("memory", [SMALL, LARGE])
def test_damaged_rows_are_not_kept_as_if_they_were_all(numbered: dict[str, Any], tmp_path: Path, memory: int) -> None:
    path = write(tmp_path / "events.root", "tree", numbered)
    start, stop = damage(path, "f1", 20_000)
    for _ in range(2):
        loader = BatchLoader(path, NAMES, target="row", on_error="skip", cache=tmp_path / "cache", memory=memory)
        with pytest.warns(SkippedRowsWarning):
            rows = rows_in(loader.numpy())
        assert start not in rows
        assert 0 < loader.skipped.rows == ROWS - len(rows) <= stop - start + 8192
    assert not Cache(tmp_path / "cache").files


def test_folders_that_cannot_be_used(numbered_tree: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot hold a cache"):
        next(BatchLoader(numbered_tree, target="row", cache=tmp_path / "file").numpy())
    with pytest.raises(InputError, match="no amount"):
        Cache(tmp_path, limit="little")
    with pytest.raises(InputError, match="keeps nothing"):
        BatchLoader(numbered_tree, target="row", cache=tmp_path, shuffle="buffer")


def _run(source: str, cache: Path, results: Any) -> None:
    results.put(rows_in(BatchLoader(source, ["f0"], target="row", cache=cache, seed=8).numpy()).tolist())


def test_processes_that_start_together_read_once(numbered_tree: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=_run, args=(numbered_tree, tmp_path, results)) for _ in range(3)]
    for process in processes:
        process.start()
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert found[0] == found[1] == found[2] == epochs(BatchLoader(numbered_tree, ["f0"], target="row", seed=8), 1)[0]
    assert len(Cache(tmp_path).files) == 1
    assert not list(tmp_path.glob("*.part"))
