"""Jobs as people see them: words for states, places in the line, times of steps, time left. Reads only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db.models import QuerySet
from django.db.models.fields.json import KT
from django.utils import timezone

from portal.accounts.models import User
from portal.jobs import registry
from portal.jobs.models import Job, JobState

ROW_FIELDS = (
    "type", "title", "state", "queue", "progress", "cancel_requested_at", "created_at", "started_at", "finished_at",
    "owner__username",
)  # fmt: skip
ETA_AFTER_SECONDS = 2.0
ETA_FROM_FRACTION = 0.03


@dataclass(frozen=True)
class Step:
    """One step of a run: what it does, how long it took (so far), and whether it is over, going on, or where the run broke."""

    text: str
    seconds: float
    state: str  # "ok" | "run" | "bad" | "off"


def visible(user: User | AnonymousUser) -> QuerySet[Job]:
    """The jobs a person may see: their own, for administrators all."""
    if isinstance(user, AnonymousUser):
        return Job.objects.none()
    return Job.objects.all() if user.is_staff else Job.objects.filter(owner=user)


def rows(jobs: QuerySet[Job]) -> list[Job]:
    """Jobs for a table: without their results and manifests, each with its place in the line and whether it needs a look."""
    found: list[Job] = list(jobs.only(*ROW_FIELDS).select_related("owner").annotate(notes=KT("result__notes")))
    set_places(found)
    for job in found:
        notes = getattr(job, "notes", None)
        job.needs_look = _needs_look(json.loads(notes) if notes else ())  # type: ignore[attr-defined]
    return found


def set_places(jobs: Iterable[Job]) -> None:
    """Give each waiting job its ``place`` in the line of its queue, from 1. One query, and none where no job waits."""
    waiting = [job for job in jobs if job.state == JobState.PENDING]
    if not waiting:
        return
    line = Job.objects.filter(state=JobState.PENDING).order_by("queued_at", "created_at").values_list("queue", "id")
    places: dict[Any, int] = {}
    lengths: dict[str, int] = {}
    for queue, identifier in line:
        lengths[queue] = places[identifier] = lengths.get(queue, 0) + 1
    for job in waiting:
        job.place = places.get(job.pk, 0)  # type: ignore[attr-defined]


def type_title(slug: str) -> str:
    """The title of a job's type, its slug where the type is gone."""
    found = registry.all_types().get(slug)
    return found.title if found else slug


def state_parts(job: Job) -> tuple[str, str, str]:
    """How a state is shown: (class, icon, words)."""
    match job.state:
        case JobState.PENDING:
            place = getattr(job, "place", 0)
            return "wait", "wait", "Next in line" if place == 1 else f"{ordinal(place)} in line" if place else "Waiting"
        case JobState.RUNNING if job.cancel_requested_at:
            return "run", "run", "Cancelling"
        case JobState.RUNNING:
            return "run", "run", f"{100 * job.progress:.0f} %"
        case JobState.SUCCEEDED if getattr(job, "needs_look", False):
            return "warn", "warn", "Done, check"
        case JobState.SUCCEEDED:
            return "ok", "ok", "Done"
        case JobState.FAILED:
            return "bad", "bad", "Failed"
        case _:
            return "off", "off", "Cancelled"


def ordinal(number: int) -> str:
    """``1st``, ``2nd``, ``3rd``, ``4th``, ``11th``."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def elapsed(job: Job, now: datetime | None = None) -> float | None:
    """Seconds of the run so far, or of the whole run."""
    if job.started_at is None:
        return None
    return ((job.finished_at or now or timezone.now()) - job.started_at).total_seconds()


def time_left(job: Job, now: datetime | None = None) -> float | None:
    """Seconds the run may still take, from the fraction done and the time it took; None where that says nothing yet."""
    so_far = elapsed(job, now)
    if job.state != JobState.RUNNING or so_far is None or so_far < ETA_AFTER_SECONDS or job.progress < ETA_FROM_FRACTION:
        return None
    return so_far * (1 - job.progress) / job.progress


def steps(job: Job, now: datetime | None = None) -> list[Step]:
    """The steps so far with their times."""
    total = elapsed(job, now) or 0.0
    starts = [float(step.get("at", 0.0)) for step in job.steps]
    ends = [*starts[1:], max(total, starts[-1] if starts else 0.0)]
    last = {
        JobState.RUNNING: "run",
        JobState.SUCCEEDED: "ok",
        JobState.FAILED: "bad",
        JobState.CANCELLED: "off",
    }.get(JobState(job.state), "ok")
    states = ["ok"] * (len(starts) - 1) + [last]
    return [
        Step(str(step["text"]), max(end - start, 0.0), state)
        for step, start, end, state in zip(job.steps, starts, ends, states, strict=False)
    ]


def _needs_look(notes: Sequence[Any]) -> bool:
    return any(isinstance(note, dict) and note.get("kind") in ("warn", "bad") for note in notes)


def needs_look(job: Job) -> bool:
    """Whether a job that ended well has something to check."""
    return _needs_look((job.result or {}).get("notes", ()))


def kept_until(job: Job) -> datetime | None:
    """When the artefacts of an ended job are removed."""
    if job.finished_at is None or job.expired_at is not None:
        return None
    return job.finished_at + timedelta(days=settings.ENV.retention_days)


def announcement(job: Job) -> str:
    """What a screen reader is told when it changes: the state or the step, without the numbers that change every second."""
    match job.state:
        case JobState.RUNNING:
            return f"Running: {job.progress_text}"
        case JobState.PENDING:
            return state_parts(job)[2]
        case _:
            return f"{job.title}: {state_parts(job)[2]}"


def title_prefix(job: Job) -> str:
    """What stands before a job's name in the browser's tab, while there is something to follow or to know."""
    if job.state == JobState.RUNNING:
        return f"{100 * job.progress:.0f} % · "
    return "" if job.state == JobState.SUCCEEDED else f"{state_parts(job)[2]} · "
