"""What batches look like: dicts with each column's own type, padded columns with masks, jagged ones as offsets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt
import pytest
import uproot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mlcore.batches import Balance, BatchLoader, JaggedArray, Pad, Sample, SkippedRowsWarning
from mlcore.batches import loader as loader_module
from mlcore.batches.blocks import Jagged
from mlcore.batches.sources import DamagedDataError
from mlcore.errors import DataError, InputError
from tests.mlcore.batches import damaged_files

ROWS = 20_000
SMALL = 1_000_000
"""Bytes of memory that the rows of the file do not fit."""
MODES: dict[str, dict[str, Any]] = {
    "memory": {},
    "spill": {"memory": SMALL},
    "stream": {"memory": SMALL, "shuffle": False},
    "buffer": {"memory": SMALL, "shuffle": "buffer"},
}


@pytest.fixture(scope="module")
def events() -> ak.Array:
    """Numbers of several types, arrays, and two collections; the jets of the first cluster are fewer than those of others."""
    rng = np.random.default_rng(3)
    counts = np.minimum(rng.poisson(1.5, ROWS), 7)
    counts[: ROWS // 2] = np.minimum(counts[: ROWS // 2], 3)
    counts[ROWS // 2] = 9
    n = int(counts.sum())
    jets = {
        "jet_pt": ak.unflatten(rng.exponential(40, n).astype(np.float32), counts),
        "jet_id": ak.unflatten(rng.integers(-5, 5, n, dtype=np.int16), counts),
        "hits": ak.unflatten(rng.integers(0, 2**62, 2 * ROWS), np.tile([1, 3], ROWS // 2)),
    }
    flat = {
        "row": np.arange(ROWS, dtype=np.int32),
        "event": (np.int64(2**62) + np.arange(ROWS)[::-1]).astype(np.int64),
        "met": rng.standard_normal(ROWS),
        "flag": rng.random(ROWS) < 0.3,
        "charge": rng.integers(-1, 2, ROWS).astype(np.int8),
        "cov": rng.standard_normal((ROWS, 2, 3)).astype(np.float32),
    }
    return ak.Array({**flat, **jets})


@pytest.fixture(scope="module")
def file(events: ak.Array, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("layouts") / "events.root"
    with uproot.recreate(path) as root:
        for start in range(0, ROWS, 5000):
            some = {name: events[name][start : start + 5000] for name in events.fields}
            if start:
                root["Events"].extend(some)
            else:
                root.mktree("Events", {name: array.type.content for name, array in some.items()}).extend(some)
    return f"{path}:Events"


def in_rows(batches: list[dict[str, Any]], name: str) -> Any:
    """A column of some batches as one array, or as an array of lists."""
    if isinstance(batches[0][name], JaggedArray):
        return ak.concatenate([ak.unflatten(b[name].values, np.diff(b[name].offsets)) for b in batches])
    return np.concatenate([batch[name] for batch in batches])


@pytest.mark.parametrize("cut", [None, "met > 0.5"])
@pytest.mark.parametrize("mode", MODES)
def test_every_row_comes_once_with_all_its_values(file: str, events: ak.Array, mode: str, cut: str | None) -> None:
    """In each mode, natively or filtered; with the types that uproot has."""
    loader = BatchLoader(file, layout="dict", jagged="offsets", filter=cut, batch_size=700, seed=2, **MODES[mode])
    kept = np.flatnonzero(events["met"] > 0.5) if cut else np.arange(ROWS)
    for _ in range(2):
        batches = list(loader.numpy())
        assert len(batches) == len(loader)
        assert [len(batch["row"]) for batch in batches[:-1]] == [700] * (len(batches) - 1)
        rows = in_rows(batches, "row")
        np.testing.assert_array_equal(np.sort(rows), kept)
        for name in events.fields:
            found, expected = in_rows(batches, name), events[name][rows]
            if isinstance(found, np.ndarray):
                assert found.dtype == np.asarray(expected).dtype
                np.testing.assert_array_equal(found, np.asarray(expected))
            else:
                values = batches[0][name].values
                assert values.dtype == np.asarray(ak.flatten(expected)).dtype
                assert ak.array_equal(found, expected, dtype_exact=False)


@pytest.mark.parametrize("cut", [None, "met > 0"])
def test_all_modes_have_one_order_with_jagged_columns(file: str, cut: str | None) -> None:
    orders = []
    for memory, threads in ((SMALL, 1), (SMALL, 3), (200_000_000, 2)):
        loader = BatchLoader(
            file, ["row", "jet_pt"], layout="dict", jagged="offsets", filter=cut, memory=memory, threads=threads, seed=5
        )
        orders.append([in_rows(list(loader.numpy()), "row") for _ in range(2)])
    for other in orders[1:]:
        np.testing.assert_array_equal(other, orders[0])


def padded(lists: ak.Array, size: int, value: float) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """What awkward makes of it, with its mask."""
    cut = ak.pad_none(lists, size, clip=True)
    return np.asarray(ak.fill_none(cut, value)), ~np.asarray(ak.is_none(cut, axis=1))


@pytest.mark.parametrize("define", [{}, {"ht": "Sum(jet_pt)"}])
def test_collections_share_a_mask(file: str, events: ak.Array, define: dict[str, str]) -> None:
    pad = {"jet_pt": Pad(4, value=-1.0, mask="jets"), "jet_id": Pad(4, value=9, mask="jets"), "hits": Pad(2, mask=True)}
    columns = ["row", "met", *pad, *define]
    loader = BatchLoader(file, columns, pad=pad, layout="dict", define=define, seed=1)
    batches = list(loader.numpy())
    assert list(batches[0]) == ["row", "met", "jet_pt", "jets", "jet_id", "hits", "hits_mask", *define]
    rows = in_rows(batches, "row")
    for name, asked in pad.items():
        values, mask = padded(events[name], asked.size, asked.value)
        found = in_rows(batches, name)
        np.testing.assert_array_equal(found, values[rows])
        assert found.dtype == np.asarray(ak.flatten(events[name])).dtype
        np.testing.assert_array_equal(in_rows(batches, asked.mask_name(name)), mask[rows])


def test_a_mask_is_not_shared_by_rows_of_other_lengths(file: str) -> None:
    pad = {"jet_pt": Pad(2, mask="m"), "hits": Pad(2, mask="m")}
    with pytest.raises(InputError, match="more values of one of them"):
        list(BatchLoader(file, [*pad], pad=pad, layout="dict").numpy())


@pytest.mark.parametrize("memory", [SMALL, 200_000_000])
def test_matrices_have_a_mask_of_x(file: str, events: ak.Array, memory: int) -> None:
    loader = BatchLoader(
        file,
        ["met", "jet_pt", "charge"],
        target="row",
        pad={"jet_pt": Pad(3, value=float("nan"), mask=True)},
        dtype="float64",
        memory=memory,
    )
    assert loader.mode == ("spill" if memory == SMALL else "memory")
    x, y, mask = (np.concatenate(parts) for parts in zip(*loader.numpy(), strict=True))
    rows = y.astype(np.int64)
    np.testing.assert_array_equal(np.sort(rows), np.arange(ROWS))
    values, own = padded(events["jet_pt"], 3, np.nan)
    true = np.ones((ROWS, 1), bool)
    np.testing.assert_array_equal(mask, np.hstack([true, own, true])[rows])
    np.testing.assert_array_equal(x[:, 1:4], values[rows])
    np.testing.assert_array_equal(x[:, 4], np.asarray(events["charge"])[rows])


lists = st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=6), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=lists,
    dtype=st.sampled_from([np.int64, np.uint8, np.float32, np.float64, np.bool_, np.float16]),
    batch_size=st.integers(1, 50),
    shuffle=st.booleans(),
    keep=st.sampled_from([None, "n > 1"]),
)
def test_jagged_rows_survive(rows: list[list[int]], dtype: Any, batch_size: int, shuffle: bool, keep: str | None) -> None:
    """Empty rows and empty batches of values as well, bit by bit."""
    counts = np.array([len(row) for row in rows])
    with np.errstate(over="ignore"):
        values = np.array([value for row in rows for value in row], np.int64).astype(dtype)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    source = {"v": Jagged(values, offsets), "n": counts, "row": np.arange(len(rows))}
    loader = BatchLoader(source, layout="dict", jagged="offsets", batch_size=batch_size, shuffle=shuffle, filter=keep)
    seen = []
    for batch in loader.numpy():
        assert batch["v"].values.dtype == (np.float32 if dtype == np.float16 else dtype)
        assert batch["v"].offsets[0] == 0
        assert len(batch["v"].values) == batch["v"].offsets[-1]
        for at, row in enumerate(batch["row"].tolist()):
            own = batch["v"].values[batch["v"].offsets[at] : batch["v"].offsets[at + 1]]
            np.testing.assert_array_equal(own, values[offsets[row] : offsets[row + 1]])
            seen.append(row)
    assert sorted(seen) == [row for row in range(len(rows)) if keep is None or counts[row] > 1]
    if not shuffle:
        assert seen == sorted(seen)


@settings(max_examples=60, deadline=None)
@given(
    array=hnp.arrays(
        st.sampled_from([np.dtype(kind) for kind in ("?", "i1", "u2", "i4", "u4", "i8", "u8", "f4", "f8", ">i8", ">f4")]),
        st.tuples(st.integers(1, 30), st.integers(1, 3)),
    ),
    constant=st.booleans(),
)
def test_numbers_survive_to_the_last_bit(array: npt.NDArray[Any], constant: bool) -> None:
    source = {"a": array, "b": array[:, 0].copy()}
    loader = BatchLoader(source, layout="dict", shuffle=False, define={"twice": "b + b"} if constant else None)
    (batch,) = loader.numpy()
    for name, wanted in source.items():
        native = wanted.astype(wanted.dtype.newbyteorder("="))
        assert batch[name].dtype == native.dtype
        assert batch[name].tobytes() == (native[:, 0] if native.shape[1:] == (1,) else native).tobytes()


def test_defined_jagged_columns_have_their_values(file: str, events: ak.Array) -> None:
    loader = BatchLoader(
        file, ["row", "twice"], define={"half": "jet_pt / 2", "twice": "4 * half"}, layout="dict", jagged="offsets", seed=1
    )
    batches = list(loader.numpy())
    expected = events["jet_pt"][in_rows(batches, "row")] * 2
    assert ak.all(ak.num(in_rows(batches, "twice")) == ak.num(expected))
    np.testing.assert_allclose(ak.flatten(in_rows(batches, "twice")), ak.flatten(expected), rtol=1e-6)


def test_targets_weights_and_samples_come_by_name(file: str) -> None:
    loader = BatchLoader(
        [Sample(file, label=1, weight=0.5), Sample(file, label=0, filter="charge > 0")],
        ["row", "event"],
        target="flag",
        weight="met",
        layout="dict",
        balance=Balance("under"),
        jagged="offsets",
    )
    batches = list(loader.numpy())
    assert list(batches[0]) == ["row", "event", "flag", "sample_label", "sample_weight * met"]
    labels = in_rows(batches, "sample_label")
    assert labels.dtype == np.int64
    assert (labels == 0).sum() == (labels == 1).sum() > 0
    assert in_rows(batches, "flag").dtype == np.bool_
    assert [column.name for column in loader.statistics().columns] == list(batches[0])


def test_splits_and_caches_of_jagged_columns(file: str, events: ak.Array, tmp_path: Path) -> None:
    for _ in range(2):
        parts = BatchLoader(file, layout="dict", jagged="offsets", cache=tmp_path, seed=3).split(train=0.7, test=0.3, by="event")
        batches = [batch for part in parts.values() for batch in part.numpy()]
        rows = in_rows(batches, "row")
        np.testing.assert_array_equal(np.sort(rows), np.arange(ROWS))
        assert ak.array_equal(in_rows(batches, "jet_pt"), events["jet_pt"][rows], dtype_exact=False)


def test_epochs_of_dicts_resume(file: str) -> None:
    wanted = [batch["row"] for batch in BatchLoader(file, layout="dict", seed=4).numpy()]
    loader = BatchLoader(file, layout="dict", seed=4)
    batches = loader.numpy()
    for _ in range(3):
        next(batches)
    other = BatchLoader(file, layout="dict", seed=4)
    other.load_state_dict(loader.state_dict())
    np.testing.assert_array_equal(np.concatenate([b["row"] for b in other.numpy()]), np.concatenate(wanted[3:]))


def test_tensors_by_name(file: str) -> None:
    torch = pytest.importorskip("torch")
    data = pytest.importorskip("torch.utils.data")
    columns = ["row", "event", "flag", "jet_pt"]
    arrays = BatchLoader(file, columns, layout="dict", jagged="offsets", seed=4).numpy()
    tensors = BatchLoader(file, columns, layout="dict", jagged="offsets", seed=4).torch()
    dataset = BatchLoader(file, columns, layout="dict", jagged="offsets", seed=4).dataset()
    workers = data.DataLoader(dataset, batch_size=None, num_workers=2)
    for wanted, *others in zip(arrays, tensors, workers, strict=True):
        for found in others:
            assert found["event"].dtype == torch.int64
            assert found["flag"].dtype == torch.bool
            for name in ("row", "event", "flag"):
                np.testing.assert_array_equal(found[name].numpy(), wanted[name])
            np.testing.assert_array_equal(found["jet_pt"].values.numpy(), wanted["jet_pt"].values)
            np.testing.assert_array_equal(found["jet_pt"].offsets.numpy(), wanted["jet_pt"].offsets)


def test_jagged_tensors_are_nested_without_a_copy(file: str, events: ak.Array) -> None:
    torch = pytest.importorskip("torch")
    rows = 0
    for batch in BatchLoader(file, ["row", "jet_pt"], layout="dict", jagged="offsets", seed=4, batch_size=500).torch():
        nested = torch.nested.nested_tensor_from_jagged(*batch["jet_pt"])
        assert nested.values().data_ptr() == batch["jet_pt"].values.data_ptr()
        for row, values in zip(batch["row"].tolist(), nested.unbind(), strict=True):
            np.testing.assert_array_equal(values.numpy(), events["jet_pt"][row])
        rows += len(batch["row"])
    assert rows == ROWS


@pytest.mark.parametrize("layout", ["matrix", "dict"])
@pytest.mark.parametrize("mode", MODES)
def test_batches_are_the_callers_unless_asked_otherwise(
    file: str, mode: str, layout: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept ones stay as they were; with copy=False each is right until the next one, in memory that comes again."""
    monkeypatch.setattr(loader_module, "GROUP_ROWS", 2048)
    options = {"target": "row", "batch_size": 100, "seed": 6, "layout": layout, **MODES[mode]}
    columns = ["event", "met", "cov"]

    def arrays(batch: Any) -> list[npt.NDArray[Any]]:
        return list(batch.values() if isinstance(batch, dict) else batch)

    kept = [(arrays(batch), [array.copy() for array in arrays(batch)]) for batch in BatchLoader(file, columns, **options).numpy()]
    addresses = set()
    for batch, (own, copies) in zip(BatchLoader(file, columns, copy=False, **options).numpy(), kept, strict=True):
        for array, mine, copied in zip(arrays(batch), own, copies, strict=True):
            np.testing.assert_array_equal(array, mine)
            np.testing.assert_array_equal(array, copied)
        addresses.add(address(arrays(batch)[0]))
    assert len({address(own[0]) for own, _ in kept}) == len(kept)
    assert len(addresses) <= 4 * (2048 // 100) < len(kept)  # those of four groups


@pytest.mark.parametrize("workers", [0, 2])
def test_data_loaders_are_not_overwritten(workers: int) -> None:
    """They send a batch to another process after they asked for the next one, so copy=False is not for them."""
    torch = pytest.importorskip("torch")
    data = pytest.importorskip("torch.utils.data")
    source = {"row": np.arange(200_000), "same": np.arange(200_000)}
    loader = BatchLoader(source, layout="dict", copy=False, batch_size=10_000, seed=1)
    ahead = {"prefetch_factor": 8} if workers else {}
    batches = list(data.DataLoader(loader.dataset(), batch_size=None, num_workers=workers, **ahead))
    assert all(torch.equal(batch["row"], batch["same"]) for batch in batches)
    np.testing.assert_array_equal(np.sort(in_rows(batches, "row")), source["row"])


def address(array: npt.NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jagged": "offsets"}, "no batches of layout='matrix' with jagged='offsets'"),
        ({"layout": "list"}, "layout='list'"),
        ({"layout": "dict"}, "'jet_pt' has another number of values"),
        ({"pad": {"jet_pt": 0}}, "padded to 0 values"),
        ({"pad": {"met": 2}}, "equally many values in every row"),
        ({"layout": "dict", "pad": {"jet_id": Pad(2, value=0.5)}}, "which is no int16"),
        ({"layout": "dict", "pad": {"jet_id": Pad(2, value=1e5)}}, "which is no int16"),
        ({"pad": {"jet_pt": Pad(2, value=1e300)}}, "which no float32 can hold"),
        ({"layout": "dict", "pad": {"jet_pt": Pad(2, mask="met")}}, "would be called 'met'"),
        ({"layout": "dict", "pad": {"jet_pt": Pad(2, mask="m"), "jet_id": Pad(3, mask="m")}}, "share the mask 'm'"),
        ({"pad": {"jet_pt": Pad(2, mask=True)}, "columns": ["met"], "target": "jet_pt"}, "a mask of x alone"),
    ],
)
def test_what_is_asked_wrongly_is_said(file: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        BatchLoader(file, **{"columns": ["met", "jet_pt"], **options})


def test_pads_are_of_columns_that_are_there(file: str) -> None:
    with pytest.raises(DataError, match="no column 'jet_p'") as caught:
        BatchLoader(file, ["met"], pad={"jet_p": 2})
    assert "jet_pt" in caught.value.hint
    with pytest.raises(InputError, match="a mask has a name"):
        Pad(2, mask="")


def test_statistics_need_numbers_each_row(file: str) -> None:
    with pytest.raises(InputError, match="no statistics of 'jet_pt'"):
        BatchLoader(file, ["jet_pt"], layout="dict", jagged="offsets").statistics()


def test_damaged_baskets_cost_their_rows_of_jagged_columns(tmp_path: Path) -> None:
    """The longest row is found in what can be read."""
    rng = np.random.default_rng(5)
    counts = rng.integers(0, 4, damaged_files.ROWS)
    counts[-1] = 8
    jets = ak.unflatten(rng.standard_normal(int(counts.sum())).astype(np.float32), counts)
    tables = {"row": np.arange(damaged_files.ROWS, dtype=np.int32), "jets": jets}
    path = damaged_files.write(tmp_path / "events.root", "tree", tables)
    start, stop = damaged_files.damage(path, "jets", 20_000)
    loader = BatchLoader(path, ["row", "jets"], layout="dict", jagged="offsets", on_error="skip", seed=1)
    with pytest.warns(SkippedRowsWarning):
        batches = list(loader.numpy())
    rows = in_rows(batches, "row")
    np.testing.assert_array_equal(np.sort(rows), np.setdiff1d(tables["row"], np.arange(start, stop)))
    assert ak.array_equal(in_rows(batches, "jets"), jets[rows], dtype_exact=False)
    assert loader.skipped.rows == stop - start
    with pytest.raises(DamagedDataError, match="jets"):
        list(BatchLoader(path, ["row", "jets"], layout="dict", jagged="offsets").numpy())


@pytest.mark.parametrize("memory", [SMALL, 200_000_000])
def test_rntuples_have_all_their_values(events: ak.Array, tmp_path: Path, memory: int) -> None:
    names = ["row", "event", "flag", "jet_pt", "jet_id"]
    with uproot.recreate(tmp_path / "events.root") as root:
        root.mkrntuple("Events", {name: events[name][:9000] for name in names})
        root["Events"].extend({name: events[name][9000:] for name in names})
    loader = BatchLoader(tmp_path / "events.root", names, layout="dict", jagged="offsets", memory=memory, seed=8)
    assert loader.mode == ("spill" if memory == SMALL else "memory")
    batches = list(loader.numpy())
    rows = in_rows(batches, "row")
    np.testing.assert_array_equal(np.sort(rows), np.arange(ROWS))
    for name in names:
        assert ak.array_equal(in_rows(batches, name), events[name][rows])
