"""What the assistant's use amounts to: one row without words for each answer or search, and the sums of them.

The only texts that leave a conversation are the questions that found no answer and the reasons that readers gave with their
feedback: gaps of the documentation. They are shown without a name, cleaned by `portal.chat.redact`, for as long as their
conversation is there.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from portal.chat.models import Feedback, Outcome, Turn, TurnState, Usage, UsageKind
from portal.chat.redact import redacted

GAPS = 50  # unanswered questions shown
REASONS = 50
GAP_LETTERS = 300


# --- one row ------------------------------------------------------------------------------------------------------------------


def note_turn(turn: Turn) -> None:
    """Add what a turn that has just ended took."""
    kind = UsageKind.SEARCH if turn.options.get("retrieve_only") else UsageKind.ANSWER
    _note(kind, _outcome(turn), turn.answer, owner_id=turn.owner_id, total=turn.seconds)


def note_draft(answer: Mapping[str, Any]) -> None:
    """Add what a draft of the forum bot took; ``answer`` is its record."""
    outcome = Outcome.ABSTAINED if answer.get("abstained") else Outcome.QUOTED if answer.get("extractive") else Outcome.WRITTEN
    _note(UsageKind.FORUM, outcome, answer, owner_id=None, total=answer.get("timings", {}).get("total"))


def _outcome(turn: Turn) -> Outcome:
    if turn.state == TurnState.STOPPED:
        return Outcome.STOPPED
    if turn.state == TurnState.FAILED:
        return Outcome.FAILED
    if turn.options.get("retrieve_only"):
        return Outcome.QUOTED if turn.passages else Outcome.ABSTAINED
    if turn.answer.get("abstained"):
        return Outcome.ABSTAINED
    if turn.answer.get("extractive"):
        return Outcome.QUOTED
    return Outcome.WRITTEN if turn.answer.get("provider") else Outcome.ASKED


def _note(kind: UsageKind, outcome: Outcome, answer: Mapping[str, Any], *, owner_id: int | None, total: float | None) -> None:
    timings, tokens = answer.get("timings", {}), answer.get("tokens", {})
    prompt, completion = int(tokens.get("prompt", 0)), int(tokens.get("completion", 0))
    Usage.objects.create(
        owner_id=owner_id,
        kind=kind,
        outcome=outcome,
        model=str(answer.get("provider", ""))[:200],
        prompt_tokens=prompt,
        completion_tokens=completion,
        cost=_cost(prompt, completion),
        total=total,
        **{name: timings.get(name) for name in ("wait", "retrieve", "first_text", "generate")},
    )


def _cost(prompt: int, completion: int) -> float:
    """The price of a request to the configured server; the embedded model costs nothing but time."""
    env = settings.ENV
    return (prompt * env.model_price_prompt + completion * env.model_price_completion) / 1e6 if env.model_url else 0.0


# --- the sums -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spread:
    """How long something took: the median, the 95th percentile, and of how many."""

    median: float
    p95: float
    count: int


@dataclass(frozen=True)
class Gap:
    """A question that found no answer, and how often it was asked in the same words."""

    text: str
    confidence: float | None
    times: int
    last: datetime


@dataclass(frozen=True)
class Report:
    """The assistant's use in some days.

    Attributes
    ----------
    days
        Of each day, how many answers, searches and forum drafts: ``[(day, {kind: count})]``.
    outcomes
        Answers by how they ended; searches and drafts are not among them.
    models
        ``[{model, answers, prompt, completion, paid, busy}]``: tokens, cost, and seconds of the model's work.
    latency
        Of ``wait``, ``retrieve``, ``first_text`` and ``total``, how long answers took.
    seconds
        The total of each answer, for a histogram.
    useful, not_useful
        Answers that readers judged.
    """

    since: datetime
    days: Sequence[tuple[date, Mapping[str, int]]]
    people: int
    counts: Mapping[str, int]
    outcomes: Mapping[str, int]
    models: Sequence[Mapping[str, Any]]
    latency: Mapping[str, Spread]
    seconds: Sequence[float]
    useful: int
    not_useful: int
    reasons: Sequence[tuple[datetime, bool, str, str]] = field(default=())
    gaps: Sequence[Gap] = field(default=())

    @property
    def cost(self) -> float:
        """What all of it cost."""
        return float(sum(each["paid"] for each in self.models))


def report(days: int, now: datetime | None = None) -> Report:
    """The use in the last ``days`` days, today among them."""
    now = now or timezone.now()
    first = (now - timedelta(days=days - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
    rows = Usage.objects.filter(at__gte=first, at__lte=now)
    answers = rows.filter(kind=UsageKind.ANSWER)
    judged = Feedback.objects.filter(created_at__gte=first, created_at__lte=now)
    votes = judged.aggregate(yes=Count("pk", filter=Q(useful=True)), no=Count("pk", filter=Q(useful=False)))
    return Report(
        since=first,
        days=_by_day(rows, first.date(), days),
        people=rows.exclude(owner=None).values("owner").distinct().count(),
        counts=_counted(rows, "kind", UsageKind.values),
        outcomes=_counted(answers, "outcome", Outcome.values),
        models=_models(rows),
        latency={name: spread for name in ("wait", "retrieve", "first_text", "total") if (spread := _spread(answers, name))},
        seconds=[value for value in answers.values_list("total", flat=True) if value is not None],
        useful=votes["yes"],
        not_useful=votes["no"],
        reasons=_reasons(judged),
        gaps=_gaps(first, now),
    )


def _counted(rows: QuerySet[Usage], name: str, values: Sequence[str]) -> dict[str, int]:
    found = dict(rows.values_list(name).annotate(count=Count("pk")))
    return {value: found.get(value, 0) for value in values}


def _by_day(rows: QuerySet[Usage], first: date, days: int) -> list[tuple[date, dict[str, int]]]:
    found: dict[date, dict[str, int]] = {first + timedelta(days=n): dict.fromkeys(UsageKind.values, 0) for n in range(days)}
    for day, kind, count in rows.annotate(day=TruncDate("at")).values_list("day", "kind").annotate(count=Count("pk")):
        found[day][kind] = count
    return list(found.items())


def _models(rows: QuerySet[Usage]) -> list[dict[str, Any]]:
    sums = rows.exclude(model="").values("model")
    tokens = {"prompt": Sum("prompt_tokens"), "completion": Sum("completion_tokens")}
    sums = sums.annotate(answers=Count("pk"), paid=Sum("cost"), busy=Sum("generate"), **tokens)
    return [dict(each) for each in sums.order_by("-answers", "model")]


def _spread(rows: QuerySet[Usage], name: str) -> Spread | None:
    found = sorted(rows.exclude(**{name: None}).values_list(name, flat=True))
    if not found:
        return None
    # The smallest value that at least 95 % do not exceed: the maximum while there are few.
    return Spread(statistics.median(found), found[-(-len(found) * 95 // 100) - 1], len(found))


def _reasons(judged: QuerySet[Feedback]) -> list[tuple[datetime, bool, str, str]]:
    found = judged.exclude(reason="").select_related("turn").order_by("-created_at")[:REASONS]
    return [(each.created_at, each.useful, redacted(each.reason), redacted(each.turn.question[:GAP_LETTERS])) for each in found]


def _gaps(first: datetime, now: datetime) -> list[Gap]:
    """Questions without an answer, those asked most often first, then the newest."""
    turns = Turn.objects.filter(state=TurnState.DONE, answer__abstained=True, finished_at__gte=first, finished_at__lte=now)
    rows = turns.order_by("-finished_at").values_list("question", "answer__confidence", "finished_at")
    times: Counter[str] = Counter()
    kept: dict[str, Gap] = {}
    for question, confidence, at in rows.iterator():
        if at is None:
            continue
        key = " ".join(question.lower().split())
        times[key] += 1
        kept.setdefault(key, Gap(redacted(question[:GAP_LETTERS]), confidence, 1, at))
    gaps = [Gap(gap.text, gap.confidence, times[key], gap.last) for key, gap in kept.items()]
    return sorted(gaps, key=lambda gap: (-gap.times, -gap.last.timestamp()))[:GAPS]
