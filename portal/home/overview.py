"""What works now, for the strip on the home page and the status page."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Lock
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db.models import Count
from django.utils import timezone

from portal.accounts.models import User
from portal.home import context, health
from portal.jobs import presentation
from portal.jobs.models import ACTIVE, Job, JobState, Pulse

REMEMBER_SECONDS = 2.0
WORKER_LOST = timedelta(seconds=15)

TITLES = {"db": "Database", "broker": "Broker", "workers": "Workers", "index": "Documentation index", "model": "Language model"}
MEANINGS = {
    "db": "accounts, jobs and answers",
    "broker": "passes jobs to the workers",
    "workers": "run jobs and answer questions",
    "index": "where answers come from",
    "model": "writes the answers",
}


@dataclass(frozen=True)
class Service:
    """One part of the portal with its state in words."""

    name: str
    title: str
    meaning: str
    state: str  # "ok" | "warn" | "bad"
    word: str
    detail: str


@dataclass(frozen=True)
class Strip:
    """The line under the ask box."""

    state: str
    headline: str
    abilities: tuple[tuple[str, bool], ...]
    """What the assistant can do: (what, whether it can)."""
    running: int
    waiting: int
    coming: tuple[Job, ...]
    """The portal's own jobs that will make more work: the model's download, the indexing."""


@dataclass(frozen=True)
class Look:
    """What was found when it was last looked."""

    at: float
    services: tuple[Service, ...]
    strip: Strip


_lock = Lock()
_last: Look | None = None


def look() -> Look:
    """The state of every part, at most two seconds old: many people's pages ask for it."""
    global _last
    with _lock:
        known = _last
    if known is not None and time.monotonic() - known.at < REMEMBER_SECONDS:
        return known
    found = tuple(_service(check) for check in health.checks())
    seen = Look(time.monotonic(), found, _strip(found))
    with _lock:
        _last = seen
    return seen


def forget() -> None:
    """Look again the next time."""
    global _last
    with _lock:
        _last = None


def _service(check: health.Check) -> Service:
    state = "ok" if check.ok else "bad" if check.required else "warn"
    word = {"ok": "Works", "warn": "Not yet", "bad": "Down"}[state]
    return Service(check.name, TITLES.get(check.name, check.name), MEANINGS.get(check.name, ""), state, word, check.detail)


def _abilities(found: tuple[Service, ...]) -> tuple[tuple[str, bool], ...]:
    from assistant.index import index_status

    index = index_status(Path(settings.INDEX_DIR))
    model = any(one.name == "model" and one.state == "ok" for one in found)
    return ("search by words", index.lexical), ("search by meaning", index.dense >= 1.0), ("written answers", model)


def strip() -> Strip:
    """The line under the ask box."""
    return look().strip


def _strip(found: tuple[Service, ...]) -> Strip:
    can = _abilities(found)
    down = [one for one in found if one.state == "bad"]
    missing = [what for what, works in can if not works]
    if down:
        state, headline = "bad", f"{' and '.join(one.title.lower() for one in down)} down".capitalize()
    elif missing:
        state, headline = "warn", "Starting up" if len(missing) == len(can) else "Works in part"
    else:
        state, headline = "ok", "Everything works"
    counts = dict(Job.objects.filter(state__in=ACTIVE).values_list("state").annotate(Count("pk")).order_by())
    coming = _own_jobs() if missing else ()
    return Strip(state, headline, can, counts.get(JobState.RUNNING, 0), counts.get(JobState.PENDING, 0), coming)


def _own_jobs() -> tuple[Job, ...]:
    """The portal's own jobs that wait or run."""
    jobs = Job.objects.filter(owner=None, state__in=ACTIVE).order_by("created_at")
    return tuple(jobs.defer("params", "result", "manifest", "steps")[:4])


def full(user: User | AnonymousUser) -> dict[str, Any]:
    """Everything the status page shows."""
    now = timezone.now()
    jobs = _own_jobs()
    presentation.set_places(jobs)
    disk = shutil.disk_usage(settings.DATA_DIR)
    return {
        "strip": look().strip,
        "services": look().services,
        "workers": [
            {"pulse": pulse, "alive": now - pulse.at < WORKER_LOST, "isolation": pulse.details.get("isolation", "")}
            for pulse in Pulse.objects.order_by("name")
        ],
        "isolation": isolation(),
        "own_jobs": [
            {"job": job, "left": presentation.time_left(job, now), "percent": round(100 * job.progress)} for job in jobs
        ],
        "versions": context.versions(),
        "disk": {"total": disk.total, "free": disk.free, "used_share": round(100 * (disk.total - disk.free) / disk.total)},
        "limits": settings.ENV,
    }


def isolation() -> dict[str, str]:
    """How jobs are kept apart, as the workers that run them say."""
    for pulse in Pulse.objects.order_by("-at"):
        if name := pulse.details.get("isolation"):
            return {"name": str(name), "detail": str(pulse.details.get("isolation_detail", ""))}
    return {}
