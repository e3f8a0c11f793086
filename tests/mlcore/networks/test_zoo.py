"""The networks of the zoo, compiled with fixed and with open sizes, answer as PyTorch does.

Passes take other ways where sizes are numbers, and others again where a batch is large, so each network is compiled several
times. All
networks of a test are one library: most of a small network's compilation is the headers'.
"""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlcore.benchmarks import zoo
from mlcore.networks.build import BuildOptions, Function, build
from mlcore.networks.compiler import translate

FLAGS = ("-std=c++17", "-O1", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
TOLERANCE = 3e-5
"""Of the largest value of an output: float32 on both sides, sums in other orders; minimal filtering rounds once more."""

COSTLY = {"resnet": 6, "vae_decoder": 6, "dit": 6, "particle_transformer": 6}
"""Their second batch size here, so that a call takes no seconds."""


@pytest.fixture(autouse=True, scope="module")
def _quiet_exporter() -> None:
    """The exporter logs which operators of torchvision it does without."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)


@cache
def module(name: str) -> Any:
    return zoo.get(name).module()


def hold(variant: str, folder: Path, batch: int, *, dynamic: bool, second: bool = False) -> None:
    """Compile all models, traced with some sizes; hold them against PyTorch, with other sizes where these are open."""
    emitted = []
    for name in zoo.names():
        own = COSTLY.get(name, zoo.get(name).batches[-1]) if second else batch
        path = zoo.get(name).export_onnx(folder / f"{name}.onnx", batch=own, dynamic=dynamic, module=module(name))
        emitted.append(translate(path, f"{name}_{variant}"))
        path.unlink()
    library, _ = build(emitted, BuildOptions(flags=FLAGS, cache=folder))
    wrong = []
    for name, code in zip(zoo.names(), emitted, strict=True):
        model, function = zoo.get(name), Function(library, code)
        calls = [(COSTLY.get(name, model.batches[-1]) if second else batch, None)]
        if dynamic:
            usual = model.particles
            calls = [(1, usual), (3, usual and 20), (2, usual and usual + 5)]
        for events, particles in calls:
            inputs = model.example(events, particles, seed=events)
            expected = model.run(module(name), inputs)
            found = function([inputs[port.name] for port in code.inputs])
            for spec, answer in zip(model.outputs, found, strict=True):
                wanted = expected[spec.name]
                error = np.abs(answer - wanted).max() / np.abs(wanted).max() if answer.shape == wanted.shape else np.inf
                if not error <= TOLERANCE:
                    wrong.append(
                        f"{name}, {events} events of {particles}: {spec.name} is off by {error:.1e} of its largest value"
                    )
    assert not wrong, "\n".join(wrong)


def test_one_event(tmp_path: Path) -> None:
    hold("one", tmp_path, 1, dynamic=False)


@pytest.mark.slow
def test_a_fixed_batch(tmp_path: Path) -> None:
    hold("many", tmp_path, 0, dynamic=False, second=True)


@pytest.mark.slow
def test_a_small_fixed_batch(tmp_path: Path) -> None:
    hold("few", tmp_path, 3, dynamic=False)


def test_open_sizes(tmp_path: Path) -> None:
    """Other numbers of events, and of particles where these are open, than the file was traced with."""
    hold("open", tmp_path, 2, dynamic=True)
