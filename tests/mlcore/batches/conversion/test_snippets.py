"""The code that goes with shards: it runs, and its batches hold every row once."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlcore.batches.conversion.convert import convert
from mlcore.batches.conversion.joining import Manifest
from mlcore.batches.conversion.snippets import frameworks, snippet

ROWS = 1000


def source() -> dict[str, Any]:
    rng = np.random.default_rng(3)
    label = rng.integers(0, 2, ROWS).astype(np.int32)
    return {
        "row": np.arange(ROWS, dtype=np.float32), "pt/GeV": rng.random(ROWS), "pair": rng.random((ROWS, 2)), "label": label,
        "w": rng.random(ROWS).astype(np.float32),
    }  # fmt: skip


def made(folder: Path, format_: Any, **options: Any) -> Manifest:
    return convert(
        source(), folder, format=format_, target="label", weight="w", rows_per_shard=300,
        split={"train": 0.8, "validation": 0.2}, seed=1, **options,
    )  # fmt: skip


def module_of(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("format_", ["parquet", "hdf5", "numpy", "webdataset"])
def test_batches_hold_every_row_once(tmp_path: Path, format_: str) -> None:
    manifest = made(tmp_path, format_)
    (tmp_path / "read.py").write_text(snippet(manifest, "numpy", batch_size=128))
    module = module_of(tmp_path / "read.py")
    wanted = source()
    found = []
    for split, seed in (("train", None), ("validation", 3)):
        got = list(module.batches(split, seed=seed))
        assert all(len(x) == 128 for x, _, _ in got[:-1])
        for x, y, w in got:
            rows = x[:, 0].astype(int)
            np.testing.assert_array_equal(y, wanted["label"][rows])
            np.testing.assert_array_equal(w, wanted["w"][rows])
            np.testing.assert_allclose(x[:, 2:], wanted["pair"][rows], rtol=1e-6)
            found.append(rows)
    np.testing.assert_array_equal(np.sort(np.concatenate(found)), np.arange(ROWS))


def test_a_seed_gives_another_order(tmp_path: Path) -> None:
    manifest = made(tmp_path, "numpy")
    (tmp_path / "read_again.py").write_text(snippet(manifest, "numpy"))
    module = module_of(tmp_path / "read_again.py")
    orders = [np.concatenate([x[:, 0] for x, _, _ in module.batches(seed=seed)]) for seed in (None, 1, 1, 2)]
    assert not np.array_equal(orders[0], orders[1])
    np.testing.assert_array_equal(orders[1], orders[2])
    np.testing.assert_array_equal(np.sort(orders[1]), np.sort(orders[3]))


def test_pytorch_trains_on_them(tmp_path: Path) -> None:
    manifest = made(tmp_path, "parquet")
    (tmp_path / "train_torch.py").write_text(snippet(manifest, "torch", batch_size=64))
    done = subprocess.run([sys.executable, tmp_path / "train_torch.py"], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    assert "epoch 1" in done.stdout


def test_workers_of_a_data_loader_share_the_rows(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    manifest = made(tmp_path, "numpy")
    (tmp_path / "train_workers.py").write_text(snippet(manifest, "torch", batch_size=64))
    sys.path.insert(0, str(tmp_path))
    try:
        import train_workers  # type: ignore[import-not-found]

        loader = torch.utils.data.DataLoader(train_workers.Shards("validation"), batch_size=None, num_workers=2)
        rows = np.concatenate([x[:, 0].numpy() for x, _, _ in loader])
    finally:
        sys.path.remove(str(tmp_path))
    assert len(rows) == len(set(rows.tolist())) == manifest.to_json()["splits"]["validation"]


@pytest.mark.parametrize("format_", ["parquet", "hdf5", "numpy", "webdataset", "tfrecord"])
def test_code_for_tensorflow_is_python(tmp_path: Path, format_: str) -> None:
    manifest = made(tmp_path, format_)
    text = snippet(manifest, "tensorflow")
    ast.parse(text)
    assert ("FixedLenFeature([2], tf.float32)" in text) == (format_ == "tfrecord")
    if importlib.util.find_spec("tensorflow"):
        (tmp_path / "train.py").write_text(text)
        done = subprocess.run([sys.executable, tmp_path / "train.py"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_names_of_columns_cannot_break_out(tmp_path: Path) -> None:
    bad = '"""]; import os; X = ["\n'
    manifest = convert({bad: np.ones(3, np.float32), "b\\": np.ones(3)}, tmp_path, target=bad, columns=["b\\"], seed=1)
    for framework in frameworks(manifest):
        tree = ast.parse(snippet(manifest, framework))
        assert "os" not in {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
