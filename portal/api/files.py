"""Files: the person's library, uploaded as raw bytes and streamed to disk."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

from django.http import HttpRequest
from ninja import Query, Router, Schema, Status
from pydantic import Field

from portal.api.auth import person
from portal.api.errors import ApiError, Problem, not_found, refusals
from portal.api.pages import Page, Paging, page
from portal.downloads import send_file
from portal.jobs.models import JobState
from portal.library import services
from portal.library.models import LibraryFile

router = Router(tags=["files"])

CHUNK_BYTES = 1 << 20


class FileSummary(Schema):
    """A file of the library, as lists show it."""

    id: uuid.UUID
    name: str
    kind: str = Field(description="Found by content, for example xgboost-json")
    kind_title: str
    size: int = Field(description="Bytes")
    sha256: str
    created_at: datetime
    url: str = Field(description="Its page, relative to the portal")


class Inspection(Schema):
    """What the portal found in a file."""

    state: Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"]
    job: uuid.UUID
    result: dict[str, Any] | None = Field(description="Notes, figures, plots and tables, once it succeeded")
    error: Problem | None


class FileDetail(FileSummary):
    """A file with what is in it."""

    inspection: Inspection | None = Field(description="None for kinds that are not inspected")


class UploadName(Schema):
    name: str = Field(min_length=1, max_length=1000, description="The file's name")


class FileFilters(Paging):
    kind: list[str] = Field(default_factory=list, description="Only files of these kinds")
    q: str = Field("", description="Only files whose name has this in it")


def summary(file: LibraryFile) -> dict[str, Any]:
    """The fields of `FileSummary`."""
    return {
        "id": file.pk,
        "name": file.name,
        "kind": file.kind,
        "kind_title": services.KIND_TITLES.get(file.kind, file.kind),
        "size": file.size,
        "sha256": file.sha256,
        "created_at": file.created_at,
        "url": f"/library/{file.pk}",
    }


def detail(file: LibraryFile) -> dict[str, Any]:
    """The fields of `FileDetail`."""
    return summary(file) | {"inspection": _inspection(file)}


def _inspection(file: LibraryFile) -> dict[str, Any] | None:
    job = file.inspection_job
    if job is None:
        return None
    failed = job.state == JobState.FAILED
    error = {"code": job.error_code, "message": job.error_message, "hint": job.error_hint} if failed else None
    return {"state": job.state, "job": job.pk, "result": job.result, "error": error}


def find(request: HttpRequest, file_id: uuid.UUID) -> LibraryFile:
    """The person's file with this id."""
    file = LibraryFile.objects.select_related("content", "inspection_job").filter(pk=file_id, owner=person(request)).first()
    if file is None:
        raise not_found("file")
    return file


@router.get("", response={200: Page[FileSummary]} | refusals(422), operation_id="list_files", summary="List files")
def index(request: HttpRequest, filters: Query[FileFilters]) -> Any:
    """Your files, newest first."""
    found = LibraryFile.objects.filter(owner=person(request))
    if filters.kind:
        found = found.filter(kind__in=filters.kind)
    if filters.q:
        found = found.filter(name__icontains=filters.q)
    return page(found, filters, summary)


@router.put(
    "",
    response={201: FileDetail} | refusals(400, 413, 415, 422),
    operation_id="upload_file",
    summary="Upload a file",
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "The bytes of the file, nothing around them",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
def upload(request: HttpRequest, target: Query[UploadName]) -> Any:
    """Store a file of any size. Its kind is found by its content; pickle and joblib are refused."""
    announced = request.headers.get("Content-Length", "")
    if (request.content_type or "").startswith("multipart/"):
        hint = "Send the bytes alone, for example with curl: -T FILE, not -F."
        raise ApiError(415, "The body must be the file itself, not a form.", hint=hint, code="upload.form")
    file = services.store_upload(person(request), target.name, _body(request), int(announced) if announced.isdigit() else None)
    return Status(201, detail(find(request, file.pk)))


def _body(request: HttpRequest) -> Iterator[bytes]:
    while chunk := request.read(CHUNK_BYTES):
        yield chunk


@router.get("/{uuid:file_id}", response={200: FileDetail} | refusals(404), operation_id="get_file", summary="Get a file")
def get(request: HttpRequest, file_id: uuid.UUID) -> Any:
    """A file with what was found in it."""
    return detail(find(request, file_id))


@router.delete("/{uuid:file_id}", response={204: None} | refusals(404), operation_id="delete_file", summary="Delete a file")
def delete(request: HttpRequest, file_id: uuid.UUID) -> Any:
    """Remove a file. Jobs that used it keep their results."""
    services.delete(find(request, file_id))
    return Status(204, None)


@router.get(
    "/{uuid:file_id}/content",
    response={200: None} | refusals(404),
    operation_id="download_file",
    summary="Download a file",
    openapi_extra={"responses": {200: {"description": "The bytes", "content": {"application/octet-stream": {}}}}},
)
def download(request: HttpRequest, file_id: uuid.UUID) -> Any:
    """The bytes of a file. A `Range` is honoured; `ETag` and `X-Content-SHA256` carry the sha256."""
    file = find(request, file_id)
    return send_file(request, lambda: services.open_file(file), name=file.name, size=file.size, sha256=file.sha256)
