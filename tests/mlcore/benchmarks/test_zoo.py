"""The model zoo: every model builds the same again, exports to ONNX, and ONNX Runtime answers as PyTorch does."""

from __future__ import annotations

import ast
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from mlcore.benchmarks import zoo
from mlcore.benchmarks.zoo._model import NEIGHBOURS
from mlcore.errors import DataError, InputError, UnsupportedFeatureError

FOLDER = Path(zoo.__file__).parent

TOLERANCE = 2e-5
"""Of the largest value of an output. Both sides compute in float32 and sum in orders of their own; the deepest model, the
Particle Transformer, is off by 4e-6. A wrong weight, axis or epsilon is off by more than a thousandth."""


@pytest.fixture(autouse=True, scope="module")
def _quiet_exporter() -> None:
    """The exporter logs which operators of torchvision it does without."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)


def session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def agree(model: zoo.ZooModel, answers: list[Any], expected: dict[str, Any], dimensions: dict[str, int]) -> None:
    for spec, answer in zip(model.outputs, answers, strict=True):
        assert answer.shape == expected[spec.name].shape == spec.sizes(dimensions)
        assert answer.dtype == np.float32
        assert np.isfinite(answer).all()
        error = np.abs(answer - expected[spec.name]).max() / np.abs(expected[spec.name]).max()
        assert error <= TOLERANCE, f"{spec.name} is off by {error:.1e} of its largest value"


def test_the_zoo_is_complete() -> None:
    assert set(zoo.names()) == {
        "mlp_5x50", "mlp_5x200", "cnn", "resnet", "vae_decoder", "deep_sets", "interaction_network", "particlenet",
        "particle_transformer", "edgeconv", "graph_attention", "gn2", "transformer", "dit", "lstm", "gru", "functional",
    }  # fmt: skip
    assert [zoo.get(name).name for name in zoo.names()] == list(zoo.names())
    assert len({zoo.get(name).title for name in zoo.names()}) == len(zoo.names())


def test_listing_the_zoo_imports_no_torch() -> None:
    code = "import sys; from mlcore.benchmarks import zoo; print(len(zoo.names()), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=FOLDER.parents[2])
    assert done.stdout.split() == [str(len(zoo.names())), "False"]


def test_an_unknown_model_has_its_nearest_names() -> None:
    with pytest.raises(DataError, match="the model zoo has no model 'particle_net'") as raised:
        zoo.get("particle_net")
    assert "particlenet" in raised.value.hint


@pytest.mark.parametrize("name", zoo.names())
def test_every_model_names_its_paper(name: str) -> None:
    text = ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8")))
    assert text is not None
    assert "References\n" in text
    assert "arXiv:" in text
    assert any(mark in zoo.get(name).paper for mark in ("arXiv:", "doi:"))


@pytest.mark.parametrize("name", zoo.names())
def test_onnxruntime_answers_as_pytorch_for_other_sizes(name: str, tmp_path: Path) -> None:
    model = zoo.get(name)
    module = model.module()
    assert not module.training
    assert {str(parameter.dtype) for parameter in module.parameters()} == {"torch.float32"}
    running = session(model.export_onnx(tmp_path / "model.onnx", module=module, batch=2, dynamic=True))
    assert [each.name for each in running.get_inputs()] == model.input_names
    others = [None, None] if model.particles is None else [model.particles + 7, max(10, model.particles // 3)]
    for batch, particles in ((2, None), (1, None), (3, others[0]), (2, others[1])):
        inputs = model.example(batch, particles)
        agree(model, running.run(None, inputs), model.run(module, inputs), model.dimensions(batch, particles))


@pytest.mark.parametrize("name", zoo.names())
def test_a_file_of_fixed_sizes_has_no_symbolic_dimension(name: str, tmp_path: Path) -> None:
    model = zoo.get(name)
    module = model.module()
    path = model.export_onnx(tmp_path / "model.onnx", module=module, batch=2)
    graph = onnx.load(path).graph
    for value, spec in zip((*graph.input, *graph.output), (*model.inputs, *model.outputs), strict=True):
        sizes = [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        assert sizes == list(spec.sizes(model.dimensions(2)))
    inputs = model.example(2)
    agree(model, session(path).run(None, inputs), model.run(module, inputs), model.dimensions(2))


@pytest.mark.parametrize("name", ["mlp_5x50", "lstm", "particlenet", "edgeconv"])
def test_weights_and_examples_come_from_their_seeds(name: str) -> None:
    model = zoo.get(name)
    first, again, other = (model.module(seed=seed).state_dict() for seed in (1, 1, 2))
    assert all((first[key] == again[key]).all() for key in first)
    assert any((first[key] != other[key]).any() for key in first)
    inputs, same, different = (model.example(3, seed=seed) for seed in (2, 2, 3))
    assert all(np.array_equal(inputs[key], same[key]) for key in inputs)
    assert any(not np.array_equal(inputs[key], different[key]) for key in inputs)


@pytest.mark.parametrize("name", zoo.names())
def test_the_answers_depend_on_every_input_and_event(name: str) -> None:
    """A model whose signal dies on the way would let every wrong conversion pass."""
    model = zoo.get(name)
    module = model.module()
    inputs = model.example(4)
    expected = model.run(module, inputs)
    for spec in model.inputs:
        changed = {**inputs, spec.name: model.example(4, seed=9)[spec.name]}
        answers = model.run(module, changed)
        assert any(np.abs(answers[key] - value).max() > 1e-3 * np.abs(value).max() for key, value in expected.items())
    assert all(np.std(value, axis=0).max() > 1e-3 * np.abs(value).max() for value in expected.values())


def test_padded_particles_change_nothing() -> None:
    model = zoo.get("deep_sets")
    module = model.module()
    inputs = model.example(6)
    mask = inputs["mask"]
    assert set(np.unique(mask)) == {0.0, 1.0}
    assert (np.diff(mask, axis=1) <= 0).all()
    assert (mask.sum(axis=1) >= mask.shape[1] // 2).all()
    assert (inputs["x"][mask == 0] == 0).all()
    filled = inputs["x"] + (mask == 0)[..., None].astype(np.float32)
    assert np.array_equal(model.run(module, inputs)["y"], model.run(module, {**inputs, "x": filled})["y"])


def test_momenta_are_those_of_pions() -> None:
    momenta = zoo.get("particle_transformer").example(3)["momenta"].astype(np.float64)
    px, py, pz, energy = momenta.transpose(1, 0, 2)
    # Float32 keeps 6e-8 of the squared energy, of up to 2500 GeV², beside the squared mass.
    assert np.allclose(energy**2 - px**2 - py**2 - pz**2, 0.13957**2, atol=1e-7 * (energy**2).max() * 4)


@pytest.mark.parametrize(("batch", "particles"), [(1, None), (3, 20), (2, 5), (2, 1)])
def test_edges_stay_within_their_event(batch: int, particles: int | None) -> None:
    model = zoo.get("edgeconv")
    sizes = model.dimensions(batch, particles)
    source, target = model.example(batch, particles)["edges"]
    n = sizes["particles"]
    assert len(source) == sizes["edges"] == batch * n * min(NEIGHBOURS, max(n - 1, 1))
    assert (source // n == target // n).all()
    assert len({*zip(source.tolist(), target.tolist(), strict=True)}) == len(source)
    if n > 1:
        assert (source != target).all()


def test_sizes_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="has no number of particles"):
        zoo.get("cnn").example(1, 7)
    with pytest.raises(InputError, match="0 events"):
        zoo.get("lstm").example(0)


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "weaver.nn.model.ParticleNet", None)
    with pytest.raises(UnsupportedFeatureError, match=r"weaver\.nn\.model\.ParticleNet, which cannot be imported") as raised:
        zoo.get("particlenet").module()
    assert "pip install --no-deps weaver-core" in raised.value.hint
