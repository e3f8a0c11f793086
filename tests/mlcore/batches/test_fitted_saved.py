"""Transforms that belong to a loader, and loaders that are saved."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx.reference
import pytest

from mlcore.batches import Balance, BatchLoader, Pad, Sample
from mlcore.batches.blocks import Jagged
from mlcore.batches.transforms import Log, MinMax, OneHot, Pipeline, Standardize
from mlcore.errors import DataError, InputError

ROWS = 12_000
CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}
"""Float32 of numbers of size one, of means that are summed in another order."""


@pytest.fixture(scope="module")
def source() -> dict[str, Any]:
    rng = np.random.default_rng(2)
    counts = rng.integers(0, 4, ROWS)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return {
        "row": np.arange(ROWS, dtype=np.int32),
        "pt": rng.exponential(30, ROWS).astype(np.float32),
        "met": rng.normal(100, 5, ROWS),
        "charge": rng.integers(-1, 2, ROWS).astype(np.int8),
        "jets": Jagged(rng.normal(7, 3, int(offsets[-1])).astype(np.float32), offsets),
    }


@pytest.fixture(scope="module")
def file(source: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "events.npz"
    np.savez(path, **{name: array for name, array in source.items() if name != "jets"})
    return path


def standard(values: npt.NDArray[Any], of: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
    of = values if of is None else of
    return np.asarray((values - of.mean(dtype=np.float64)) / of.std(dtype=np.float64))


def all_of(loader: BatchLoader) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    x, y = (np.concatenate(parts) for parts in zip(*loader.numpy(), strict=True))
    return x, y.astype(np.int64)


@pytest.mark.parametrize("memory", ["1 MB", "256 MB"])
def test_x_comes_transformed(source: dict[str, Any], memory: str) -> None:
    steps: dict[str, Any] = {"met": Standardize(), "pt": [Log(), Standardize()], "charge": OneHot()}
    columns = ["charge", "pt", "met", "jets"]
    loader = BatchLoader(
        source, columns, target="row", pad={"jets": 20}, filter="pt > 5", transforms=steps, memory=memory, batch_size=999
    )
    assert loader.mode == ("spill" if memory == "1 MB" else "memory")
    x, rows = all_of(loader)
    kept = np.flatnonzero(source["pt"] > 5)
    np.testing.assert_array_equal(np.sort(rows), kept)
    np.testing.assert_array_equal(x[:, :3], source["charge"][rows, None] == [-1, 0, 1])
    logs = np.log1p(source["pt"].astype(np.float64))
    np.testing.assert_allclose(x[:, 3], standard(logs[rows], logs[kept]), **CLOSE)
    np.testing.assert_allclose(
        x[:, 4], standard(source["met"][rows], source["met"][kept].astype(np.float32)), rtol=1e-4, atol=2e-5
    )
    assert loader.transforms is not None
    assert loader.transforms.names[:5] == ("charge = -1", "charge = 0", "charge = 1", "pt", "met")


def test_what_is_padded_is_not_fitted_to(source: dict[str, Any]) -> None:
    loader = BatchLoader(
        source, ["jets"], target="row", pad={"jets": Pad(3, value=-50, mask=True)}, transforms={"jets": Standardize()}
    )
    x, _, mask = (np.concatenate(parts) for parts in zip(*loader.numpy(), strict=True))
    for at in range(3):
        own = x[mask[:, at], at]
        assert abs(own.mean()) < 1e-4
        assert abs(own.std() - 1) < 1e-4
        assert (x[~mask[:, at], at] < -10).all()


def test_only_the_training_part_is_fitted_to(source: dict[str, Any]) -> None:
    """By all parts of a split or of a fold, in other processes as well."""
    loader = BatchLoader(source, ["met"], target="row", transforms={"met": Standardize()}, seed=1)
    assert loader.transforms is not None  # fitted to everything, which a split does not take over
    parts = loader.split(validation=0.3, train=0.7)
    x, rows = all_of(parts["validation"])
    own = all_of(BatchLoader(source, ["met"], target="row", seed=1).split(validation=0.3, train=0.7)["train"])[1]
    mean, std = (float(found) for found in (source["met"][own].mean(), source["met"][own].std()))
    np.testing.assert_allclose(x[:, 0], (source["met"][rows] - mean) / std, rtol=1e-4, atol=2e-5)
    copied = pickle.loads(pickle.dumps(parts["validation"]))  # noqa: S301 - written here
    assert copied.transforms == parts["validation"].transforms == parts["train"].transforms != loader.transforms
    train, validation = loader.folds(3)[0]
    assert train.transforms == validation.transforms != loader.transforms


def test_the_transforms_are_a_layer(source: dict[str, Any]) -> None:
    columns = ["pt", "charge", "met"]
    steps = Pipeline({"charge": OneHot(), "met": MinMax()})
    raw = BatchLoader(source, columns, seed=1, batch_size=ROWS)
    loader = BatchLoader(source, columns, transforms=steps, seed=1, batch_size=ROWS)
    (x,), (wanted,) = raw.numpy(), loader.numpy()
    assert loader.transforms is not None
    session = onnx.reference.ReferenceEvaluator(loader.transforms.to_onnx())
    np.testing.assert_allclose(session.run(None, {"features": x})[0], wanted, **CLOSE)
    (tensor,) = BatchLoader(source, columns, transforms=loader.transforms, seed=1, batch_size=ROWS).torch()
    np.testing.assert_array_equal(tensor.numpy(), wanted)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"transforms": {"pts": Log()}}, DataError, "no feature 'pts'"),
        ({"transforms": {"pt": Log()}, "layout": "dict"}, InputError, "matrix of float32"),
        ({"transforms": {"pt": Log()}, "dtype": "float64"}, InputError, "matrix of float32"),
        ({"transforms": {"jets[0]": Log(), "jets": Log()}, "pad": {"jets": 2}}, InputError, "steps twice"),
        ({"transforms": {"pt": OneHot()}, "pad": {"jets": Pad(2, mask=True)}}, InputError, "OneHot makes some"),
    ],
)
def test_transforms_that_cannot_be(source: dict[str, Any], options: dict[str, Any], error: type[Exception], message: str) -> None:
    columns = ["pt", "jets"] if "pad" in options else ["pt"]
    with pytest.raises(error, match=message):
        BatchLoader(source, columns, **options)


LOADERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "all": {
        "columns": ["pt", "ht", "charge"],
        "target": ["row"],
        "weight": "met",
        "filter": "pt > 3",
        "define": {"ht": "pt + met"},
        "batch_size": 100,
        "drop_remainder": True,
        "transforms": {"pt": [Log(), Standardize()], "charge": OneHot()},
        "on_error": "skip",
    },
    "dict": {"layout": "dict", "jagged": "offsets", "copy": False, "shuffle": "buffer"},
    "balance": {"target": "charge", "balance": Balance("over", ratio=0.5, replacement=True)},
    "double": {"dtype": "float64", "shuffle": False, "memory": 2_000_000},
}


def flat(batch: Any) -> list[npt.NDArray[Any]]:
    arrays = batch.values() if isinstance(batch, dict) else batch if isinstance(batch, tuple) else (batch,)
    return [np.array(array) for array in arrays]


def assert_same(one: BatchLoader, other: BatchLoader) -> None:
    for found, wanted in zip(one.numpy(), other.numpy(), strict=True):
        for a, b in zip(flat(found), flat(wanted), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("what", LOADERS)
def test_a_saved_loader_has_the_same_batches(file: Path, tmp_path: Path, what: str) -> None:
    loader = BatchLoader(file, **LOADERS[what])
    loader.save(tmp_path / "loader.json")
    other = BatchLoader.load(tmp_path / "loader.json", threads=1)
    assert (other.seed, other.order, len(other)) == (loader.seed, loader.order, len(loader))
    assert other.transforms == loader.transforms
    assert_same(other, loader)
    other.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == (tmp_path / "loader.json").read_text()


def test_parts_of_splits_and_samples_are_saved(file: Path, tmp_path: Path) -> None:
    samples = [Sample(str(file), label=np.float64(1), weight=0.5, name="a"), Sample([file], label=0, filter="pt > 30")]
    loader = BatchLoader(samples, ["pt"], transforms={"pt": Standardize()})
    part = loader.split(train=0.5, rest=0.5, by="row")["rest"].split(a=0.3, b=0.7)["b"]
    part.save(tmp_path / "loader.json")
    other = BatchLoader.load(tmp_path / "loader.json")
    assert other.transforms == part.transforms
    assert other.rows > 1000
    assert_same(other, part)


def test_arrays_are_given_again(source: dict[str, Any], tmp_path: Path) -> None:
    """As is a source that moved; values of a pad that JSON does not have are kept."""
    loader = BatchLoader(source, ["jets"], pad={"jets": Pad(3, value=float("nan"), mask="own")})
    loader.save(tmp_path / "loader.json")
    with pytest.raises(InputError, match="was no file"):
        BatchLoader.load(tmp_path / "loader.json")
    assert_same(BatchLoader.load(tmp_path / "loader.json", source), loader)


def without(name: str) -> Callable[[dict[str, Any]], None]:
    def change(found: dict[str, Any]) -> None:
        del found[name]

    return change


def with_option(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(found: dict[str, Any]) -> None:
        found["options"][name] = value

    return change


def with_field(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(found: dict[str, Any]) -> None:
        found[name] = value

    return change


CHOICE = {"low": 0, "high": 1, "seed": 0, "level": 0, "by": [], "outside": False}
DAMAGED: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (without("options"), "lacks the field 'options'"),
    (with_field("more", 1), "unknown field 'more'"),
    (with_field("format", "x"), "does not say"),
    (with_field("version", 2), "of version 2"),
    (with_field("source", 3), "neither paths nor samples"),
    (with_field("source", [{"source": "a"}]), "neither paths nor samples"),
    (with_field("choices", {}), "no list"),
    (with_field("choices", [CHOICE | {"low": 2}]), "no range"),
    (with_field("choices", [CHOICE | {"high": 2**65}]), "no range"),
    (with_field("choices", [CHOICE | {"by": "row"}]), "no columns"),
    (with_field("choices", [CHOICE | {"more": 1}]), "unknown field 'more'"),
    (with_field("transforms", {"a": 1}), "holds no transforms"),
    (with_option("batch_size", True), "option batch_size is True"),
    (with_option("batch_size", 0), "batch of 0 rows"),
    (with_option("seed", -1), "option seed is -1"),
    (with_option("columns", "pt"), "option columns"),
    (with_option("shuffle", 1), "option shuffle"),
    (with_option("pad", {"a": {"size": 1}}), "option pad"),
    (with_option("pad", {"a": {"size": 1, "value": "1e3", "mask": False}}), "option pad"),
    (with_option("balance", {"how": "over"}), "option balance"),
    (with_option("other", 1), "unknown field 'other'"),
    (with_option("filter", "pt >"), "pt >"),
]


@pytest.mark.parametrize(("change", "message"), DAMAGED)
def test_what_is_no_saved_loader_is_refused(
    file: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    path = tmp_path / "loader.json"
    BatchLoader(file, ["pt"]).save(path)
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))
    with pytest.raises(InputError) as caught:
        BatchLoader.load(path)
    assert message in str(caught.value)


def test_what_is_no_json_is_refused(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "loader.json"
    for text in ("", "[" * 100_000, '{"a": NaN}', "[]"):
        path.write_text(text)
        with pytest.raises(InputError, match="holds no loader"):
            BatchLoader.load(path)
    with pytest.raises(InputError, match="cannot be read"):
        BatchLoader.load(tmp_path / "nothing.json")
    BatchLoader(file).save(path)
    with pytest.raises(InputError, match="seed cannot be given"):
        BatchLoader.load(path, seed=3)
