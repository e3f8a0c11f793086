"""Random networks through the whole compiler, held against ONNX Runtime without its own rewrites."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import onnxruntime
import pytest

from mlcore.networks.build import BuildOptions, Function, build
from mlcore.networks.compiler import translate
from tests.mlcore.networks.random_graphs import network

FLAGS = ("-std=c++17", "-O0", "-ffp-contract=off")
"""The networks are small and run once."""

TOLERANCE = 1e-4
"""Of 1 and the largest value of an output: values stay near 1, and pass up to forty nodes whose sums are taken in other orders.
What a pass gets wrong is another number altogether."""


def hold(seeds: range, *, open_sizes: bool, strict: bool = False) -> None:
    """Compile the networks of some seeds into one library and compare; all that differ are named by their seeds."""
    networks = {seed: network(seed, open_sizes=open_sizes) for seed in seeds}
    code = {seed: translate(model, f"random_{seed}", strict=strict) for seed, (model, _) in networks.items()}
    library, _ = build(list(code.values()), BuildOptions(flags=FLAGS))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    wrong = []
    for seed, (model, calls) in networks.items():
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        function = Function(library, code[seed])
        for feeds in calls:
            expected: list[Any] = session.run(None, feeds)
            found = function([feeds[port.name] for port in code[seed].inputs])
            for port, ours, theirs in zip(code[seed].outputs, found, expected, strict=True):
                if ours.shape != theirs.shape:
                    wrong.append(f"seed {seed}: {port.name} has the shape {ours.shape}, not {theirs.shape}")
                elif not np.abs(ours - theirs).max(initial=0) <= TOLERANCE * (1 + np.abs(theirs).max(initial=0)):
                    wrong.append(f"seed {seed}: {port.name} is off by {np.abs(ours - theirs).max():.2g}")
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes do what they can also where it is no gain: networks that are large enough for it would take long."""
    changed: dict[str, dict[str, Any]] = {
        "block_batch": {"LARGE": 1, "NEAR": 200, "LARGE_ROWS": 1, "NEAR_ROWS": 200},
        "distribute_products": {"GAIN": 100.0},
        "lift_transposes": {"amount": lambda size: 0},
        "filter_convolutions": {"LEAST_CHANNELS": 1, "LEAST_TILES": 1},
    }
    for name, values in changed.items():
        # A pass is a function of its module's name, which the package has in the module's place.
        module = import_module(f"mlcore.networks.passes.{name}")
        for key, value in values.items():
            monkeypatch.setattr(module, key, value)


def test_fixed_sizes() -> None:
    hold(range(60), open_sizes=False)


def test_open_sizes() -> None:
    hold(range(1000, 1060), open_sizes=True)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("open_sizes", [False, True])
def test_where_it_is_no_gain(open_sizes: bool) -> None:
    hold(range(4000, 4060), open_sizes=open_sizes)


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("first", range(5000, 5600, 120))
@pytest.mark.parametrize("open_sizes", [False, True])
def test_many_where_it_is_no_gain(first: int, open_sizes: bool) -> None:
    hold(range(first, first + 120), open_sizes=open_sizes)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(2000, 2600, 120))
@pytest.mark.parametrize("open_sizes", [False, True])
def test_many(first: int, open_sizes: bool) -> None:
    hold(range(first, first + 120), open_sizes=open_sizes)


@pytest.mark.slow
def test_strict_arithmetic() -> None:
    hold(range(3000, 3120), open_sizes=True, strict=True)
