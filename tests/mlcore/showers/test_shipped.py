"""The shipped networks: small, described, and making showers that a calorimeter could have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlcore.errors import DataError, InputError
from mlcore.showers.geometry import CALORIMETERS
from mlcore.showers.models.gflash import GFlash, GFlashConfig, Medium
from mlcore.showers.shipped import FOLDER, SHIPPED, card, load_model, load_network

LARGEST = 5_000_000


def test_there_is_a_vae_a_teacher_and_a_student() -> None:
    assert {load_network(name).slug for name in SHIPPED} == {"vae", "transformer", "distilled"}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_network_is_small_and_says_what_it_was_trained_on(name: str) -> None:
    assert (FOLDER / f"{name}.safetensors").stat().st_size <= LARGEST
    text = card(name)
    for word in ("Geant4 11.4.1", "showers", "ml4ep showers", "AUC", "floor"):
        assert word in text, word


@pytest.mark.parametrize("name", SHIPPED)
def test_showers_have_the_response_of_the_full_simulation(name: str) -> None:
    """0.96 within 0.03 at 3, 10 and 50 GeV; at 50 GeV, the maximum 4 to 10 X0 deep and 5 to 35 % of the voxels filled."""
    network = load_network(name)
    showers = network.sample(np.repeat([3e3, 1e4, 5e4], 8), seed=1)
    response = showers.sum(axis=(1, 2, 3)) / np.repeat([3e3, 1e4, 5e4], 8)
    assert response.mean() == pytest.approx(0.96, abs=0.03)
    calorimeter = CALORIMETERS["dataset2"]
    assert network.config.voxels == calorimeter.voxels
    depth = float(np.argmax(showers[16:].sum(axis=(0, 2, 3)))) * 3.4 / calorimeter.radiation_length
    assert 4 < depth < 10
    assert 0.05 < (showers[16:] > 0).mean() < 0.35


def test_models_are_told_by_their_files(tmp_path: Path) -> None:
    calorimeter = CALORIMETERS["dataset2"]
    gflash = GFlash(GFlashConfig(Medium.of(calorimeter, resolution=0.13), calorimeter.voxels))
    gflash.save(tmp_path / "model.json")
    assert load_model(tmp_path / "model.json").slug == "gflash"
    assert load_model("dataset2-vae").slug == "vae"
    with pytest.raises(InputError, match="no model odd") as caught:
        load_network("odd")
    assert "dataset2-student" in caught.value.hint
    with pytest.raises(DataError, match="odd"):
        card("odd")
