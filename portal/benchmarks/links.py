"""Making, ending and following the links of `portal.benchmarks.models`."""

from __future__ import annotations

import secrets

from portal.benchmarks.models import Link
from portal.jobs.models import Job

__all__ = ["end", "job_of", "link_of", "make"]

LINK_BYTES = 32  # from the system's source of randomness


def make(job: Job) -> Link:
    """The link of a run; the one that it has, where it has one."""
    return Link.objects.get_or_create(job=job, defaults={"token": secrets.token_urlsafe(LINK_BYTES)})[0]


def end(job: Job) -> bool:
    """End the link; False where there was none. A link made later is another one."""
    return bool(Link.objects.filter(job=job).delete()[0])


def link_of(job: Job) -> Link | None:
    """The link of a run, if it has one."""
    return Link.objects.filter(job=job).first()


def job_of(token: str) -> Job | None:
    """The run that a link leads to; None where there is no such link, or its owner's account is closed."""
    found = Link.objects.select_related("job").filter(token=token, job__owner__is_active=True).first()
    return found.job if found else None
