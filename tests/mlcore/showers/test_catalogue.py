"""Models by their files, whichever they are; samples at a glance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlcore.errors import DataError, InputError
from mlcore.filetypes import detect
from mlcore.showers.catalogue import load, model_types
from mlcore.showers.dataset import Records
from mlcore.showers.geometry import CALORIMETERS
from mlcore.showers.models.gflash import GFlash, GFlashConfig, Medium
from mlcore.showers.models.parametrised import Parametrised
from mlcore.showers.models.vae import VAE, VAEConfig
from mlcore.showers.overview import MOST_VOXELS, Overview, events, spread
from mlcore.showers.voxels import Voxels

GRID = Voxels.regular(layers=5, layer_depth=30.0, angles=4, rings=3, ring_width=14.0)


def gflash() -> GFlash:
    return GFlash(GFlashConfig(Medium.of(CALORIMETERS["dataset2"], resolution=0.13), GRID))


def records(count: int = 200) -> Records:
    energy = 1e3 * np.exp(np.random.default_rng(1).uniform(0, np.log(10), count))
    return Records.of(gflash().sample(energy, seed=1), energy, GRID, geometries=("dataset2",))


def test_every_model_is_found() -> None:
    assert {"gflash", "parametrised", "vae", "transformer", "distilled"} <= set(model_types())


def test_models_are_told_by_their_files(tmp_path: Path) -> None:
    sample = records()
    network = VAE(VAEConfig(GRID, 1e3, 1e4, geometries=("dataset2",), latent=4, hidden=8, channels=4))
    for number, model in enumerate((gflash(), Parametrised.fit(sample), network)):
        path = tmp_path / str(number)
        model.save(path)
        assert detect(path).kind == "shower-model"
        found = load(path)
        assert found.slug == model.slug
        assert found.voxels == GRID
        made = found.like(sample, seed=3)
        assert made.shape == sample.showers.shape
        assert (made == found.like(sample, seed=3)).all()
    assert load(tmp_path / "0").parameters == 0
    assert load(tmp_path / "2").parameters == network.parameters_count
    assert load(tmp_path / "2").geometries == ("dataset2",)


def test_what_is_no_model_is_told(tmp_path: Path) -> None:
    for number, content in enumerate((b"", b"{}", b"PK\x03\x04", b"\xff" * 100, b'{"model": "gnome"}', b"text")):
        path = tmp_path / str(number)
        path.write_bytes(content)
        with pytest.raises(InputError) as told:
            load(path)
        assert told.value.code == "showers.model"
        assert detect(path).kind != "shower-model"


def test_showers_of_other_grids_and_calorimeters_are_refused(tmp_path: Path) -> None:
    network = VAE(VAEConfig(GRID, 1e3, 1e4, geometries=("dataset2", "odd"), latent=4, hidden=8, channels=4))
    network.save(tmp_path / "model")
    found = load(tmp_path / "model")
    other = Voxels.regular(layers=4, layer_depth=30.0, angles=4, rings=3, ring_width=14.0)
    with pytest.raises(InputError, match="5 x 4 x 3 voxels, the dataset has 4 x 4 x 3"):
        found.like(Records.of(np.zeros((2, *other.shape)), [2e3, 3e3], other), seed=1)
    strange = Records.of(np.zeros((2, *GRID.shape)), [2e3, 3e3], GRID, geometries=("cld",))
    with pytest.raises(DataError, match="cld"):
        found.like(strange, seed=1)


def test_an_overview_is_that_of_all_showers_at_once() -> None:
    sample = records(300)
    whole, pieces = Overview.of([sample]), Overview.of(sample.batches(64))
    totals = sample.showers.sum(axis=(1, 2, 3), dtype=np.float64)
    assert whole.response == pytest.approx(totals / sample.energy)
    assert pieces.layers == pytest.approx(sample.showers.sum(axis=(2, 3)).mean(axis=0), rel=1e-5)
    deposits = sample.showers.sum(axis=(2, 3), dtype=np.float64)
    assert pieces.layers_error == pytest.approx(deposits.std(axis=0, ddof=1) / np.sqrt(300), rel=1e-6)
    areas = np.pi * np.diff(np.asarray(GRID.radii) ** 2)
    assert (pieces.rings * areas).sum() == pytest.approx(totals.mean())
    assert pieces.spectrum.sum() == (sample.showers > 0).sum()
    assert pieces.geometries == {"dataset2": 300}
    # GFlash was told 13 %/sqrt(E), to which the leakage out of so small a grid adds.
    assert 0.11 < whole.stochastic < 0.17
    with pytest.raises(InputError, match="no showers"):
        Overview.of([])


def test_events_hold_the_voxels_of_most_energy() -> None:
    grid = Voxels.regular(layers=20, layer_depth=1.0, angles=20, rings=10, ring_width=1.0)
    values = np.arange(grid.count, dtype=np.float32)[None]
    sample = Records.of(values, [1e3], grid)
    (event,) = events([("one", sample)])["samples"][0]["events"]
    assert event["voxels"] == grid.count - 1
    assert len(event["at"]) == MOST_VOXELS
    assert min(event["at"]) == grid.count - MOST_VOXELS
    assert event["mev"][-1] == float(f"{grid.count - 1:.4g}")


def test_rows_are_spread_over_the_energies() -> None:
    energy = np.array([5.0, 1.0, 4.0, 2.0, 3.0])
    assert spread(energy, 3).tolist() == [1, 4, 0]
    assert spread(energy, 9).tolist() == [1, 3, 4, 2, 0]
