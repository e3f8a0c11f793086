"""The order of rows, their gathering and their way over the disk, against plain NumPy."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kernels
from kernels import reference_rows

SEEDS = st.integers(0, 2**64 - 1)
ID_OFFSET = 9


def records_of(ids: npt.NDArray[Any], id_bytes: int = 4, record_bytes: int = 21) -> npt.NDArray[np.uint8]:
    """Random records that hold these numbers at an offset that is a multiple of nothing."""
    records = np.random.default_rng(len(ids)).integers(0, 256, (len(ids), record_bytes), np.uint8)
    numbers = ids.astype(f"u{id_bytes}").view(np.uint8).reshape(len(ids), id_bytes)
    records[:, ID_OFFSET : ID_OFFSET + id_bytes] = numbers
    return records


@given(SEEDS, SEEDS, st.lists(SEEDS, max_size=50))
def test_keys_are_those_of_the_oracle(seed: int, epoch: int, ids: list[int]) -> None:
    numbers = np.array(ids, np.uint64)
    np.testing.assert_array_equal(kernels.row_keys(numbers, seed, epoch), reference_rows.row_keys(numbers, seed, epoch))


@given(st.integers(0, 30_000), st.integers(0, 2**40), SEEDS, st.integers(0, 1000))
def test_the_order_is_that_of_the_keys(count: int, first: int, seed: int, epoch: int) -> None:
    ids = np.arange(first, first + count, dtype=np.uint64)
    expected = np.argsort(reference_rows.row_keys(ids, seed, epoch))
    np.testing.assert_array_equal(kernels.order_of_range(first, count, seed, epoch), expected)
    np.testing.assert_array_equal(kernels.order_of_ids(ids, seed, epoch), expected)
    np.testing.assert_array_equal(kernels.order_of_records(records_of(ids, 8), ID_OFFSET, 8, seed, epoch), expected)


def test_keys_that_share_their_upper_half_are_told_apart() -> None:
    """Two numbers of one upper half of a key are found among some hundred thousand; they are in order as well."""
    ids = np.arange(400_000, dtype=np.uint64)
    keys = reference_rows.row_keys(ids, 5, 0)
    assert len(np.unique(keys >> np.uint64(32))) < len(ids)
    np.testing.assert_array_equal(kernels.order_of_range(0, len(ids), 5, 0), np.argsort(keys))


def test_orders_are_uniform_and_those_of_consecutive_epochs_independent() -> None:
    """Chi-square of region against position, of 20 x 20 cells: within five sigma of its 361 degrees of freedom."""
    n, cells = 200_000, 20
    last = np.arange(n)
    for epoch in range(6):
        order = kernels.order_of_range(0, n, 11, epoch)
        position = np.empty(n, np.int64)
        position[order] = np.arange(n)
        table = np.zeros((cells, cells))
        np.add.at(table, (last * cells // n, position * cells // n), 1)
        expected = n / cells**2
        chi_square = float(((table - expected) ** 2 / expected).sum())
        freedom = (cells - 1) ** 2
        assert abs(chi_square - freedom) < 5 * np.sqrt(2 * freedom), epoch
        last = position


@given(st.integers(0, 300), st.integers(1, 90), st.data())
def test_parts_of_records_are_gathered(count: int, record_bytes: int, data: st.DataObject) -> None:
    records = np.random.default_rng(count).integers(0, 256, (200, record_bytes), np.uint8)
    order = np.array(data.draw(st.lists(st.integers(0, 199), min_size=count, max_size=count)), np.uint32)
    offset = data.draw(st.integers(0, record_bytes - 1))
    width = data.draw(st.integers(1, record_bytes - offset))
    whole, part = np.empty((count, record_bytes), np.uint8), np.empty((count, width), np.uint8)
    kernels.gather_rows(records, order, [0, offset], [whole, part])
    np.testing.assert_array_equal(whole, records[order])
    np.testing.assert_array_equal(part, records[order][:, offset : offset + width])


def test_what_does_not_fit_a_record_is_refused() -> None:
    records, order = np.zeros((3, 8), np.uint8), np.array([0, 2], np.uint32)
    with pytest.raises(IndexError, match="not there"):
        kernels.gather_rows(records, np.array([3], np.uint32), [0], [np.empty(1, np.float32)])
    with pytest.raises(ValueError, match="within the record"):
        kernels.gather_rows(records, order, [6], [np.empty(2, np.float32)])
    with pytest.raises(ValueError, match="as many rows"):
        kernels.gather_rows(records, order, [0], [np.empty(3, np.float32)])
    with pytest.raises(ValueError, match="as many offsets"):
        kernels.gather_rows(records, order, [0, 4], [np.empty(2, np.float32)])
    with pytest.raises(ValueError, match="row's number"):
        kernels.order_of_records(records, 5, 4, 0, 0)


@pytest.mark.parametrize("id_bytes", [4, 8])
def test_rows_come_back_from_disk_in_their_buckets_epoch_after_epoch(tmp_path: Path, id_bytes: int) -> None:
    """Of two writers; every row once in every generation, in blocks that the generation before has left."""
    n, buckets, seed = 5000, 7, 3
    records = records_of(np.arange(n), id_bytes)
    file = kernels.SpillFile(str(tmp_path), records.shape[1], ID_OFFSET, id_bytes, 512)
    writers = [kernels.SpillWriter(file), kernels.SpillWriter(file)]
    file.begin(buckets, seed, 0)
    for number, start in enumerate(range(0, n, 700)):
        writers[number % 2].add(records[start : start + 700])
    for writer in writers:
        writer.flush()
    file.turn()
    sizes = []
    for epoch in range(4):
        counts = file.counts()
        assert counts.sum() == n
        file.begin(buckets, seed, epoch + 1)
        bucket_of = reference_rows.bucket_of(reference_rows.row_keys(np.arange(n, dtype=np.uint64), seed, epoch), buckets)
        for bucket in range(buckets):
            out = np.empty((int(counts[bucket]), records.shape[1]), np.uint8)
            assert file.read(bucket, out) == len(out)
            file.release(bucket)
            ids = out[:, ID_OFFSET : ID_OFFSET + id_bytes].copy().view(f"u{id_bytes}")[:, 0]
            np.testing.assert_array_equal(np.sort(ids), np.flatnonzero(bucket_of == bucket))
            np.testing.assert_array_equal(out, records[ids])
            writers[0].add(out)
        writers[0].flush()
        file.turn()
        sizes.append(file.bytes_on_disk)
    assert sizes[-1] < 1.5 * records.nbytes
    assert list(tmp_path.iterdir()) == []  # the file has no name


@pytest.mark.parametrize("memory_bytes", [0, 700, 30_000, 10**7])
def test_rows_go_from_epoch_to_epoch_in_memory_and_on_disk(tmp_path: Path, memory_bytes: int) -> None:
    """Read and passed on in one; with keys, by which they are in order."""
    n, buckets, seed = 5000, 7, 3
    records = records_of(np.arange(n), 8, 45)
    file = kernels.SpillFile(str(tmp_path), records.shape[1], ID_OFFSET, 8, 512, memory_bytes)
    writer = kernels.SpillWriter(file)
    file.begin(buckets, seed, 0)
    writer.add(records)
    writer.flush()
    file.turn()
    for epoch in range(4):
        room = np.empty((int(file.counts().max()), records.shape[1]), np.uint8)
        keys = np.empty(len(room), np.uint64)
        file.begin(buckets, seed, epoch + 1)
        expected = reference_rows.row_keys(np.arange(n, dtype=np.uint64), seed, epoch)
        found = []
        for bucket in range(buckets):
            rows = writer.take(bucket, room, keys)
            assert file.counts()[bucket] == 0
            ids = room[:rows, ID_OFFSET : ID_OFFSET + 8].copy().view(np.uint64)[:, 0]
            np.testing.assert_array_equal(keys[:rows], expected[ids])
            np.testing.assert_array_equal(room[:rows], records[ids])
            found.append(ids[kernels.order_of_keys(keys[:rows], buckets)])
        np.testing.assert_array_equal(np.concatenate(found), np.argsort(expected))
        writer.flush()
        file.turn()
    assert (file.bytes_on_disk == 0) == (memory_bytes == 10**7)
    assert file.bytes_on_disk + memory_bytes < 1.6 * records.nbytes + 10**7 * (memory_bytes == 10**7)
    with pytest.raises(OSError, match="no generation"):
        writer.take(0, room, keys)
    file.begin(1, 0, 0)
    with pytest.raises(OSError, match="larger than the memory"):
        writer.take(0, room[:3], keys)
    with pytest.raises(OSError, match="no such bucket"):
        writer.take(buckets, room, keys)


def test_keys_of_one_bucket_are_put_in_order() -> None:
    """Also those that share their upper half."""
    rng = np.random.default_rng(4)
    for buckets in (1, 2, 37, 1000):
        upper = rng.integers(0, 2**32, 300_000, np.uint64)
        upper = upper[(upper * np.uint64(buckets)) >> np.uint64(32) == 0]
        upper[::3] = upper[0]
        keys = upper << np.uint64(32) | rng.integers(0, 2**32, len(upper), np.uint64)
        np.testing.assert_array_equal(keys[kernels.order_of_keys(keys, buckets)], np.sort(keys))
    assert len(kernels.order_of_keys(np.zeros(0, np.uint64), 3)) == 0
    with pytest.raises(ValueError, match="no buckets"):
        kernels.order_of_keys(np.zeros(1, np.uint64), 0)


def test_a_bucket_that_does_not_fit_is_not_cut(tmp_path: Path) -> None:
    records = records_of(np.arange(100))
    file = kernels.SpillFile(str(tmp_path), records.shape[1], ID_OFFSET, 4, 512)
    writer = kernels.SpillWriter(file)
    with pytest.raises(OSError, match="no generation"):
        writer.add(records)
    file.begin(1, 0, 0)
    writer.add(records)
    writer.flush()
    file.turn()
    with pytest.raises(OSError, match="larger than the memory"):
        file.read(0, np.empty((99, records.shape[1]), np.uint8))
    with pytest.raises(OSError, match="no such bucket"):
        file.read(1, np.empty((100, records.shape[1]), np.uint8))


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere") as caught:
        kernels.SpillFile(str(tmp_path / "nowhere"), 21, ID_OFFSET, 4, 512)
    assert caught.value.errno == errno.ENOENT


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system is mounted by root alone")
def test_a_full_disk_is_an_error() -> None:
    """On a file system of 64 kB, if one can be mounted."""
    import subprocess
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, check=False)
        if mounted.returncode:
            pytest.skip("mounting is not allowed here")
        try:
            records = records_of(np.arange(10_000))
            file = kernels.SpillFile(folder, records.shape[1], ID_OFFSET, 4, 4096)
            file.begin(2, 0, 0)
            with pytest.raises(OSError, match="writing rows") as caught:
                kernels.SpillWriter(file).add(records)
            assert caught.value.errno == errno.ENOSPC
            del file
        finally:
            subprocess.run(["umount", "-l", folder], check=False)
