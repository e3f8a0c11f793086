"""What a question gave, and the measures over many questions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from statistics import median
from typing import Any

SHOWN = 5  # passages that a reader sees without scrolling: terms are looked for in these
DEPTH = 10  # passages that are looked at for a gold source


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one question gave.

    Attributes
    ----------
    question
        Its title, or the beginning of its text.
    sources
        Of the passages found, best first.
    rank
        The place of the first gold source, from 1; None where none is among the first `DEPTH`.
    terms_passages, terms_answer
        The share of the required terms in the first `SHOWN` passages and in the answer; None where there is none to look for, or
        no answer was asked for.
    citations, citations_valid
        How many ``[n]`` the answer's prose has, and how many of them stand for a passage.
    abstained
        Nothing fitting was found.
    confidence
        The best cosine similarity; None without search by meaning.
    code_blocks, code_ran
        Code blocks that were run, and those that ended without an error; None where they were not run.
    failed
        What the model's server reported; empty where nothing failed.
    seconds
        By stage.
    """

    question: str
    out_of_scope: bool
    sources: tuple[str, ...] = ()
    rank: int | None = None
    terms_passages: float | None = None
    terms_answer: float | None = None
    citations: int = 0
    citations_valid: int = 0
    abstained: bool = False
    confidence: float | None = None
    code_blocks: int | None = None
    code_ran: int | None = None
    failed: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json.dumps` accepts."""
        return asdict(self) | {"sources": list(self.sources), "seconds": dict(self.seconds)}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Outcome:
        """The outcome of what `to_json` gave; fields of later versions are left out."""
        known = {item.name for item in fields(cls)}
        values = {name: value for name, value in entry.items() if name in known}
        return cls(**values | {"sources": tuple(values.get("sources", ()))})


@dataclass(frozen=True, slots=True)
class Metric:
    """A measure: the mean over the questions that `value` gives a number for."""

    name: str
    title: str
    value: Callable[[Outcome], float | None]
    higher_is_better: bool = True


def _hit(depth: int) -> Callable[[Outcome], float | None]:
    return lambda o: None if o.out_of_scope else float(o.rank is not None and o.rank <= depth)


def _reciprocal(outcome: Outcome) -> float | None:
    if outcome.out_of_scope:
        return None
    return 1 / outcome.rank if outcome.rank else 0.0


def _met(share: float | None) -> float | None:
    return None if share is None else float(share >= 1)


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("hit@1", "Gold source first", _hit(1)),
        Metric("hit@5", "Gold source in the first 5", _hit(5)),
        Metric("hit@10", "Gold source in the first 10", _hit(10)),
        Metric("mrr", "Mean reciprocal rank", _reciprocal),
        Metric("terms.passages", f"Required terms in the first {SHOWN} passages", lambda o: _met(o.terms_passages)),
        Metric("terms.answer", "Required terms in the answer", lambda o: _met(o.terms_answer)),
        Metric("citations", "Citations that are valid", lambda o: o.citations_valid / o.citations if o.citations else None),
        Metric("abstention.recall", "Out of scope and abstained", lambda o: float(o.abstained) if o.out_of_scope else None),
        Metric("abstention.precision", "Abstained and out of scope", lambda o: float(o.out_of_scope) if o.abstained else None),
        Metric("abstention.false", "In scope but abstained", lambda o: None if o.out_of_scope else float(o.abstained), False),
        Metric("code", "Code blocks that ran", lambda o: (o.code_ran or 0) / o.code_blocks if o.code_blocks else None),
    )
}
"""The measures by their names."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The measures of one configuration.

    Attributes
    ----------
    values, counts
        By the metric's name: the mean, None where no question gave a number, and how many did.
    seconds
        By stage the median and the 95th percentile.
    """

    questions: int
    out_of_scope: int
    values: Mapping[str, float | None]
    counts: Mapping[str, int]
    seconds: Mapping[str, tuple[float, float]]
    code_was_run: bool
    failed: int


def summarise(outcomes: Sequence[Outcome]) -> Summary:
    """The measures over `outcomes`."""
    values: dict[str, float | None] = {}
    counts: dict[str, int] = {}
    for name, metric in METRICS.items():
        given = [value for outcome in outcomes if (value := metric.value(outcome)) is not None]
        values[name] = sum(given) / len(given) if given else None
        counts[name] = len(given)
    stages = dict.fromkeys(stage for outcome in outcomes for stage in outcome.seconds)
    return Summary(
        questions=len(outcomes),
        out_of_scope=sum(outcome.out_of_scope for outcome in outcomes),
        values=values,
        counts=counts,
        seconds={stage: _spread(o.seconds[stage] for o in outcomes if stage in o.seconds) for stage in stages},
        code_was_run=any(outcome.code_blocks is not None for outcome in outcomes),
        failed=sum(bool(outcome.failed) for outcome in outcomes),
    )


def _spread(seconds: Iterable[float]) -> tuple[float, float]:
    """Median and 95th percentile (nearest rank)."""
    ordered = sorted(seconds)
    return median(ordered), ordered[max(0, -(-95 * len(ordered) // 100) - 1)]
