"""Which engine a model should have, in words that follow from the figures."""

from __future__ import annotations

from mlcore.benchmarks.cells import Cell
from mlcore.benchmarks.report import ModelFacts, Report, bytes_, rate, seconds

CLOSE = 1.05
"""Times within this factor are called equal."""


def advice(report: Report) -> list[str]:
    """A sentence or two for each model."""
    return [sentence for model in report.models if (sentence := of_model(report, model))]


def of_model(report: Report, model: ModelFacts) -> str:
    """Which engine is quickest for one event, which gives most events in a second, which takes least memory."""
    cells = [cell for cell in report.measured if cell.key.model == model.name]
    if not cells:
        return f"{model.title}: no engine here gave a figure."
    smallest = min(cell.key.batch for cell in cells)
    few = [cell for cell in cells if cell.key.batch == smallest and cell.key.threads == min(c.key.threads for c in cells)]
    quick = sorted(few, key=_per_event)
    most = max(cells, key=lambda cell: cell.throughput or 0.0)
    lean = min(few, key=lambda cell: cell.memory.peak if cell.memory else 0)
    parts = [f"{model.title}: {_quickest(report, quick, smallest)}"]
    if most.key.batch != smallest:
        parts.append(
            f"{report.engine_title(most.key.engine)} gives the most events, {rate(most.throughput)}, "
            f"in batches of {most.key.batch}{_with_threads(most)}."
        )
    if lean.memory is not None and len(few) > 1:
        parts.append(f"Least memory: {report.engine_title(lean.key.engine)}, {bytes_(lean.memory.peak)} above the empty process.")
    if any(cell.noisy for cell in (quick[0], most)):
        parts.append("Some of these figures stayed noisy; measure again on a quieter machine before you rely on them.")
    return " ".join(parts)


def _per_event(cell: Cell) -> float:
    return cell.per_event or float("inf")


def _with_threads(cell: Cell) -> str:
    return f" with {cell.key.threads} threads" if cell.key.threads > 1 else ""


def _quickest(report: Report, quick: list[Cell], batch: int) -> str:
    best, one = quick[0], "one event" if batch == 1 else f"an event in batches of {batch}"
    name = report.engine_title(best.key.engine)
    if len(quick) == 1:
        return f"{name} takes {seconds(best.per_event)} for {one}; no other engine gave a figure."
    ratio = _per_event(quick[1]) / _per_event(best)
    second = report.engine_title(quick[1].key.engine)
    if ratio < CLOSE:
        return f"{name} and {second} are equally quick for {one}, {seconds(best.per_event)}."
    return f"{name} is the quickest for {one}, {seconds(best.per_event)}, {ratio:.1f} times faster than {second}."
