"""Generated code: what stands in it once."""

from __future__ import annotations

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
