"""Adaptation: what is trained and what stays, merging, the spare place, learning curves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mlcore.errors import InputError
from mlcore.showers.adaptation import LearningCurve, Point, adapt, learning_curve
from mlcore.showers.dataset import Records
from mlcore.showers.geometry import MATERIALS
from mlcore.showers.models.gflash import GFlash, GFlashConfig, Medium
from mlcore.showers.models.vae import VAE, VAEConfig
from mlcore.showers.training import BEST, TrainingConfig, train
from mlcore.showers.voxels import Voxels

GRID = Voxels.regular(layers=4, layer_depth=35, angles=3, rings=2, ring_width=12)
OTHER = Voxels.regular(layers=4, layer_depth=45, angles=3, rings=2, ring_width=20)
FIRST = Medium.of_layers(MATERIALS["W"], 1.4, MATERIALS["Si"], 0.3, resolution=0.2)
SECOND = Medium.of_layers(MATERIALS["Pb"], 4.4, MATERIALS["Si"], 1.2, resolution=0.3)
CONFIG = VAEConfig(GRID, 1e3, 1e5, latent=4, hidden=32, channels=8, threshold=0.5, geometries=("first",))
TRAINING = TrainingConfig(
    steps=40, batch=32, learning_rate=2e-3, warmup=5, average=0.9, validation=0.2, report_every=10, save_every=20, device="cpu"
)


def records(medium: Medium, grid: Voxels, name: str, count: int, seed: int) -> Records:
    energies = np.exp(np.random.default_rng(seed).uniform(np.log(1e3), np.log(1e5), count))
    return Records.of(GFlash(GFlashConfig(medium, grid)).sample(energies, seed=seed), energies, grid, geometries=(name,))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> VAE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = VAE(CONFIG)
    train(
        model,
        records(FIRST, GRID, "first", 1_000, 1),
        tmp_path_factory.mktemp("base"),
        replace(TRAINING, steps=300, batch=128, learning_rate=5e-3, report_every=100, save_every=300, average=0.98),
    )
    return model


@pytest.fixture(scope="module")
def new() -> Records:
    return records(SECOND, OTHER, "second", 200, 2)


def test_an_adaptation_takes_the_spare_place_and_beats_a_training_from_scratch(base: VAE, new: Records, tmp_path: Path) -> None:
    """With the same showers and steps; the model that it was made of stays as it is."""
    before = {name: value.clone() for name, value in base.state_dict().items()}
    adapted = adapt(base, new, tmp_path / "adapted", TRAINING)
    assert adapted.model.config.geometries == ("first", "second")
    assert adapted.model.config.spare == 0
    assert adapted.model.config.voxels == OTHER
    assert adapted.trained == base.parameters_count
    scratch = VAE(adapted.model.config)
    result = train(scratch, new, tmp_path / "scratch", TRAINING)
    assert adapted.result.validation_loss is not None
    assert result.validation_loss is not None
    assert adapted.result.validation_loss < result.validation_loss - 1
    for name, value in base.state_dict().items():
        assert torch.equal(value, before[name]), name
    loaded = VAE.load(tmp_path / "adapted" / BEST)
    showers = adapted.model.sample(new.energy, seed=1, geometry="second")
    np.testing.assert_array_equal(loaded.sample(new.energy, seed=1, geometry="second"), showers)
    response = showers.sum(axis=(1, 2, 3)) / new.energy
    assert response.mean() == pytest.approx((new.showers.sum(axis=(1, 2, 3)) / new.energy).mean(), rel=0.1)


def test_biases_alone_leave_matrices_as_they_were(base: VAE, new: Records, tmp_path: Path) -> None:
    adapted = adapt(base, new, tmp_path, TRAINING, method="bias")
    assert adapted.trained < base.parameters_count / 5
    changed = {
        name for name, value in adapted.model.named_parameters() if not torch.equal(value, base.state_dict()[name])
    }  # fmt: skip
    assert "bias" in changed
    assert all(adapted.model.get_parameter(name).ndim == 1 or name == "bias" for name in changed)
    assert all(parameter.requires_grad for parameter in adapted.model.parameters())


def test_a_change_of_low_rank_is_of_that_rank_and_goes_into_the_matrix(base: VAE, new: Records, tmp_path: Path) -> None:
    """Cancelled in between, the same call goes on to the same weights."""
    adapted = adapt(base, new, tmp_path / "whole", TRAINING, method="low-rank", rank=2)
    assert adapted.trained < base.parameters_count / 3
    assert set(adapted.model.state_dict()) == set(base.state_dict())
    ranks = {}
    for name, value in adapted.model.named_parameters():
        change = (value - base.state_dict()[name]).detach()
        if value.ndim == 2 and name != "bias":
            ranks[name] = int(torch.linalg.matrix_rank(change, rtol=1e-4))
        else:
            assert not change.any(), name
    assert set(ranks.values()) == {2}
    asked = iter(range(100))
    part = adapt(base, new, tmp_path / "part", TRAINING, method="low-rank", rank=2, cancelled=lambda: next(asked) >= 25)
    assert not part.result.finished
    rest = adapt(base, new, tmp_path / "part", TRAINING, method="low-rank", rank=2)
    for name, value in adapted.model.state_dict().items():
        assert torch.equal(value, rest.model.state_dict()[name]), name


def test_a_learning_curve_compares_with_scratch(base: VAE, new: Records, tmp_path: Path) -> None:
    """And is made of finished trainings without training again."""
    test = records(SECOND, OTHER, "second", 100, 3)
    options = {"counts": (50, 150, 10_000), "methods": ("full",)}
    curve = learning_curve(base, new, test, tmp_path, TRAINING, **options)  # type: ignore[arg-type]
    assert [(point.method, point.showers) for point in curve.points] == [
        ("scratch", 50), ("full", 50), ("scratch", 150), ("full", 150),
    ]  # fmt: skip
    full = curve.points[-1]
    assert full.validation_loss < curve.points[-2].validation_loss
    assert full.steps_to_scratch is not None
    assert curve.steps_saved("full") == 40 / full.steps_to_scratch
    seen: list[str] = []
    again = learning_curve(base, new, test, tmp_path, TRAINING, **options, progress=lambda part, what: seen.append(what))  # type: ignore[arg-type]
    assert again == curve
    assert seen[0] == "scratch, 50 showers"


def test_savings_are_ratios() -> None:
    points = [
        Point("scratch", 100, 50, 3.0, 0.1, 9.0, None), Point("scratch", 1_000, 50, 1.0, 0.1, 5.0, None),
        Point("full", 100, 50, 0.9, 0.1, 4.0, 10), Point("full", 1_000, 50, 0.5, 0.1, 3.0, 20),
        Point("bias", 100, 50, 2.0, 0.1, 7.0, None), Point("bias", 1_000, 50, 1.5, 0.1, 6.0, None),
    ]  # fmt: skip
    curve = LearningCurve(tuple(points))
    assert curve.showers_saved("full") == 10
    assert curve.steps_saved("full") == 2.5
    assert curve.showers_saved("bias") is None
    assert curve.to_json()["steps_saved"] == {"bias": None, "full": 2.5}


def test_what_cannot_be_adapted_is_refused(base: VAE, new: Records, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no adaptation"):
        adapt(base, new, tmp_path, method="half")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="rank 0"):
        adapt(base, new, tmp_path, method="low-rank", rank=0)
    with pytest.raises(InputError, match="no spare place"):
        adapt(VAE(replace(CONFIG, spare=0)), new, tmp_path)
    wide = Voxels.regular(layers=4, layer_depth=45, angles=3, rings=3, ring_width=20)
    with pytest.raises(InputError, match="voxels"):
        adapt(base, records(SECOND, wide, "second", 10, 1), tmp_path)
    two = Records.joined([new, records(SECOND, OTHER, "third", 10, 1)])
    with pytest.raises(InputError, match="2 calorimeters"):
        adapt(base, two, tmp_path)
    with pytest.raises(InputError, match="too few"):
        learning_curve(base, new[:20], new, tmp_path, TRAINING)
