"""The part of a job's page that never changes once the job is done: rendered once, then kept by each web process.

Highlighted code and tables are most of such a page, in size and in time: a quarter of a megabyte that the template engine would
copy again and again. The page is rendered with a mark in its place, and the kept bytes are put there last.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.http import HttpResponse
from django.template.loader import render_to_string
from django.utils.safestring import mark_safe

from portal.jobs import registry
from portal.jobs.models import Job
from portal.library.services import KIND_OF_ARTIFACT

KEPT_BYTES = 1 << 20  # of one job; the number of jobs is in the settings
MARK = mark_safe(f"<!--{secrets.token_hex(16)}-->")  # noqa: S308  (nobody outside this process can write it into a page)


@dataclass(frozen=True)
class DoneBody:
    """What a job that ended well shows below its state, and whether it has artefacts to download."""

    html: bytes
    artifacts: bool

    def put_into(self, response: HttpResponse) -> HttpResponse:
        """Replace the `MARK` in a response."""
        response.content = response.content.replace(MARK.encode(), self.html, 1)
        return response


def done_body(job: Job) -> DoneBody:
    """The body of the page of a job that ended well. A job's artefacts change once more: when they expire."""
    key = f"job-done:{job.pk}:{'expired' if job.expired_at else 'kept'}"
    known = caches["fragments"].get(key)
    if known is not None:
        return DoneBody(*known)
    context = body_context(job)
    html = render_to_string("jobs/_done.html", context).encode()
    artifacts = bool(context["artifacts"])
    if len(html) <= KEPT_BYTES:
        caches["fragments"].set(key, (html, artifacts))
    return DoneBody(html, artifacts)


def body_context(job: Job) -> dict[str, Any]:
    """What `jobs/_done.html` shows of a job that ended well."""
    artifacts = list(job.artifacts.all())
    for one in artifacts:
        one.usable = one.kind in KIND_OF_ARTIFACT  # type: ignore[attr-defined]
    by_name = {one.name: one for one in artifacts}
    shown = (job.result or {}).get("events", ())
    job_type = registry.all_types().get(job.type)
    page_name, page_title = job_type.page if job_type is not None else ("", "")
    return {
        "page_name": page_name,
        "page_title": page_title,
        "job": job,
        "result": job.result,
        "artifacts": artifacts,
        "events": [one | {"artifact": by_name[one["file"]]} for one in shown if one["file"] in by_name],
        "artifacts_size": sum(one.size for one in artifacts),
        "pictures": [one for one in artifacts if one.kind == "picture"],
        "previews": [one for one in artifacts if one.preview and one.kind not in ("events", "numbers")],
        "retention_days": settings.ENV.retention_days,
        "manifest_versions": list(job.manifest.get("versions", {}).items()),
        "options": list(job.manifest.get("options", {}).items()),
        "inputs": list(job.manifest.get("inputs", {}).items()),
    }
