"""Jobs that are done in parts: the parts run first, each on any worker, and the job itself runs once all of them ended well.

Everything here may be done twice without harm: who goes on with a job is decided where it is claimed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction
from django.utils import timezone

from portal.jobs import registry
from portal.jobs.models import Artifact, Job, JobState

SHARE = 0.7
"""Of a job's progress, that its parts have."""


def make(job: Job, params: Sequence[Mapping[str, Any]], slug: str, files: Mapping[str, str]) -> list[Job]:
    """Make a job's parts; those that an earlier try of it has done well are taken over.

    Parameters
    ----------
    job
        That is to be done in parts.
    params, slug
        The parameters of each part, and their type.
    files
        The names of the files that they mention, by id.

    Returns
    -------
    list of Job
        What is to be queued: the parts, or the job itself where there is nothing else to do.
    """
    if not params:
        return [job]
    part_type = registry.get(slug)
    done = _done(job.retry_of)
    waiting = []
    for number, raw in enumerate(params):
        parsed = part_type.parse(raw)
        checked = parsed.model_dump(mode="json")
        named = {one: files[one] for ones in part_type.files_of(checked).values() for one in ones if one in files}
        earlier = next((one for one in done if one.params == checked), None)
        if earlier is not None:
            done.remove(earlier)
            Job.objects.filter(pk=earlier.pk).update(parent=job, part=number)
            continue
        part = Job(
            type=slug,
            title=f"Part {number + 1} of {len(params)}: {part_type.name_run(parsed, named)}"[:200],
            owner=job.owner,
            params=checked,
            queue=part_type.queue,
            queued_at=timezone.now(),
            parent=job,
            part=number,
        )
        part.save()
        waiting.append(part)
    _tell(job, len(params) - len(waiting), len(params))
    return waiting or [job]


def _done(job: Job | None) -> list[Job]:
    """The parts of an earlier job whose results are still there."""
    if job is None or job.active:
        return []
    return list(Job.objects.filter(parent=job, state=JobState.SUCCEEDED, expired_at=None))


def unfinished(job: Job) -> bool:
    """Whether a job has to wait for a part."""
    return Job.objects.filter(parent=job).exclude(state=JobState.SUCCEEDED).exists()


def ended(part: Job) -> None:
    """Go on with the job that this one is a part of, if it is."""
    parent = part.parent
    if parent is not None:
        settle(parent)


def settle(job: Job) -> bool:
    """Look at a job's parts: queue it once all ended well, end it where one did not. False where it has none."""
    from portal.jobs import services

    parts = list(Job.objects.filter(parent=job).order_by("part").defer("result", "manifest"))
    if not parts:
        return False
    bad = next((part for part in parts if part.state in (JobState.FAILED, JobState.CANCELLED)), None)
    waiting = Job.objects.filter(pk=job.pk, state=JobState.PENDING)
    done = sum(part.state == JobState.SUCCEEDED for part in parts)
    if bad is not None:
        now = timezone.now()
        if bad.state == JobState.CANCELLED:
            waiting.update(state=JobState.CANCELLED, finished_at=now, cancel_requested_at=now)
        else:
            waiting.update(
                state=JobState.FAILED,
                finished_at=now,
                error_code=bad.error_code,
                error_message=bad.error_message,
                error_hint=bad.error_hint,
            )
        cancel(job)
    elif done == len(parts):
        _tell(job, done, len(parts))
        if waiting.exists():
            services.enqueue(job)
    else:
        _tell(job, done, len(parts))
    return True


def _tell(job: Job, done: int, total: int) -> None:
    Job.objects.filter(pk=job.pk, state=JobState.PENDING).update(
        progress=SHARE * done / total, progress_text=f"{done} of {total} parts done"
    )


def cancel(job: Job) -> None:
    """Cancel the parts of a job that has ended."""
    now = timezone.now()
    parts = Job.objects.filter(parent=job)
    parts.filter(state=JobState.PENDING).update(state=JobState.CANCELLED, finished_at=now, cancel_requested_at=now)
    parts.filter(state=JobState.RUNNING).update(cancel_requested_at=now)


def remove(job: Job) -> None:
    """Take away the parts of a job that has ended well, with what they made: it is in the job's own results."""
    from portal.jobs import services

    paths = list(Artifact.objects.filter(job__parent=job).values_list("path", flat=True))
    if Job.objects.filter(parent=job).delete()[0]:
        transaction.on_commit(lambda: services.remove_stored(paths))
