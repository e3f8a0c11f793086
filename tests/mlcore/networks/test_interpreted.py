"""Networks on a machine without a compiler: the same answers, node by node."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from mlcore import networks
from mlcore.errors import InputError, ToolchainError
from mlcore.networks import predictor
from tests.mlcore.networks.models import mlp, mlp_answer, model

RNG = np.random.default_rng(4)


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise ToolchainError("there is no C++ compiler")

    monkeypatch.setattr(predictor, "find_compiler", none)


def test_a_network_runs_without_a_compiler() -> None:
    proto = mlp()
    network = networks.load(proto)
    assert (network.engine, network.compile_seconds) == ("interpreted", 0.0)
    for batch in (1, 5):
        x = RNG.standard_normal((batch, 8)).astype(np.float32)
        found = network.run({"x": x})["y"]
        np.testing.assert_allclose(found, mlp_answer(proto, x), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(found, network.run({"x": x})["y"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_what_kernels_do_is_what_pytorch_does(tmp_path: Path) -> None:
    """Convolutions with stride, dilation, groups and padding; normalisation, softmax, functions; other orders of sums."""
    module = nn.Sequential(
        nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2), nn.GELU(),
        nn.Conv2d(6, 5, 3, bias=False), nn.Sigmoid(), nn.Flatten(2), nn.LayerNorm(16), nn.Tanh(),
        nn.Linear(16, 7), nn.Softmax(-1),
    ).eval()  # fmt: skip
    x = torch.from_numpy(RNG.standard_normal((3, 4, 11, 8)).astype(np.float32))
    path = tmp_path / "mixed.onnx"
    torch.onnx.export(module, (x,), str(path), input_names=["x"], output_names=["y"], dynamo=False, opset_version=17)
    with torch.no_grad():
        expected = module(x).numpy()
    np.testing.assert_allclose(networks.load(path).run({"x": x.numpy()})["y"], expected, rtol=1e-4, atol=1e-6)


def test_other_types_go_to_the_evaluator() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Erf", ["p"], ["y"])]
    weights = RNG.standard_normal((3, 2))
    proto = model(nodes, {"x": (TensorProto.DOUBLE, ["n", 3])}, {"y": TensorProto.DOUBLE}, {"w": weights})
    x = RNG.standard_normal((4, 3))
    expected = np.vectorize(__import__("math").erf)(x @ weights)
    np.testing.assert_allclose(networks.load(proto).run({"x": x})["y"], expected, rtol=1e-6)


def test_shapes_that_do_not_fit_are_named() -> None:
    nodes = [helper.make_node("Add", ["a", "b"], ["y"])]
    ports = {name: (TensorProto.FLOAT, ["n", 2]) for name in "ab"}
    network = networks.load(model(nodes, ports, {"y": TensorProto.FLOAT}))  # type: ignore[arg-type]
    rows = np.ones((3, 2), np.float32)
    with pytest.raises(InputError, match=r"the input 'b' has the shape \[4, 2\], where \[n, 2\] is needed"):
        network.run({"a": rows, "b": np.ones((4, 2), np.float32)})
    with pytest.raises(InputError, match=r"the input 'a' has the shape \[3, 3\]"):
        network.run({"a": np.ones((3, 3), np.float32), "b": rows})


def test_a_strangers_network_still_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*arguments: object, **named: object) -> None:
        raise ToolchainError("there is no C++ compiler")

    monkeypatch.setattr("mlcore.networks.build.find_compiler", none)
    with pytest.raises(ToolchainError, match="no C"):
        networks.load(mlp(), isolate=True)
