"""GFlash: effective media, profiles, photons, files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mlcore.errors import InputError
from mlcore.showers.geometry import CALORIMETERS, MATERIALS
from mlcore.showers.models.gflash import GFlash, GFlashConfig, Medium, critical_energy
from mlcore.showers.voxels import Voxels

GRID = Voxels.regular(layers=45, layer_depth=3.4, angles=16, rings=9, ring_width=4.65)
SILICON_TUNGSTEN = Medium.of_layers(MATERIALS["W"], 1.4, MATERIALS["Si"], 0.3, resolution=0.13)


def test_the_effective_medium_is_the_average_by_weight() -> None:
    """Of 1.4 mm W and 0.3 mm Si; X0 follows from the layers' lengths in units of their own X0, 1e-12 of rounding."""
    lengths = 1.4 / MATERIALS["W"].radiation_length + 0.3 / MATERIALS["Si"].radiation_length
    assert SILICON_TUNGSTEN.radiation_length == pytest.approx(1.7 / lengths, rel=1e-12)
    assert SILICON_TUNGSTEN.frequency == pytest.approx(1 / lengths, rel=1e-12)
    assert SILICON_TUNGSTEN.e_over_mip == pytest.approx(1 / 1.42, rel=1e-12)
    heavy = 1.4 * 19.3 / (1.4 * 19.3 + 0.3 * 2.329)
    assert SILICON_TUNGSTEN.z == pytest.approx(74 * heavy + 14 * (1 - heavy), rel=1e-12)


@pytest.mark.parametrize("name", ["Pb", "W", "Cu", "Fe"])
def test_a_medium_of_one_material_twice_is_that_material(name: str) -> None:
    material = MATERIALS[name]
    both, one = Medium.of_layers(material, 2, material, 3, resolution=0.1), Medium.homogeneous(material)
    for field in ("z", "radiation_length", "moliere_radius", "critical_energy"):
        assert getattr(both, field) == pytest.approx(getattr(one, field), rel=1e-12)
    assert both.e_over_mip == 1


@pytest.mark.parametrize("name", sorted(CALORIMETERS))
def test_every_shipped_calorimeter_has_a_medium_and_showers(name: str) -> None:
    """The same X0 as the geometry says; most of a 10 GeV shower within the voxels of all of them."""
    calorimeter = CALORIMETERS[name]
    medium = Medium.of(calorimeter, resolution=0.15)
    assert medium.radiation_length == pytest.approx(calorimeter.radiation_length, rel=1e-9)
    assert (medium.frequency == 0) == calorimeter.homogeneous
    showers = GFlash(GFlashConfig(medium, calorimeter.voxels)).sample(np.full(50, 10_000.0), seed=1)
    assert 0.75 < showers.sum(axis=(1, 2, 3)).mean() / 10_000 < 1.02


@pytest.mark.parametrize(("name", "measured"), [("Pb", 7.43), ("W", 7.97), ("Cu", 19.42), ("Fe", 21.68), ("Si", 40.19)])
def test_critical_energies_are_near_those_of_the_particle_data_group(name: str, measured: float) -> None:
    """The formula is a fit through the elements: within 10 %."""
    assert critical_energy(MATERIALS[name]) == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize("energy", [5_000.0, 50_000.0])
def test_the_mean_profile_has_its_maximum_where_the_formula_says(energy: float) -> None:
    """Homogeneous: T = ln y - 0.812 within a quarter of X0: the layers are half of X0, and 2000 showers fluctuate."""
    medium = Medium.homogeneous(MATERIALS["PbWO4"])
    grid = Voxels.regular(layers=60, layer_depth=medium.radiation_length / 2, angles=1, rings=1, ring_width=1e6)
    mean = GFlash(GFlashConfig(medium, grid)).sample(np.full(2_000, energy), seed=1).mean(axis=(0, 2, 3))
    top = int(mean.argmax())
    fit = np.polyfit(np.arange(top - 3, top + 4), mean[top - 3 : top + 4], 2)
    depth = (-fit[1] / (2 * fit[0]) + 0.5) / 2
    assert depth == pytest.approx(np.log(energy / medium.critical_energy) - 0.812, abs=0.25)


def test_a_shower_becomes_wider_with_depth_and_holds_nine_tenths_within_a_moliere_radius() -> None:
    """Containment within R_M is 90 % by its definition; the formula gives it within 5 %."""
    medium = Medium.homogeneous(MATERIALS["PbWO4"])
    edges = tuple(float(x) * medium.moliere_radius for x in (0, 0.5, 1, 2, 50))
    grid = Voxels(tuple(np.linspace(0, 30 * medium.radiation_length, 16)), 1, edges)
    mean = GFlash(GFlashConfig(medium, grid)).sample(np.full(300, 20_000.0), seed=2).mean(axis=(0, 2))
    rings = mean.sum(axis=0) / mean.sum()
    assert rings[:2].sum() == pytest.approx(0.9, abs=0.05)
    inner = mean[1:8, 0] / mean[1:8].sum(axis=1)  # in the first 2 X0 low-energy photons make the tail wide
    assert (np.diff(inner) < 0).all()


def test_the_response_and_the_threshold_act_on_voxels() -> None:
    plain = GFlash(GFlashConfig(SILICON_TUNGSTEN, GRID)).sample([10_000.0], seed=3)
    scaled = GFlash(GFlashConfig(SILICON_TUNGSTEN, GRID, response=0.03)).sample([10_000.0], seed=3)
    np.testing.assert_allclose(scaled, plain * np.float32(0.03), rtol=1e-6)
    cut = GFlash(GFlashConfig(SILICON_TUNGSTEN, GRID, threshold=5.0)).sample([10_000.0], seed=3)
    assert 0 < (cut > 0).sum() < (plain > 0).sum()
    np.testing.assert_array_equal(cut, np.where(plain < 5, 0, plain))


def test_photons_begin_deeper() -> None:
    """Mean of 9/7 X0 within five standard errors; each shower's start is its own."""
    photons = GFlash(GFlashConfig(SILICON_TUNGSTEN, GRID, particle="photon"))
    starts = photons.starts(20_000, seed=5)
    mean = 9 / 7 * SILICON_TUNGSTEN.radiation_length
    assert abs(starts.mean() - mean) < 5 * mean / np.sqrt(20_000)
    np.testing.assert_array_equal(photons.starts(10, seed=5, first=100), starts[100:110])
    layers = np.arange(45)
    energy = np.full(1_000, 10_000.0)
    profile = photons.sample(energy, seed=1).sum(axis=(0, 2, 3))
    of_electrons = GFlash(GFlashConfig(SILICON_TUNGSTEN, GRID)).sample(energy, seed=1).sum(axis=(0, 2, 3))
    assert (profile * layers).sum() / profile.sum() > (of_electrons * layers).sum() / of_electrons.sum() + 0.5


def test_voxels_are_the_spots(tmp_path: Path) -> None:
    model = GFlash(GFlashConfig(SILICON_TUNGSTEN, GRID))
    spots, offsets = model.spots([8_000.0, 9_000.0], seed=6)
    inside = np.hypot(spots[:, 0], spots[:, 1]) < GRID.radii[-1] * (1 - 1e-6)
    showers = model.sample([8_000.0, 9_000.0], seed=6)
    for number in range(2):
        part = slice(offsets[number], offsets[number + 1])
        assert showers[number].sum() == pytest.approx(spots[part, 3][inside[part]].sum(), rel=1e-4)
    model.save(tmp_path / "gflash.json")
    again = GFlash.load(tmp_path / "gflash.json")
    assert again.config == model.config
    np.testing.assert_array_equal(again.sample([8_000.0, 9_000.0], seed=6), showers)


def test_files_that_are_no_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for text in ("{", "[]", "{}", json.dumps({"model": "gflash"}), json.dumps({"model": "vae"})):
        path.write_text(text)
        with pytest.raises(InputError):
            GFlash.load(path)


def test_wrong_input_is_refused_with_a_hint() -> None:
    model = GFlash(GFlashConfig(SILICON_TUNGSTEN, GRID))
    for energies in ([-1.0], [0.0], [np.nan]):
        with pytest.raises(InputError, match="above 0") as caught:
            model.sample(energies, seed=1)
        assert caught.value.hint
    with pytest.raises(InputError, match="pion"):
        GFlashConfig(SILICON_TUNGSTEN, GRID, particle="pion")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="thick"):
        Medium.of_layers(MATERIALS["W"], 0, MATERIALS["Si"], 1, resolution=0.1)
    with pytest.raises(InputError, match="resolution"):
        Medium.of(CALORIMETERS["dataset2"])
    with pytest.raises(InputError, match="response"):
        GFlashConfig(SILICON_TUNGSTEN, GRID, response=0)
    with pytest.raises(InputError, match="z is"):
        GFlash(GFlashConfig(Medium(1.0, 8.9, 21.0, 8.8), GRID))


def test_grids_and_showers_are_checked() -> None:
    with pytest.raises(InputError, match="ascend"):
        Voxels((0.0, 2.0, 1.0), 4, (0.0, 1.0))
    with pytest.raises(InputError, match="angles"):
        Voxels((0.0, 1.0), 0, (0.0, 1.0))
    small = Voxels((0.0, 1.0), 2, (0.0, 1.0, 2.0))
    assert small.checked(np.ones((3, 4))).shape == (3, 1, 2, 2)
    with pytest.raises(InputError, match="5 voxels each"):
        small.checked(np.ones((3, 5)))
    for value, message in ((np.nan, "NaN"), (-1.0, "negative")):
        showers = np.ones((3, 4))
        showers[2, 1] = value
        with pytest.raises(InputError, match=f"{message}.*shower 2"):
            small.checked(showers)
