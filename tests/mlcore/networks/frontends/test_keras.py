"""Keras models and ``.keras`` files, held against Keras itself; and what is done to files that would run code."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"  # before Keras is imported

import h5py
import keras
import numpy as np
import onnx
import pytest
from keras import layers as L  # noqa: N812 - as Keras' own documentation has it

from mlcore import networks
from mlcore.errors import InputError, UnsupportedFeatureError
from mlcore.filetypes import detect
from mlcore.networks.build import QUICK, BuildOptions
from mlcore.networks.frontends import as_onnx, keras_file

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")  # inside Keras

CLOSE = {"rtol": 2e-5, "atol": 5e-6}
"""Sums of a few hundred float32 of size one in another order, and functions that differ in the last places."""


def random(rng: np.random.Generator, model: keras.Model, sizes: Mapping[str, int]) -> dict[str, Any]:
    """Inputs by name; sizes of axes that are open by ``batch`` or ``name_axis``."""
    found = {}
    for tensor in model.inputs:
        shape = [
            size if size is not None else sizes["batch" if axis == 0 else f"{tensor.name}_{axis}"]
            for axis, size in enumerate(tensor.shape)
        ]
        floats = tensor.dtype == "float32"
        found[tensor.name] = rng.standard_normal(shape, np.float32) if floats else rng.integers(0, 5, shape).astype(tensor.dtype)
    return found


def trained(model: keras.Model, rng: np.random.Generator) -> keras.Model:
    """A model with weights whose zeros and ones do not hide what is mixed up."""
    for variable in model.variables:
        if variable.dtype == "float32":
            low = 0.5 if "variance" in variable.path else -0.7
            variable.assign(rng.uniform(low, low + 1.4, variable.shape).astype(np.float32))
    return model


def agrees(
    model: keras.Model, rng: np.random.Generator, *all_sizes: Mapping[str, int], file: Path | None = None
) -> networks.Network:
    """Compile, and compare all outputs at all sizes with `model.predict`."""
    network = networks.load(file or model, options=BuildOptions(flags=QUICK))
    for sizes in all_sizes:
        inputs = random(rng, model, sizes)
        feed = inputs if len(inputs) > 1 else next(iter(inputs.values()))
        expected = keras.tree.flatten(model.predict(feed, verbose=0))
        outputs = network.run(inputs)
        assert len(outputs) == len(expected)
        for (name, output), wanted in zip(outputs.items(), expected, strict=True):
            assert output.dtype == wanted.dtype
            np.testing.assert_allclose(output, wanted, err_msg=name, **CLOSE)
    return network


@pytest.fixture(scope="module")
def mlp() -> keras.Model:
    model = keras.Sequential([
        keras.Input((4,), name="x"), L.Dense(8, "relu", kernel_regularizer="l2"), L.BatchNormalization(), L.Dropout(0.5),
        L.Dense(2, "softmax", name="scores"),
    ])  # fmt: skip
    return trained(model, np.random.default_rng(1))


@pytest.fixture(scope="module")
def file(mlp: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keras") / "mlp.keras"
    mlp.compile("adam", "mse")
    mlp.save(path)
    return path


def test_a_file_is_its_model(mlp: keras.Model, file: Path, rng: np.random.Generator) -> None:
    assert detect(file).kind == "keras"
    network = agrees(mlp, rng, {"batch": 1}, {"batch": 7}, file=file)
    assert [(port.name, port.shape) for port in network.inputs] == [("x", ("batch", 4))]
    assert [(port.name, port.shape) for port in network.outputs] == [("scores", ("batch", 2))]
