"""Reports of benchmarks that jobs made, read from their artefacts, or from what a run that did not end well has kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from django.core.cache import caches
from django.core.files.storage import default_storage

from mlcore.errors import InputError
from portal.accounts.models import User
from portal.jobs import presentation, services
from portal.jobs.models import Job, JobState

if TYPE_CHECKING:
    from mlcore.benchmarks.report import Report

TYPE = "benchmark"
NAME = "benchmark.json"
MOST_BYTES = 32 * 2**20
MOST_RUNS = 60


def report_of(job: Job) -> Report | None:
    """The report of a job, as far as it came; None where there is none."""
    from mlcore.benchmarks.report import Report

    found = job.artifacts.filter(name=NAME).first() if job.state == JobState.SUCCEEDED else None
    stored = found or next((one for one in services.kept_of(job) if one.name == NAME), None)
    if stored is None or stored.size > MOST_BYTES:
        return None
    key = f"benchmark:{stored.sha256}"
    known = caches["fragments"].get(key)
    if known is None:
        try:
            with default_storage.open(stored.path, "rb") as file:
                known = json.loads(file.read())
        except (OSError, ValueError):
            return None
        if stored.size <= 2**20:
            caches["fragments"].set(key, known)
    try:
        return Report.from_json(known)
    except InputError:
        return None


def runs(user: User) -> list[Job]:
    """The benchmarks that a person may see, newest first."""
    jobs = presentation.visible(user).filter(type=TYPE).order_by("-created_at")[:MOST_RUNS]
    return presentation.rows(jobs)
