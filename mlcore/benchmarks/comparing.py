"""Two runs held against each other: which cells became faster or slower, and whether that is more than chance.

Samples of a cell are compared by the test of Mann and Whitney, which asks only for their order; as many cells are looked at,
probabilities are corrected as Holm has it. A bootstrap of the medians' ratio says how well it is known.

References
----------
S. Holm, Scand. J. Statist. 6 (1979) 65; B. Efron, Ann. Statist. 7 (1979) 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from mlcore.benchmarks.cells import Cell, Key, Samples
from mlcore.benchmarks.ranks import mann_whitney
from mlcore.benchmarks.report import Report, seconds

Verdict = Literal["faster", "slower", "same", "unclear", "noisy"]

LEVEL = 0.01
LEAST_CHANGE = 0.03
"""A smaller change of a median is not told: the layout of a process's memory makes as much of a difference."""
DRAWS = 2000


@dataclass(frozen=True)
class Change:
    """A cell of two runs.

    Attributes
    ----------
    ratio
        Of the time for an event, after by before: below 1 is faster.
    lower, upper
        Of the ratio: 95 % of the bootstrap lies between.
    probability
        That samples lie as far apart by chance, corrected for the number of cells.
    verdict
        ``same`` where the medians differ little; else ``faster`` or ``slower``, or ``unclear`` where it may be chance, or
        ``noisy`` where one of the figures is marked.
    """

    key: Key
    before: float
    after: float
    ratio: float
    lower: float
    upper: float
    probability: float
    verdict: Verdict


@dataclass(frozen=True)
class RunComparison:
    """Two runs: the cells that both have a figure of, those that one alone has, and what differs in how they were measured."""

    changes: tuple[Change, ...]
    gained: tuple[Key, ...]
    lost: tuple[Key, ...]
    differences: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``json.dumps``."""
        return asdict(self)


def compare(before: Report, after: Report, *, seed: int = 1) -> RunComparison:
    """Hold a run against an earlier one."""
    old = {cell.key: cell for cell in before.measured}
    new = {cell.key: cell for cell in after.measured}
    both = [key for key in new if key in old]
    rng = np.random.default_rng(seed)
    probabilities = holm([mann_whitney(_values(old[key]).tolist(), _values(new[key]).tolist()) for key in both])
    changes = [_change(old[key], new[key], probability, rng) for key, probability in zip(both, probabilities, strict=True)]
    return RunComparison(
        tuple(sorted(changes, key=lambda change: change.ratio)),
        tuple(key for key in new if key not in old),
        tuple(key for key in old if key not in new),
        tuple(_differences(before, after)),
    )


def holm(probabilities: Sequence[float]) -> list[float]:
    """Probabilities of many tests, each corrected so that any false alarm among all is as unlikely as it says."""
    order = sorted(range(len(probabilities)), key=lambda place: probabilities[place])
    corrected, most = [0.0] * len(probabilities), 0.0
    for rank, place in enumerate(order):
        most = max(most, min(1.0, (len(order) - rank) * probabilities[place]))
        corrected[place] = most
    return corrected


def _values(cell: Cell) -> Any:
    """Seconds for an event, of each sample."""
    samples = cell.wall or Samples((float("nan"),))
    return np.asarray(samples.values) / (cell.users * cell.key.batch)


def _change(before: Cell, after: Cell, probability: float, rng: np.random.Generator) -> Change:
    one, other = _values(before), _values(after)
    ratio = float(np.median(other) / np.median(one))
    drawn = np.median(rng.choice(other, (DRAWS, len(other))), axis=1) / np.median(rng.choice(one, (DRAWS, len(one))), axis=1)
    lower, upper = np.quantile(drawn, [0.025, 0.975])
    verdict: Verdict = "same"
    if abs(ratio - 1) > LEAST_CHANGE:
        verdict = "unclear" if probability >= LEVEL else "faster" if ratio < 1 else "slower"
        if verdict != "unclear" and (before.noisy or after.noisy):
            verdict = "noisy"
    return Change(
        after.key, float(np.median(one)), float(np.median(other)), ratio, float(lower), float(upper), probability, verdict
    )


def _differences(before: Report, after: Report) -> list[str]:
    """What the two runs do not have in common, in words."""
    found = []
    for name in dict.fromkeys([*before.machine, *after.machine]):
        old, new = before.machine.get(name, "–"), after.machine.get(name, "–")
        if old != new and name != "load":
            found.append(f"{name}: {old}, then {new}")
    versions = {each.name: each for each in before.engines}
    for engine in after.engines:
        earlier = versions.get(engine.name)
        if earlier is not None and (earlier.version or earlier.absent) != (engine.version or engine.absent):
            found.append(f"{engine.title}: {earlier.version or 'not here'}, then {engine.version or 'not here'}")
    old_settings, new_settings = before.settings, after.settings
    names = [name for name in {**old_settings, **new_settings} if old_settings.get(name) != new_settings.get(name)]
    return [*found, *(f"{name}: {old_settings.get(name)}, then {new_settings.get(name)}" for name in names)]


def to_markdown(comparison: RunComparison, after: Report) -> str:
    """A comparison for people."""
    counts = {
        verdict: sum(each.verdict == verdict for each in comparison.changes)
        for verdict in ("faster", "slower", "noisy", "unclear")
    }
    lines = [
        "# Two runs compared",
        "",
        f"{len(comparison.changes)} cells in both: {counts['faster']} faster, {counts['slower']} slower, "
        f"{counts['noisy']} changed but noisy, {counts['unclear']} unclear, the others the same "
        f"(Mann-Whitney with Holm's correction, {LEVEL:.0%}, "
        f"changes above {LEAST_CHANGE:.0%}).",
        "",
        "| Model | Engine | Batch | Threads | Before | After | Ratio | 95 % | p | |",
        "|---|---|---:|---:|---:|---:|---:|---|---:|---|",
    ]
    for each in comparison.changes:
        key = each.key
        names = f"| {after.model_title(key.model)} | {after.engine_title(key.engine)} | {key.batch} | {key.threads} "
        told = f"| {seconds(each.before)} | {seconds(each.after)} | {each.ratio:.3f} | {each.lower:.3f} – {each.upper:.3f} "
        lines.append(f"{names}{told}| {each.probability:.2g} | {each.verdict} |")
    if comparison.differences:
        lines += ["", "Not the same in both:", "", *(f"- {text}" for text in comparison.differences)]
    return "\n".join(lines) + "\n"
