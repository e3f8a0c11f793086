"""The steps that a feature goes through, and the numbers each of them needs.

A step is a frozen dataclass whose fields are what `Pipeline.to_json` writes. Fields that are None are found in the data.
To add one: a class here with its line in `STEPS`, and its operation in `numpy_backend`, `onnx_export` and `torch_export`.
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from mlcore.batches.blocks import Array
from mlcore.batches.transforms.fitting import Statistics
from mlcore.errors import InputError

CODE = "batches.transform"
MAX_CATEGORIES = 1024
MAX_KNOTS = 4096


def wrong(message: str, hint: str = "") -> InputError:
    """An error of this package."""
    return InputError(message, hint=hint, code=CODE)


def _finite(step: Step, name: str, value: Any) -> float:
    number = not isinstance(value, bool) and isinstance(value, int | float | np.number)
    if number and abs(value) <= sys.float_info.max:  # false for NaN, and true of no whole number that is too large
        return float(value)
    raise wrong(f"{name} of {type(step).__name__} has {str(value)[:40]!r}, which is no finite number")


def _number(step: Step, name: str) -> None:
    """Hold a field to a finite float or None."""
    value = getattr(step, name)
    if value is None:
        return
    object.__setattr__(step, name, _finite(step, name, value))


def _numbers(step: Step, name: str, most: int) -> None:
    """Hold a field to a tuple of finite floats in ascending order, or None."""
    values = getattr(step, name)
    if values is None:
        return
    if not isinstance(values, list | tuple | np.ndarray) or not 1 <= len(values) <= most:
        raise wrong(f"{name} of {type(step).__name__} is no list of 1 to {most} numbers")
    object.__setattr__(step, name, tuple(_finite(step, name, value) for value in values))


@dataclass(frozen=True)
class Step(ABC):
    """One step of a feature."""

    operation: ClassVar[str] = ""
    """How the backends compute it: ``"affine"``, ``"log"``, ``"clip"``, ``"impute"``, ``"curve"`` or ``"onehot"``."""

    @property
    def statistic(self) -> str | None:
        """What it has to be told of the data: ``"moments"``, ``"range"``, ``"sample"`` or ``"categories"``; None if nothing."""
        return None

    def fitted(self, found: Statistics) -> Self:
        """The step with the numbers that were found."""
        return self

    @abstractmethod
    def constants(self) -> tuple[Array, ...]:
        """What its operation needs, float64, each of shape (n,)."""


@dataclass(frozen=True)
class Standardize(Step):
    """``(x - mean) / std``; a column of one value becomes 0.

    Attributes
    ----------
    mean, std
        Of the data where they are None: the (weighted) mean and the root of the mean squared distance from it.
    """

    mean: float | None = None
    std: float | None = None
    operation: ClassVar[str] = "affine"

    def __post_init__(self) -> None:
        _number(self, "mean")
        _number(self, "std")
        if (self.mean is None) != (self.std is None) or (self.std is not None and self.std <= 0):
            raise wrong("Standardize takes a mean and a std above 0, or neither")

    @property
    def statistic(self) -> str | None:
        return "moments" if self.mean is None else None

    def fitted(self, found: Statistics) -> Self:
        return replace(self, mean=found.mean, std=found.std or 1.0)

    def constants(self) -> tuple[Array, ...]:
        return np.array([self.mean]), np.array([self.std])


@dataclass(frozen=True)
class MinMax(Step):
    """``(x - low) / (high - low)``: from 0 to 1 over the range of the data; a column of one value becomes 0.

    Attributes
    ----------
    low, high
        Of the data where they are None; weights do not count.
    """

    low: float | None = None
    high: float | None = None
    operation: ClassVar[str] = "affine"

    def __post_init__(self) -> None:
        _number(self, "low")
        _number(self, "high")
        if (self.low is None) != (self.high is None) or (self.low is not None and self.high is not None and self.low > self.high):
            raise wrong("MinMax takes a low and a high that is not below it, or neither")

    @property
    def statistic(self) -> str | None:
        return "range" if self.low is None else None

    def fitted(self, found: Statistics) -> Self:
        return replace(self, low=found.low, high=found.high)

    def constants(self) -> tuple[Array, ...]:
        low, high = float(self.low or 0), float(self.high or 0)
        # The two may lie so far apart that their distance is no number; 0 would divide by nothing.
        width = min(high - low, np.finfo(float).max)
        return np.array([low]), np.array([width or 1.0])


@dataclass(frozen=True)
class Log(Step):
    """``log1p(x + shift)``; NaN where ``x + shift`` is below -1.

    Attributes
    ----------
    shift
        Added first; ``-1`` makes it the plain logarithm.
    """

    shift: float = 0.0
    operation: ClassVar[str] = "log"

    def __post_init__(self) -> None:
        if self.shift is None:
            raise wrong("shift of Log is a number")
        _number(self, "shift")

    def constants(self) -> tuple[Array, ...]:
        return (np.array([self.shift]),)


@dataclass(frozen=True)
class Clip(Step):
    """Values below ``low`` become ``low``, those above ``high`` become ``high``; NaN stays.

    Attributes
    ----------
    low, high
        None for no limit; one of them is given.
    """

    low: float | None = None
    high: float | None = None
    operation: ClassVar[str] = "clip"

    def __post_init__(self) -> None:
        _number(self, "low")
        _number(self, "high")
        if self.low is None and self.high is None:
            raise wrong("Clip takes a low, a high or both")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise wrong("the low of Clip is above its high")

    def constants(self) -> tuple[Array, ...]:
        return np.array([-np.inf if self.low is None else self.low]), np.array([np.inf if self.high is None else self.high])


@dataclass(frozen=True)
class Impute(Step):
    """Something in place of NaN.

    Attributes
    ----------
    value
        A number, ``"mean"`` or ``"median"``; the median is that of `Quantile`'s sample.
    found
        What ``"mean"`` or ``"median"`` was in the data, None before.
    """

    value: float | str = "mean"
    found: float | None = None
    operation: ClassVar[str] = "impute"

    def __post_init__(self) -> None:
        if self.value is None or (isinstance(self.value, str) and self.value not in {"mean", "median"}):
            raise wrong(f"the value of Impute is {self.value!r}", 'Give a number, "mean" or "median".')
        if not isinstance(self.value, str):
            _number(self, "value")
        _number(self, "found")

    @property
    def statistic(self) -> str | None:
        if not isinstance(self.value, str) or self.found is not None:
            return None
        return "moments" if self.value == "mean" else "sample"

    def fitted(self, found: Statistics) -> Self:
        return replace(self, found=found.mean if self.value == "mean" else float(found.quantiles(np.array([0.5]))[0]))

    def constants(self) -> tuple[Array, ...]:
        return (np.array([self.found if isinstance(self.value, str) else self.value], float),)


@dataclass(frozen=True)
class Quantile(Step):
    """A rising curve that gives the data a normal distribution of mean 0 and width 1; flat outside of their range.

    The curve joins knots by straight lines. They lie at quantiles that are evenly spaced in the normal variable, so the tails
    have as many as the bulk. The quantiles are those of a sample of 100 000 rows, picked by a hash of the row's number: exact for
    smaller data, and the same for the same rows in the same order however they are cut into blocks.

    Attributes
    ----------
    n_knots
        How many at most; equal quantiles are one.
    knots
        The values of the feature, ascending; None before the fit.
    heights
        What they become.
    """

    n_knots: int = 257
    knots: tuple[float, ...] | None = None
    heights: tuple[float, ...] | None = None
    operation: ClassVar[str] = "curve"

    def __post_init__(self) -> None:
        if isinstance(self.n_knots, bool) or not isinstance(self.n_knots, int) or not 2 <= self.n_knots <= MAX_KNOTS:
            raise wrong(f"Quantile takes 2 to {MAX_KNOTS} knots")
        _numbers(self, "knots", MAX_KNOTS)
        _numbers(self, "heights", MAX_KNOTS)
        if (self.knots is None) != (self.heights is None):
            raise wrong("Quantile takes knots and heights, or neither")
        if self.knots is not None and self.heights is not None:
            rising = (np.diff(self.knots) > 0).all() and (np.diff(self.heights) >= 0).all()
            if len(self.knots) != len(self.heights) or not rising:
                raise wrong("Quantile takes as many heights as knots, both ascending")

    @property
    def statistic(self) -> str | None:
        return "sample" if self.knots is None else None

    def fitted(self, found: Statistics) -> Self:
        knots, heights = found.curve(self.n_knots)
        return replace(self, knots=tuple(knots.tolist()), heights=tuple(heights.tolist()))

    def constants(self) -> tuple[Array, ...]:
        knots, heights = np.array(self.knots), np.array(self.heights)
        if len(knots) == 1:  # a column of one value
            knots, heights = np.repeat(knots, 2), np.repeat(heights, 2)
        return knots, heights


@dataclass(frozen=True)
class OneHot(Step):
    """A column for each of a few whole numbers, 1 where the value is that number and 0 elsewhere.

    Other values, NaN among them, give 0 in all columns.

    Attributes
    ----------
    categories
        The numbers, ascending; those in the data where it is None.
    most
        More numbers than these in the data are an error.
    """

    categories: tuple[float, ...] | None = None
    most: int = 32
    operation: ClassVar[str] = "onehot"

    def __post_init__(self) -> None:
        if isinstance(self.most, bool) or not isinstance(self.most, int) or not 1 <= self.most <= MAX_CATEGORIES:
            raise wrong(f"OneHot takes 1 to {MAX_CATEGORIES} categories")
        _numbers(self, "categories", MAX_CATEGORIES)
        if self.categories is not None and not (np.diff(self.categories) > 0).all():
            raise wrong("the categories of OneHot ascend, each once")
        if self.categories is not None and any(value != math.floor(value) for value in self.categories):
            raise wrong("the categories of OneHot are whole numbers")

    @property
    def statistic(self) -> str | None:
        return "categories" if self.categories is None else None

    def fitted(self, found: Statistics) -> Self:
        return replace(self, categories=found.categories(self.most))

    def constants(self) -> tuple[Array, ...]:
        return (np.array(self.categories),)


STEPS: dict[str, type[Step]] = {
    "standardize": Standardize,
    "minmax": MinMax,
    "log": Log,
    "clip": Clip,
    "impute": Impute,
    "quantile": Quantile,
    "onehot": OneHot,
}
"""Steps by their names in JSON."""


def named(step: Step) -> str:
    """The name of a step in JSON."""
    return next(name for name, kind in STEPS.items() if type(step) is kind)


def fields_of(step: Step) -> dict[str, Any]:
    """What JSON holds of a step."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(step).items()}
