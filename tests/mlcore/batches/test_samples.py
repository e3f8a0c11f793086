"""Samples: labels and weights of their own, files, filters and friends of their own, read as one source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

from mlcore.batches import BatchLoader, Sample
from mlcore.batches.sources import open_source
from mlcore.errors import InputError

SMALL = 1_000_000
SIGNAL, QCD = 9000, 40_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("samples")
    rng = np.random.default_rng(2)
    start = 0
    for name, rows in (("ttbar", SIGNAL), ("qcd_1", QCD // 2), ("qcd_2", QCD // 2)):
        with uproot.recreate(path / f"{name}.root") as file:
            file.mktree("Events", {"row": "int32", "pt": "float32", "eta": "float32", "gen.w": "float64"}).extend(
                {
                    "row": np.arange(start, start + rows, dtype=np.int32),
                    "pt": rng.exponential(size=rows).astype(np.float32),
                    "eta": rng.normal(size=rows).astype(np.float32),
                    "gen.w": np.arange(start, start + rows) * 0.5,
                }
            )
        start += rows
    return path


def samples(folder: Path, **more: Any) -> list[Sample]:
    return [
        Sample(f"{folder}/ttbar.root:Events", label=1, name="ttbar", **more),
        Sample(f"{folder}/qcd_*.root", label=0, weight=0.25, name="qcd"),
    ]


def columns(loader: BatchLoader) -> list[np.ndarray]:
    return [np.concatenate(parts) for parts in zip(*loader.numpy(), strict=True)]


@pytest.mark.parametrize("memory", [SMALL, 64_000_000])
@pytest.mark.parametrize("cut", [None, "eta > 0"])
def test_labels_and_weights(folder: Path, memory: int, cut: str | None) -> None:
    """Whether rows are decoded straight into records, or cut in between."""
    loader = BatchLoader(samples(folder), ["row", "pt", "eta"], filter=cut, memory=memory, seed=3)
    assert loader.mode == ("spill" if memory == SMALL and cut is None else "memory")
    for _ in range(2):
        x, y, w = columns(loader)
        rows = x[:, 0].astype(int)
        np.testing.assert_array_equal(np.sort(rows), np.sort(np.unique(rows)))
        assert len(rows) == SIGNAL + QCD or (cut and (x[:, 2] > 0).all() and len(rows) > 20_000)
        assert y.shape == w.shape == rows.shape
        np.testing.assert_array_equal(y, rows < SIGNAL)
        np.testing.assert_array_equal(w, np.where(rows < SIGNAL, 1.0, 0.25))
    assert loader.feature_names == ("row", "pt", "eta")


def test_constants_need_no_blocks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels are written into the records of natively decoded rows."""
    from mlcore.batches.sources._planned import NativeReader

    def no_blocks(*_: object) -> None:
        raise AssertionError("a block was read")

    monkeypatch.setattr(NativeReader, "read", no_blocks)
    x, y, _ = columns(BatchLoader(samples(folder), ["row"]))
    np.testing.assert_array_equal(y, x[:, 0] < SIGNAL)


def test_weights_multiply_and_labels_join(folder: Path) -> None:
    loader = BatchLoader(samples(folder), target="pt", weight="gen.w", shuffle=False)
    assert loader.feature_names == ("row", "eta")  # neither the column of weights nor what samples bring
    x, y, w = columns(loader)
    rows = np.arange(SIGNAL + QCD)
    np.testing.assert_array_equal(x[:, 0], rows)
    assert y.shape == (SIGNAL + QCD, 2)
    np.testing.assert_array_equal(y[:, 1], rows < SIGNAL)
    np.testing.assert_array_equal(w, (rows * 0.5 * np.where(rows < SIGNAL, 1.0, 0.25)).astype(np.float32))


def test_a_sample_has_a_filter_and_friends_of_its_own(folder: Path) -> None:
    scores = {"score": np.arange(float(SIGNAL))}
    both = [
        Sample(f"{folder}/ttbar.root", label=1, filter="score < 100", friends=[scores]),
        Sample([f"{folder}/qcd_1.root"], label=0, filter="row < 9500 && eta < 0"),
    ]
    loader = BatchLoader(both, ["pt"], target="row", filter="pt > 0.1", shuffle=False)
    (_, y) = columns(loader)
    tree = uproot.concatenate([f"{folder}/ttbar.root:Events", f"{folder}/qcd_1.root:Events"], library="np")
    row = np.arange(SIGNAL + QCD // 2)
    kept = (tree["pt"] > 0.1) & ((row < 100) | ((row >= SIGNAL) & (row < 9500) & (tree["eta"] < 0)))
    np.testing.assert_array_equal(y[:, 0], np.flatnonzero(kept))
    np.testing.assert_array_equal(y[:, 1], np.flatnonzero(kept) < SIGNAL)
    assert loader.rows == kept.sum()
    # Without the loader's filter rows are counted by what the samples keep.
    assert BatchLoader(both, ["pt"]).rows == 100 + ((row >= SIGNAL) & (row < 9500) & (tree["eta"] < 0)).sum()


def test_samples_split_like_their_files(folder: Path) -> None:
    plain = BatchLoader(f"{folder}/*.root", ["pt"], target="row").split()["train"]
    labelled = BatchLoader(samples(folder), ["pt"], target="row").split()["train"]
    (_, y), (_, both, _) = columns(plain), columns(labelled)
    np.testing.assert_array_equal(np.sort(y), np.sort(both[:, 0]))


def test_labels_of_several_classes_in_memory() -> None:
    parts = [Sample({"x": np.full(3, float(label))}, label=label) for label in (0, 1, 2.5)]
    x, y = columns(BatchLoader(parts, dtype="float64"))
    np.testing.assert_array_equal(x[:, 0], y)
    assert sorted(set(y)) == [0, 1, 2.5]
    one = BatchLoader(Sample({"x": np.ones(4), "y": np.zeros(4)}, weight=2), target="y")
    assert [part.tolist() for part in next(one.numpy())] == [[[1.0]] * 4, [0.0] * 4, [2.0] * 4]


def test_labels_are_columns(folder: Path) -> None:
    """They can be named in expressions and as features."""
    loader = BatchLoader(samples(folder), ["sample_label", "both"], define={"both": "sample_label + 2 * sample_weight"})
    x, y, w = columns(loader)
    np.testing.assert_array_equal(x, np.stack([y, y + 2 * w], 1))
    x, y, _ = columns(BatchLoader(samples(folder), ["sample_label"]))
    np.testing.assert_array_equal(x[:, 0], y)


def test_what_is_asked_wrongly_is_said(folder: Path) -> None:
    file = f"{folder}/ttbar.root"
    with pytest.raises(InputError, match="sample b has no label"):
        BatchLoader([Sample(file, label=1, name="a"), Sample(file, name="b")])
    with pytest.raises(InputError, match="holds a str"):
        BatchLoader([Sample(file, label=1), file])
    with pytest.raises(InputError, match="nan is no weight"):
        BatchLoader(Sample(file, weight=float("nan")))
    with pytest.raises(InputError, match="friends of its own"):
        BatchLoader([Sample(file)], friends=[file])
    with pytest.raises(InputError, match="as that of a sample is called"):
        BatchLoader(Sample({"sample_label": np.ones(2)}, label=1))
    with pytest.raises(InputError, match="nothere"):
        BatchLoader(Sample(file, filter="nothere > 1"))
    assert open_source(file).parts[0].constants == {}
