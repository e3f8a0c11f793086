"""PyTorch's DataLoader: the same batches for any number of workers, and a part of them for each rank."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlcore.batches import BatchLoader, Sample
from mlcore.errors import InputError
from tests.mlcore.batches.numbered_rows import LARGE, NAMES, ROWS, SMALL, rows_in

torch = pytest.importorskip("torch")
data = torch.utils.data


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """PyTorch warns of forks beside threads, and of more workers than this machine has processors for."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=".*create.*worker processes.*", category=UserWarning)
        yield


def served(dataset: Any, **options: Any) -> Any:
    return data.DataLoader(dataset, batch_size=None, **options)


OPTIONS: dict[str, dict[str, Any]] = {
    "memory": {"memory": LARGE},
    "spill": {"memory": SMALL},
    "filter": {"memory": LARGE, "filter": "f0 > 0"},
    "stream": {"memory": SMALL, "shuffle": False},
    "buffer": {"memory": SMALL, "shuffle": "buffer"},
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(("workers", "persistent"), [(0, False), (1, False), (3, False), (1, True), (3, True)])
def test_batches_are_the_same_for_any_number_of_workers(numbered_tree: str, options: str, workers: int, persistent: bool) -> None:
    """Epoch after epoch, without being told which it is."""
    loader = BatchLoader(numbered_tree, NAMES, target="row", seed=5, batch_size=1000, **OPTIONS[options])
    wanted = BatchLoader(numbered_tree, NAMES, target="row", seed=5, batch_size=1000, **OPTIONS[options])
    batches = served(loader.dataset(), num_workers=workers, persistent_workers=persistent)
    for _ in range(3):
        for (x, y), (x2, y2) in zip(batches, wanted.torch(), strict=True):
            assert torch.equal(x, x2)
            assert torch.equal(y, y2)


def test_workers_that_are_spawned(numbered_tree: str) -> None:
    """They open the source themselves, and are told the epoch."""
    loader = BatchLoader(numbered_tree, NAMES, target="row", batch_size=1000, progress=lambda done, total: None)
    dataset = loader.split()["train"].dataset()
    batches = served(dataset, num_workers=2, multiprocessing_context="spawn", persistent_workers=True)
    expected = BatchLoader(numbered_tree, NAMES, target="row", batch_size=1000, seed=loader.seed).split()["train"]
    for epoch in (0, 4):
        dataset.set_epoch(epoch)
        expected.epoch = epoch
        np.testing.assert_array_equal(rows_in(batches), rows_in(expected.torch()))


def test_forked_workers_do_not_read_the_source_again(numbered_tree: str, tmp_path: Any) -> None:
    log = tmp_path / "log"

    def progress(done: int, total: int) -> None:
        with log.open("a") as file:
            file.write(f"{done}\n")

    loader = BatchLoader(numbered_tree, NAMES, target="row", progress=progress, threads=1)
    batches = served(loader.dataset(), num_workers=2, multiprocessing_context="fork")
    assert len(np.unique(rows_in(batches))) == ROWS
    assert log.read_text().split() == [str(ROWS)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    options=st.sampled_from(sorted(OPTIONS)),
    world=st.integers(1, 7),
    batch_size=st.sampled_from([100, 999, 20_000]),
    even=st.booleans(),
    drop=st.booleans(),
    epoch=st.integers(0, 3),
)
def test_ranks_share_the_rows(
    numbered_tree: str, numbered: dict[str, Any], options: str, world: int, batch_size: int, even: bool, drop: bool, epoch: int
) -> None:
    loader = BatchLoader(
        numbered_tree, NAMES, target="row", seed=5, batch_size=batch_size, drop_remainder=drop, **OPTIONS[options]
    )
    kept = ROWS if "filter" not in OPTIONS[options] else int((numbered["f0"] > 0).sum())
    found, lengths = [], []
    for rank in range(world):
        dataset = loader.dataset(rank=rank, world=world, even=even)
        dataset.set_epoch(epoch)
        batches = list(dataset)
        assert len(batches) == len(dataset)
        lengths.append(len(batches))
        found.append(rows_in(iter(batches)))
    rows = np.concatenate(found)
    assert len(np.unique(rows)) == len(rows)
    if even:
        assert len(set(lengths)) == 1
        assert len({len(each) for each in found}) == 1
    if not drop:
        assert len(rows) == (kept - kept % world if even else kept)
    if even and drop:
        assert len(rows) == kept // world // batch_size * batch_size * world


def test_ranks_are_another_cut_of_the_same_order(numbered_tree: str) -> None:
    loader = BatchLoader(numbered_tree, NAMES, target="row", seed=5)
    found = [rows_in(iter(loader.dataset(rank=rank, world=4))) for rank in range(4)]
    wanted = BatchLoader(numbered_tree, NAMES, target="row", seed=5)
    np.testing.assert_array_equal(np.concatenate(found), rows_in(wanted.numpy()))


@pytest.mark.parametrize("options", ["memory", "spill"])
def test_ranks_with_workers(numbered_tree: str, options: str) -> None:
    loader = BatchLoader(numbered_tree, NAMES, target="row", seed=5, batch_size=700, **OPTIONS[options])
    found = []
    for rank in range(2):
        dataset = loader.dataset(rank=rank, world=2)
        found.append([y.tolist() for _, y in served(dataset, num_workers=2)])
        assert found[-1] == [y.tolist() for _, y in loader.dataset(rank=rank, world=2)]
    assert len(found[0]) == len(found[1]) == 43
    rows = [row for rank in found for batch in rank for row in batch]
    assert sorted(rows) == list(range(ROWS))


def test_ranks_of_torch_distributed(numbered_tree: str, tmp_path: Any) -> None:
    """Also in workers that are spawned, where it is not initialised."""
    distributed = torch.distributed
    if not distributed.is_available():
        pytest.skip("this PyTorch has no torch.distributed")
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        dataset = BatchLoader(numbered_tree, NAMES, target="row", seed=5).dataset()
        assert copy.copy(dataset)._ranks() == (0, 1)
        assert len(rows_in(iter(dataset))) == ROWS
    finally:
        distributed.destroy_process_group()


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("done", [0, 1, 17, 60])
def test_a_dataset_resumes(numbered_tree: str, options: str, done: int) -> None:
    def make() -> Any:
        loader = BatchLoader(numbered_tree, NAMES, target="row", seed=5, batch_size=1000, **OPTIONS[options])
        return loader.dataset(rank=1, world=2)

    first, second = make(), make()
    rows_in(iter(first))
    batches = iter(first)
    rows_in(itertools.islice(batches, done))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    rest, after = rows_in(batches), rows_in(iter(first))
    if done <= len(first):
        np.testing.assert_array_equal(rows_in(iter(second)), rest)
    np.testing.assert_array_equal(rows_in(iter(second)), after)


class Told(data.IterableDataset[Any]):
    """As torchdata's StatefulDataLoader does it: each worker's dataset is told a state, and asked for one with each batch."""

    def __init__(self, inner: Any, states: dict[int, Any]) -> None:
        self.inner, self.states = inner, states

    def __iter__(self) -> Iterator[Any]:
        worker = data.get_worker_info().id
        if worker in self.states:
            self.inner.load_state_dict(self.states[worker])
        for batch in self.inner:
            yield worker, json.dumps(self.inner.state_dict()), batch


def test_workers_resume(numbered_tree: str) -> None:
    def make() -> Any:
        return BatchLoader(numbered_tree, NAMES, target="row", seed=5, batch_size=1000).dataset()

    wanted = [y.tolist() for _, (_, y) in zip(range(60), make(), strict=True)]
    states: dict[int, Any] = {}
    for worker, state, _ in itertools.islice(served(Told(make(), {}), num_workers=3), 25):
        states[worker] = json.loads(state)
    assert [states[worker]["batches"] for worker in range(3)] == [9, 8, 8]
    rest = [y.tolist() for _, _, (_, y) in served(Told(make(), states), num_workers=3)]
    # The next batch is worker 1's, while PyTorch begins with worker 0: torchdata remembers whose turn it is.
    assert sorted(rest) == sorted(wanted[25:])


def test_a_state_for_no_workers_is_not_for_some(numbered_tree: str) -> None:
    """Each of them would skip as much."""
    dataset = BatchLoader(numbered_tree, NAMES, target="row", seed=5).dataset()
    rows_in(itertools.islice(iter(dataset), 3))
    dataset.load_state_dict(dataset.state_dict())
    with pytest.raises(InputError, match="1 workers, and there are 2"):
        list(served(dataset, num_workers=2))


def test_what_is_asked_wrongly(numbered_tree: str) -> None:
    loader = BatchLoader(numbered_tree, NAMES, target="row", seed=5)
    with pytest.raises(InputError, match="belong together"):
        loader.dataset(rank=1)
    with pytest.raises(InputError, match="rank 2 of 2"):
        loader.dataset(rank=2, world=2)
    shard = BatchLoader(numbered_tree, NAMES, target="row", seed=5, shard=(0, 2))
    with pytest.raises(InputError, match="not divided again"):
        shard.dataset(rank=0, world=2)
    assert len(rows_in(iter(shard.dataset()))) == shard.rows
    state = loader.dataset(rank=0, world=2).state_dict()
    with pytest.raises(InputError, match="rank, world"):
        loader.dataset(rank=1, world=2).load_state_dict(state)
    with pytest.raises(InputError, match="another source"):
        shard.dataset().load_state_dict(state)


def test_a_loader_is_pickled_as_its_options(numbered_tree: str, numbered: dict[str, Any], tmp_path: Any) -> None:
    loader = BatchLoader([Sample(numbered_tree, label=1)], NAMES, target="row", progress=lambda done, total: None)
    list(loader.numpy())
    part = loader.folds(3)[1][1]
    part.epoch = 2
    assert len(pickle.dumps(part)) < 3000
    other = copy.copy(part)
    assert (other.seed, other.epoch) == (loader.seed, 2)
    for (x, y), (x2, y2) in zip(other.numpy(), part.numpy(), strict=True):
        np.testing.assert_array_equal(x, x2)
        np.testing.assert_array_equal(y, y2)
    np.savez(tmp_path / "rows.npz", **numbered)
    loader = BatchLoader(tmp_path / "rows.npz")
    np.savez(tmp_path / "rows.npz", **{**numbered, "f0": numbered["f0"] + 1})
    with pytest.raises(InputError, match="changed since"):
        copy.copy(loader)


def test_pinned_memory_is_asked_for_where_there_is_cuda(numbered_tree: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = BatchLoader(numbered_tree, NAMES, target="row", seed=5)
    (x, _), *_ = loader.torch(pin_memory=True)
    assert x.is_pinned() == torch.cuda.is_available()
    pinned = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(len(tensor)) or tensor)
    assert len(rows_in(loader.torch(pin_memory=True))) == ROWS
    assert sum(pinned) == 2 * ROWS
