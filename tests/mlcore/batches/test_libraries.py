"""Batches for TensorFlow and JAX, held against NumPy's; each library in an environment of its own.

A quick run skips what is not installed; the slow test installs both into the cache folder and runs this file there.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlcore.batches import BatchLoader, JaggedArray, Pad
from mlcore.batches.blocks import Jagged
from mlcore.errors import InputError, UnsupportedFeatureError

ROWS = 5000
PACKAGES = {"tensorflow": "tensorflow-cpu==2.21.0", "jax": "jax[cpu]==0.10.2"}


@pytest.fixture
def tf() -> Any:
    return pytest.importorskip("tensorflow", reason="TensorFlow is not installed; the slow test installs it")


@pytest.fixture
def jax() -> Any:
    return pytest.importorskip("jax", reason="JAX is not installed; the slow test installs it")


@pytest.fixture(scope="module")
def source() -> dict[str, Any]:
    rng = np.random.default_rng(4)
    counts = rng.integers(0, 5, ROWS)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return {
        "row": np.arange(ROWS, dtype=np.int32),
        "event": 2**62 + np.arange(ROWS, dtype=np.int64),
        "pt": rng.exponential(30, ROWS).astype(np.float32),
        "met": rng.exponential(30, ROWS),
        "flag": rng.random(ROWS) < 0.5,
        "cov": rng.standard_normal((ROWS, 3)).astype(np.float32),
        "hits": Jagged(rng.standard_normal(int(offsets[-1])).astype(np.float32), offsets),
    }


def same(found: Any, wanted: Any) -> None:
    """Arrays of another library and NumPy's, to the last bit."""
    if isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for name, array in wanted.items():
            same(found[name], array)
    elif isinstance(wanted, JaggedArray):
        offsets = getattr(found, "row_splits", None)
        same(found.values, wanted.values)
        np.testing.assert_array_equal(np.asarray(found.offsets if offsets is None else offsets), wanted.offsets)
    elif isinstance(wanted, tuple):
        assert len(found) == len(wanted)
        for each, array in zip(found, wanted, strict=True):
            same(each, array)
    else:
        array = np.asarray(found)
        assert (array.dtype, array.shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_array_equal(array, wanted)


OPTIONS: dict[str, dict[str, Any]] = {
    "x": {"columns": ["pt", "cov"]},
    "x, y": {"columns": ["pt", "cov"], "target": "flag"},
    "x, y, w, mask": {"columns": ["pt", "hits"], "target": ["row"], "weight": "met", "pad": {"hits": Pad(2, mask=True)}},
    "dict": {"columns": ["row", "pt", "flag", "cov"], "layout": "dict"},
    "jagged": {"columns": ["row", "hits"], "layout": "dict", "jagged": "offsets"},
    "mask": {"columns": ["row", "hits"], "layout": "dict", "pad": {"hits": Pad(3, value=-1, mask=True)}},
}


@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize("what", OPTIONS)
def test_tensorflow_has_numpys_batches(tf: Any, source: dict[str, Any], what: str, drop: bool) -> None:
    """Of each epoch, kept beyond the next ones, and through tf.data's own steps."""
    options = {**OPTIONS[what], "seed": 3, "batch_size": 700, "drop_remainder": drop}
    wanted = BatchLoader(source, **options)
    dataset = BatchLoader(source, **options).tensorflow()
    assert isinstance(dataset, tf.data.Dataset)
    for epoch in range(2):
        found = list(dataset if epoch else dataset.prefetch(2))
        expected = list(wanted.numpy())
        assert len(found) == len(expected) == ROWS // 700 + (not drop)
        for batch, arrays in zip(found, expected, strict=True):
            same(batch, arrays)
    first = tf.nest.flatten(dataset.element_spec)[0]
    assert first.shape[0] == (700 if drop else None)


def test_tensorflow_has_whole_numbers_of_64_bits(tf: Any, source: dict[str, Any]) -> None:
    (batch,) = BatchLoader(source, ["event", "met"], layout="dict", shuffle=False, batch_size=ROWS).tensorflow()
    same(batch, {"event": source["event"], "met": source["met"]})


def test_tensorflow_trains_a_network_of_keras(tf: Any) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((4000, 2)).astype(np.float32)
    loader = BatchLoader({"a": x[:, 0], "b": x[:, 1], "y": 2 * x[:, 0] - x[:, 1]}, target="y", batch_size=100, seed=1)
    model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1)])
    model.compile(tf.keras.optimizers.SGD(0.1), "mse")
    history = model.fit(loader.tensorflow(), epochs=3, verbose=0)
    assert history.history["loss"][-1] < 1e-6
    assert loader.epoch == 3


def test_tensorflow_goes_on_after_a_data_set_that_was_left(tf: Any, source: dict[str, Any]) -> None:
    loader = BatchLoader(source, ["row"], layout="dict", seed=3)
    dataset = loader.tensorflow()
    next(iter(dataset))
    rows = np.concatenate([batch["row"].numpy() for batch in dataset])
    np.testing.assert_array_equal(np.sort(rows), source["row"])


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("what", OPTIONS)
def test_jax_has_numpys_batches(jax: Any, source: dict[str, Any], what: str, copy: bool) -> None:
    """With its own integers for offsets; what is kept stays as it is, whether NumPy's would or not."""
    options = {**OPTIONS[what], "seed": 3, "batch_size": 700}
    wanted = BatchLoader(source, **options)
    loader = BatchLoader(source, copy=copy, **options)
    for _ in range(2):
        found = list(loader.jax())
        expected = list(wanted.numpy())
        assert len(found) == len(expected)
        for batch, arrays in zip(found, expected, strict=True):
            assert all(isinstance(array, jax.Array) for array in jax.tree.leaves(batch))
            same(batch, arrays)


def test_jax_does_not_cut_numbers_of_64_bits(jax: Any, source: dict[str, Any]) -> None:
    loader = BatchLoader(source, ["event", "met"], layout="dict", shuffle=False, batch_size=ROWS)
    with pytest.raises(InputError, match="64 bits of 'event'") as caught:
        loader.jax()
    assert "jax_enable_x64" in caught.value.hint
    with jax.enable_x64(True):
        (batch,) = loader.jax()
        same(batch, {"event": source["event"], "met": source["met"]})


@pytest.mark.parametrize(("library", "name"), [("tensorflow", "TensorFlow"), ("jax", "JAX")])
def test_a_library_that_is_missing_is_named(library: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    loader = BatchLoader({"a": np.arange(3.0)})
    with pytest.raises(UnsupportedFeatureError, match=f"{name} cannot be imported") as caught:
        getattr(loader, library)()
    assert f"pip install {library}" in caught.value.hint.replace('"', "")
    assert loader.epoch == 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("library", PACKAGES)
def test_in_an_environment_of_its_own(library: str) -> None:
    if importlib.util.find_spec(library) is not None:
        pytest.skip(f"{library} is installed: the other tests ran")
    python = environment(library, PACKAGES[library])
    command = [python, "-m", "pytest", "-q", "-k", library, "-m", "not slow", "-p", "no:cacheprovider", "-W", "default", __file__]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout.splitlines()[-1]


def environment(name: str, package: str) -> str:
    """The Python of an environment with a package and its own dependencies, and behind them all that is installed here."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ml4ep-tests"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = cache / f"{name}-{package.rpartition('==')[2]}-python{version}"
    python = folder / "bin" / "python"
    if not (folder / "whole").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-input", package], check=True)
        (folder / "whole").touch()
    here = sysconfig.get_paths()["purelib"]
    there = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"], capture_output=True, text=True, check=True
    )
    Path(there.stdout.strip(), "behind.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    return str(python)
