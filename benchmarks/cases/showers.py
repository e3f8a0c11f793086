"""Models of showers: quality against the full simulation with its floor, time of a shower, GFlash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.measure import Comparison, Measured, Settings, interleaved
from benchmarks.showers import data, engines
from mlcore.showers import shipped
from mlcore.showers.metrics.classifier import ClassifierConfig
from mlcore.showers.metrics.estimate import Estimate
from mlcore.showers.metrics.report import EvaluationConfig, Report, Sample, evaluate
from mlcore.showers.models.gflash import GFlash, GFlashConfig, Medium
from mlcore.showers.models.neural import NeuralModel
from mlcore.showers.models.parametrised import Parametrised

TITLE = "Showers"
IN_BRIEF = True
ENERGY = 50e3
GOALS: Mapping[str, tuple[float, float]] = {"transformer": (0.62, 0.65), "distilled": (0.72, 0.80), "vae": (0.9, 0.9)}
"""Of the AUC, low and high."""
FIGURES: Mapping[str, tuple[str, float]] = {
    "auc_low": ("AUC, voxels", 1),
    "auc_high": ("AUC, features", 1),
    "fpd": ("FPD x 1000", 1e3),
    "kpd": ("KPD x 1000", 1e3),
}
"""Members of a report: their titles, and what they are multiplied by."""


def run(settings: Settings) -> list[Comparison]:
    """The times first, then the quality."""
    networks = {network.slug: network for network in map(shipped.load_network, shipped.SHIPPED)}
    results = [_gflash_time(settings)]
    for slug, network in networks.items():
        print(f"  {slug}: time ...", flush=True)
        results += _times(slug, network, settings)
    samples = data.samples(settings)
    models: dict[str, Any] = {"gflash": _gflash(samples), "parametrised": Parametrised.fit(samples.training), **networks}
    floors: dict[str, Estimate | None] = {}
    for slug, model in models.items():
        print(f"  {slug}: quality ...", flush=True)
        report = _report(model, samples, settings, with_floor=not floors)
        floors = floors or {name: _floor(getattr(report, name)) for name in FIGURES}
        results += _quality(slug, report, samples, floors)
    return results


def _floor(estimate: Estimate | None) -> Estimate | None:
    """The full simulation's own figure, which is the same for every model."""
    if estimate is None or estimate.floor is None:
        return None
    return Estimate(estimate.floor, estimate.floor_error or 0.0)


def _gflash(samples: data.Samples) -> GFlash:
    """With the response of the full simulation; its formulas say nothing of what lies outside of the voxels."""
    few = samples.training[:500]
    medium = Medium.of(data.CALORIMETER, resolution=0.13)
    config = GFlashConfig(medium, few.voxels, threshold=data.CALORIMETER.threshold)
    made = GFlash(config).sample(few.energy, seed=1)
    sums = [float((showers.sum(axis=(1, 2, 3), dtype=float) / few.energy).mean()) for showers in (few.showers, made)]
    return GFlash(replace(config, response=sums[0] / sums[1]))


def _gflash_time(settings: Settings) -> Comparison:
    medium = Medium.of(data.CALORIMETER, resolution=0.13)
    model = GFlash(GFlashConfig(medium, data.CALORIMETER.voxels))
    spots, _ = model.spots([ENERGY], seed=1)
    measured = interleaved({"ours": lambda: model.spots([ENERGY], seed=1)}, settings, items=1, scale=1e3)
    return Comparison(
        "GFlash, 50 GeV with its spots", "at most 1 ms on one core", "ms", "ours", measured, bound=1.0, peers=(),
        facts={"spots": str(len(spots)), "calorimeter": data.CALORIMETER.title},
    )  # fmt: skip


def _times(slug: str, network: NeuralModel, settings: Settings) -> list[Comparison]:
    measured = engines.times(network, settings)
    facts = {"parameters": str(network.parameters_count), "threads": "1"}
    results = [
        Comparison(
            f"{slug}: a shower in a call",
            "no slower than ONNX Runtime's C API",
            "ms",
            engines.OURS,
            measured,
            least_ratio=1.0,
            facts=facts,
            figure="a shower",
            label=slug,
        )
    ]
    if slug == "distilled":
        ours = {engines.OURS: measured[engines.OURS]}
        results.append(Comparison(f"{slug}: time", "at most 5 ms on one core", "ms", engines.OURS, ours, bound=5.0, peers=()))
        full = data.cpu_milliseconds(settings, ENERGY)
        both = {**ours, "full simulation, 50 GeV": Measured(full, full, full)}
        results.append(
            Comparison(
                f"{slug}: against the full simulation", "at least 100 times faster", "ms", engines.OURS, both, least_ratio=100
            )
        )
    return results


def _report(model: Any, samples: data.Samples, settings: Settings, *, with_floor: bool) -> Report:
    test, second = samples.test, samples.second
    count = min(len(test), len(second))
    config = EvaluationConfig(
        threshold=data.CALORIMETER.threshold,
        classifier=ClassifierConfig(epochs=2) if settings.quick else ClassifierConfig(batch=min(1000, max(count // 10, 10))),
        frechet_least=max(count // 3, 10),
        frechet_most=count,
        kernel_size=count,
        bootstrap_rounds=5 if settings.quick else 50,
    )
    made = model.sample(test.energy, seed=1)
    training = samples.training[: 2 * count]
    return evaluate(
        Sample(test.energy, test.showers),
        Sample(test.energy, made),
        test.voxels,
        second_truth=Sample(second.energy, second.showers) if with_floor else None,
        training=Sample(training.energy, training.showers),
        config=config,
    )


def _quality(slug: str, report: Report, samples: data.Samples, floors: Mapping[str, Estimate | None]) -> list[Comparison]:
    low, high = GOALS.get(slug, (None, None))
    goals = {"auc_low": low, "auc_high": high}
    facts = {
        "showers": f"{len(samples.test)} of each",
        "separation, mean of layers' energies": f"{report.mean_separation.get('energy', float('nan')):.4f}",
        "coverage": f"{report.neighbours.coverage.value:.3f}",
    }
    results = []
    for name, (title, scale) in FIGURES.items():
        estimate, floor, goal = getattr(report, name), floors.get(name), goals.get(name)
        if estimate is None:
            continue
        measured = {"model": _spread(estimate, scale)}
        if floor is not None:
            measured["full simulation again"] = _spread(floor, scale)
        words = f"at most {goal:g}" if goal is not None else "reported, beside its floor"
        results.append(Comparison(f"{slug}: {title}", words, "", "model", measured, bound=goal, peers=(), facts=facts))
    return results


def _spread(estimate: Estimate, scale: float) -> Measured:
    middle, half = scale * estimate.value, scale * estimate.error if np.isfinite(estimate.error) else 0.0
    return Measured(middle, middle - half, middle + half)
