"""Every pass leaves what a network computes as it was: networks are compiled after each step of the pipeline and compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from mlcore.networks.build import BuildOptions, Function, build
from mlcore.networks.compiler import read
from mlcore.networks.emit.cpp import emit
from mlcore.networks.ir.verify import verify
from mlcore.networks.passes import PIPELINE, optimise, pipeline

Array = npt.NDArray[Any]
RNG = np.random.default_rng(23)

BASE = ("-std=c++17", "-O1", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
TARGETS: Mapping[str, tuple[str, ...]] = {"native": ("-march=native",), "avx2": ("-mavx2", "-mfma", "-mbmi2"), "portable": ()}


class Residual(nn.Module):
    """Two convolutions beside a path of another stride; the first tensor is read by both."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 20, 3, padding=1)
        self.norm = nn.BatchNorm2d(20)
        self.down = nn.Conv2d(20, 33, 3, stride=2, padding=1, bias=False)
        self.beside = nn.Conv2d(20, 33, 1, stride=2)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.last = nn.Linear(33, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = torch.relu(self.down(x) + self.beside(x))
        x = self.pool(x) + nn.functional.avg_pool2d(x, 3, 2, 1)
        return self.last(x.mean((2, 3)))


class Mixed(nn.Module):
    """Depthwise and grouped kernels, dilation, uneven padding, what is flattened goes into a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.grouped = nn.Conv2d(6, 10, (3, 2), padding=(2, 1), dilation=(2, 1), groups=2)
        self.narrow = nn.Conv2d(10, 7, 1)
        self.dense = nn.Linear(7 * 4 * 3, 9)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.gelu(self.depthwise(x)) * x
        x = nn.functional.pad(torch.tanh(self.grouped(x)), (0, 0, 1, 0))
        x = nn.functional.max_pool2d(self.narrow(x), 2, ceil_mode=True)
        return self.dense(torch.flatten(x[:, :, :4, :3], 1))


class Sequence(nn.Module):
    """In one dimension, of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(4, 17, 5, padding=2), nn.SiLU(), nn.Conv1d(17, 3, 3, stride=2), nn.AvgPool1d(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.layers(x), 1)


class Volume(nn.Module):
    """In three dimensions, of any depth."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv3d(2, 9, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(9, 4, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class Filtered(nn.Module):
    """3 x 3 kernels between many channels, on images of odd sizes, of which several go together."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(16, 21, 3, padding=1)
        self.second = nn.Conv2d(21, 16, 3, padding=(2, 0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :, :, 1:-1] + self.second(torch.relu(self.first(x)))[:, :, 1:-1]


class Edges(nn.Module):
    """Each point with its neighbours, as ParticleNet has them (Qu and Gouskos, arXiv:1902.08570)."""

    def __init__(self, neighbours: int = 3) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.edges = nn.Sequential(nn.Conv2d(10, 12, 1), nn.ReLU(), nn.Conv2d(12, 9, 1), nn.ReLU())
        self.beside = nn.Conv1d(5, 9, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, channels, points = x.shape
        square = x.pow(2).sum(1, keepdim=True)
        distance = square.transpose(2, 1) - 2 * torch.matmul(x.transpose(2, 1), x) + square
        index = distance.topk(self.neighbours + 1, largest=False)[1][:, :, 1:]
        index = index + torch.arange(batch).view(-1, 1, 1) * points
        rows = x.transpose(2, 1).reshape(-1, channels)[index.reshape(-1)]
        others = rows.view(batch, points, self.neighbours, channels).permute(0, 3, 1, 2)
        own = x.unsqueeze(-1).repeat(1, 1, 1, self.neighbours)
        edges = self.edges(torch.cat((own, others - own), 1))
        return torch.relu(self.beside(x) + edges.mean(-1))


class Graph(nn.Module):
    """Edges of all points of a list, with a bias: a Gemm, not a MatMul."""

    def __init__(self) -> None:
        super().__init__()
        self.edges = nn.Linear(8, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        source, target = torch.arange(24) % 6, torch.arange(24) * 5 % 6
        left, right = x[target], x[source]
        return nn.functional.elu(self.edges(torch.cat((left, right - left), 1)))


class Pairs(nn.Module):
    """Each point with each other, as a list: what was repeated is reshaped before it is multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs = nn.Sequential(nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, points, channels = x.shape
        left = x.unsqueeze(2).expand(-1, -1, points, -1).reshape(batch, points * points, channels)
        right = x.unsqueeze(1).expand(-1, points, -1, -1).reshape(batch, points * points, channels)
        around = x.mean(1, keepdim=True).expand(-1, points * points, -1)
        return self.pairs(torch.cat((left, right, around), -1))


NETWORKS: Mapping[str, tuple[type[nn.Module], tuple[int, ...], Mapping[int, str], tuple[tuple[int, ...], ...]]] = {
    "residual": (Residual, (2, 3, 12, 9), {0: "batch"}, ((2, 3, 12, 9), (5, 3, 12, 9))),
    "residual of any size": (Residual, (2, 3, 12, 9), {2: "h", 3: "w"}, ((2, 3, 12, 9), (2, 3, 21, 16))),
    "filtered": (Filtered, (5, 16, 9, 7), {}, ((5, 16, 9, 7),)),
    "filtered, of any number": (Filtered, (2, 16, 5, 7), {0: "batch"}, ((2, 16, 5, 7), (7, 16, 5, 7))),
    "mixed": (Mixed, (3, 6, 7, 5), {}, ((3, 6, 7, 5),)),
    "sequence": (Sequence, (2, 4, 30), {2: "n"}, ((2, 4, 30), (2, 4, 11))),
    "edges": (Edges, (2, 5, 11), {}, ((2, 5, 11),)),
    "edges of any number": (Edges, (2, 5, 11), {2: "n"}, ((2, 5, 11), (2, 5, 6))),
    "graph": (Graph, (6, 4), {}, ((6, 4),)),
    "pairs": (Pairs, (2, 7, 4), {}, ((2, 7, 4),)),
    "volume": (Volume, (1, 2, 4, 6, 5), {2: "d"}, ((1, 2, 4, 6, 5), (1, 2, 7, 6, 5))),
}


def exported(module: nn.Module, shape: tuple[int, ...], dynamic: Mapping[int, str], path: Path) -> Path:
    example = (torch.zeros(shape),)
    torch.onnx.export(module, example, str(path), input_names=["x"], output_names=["y"], dynamo=False,
                      dynamic_axes={"x": dict(dynamic)} if dynamic else None, opset_version=17)  # fmt: skip
    return path


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("target", TARGETS)
def test_each_pass_keeps_the_answers(target: str, tmp_path: Path) -> None:
    """Of all prefixes of the pipeline on the native target, for networks of fixed sizes; else of the whole pipeline.

    Tolerance: float32 sums of up to 200 terms of size 1 in other orders.
    """
    torch.manual_seed(5)
    emitted, expected = [], []
    for number, (name, (kind, shape, dynamic, calls)) in enumerate(NETWORKS.items()):
        module = kind().eval()
        path = exported(module, shape, dynamic, tmp_path / f"{number}.onnx")
        inputs = [RNG.standard_normal(call).astype(np.float32) for call in calls]
        with torch.no_grad():
            answers = [module(torch.from_numpy(x)).numpy() for x in inputs]
        before = ""
        for steps in range(len(PIPELINE) + 1) if target == "native" and not dynamic else (len(PIPELINE),):
            graph = read(path)
            optimise(graph, PIPELINE[:steps])
            verify(graph)
            # A pass that found nothing to do has been tested.
            if steps < len(PIPELINE) and before == (before := str([(node.kind, node.name) for node in graph.nodes])):
                continue
            emitted.append(emit(graph, f"n{number}_{steps}"))
            expected.append((f"{name} after {steps} passes", inputs, answers))
    library, _ = build(emitted, BuildOptions(flags=(*BASE, *TARGETS[target])))
    for item, (what, inputs, answers) in zip(emitted, expected, strict=True):
        function = Function(library, item)
        for x, answer in zip(inputs, answers, strict=True):
            (result,) = function([x])
            np.testing.assert_allclose(result, answer, rtol=1e-4, atol=2e-5, err_msg=what)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_chain_of_convolutions_has_no_transpose_inside(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(36, 2))
    graph = read(exported(module.eval(), (2, 3, 12, 12), {}, tmp_path / "chain.onnx"))
    optimise(graph)
    kinds = [node.kind for node in graph.nodes if node.operator.view_of(node) is None]
    assert kinds == ["Transpose", "fused::Convolution", "fused::Pooling", "fused::Convolution", "fused::Linear"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_edges_are_multiplied_by_the_first_weights_as_nodes(tmp_path: Path) -> None:
    graph = read(exported(Edges().eval(), (1, 5, 11), {}, tmp_path / "edges.onnx"))
    optimise(graph)
    products = [node.output.shape for node in graph.nodes if node.kind == "fused::Linear"]
    assert (1, 11, 3, 12) not in products
    assert (1, 11, 3, 9) in products
    assert not any(node.kind in ("Tile", "Concat") for node in graph.nodes)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_dense_layer_of_edges_is_one_of_nodes(tmp_path: Path) -> None:
    graph = read(exported(Graph().eval(), (6, 4), {}, tmp_path / "graph.onnx"))
    optimise(graph)
    assert {node.output.shape for node in graph.nodes if node.kind == "fused::Linear"} == {(6, 12)}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize(("kind", "n_nodes"), [(nn.SiLU, 2), (nn.Hardswish, 2), (nn.ReLU, 2), (nn.GELU, 3)])
def test_steps_that_read_a_product_twice_join_it(kind: type[nn.Module], n_nodes: int, tmp_path: Path) -> None:
    """But GELU's, whose error function would be written for each row of a tile."""
    module = nn.Sequential(nn.Linear(5, 20), kind(), nn.Linear(20, 3)).eval()
    graph = read(exported(module, (7, 5), {}, tmp_path / "steps.onnx"))
    optimise(graph)
    assert len(graph.nodes) == n_nodes
    code = emit(graph, "steps")
    library, _ = build([code], BuildOptions(flags=BASE))
    x = RNG.standard_normal((7, 5)).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(Function(library, code)([x])[0], expected, rtol=1e-5, atol=2e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_minimal_filtering_is_what_runs(tmp_path: Path) -> None:
    graph = read(exported(Filtered().eval(), (5, 16, 9, 7), {}, tmp_path / "filtered.onnx"))
    optimise(graph)
    assert emit(graph, "filtered").code.count("nn::winograd<") == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_strict_arithmetic_leaves_sums_as_the_model_says(tmp_path: Path) -> None:
    """Answers as those of PyTorch; nothing is transformed, distributed or folded."""
    cases = [(Filtered().eval(), (5, 16, 9, 7)), (Edges().eval(), (2, 5, 11)), (Residual().eval(), (2, 3, 12, 9))]
    emitted, expected, kinds = [], [], set()
    for number, (module, shape) in enumerate(cases):
        graph = read(exported(module, shape, {}, tmp_path / f"{number}.onnx"))
        optimise(graph, pipeline(strict=True))
        kinds |= {node.kind for node in graph.walk()}
        emitted.append(emit(graph, f"strict_{number}"))
        x = RNG.standard_normal(shape).astype(np.float32)
        with torch.no_grad():
            expected.append((x, module(torch.from_numpy(x)).numpy()))
    assert not any("nn::winograd" in item.code for item in emitted)
    assert {"Concat", "fused::Convolution", "fused::Linear"} <= kinds
    library, _ = build(emitted, BuildOptions(flags=BASE, math="strict"))
    for item, (x, answer) in zip(emitted, expected, strict=True):
        np.testing.assert_allclose(Function(library, item)([x])[0], answer, rtol=1e-4, atol=2e-5)
