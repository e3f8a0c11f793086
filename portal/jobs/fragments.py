"""The part of a job's page that never changes once the job is done: rendered once, then kept by each web process.

Highlighted code and tables are most of such a page, in size and in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe

from portal.jobs.models import Job

KEPT_CHARACTERS = 1 << 20  # of one job; the number of jobs is in the settings


@dataclass(frozen=True)
class DoneBody:
    """What a job that ended well shows below its state, and whether it has artefacts to download."""

    html: SafeString
    artifacts: bool


def done_body(job: Job) -> DoneBody:
    """The body of the page of a job that ended well. A job's artefacts change once more: when they expire."""
    key = f"job-done:{job.pk}:{'expired' if job.expired_at else 'kept'}"
    known = caches["fragments"].get(key)
    if known is not None:
        html, artifacts = known
        return DoneBody(mark_safe(html), artifacts)  # noqa: S308  (rendered below)
    context = body_context(job)
    html = render_to_string("jobs/_done.html", context)
    if len(html) <= KEPT_CHARACTERS:
        caches["fragments"].set(key, (str(html), bool(context["artifacts"])))
    return DoneBody(html, bool(context["artifacts"]))


def body_context(job: Job) -> dict[str, Any]:
    """What `jobs/_done.html` shows of a job that ended well."""
    artifacts = list(job.artifacts.all())
    return {
        "job": job,
        "result": job.result,
        "artifacts": artifacts,
        "artifacts_size": sum(one.size for one in artifacts),
        "previews": [one for one in artifacts if one.preview],
        "retention_days": settings.ENV.retention_days,
        "manifest_versions": list(job.manifest.get("versions", {}).items()),
        "options": list(job.manifest.get("options", {}).items()),
        "inputs": list(job.manifest.get("inputs", {}).items()),
    }
