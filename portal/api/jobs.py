"""Jobs: submit, follow, cancel, retry, remove; their logs and artefacts."""

from __future__ import annotations

import io
import json
import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

from django.core.files.storage import default_storage
from django.http import HttpRequest
from ninja import Query, Router, Schema, Status
from ninja.params.functions import Header
from pydantic import ConfigDict, Field

from portal.api.auth import person
from portal.api.errors import ApiError, Problem, not_found, refusals
from portal.api.files import FileDetail
from portal.api.files import detail as file_detail
from portal.api.pages import Page, Paging, page
from portal.downloads import send_file, send_zip
from portal.jobs import presentation, services
from portal.jobs.models import Artifact, Job, JobState, Kept
from portal.library import services as library

router = Router(tags=["jobs"])

Once = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        max_length=200,
        description="Any text of your own, new for each job: a request that is sent again with it gives the job it made before",
    ),
]
State = Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"]


class JobSubmission(Schema):
    """A job to run."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(description="Slug of the job type")
    params: dict[str, Any] = Field(default_factory=dict, description="The job type's parameters; files by their ids")
    title: str = Field("", max_length=200, description="A name for the job; made from the parameters where it is empty")


class ProgressOut(Schema):
    fraction: float = Field(description="0 to 1")
    text: str = Field(description="The step in progress")
    eta_seconds: float | None = Field(description="Estimated time left of a running job")


class ArtifactOut(Schema):
    """A file that a job made."""

    id: uuid.UUID
    name: str
    kind: str
    title: str
    size: int = Field(description="Bytes")
    sha256: str
    url: str = Field(description="Where its bytes are, relative to the portal")


class KeptOut(Schema):
    """A file that a run has kept so far, for another run to go on from."""

    id: uuid.UUID
    name: str
    note: str = Field(description="How far the run was")
    size: int = Field(description="Bytes")
    sha256: str
    url: str = Field(description="Where its bytes are, relative to the portal")


class JobSummary(Schema):
    """A job, as lists show it."""

    id: uuid.UUID
    type: str
    title: str
    owner: str | None = Field(description="Whose it is; none: the portal itself started it")
    state: State
    progress: ProgressOut
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    queue_seconds: float | None = Field(description="How long it waited for a worker")
    run_seconds: float | None = Field(description="How long its last run took")
    attempt: int
    cancel_requested: bool
    error: Problem | None = Field(description="Why it failed")
    url: str = Field(description="Its page, relative to the portal")


class JobDetail(JobSummary):
    """A job with all that came of it."""

    params: dict[str, Any]
    steps: list[dict[str, Any]]
    result: dict[str, Any] | None = Field(description="Notes, figures, plots and tables of a job that succeeded")
    artifacts: list[ArtifactOut]
    kept: list[KeptOut] = Field(
        description="What a run has kept so far, or an earlier one that it goes on from; empty once it is done"
    )
    retry_of: uuid.UUID | None
    expired_at: datetime | None = Field(description="When its artefacts were removed")


class LogOut(Schema):
    """A part of a job's log."""

    text: str
    after: int = Field(description="Give this as ?after= to get what comes next")
    finished: bool = Field(description="Whether the job has ended, so that nothing more comes")


class LogPlace(Schema):
    after: int = Field(0, ge=0, le=2**62, description="What was read already")


class JobFilters(Paging):
    state: list[State] = Field(default_factory=list, description="Only jobs in these states")
    type: list[str] = Field(default_factory=list, description="Only jobs of these types")
    q: str = Field("", description="Only jobs whose title has this in it")


def summary(job: Job) -> dict[str, Any]:
    """The fields of `JobSummary`."""
    failed = job.state == JobState.FAILED
    return {
        "id": job.pk,
        "type": job.type,
        "title": job.title,
        "owner": job.owner.get_username() if job.owner else None,
        "state": job.state,
        "progress": {"fraction": job.progress, "text": job.progress_text, "eta_seconds": presentation.time_left(job)},
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "queue_seconds": job.queue_seconds,
        "run_seconds": job.run_seconds,
        "attempt": job.attempt,
        "cancel_requested": job.cancel_requested_at is not None,
        "error": {"code": job.error_code, "message": job.error_message, "hint": job.error_hint} if failed else None,
        "url": f"/jobs/{job.pk}",
    }


def detail(job: Job) -> dict[str, Any]:
    """The fields of `JobDetail`."""
    return summary(job) | {
        "params": job.params,
        "steps": job.steps,
        "result": job.result,
        "artifacts": [show_artifact(each) for each in job.artifacts.all()],
        "kept": [_kept(each) for each in services.kept_of(job)] if job.state != JobState.SUCCEEDED else [],
        "retry_of": job.retry_of_id,
        "expired_at": job.expired_at,
    }


def _kept(kept: Kept) -> dict[str, Any]:
    return {
        "id": kept.pk,
        "name": kept.name,
        "note": kept.note,
        "size": kept.size,
        "sha256": kept.sha256,
        "url": f"/api/v1/jobs/{kept.job_id}/kept/{kept.pk}",
    }


def show_artifact(artifact: Artifact) -> dict[str, Any]:
    """The fields of `ArtifactOut`."""
    return {
        "id": artifact.pk,
        "name": artifact.name,
        "kind": artifact.kind,
        "title": artifact.title,
        "size": artifact.size,
        "sha256": artifact.sha256,
        "url": f"/api/v1/jobs/{artifact.job_id}/artifacts/{artifact.pk}",
    }


def find(request: HttpRequest, job_id: uuid.UUID) -> Job:
    """The job with this id, where the person may see it."""
    job = presentation.visible(person(request)).select_related("owner").filter(pk=job_id).first()
    if job is None:
        raise not_found("job")
    return job


@router.get("", response={200: Page[JobSummary]} | refusals(422), operation_id="list_jobs", summary="List jobs")
def index(request: HttpRequest, filters: Query[JobFilters]) -> Any:
    """Your jobs, newest first; an administrator sees everybody's."""
    found = presentation.visible(person(request)).filter(parent=None).select_related("owner")
    if filters.state:
        found = found.filter(state__in=filters.state)
    if filters.type:
        found = found.filter(type__in=filters.type)
    if filters.q:
        found = found.filter(title__icontains=filters.q)
    return page(found, filters, summary)


@router.post(
    "",
    response={201: JobDetail} | refusals(403, 409, 413, 422, 429),
    operation_id="submit_job",
    summary="Submit a job",
)
def submit(request: HttpRequest, submission: JobSubmission, key: Once = "") -> Any:
    """Make a job and queue it. Follow it by getting it again until its state is none of PENDING and RUNNING."""
    job = services.submit(person(request), submission.type, submission.params, title=submission.title, key=key)
    return Status(201, detail(job))


@router.get("/{uuid:job_id}", response={200: JobDetail} | refusals(404), operation_id="get_job", summary="Get a job")
def get(request: HttpRequest, job_id: uuid.UUID) -> Any:
    """A job with its result and artefacts."""
    return detail(find(request, job_id))


@router.delete("/{uuid:job_id}", response={204: None} | refusals(404, 409), operation_id="delete_job", summary="Delete a job")
def delete(request: HttpRequest, job_id: uuid.UUID) -> Any:
    """Remove an ended job with its artefacts and log."""
    services.delete(find(request, job_id))
    return Status(204, None)


@router.post(
    "/{uuid:job_id}/cancel", response={202: JobDetail} | refusals(404, 409), operation_id="cancel_job", summary="Cancel a job"
)
def cancel(request: HttpRequest, job_id: uuid.UUID) -> Any:
    """Cancel a job: at once where it waits, within two seconds where it runs."""
    job = find(request, job_id)
    if not services.cancel(job):
        raise ApiError(409, "This job has ended already.", code="job.ended")
    return Status(202, detail(find(request, job_id)))


@router.post(
    "/{uuid:job_id}/retry",
    response={201: JobDetail} | refusals(403, 404, 409, 413, 422, 429),
    operation_id="retry_job",
    summary="Run a job again",
)
def retry(request: HttpRequest, job_id: uuid.UUID, key: Once = "") -> Any:
    """A new job with the same type and parameters; it goes on with what the earlier one kept."""
    return Status(201, detail(services.retry(find(request, job_id), person(request), key=key)))


@router.get("/{uuid:job_id}/log", response={200: LogOut} | refusals(404, 422), operation_id="get_job_log", summary="Read a log")
def read_log(request: HttpRequest, job_id: uuid.UUID, place: Query[LogPlace]) -> Any:
    """What the job has written, from a place on."""
    # The state is read before the log: what comes between the two is then part of the next answer, not lost.
    job = find(request, job_id)
    chunks = list(job.log_chunks.filter(pk__gt=place.after))
    text = "".join(chunk.text for chunk in chunks)
    return {"text": text, "after": chunks[-1].pk if chunks else place.after, "finished": not job.active}


@router.get(
    "/{uuid:job_id}/artifacts",
    response={200: list[ArtifactOut]} | refusals(404),
    operation_id="list_artifacts",
    summary="List artefacts",
)
def artifacts(request: HttpRequest, job_id: uuid.UUID) -> Any:
    """The files that the job made."""
    return [show_artifact(each) for each in find(request, job_id).artifacts.all()]


def find_artifact(request: HttpRequest, job_id: uuid.UUID, artifact_id: uuid.UUID) -> Artifact:
    """One of the files that the job made."""
    artifact = find(request, job_id).artifacts.filter(pk=artifact_id).first()
    if artifact is None:
        raise not_found("artefact", "Artefacts are removed when their job is older than the retention time.")
    return artifact


BYTES = {"responses": {200: {"description": "The bytes", "content": {"application/octet-stream": {}}}}}
ZIP = {"responses": {200: {"description": "The archive", "content": {"application/zip": {}}}}}


@router.get(
    "/{uuid:job_id}/artifacts/{uuid:artifact_id}",
    response={200: None} | refusals(404),
    operation_id="download_artifact",
    summary="Download an artefact",
    openapi_extra=BYTES,
)
def download(request: HttpRequest, job_id: uuid.UUID, artifact_id: uuid.UUID) -> Any:
    """The bytes of an artefact. A `Range` is honoured; `ETag` and `X-Content-SHA256` carry the sha256."""
    artifact = find_artifact(request, job_id, artifact_id)
    path = artifact.path
    return send_file(
        request, lambda: default_storage.open(path, "rb"), name=artifact.name, size=artifact.size, sha256=artifact.sha256
    )


@router.post(
    "/{uuid:job_id}/artifacts/{uuid:artifact_id}/keep",
    response={201: FileDetail} | refusals(404, 413, 415),
    operation_id="keep_artifact",
    summary="Put an artefact into the library",
)
def keep(request: HttpRequest, job_id: uuid.UUID, artifact_id: uuid.UUID) -> Any:
    """The artefact as a file of your library, which other jobs take and which outlives the job."""
    artifact = find_artifact(request, job_id, artifact_id)
    return Status(201, file_detail(library.keep_artifact(person(request), artifact)))


@router.get(
    "/{uuid:job_id}/kept/{uuid:kept_id}",
    response={200: None} | refusals(404),
    operation_id="download_kept",
    summary="Download what a run has kept",
    openapi_extra=BYTES,
)
def download_kept(request: HttpRequest, job_id: uuid.UUID, kept_id: uuid.UUID) -> Any:
    """The bytes of a file that a run has kept so far, such as a checkpoint or the curves of a training."""
    found = find(request, job_id).kept.filter(pk=kept_id).first()
    if found is None:
        raise not_found("file", "What a run keeps is replaced while it goes on, and removed once it is done.")
    path = found.path
    return send_file(request, lambda: default_storage.open(path, "rb"), name=found.name, size=found.size, sha256=found.sha256)


@router.get(
    "/{uuid:job_id}/zip",
    response={200: None} | refusals(404),
    operation_id="download_job",
    summary="Download all artefacts",
    openapi_extra=ZIP,
)
def archive(request: HttpRequest, job_id: uuid.UUID) -> Any:
    """All artefacts and the manifest in one zip."""
    job = find(request, job_id)
    if job.state != JobState.SUCCEEDED:
        raise not_found("archive", "Only a job that succeeded has artefacts.")
    text = json.dumps(job.manifest, indent=1).encode()
    members: list[Any] = [("manifest.json", lambda: io.BytesIO(text))]
    members += [(each.name, lambda path=each.path: default_storage.open(path, "rb")) for each in job.artifacts.all()]
    return send_zip(request, f"{job.type}-{str(job.pk)[:8]}.zip", members)


@router.get(
    "/{uuid:job_id}/manifest",
    response={200: dict[str, Any]} | refusals(404),
    operation_id="get_job_manifest",
    summary="Get the manifest",
)
def manifest(request: HttpRequest, job_id: uuid.UUID) -> Any:
    """Versions, options and inputs behind the result; empty until the job has succeeded."""
    return find(request, job_id).manifest
