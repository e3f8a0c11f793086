"""Shards by files and clusters, and orders through a buffer: every row once, whoever reads it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlcore.batches import Balance, BatchLoader
from mlcore.batches.clusters import clusters
from mlcore.batches.filling import Packer
from mlcore.batches.selection import Selection
from mlcore.batches.sources import open_source
from mlcore.errors import InputError
from tests.mlcore.batches.numbered_rows import LARGE, NAMES, ROWS, SMALL, mixing, rows_in

CLUSTER = 5000


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    world=st.integers(1, 7),
    memory=st.sampled_from([SMALL, LARGE]),
    shuffle=st.sampled_from([True, False, "buffer"]),
    cut=st.sampled_from([None, "f0 > 0"]),
    threads=st.integers(1, 3),
)
def test_shards_are_disjoint_and_all(
    numbered_tree: str, numbered: dict[str, Any], world: int, memory: int, shuffle: Any, cut: str | None, threads: int
) -> None:
    parts = [
        BatchLoader(
            numbered_tree, NAMES, target="row", shard=(rank, world), memory=memory, shuffle=shuffle, filter=cut,
            threads=threads, seed=2,
        )
        for rank in range(world)
    ]  # fmt: skip
    expected = np.arange(ROWS) if cut is None else np.flatnonzero(numbered["f0"] > 0)
    for _ in range(2):
        orders = [rows_in(part.numpy()) for part in parts]
        np.testing.assert_array_equal(np.sort(np.concatenate(orders)), expected)
    if cut is None:
        sizes = [part.rows for part in parts]
        assert sizes == [len(order) for order in orders]
        assert max(sizes) - min(sizes) <= CLUSTER
    if not shuffle:
        assert all((np.diff(order) > 0).all() for order in orders)


def test_a_shard_is_in_the_same_order_from_memory_and_disk(numbered_tree: str) -> None:
    found = []
    for memory in (SMALL, LARGE):
        loader = BatchLoader(numbered_tree, [*NAMES, "row"], target="row", shard=(1, 2), memory=memory, seed=2)
        found.append([rows_in(loader.numpy()) for _ in range(2)])
        assert loader.mode == ("memory" if memory == LARGE else "spill")
    np.testing.assert_array_equal(found[0], found[1])


def test_a_shard_has_its_part_of_every_file(numbered: dict[str, Any]) -> None:
    """Also where a file is one cluster."""
    files = [{name: values[start : start + 20_000] for name, values in numbered.items()} for start in range(0, ROWS, 20_000)]
    for rank in range(3):
        rows = rows_in(BatchLoader(files, ["f0"], target="row", shard=(rank, 3)).numpy())
        for start in range(0, ROWS, 20_000):
            assert 5000 < ((rows >= start) & (rows < start + 20_000)).sum() < 8500


def test_shards_of_a_split(numbered_tree: str) -> None:
    parts = [BatchLoader(numbered_tree, ["f0"], target="row", shard=(rank, 2)).split() for rank in range(2)]
    rows = [rows_in(loader.numpy()) for part in parts for loader in part.values()]
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(ROWS))


def test_there_may_be_more_shards_than_rows() -> None:
    table = {"row": np.arange(3), "f0": np.zeros(3)}
    rows = [rows_in(BatchLoader(table, ["f0"], target="row", shard=(rank, 5)).numpy()) for rank in range(5)]
    assert sorted(np.concatenate(rows).tolist()) == [0, 1, 2]


@pytest.mark.parametrize("shard", [(2, 2), (-1, 2), (0, 0)])
def test_what_is_no_shard(numbered_tree: str, shard: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="is none"):
        BatchLoader(numbered_tree, shard=shard)


def test_units_of_a_source(numbered_tree: str) -> None:
    source = open_source(numbered_tree)
    selection = Selection(source.schema)
    for most, least in ((10**6, 1), (3000, 1), (10**6, 8192), (1, 1)):
        units = clusters(source, selection, most=most, least=least)
        assert [unit.first for unit in units] == [unit.start for unit in units]
        assert units[0].start == 0
        assert all(one.stop == two.start for one, two in itertools.pairwise(units))
        assert units[-1].stop == ROWS
        assert max(unit.stop - unit.start for unit in units) <= max(most, 2 * least)
        assert least <= min(unit.stop - unit.start for unit in units[:-1])


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    memory=st.sampled_from([SMALL, 2 * SMALL, LARGE]),
    cut=st.sampled_from([None, "f0 > 0", "f0 > 99"]),
    batch_size=st.sampled_from([64, 1000, 70_000]),
    seed=st.integers(0, 2**63),
)
def test_through_a_buffer_every_row_comes_once(
    numbered_tree: str, numbered: dict[str, Any], memory: int, cut: str | None, batch_size: int, seed: int
) -> None:
    """In an order that seed and epoch decide, and no thread."""
    threshold = -99 if cut is None else float(cut.split()[-1])
    expected = np.stack([numbered[name] for name in NAMES], 1)
    orders = []
    for threads in (1, 3):
        loader = BatchLoader(
            numbered_tree, NAMES, target="row", filter=cut, shuffle="buffer", memory=memory, threads=threads, seed=seed,
            batch_size=batch_size,
        )  # fmt: skip
        assert loader.mode == "buffer"
        found = []
        for _ in range(2):
            rows = []
            for x, y in loader.numpy():
                np.testing.assert_array_equal(x, expected[y.astype(np.int64)])
                rows.append(y.astype(np.int64))
            found.append(np.concatenate(rows) if rows else np.empty(0, np.int64))
            np.testing.assert_array_equal(np.sort(found[-1]), np.flatnonzero(numbered["f0"] > threshold))
        assert loader.rows == len(found[0])
        orders.append(found)
    for one, two in zip(*orders, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not len(orders[0][0]) or not np.array_equal(*orders[0])


def test_how_a_buffer_mixes(numbered_tree: str) -> None:
    """Uniformly where it holds everything; else better than clusters, and not uniformly, as is said."""
    large = BatchLoader(numbered_tree, NAMES, target="row", shuffle="buffer", memory=LARGE, seed=4)
    assert 0.9 < mixing([rows_in(large.numpy()) for _ in range(24)], ROWS) < 1.1
    small = BatchLoader(numbered_tree, NAMES, target="row", shuffle="buffer", memory=SMALL, seed=4)
    orders = [rows_in(small.numpy()) for _ in range(24)]
    assert mixing(orders[:1], ROWS) > 10
    batch = orders[0][20_000:21_000]
    assert len(np.unique(batch // CLUSTER)) > 3
    assert not np.array_equal(orders[0] // CLUSTER, orders[1] // CLUSTER)


def test_a_buffer_reads_each_row_once_an_epoch(numbered_tree: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    pack = Packer.pack

    def count(self: Packer, task: Any, start: int, stop: int, out: Any) -> int:
        read.append(stop - start)
        return pack(self, task, start, stop, out)

    monkeypatch.setattr(Packer, "pack", count)
    loader = BatchLoader(numbered_tree, NAMES, target="row", shuffle="buffer", memory=SMALL)
    assert len(loader) == -(-ROWS // 1024)
    assert not read
    rows_in(loader.numpy())
    assert sum(read) == ROWS


def test_what_does_not_go_with_a_buffer(numbered_tree: str) -> None:
    with pytest.raises(InputError, match="random order"):
        BatchLoader(numbered_tree, NAMES, target="row", shuffle="buffer", balance=Balance("over"))
    with pytest.raises(InputError, match="'pool' is unknown"):
        BatchLoader(numbered_tree, NAMES, shuffle="pool")  # type: ignore[arg-type]
