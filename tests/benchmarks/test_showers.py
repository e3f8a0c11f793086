"""The showers' benchmark: engines give PyTorch's showers before they are timed, figures keep their floors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.cases import showers as case
from benchmarks.measure import Settings
from benchmarks.showers import data, engines
from mlcore.showers.dataset import Records
from mlcore.showers.models.gflash import GFlash, GFlashConfig, Medium
from mlcore.showers.models.neural import Batch
from mlcore.showers.models.vae import VAE, VAEConfig
from mlcore.showers.voxels import Voxels

GRID = Voxels.regular(layers=4, layer_depth=35, angles=4, rings=2, ring_width=12)


@pytest.mark.slow
def test_both_engines_are_checked_and_timed(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = VAE(VAEConfig(GRID, 1e3, 1e5, latent=4, hidden=16, channels=6)).eval()
    model.prepare(Batch(torch.full((8, *GRID.shape), 300.0), torch.full((8,), 1e4), torch.zeros(8, model.config.conditions)))
    found = engines.times(model, Settings(quick=True, cache=tmp_path))
    assert engines.OURS in found
    assert len(found) == 2
    assert all(measured.median > 0 for measured in found.values())


def test_quality_has_goals_and_floors(tmp_path: Path) -> None:
    """On small samples of GFlash, of which each is the truth of the others."""
    medium = Medium.of(data.CALORIMETER, resolution=0.13)
    model = GFlash(GFlashConfig(medium, GRID, threshold=0.5))
    energies = 1e3 * 100 ** np.linspace(0.01, 0.99, 120)
    parts = [Records.of(model.sample(energies, seed=seed), energies, GRID) for seed in (1, 2, 3)]
    samples = data.Samples(*parts)
    settings = Settings(quick=True, cache=tmp_path)
    report = case._report(model, samples, settings, with_floor=True)
    floors = {name: case._floor(getattr(report, name)) for name in case.FIGURES}
    assert case._report(model, samples, settings, with_floor=False).fpd.floor is None
    found = {comparison.task: comparison for comparison in case._quality("vae", report, samples, floors)}
    assert set(found) == {f"vae: {title}" for title in ("AUC, voxels", "AUC, features", "FPD x 1000", "KPD x 1000")}
    low = found["vae: AUC, voxels"]
    assert (low.bound, low.within) == (0.9, True)
    assert set(low.measured) == {"model", "full simulation again"}
    assert found["vae: FPD x 1000"].bound is None
