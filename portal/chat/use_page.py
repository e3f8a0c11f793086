"""The page of the assistant's use: its figures, plots and lists, as the template takes them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.conf import settings

from portal.chat.models import Outcome, UsageKind
from portal.chat.usage import Report, Spread, report
from portal.jobs import plots
from portal.jobs.results import Figure, Plot, Table

PERIODS = (7, 30, 90)
BINS = 24
LONGEST = 60.0  # seconds; the last bin of the histogram holds what took longer

_STAGES = {"wait": "Waiting for a slot", "retrieve": "Search", "first_text": "First words", "total": "In all"}


def use_page(days: int) -> dict[str, Any]:
    """The template's context."""
    found = report(days)
    return {
        "days": days,
        "periods": PERIODS,
        "report": found,
        "result": {"figures": figures(found), "plots": drawn(found, days)},
        "tables": [asdict(table) for table in (_outcomes(found), _latency(found), _models(found)) if table.rows],
    }


def figures(found: Report) -> list[Figure]:
    """What decides: how much it is used, whether it answers, how fast, whether it helps, what it costs."""
    asked = found.counts[UsageKind.ANSWER]
    answered = found.outcomes[Outcome.WRITTEN] + found.outcomes[Outcome.QUOTED]
    judged = found.useful + found.not_useful
    first = found.latency.get("first_text")
    shown = [
        Figure(
            "Questions", f"{asked:,}".replace(",", "\u202f"), f"of {found.people} {'person' if found.people == 1 else 'people'}"
        ),
        Figure("Answered", _share(answered, asked), f"{found.outcomes[Outcome.ABSTAINED]} without an answer"),
        Figure("First words", _seconds(first.median) if first else "–", f"p95 {_seconds(first.p95)}" if first else "median"),
        Figure("Found useful", _share(found.useful, judged), f"of {judged} judged"),
    ]
    if settings.ENV.model_url:
        shown.append(Figure("Cost", f"{found.cost:.2f} {settings.ENV.model_currency}", "by the prices in the settings"))
    return shown


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "–"


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"


def drawn(found: Report, days: int) -> list[Plot]:
    """Use by day, and how long answers took."""
    if not any(found.counts.values()):
        return []
    labels = [f"{day:%-d %b}" for day, _ in found.days]
    answers = [float(counts[UsageKind.ANSWER]) for _, counts in found.days]
    others = [float(counts[UsageKind.SEARCH] + counts[UsageKind.FORUM]) for _, counts in found.days]
    by_day = plots.columns(
        labels,
        [("questions", answers), ("searches, drafts", others)],
        x_title="day (UTC)",
        y_title="number",
        label=f"Questions and other requests on each of the last {days} days; {sum(answers):.0f} questions in all.",
    )
    shown = [Plot("Use", by_day, "Searches for passages alone and drafts of the forum bot are on top.")]
    if found.seconds:
        top = min(max(max(found.seconds), 1.0), LONGEST)
        edges = [top * n / BINS for n in range(BINS + 1)]
        counts = [0.0] * BINS
        for value in found.seconds:
            counts[min(int(value / top * BINS), BINS - 1)] += 1
        over = sum(value > LONGEST for value in found.seconds)
        drawing = plots.histogram(
            edges,
            counts,
            x_title="from asking to the end [s]",
            y_title="answers",
            label=f"How long {len(found.seconds)} answers took, from asking to the end.",
        )
        caption = f"{len(found.seconds)} answers"
        shown.append(
            Plot(
                "Time to answer",
                drawing,
                f"{caption}; {over} of more than {LONGEST:.0f} s are in the last bin." if over else f"{caption}.",
            )
        )
    return shown


def _outcomes(found: Report) -> Table:
    total = found.counts[UsageKind.ANSWER]
    rows = [
        (Outcome(name).label.capitalize(), str(count), _share(count, total)) for name, count in found.outcomes.items() if count
    ]
    return Table("How answers ended", ("Outcome", "Answers", "Share"), tuple(rows), numeric=(1, 2))


def _latency(found: Report) -> Table:
    def row(name: str, spread: Spread) -> tuple[str, ...]:
        return (_STAGES[name], _seconds(spread.median), _seconds(spread.p95), str(spread.count))

    rows = tuple(row(name, spread) for name, spread in found.latency.items())
    return Table("Latency", ("Stage", "Median", "p95", "Answers"), rows, numeric=(1, 2, 3))


def _models(found: Report) -> Table:
    rows = tuple(
        (
            str(each["model"]),
            str(each["answers"]),
            f"{each['prompt']:,}".replace(",", "\u202f"),
            f"{each['completion']:,}".replace(",", "\u202f"),
            f"{(each['busy'] or 0.0) / 60:.1f} min",
            f"{each['paid']:.2f} {settings.ENV.model_currency}" if each["paid"] else "",
        )
        for each in found.models
    )
    columns = ("Model", "Answers", "Prompt tokens", "Written tokens", "Time of the model", "Cost")
    return Table("Models and cost", columns, rows, numeric=(1, 2, 3, 4, 5))
