"""All measures of one model on one sample, as a dataclass, as JSON and as figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.errors import InputError
from mlcore.showers.metrics.classifier import ClassifierConfig, ClassifierResult, low_level, train_classifier
from mlcore.showers.metrics.estimate import Estimate
from mlcore.showers.metrics.features import Features, features
from mlcore.showers.metrics.frechet import frechet_distance
from mlcore.showers.metrics.kernel_distance import kernel_distance
from mlcore.showers.metrics.memorisation import Memorisation, memorisation
from mlcore.showers.metrics.neighbours import NeighbourMeasures, neighbour_measures
from mlcore.showers.metrics.separation import Comparison, compare, compare_features
from mlcore.showers.metrics.timing import Timing
from mlcore.showers.voxels import Showers, Voxels


@dataclass(frozen=True)
class Sample:
    """Showers and the energies of their particles (MeV)."""

    energies: npt.ArrayLike
    showers: npt.NDArray[np.floating]


@dataclass(frozen=True)
class EvaluationConfig:
    """What is measured, and how much of it.

    Attributes
    ----------
    threshold
        Voxels below it count as empty in both samples, MeV.
    classifiers
        Whether networks are trained; they take most of the time.
    frechet_least, frechet_most
        Sizes of FPD's samples; `None` takes the usual 20 000 and 50 000.
    kernel_size
        Showers of each of KPD's batches.
    most_neighbours
        Showers of each sample among which neighbours are looked for.
    """

    threshold: float = 0.0
    classifiers: bool = True
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    frechet_least: int = 20_000
    frechet_most: int = 50_000
    frechet_batches: int = 20
    kernel_size: int = 5_000
    most_neighbours: int = 10_000
    bootstrap_rounds: int = 50
    seed: int = 1


@dataclass(frozen=True)
class Report:
    """The figures of a model; each `Estimate` has its error, and its floor where a second sample of the truth was given.

    Attributes
    ----------
    truth_showers, model_showers, second_truth_showers
        How many were compared; the last is 0 without a floor.
    comparisons
        Histograms and separation powers of every observable.
    auc_low, auc_high
        Of classifiers on voxels and on high-level features; None where none were trained.
    fpd, kpd
        Not multiplied by 1000, as tables often are.
    memorisation
        None where no training sample was given.
    parameters, timings, full_simulation_ms
        Of the model, where given; and what the full simulation takes for a shower.
    """

    truth_showers: int
    model_showers: int
    second_truth_showers: int
    comparisons: list[Comparison]
    auc_low: Estimate | None
    auc_high: Estimate | None
    fpd: Estimate
    kpd: Estimate
    neighbours: NeighbourMeasures
    memorisation: Memorisation | None
    parameters: int | None = None
    timings: list[Timing] = field(default_factory=list)
    full_simulation_ms: float | None = None

    @property
    def mean_separation(self) -> dict[str, float]:
        """Separation power by kind of observable, averaged over layers."""
        kinds: dict[str, list[float]] = {}
        for comparison in self.comparisons:
            words = comparison.name.split()
            kind = " ".join(words[2:]) if words[0] == "layer" else comparison.name
            kinds.setdefault(kind, []).append(comparison.separation.value)
        return {kind: float(np.mean(values)) for kind, values in kinds.items()}

    def to_json(self) -> str:
        """Everything, as JSON."""

        def plain(value: Any) -> Any:
            if isinstance(value, np.ndarray):
                return value.tolist()
            raise TypeError(f"{type(value).__name__} has no form in JSON")

        return json.dumps(asdict(self) | {"mean_separation": self.mean_separation}, default=plain, allow_nan=False, indent=1)

    def save(self, path: Path | str) -> None:
        """Write the JSON."""
        Path(path).write_text(self.to_json(), encoding="utf-8")


def evaluate(
    truth: Sample,
    model: Sample,
    voxels: Voxels,
    *,
    second_truth: Sample | None = None,
    training: Sample | None = None,
    config: EvaluationConfig | None = None,
    parameters: int | None = None,
    timings: list[Timing] | None = None,
    full_simulation_ms: float | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> Report:
    """Measure a model's showers against the truth.

    Parameters
    ----------
    truth
        Showers of the full simulation that the model was not trained on.
    model
        The model's, whose particles have energies of the same spectrum.
    second_truth
        More of the full simulation: what it gives in the model's place is each figure's floor.
    training
        What the model was trained on, for the memorisation check.
    progress
        Called with the share that is done and what comes next.

    Raises
    ------
    InputError
        Samples that do not fit the voxels or each other.
    """
    config = config or EvaluationConfig()
    say = progress or (lambda share, what: None)
    say(0.0, "features")
    samples: list[tuple[Showers, Features]] = []
    for name, sample in (
        ("the truth", truth),
        ("the model", model),
        ("the second truth", second_truth),
        ("the training", training),
    ):
        if sample is None:
            continue
        showers = voxels.checked(sample.showers, what=f"showers of {name}")
        samples.append((showers, features(sample.energies, showers, voxels, threshold=config.threshold)))
    (truth_showers, of_truth), (model_showers, of_model) = samples[:2]
    _check_spectra(of_truth, of_model)
    second = samples[2] if second_truth is not None else None
    known = samples[-1][1] if training is not None else None

    say(0.05, "histograms")
    rounds, seed = config.bootstrap_rounds, config.seed
    of_second = None if second is None else second[1]
    comparisons = compare_features(of_truth, of_model, voxels, of_second, rounds=rounds, seed=seed)
    comparisons.append(_voxel_spectrum(truth_showers, model_showers, None if second is None else second[0], config))

    tables = [of_truth.table(), of_model.table()] + ([] if of_second is None else [of_second.table()])

    def both(measure: Callable[[npt.NDArray[np.float64], npt.NDArray[np.float64]], Estimate]) -> Estimate:
        value = measure(tables[0], tables[1])
        return value.with_floor(measure(tables[0], tables[2])) if len(tables) == 3 else value

    say(0.1, "FPD")
    sizes = {"least": config.frechet_least, "most": config.frechet_most, "batches": config.frechet_batches}
    fpd = both(lambda a, b: frechet_distance(a, b, **sizes))
    say(0.25, "KPD")
    kpd = both(lambda a, b: kernel_distance(a, b, size=config.kernel_size))
    say(0.3, "neighbours")
    near = neighbour_measures(tables[0], tables[1], most=config.most_neighbours)
    if len(tables) == 3:
        floor = neighbour_measures(tables[0], tables[2], most=config.most_neighbours)
        near = NeighbourMeasures(
            *(getattr(near, name).with_floor(getattr(floor, name)) for name in ("precision", "recall", "density", "coverage"))
        )
    copied = None if known is None else memorisation(known.table(), tables[0], tables[1], most=config.most_neighbours)

    auc_low = auc_high = None
    if config.classifiers:

        def part(start: float, end: float, what: str) -> Callable[[float], None]:
            say(start, what)
            return lambda share: say(start + (end - start) * share, what)

        def trained(
            first: npt.NDArray[np.floating], other: npt.NDArray[np.floating], start: float, end: float, what: str
        ) -> ClassifierResult:
            return train_classifier(first, other, config.classifier, progress=part(start, end, what))

        auc_high = trained(tables[0], tables[1], 0.4, 0.5, "classifier of features").auc
        if len(tables) == 3:
            auc_high = auc_high.with_floor(trained(tables[0], tables[2], 0.5, 0.6, "its floor").auc)
        low = low_level(of_truth.incident, truth_showers, threshold=config.threshold)
        low_model = low_level(of_model.incident, model_showers, threshold=config.threshold)
        auc_low = trained(low, low_model, 0.6, 0.8, "classifier of voxels").auc
        if second is not None:
            other = low_level(second[1].incident, second[0], threshold=config.threshold)
            auc_low = auc_low.with_floor(trained(low, other, 0.8, 1.0, "its floor").auc)
    say(1.0, "done")
    return Report(
        truth_showers=len(of_truth),
        model_showers=len(of_model),
        second_truth_showers=0 if of_second is None else len(of_second),
        comparisons=comparisons,
        auc_low=auc_low,
        auc_high=auc_high,
        fpd=fpd,
        kpd=kpd,
        neighbours=near,
        memorisation=copied,
        parameters=parameters,
        timings=list(timings or []),
        full_simulation_ms=full_simulation_ms,
    )


def _check_spectra(truth: Features, model: Features) -> None:
    """Samples of other energies would be told apart by those alone."""
    ends = [np.quantile(np.log(sample.incident), [0.05, 0.5, 0.95]) for sample in (truth, model)]
    if np.abs(ends[0] - ends[1]).max() > 0.5:
        low, high = (tuple(float(f"{np.exp(value) / 1000:.3g}") for value in quantiles) for quantiles in ends)
        raise InputError(
            f"the model's particles have other energies than the truth's: 5, 50 and 95 % lie below {high} and {low} GeV",
            hint="Sample the model at the truth's energies.",
            code="showers.spectrum",
        )


def _voxel_spectrum(truth: Showers, model: Showers, second: Showers | None, config: EvaluationConfig) -> Comparison:
    """Energies of the voxels that have any."""
    least = config.threshold or float(truth[truth > 0].min(initial=1.0))

    def filled(showers: Showers) -> npt.NDArray[np.float64]:
        return showers[showers >= least].astype(np.float64)

    edges = np.geomspace(least, max(float(truth.max(initial=0.0)), least * 1.001), 51)
    arrays = [filled(truth), filled(model), None if second is None else filled(second)]
    assert arrays[0] is not None and arrays[1] is not None  # noqa: S101, PT018  (for the type checker)
    if not len(arrays[0]) or not len(arrays[1]):
        raise InputError("one of the samples has no energy in any voxel", hint="Check the units, MeV, and the threshold.")
    return compare(
        "voxel energy", "MeV", edges, arrays[0], arrays[1], arrays[2], rounds=config.bootstrap_rounds, seed=config.seed
    )
