"""Samples of the project's own full simulation, made once and kept in the cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Settings
from mlcore.showers.dataset import Records, ShowerFile
from mlcore.showers.fullsim import Plan, produce
from mlcore.showers.geometry import CALORIMETERS

CALORIMETER = CALORIMETERS["dataset2"]
TRAIN, TEST, QUICK = 10_000, 3_000, 60
SHARD = 250


@dataclass(frozen=True)
class Samples:
    """Electrons of 1 to 100 GeV, evenly in ln E, in the calorimeter of dataset 2: to fit with, and twice to measure with."""

    training: Records
    test: Records
    second: Records


def samples(settings: Settings) -> Samples:
    """The training sample's last showers are the second of the test: the shipped networks have not seen these."""
    test = QUICK if settings.quick else TEST
    training = training_sample(settings)
    return Samples(training[:-test], _made(settings, "test", test, 202), training[-test:])


def training_sample(settings: Settings) -> Records:
    """Of which the shipped networks have seen the first 6,750."""
    return _made(settings, "train", 2 * QUICK if settings.quick else TRAIN, 101)


def _made(settings: Settings, name: str, count: int, seed: int) -> Records:
    folder = settings.cache / ("showers-quick" if settings.quick else "showers") / name
    plan = Plan(CALORIMETER, count, seed=seed, shard=SHARD, energy=(1e3, 1e4) if settings.quick else (1e3, 1e5))
    made = produce(plan, folder)
    return Records.joined(_read(path) for path in made.paths)[:count].above(CALORIMETER.threshold)


def _read(path: Path) -> Records:
    return ShowerFile.open(path).read()


def cpu_milliseconds(settings: Settings, energy: float) -> float:
    """What the full simulation takes for a shower, in milliseconds of CPU time; its start is not counted."""
    count = 3 if settings.quick else 50
    plan = Plan(CALORIMETER, count, seed=7, shard=count, energy=(energy, energy))
    folder = settings.cache / "showers-timed" / f"{energy:g}-{count}-{_fresh(settings)}"
    made = produce(plan, folder)
    return 1e3 * made.cpu_seconds / made.made


def _fresh(settings: Settings) -> int:
    """A number that no folder has yet: times are never taken from an earlier run."""
    parent = settings.cache / "showers-timed"
    return len(list(parent.iterdir())) if parent.is_dir() else 0
