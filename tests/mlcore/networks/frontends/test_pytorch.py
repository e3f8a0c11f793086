"""PyTorch modules through torch.export: eager PyTorch is the oracle, at sizes other than those of the example."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as everyone calls it

from mlcore.benchmarks import zoo
from mlcore.errors import InputError, UnsupportedOperatorError
from mlcore.networks import check, load
from mlcore.networks.build import QUICK, BuildOptions, build
from mlcore.networks.calling import Function
from mlcore.networks.compiler import translate
from mlcore.networks.conformance import compare
from mlcore.networks.frontends import as_onnx

Array = np.ndarray[Any, Any]


class Made(nn.Module):
    """A module of one function; parts of it that have parameters are given by name."""

    def __init__(self, function: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self, x)


class Two(Made):
    """The same of two arguments."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:  # type: ignore[override]
        return self.function(self, x, y)


@dataclass(frozen=True)
class Case:
    """A module, shapes of its arguments, and what they hold."""

    module: nn.Module
    shapes: dict[str, tuple[int | str, ...]]
    fill: Callable[[np.random.Generator, Sequence[int]], Array] = lambda rng, shape: rng.standard_normal(shape, np.float32)

    def inputs(self, rng: np.random.Generator, sizes: dict[str, int]) -> dict[str, Array]:
        return {
            name: self.fill(rng, [sizes[size] if isinstance(size, str) else size for size in shape])
            for name, shape in self.shapes.items()
        }


def hold(cases: dict[str, Case], rtol: float = 2e-5, atol: float = 5e-6) -> None:
    """Compile all, call each at three choices of sizes, compare with eager PyTorch.

    The tolerance is that of float32 sums of some hundred terms in another order, after functions that are good to a few ulp.
    """
    rng = np.random.default_rng(5)
    torch.manual_seed(3)
    emitted = []
    for number, (name, case) in enumerate(cases.items()):
        _draw(case.module.eval())
        example = case.inputs(rng, {"batch": 4, "n": 6})
        try:
            emitted.append(translate(case.module, f"case_{number}", shapes=case.shapes, example=example))
        except InputError as error:
            raise AssertionError(f"{name}: {error.message}") from error
    library, _ = build(emitted, BuildOptions(flags=QUICK))
    wrong = []
    for (name, case), item in zip(cases.items(), emitted, strict=True):
        function = Function(library, item)
        for sizes in ({"batch": 4, "n": 6}, {"batch": 1, "n": 9}, {"batch": 3, "n": 5}):
            inputs = case.inputs(rng, sizes)
            expected = eager(case.module, inputs)
            try:
                compare(function([inputs[port.name] for port in item.inputs]), expected, rtol, atol)
            except AssertionError as error:
                wrong.append(f"{name} at {sizes}: {' '.join(str(error).split())[:400]}")
    assert not wrong, "\n".join(wrong)


def eager(module: nn.Module, inputs: dict[str, Array]) -> list[Array]:
    with torch.no_grad():
        answer = module(**{name: torch.from_numpy(array) for name, array in inputs.items()})
    return [tensor.numpy() for tensor in torch.utils._pytree.tree_leaves(answer)]


def _draw(module: nn.Module) -> None:
    """Statistics and scales that are neither zero nor one."""
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.running_mean.uniform_(-0.5, 0.5)
                part.running_var.uniform_(0.5, 2.0)
            if isinstance(part, nn.modules.batchnorm._BatchNorm | nn.LayerNorm | nn.GroupNorm):
                part.weight.uniform_(0.5, 1.5)
                part.bias.uniform_(-0.3, 0.3)


def knn_features(self: Made, x: torch.Tensor) -> torch.Tensor:
    """ParticleNet's graph features: x (batch, features, n) to (batch, 2 features, n, 3)."""
    inner = -2 * torch.matmul(x.transpose(2, 1), x)
    square = (x**2).sum(dim=1, keepdim=True)
    index = (-square - inner - square.transpose(2, 1)).topk(k=4, dim=-1)[1][:, :, 1:]
    batch, features, n = x.shape
    flat = (index + torch.arange(batch).view(-1, 1, 1) * n).view(-1)
    near = x.transpose(0, 1).reshape(features, -1)[:, flat].view(features, batch, n, 3).transpose(1, 0)
    centre = x.unsqueeze(-1).expand(-1, -1, -1, 3)
    return torch.cat((centre, near - centre), dim=1)


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.Module], **options: Any) -> None:
        super().__init__()
        self.layer = kind(3, 5, batch_first=True, **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)[0]


X = {"x": ("batch", 4)}
ROWS = {"x": ("batch", "n", 4)}
IMAGE = {"x": ("batch", 3, 8, 8)}


def test_layers() -> None:
    hold(
        {
            "mlp": Case(
                nn.Sequential(nn.Linear(4, 9), nn.BatchNorm1d(9), nn.SiLU(), nn.Dropout(0.3), nn.Linear(9, 2)),
                {"input": ("batch", 4)},
            ),
            "activations": Case(
                Made(
                    lambda self, x: torch.cat(
                        [
                            F.gelu(x),
                            F.gelu(x, approximate="tanh"),
                            F.elu(x),
                            F.selu(x),
                            F.leaky_relu(x, 0.2),
                            F.softplus(x),
                            F.hardswish(x),
                            F.hardsigmoid(x),
                            F.mish(x),
                            F.softsign(x),
                            F.relu6(x),
                            F.logsigmoid(x),
                            F.celu(x, 0.7),
                            F.glu(x),
                            F.hardtanh(x),
                            F.tanhshrink(x),
                            F.softshrink(x),
                        ],
                        dim=1,
                    )
                ),
                X,
            ),
            "prelu": Case(nn.Sequential(nn.Linear(4, 6), nn.PReLU(6), nn.LayerNorm(6), nn.Softmax(-1)), {"input": ("batch", 4)}),
            "convolutions": Case(
                nn.Sequential(
                    nn.Conv2d(3, 8, 3, padding=1),
                    nn.BatchNorm2d(8),
                    nn.ReLU(),
                    nn.MaxPool2d(2),
                    nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=4),
                    nn.GroupNorm(2, 8),
                    nn.AdaptiveAvgPool2d(1),
                    nn.Flatten(),
                    nn.Linear(8, 3),
                ),
                {"input": ("batch", 3, 8, 8)},
            ),
            "conv1d": Case(
                nn.Sequential(
                    nn.Conv1d(4, 6, 3, padding="same", dilation=2),
                    nn.Tanh(),
                    nn.AvgPool1d(2),
                    nn.ConvTranspose1d(6, 2, 4, stride=2),
                ),
                {"input": ("batch", 4, "n")},
            ),
            "upsampling": Case(
                Made(lambda self, x: F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)), IMAGE
            ),
            "embedding": Case(
                nn.Sequential(nn.Embedding(11, 5, padding_idx=0), nn.Linear(5, 2)),
                {"input": ("batch", "n")},
                lambda rng, shape: rng.integers(0, 11, shape),
            ),
            "lstm": Case(Recurrent(nn.LSTM, num_layers=2, bidirectional=True), {"x": ("batch", "n", 3)}),
            "gru": Case(Recurrent(nn.GRU), {"x": ("batch", "n", 3)}),
            "rnn": Case(Recurrent(nn.RNN, nonlinearity="relu"), {"x": ("batch", "n", 3)}),
        }
    )


def test_attention() -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    hold(
        {
            "attention": Case(Made(lambda self, x: self.attention(x, x, x)[0], attention=attention), {"x": ("batch", "n", 8)}),
            "masked": Case(
                Two(
                    lambda self, x, y: self.attention(x, x, x, key_padding_mask=y.sum(-1) > 2.0, need_weights=False)[0],
                    attention=attention,
                ),
                {"x": ("batch", "n", 8), "y": ("batch", "n", 2)},
            ),
            "sdpa": Case(
                Made(lambda self, x: F.scaled_dot_product_attention(x, x, x, is_causal=True)), {"x": ("batch", 2, "n", 4)}
            ),
            "sdpa with bias": Case(
                Two(lambda self, x, y: F.scaled_dot_product_attention(x, x, x, attn_mask=y)),
                {"x": ("batch", 2, "n", 4), "y": ("batch", 1, "n", "n")},
            ),
            "encoder": Case(
                nn.TransformerEncoder(
                    nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True), 2, enable_nested_tensor=False
                ),
                {"src": ("batch", "n", 8)},
            ),
        }
    )


def test_functions() -> None:
    hold(
        {
            "einsum": Case(
                Two(lambda self, x, y: torch.einsum("bnf,bmf->bnm", x, y)), {"x": ("batch", "n", 4), "y": ("batch", 3, 4)}
            ),
            "einsum of a diagonal": Case(Made(lambda self, x: torch.einsum("bii->bi", x)), {"x": ("batch", 4, 4)}),
            "topk": Case(Made(lambda self, x: torch.topk(x, 3, dim=1)), ROWS),
            "knn": Case(Made(knn_features), {"x": ("batch", 3, "n")}),
            "gather": Case(
                Two(lambda self, x, y: torch.gather(x, 1, y.argsort(dim=1, stable=True))),
                {"x": ("batch", "n", 4), "y": ("batch", "n", 4)},
            ),
            "masks": Case(Made(lambda self, x: x.masked_fill((x > 0.3) & ~(x > 1.0), -5.0).softmax(-1) * (x.abs() < 2)), ROWS),
            "masked mean": Case(
                Two(lambda self, x, y: (x * y).sum(1) / y.sum(1).clamp(min=1e-3)),
                {"x": ("batch", "n", 4), "y": ("batch", "n", 1)},
            ),
            "statistics": Case(
                Made(
                    lambda self, x: torch.cat(
                        [x.mean(1), x.std(1), x.var(1, unbiased=False), x.amax(1), x.logsumexp(1), x.norm(dim=1), x.prod(1)], 1
                    )
                ),
                ROWS,
            ),
            "cumulative": Case(Made(lambda self, x: (x.cumsum(1), x.flip(1), x.roll(1, 1), x.sort(dim=1)[0])), ROWS),
            "shapes": Case(
                Made(lambda self, x: x.reshape(x.shape[0], -1, 2, 2).permute(0, 3, 1, 2).flatten(1, 2) + x.shape[1]), ROWS
            ),
            "outer": Case(Made(lambda self, x: (x[:, :, None] - x[:, None]).square().sum(-1).tril()), ROWS),
            "whole numbers": Case(
                Two(lambda self, x, y: (x // y, x % y, torch.div(x, y, rounding_mode="trunc"), x / y, x.float().mean(1))),
                {"x": ("batch", 4), "y": ("batch", 4)},
                lambda rng, shape: rng.choice([-7, -3, -2, -1, 1, 2, 3, 5], shape),
            ),
            "remainders": Case(
                Two(lambda self, x, y: (torch.remainder(x, y), torch.fmod(x, y), torch.floor_divide(x, y), x.round())),
                {"x": ("batch", 4), "y": ("batch", 4)},
            ),
            "scatter": Case(
                Two(lambda self, x, y: torch.zeros_like(x).scatter_add(1, (y.abs() * 0).long(), x)),
                {"x": ("batch", 4), "y": ("batch", 4)},
            ),
            "index_add": Case(
                Two(lambda self, x, y: torch.zeros(3, 4).index_add(0, (y[:, 0].abs() * 2).long().clamp(max=2), x)),
                {"x": ("batch", 4), "y": ("batch", 4)},
            ),
            "one_hot": Case(Made(lambda self, x: F.one_hot(x.abs().long().clamp(max=4), 5)), X),
            "nan_to_num": Case(
                Made(
                    lambda self, x: (
                        torch.nan_to_num(torch.log(x), nan=-1.0)
                        + torch.sign(x) * torch.expm1(x)
                        + torch.log1p(x.abs())
                        + torch.erf(x)
                        + torch.hypot(x, x)
                    )
                ),
                X,
            ),
            "bucketize": Case(Made(lambda self, x: torch.bucketize(x, torch.tensor([-1.0, 0.0, 1.0]))), X),
            "angles": Case(
                Two(lambda self, x, y: torch.atan2(x, y) + torch.sinh(x) + torch.acosh(1 + y.abs())),
                {"x": ("batch", 4), "y": ("batch", 4)},
            ),
        }
    )


def test_the_angle_of_every_quadrant_zero_and_infinity() -> None:
    special = np.array([0.0, -0.0, 1.0, -1.0, 2.5, -2.5, np.inf, -np.inf, np.nan, 1e-30, -3e38], np.float32)
    y, x = (np.ascontiguousarray(each.reshape(-1)) for each in np.meshgrid(special, special))
    for dtype, tolerance in ((np.float32, 3e-7), (np.float64, 5e-16)):
        inputs = {"x": y.astype(dtype), "y": x.astype(dtype)}
        module = Two(lambda self, x, y: torch.atan2(x, y)).eval()
        emitted = translate(module, "angle", shapes={"x": ("n",), "y": ("n",)}, example=inputs)
        library, _ = build([emitted], BuildOptions(flags=QUICK))
        (found,) = Function(library, emitted)(list(inputs.values()))
        (expected,) = eager(module, inputs)
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=0)
        assert np.array_equal(np.signbit(found[~np.isnan(expected)]), np.signbit(expected[~np.isnan(expected)]))


def test_the_code_is_that_of_an_onnx_file(tmp_path: Path) -> None:
    """The tracing exporter and torch.export: the same code but for the comments, which name the exporters' nodes."""
    torch.manual_seed(1)
    layers = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Linear(16, 4), nn.Sigmoid())
    module = Made(lambda self, x: self.layers(x), layers=layers).eval()
    path = tmp_path / "mlp.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls itself deprecated
        torch.onnx.export(
            module, (torch.zeros(3, 8),), str(path), dynamo=False, opset_version=17,
            input_names=["x"], output_names=["output"], dynamic_axes={"x": {0: "batch"}, "output": {0: "batch"}},
        )  # fmt: skip
    ours, theirs = translate(module, "mlp", shapes={"x": ("batch", 8)}), translate(path, "mlp")
    first, second = (re.sub(r"//.*", "", emitted.code) for emitted in (ours, theirs))
    assert first == second
    assert ours.entry == theirs.entry
    assert ours.weights == theirs.weights


def test_outputs_have_the_names_of_their_keys() -> None:
    def names(function: Callable[..., Any]) -> list[str]:
        return [value.name for value in as_onnx(Made(function).eval(), shapes={"x": ("batch", 4)}).graph.output]

    assert names(lambda self, x: {"logits": x + 1, "angle": x * 2}) == ["logits", "angle"]
    assert names(lambda self, x: (x + 1, x * 2)) == ["output_0", "output_1"]
    assert names(lambda self, x: {"same": x, "again": x}) == ["same", "again"]


def test_what_a_module_says_nothing_about_has_to_be_given() -> None:
    module = Made(lambda self, x: x + 1).eval()
    for wrong, message in (
        ({}, "says nothing about its inputs"),
        ({"shapes": {"z": (3, 4)}}, "do not fit"),
        ({"example": (torch.zeros(3, 4),), "shapes": {"z": (3, 4)}}, "no input 'z'"),
        ({"example": (torch.zeros(3, 4),), "shapes": {"x": ("batch", 5)}}, "has the shape"),
        ({"example": (torch.zeros(3, 4),), "shapes": {"x": ("batch",)}}, "has the shape"),
        ({"example": (torch.zeros(3, 4),), "shapes": {"x": ("batch", "batch")}}, "has the shape"),
    ):
        with pytest.raises(InputError, match=message):
            as_onnx(module, **wrong)  # type: ignore[arg-type]


def test_an_example_of_one_event_leaves_the_batch_open() -> None:
    model = as_onnx(Made(lambda self, x: x.softmax(0)).eval(), example=np.zeros((1, 4), np.float32), shapes={"x": ("batch", 4)})
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_modules_in_training_mode_are_refused() -> None:
    with pytest.raises(InputError, match="training mode") as raised:
        as_onnx(nn.Sequential(nn.Linear(4, 4), nn.Dropout()), shapes={"input": ("batch", 4)})
    assert "eval()" in raised.value.hint


def test_what_fixes_a_size_is_named() -> None:
    with pytest.raises(InputError, match="the size 'batch' of 'x' cannot stay open: the module's own code makes it 5"):
        as_onnx(Made(lambda self, x: x + torch.ones(5, 1)).eval(), example=torch.zeros(5, 4), shapes={"x": ("batch", 4)})


def test_steps_that_depend_on_values_are_refused() -> None:
    with pytest.raises(InputError, match="cannot be captured") as raised:
        as_onnx(Made(lambda self, x: x if x.sum() > 0 else -x).eval(), shapes={"x": ("batch", 4)})
    assert "torch.where" in raised.value.hint


def test_an_operator_without_translation_is_named() -> None:
    module = Made(lambda self, x: torch.linalg.svd(x)[1]).eval()
    with pytest.raises(UnsupportedOperatorError) as raised:
        as_onnx(module, shapes={"x": ("batch", 4, 4)})
    assert raised.value.operator == "aten::_linalg_svd"
    report = check(module, shapes={"x": ("batch", 4, 4)})
    assert not report.supported
    assert [item.operator for item in report.unsupported] == ["aten::_linalg_svd"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in zoo.names() if name != "particle_transformer"])
def test_the_zoo_is_compiled_from_its_modules(name: str) -> None:
    """At two numbers of particles, neither of them the example's; eager PyTorch is the oracle."""
    model = zoo.get(name)
    module = model.module()
    others = (None, None) if model.particles is None else (model.particles + 7, max(10, model.particles // 3))
    names = list(inspect.signature(module.forward).parameters)
    shapes = {given: spec.shape for given, spec in zip(names, model.inputs, strict=False)}
    emitted = translate(module, "network", shapes=shapes, example=model.arguments(model.example(2)))
    library, _ = build([emitted], BuildOptions(flags=QUICK))
    function = Function(library, emitted)
    for batch, particles in zip((1, 3), others, strict=True):
        inputs = model.example(batch, particles)
        expected = list(model.run(module, inputs).values())
        # Networks of up to a hundred layers of float32; a wrong conversion is wrong by the size of the answer.
        scale = max(float(np.abs(each).max()) for each in expected)
        compare(function(list(inputs.values())), expected, 1e-3, 1e-4 * max(scale, 1.0))


@pytest.mark.slow
def test_a_network_whose_sizes_depend_on_values_is_refused() -> None:
    """The Particle Transformer of weaver-core, which goes through ONNX by tracing only."""
    model = zoo.get("particle_transformer")
    module = model.module()
    with pytest.raises(InputError, match=r"cannot be captured: .* data-dependent"):
        as_onnx(module, example=model.arguments(model.example(2)), shapes={})


@pytest.mark.parametrize("pool", [nn.MaxPool1d(2), nn.MaxPool1d(3, 2, 1, 1, ceil_mode=True)])
def test_max_pool_of_one_dimension_keeps_its_length_open(pool: nn.Module, rng: np.random.Generator) -> None:
    network = load(pool.eval(), shapes={"input": ("batch", 2, "n")}, options=BuildOptions(flags=QUICK))
    for n in (8, 5):
        x = rng.standard_normal((3, 2, n), np.float32)
        np.testing.assert_array_equal(network.run({"input": x})["output"], pool(torch.from_numpy(x)).numpy())


def test_steps_that_depend_on_whether_a_size_is_even_are_refused() -> None:
    class Parity(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2 if x.shape[1] % 2 == 0 else x * 3

    class Pairs(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(x.shape[0], -1, 2).sum(2)

    with pytest.raises(InputError, match=r"other steps where sizes are other ones: .*% 2") as raised:
        as_onnx(Parity().eval(), shapes={"x": ("batch", "n")})
    assert raised.value.code == "network.export"
    assert as_onnx(Parity().eval(), shapes={"x": ("batch", 6)}).graph.node
    assert as_onnx(Pairs().eval(), shapes={"x": ("batch", "n")}).graph.node  # which no odd size is possible for
