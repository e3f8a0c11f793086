"""The parametrised voxel model: fitted to showers of GFlash, whose figures it must have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlcore.errors import InputError
from mlcore.showers.dataset import PHOTON, Records
from mlcore.showers.geometry import MATERIALS
from mlcore.showers.models.gflash import GFlash, GFlashConfig, Medium
from mlcore.showers.models.parametrised import Parametrised, ParametrisedConfig
from mlcore.showers.voxels import Voxels

GRID = Voxels.regular(layers=8, layer_depth=18, angles=6, rings=4, ring_width=8)
MEDIUM = Medium.of_layers(MATERIALS["W"], 1.4, MATERIALS["Si"], 0.3, resolution=0.2)


def energies(count: int, seed: int) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).uniform(np.log(1e3), np.log(1e5), count))


@pytest.fixture(scope="module")
def records() -> Records:
    given = energies(6_000, 1)
    return Records.of(GFlash(GFlashConfig(MEDIUM, GRID)).sample(given, seed=1), given, GRID)


@pytest.fixture(scope="module")
def model(records: Records) -> Parametrised:
    seen: list[float] = []
    fitted = Parametrised.fit(records, ParametrisedConfig(energy_bins=8), progress=seen.append)
    assert seen[-1] == 1
    return fitted


def test_means_and_widths_are_those_of_the_showers(model: Parametrised, records: Records) -> None:
    """Of response and layers' shares: means within 3 % of the largest, widths within 15 %; 6000 showers have 1 % of chance."""
    made = model.sample(records.energy, seed=2)
    for truth, sample in (
        (records.showers.sum(axis=(1, 2, 3)) / records.energy, made.sum(axis=(1, 2, 3)) / records.energy),
        *(
            (records.showers[:, layer].sum(axis=(1, 2)) / records.energy, made[:, layer].sum(axis=(1, 2)) / records.energy)
            for layer in range(1, 5)
        ),
    ):
        assert sample.mean() == pytest.approx(truth.mean(), rel=0.03)
        assert sample.std() == pytest.approx(truth.std(), rel=0.15)


def test_layers_have_the_correlations_of_the_showers(model: Parametrised, records: Records) -> None:
    """Early and late layers share a shower's energy: the correlation within 0.1 of a strongly negative one."""
    made = model.sample(records.energy, seed=2)

    def correlation(showers: np.ndarray) -> float:
        layers = showers.sum(axis=(2, 3)) / showers.sum(axis=(1, 2, 3))[:, None]
        return float(np.corrcoef(layers[:, 1], layers[:, 5])[0, 1])

    assert correlation(records.showers) < -0.4
    assert correlation(made) == pytest.approx(correlation(records.showers), abs=0.1)


def test_shapes_and_their_fluctuations_are_those_of_the_showers(model: Parametrised, records: Records) -> None:
    """Mean shares of the rings of the layer of the maximum within 0.01, their widths within 25 %."""
    made = model.sample(records.energy, seed=3)

    def rings(showers: np.ndarray) -> np.ndarray:
        layer = showers[:, 2].sum(axis=1)
        layer = layer[layer.sum(axis=1) > 0]  # a few showers have passed it by
        shares: np.ndarray = layer / layer.sum(axis=1, keepdims=True)
        return shares

    truth, sample = rings(records.showers), rings(made)
    np.testing.assert_allclose(sample.mean(axis=0), truth.mean(axis=0), atol=0.01)
    np.testing.assert_allclose(sample.std(axis=0), truth.std(axis=0), rtol=0.25)


def test_between_energies_the_profile_is_interpolated(model: Parametrised) -> None:
    """The mean depth at a single energy between the bins' middles within 3 % of GFlash's own."""
    single = np.full(3_000, 7_300.0)
    truth, made = GFlash(GFlashConfig(MEDIUM, GRID)).sample(single, seed=9), model.sample(single, seed=9)
    depth = [float((rows.sum(axis=(0, 2, 3)) * np.arange(8)).sum() / rows.sum()) for rows in (truth, made)]
    assert depth[1] == pytest.approx(depth[0], rel=0.03)


def test_a_saved_model_makes_the_same_showers(model: Parametrised, tmp_path: Path) -> None:
    model.save(tmp_path / "model.npz")
    again = Parametrised.load(tmp_path / "model.npz")
    assert again.config == model.config
    given = energies(50, 3)
    np.testing.assert_array_equal(again.sample(given, seed=4), model.sample(given, seed=4))
    assert (again.sample(given, seed=5) != model.sample(given, seed=4)).any()
    assert model.parameters == sum(array.size for array in model.arrays.values())


def test_files_that_are_no_model_are_refused(model: Parametrised, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(b"PK nothing")
    with pytest.raises(InputError, match="no parametrised model"):
        Parametrised.load(path)
    np.savez(path, a=np.array([{}], dtype=object))
    with pytest.raises(InputError):
        Parametrised.load(path)
    with pytest.raises(InputError, match="do not fit"):
        Parametrised(model.config, Voxels.regular(layers=3, layer_depth=1, angles=1, rings=1, ring_width=1), model.arrays)


def test_wrong_input_is_refused(model: Parametrised, records: Records) -> None:
    with pytest.raises(InputError, match="outside of what"):
        model.sample([1e7], seed=1)
    with pytest.raises(InputError, match="above 0"):
        model.sample([-1.0], seed=1)
    with pytest.raises(InputError, match="too few"):
        Parametrised.fit(records[:10])
    mixed = Records.of(records.showers[:2], records.energy[:2], GRID, particle=[11, PHOTON])
    with pytest.raises(InputError, match="one particle"):
        Parametrised.fit(mixed)
    with pytest.raises(InputError, match="knots"):
        ParametrisedConfig(knots=1)


def test_few_showers_and_empty_layers_can_be_fitted() -> None:
    """Fewer showers than variables, and a layer that none reaches."""
    given = energies(40, 7)
    showers = GFlash(GFlashConfig(MEDIUM, GRID)).sample(given, seed=1)
    showers[:, -1] = 0
    made = Parametrised.fit(Records.of(showers, given, GRID)).sample(given, seed=1)
    assert np.isfinite(made).all()
    assert (made[:, -1] == 0).all()
    assert made.sum() == pytest.approx(showers.sum(), rel=0.2)
