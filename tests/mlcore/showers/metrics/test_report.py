"""The report of all measures: floors, JSON, figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mlcore.errors import InputError
from mlcore.showers.geometry import MATERIALS
from mlcore.showers.metrics.classifier import ClassifierConfig
from mlcore.showers.metrics.figures import draw_profiles, draw_report, save_pdf
from mlcore.showers.metrics.report import EvaluationConfig, Report, Sample, evaluate
from mlcore.showers.metrics.timing import Timing
from mlcore.showers.models.gflash import GFlash, GFlashConfig, Medium
from mlcore.showers.voxels import Voxels

GRID = Voxels.regular(layers=3, layer_depth=50, angles=4, rings=3, ring_width=10)
SMALL = EvaluationConfig(
    threshold=0.1,
    classifier=ClassifierConfig(hidden=24, epochs=4, batch=200, learning_rate=1e-3),
    frechet_least=300,
    frechet_most=500,
    frechet_batches=3,
    kernel_size=300,
    bootstrap_rounds=5,
)


def sample(seed: int, *, resolution: float = 0.13, count: int = 500) -> Sample:
    model = GFlash(GFlashConfig(Medium.of_layers(MATERIALS["W"], 1.4, MATERIALS["Si"], 0.3, resolution=resolution), GRID))
    energies = np.exp(np.random.default_rng(seed).uniform(np.log(1e3), np.log(1e5), count))
    return Sample(energies, model.sample(energies, seed=seed))


@pytest.fixture(scope="module")
def report() -> Report:
    seen: list[float] = []
    result = evaluate(
        sample(1),
        sample(2, resolution=0.6),
        GRID,
        second_truth=sample(3),
        training=sample(4),
        config=SMALL,
        parameters=7,
        timings=[Timing(1, 0.5, 0.1, 3)],
        full_simulation_ms=250.0,
        progress=lambda share, what: seen.append(share),
    )
    assert seen == sorted(seen)
    assert seen[-1] == 1
    return result


def test_a_worse_model_is_worse_than_the_floor(report: Report) -> None:
    """A resolution of 0.6 against 0.13 shows in every measure; two samples of the truth are alike."""
    for estimate in (report.auc_low, report.auc_high, report.fpd, report.kpd):
        assert estimate is not None
        assert estimate.floor is not None
        assert estimate.value > estimate.floor
        assert estimate.error > 0
    assert report.neighbours.precision.value < (report.neighbours.precision.floor or 0)
    total = report.comparisons[0]
    assert total.separation.value > 3 * (total.separation.floor or 1)
    assert report.memorisation is not None
    assert report.memorisation.score > -3
    assert {"total energy / incident energy", "energy", "centre x", "width y", "radius", "sparsity", "voxel energy"} <= set(
        report.mean_separation
    )


def test_a_report_is_json_and_figures(report: Report, tmp_path: Path) -> None:
    report.save(tmp_path / "report.json")
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["fpd"]["floor"] == report.fpd.floor
    assert found["parameters"] == 7
    assert found["timings"][0]["milliseconds"] == 0.5
    assert len(found["comparisons"]) == len(report.comparisons) == 1 + 3 * 7 + 1
    names = [name for name, _ in draw_report(report, only=["layer 2 width x", "voxel energy"])]
    assert names == ["summary", "layer 2 width x", "voxel energy"]
    few = Report(**{**vars(report), "comparisons": report.comparisons[:2]})
    save_pdf(few, tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    showers = GRID.checked(sample(5, count=20).showers)
    figure = draw_profiles(showers, showers, GRID)
    assert [axes.get_xlabel() for axes in figure.axes[2:]] == ["depth (mm)", "radius (mm)"]
    figure.savefig(tmp_path / "profiles.png")


def test_other_energies_are_refused() -> None:
    high = sample(2)
    with pytest.raises(InputError, match="other energies"):
        evaluate(sample(1), Sample(np.asarray(high.energies) * 10, high.showers), GRID, config=SMALL)


def test_showers_of_another_geometry_are_refused() -> None:
    with pytest.raises(InputError, match="showers of the model have 4 voxels"):
        evaluate(sample(1), Sample([1.0], np.ones((1, 4))), GRID, config=SMALL)
