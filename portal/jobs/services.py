"""The only writers of jobs. Every change of state is one conditional UPDATE: zero rows changed means that another was first."""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.db import IntegrityError, transaction
from django.db.models import Q, Sum
from django.utils import timezone

from portal.accounts import services as accounts
from portal.accounts.models import User
from portal.jobs import parts, registry
from portal.jobs.models import ACTIVE, FINISHED, Artifact, Job, JobState, Kept, LogChunk
from portal.library.models import LibraryFile

log = logging.getLogger(__name__)

MOST_RETRIES = 100  # of which each goes on with what the one before it kept
SUBMISSIONS = uuid.UUID("9f0c2b8e-5d0f-4c57-9a6e-2f6d1b7a3c10")  # of which the ids of jobs with a key are made
LOG_LIMIT = 1_000_000  # characters of log kept of one job


class JobRefusedError(Exception):
    """A job that may not be made or changed: a message for the person, what to do, and a stable code."""

    def __init__(self, message: str, *, hint: str = "", code: str = "refused", problems: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code
        self.problems = dict(problems or {})
        """What is wrong with each parameter, where that is the reason."""


@dataclass(frozen=True)
class NewArtifact:
    """A file made by a run, still in its work folder."""

    path: Path
    name: str
    kind: str
    title: str
    size: int
    sha256: str
    preview: dict[str, Any] | None


# --- from people ----------------------------------------------------------------------------------


def submit(
    owner: User | None,
    slug: str,
    raw_params: Mapping[str, Any],
    *,
    title: str = "",
    retry_of: Job | None = None,
    key: str = "",
) -> Job:
    """Make a job and queue it once the transaction is committed.

    Parameters
    ----------
    key
        A text of the person's own for this submission; where one came with it before, its job is the answer and none is made.

    Raises
    ------
    JobRefusedError
        The type is unknown or not for this person, a parameter is wrong, a quota is used up, or the key came with another job.
    """
    try:
        job_type = registry.get(slug)
    except registry.UnknownJobTypeError as error:
        raise JobRefusedError(f"No job type is called “{slug}”.", hint=str(error), code="job.type") from error
    if job_type.staff_only and owner is not None and not owner.is_staff:
        raise JobRefusedError(f"“{job_type.title}” is for administrators.", code="job.forbidden")
    try:
        params = job_type.parse(raw_params)
    except registry.ParamsError as error:
        raise JobRefusedError(_summary(error.problems), code="job.params", problems=error.problems) from error
    plain = params.model_dump(mode="json")
    number = uuid.uuid5(SUBMISSIONS, f"{owner.pk if owner else ''} {key}") if key else uuid.uuid4()
    if key and (earlier := _same(number, slug, plain, retry_of)):
        return earlier
    files = _check_files(owner, job_type, plain)
    if owner is not None and job_type.listed:
        _check_quota(owner)
    job = Job(
        pk=number,
        type=slug,
        title=(title or job_type.name_run(params, {str(file.id): file.name for file in files}))[:200],
        owner=owner,
        params=plain,
        queue=job_type.queue,
        queued_at=timezone.now(),
        retry_of=retry_of,
    )
    try:
        with transaction.atomic():
            job.save(force_insert=True)
            wanted = job_type.parts(params, {str(file.pk): file.size for file in files})
            waiting = parts.make(job, wanted, job_type.part_type, {str(file.pk): file.name for file in files})
            transaction.on_commit(lambda: enqueue_all(waiting))
    except IntegrityError:
        if key and (earlier := _same(number, slug, plain, retry_of)):
            return earlier  # the same submission, a moment before
        raise
    return job


def _same(number: uuid.UUID, slug: str, params: Mapping[str, Any], retry_of: Job | None) -> Job | None:
    """The job that a submission made when it came before."""
    job = Job.objects.filter(pk=number).first()
    if job is not None and (job.type, job.params, job.retry_of_id) != (slug, params, retry_of.pk if retry_of else None):
        raise JobRefusedError("This Idempotency-Key came with another job.", hint="Take a new key for each job.", code="job.key")
    return job


def _summary(problems: Mapping[str, str]) -> str:
    return f"{len(problems)} things to fix." if len(problems) > 1 else f"One thing to fix: {next(iter(problems.values()))}"


def _check_files(owner: User | None, job_type: registry.JobType[Any], params: Mapping[str, Any]) -> list[LibraryFile]:
    """The library files that the parameters name; refuses what is not there, not this person's, or of the wrong kind."""
    files = []
    named = job_type.files_of(params)
    for field, kinds in job_type.file_kinds().items():
        for reference in named[field]:
            file = find_file(owner, reference)
            if file is None:
                raise JobRefusedError(
                    "One thing to fix: the file is not in your library.",
                    code="job.file",
                    hint="Upload it first, or choose one of your files.",
                    problems={field: "This file is not in your library."},
                )
            if file.kind not in kinds:
                problem = f"{file.name} is {file.kind}; this needs {' or '.join(kinds)}."
                raise JobRefusedError(f"One thing to fix: {problem}", code="job.file", problems={field: problem})
            files.append(file)
    return files


def find_file(owner: User | None, reference: str) -> LibraryFile | None:
    """The file with this id where ``owner`` may use it; None for the portal itself means any file."""
    try:
        identifier = uuid.UUID(reference)
    except ValueError:
        return None
    files = LibraryFile.objects.filter(pk=identifier)
    return (files if owner is None else files.filter(owner=owner)).first()


def _check_quota(owner: User) -> None:
    limit = accounts.quota(owner)
    active = Job.objects.filter(owner=owner, state__in=ACTIVE, parent=None).count()
    if active >= limit.jobs:
        raise JobRefusedError(
            f"You have {active} jobs waiting or running; {limit.jobs} are allowed at a time.",
            hint="Wait for one to end, or cancel one.",
            code="quota.jobs",
        )
    used = disk_used(owner)
    if used >= limit.disk:
        raise JobRefusedError(
            f"Your files and artefacts take {used / 1e9:.1f} GB; {limit.disk / 1e9:.1f} GB are allowed.",
            hint="Delete files in the library or old jobs.",
            code="quota.disk",
        )


def disk_used(owner: User) -> int:
    """Bytes of this person's library, artefacts and files that runs keep."""
    files = LibraryFile.objects.filter(owner=owner).aggregate(total=Sum("size"))["total"] or 0
    artifacts = Artifact.objects.filter(job__owner=owner).aggregate(total=Sum("size"))["total"] or 0
    kept = Kept.objects.filter(job__owner=owner).aggregate(total=Sum("size"))["total"] or 0
    return int(files + artifacts + kept)


def cancel(job: Job) -> bool:
    """Cancel a job: at once where it waits, within two seconds where it runs. False where it had ended already."""
    now = timezone.now()
    waiting = Job.objects.filter(pk=job.pk, state=JobState.PENDING)
    if waiting.update(state=JobState.CANCELLED, finished_at=now, cancel_requested_at=now):
        parts.cancel(job)
        parts.ended(job)
        return True
    return bool(Job.objects.filter(pk=job.pk, state=JobState.RUNNING).update(cancel_requested_at=now))


def retry(job: Job, owner: User | None, *, key: str = "") -> Job:
    """A new job with the same type and parameters, which goes on with what the earlier one kept; ``key`` as of `submit`."""
    if job.active:
        raise JobRefusedError("This job has not ended yet.", hint="Cancel it first.", code="job.active")
    return submit(owner, job.type, job.params, title=job.title, retry_of=job, key=key)


def delete(job: Job) -> None:
    """Remove an ended job with its artefacts."""
    if job.active:
        raise JobRefusedError("This job has not ended yet.", hint="Cancel it first.", code="job.active")
    if job.parent is not None and job.parent.active:
        raise JobRefusedError("This job is a part of another one that has not ended yet.", hint="Cancel that.", code="job.part")
    paths = [
        path
        for files in (Artifact.objects, Kept.objects)
        for path in files.filter(Q(job=job) | Q(job__parent=job)).values_list("path", flat=True)
    ]
    job.delete()
    transaction.on_commit(lambda: remove_stored(paths))


def preview(owner: User, slug: str, raw: Mapping[str, Any]) -> Job:
    """A short job of an unlisted type: the one made before with these parameters, else a new one, which ends the person's others.

    Parameters that the type does not have are left out.

    Raises
    ------
    JobRefusedError
        As of `submit`.
    """
    job_type = registry.get(slug)
    params = {name: value for name, value in raw.items() if name in job_type.Params.model_fields}
    try:
        plain = job_type.parse(params).model_dump(mode="json")
    except registry.ParamsError as error:
        raise JobRefusedError(_summary(error.problems), code="job.params", problems=error.problems) from error
    mine = Job.objects.filter(owner=owner, type=slug)
    known = mine.exclude(state=JobState.CANCELLED).filter(cancel_requested_at=None, expired_at=None, params=plain)
    if found := known.order_by("-created_at").first():
        return found
    for other in mine.filter(state__in=ACTIVE):
        cancel(other)
    return submit(owner, slug, plain)


# --- from workers ---------------------------------------------------------------------------------


def enqueue(job: Job) -> None:
    """Send the message that a job waits. Where the broker is away the job stays PENDING, and the reaper sends it again."""
    from portal.jobs.tasks import run_job

    try:
        run_job.apply_async((str(job.pk),), queue=job.queue, retry=False)
    except Exception:
        log.warning("job %s waits for the broker", job.pk, exc_info=True)


def enqueue_all(jobs: Sequence[Job]) -> None:
    """Send the message for each of these."""
    for job in jobs:
        enqueue(job)


def claim(job_id: str, worker: str) -> Job | None:
    """Take a waiting job for this worker; None where it does not wait any more."""
    now = timezone.now()
    token = uuid.uuid4()
    job = Job.objects.filter(pk=job_id).first()
    if job is None or parts.unfinished(job):
        return None
    taken = Job.objects.filter(pk=job_id, state=JobState.PENDING, attempt=job.attempt).update(
        state=JobState.RUNNING,
        claim=token,
        attempt=job.attempt + 1,
        worker=worker[:120],
        started_at=now,
        heartbeat_at=now,
        progress=0.0,
        progress_text="Starting",
        steps=[],
        shown=[],
    )
    if not taken:
        return None
    job.refresh_from_db()
    return job


@dataclass(frozen=True)
class Heartbeat:
    """What the database answers to a heartbeat: whether the run still holds its claim, and whether it is to stop."""

    held: bool
    cancel: bool


def check(job: Job) -> Heartbeat:
    """Whether the run goes on, without writing."""
    row = Job.objects.filter(pk=job.pk).values("state", "claim", "cancel_requested_at").first()
    held = row is not None and row["state"] == JobState.RUNNING and row["claim"] == job.claim
    return Heartbeat(held=held, cancel=held and row is not None and row["cancel_requested_at"] is not None)


def beat(
    job: Job, *, progress: float, text: str, steps: Sequence[Mapping[str, Any]], shown: Sequence[Mapping[str, Any]] | None = None
) -> bool:
    """Write that the run lives and how far it is, and what it shows where that has changed. False where it has lost its claim."""
    changed: dict[str, Any] = {} if shown is None else {"shown": list(shown)}
    return bool(
        _held(job).update(
            heartbeat_at=timezone.now(), progress=progress, progress_text=text[:200], steps=list(steps)[-50:], **changed
        )
    )


def keep(job: Job, path: Path, name: str, note: str) -> bool:
    """Store a file that another run may go on from, in place of the one of that name. False where the run has lost its claim."""
    if not _held(job).exists():
        return False
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        stored = default_storage.save(f"kept/{job.pk}/{uuid.uuid4().hex}", File(file))
    done = False
    try:
        with transaction.atomic():
            if _held(job).select_for_update().exists():
                old = list(Kept.objects.filter(job=job, name=name).values_list("path", flat=True))
                Kept.objects.update_or_create(
                    job=job,
                    name=name,
                    defaults={
                        "note": note[:200],
                        "size": path.stat().st_size,
                        "sha256": sha256,
                        "path": stored,
                        "at": timezone.now(),
                    },
                )
                transaction.on_commit(lambda: remove_stored(old))
                done = True
    finally:
        if not done:
            remove_stored([stored])
    return done


def kept_of(job: Job) -> list[Kept]:
    """What a run of this job can go on from: what an earlier run of it kept, else one of the job that it is to go on with."""
    return next((found for one in _earlier(job) if (found := list(one.kept.all()))), [])


def _earlier(job: Job) -> list[Job]:
    """A job and those that it repeats, newest first."""
    found = [job]
    while (before := found[-1].retry_of) is not None and len(found) < MOST_RETRIES:
        if before.type != job.type or before.params != job.params:
            break
        found.append(before)
    return found


def _drop_kept(jobs: Sequence[Job]) -> None:
    """Remove what these jobs kept."""
    rows = Kept.objects.filter(job__in=[one.pk for one in jobs])
    paths = list(rows.values_list("path", flat=True))
    if paths:
        rows.delete()
        transaction.on_commit(lambda: remove_stored(paths))


def append_log(job: Job, text: str) -> None:
    """Add to the job's log."""
    LogChunk.objects.create(job=job, text=text)


def succeed(
    job: Job, result: Mapping[str, Any], manifest: Mapping[str, Any], artifacts: Sequence[NewArtifact], steps: Sequence[Any]
) -> bool:
    """Store the artefacts and end the run well, all or nothing. False where the run had lost its claim."""
    folder = f"artifacts/{job.pk}/{job.claim}"
    stored: list[tuple[NewArtifact, str]] = []
    done = False
    try:
        for artifact in artifacts:
            with artifact.path.open("rb") as file:
                stored.append((artifact, default_storage.save(f"{folder}/{artifact.name}", File(file))))
        with transaction.atomic():
            changed = _held(job).update(
                state=JobState.SUCCEEDED,
                finished_at=timezone.now(),
                progress=1.0,
                progress_text="Done",
                steps=list(steps)[-50:],
                shown=[],
                result=dict(result),
                manifest=dict(manifest),
            )
            if changed:
                Artifact.objects.bulk_create(
                    Artifact(
                        job=job,
                        name=new.name,
                        kind=new.kind,
                        title=new.title,
                        size=new.size,
                        sha256=new.sha256,
                        path=path,
                        preview=new.preview,
                    )
                    for new, path in stored
                )
                done = True
    finally:
        if not done:
            remove_stored([path for _, path in stored])
    if done:
        _drop_kept(_earlier(job))
        parts.remove(job)
        parts.ended(job)
    return done


def fail(job: Job, code: str, message: str, hint: str = "") -> bool:
    """End the run badly."""
    changed = _held(job).update(
        state=JobState.FAILED,
        finished_at=timezone.now(),
        error_code=code[:60],
        error_message=message,
        error_hint=hint,
    )
    if changed:
        parts.ended(job)
    return bool(changed)


def cancelled(job: Job) -> bool:
    """End the run as its owner asked."""
    changed = _held(job).update(state=JobState.CANCELLED, finished_at=timezone.now())
    if changed:
        parts.ended(job)
    return bool(changed)


def release(job: Job) -> None:
    """Give a run back unharmed, because its worker stops: it waits again and does not count as an attempt."""
    if _held(job).update(
        state=JobState.PENDING, claim=None, attempt=job.attempt - 1, started_at=None, queued_at=timezone.now(), progress_text=""
    ):
        enqueue(job)


def _held(job: Job) -> Any:
    """The row of this run, as long as it holds its claim."""
    return Job.objects.filter(pk=job.pk, state=JobState.RUNNING, claim=job.claim)


# --- housekeeping ---------------------------------------------------------------------------------


def reap(now: Any = None) -> int:
    """Find runs whose worker died, and waiting jobs whose message was lost; requeue or end them. Returns how many changed."""
    now = now or timezone.now()
    changed = 0
    lost_before = now - timedelta(seconds=settings.JOB_LOST_SECONDS)
    for job in Job.objects.filter(state=JobState.RUNNING, heartbeat_at__lt=lost_before):
        run = Job.objects.filter(pk=job.pk, state=JobState.RUNNING, claim=job.claim, heartbeat_at__lt=lost_before)
        if job.cancel_requested_at:
            changed += run.update(state=JobState.CANCELLED, finished_at=now)
        elif job.attempt >= settings.JOB_ATTEMPTS:
            changed += run.update(
                state=JobState.FAILED,
                finished_at=now,
                error_code="worker.lost",
                error_message=f"The worker that ran this job died, {job.attempt} times.",
                error_hint="The job may need more memory than the machine has. Try a smaller input, or ask the administrator.",
            )
        elif run.update(state=JobState.PENDING, claim=None, started_at=None, queued_at=now, progress_text="Runs again"):
            append_log(job, "The worker was lost; the job runs again.\n")
            enqueue(job)
            changed += 1
        parts.ended(job)
    for job in Job.objects.filter(state=JobState.PENDING, queued_at__lt=now - timedelta(seconds=60)):
        # The broker may have lost the message, or the queue is just long: a second message does no harm, the claim decides.
        if Job.objects.filter(pk=job.pk, state=JobState.PENDING, queued_at=job.queued_at).update(queued_at=now):
            # Where it has parts, the worker that ended the last one may have died before it said so.
            if not parts.settle(job):
                enqueue(job)
            changed += 1
    return changed


def expire(now: Any = None) -> int:
    """Remove the artefacts and logs of jobs that ended longer ago than the retention time. Returns how many jobs."""
    now = now or timezone.now()
    before = now - timedelta(days=settings.ENV.retention_days)
    count = 0
    for job in Job.objects.filter(Q(finished_at__lt=before) & Q(state__in=FINISHED) & Q(expired_at=None)):
        paths = list(job.artifacts.values_list("path", flat=True))
        with transaction.atomic():
            job.artifacts.all().delete()
            job.log_chunks.all().delete()
            _drop_kept([job])
            Job.objects.filter(pk=job.pk).update(expired_at=now)
        remove_stored(paths)
        count += 1
    return count


def remove_stored(paths: Sequence[str]) -> None:
    """Remove files from the storage; what cannot be removed is told in the log."""
    for path in paths:
        try:
            default_storage.delete(path)
        except OSError:
            log.warning("could not remove %s from the file storage", path, exc_info=True)
