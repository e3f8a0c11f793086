"""Where rows come to lie: in memory as long as there is room for those that are kept."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from mlcore.batches import Balance, BatchLoader
from mlcore.batches.filling import Packer
from tests.mlcore.batches.numbered_rows import LARGE, NAMES, ROWS, SMALL, mixing, rows_in


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("cut", "mode"), [("f0 > 1", "memory"), ("f0 > -1", "spill"), ("f0 > 99", "memory")])
def test_what_a_filter_keeps_decides(
    numbered_tree: str, numbered: dict[str, Any], monkeypatch: pytest.MonkeyPatch, cut: str, mode: str, threads: int
) -> None:
    """And the source is read once, also where the rows turn out not to fit."""
    read = []
    pack = Packer.pack

    def count(self: Packer, task: Any, start: int, stop: int, out: Any) -> int:
        read.append(stop - start)
        return pack(self, task, start, stop, out)

    monkeypatch.setattr(Packer, "pack", count)
    loader = BatchLoader(numbered_tree, NAMES, target="row", filter=cut, memory=SMALL, threads=threads, seed=1)
    wanted = BatchLoader(numbered_tree, NAMES, target="row", filter=cut, memory=LARGE, seed=1)
    orders = [rows_in(loader.numpy()) for _ in range(3)]
    assert loader.mode == mode
    assert sum(read) == ROWS
    for order in orders:
        np.testing.assert_array_equal(order, rows_in(wanted.numpy()))
    np.testing.assert_array_equal(np.sort(orders[0]), np.flatnonzero(numbered["f0"] > float(cut.split()[-1])))


def test_balanced_classes_that_fit_after_all(numbered: dict[str, Any]) -> None:
    table = {**numbered, "label": (numbered["f0"] > 2).astype(np.int32)}

    def orders(memory: int) -> list[Any]:
        loader = BatchLoader(
            table, ["row"], target="label", filter="f1 > 1.5", memory=memory, seed=2, balance=Balance("over", ratio=0.2)
        )
        assert loader.mode == "memory"
        return [np.concatenate([x[:, 0] for x, _ in loader.numpy()]) for _ in range(2)]

    np.testing.assert_array_equal(orders(SMALL), orders(LARGE))


@pytest.mark.parametrize("memory", [SMALL, LARGE])
@pytest.mark.parametrize("cells", [10, 30])
def test_epochs_are_mixed_and_independent(numbered_tree: str, memory: int, cells: int) -> None:
    """Of 24 epochs, chi-square per degree of freedom of region against position, and of position against the epoch before."""
    loader = BatchLoader(numbered_tree, NAMES, target="row", memory=memory, seed=5)
    orders = [rows_in(loader.numpy()) for _ in range(24)]
    assert 0.9 < mixing(orders, ROWS, cells) < 1.1
    before = []
    for one, next_one in itertools.pairwise(orders):
        place = np.empty(ROWS, np.int64)
        place[one] = np.arange(ROWS)
        before.append(place[next_one])
    assert 0.9 < mixing(before, ROWS, cells) < 1.1
