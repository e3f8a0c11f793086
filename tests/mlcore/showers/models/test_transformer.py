"""The transformer and its student: flows of known velocity, scales, renormalisation, distillation."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mlcore.errors import InputError
from mlcore.showers.dataset import Records
from mlcore.showers.geometry import MATERIALS
from mlcore.showers.models.distilled import Distilled, DistilledConfig, Paths
from mlcore.showers.models.gflash import GFlash, GFlashConfig, Medium
from mlcore.showers.models.neural import Batch, turned, turns
from mlcore.showers.models.scales import BORDER, Scales
from mlcore.showers.models.transformer import Transformer, TransformerConfig, fitting_patch, heun
from mlcore.showers.training import TrainingConfig, train
from mlcore.showers.voxels import Voxels

GRID = Voxels.regular(layers=4, layer_depth=35, angles=4, rings=2, ring_width=12)
MEDIUM = Medium.of_layers(MATERIALS["W"], 1.4, MATERIALS["Si"], 0.3, resolution=0.2)
SMALL = TransformerConfig(
    GRID,
    1e3,
    1e5,
    threshold=0.5,
    patch=(2, 2, 2),
    width=32,
    depth=2,
    heads=2,
    layer_width=48,
    layer_depth=2,
    steps=4,
    layer_steps=6,
)
SHORT = TrainingConfig(steps=400, batch=64, learning_rate=4e-3, warmup=10, average=0.98, report_every=100, device="cpu")


@pytest.fixture(scope="module")
def records() -> Records:
    energies = np.exp(np.random.default_rng(1).uniform(np.log(1e3), np.log(1e5), 1_000))
    return Records.of(GFlash(GFlashConfig(MEDIUM, GRID)).sample(energies, seed=1), energies, GRID)


@pytest.fixture(scope="module")
def trained(records: Records, tmp_path_factory: pytest.TempPathFactory) -> Transformer:
    model = make()
    train(model, records, tmp_path_factory.mktemp("teacher"), SHORT)
    return model


def make(config: TransformerConfig = SMALL) -> Transformer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Transformer(config)


def response(showers: np.ndarray, records: Records) -> np.ndarray:
    result: np.ndarray = showers.sum(axis=(1, 2, 3)) / records.energy
    return result


def test_training_brings_the_showers_near(trained: Transformer, records: Records) -> None:
    """Response: mean within 3 %, width within 30 %; share of voxels that have energy, and of layers' energies, within 0.1."""
    showers = trained.sample(records.energy, seed=1)
    assert response(showers, records).mean() == pytest.approx(response(records.showers, records).mean(), rel=0.03)
    assert response(showers, records).std() == pytest.approx(response(records.showers, records).std(), rel=0.3)
    truth = records.above(SMALL.threshold).showers
    assert (showers > 0).mean() == pytest.approx((truth > 0).mean(), abs=0.1)
    layers = [(rows.sum(axis=(2, 3)) / records.energy[:, None]).mean(axis=0) for rows in (showers, truth)]
    np.testing.assert_allclose(layers[0], layers[1], atol=0.1)
    assert ((showers == 0) | (showers >= SMALL.threshold)).all()


def test_the_student_makes_nearly_the_teachers_showers(trained: Transformer, records: Records, tmp_path: Path) -> None:
    """Of the same noise: voxels' mean error after training is at most two thirds of what one step of the teacher's flow makes."""
    student = Distilled.of(trained, parts=1)
    energy = torch.from_numpy(records.energy[:200].astype(np.float32))
    conditions = trained.batch(records[:200]).conditions
    noise = torch.randn(200, trained.noise_size, generator=torch.Generator().manual_seed(3))

    def error() -> float:
        student.eval()
        with torch.no_grad():
            made, wanted = (model.from_noise(energy, conditions, noise) for model in (student, trained))
        return float(((made - wanted).abs().sum(dim=(1, 2, 3)) / energy).mean())

    before = error()
    result = train(student, records, tmp_path, replace(SHORT, steps=300, learning_rate=2e-3))
    assert result.finished
    assert error() < before * 2 / 3
    loaded = Distilled.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.sample([5e3], seed=1), student.sample([5e3], seed=1))
    with pytest.raises(InputError, match="without its teacher"):
        train(loaded, records, tmp_path / "again", SHORT)


@pytest.mark.parametrize(("learns", "other"), [("layers", "shape"), ("shape", "layers")])
def test_one_network_can_be_trained_alone(
    trained: Transformer, records: Records, tmp_path: Path, learns: str, other: str
) -> None:
    model = make(replace(SMALL, learns=learns))
    model.load_state_dict(trained.state_dict())
    train(model, records[:100], tmp_path, replace(SHORT, steps=2))
    changed = {
        name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, trained.state_dict()[name])
    }
    assert changed == {learns}
    assert set(model.loss(model.batch(records[:5]), torch.Generator().manual_seed(1))) == {learns}
    assert not any(value.requires_grad for value in getattr(model, other).parameters())


def test_paths_begin_with_noise_and_end_with_the_teachers_shower(trained: Transformer, records: Records) -> None:
    student = Distilled.of(trained, parts=2, noises=3)
    batch = trained.batch(records[:5])
    paths = student.paths(batch, seed=7)
    assert paths.states.shape == (15, 3, 4, 4, 2)
    assert torch.equal(paths.energy, batch.energy.repeat(3))
    noise = torch.randn(15, student.noise_size, generator=torch.Generator().manual_seed(7))
    assert torch.equal(paths.states[:, 0].flatten(1), noise[:, 5:])
    trained.eval()
    with torch.no_grad():
        wanted = trained.from_noise(paths.energy, paths.conditions, noise)
    torch.testing.assert_close(paths.showers, wanted)
    part = paths[torch.tensor([2, 0])]
    assert isinstance(part, Paths)
    assert torch.equal(part.states[1], paths.states[0])
    assert torch.equal(student.paths(batch, seed=7).states, paths.states)


def test_a_student_of_as_many_parts_is_a_chain_of_steps(trained: Transformer) -> None:
    """Untrained, it takes steps of Euler with the teacher's velocity."""
    student = Distilled.of(trained, parts=2).eval()
    noise = torch.randn(3, 4, 4, 2, generator=torch.Generator().manual_seed(1))
    conditions, layers = torch.zeros(3, SMALL.conditions), torch.zeros(3, 5)
    with torch.no_grad():
        x = noise + trained.shape(noise, torch.zeros(3), conditions, layers) / 2
        x = x + trained.shape(x, torch.full((3,), 0.5), conditions, layers) / 2
        torch.testing.assert_close(student.cell_numbers(conditions, layers, noise), x)


def test_heun_follows_a_known_flow() -> None:
    """x' = x + t from 1: 2 e^t - t - 1. The error falls with the square of the steps' length."""
    start = torch.ones(2, 1, dtype=torch.float64)
    wanted = 2 * math.e - 2

    def velocity(x: Tensor, time: Tensor) -> Tensor:
        return x + time[:, None]

    errors = [float((heun(velocity, start, steps) - wanted).abs().max()) for steps in (10, 20)]
    assert errors[0] < 0.01
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.15)
    halves = heun(velocity, heun(velocity, start, 5, (0, 0.5)), 5, (0.5, 1))
    torch.testing.assert_close(halves, heun(velocity, start, 10))


def test_the_loss_of_networks_that_say_zero_is_that_of_the_data() -> None:
    """E (data - noise)^2 = 1 + E data^2."""
    model = make(replace(SMALL, threshold=0)).eval()
    batch = Batch(torch.full((500, 4, 4, 2), math.e - 1), torch.full((500,), 5e3), torch.zeros(500, SMALL.conditions))
    with torch.no_grad():
        parts = model.loss(batch, torch.Generator().manual_seed(1))
    assert float(parts["shape"]) == pytest.approx(2, rel=0.03)  # each voxel is ln(1 + E) = 1, of 16000 draws
    deposits = 8 * (math.e - 1)
    squares = (4 * deposits / 5e3) ** 2 + 4 * math.log1p(deposits) ** 2
    assert float(parts["layers"]) == pytest.approx(1 + squares / 5, rel=0.1)


def test_scales_and_back(records: Records) -> None:
    """Voxels and layers are what they were; the fit makes numbers of mean 0 and width 1."""
    model = make()
    batch = model.batch(records)
    model.prepare(batch)
    scales, level = model.scales, batch.conditions[:, 0]
    deposits, cells = model.numbers(batch, torch.Generator().manual_seed(1))
    lost = (batch.showers > 0) & (batch.showers <= scales.cell * (math.exp(BORDER) - 1))
    assert 0 < float(lost.sum() / (batch.showers > 0).sum()) < 0.04
    torch.testing.assert_close(scales.cell_energies(cells), batch.showers.masked_fill(lost, 0), rtol=1e-4, atol=1e-3)
    back = scales.layer_energies(deposits, batch.energy, level)
    torch.testing.assert_close(back, batch.showers.sum(dim=(2, 3)), rtol=2e-3, atol=0.05)
    assert float(deposits.mean(dim=0).abs().max()) < 0.15
    assert float((deposits.std(dim=0) - 1).abs().max()) < 0.25
    before = scales.mean.clone()
    scales.fit(batch.showers * 2, batch.energy, level)  # once fitted, they stay
    assert torch.equal(scales.mean, before)
    assert torch.equal(make().scales.mean, Scales(4).mean)


def test_layers_have_the_energies_that_were_drawn(trained: Transformer) -> None:
    """Whatever the voxels' numbers are, even where none says that it has energy."""
    model = make(replace(SMALL, threshold=0))
    model.load_state_dict(trained.state_dict())
    energy, conditions = torch.full((3,), 2e4), torch.zeros(3, SMALL.conditions)
    layers = torch.zeros(3, 5)
    wanted = model.scales.layer_energies(layers, energy, conditions[:, 0])
    for cells in (torch.randn(3, 4, 4, 2), -torch.rand(3, 4, 4, 2)):
        showers = model.showers(energy, conditions, layers, cells)
        torch.testing.assert_close(showers.sum(dim=(2, 3)), wanted)


def test_patches_see_their_own_voxels() -> None:
    """Only the terms of the head reach a voxel: with b alone, the velocity is b x, in the grid's order."""
    model = make().eval()
    with torch.no_grad():
        model.shape.leave.bias.view(-1, 6)[:, 1] = torch.arange(8.0)  # of a patch's 2 x 2 x 2 voxels
        x = torch.randn(2, 4, 4, 2)
        found = model.shape(x, torch.zeros(2), torch.zeros(2, SMALL.conditions), torch.zeros(2, 5))
    place = torch.arange(8.0).reshape(2, 2, 2).repeat(2, 2, 1)
    torch.testing.assert_close(found, x * place)


def test_turns_keep_straight_showers_and_leave_slanted_ones() -> None:
    showers = torch.rand(200, 4, 4, 2)
    conditions = torch.zeros(200, SMALL.conditions)
    conditions[100:, 1] = 0.5
    batch = Batch(showers, torch.full((200,), 5e3), conditions)
    made = turned(showers, turns(batch, torch.Generator().manual_seed(1)))
    assert torch.equal(made[100:], showers[100:])
    assert (made[:100] != showers[:100]).any()
    torch.testing.assert_close(made.sum(dim=2), showers.sum(dim=2))
    neighbours = (showers * showers.roll(1, dims=2)).sum(dim=2)
    torch.testing.assert_close((made * made.roll(1, dims=2)).sum(dim=2), neighbours)


def test_wrong_configurations_are_refused(trained: Transformer) -> None:
    assert fitting_patch(GRID.shape, (3, 3, 3)) == (2, 2, 2)
    with pytest.raises(InputError, match="do not tile") as caught:
        replace(SMALL, patch=(3, 2, 2))
    assert "2 x 4 x 2" in caught.value.hint
    with pytest.raises(InputError, match="cannot learn"):
        replace(SMALL, learns="nothing")
    with pytest.raises(InputError, match="heads"):
        replace(SMALL, heads=3)
    with pytest.raises(InputError, match="at least 1"):
        replace(SMALL, steps=0)
    with pytest.raises(InputError, match="3 parts"):
        Distilled.of(trained, parts=3)
    with pytest.raises(InputError, match="1 to 4"):
        DistilledConfig(GRID, 1e3, 1e5, patch=(2, 2, 2), parts=5)
