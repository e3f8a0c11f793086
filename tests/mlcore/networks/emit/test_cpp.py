"""Generated code: what stands in it once."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper

from mlcore.networks.build import QUICK, BuildOptions
from mlcore.networks.compiler import translate
from mlcore.networks.predictor import load
from tests.mlcore.networks.models import model


def test_equal_functions_of_products_are_one() -> None:
    """Three layers of one shape: two do the same with their results and so are one kernel, the last does something else."""
    rng = np.random.default_rng(0)
    constants: dict[str, np.ndarray] = {}
    nodes = []
    for i, activation in enumerate(("Relu", "Relu", "Tanh")):
        constants |= {f"w{i}": rng.standard_normal((8, 8)).astype(np.float32), f"b{i}": rng.standard_normal(8).astype(np.float32)}
        nodes += [
            helper.make_node("Gemm", [f"x{i}" if i else "x", f"w{i}", f"b{i}"], [f"sum{i}"]),
            helper.make_node(activation, [f"sum{i}"], [f"x{i + 1}"]),
        ]
    proto = model(nodes, {"x": (TensorProto.FLOAT, [3, 8])}, {"x3": TensorProto.FLOAT}, constants)
    code = translate(proto, "layers").code
    assert code.count("inline constexpr auto add_relu = [](") == 1
    assert (code.count("after::add_relu,"), code.count("after::add_tanh,")) == (2, 1)

    x = rng.standard_normal((3, 8)).astype(np.float32)
    expected = x.astype(np.float64)
    for i in range(3):
        total = expected @ constants[f"w{i}"] + constants[f"b{i}"]
        expected = np.tanh(total) if i == 2 else np.maximum(total, 0)
    found = load(proto, options=BuildOptions(flags=QUICK)).run({"x": x})["x3"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)  # float32 sums of eight terms, three layers deep


def test_weights_that_are_used_again_are_stored_once() -> None:
    """A step that is taken four times, and one with other weights: as many bytes as where each is taken once."""
    rng = np.random.default_rng(0)
    constants = {
        name: rng.standard_normal(shape).astype(np.float32)
        for name, shape in (("w", (8, 8)), ("b", (8,)), ("other_w", (8, 8)), ("other_b", (8,)))
    }

    def steps(repeated: int) -> Any:
        nodes = []
        for i in range(repeated + 1):
            weights = ["w", "b"] if i < repeated else ["other_w", "other_b"]
            nodes += [
                helper.make_node("Gemm", [f"x{i}" if i else "x", *weights], [f"sum{i}"]),
                helper.make_node("Relu", [f"sum{i}"], [f"x{i + 1}"]),
            ]
        return model(nodes, {"x": (TensorProto.FLOAT, [3, 8])}, {f"x{repeated + 1}": TensorProto.FLOAT}, constants)

    stored = len(translate(steps(4), "steps").weights)
    assert stored == len(translate(steps(1), "steps").weights)
    assert stored >= 2 * 4 * (64 + 8)

    x = rng.standard_normal((3, 8)).astype(np.float32)
    expected = x.astype(np.float64)
    for i in range(5):
        prefix = "" if i < 4 else "other_"
        expected = np.maximum(expected @ constants[f"{prefix}w"] + constants[f"{prefix}b"], 0)
    found = load(steps(4), options=BuildOptions(flags=QUICK)).run({"x": x})["x5"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)  # float32 sums of eight terms, five layers deep
