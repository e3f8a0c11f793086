"""Reports: a table to read, JSON to keep and to compare with later."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from assistant.errors import AssistantError
from assistant.evaluation.compare import Difference
from assistant.evaluation.metrics import METRICS, Outcome, Summary, summarise

FORMAT = 1
_MISSES = 20  # questions listed whose source was not among the first


def report_json(results: Mapping[str, Sequence[Outcome]], differences: Sequence[Difference] = ()) -> dict[str, Any]:
    """What `json.dumps` accepts: for each configuration its summary and what every question gave."""
    configurations = [
        {"name": name, "summary": _summary_json(summarise(outcomes)), "outcomes": [outcome.to_json() for outcome in outcomes]}
        for name, outcomes in results.items()
    ]
    changes = [asdict(difference) | {"change": difference.change} for difference in differences]
    return {"format": FORMAT, "configurations": configurations, "differences": changes}


def _summary_json(summary: Summary) -> dict[str, Any]:
    metrics = {name: {"value": value, "questions": summary.counts[name]} for name, value in summary.values.items()}
    return {
        "questions": summary.questions,
        "out_of_scope": summary.out_of_scope,
        "metrics": metrics,
        "code": "run" if summary.code_was_run else "not run",
        "seconds": {stage: {"median": middle, "p95": slow} for stage, (middle, slow) in summary.seconds.items()},
        "failed": summary.failed,
    }


def read_report(path: Path) -> list[Outcome]:
    """The outcomes of the first configuration of a kept report.

    Raises
    ------
    AssistantError
        The file cannot be read or is no report.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        return [Outcome.from_json(entry) for entry in report["configurations"][0]["outcomes"]]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise AssistantError(
            f"{path} is no report of an evaluation: {error}",
            hint="Make one with `ml4ep evaluate … --json > report.json`.",
            code="evaluation.report",
        ) from error


def report_text(results: Mapping[str, Sequence[Outcome]], differences: Sequence[Difference] = (), *, misses: bool = False) -> str:
    """A report to read.

    Parameters
    ----------
    misses
        Whether to list questions of the last configuration whose source was not among the first passages.
    """
    summaries = {name: summarise(outcomes) for name, outcomes in results.items()}
    first = next(iter(summaries.values()))
    parts = [f"{first.questions} questions, {first.out_of_scope} of them out of scope"]
    rows = [
        (metric.title, *(_percent(name, summary) for summary in summaries.values()), f"{first.counts[name]}")
        for name, metric in METRICS.items()
        if name != "code" and any(summary.counts[name] for summary in summaries.values())
    ]
    rows.append((METRICS["code"].title, *(_code(summary) for summary in summaries.values()), f"{first.counts['code']}"))
    parts.append(_table(("Measure", *summaries, "Questions"), rows))
    stages = dict.fromkeys(stage for summary in summaries.values() for stage in summary.seconds)
    times = [(stage, *(_times(summary.seconds.get(stage)) for summary in summaries.values())) for stage in stages]
    parts.append(_table(("Milliseconds, median / p95", *summaries), times))
    failed = sum(summary.failed for summary in summaries.values())
    if failed:
        parts.append(f"The language model failed {failed} times; these answers quote the passages instead.")
    if differences:
        parts.append(_changes(differences))
    if misses:
        parts.append(_missed(list(results.values())[-1]))
    return "\n\n".join(parts)


def _percent(name: str, summary: Summary) -> str:
    value = summary.values[name]
    if value is None:
        return "-"
    return f"{value:.3f}" if name == "mrr" else f"{100 * value:.0f} %"


def _code(summary: Summary) -> str:
    if not summary.code_was_run:
        return "not run"
    value = summary.values["code"]
    return "none" if value is None else f"{100 * value:.0f} %"


def _times(spread: tuple[float, float] | None) -> str:
    return "-" if spread is None else f"{1e3 * spread[0]:.1f} / {1e3 * spread[1]:.1f}"


def _changes(differences: Sequence[Difference]) -> str:
    rows = [
        (
            METRICS[change.metric].title,
            f"{change.change:+.3f}",
            f"{change.low:+.3f} … {change.high:+.3f}",
            f"{change.p:.3f}",
            _verdict(change),
        )
        for change in differences
    ]
    return _table(("Change, second against first", "Mean", "95 % interval", "p", ""), rows)


def _verdict(change: Difference) -> str:
    if not change.change:
        return "same"
    if change.p >= 0.05:
        return "may be chance"
    return "better" if (change.change > 0) == METRICS[change.metric].higher_is_better else "worse"


def _missed(outcomes: Sequence[Outcome]) -> str:
    missed = [outcome for outcome in outcomes if not outcome.out_of_scope and (outcome.rank is None or outcome.rank > 1)]
    missed.sort(key=lambda outcome: -(outcome.rank or 99))
    lines = [f"  {outcome.rank or '-':>3}  {outcome.question}: {', '.join(outcome.sources[:3])}" for outcome in missed[:_MISSES]]
    if len(missed) > _MISSES:
        lines.append(f"       … and {len(missed) - _MISSES} more")
    return "\n".join(["Gold source not first (place, question, what came first)", *lines])


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [tuple(heads), *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    lines = [
        "  ".join(
            cell.ljust(wide) if n == 0 else cell.rjust(wide) for n, (cell, wide) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    return "\n".join([lines[0].rstrip(), "  ".join("-" * wide for wide in widths), *(line.rstrip() for line in lines[1:])])
