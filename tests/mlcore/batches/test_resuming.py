"""Going on in the middle of an epoch: the same remaining rows, and the same epochs after it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlcore.batches import Balance, BatchLoader
from mlcore.errors import InputError
from tests.mlcore.batches.numbered_rows import LARGE, NAMES, ROWS, SMALL, rows_in

OPTIONS: dict[str, dict[str, Any]] = {
    "memory": {"memory": LARGE},
    "spill": {"memory": SMALL},
    "stream": {"memory": SMALL, "shuffle": False},
    "stream of some": {"memory": SMALL, "shuffle": False, "filter": "f0 > -1"},
    "buffer": {"memory": SMALL, "shuffle": "buffer"},
    "promoted": {"memory": SMALL, "filter": "f0 > 1.2"},
}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    options=st.sampled_from(sorted(OPTIONS)),
    batch_size=st.sampled_from([100, 999, 30_000]),
    before=st.integers(0, 2),
    done=st.integers(0, 30),
    drop=st.booleans(),
)
def test_the_rest_is_what_would_have_come(
    numbered_tree: str, options: str, batch_size: int, before: int, done: int, drop: bool
) -> None:
    def make(**more: Any) -> BatchLoader:
        return BatchLoader(
            numbered_tree, NAMES, target="row", batch_size=batch_size, drop_remainder=drop, **{**OPTIONS[options], **more}
        )

    first = make(seed=3)
    for _ in range(before):
        rows_in(first.numpy())
    batches = first.numpy()
    start = rows_in(itertools.islice(batches, done))
    state = json.loads(json.dumps(first.state_dict()))
    rest, after = rows_in(batches), rows_in(first.numpy())

    second = make(threads=1)
    second.load_state_dict(state)
    assert second.state_dict() == state
    if done <= len(first):  # else the epoch is over
        np.testing.assert_array_equal(rows_in(second.numpy()), rest)
    np.testing.assert_array_equal(rows_in(second.numpy()), after)
    assert len(np.unique(np.concatenate([start, rest]))) == len(start) + len(rest)


def test_positions(numbered_tree: str) -> None:
    loader = BatchLoader(numbered_tree, target="row", seed=3, batch_size=1000)
    assert (loader.state_dict()["epoch"], loader.state_dict()["rows"]) == (0, 0)
    for number, _ in enumerate(loader.numpy(), 1):
        assert (loader.state_dict()["epoch"], loader.state_dict()["rows"]) == (0, 1000 * number)
    assert (loader.state_dict()["epoch"], loader.state_dict()["rows"]) == (1, 0)
    loader.epoch = 7
    assert (loader.state_dict()["epoch"], loader.state_dict()["rows"]) == (7, 0)


def test_another_batch_size_goes_on_at_the_same_row(numbered_tree: str) -> None:
    first = BatchLoader(numbered_tree, target="row", seed=3, batch_size=500)
    batches = first.numpy()
    rows_in(itertools.islice(batches, 9))
    second = BatchLoader(numbered_tree, target="row", batch_size=700)
    second.load_state_dict(first.state_dict())
    np.testing.assert_array_equal(rows_in(second.numpy()), rows_in(batches))


def test_balanced_rows_on_disk(numbered: dict[str, Any]) -> None:
    """Where not every record comes, buckets are counted by those that do."""
    table = {**numbered, "label": (numbered["f0"] > 1).astype(np.int32)}

    def make() -> BatchLoader:
        return BatchLoader(table, ["row"], target="label", seed=4, memory=SMALL, balance=Balance("over"), batch_size=1000)

    first = make()
    assert first.mode == "spill"
    batches = first.numpy()
    list(itertools.islice(batches, 70))
    second = make()
    second.load_state_dict(first.state_dict())
    for (x, y), (x2, y2) in zip(batches, second.numpy(), strict=True):
        np.testing.assert_array_equal(x, x2)
        np.testing.assert_array_equal(y, y2)


@pytest.mark.parametrize(
    "other",
    [{"filter": "f0 > 0"}, {"columns": ["f1"]}, {"shuffle": False}, {"shard": (0, 2)}, {"dtype": "float64"}, {"source": "other"}],
)
def test_what_is_another_order_is_refused(numbered_tree: str, numbered: dict[str, Any], other: dict[str, Any]) -> None:
    options = {"source": numbered_tree, "columns": ["f0"], "target": "row"}
    state = BatchLoader(**options, seed=3).state_dict()  # type: ignore[arg-type]
    if "source" in other:
        other = {"source": {name: values[:1000] for name, values in numbered.items()}}
    loader = BatchLoader(**{**options, **other})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="another source, selection or order") as caught:
        loader.load_state_dict(state)
    assert "same source and options" in caught.value.hint


def test_a_split_is_another_order(numbered_tree: str) -> None:
    loader = BatchLoader(numbered_tree, target="row", seed=3)
    parts = loader.split()
    with pytest.raises(InputError, match="another source, selection"):
        parts["validation"].load_state_dict(parts["train"].state_dict())


def test_a_file_that_changed_is_refused(numbered: dict[str, Any], tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", **numbered)
    state = BatchLoader(tmp_path / "rows.npz", target="row", seed=3).state_dict()
    np.savez(tmp_path / "rows.npz", **{**numbered, "f0": numbered["f0"] + 1})
    with pytest.raises(InputError, match="another source"):
        BatchLoader(tmp_path / "rows.npz", target="row").load_state_dict(state)


@pytest.mark.parametrize("state", [{}, {"version": 99}, [1], {"rows": -1}, {"epoch": "1"}, {"seed": True}])
def test_what_is_no_state_is_refused(numbered_tree: str, state: Any) -> None:
    loader = BatchLoader(numbered_tree, target="row", seed=3)
    good = loader.state_dict()
    wrong = {**good, **state} if isinstance(state, dict) and state and "version" not in state else state
    with pytest.raises(InputError, match="state"):
        loader.load_state_dict(wrong)


def test_whole_buckets_are_skipped(numbered_tree: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They go on to the next epoch's buckets without being sorted."""
    from mlcore.batches import spilling

    sorted_rows = []

    def count(keys: Any, *rest: Any) -> Any:
        sorted_rows.append(len(keys))
        return order_of_keys(keys, *rest)

    order_of_keys = spilling.order_of_keys
    loader = BatchLoader(numbered_tree, NAMES, target="row", seed=3, memory=SMALL, batch_size=1000)
    loader.load_state_dict({**loader.state_dict(), "rows": 55_000})
    assert loader.mode == "spill"
    monkeypatch.setattr(spilling, "order_of_keys", count)
    assert len(rows_in(loader.numpy())) == 5000
    assert sum(sorted_rows) < ROWS / 2
