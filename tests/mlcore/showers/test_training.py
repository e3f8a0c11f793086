"""The training loop and the VAE: closed forms, resuming, cancelling, diagnoses, checkpoints."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mlcore.errors import DataError, InputError
from mlcore.showers.dataset import PHOTON, Records
from mlcore.showers.geometry import MATERIALS
from mlcore.showers.models.gflash import GFlash, GFlashConfig, Medium
from mlcore.showers.models.neural import Batch, read_tensors
from mlcore.showers.models.vae import VAE, VAEConfig
from mlcore.showers.training import BEST, CHECKPOINT, CURVES, TrainingConfig, TrainingError, train
from mlcore.showers.voxels import Voxels

GRID = Voxels.regular(layers=4, layer_depth=35, angles=3, rings=2, ring_width=12)
MEDIUM = Medium.of_layers(MATERIALS["W"], 1.4, MATERIALS["Si"], 0.3, resolution=0.2)
SMALL = VAEConfig(GRID, 1e3, 1e5, latent=4, hidden=24, channels=6, threshold=0.5)
SHORT = TrainingConfig(steps=12, batch=32, warmup=3, report_every=4, save_every=5, device="cpu")


@pytest.fixture(scope="module")
def records() -> Records:
    energies = np.exp(np.random.default_rng(1).uniform(np.log(1e3), np.log(1e5), 1_000))
    return Records.of(GFlash(GFlashConfig(MEDIUM, GRID)).sample(energies, seed=1), energies, GRID)


def vae(seed: int = 1, config: VAEConfig = SMALL) -> VAE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VAE(config)


def weights(model: VAE) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_a_training_that_was_cancelled_goes_on_to_the_same_weights(records: Records, tmp_path: Path) -> None:
    """To the last bit, wherever it was interrupted: batches and noise depend on seed and step alone."""
    whole = vae()
    finished = train(whole, records, tmp_path / "whole", SHORT)
    assert finished.finished
    assert finished.step == 12
    for stop in (0, 7):
        part, asked = vae(), iter(range(100))
        folder = tmp_path / f"part{stop}"
        result = train(part, records, folder, SHORT, cancelled=lambda asked=asked, stop=stop: next(asked) >= stop)
        assert (result.finished, result.step) == (False, stop)
        other = vae(seed=99)  # its weights come from the checkpoint
        assert train(other, records, folder, SHORT).finished
        for name, value in weights(whole).items():
            assert torch.equal(value, other.state_dict()[name]), name
        assert (folder / CURVES).read_text() == (tmp_path / "whole" / CURVES).read_text()


def test_a_training_that_was_killed_goes_on_from_its_last_checkpoint(records: Records, tmp_path: Path) -> None:
    """Lines that the curves have beyond the checkpoint are dropped; an unfinished file does no harm."""

    class KilledError(Exception):
        pass

    def kill(step: int, line: dict[str, float]) -> None:
        if step == 8:
            raise KilledError

    with pytest.raises(KilledError):
        train(vae(), records, tmp_path / "killed", SHORT, progress=kill)
    (tmp_path / "killed" / "checkpoint.unfinished").write_bytes(b"half")
    _, description = read_tensors(tmp_path / "killed" / CHECKPOINT)
    assert description["step"] == "5"
    resumed, whole = vae(seed=3), vae()
    train(resumed, records, tmp_path / "killed", SHORT)
    train(whole, records, tmp_path / "whole", SHORT)
    for name, value in weights(whole).items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    with (tmp_path / "killed" / CURVES).open() as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [4, 8, 12]


def test_training_lowers_the_loss_and_the_showers_come_nearer(records: Records, tmp_path: Path) -> None:
    """The mean response within 10 % after 300 steps."""
    model = vae()
    config = replace(SHORT, steps=300, batch=128, learning_rate=5e-3, report_every=50, save_every=300, average=0.98)
    lines: list[dict[str, float]] = []
    result = train(model, records, tmp_path, config, progress=lambda step, line: lines.append(line))
    assert lines[-1]["loss"] < lines[0]["loss"] - 1
    assert result.validation_loss == lines[-1]["validation"]
    assert {"layers", "hits", "energies", "divergence", "gradient", "rate"} <= set(lines[0])
    showers = model.sample(records.energy, seed=1)
    response = showers.sum(axis=(1, 2, 3)) / records.energy
    truth = records.showers.sum(axis=(1, 2, 3)) / records.energy
    assert response.mean() == pytest.approx(truth.mean(), rel=0.1)
    assert np.isfinite(showers).all()
    assert ((showers == 0) | (showers >= SMALL.threshold)).all()
    loaded = VAE.load(tmp_path / BEST)
    np.testing.assert_array_equal(loaded.sample(records.energy[:20], seed=2), model.sample(records.energy[:20], seed=2))


def test_the_divergence_is_the_closed_form() -> None:
    """With an encoder that gives mean m and variance v for each of 4 numbers: 2 (m^2 + v - 1 - ln v)."""
    model = vae()
    last = model.encoder[-1]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.zeros_(last.weight)
    with torch.no_grad():
        last.bias.copy_(torch.tensor([0.7] * 4 + [math.log(0.3)] * 4))
    batch = Batch(torch.ones(5, 4, 3, 2), torch.full((5,), 2e3), torch.zeros(5, SMALL.conditions))
    found = model.loss(batch, torch.Generator().manual_seed(1))["divergence"].detach()
    assert float(found) == pytest.approx(2 * (0.49 + 0.3 - 1 - math.log(0.3)), rel=1e-5)


def test_the_reconstruction_is_the_likelihood_of_a_known_decoder() -> None:
    """All weights 0: hits have the chance 1/2 and logarithms a normal distribution of known mean and width."""
    model = vae()
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    batch = Batch(torch.ones(2, 4, 3, 2), torch.full((2,), 48.0), torch.zeros(2, SMALL.conditions))
    with torch.no_grad():
        parts = model.loss(batch, torch.Generator().manual_seed(1))
    width = math.log(2) + 1e-3
    constant = math.log(width) + 0.5 * math.log(2 * math.pi)
    assert float(parts["hits"]) == pytest.approx(24 * math.log(2), rel=1e-5)
    assert float(parts["energies"]) == pytest.approx(24 * constant, rel=1e-5)  # shares of 1/6, the mean of the decoder
    squares = (12 / 48 * 2) ** 2 + 4 * math.log(7) ** 2  # the response and ln(1 + 6 MeV), with scales that were not fitted
    assert float(parts["layers"]) == pytest.approx(0.5 * squares / width**2 + 5 * constant, rel=1e-5)


def test_samples_depend_on_their_seed_and_conditions_alone(records: Records) -> None:
    model = vae()
    energies = records.energy[:7]
    first = model.sample(energies, seed=1)
    np.testing.assert_array_equal(first, model.sample(energies, seed=1))
    assert (first != model.sample(energies, seed=2)).any()
    assert (first != model.sample(energies, seed=1, theta=1.0)).any()
    assert (first != model.sample(energies, seed=1, particle=PHOTON)).any()
    assert model.sample([], seed=1).shape == (0, 4, 3, 2)
    assert model.training


def test_a_loss_that_is_not_finite_stops_with_a_diagnosis(records: Records, tmp_path: Path) -> None:
    model = vae()
    with torch.no_grad():
        model.bias[0, 0] = math.nan
    with pytest.raises(TrainingError, match=r"step 0: weights are not finite, first bias") as caught:
        train(model, records, tmp_path / "weights", SHORT)
    assert "learning rate" in caught.value.message

    class Broken(VAE):
        def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
            return super().loss(batch, generator) | {"extra": batch.energy.sum() * math.inf}

    with pytest.raises(TrainingError, match=r"not finite in extra") as caught:
        train(Broken(SMALL), records, tmp_path / "loss", SHORT)
    assert "rate" in caught.value.hint
    wrong = Records.of(records.showers * 1e6, records.energy, GRID)
    with pytest.raises(TrainingError) as caught:
        train(Broken(SMALL), wrong, tmp_path / "units", SHORT)
    assert "units" in caught.value.hint


def test_a_folder_with_another_training_is_refused(records: Records, tmp_path: Path) -> None:
    train(vae(), records, tmp_path, SHORT)
    with pytest.raises(InputError, match="other options"):
        train(vae(), records, tmp_path, replace(SHORT, steps=20))
    other = replace(SMALL, latent=5)
    with pytest.raises(InputError, match="another model"):
        train(vae(config=other), records, tmp_path, SHORT)
    (tmp_path / CHECKPOINT).write_bytes(b"nothing")
    with pytest.raises(InputError, match="no safetensors"):
        train(vae(), records, tmp_path, SHORT)


def test_mixed_precision_trains(records: Records, tmp_path: Path) -> None:
    assert math.isfinite(train(vae(), records, tmp_path, replace(SHORT, precision="bfloat16")).loss)


def test_the_learning_rate_rises_and_falls() -> None:
    config = TrainingConfig(steps=100, warmup=10, learning_rate=1.0)
    assert config.rate(0) == 0.1
    assert config.rate(9) == config.rate(10) == 1
    assert config.rate(55) == pytest.approx(0.505)
    assert config.rate(100) == pytest.approx(0.01)


def test_files_of_other_models_are_refused(tmp_path: Path) -> None:
    model = vae()
    model.save(tmp_path / "vae.safetensors")
    tensors, description = read_tensors(tmp_path / "vae.safetensors")
    assert json.loads(description["config"])["latent"] == 4
    with pytest.raises(InputError, match="holds diffusion"):
        VAE.from_parts(description | {"model": "diffusion"}, tensors, "x")
    with pytest.raises(InputError, match="no vae model"):
        VAE.from_parts(description, {}, "x")
    (tmp_path / "text").write_text("no")
    with pytest.raises(InputError, match="no safetensors"):
        VAE.load(tmp_path / "text")


def test_wrong_input_is_refused(records: Records) -> None:
    model = vae()
    with pytest.raises(InputError, match="outside of the model's range"):
        model.sample([1e6], seed=1)
    with pytest.raises(InputError, match="above 0"):
        model.sample([math.nan], seed=1)
    with pytest.raises(DataError, match="geometry"):
        model.sample([5e3], seed=1, geometry="odd")
    other = Voxels.regular(layers=4, layer_depth=35, angles=3, rings=2, ring_width=13)
    with pytest.raises(InputError, match="other sizes"):
        model.batch(Records.of(records.showers, records.energy, other))
    with pytest.raises(InputError, match="no range"):
        VAEConfig(GRID, 5.0, 1.0)
    with pytest.raises(InputError, match="sizes"):
        VAEConfig(GRID, 1.0, 5.0, latent=0)
    with pytest.raises(InputError, match="precision"):
        TrainingConfig(precision="float8")
    with pytest.raises(InputError, match="device"):
        train(model, records, Path("nowhere"), replace(SHORT, device="toaster"))
