"""Vectorised elementary functions: their largest errors, and the values that are no ordinary numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from onnx import TensorProto, helper

import kernels
from mlcore import networks
from tests.mlcore.networks.models import model

BASE = ("-std=c++17", "-O2", "-ffp-contract=off")
TARGETS = {"native": ("-march=native",), "avx2": ("-mavx2", "-mfma", "-mbmi2"), "portable": ()}

# The bounds that kernels/nn/math.hpp states, in units of the last place.
BOUNDS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
    "Exp": (np.exp, 1.1),
    "Log": (np.log, 0.8),
    "Tanh": (np.tanh, 2.5),
    "Erf": (np.vectorize(math.erf, otypes=[np.float64]), 2.6),
    "Sigmoid": (lambda x: 1 / (1 + np.exp(-x)), 2.5),
}


def numbers() -> np.ndarray:
    """Floats of all magnitudes, many where the functions bend, and the special ones."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 100_000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    parts = [
        bits[np.isfinite(bits)],
        rng.uniform(-110, 95, 100_000),
        rng.uniform(-5, 5, 200_000),
        [np.nan, np.inf, -np.inf, 0.0, -0.0],
    ]
    return np.concatenate([np.asarray(part, np.float32) for part in parts])


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("arithmetic", ["standard", "fast"])
def test_errors_stay_within_the_stated_bounds(target: str, arithmetic: networks.Math) -> None:
    """Fast arithmetic is given half a unit more, and may lose the sign of zero."""
    if target == "avx2" and "avx2" not in kernels.available_targets():
        pytest.skip("this processor has no AVX2")
    x = numbers()
    nodes = [helper.make_node(name, ["x"], [name]) for name in BOUNDS]
    proto = model(nodes, {"x": (TensorProto.FLOAT, ["n"])}, dict.fromkeys(BOUNDS, TensorProto.FLOAT))
    options = networks.BuildOptions(flags=(*BASE, *TARGETS[target]), math=arithmetic)
    found = networks.load(proto, options=options).run({"x": x})
    for name, (function, bound) in BOUNDS.items():
        with np.errstate(all="ignore"):
            exact = function(x.astype(np.float64))
            wanted = exact.astype(np.float32)
        normal = np.isfinite(wanted) & (np.abs(wanted) >= np.finfo(np.float32).tiny)
        error = np.abs(found[name][normal] - exact[normal]) / np.spacing(np.abs(wanted[normal])).astype(np.float64)
        assert error.max() <= bound + (0.5 if arithmetic == "fast" else 0.0), (name, error.max(), x[normal][np.argmax(error)])
        special = ~np.isfinite(wanted)
        np.testing.assert_array_equal(found[name][special], wanted[special], err_msg=name)
        if arithmetic == "standard":
            np.testing.assert_array_equal(np.signbit(found[name][x == 0]), np.signbit(wanted[x == 0]), err_msg=name)
