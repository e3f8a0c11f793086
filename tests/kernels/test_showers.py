"""Showers by spots against plain NumPy, on every compiled CPU target."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels
from kernels import reference_showers

HOMOGENEOUS = reference_showers.Medium(68.36, 8.9, 21.4, 8.8)
SAMPLING = reference_showers.Medium(72.2, 4.2, 11.0, 8.5, frequency=2.5, e_over_mip=0.7, resolution=0.13)
MEDIA = {"homogeneous": HOMOGENEOUS, "sampling": SAMPLING}
DEPTHS = np.linspace(0, 150, 31)


def native(medium: reference_showers.Medium) -> kernels.GFlash:
    return kernels.GFlash(
        z=medium.z,
        radiation_length=medium.radiation_length,
        moliere_radius=medium.moliere_radius,
        critical_energy=medium.critical_energy,
        frequency=medium.frequency,
        e_over_mip=medium.e_over_mip,
        resolution=medium.resolution,
    )


@pytest.mark.parametrize("target", kernels.available_targets())
@pytest.mark.parametrize("name", MEDIA)
@pytest.mark.parametrize("start", [0.0, 17.3])
def test_spots_are_those_of_the_oracle(name: str, target: str, start: float) -> None:
    """Positions within 1e-6 relative: float32 rounds at 6e-8, and cosines near 0 lose some digits in the oracle."""
    energies = np.array([30.0, 1_000.0, 20_000.0])
    spots, offsets = native(MEDIA[name]).spots(energies, np.full(3, start), DEPTHS, seed=7, first=5, target=target)
    assert offsets[0] == 0
    for number, energy in enumerate(energies):
        layers = reference_showers.layers(MEDIA[name], energy, start, DEPTHS, seed=7, shower=5 + number)
        found = spots[offsets[number] : offsets[number + 1]]
        assert len(found) == sum(len(layer.x) for layer in layers)
        at = 0
        for layer in layers:
            part = found[at : at + len(layer.x)]
            at += len(layer.x)
            if not len(part):
                continue
            scale = np.abs(layer.radius) * 1e-6 + 1e-6
            assert (np.abs(part[:, 0] - layer.x) <= scale).all()
            assert (np.abs(part[:, 1] - layer.y) <= scale).all()
            np.testing.assert_allclose(part[:, 2], layer.z, rtol=1e-6)
            np.testing.assert_allclose(part[:, 3], layer.energy / len(part), rtol=1e-6, atol=1e-13 * energy)


@pytest.mark.parametrize("target", kernels.available_targets())
def test_voxels_are_the_sums_of_the_spots_and_the_same_on_every_target(target: str) -> None:
    radii, angles = np.array([2.0, 5.0, 9.0, 20.0]), 7
    energies = np.array([500.0, 10_000.0])
    voxels = native(SAMPLING).voxels(energies, np.zeros(2), DEPTHS, radii, angles, seed=3, target=target)
    assert voxels.shape == (2, 30, 7, 3)
    portable = native(SAMPLING).voxels(energies, np.zeros(2), DEPTHS, radii, angles, seed=3, target="portable")
    np.testing.assert_array_equal(voxels, portable)
    for number, energy in enumerate(energies):
        expected = np.zeros((30, 7, 3))
        for index, layer in enumerate(reference_showers.layers(SAMPLING, energy, 0.0, DEPTHS, seed=3, shower=number)):
            ring = np.searchsorted(radii, layer.radius, side="right") - 1
            inside = (ring >= 0) & (ring < 3)
            angle = (layer.turn * angles).astype(int)
            np.add.at(expected[index], (angle[inside], ring[inside]), layer.energy / max(len(layer.x), 1))
        np.testing.assert_allclose(voxels[number], expected, rtol=1e-4, atol=1e-6)  # float32 sums of up to some hundred


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**64 - 1), st.floats(1, 1e6), st.floats(0, 400), st.sampled_from(sorted(MEDIA)))
def test_no_energy_is_made_and_every_number_is_finite(seed: int, energy: float, start: float, name: str) -> None:
    spots, offsets = native(MEDIA[name]).spots(np.array([energy]), np.array([start]), DEPTHS, seed=seed)
    assert np.isfinite(spots).all()
    assert offsets[1] == len(spots)
    assert ((spots[:, 2] >= start) & (spots[:, 2] <= DEPTHS[-1] * (1 + 1e-6))).all()
    if name == "homogeneous":
        assert spots[:, 3].astype(float).sum() <= energy * (1 + 1e-5)


def test_a_shower_does_not_depend_on_those_made_with_it() -> None:
    energies = np.array([1_000.0, 2_000.0, 3_000.0])
    gflash = native(HOMOGENEOUS)
    spots, offsets = gflash.spots(energies, np.zeros(3), DEPTHS, seed=1)
    alone, _ = gflash.spots(energies[2:], np.zeros(1), DEPTHS, seed=1, first=2)
    np.testing.assert_array_equal(spots[offsets[2] :], alone)
    other, _ = gflash.spots(energies[2:], np.zeros(1), DEPTHS, seed=2, first=2)
    assert len(other) != len(alone) or (other != alone).any()


def test_without_fluctuations_the_profile_is_the_gamma_distribution() -> None:
    """Every layer's energy within 1e-5 of the closed form (spots are float32)."""
    energy = 50_000.0
    mean = reference_showers.longitudinal(HOMOGENEOUS, energy)
    alpha, t = np.exp(mean.log_alpha), np.exp(mean.log_t)
    spots, _ = native(HOMOGENEOUS).spots(np.array([energy]), np.zeros(1), DEPTHS, seed=1, fluctuate=False)
    layer = np.clip(np.searchsorted(DEPTHS, spots[:, 2], side="right") - 1, 0, 29)
    found = np.bincount(layer, spots[:, 3], 30)
    depth = DEPTHS / HOMOGENEOUS.radiation_length * (alpha - 1) / t
    # The density of the gamma distribution, integrated by Simpson's rule on a fine grid
    expected = np.empty(30)
    for i in range(30):
        x = np.linspace(depth[i], depth[i + 1], 2001)
        y = x ** (alpha - 1) * np.exp(-x)
        expected[i] = (y[0] + y[-1] + 4 * y[1:-1:2].sum() + 2 * y[2:-1:2].sum()) * (x[1] - x[0]) / 3
    expected *= energy / math.gamma(alpha)
    # A depth at a layer's end may be rounded into the next one: a spot's energy of play.
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2 * spots[:, 3].max())


def test_radii_follow_core_and_tail() -> None:
    """Kolmogorov's distance of a layer's radii from the two-component distribution, within 1.63 / sqrt(n): 1 % by chance."""
    depths = np.array([0.0, 60.0, 68.0])
    spots, offsets = native(HOMOGENEOUS).spots(np.full(20, 50_000.0), np.zeros(20), depths, seed=4, fluctuate=False)
    layers = reference_showers.layers(HOMOGENEOUS, 50_000.0, 0.0, depths, seed=4, shower=0, fluctuate=False)
    assert offsets[1] == sum(len(layer.x) for layer in layers)
    mean = reference_showers.longitudinal(HOMOGENEOUS, 50_000.0)
    tau = 64 / 8.9 / np.exp(mean.log_t)  # without fluctuations, tau = t / T
    core, tail, weight = reference_showers.radial(HOMOGENEOUS, 50_000.0, float(tau))
    inside = spots[:, 2] > 60
    r = np.sort(np.hypot(spots[inside, 0], spots[inside, 1])) / HOMOGENEOUS.moliere_radius
    share = weight * r**2 / (r**2 + core**2) + (1 - weight) * r**2 / (r**2 + tail**2)
    distance = np.abs(share - (np.arange(len(r)) + 0.5) / len(r)).max()
    assert distance < 1.63 / np.sqrt(len(r))


def test_depths_and_shapes_fluctuate_together() -> None:
    """Widths and correlation of ln T and ln alpha over 20 000 showers, within five standard errors."""
    stream = [reference_showers.Stream(9, shower, 0) for shower in range(20_000)]
    pairs = np.array([(s.normal(), s.normal()) for s in stream])
    mean = reference_showers.longitudinal(HOMOGENEOUS, 50_000.0)
    plus, minus = np.sqrt((1 + mean.rho) / 2) * pairs[:, 0], np.sqrt((1 - mean.rho) / 2) * pairs[:, 1]
    assert abs((plus + minus).std() - 1) < 5 / np.sqrt(2 * 20_000)
    assert abs(np.corrcoef(plus + minus, plus - minus)[0, 1] - mean.rho) < 5 * (1 - mean.rho**2) / np.sqrt(20_000)


@pytest.mark.parametrize("resolution", [0.05, 0.2, 0.6])
def test_the_sampled_energy_has_the_resolution(resolution: float) -> None:
    """Mean and width of the sum of 4000 showers of 2 GeV within five standard errors; leakage is nil in 60 X0."""
    medium = kernels.GFlash(
        z=72.2,
        radiation_length=4.2,
        moliere_radius=11.0,
        critical_energy=8.5,
        frequency=2.5,
        e_over_mip=0.7,
        resolution=resolution,
    )
    n, energy = 4_000, 2_000.0
    radii = np.array([0.0, 1e12])
    total = medium.voxels(np.full(n, energy), np.zeros(n), np.linspace(0, 252, 31), radii, 1, seed=2).sum(
        axis=(1, 2, 3), dtype=float
    )
    width = resolution / np.sqrt(energy / 1000) * energy
    assert abs(total.mean() - energy) < 5 * width / np.sqrt(n)
    assert abs(total.std() / width - 1) < 5 * np.sqrt((2 + 6 * (resolution**2 / 2)) / (4 * n)) + 0.01


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"energies": np.array([0.0])}, "energy"),
        ({"energies": np.array([np.nan])}, "energy"),
        ({"starts": np.array([np.inf])}, "start"),
        ({"starts": np.zeros(2)}, "starts"),
        ({"depths": np.array([0.0, 2.0, 1.0])}, "depths"),
        ({"depths": np.array([0.0])}, "depths"),
        ({"radii": np.array([-1.0, 2.0])}, "radii"),
        ({"angles": 0}, "angles"),
        ({"target": "vax"}, "vax"),
    ],
)
def test_wrong_input_is_refused(change: dict[str, object], message: str) -> None:
    given = {
        "energies": np.array([1e3]),
        "starts": np.zeros(1),
        "depths": DEPTHS,
        "radii": np.array([0.0, 9.0]),
        "angles": 4,
        "target": "",
    }
    with pytest.raises(ValueError, match=message):
        native(SAMPLING).voxels(**(given | change), seed=1)  # type: ignore[arg-type]


def test_a_wrong_medium_is_refused() -> None:
    with pytest.raises(ValueError, match="z is"):
        kernels.GFlash(z=0, radiation_length=1, moliere_radius=1, critical_energy=1)
    with pytest.raises(ValueError, match="resolution"):
        kernels.GFlash(z=70, radiation_length=1, moliere_radius=1, critical_energy=1, frequency=1)
