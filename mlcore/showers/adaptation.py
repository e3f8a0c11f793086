"""A trained network adapted to another calorimeter, with fewer showers and steps than a training from scratch takes.

The new calorimeter gets the first of the model's spare places. What is trained is everything, or the biases alone, or of each
matrix a change of low rank, which is added to the matrix in the end: an adapted model is a model like any other.

Public names: `adapt`, and `learning_curve`, which compares it with training from scratch.

References
----------
P. Raikwar et al., "CaloDiT-2", arXiv:2509.07700 (a spare place among the conditions); E. Ben Zaken et al., "BitFit",
arXiv:2106.10199, Sec. 3 (biases); E. Hu et al., "LoRA", arXiv:2106.09685, Sec. 4.1 (low rank, begun with zero).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mlcore.errors import InputError
from mlcore.showers.dataset import Records
from mlcore.showers.metrics.features import features
from mlcore.showers.metrics.frechet import frechet_distance
from mlcore.showers.models.neural import NeuralModel
from mlcore.showers.models.scales import Scales
from mlcore.showers.training import BEST, CURVES, TrainingConfig, TrainingResult, train

Method = Literal["full", "bias", "low-rank"]
Model = TypeVar("Model", bound=NeuralModel)
COUNTS = (100, 300, 1_000, 3_000, 10_000)


@dataclass(frozen=True)
class Adapted(Generic[Model]):
    """An adapted model.

    Attributes
    ----------
    trained
        How many numbers were trained.
    result
        Of the training; where it was cancelled, the model is not adapted yet, and the same call goes on.
    """

    model: Model
    trained: int
    result: TrainingResult


def adapt(
    model: Model,
    records: Records,
    folder: Path,
    config: TrainingConfig | None = None,
    *,
    method: Method = "full",
    rank: int = 8,
    rescale: bool = True,
    cancelled: Callable[[], bool] = lambda: False,
    progress: Callable[[int, dict[str, float]], None] | None = None,
) -> Adapted[Model]:
    """Adapt a copy of a trained model to the calorimeter of some showers.

    Parameters
    ----------
    records
        Showers of one calorimeter in a grid of as many voxels as the model's; their sizes may be others.
    folder
        As of `mlcore.showers.training.train`; its ``model.safetensors`` is the adapted model in the end.
    method
        What is trained: "full" everything, "bias" biases and other vectors, "low-rank" a change of each matrix of rank `rank`.
    rescale
        Whether the scales of energies (`mlcore.showers.models.scales`) are taken from the new showers.

    Raises
    ------
    InputError
        There is no spare place, or the showers do not fit the model.
    """
    if method not in get_args(Method):
        raise InputError(f"there is no adaptation {method!r}", hint=f"Choose {', '.join(get_args(Method))}.")
    if rank < 1:
        raise InputError(f"a change of rank {rank} changes nothing", hint="Give 1 or more.")
    adapted = _widened(model, records)
    if rescale:
        for module in adapted.modules():
            if isinstance(module, Scales):
                module.fitted.zero_()
    _choose(adapted, method, rank, seed=(config or TrainingConfig()).seed)
    trained = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    result = train(adapted, records, folder, config, cancelled=cancelled, progress=progress)
    if result.finished:
        _merge(adapted)
        adapted.save(folder / BEST)
    return Adapted(adapted, trained, result)


def _widened(model: Model, records: Records) -> Model:
    """A copy of a model that knows the calorimeter of some records."""
    if len(records.geometries) != 1:
        raise InputError(
            f"the showers are of {len(records.geometries)} calorimeters", hint="Adapt to one at a time.", code="showers.geometry"
        )
    if records.voxels.shape != model.config.voxels.shape:
        raise InputError(
            f"the showers have {records.voxels.shape} voxels, the model {model.config.voxels.shape}",
            hint="Simulate or rebin the showers in a grid of as many layers, angles and rings as the model's.",
            code="showers.voxels",
        )
    name, known = records.geometries[0], model.config.geometries
    config = replace(model.config, voxels=records.voxels)
    if name not in known:
        if model.config.spare < 1:
            raise InputError(
                f"the model has no spare place for {name}",
                hint="Adapt the model that this one was made of, or train one with a spare place.",
                code="showers.spare",
            )
        config = replace(config, geometries=(*known, name), spare=model.config.spare - 1)
    adapted = type(model)(config)
    adapted.load_state_dict(model.state_dict())
    return adapted


class _LowRank(nn.Module):
    """A matrix plus the product of two narrow ones, the first of which begins with zero."""

    def __init__(self, shape: torch.Size, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        rows, columns = shape
        rank = min(rank, rows, columns)
        self.up = nn.Parameter(torch.zeros(rows, rank))
        self.down = nn.Parameter(torch.randn(rank, columns, generator=generator) / math.sqrt(columns))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.up @ self.down


def _choose(model: NeuralModel, method: Method, rank: int, seed: int) -> None:
    """Let the method's parameters alone be trained."""
    if method == "full":
        return
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and method == "bias" and (parameter.ndim == 1 or name.endswith("bias")))
    if method == "low-rank":
        generator = torch.Generator().manual_seed(seed)
        for layer in [module for module in model.modules() if isinstance(module, nn.Linear)]:
            parametrize.register_parametrization(layer, "weight", _LowRank(layer.weight.shape, rank, generator))


def _merge(model: NeuralModel) -> None:
    """Add changes to their matrices, and let everything be trained again."""
    for layer in [module for module in model.modules() if parametrize.is_parametrized(module)]:
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    for parameter in model.parameters():
        parameter.requires_grad_(True)


@dataclass(frozen=True)
class Point:
    """One training of a learning curve.

    Attributes
    ----------
    method
        "scratch", or how the model was adapted.
    showers, steps
        What it was trained on, and how long.
    fpd, fpd_error
        Frechet distance to showers that none was trained on.
    validation_loss
        Of the last step; comparable among trainings on as many showers.
    steps_to_scratch
        Steps after which an adaptation had the validation loss that training from scratch on as many showers ended with; None
        where it never had, and from scratch.
    """

    method: str
    showers: int
    steps: int
    fpd: float
    fpd_error: float
    validation_loss: float
    steps_to_scratch: int | None


@dataclass(frozen=True)
class LearningCurve:
    """Quality by showers, of adaptations and from scratch."""

    points: tuple[Point, ...]

    def showers_saved(self, method: str) -> float | None:
        """How many times fewer showers an adaptation takes to come as near as scratch on all of them; None if it never does."""
        scratch = max((point for point in self.points if point.method == "scratch"), key=lambda point: point.showers)
        enough = [point.showers for point in self.points if point.method == method and point.fpd <= scratch.fpd]
        return scratch.showers / min(enough) if enough else None

    def steps_saved(self, method: str) -> float | None:
        """How many times fewer steps an adaptation takes to come as near, with all showers; None if it does not."""
        last = max((point for point in self.points if point.method == method), key=lambda point: point.showers)
        return last.steps / last.steps_to_scratch if last.steps_to_scratch else None

    def to_json(self) -> dict[str, Any]:
        """Points and savings as plain values."""
        methods = sorted({point.method for point in self.points} - {"scratch"})
        return {
            "points": [asdict(point) for point in self.points],
            "showers_saved": {method: self.showers_saved(method) for method in methods},
            "steps_saved": {method: self.steps_saved(method) for method in methods},
        }


def learning_curve(
    model: NeuralModel,
    records: Records,
    test: Records,
    folder: Path,
    config: TrainingConfig,
    *,
    counts: Sequence[int] = COUNTS,
    methods: Sequence[Method] = ("full", "bias", "low-rank"),
    rank: int = 8,
    progress: Callable[[float, str], None] = lambda part, what: None,
) -> LearningCurve:
    """Adapt a model, and train one like it from scratch, on ever more showers of a calorimeter.

    A training that finds its folder finished is not repeated, so that the same call goes on where one ended.

    Parameters
    ----------
    records, test
        Showers to train on, of which the first of each count are taken, and showers to measure with.
    counts
        Those that there are enough showers for are taken.

    Raises
    ------
    InputError
        There are fewer showers than the least count, too few to measure with, or none for the validation loss.
    """
    numbers = [count for count in sorted(counts) if count <= len(records)]
    if not numbers or len(test) < 50 or int(numbers[0] * config.validation) < 1:
        raise InputError(
            f"{len(records)} showers to train on and {len(test)} to measure with are too few",
            hint=f"Give at least {min(counts)} and 50, and a share for the validation.",
            code="showers.few",
        )
    truth = features(test.energy, test.showers, test.voxels, threshold=model.config.threshold).table()
    points: list[Point] = []
    for number, count in enumerate(numbers):
        goal = math.inf
        ways: tuple[Method | Literal["scratch"], ...] = ("scratch", *methods)
        for place, method in enumerate(ways):
            progress((number + place / (1 + len(methods))) / len(numbers), f"{method}, {count} showers")
            own, rows = folder / f"{method}-{count}", records[:count]
            if method == "scratch":
                made = _fresh(_widened(model, records), config.seed)
                train(made, rows, own, config)
            else:
                made = adapt(model, rows, own, config, method=method, rank=rank).model
            losses = _losses(own / CURVES)
            if method == "scratch":
                goal = losses[-1][1]
            reached = [step for step, loss in losses if loss <= goal]
            showers = made.sample(
                test.energy,
                seed=config.seed,
                theta=test.theta,
                phi=test.phi,
                particle=test.particle,
                geometry=records.geometries[0],
            )
            table = features(test.energy, showers, test.voxels, threshold=model.config.threshold).table()
            fpd = frechet_distance(truth, table, least=max(len(test) // 3, 10), most=len(test))
            soonest = min(reached) if reached and method != "scratch" else None
            points.append(Point(method, count, config.steps, fpd.value, fpd.error, losses[-1][1], soonest))
    progress(1.0, "done")
    return LearningCurve(tuple(points))


def _fresh(model: Model, seed: int) -> Model:
    """One of the same sizes that has learnt nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return type(model)(model.config)


def _losses(curves: Path) -> list[tuple[int, float]]:
    """Steps of a training and their validation losses."""
    with curves.open(newline="", encoding="utf-8") as file:
        return [(int(row["step"]), float(row["validation"])) for row in csv.DictReader(file)]
