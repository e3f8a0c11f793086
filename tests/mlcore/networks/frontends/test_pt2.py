"""``.pt2`` files: the program that PyTorch wrote, and what is done to files that would run code."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from mlcore import networks
from mlcore.errors import InputError, RunError, UnsupportedOperatorError
from mlcore.filetypes import detect
from mlcore.networks.build import QUICK, BuildOptions
from mlcore.networks.frontends import as_onnx, child, pt2
from mlcore.toolchain.sandbox import Limits


class Tagger(nn.Module):
    """Two inputs, a named output, constants, a size as a number in the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor, weight: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = torch.relu(self.first(x)) / x.shape[1]
        hidden = self.norm(hidden.transpose(1, 2)).mean(2) + torch.tensor([1.0, 2.0] * 4)
        return {"scores": self.second(hidden) * weight}


@pytest.fixture(scope="module")
def module() -> nn.Module:
    torch.manual_seed(4)
    return Tagger().eval()


@pytest.fixture(scope="module")
def file(module: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    free = torch.export.Dim.DYNAMIC
    example = (torch.randn(3, 6, 4), torch.randn(3, 1))
    program = torch.export.export(module, example, dynamic_shapes=({0: free, 1: free}, {0: free}))
    path = tmp_path_factory.mktemp("pt2") / "tagger.pt2"
    torch.export.save(program, path)
    return path


def test_answers_are_those_of_pytorch(file: Path, module: nn.Module, rng: np.random.Generator) -> None:
    assert detect(file).kind == "pt2"
    network = networks.load(file, options=BuildOptions(flags=QUICK))
    assert [port.name for port in network.inputs] == ["x", "weight"]
    assert network.inputs[0].shape == ("batch", "x_1", 4)
    for batch, n in ((3, 6), (1, 9), (5, 2)):
        inputs = {
            "x": rng.standard_normal((batch, n, 4), np.float32),
            "weight": rng.standard_normal((batch, 1), np.float32),
        }
        with torch.no_grad():
            expected = module(*map(torch.from_numpy, inputs.values()))["scores"].numpy()
        # Sums of up to nine float32 in another order.
        np.testing.assert_allclose(network.run(inputs)["scores"], expected, rtol=2e-5, atol=2e-6)


def test_the_graph_is_that_of_the_module(file: Path, module: nn.Module) -> None:
    shapes = {"x": ("batch", "x_1", 4), "weight": ("batch", 1)}
    ours, theirs = as_onnx(module, shapes=shapes), onnx.ModelProto.FromString(as_onnx(file))
    for of in (ours, theirs):
        assert [value.name for value in of.graph.output] == ["scores"]
    # Names of steps in between are PyTorch's, which counts on.
    first, second = (
        [(node.op_type, sorted(map(str, node.attribute))) for node in of.graph.node if node.op_type != "Constant"]
        for of in (ours, theirs)
    )
    assert first == second


def rewritten(file: Path, target: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """A copy of an archive, each member as `change` gives it."""
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = change(name.partition("/")[2], old.read(name))
            if data is not None:
                new.writestr(name, data)
    return target


def with_program(change: Callable[[dict[str, Any]], Any]) -> Callable[[str, bytes], bytes]:
    def changed(name: str, data: bytes) -> bytes:
        if name != "models/model.json":
            return data
        program = json.loads(data)
        change(program)
        return json.dumps(program).encode()

    return changed


class Evil:
    """Unpickling one makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_pickled_sample_inputs_are_not_read(file: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"

    def change(name: str, data: bytes) -> bytes:
        return pickle.dumps(Evil(mark)) if name == "data/sample_inputs/model.pt" else data

    program = pt2.load(rewritten(file, tmp_path / "evil.pt2", change))
    assert program.example_inputs is None
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["weights", "constants"])
def test_pickled_weights_are_refused(file: Path, tmp_path: Path, kind: str) -> None:
    mark = tmp_path / "ran"

    def change(name: str, data: bytes) -> bytes:
        if name == f"data/{kind}/model_{kind}_config.json":
            config = json.loads(data)
            next(iter(config["config"].values()))["use_pickle"] = True
            return json.dumps(config).encode()
        return pickle.dumps(Evil(mark)) if name.startswith(f"data/{kind}/") else data

    with pytest.raises(InputError, match="as a pickle") as raised:
        pt2.load(rewritten(file, tmp_path / "evil.pt2", change))
    assert raised.value.code == "network.pickle"
    assert not mark.exists()


def graph_of(program: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = program["graph_module"]["graph"]
    return found


def rename(program: dict[str, Any]) -> None:
    graph_of(program)["nodes"][0]["name"] = "x = __import__('os').abort()"


def expression(program: dict[str, Any]) -> None:
    sizes = graph_of(program)["tensor_values"]["x"]["sizes"]
    sizes[0]["as_expr"]["expr_str"] = "__import__('os').abort()"


def attribute(program: dict[str, Any]) -> None:
    sizes = graph_of(program)["tensor_values"]["x"]["sizes"]
    sizes[0]["as_expr"]["expr_str"] = "Symbol('s0').__class__"


def container(program: dict[str, Any]) -> None:
    tree = {"type": "collections.defaultdict", "context": '{"default_factory_module": "antigravity"}', "children_spec": []}
    program["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = json.dumps([1, tree])


def guard(program: dict[str, Any]) -> None:
    program["verifiers"] = ["EDGE"]


@pytest.mark.parametrize("change", [rename, expression, attribute, container, guard])
def test_texts_that_would_run_are_refused(file: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = rewritten(file, tmp_path / "evil.pt2", with_program(change))
    with pytest.raises(InputError) as raised:
        pt2.load(path)
    assert raised.value.code == "network.parse"


@pytest.mark.parametrize(
    "target", ["torch.serialization.os.abort", "torch.ops.aten.from_file.default", "torch.ops.mine.f.default"]
)
def test_operators_that_are_not_pytorchs_own_are_refused(file: Path, tmp_path: Path, target: str) -> None:
    def change(program: dict[str, Any]) -> None:
        graph_of(program)["nodes"][0]["target"] = target

    path = rewritten(file, tmp_path / "evil.pt2", with_program(change))
    with pytest.raises(UnsupportedOperatorError, match="own operators") as raised:
        as_onnx(path)  # also through the child
    assert raised.value.operator == target


def test_guards_are_dropped(file: Path, tmp_path: Path) -> None:
    def change(program: dict[str, Any]) -> None:
        program["guards_code"] = ["__import__('os').abort()"]

    program = pt2.load(rewritten(file, tmp_path / "evil.pt2", with_program(change)))
    assert program.module()(torch.zeros(2, 3, 4), torch.ones(2, 1))["scores"].shape == (2, 2)


def test_damaged_files_have_a_clear_error(file: Path, tmp_path: Path) -> None:
    data = file.read_bytes()
    path = tmp_path / "cut.pt2"
    for share in (0.3, 0.7, 0.99):
        path.write_bytes(data[: int(share * len(data))])
        with pytest.raises(InputError, match="damaged"):
            pt2.load(path)
    for missing in ("models/model.json", "data/weights/weight_0", "data/weights/model_weights_config.json"):
        with pytest.raises(InputError):
            pt2.load(rewritten(file, path, lambda name, data, missing=missing: None if name == missing else data))


def test_weights_that_claim_more_than_they_hold(file: Path, tmp_path: Path) -> None:
    def change(name: str, data: bytes) -> bytes:
        return data[:8] if name == "data/weights/weight_0" else data

    with pytest.raises(InputError, match="weights is wrong"):
        pt2.load(rewritten(file, tmp_path / "short.pt2", change))


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt2"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/archive_format", "pt2", zipfile.ZIP_STORED)
        archive.writestr("a/models/model.json", b" " * 10**8)
    with pytest.raises(InputError, match="compressed"):
        pt2.load(path)


def test_checkpoints_are_refused_with_a_way_out(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(nn.Linear(2, 2).state_dict(), path)
    with pytest.raises(InputError) as raised:
        as_onnx(path)
    assert raised.value.code == "file.torch"
    assert "torch.export.save" in raised.value.hint


def test_a_child_that_takes_too_long_is_ended(file: Path) -> None:
    with pytest.raises(RunError, match="over a limit: wall"):
        child.converted("pt2", file, Limits(wall_seconds=0.3))


def test_a_program_captured_in_training_mode_is_refused(tmp_path: Path) -> None:
    program = torch.export.export(nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)).train(), (torch.zeros(2, 3),))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    path = tmp_path / "train.pt2"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match="training mode") as raised:
        as_onnx(path)
    assert "eval()" in raised.value.hint
