"""Batches: every row exactly once an epoch, in one order for a seed, from memory and from disk."""

from __future__ import annotations

import errno
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import uproot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlcore.batches import BatchLoader
from mlcore.batches.loader import memory_bytes
from mlcore.batches.spilling import SpillStore
from mlcore.errors import DataError, InputError

ROWS = 60_000
SMALL = 1_000_000
"""Bytes of memory that the rows of the file do not fit."""


@pytest.fixture(scope="module")
def arrays() -> dict[str, npt.NDArray[Any]]:
    rng = np.random.default_rng(8)
    features = {f"f{i}": rng.standard_normal(ROWS).astype(np.float32) for i in range(5)}
    return {**features, "row": np.arange(ROWS, dtype=np.int32), "weight": rng.random(ROWS)}


@pytest.fixture(scope="module")
def file(arrays: dict[str, npt.NDArray[Any]], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A TTree of several clusters."""
    path = tmp_path_factory.mktemp("batches") / "events.root"
    with uproot.recreate(path) as root:
        tree = root.mktree("Events", {name: array.dtype for name, array in arrays.items()})
        for start in range(0, ROWS, 17_000):
            tree.extend({name: array[start : start + 17_000] for name, array in arrays.items()})
    return f"{path}:Events"


def rows_of(loader: BatchLoader) -> npt.NDArray[np.int64]:
    """The numbers of the rows of the next epoch, in their order; the target is the number."""
    return np.concatenate([y for _, y, *_ in loader.numpy()]).astype(np.int64)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batch_size=st.integers(1, 20_000).filter(lambda size: size > 200 or size == 37),
    threads=st.integers(1, 3),
    memory=st.sampled_from([SMALL, 64_000_000]),
    cut=st.sampled_from([None, "f0 > 0.3", "f0 > 100"]),
    seed=st.integers(0, 2**63),
)
def test_every_row_comes_once(
    file: str, arrays: dict[str, Any], batch_size: int, threads: int, memory: int, cut: str | None, seed: int
) -> None:
    """And with its own features, whatever the mode, the threads and the cut are."""
    columns = [f"f{i}" for i in range(5)]
    loader = BatchLoader(
        file, columns, target="row", filter=cut, batch_size=batch_size, threads=threads, memory=memory, seed=seed
    )
    kept = {None: arrays["f0"] > -np.inf, "f0 > 0.3": arrays["f0"] > 0.3, "f0 > 100": arrays["f0"] > 100}[cut]
    expected = np.stack([arrays[name] for name in columns], 1)
    assert loader.mode == ("spill" if kept.sum() * 44 > memory else "memory")
    orders = []
    for _ in range(2):
        sizes, order = [], []
        for x, y in loader.numpy():
            np.testing.assert_array_equal(x, expected[y.astype(np.int64)])
            sizes.append(len(x))
            order.append(y)
        assert len(sizes) == len(loader)
        assert all(size == batch_size for size in sizes[:-1])
        orders.append(np.concatenate(order).astype(np.int64) if order else np.empty(0, np.int64))
        np.testing.assert_array_equal(np.sort(orders[-1]), np.flatnonzero(kept))
    assert not len(orders[0]) or not np.array_equal(orders[0], orders[1])


@pytest.mark.parametrize("cut", [None, "f1 < 0"])
def test_memory_disk_and_threads_give_one_order(file: str, cut: str | None) -> None:
    orders = []
    for memory, threads in ((SMALL, 1), (SMALL, 3), (2 * SMALL, 2), (64_000_000, 1), (64_000_000, 3)):
        loader = BatchLoader(file, ["f0"], target="row", filter=cut, memory=memory, threads=threads, seed=5)
        orders.append([rows_of(loader) for _ in range(3)])
    for other in orders[1:]:
        np.testing.assert_array_equal(other, orders[0])


def test_an_epoch_that_is_left_loses_nothing(file: str) -> None:
    """On disk rows move on as they are consumed: what was not is moved before the next epoch, also to one that is chosen."""
    wanted = BatchLoader(file, ["f0"], target="row", seed=5)
    expected = [rows_of(wanted) for _ in range(4)]
    loader = BatchLoader(file, ["f0"], target="row", seed=5, memory=SMALL)
    for _ in itertools.islice(loader.numpy(), 3):
        pass
    np.testing.assert_array_equal(rows_of(loader), expected[1])
    loader.epoch = 3
    np.testing.assert_array_equal(rows_of(loader), expected[3])
    loader.epoch = 0
    np.testing.assert_array_equal(rows_of(loader), expected[0])


def test_two_epochs_at_once_are_told_apart_or_refused(file: str) -> None:
    """From memory both are whole; on disk the first one is refused rather than cut short."""
    wanted = [rows_of(loader) for loader in [BatchLoader(file, ["f0"], target="row", seed=5)] for _ in range(2)]
    both = BatchLoader(file, ["f0"], target="row", seed=5)
    pairs = zip(both.numpy(), both.numpy(), strict=True)
    found = [np.concatenate(parts) for parts in zip(*((a[1], b[1]) for a, b in pairs), strict=True)]
    np.testing.assert_array_equal(found, wanted)
    loader = BatchLoader(file, target="row", seed=5, memory=SMALL)
    first = loader.numpy()
    next(first)
    np.testing.assert_array_equal(rows_of(loader), wanted[1])
    with pytest.raises(InputError, match="another epoch"):
        list(first)
    np.testing.assert_array_equal(np.sort(rows_of(loader)), np.arange(ROWS))


def test_a_disk_that_fails_loses_no_row(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = BatchLoader(file, target="row", seed=5, memory=SMALL)
    batches = loader.numpy()
    next(batches)

    def fail(self: SpillStore, records: Any, keys: Any) -> int:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(SpillStore, "_take", fail)
        with pytest.raises(OSError, match="rows cannot be kept"):
            list(batches)
    np.testing.assert_array_equal(rows_of(loader), rows_of_epoch(file, 1))


def rows_of_epoch(file: str, epoch: int) -> npt.NDArray[np.int64]:
    """Of a loader in memory, of seed 5."""
    loader = BatchLoader(file, ["f0"], target="row", seed=5)
    loader.epoch = epoch
    return rows_of(loader)


@pytest.mark.parametrize("memory", [SMALL, 64_000_000])
def test_rows_are_mixed_over_the_whole_file(file: str, memory: int) -> None:
    """Chi-square of region against position, of 10 x 10 cells: within five sigma of its 81 degrees of freedom."""
    loader = BatchLoader(file, ["f0"], target="row", memory=memory, seed=1)
    for _ in range(2):
        table = np.zeros((10, 10))
        np.add.at(table, (rows_of(loader) * 10 // ROWS, np.arange(ROWS) * 10 // ROWS), 1)
        chi_square = float(((table - ROWS / 100) ** 2 / (ROWS / 100)).sum())
        assert abs(chi_square - 81) < 5 * np.sqrt(2 * 81)


@pytest.mark.parametrize(("memory", "columns", "mode"), [(SMALL, 5, "stream"), (SMALL, 1, "memory"), (64_000_000, 1, "memory")])
def test_without_shuffling_rows_keep_their_order(file: str, arrays: dict[str, Any], memory: int, columns: int, mode: str) -> None:
    names = [f"f{i}" for i in range(columns)]
    loader = BatchLoader(file, names, target="row", shuffle=False, filter="f2 > 0", memory=memory, batch_size=1000)
    assert loader.mode == mode
    for _ in range(2):
        np.testing.assert_array_equal(rows_of(loader), np.flatnonzero(arrays["f2"] > 0))
    assert len(loader) == -(-int((arrays["f2"] > 0).sum()) // 1000)


def test_batches_are_not_overwritten(file: str) -> None:
    loader = BatchLoader(file, ["f0", "f1"], target="row", seed=2, batch_size=100)
    kept = [(x, x.copy()) for x, _ in loader.numpy()]
    assert all(np.array_equal(x, copy) for x, copy in kept)


def test_what_a_batch_is_made_of(file: str, arrays: dict[str, Any]) -> None:
    loader = BatchLoader(
        file,
        ["sum", "f3"],
        target=["row"],
        weight="weight",
        define={"sum": "f0 + f1", "twice": "2 * sum"},
        filter="twice > 1",
        dtype="float64",
        shuffle=False,
        drop_remainder=True,
        batch_size=1000,
    )
    batches = list(loader.numpy())
    total = arrays["f0"].astype(np.float64) + arrays["f1"]
    chosen = np.flatnonzero(2 * total > 1)
    assert len(batches) == len(loader) == len(chosen) // 1000
    x, y, w = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    chosen = chosen[: len(x)]
    np.testing.assert_array_equal(x, np.stack([total[chosen], arrays["f3"][chosen]], 1))
    np.testing.assert_array_equal(y, chosen[:, None])
    np.testing.assert_array_equal(w, arrays["weight"][chosen])
    assert loader.feature_names == ("sum", "f3")


def test_jagged_columns_are_padded(tmp_path: Path) -> None:
    awkward = pytest.importorskip("awkward")
    values = [[1.0, 2.0, 3.0], [], [4.0]]
    with uproot.recreate(tmp_path / "jets.root") as root:
        root.mktree("Events", {"jets": "var * float32", "n": "int32"}).extend({"jets": awkward.Array(values), "n": [3, 0, 1]})
    loader = BatchLoader(tmp_path / "jets.root", ["jets"], pad={"jets": 2}, tree="Events", shuffle=False)
    np.testing.assert_array_equal(next(loader.numpy()), [[1, 2], [0, 0], [4, 0]])
    assert loader.feature_names == ("jets[0]", "jets[1]")
    with pytest.raises(InputError, match="another number of values") as caught:
        BatchLoader(tmp_path / "jets.root", ["jets"], tree="Events")
    assert "pad=" in caught.value.hint


def test_tensors_share_what_was_gathered(file: str) -> None:
    torch = pytest.importorskip("torch")
    arrays = BatchLoader(file, target="row", seed=4, batch_size=500).numpy()
    tensors = BatchLoader(file, target="row", seed=4, batch_size=500).torch()
    for (x, y), (tx, ty) in zip(arrays, tensors, strict=True):
        assert tx.dtype == torch.float32
        np.testing.assert_array_equal(tx.numpy(), x)
        np.testing.assert_array_equal(ty.numpy(), y)


def test_what_is_asked_wrongly_is_said(file: str) -> None:
    with pytest.raises(DataError, match="no column 'f9'") as missing:
        BatchLoader(file, ["f9"])
    assert "f4" in missing.value.hint
    with pytest.raises(InputError, match="f9"):
        BatchLoader(file, ["f0"], filter="f9 > 1")
    with pytest.raises(InputError, match="already"):
        BatchLoader(file, ["f0"], define={"f1": "f0"})
    with pytest.raises(InputError, match="batch of 0 rows"):
        BatchLoader(file, batch_size=0)
    with pytest.raises(InputError, match="-1 is no seed"):
        BatchLoader(file, seed=-1)
    with pytest.raises(InputError, match="float32 or float64"):
        BatchLoader(file, dtype="float16")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no amount of memory"):
        BatchLoader(file, memory="much")


def test_a_folder_that_is_not_there_is_named(file: str, tmp_path: Path) -> None:
    loader = BatchLoader(file, memory=SMALL, spill_directory=tmp_path / "nowhere")
    with pytest.raises(OSError, match=r"rows cannot be kept in .*nowhere"):
        next(loader.numpy())


@pytest.mark.parametrize(
    ("text", "size"),
    [("256 MB", 256_000_000), ("2GiB", 2 * 1024**3), ("1.5 g", 1_500_000_000), ("64M", 64_000_000), (5_000_000, 5_000_000)],
)
def test_amounts_of_memory(text: str | int, size: int) -> None:
    assert memory_bytes(text) == size
    with pytest.raises(InputError, match="too little"):
        memory_bytes("10 kB")
