"""The library's pages: a list with uploads, an inspector for each file."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from portal.accounts import services as accounts
from portal.downloads import send_file
from portal.jobs import registry
from portal.jobs.services import JobRefusedError, disk_used
from portal.library import services
from portal.library.models import LibraryFile

CHUNK_BYTES = 1 << 20
PER_PAGE = 50


@login_required
@require_GET
def library(request: HttpRequest) -> HttpResponse:
    """The person's files, newest first, searched by name."""
    files = LibraryFile.objects.filter(owner=request.user.pk).select_related("content", "inspection_job")
    if text := request.GET.get("q", "").strip():
        files = files.filter(name__icontains=text)
    page = Paginator(files, PER_PAGE).get_page(request.GET.get("page"))
    user: Any = request.user
    context = {
        "page": page,
        "q": text,
        "used": disk_used(user),
        "quota": accounts.quota(user).disk,
        "kinds": services.KIND_TITLES,
    }
    return render(request, "library/list.html", context)


@login_required
@require_POST
def upload(request: HttpRequest) -> HttpResponse:
    """Take one file: raw bytes with ``?name=`` from the script (answers JSON), or a plain form (answers a page)."""
    user: Any = request.user
    plain_form = (request.content_type or "").startswith("multipart/")
    try:
        if plain_form:
            sent = request.FILES.get("file")
            if sent is None:
                raise services.UploadRefusedError("No file was chosen.", hint="Choose a file first.", code="upload.missing")
            file = services.store_upload(user, sent.name or "", sent.chunks(CHUNK_BYTES), sent.size)
        else:
            announced = request.headers.get("Content-Length", "")
            size_hint = int(announced) if announced.isdigit() else None
            file = services.store_upload(user, request.GET.get("name", ""), _body(request), size_hint)
    except services.UploadRefusedError as error:
        if plain_form:
            messages.error(request, f"{error.message} {error.hint}")
            return redirect("library")
        return JsonResponse({"error": error.message, "hint": error.hint, "code": error.code}, status=error.status)
    if plain_form:
        return redirect("library-file", file.pk)
    return JsonResponse(
        {
            "id": str(file.pk),
            "name": file.name,
            "kind": file.kind,
            "kind_title": services.KIND_TITLES.get(file.kind, file.kind),
            "size": file.size,
            "url": reverse("library-file", args=[file.pk]),
        },
        status=201,
    )


def _body(request: HttpRequest) -> Iterator[bytes]:
    while chunk := request.read(CHUNK_BYTES):
        yield chunk


@login_required
@require_GET
def file_page(request: HttpRequest, file_id: uuid.UUID) -> HttpResponse:
    """What is in one file, and what can be done with it."""
    file = _own(request, file_id)
    inspection = file.inspection_job
    context = {
        "file": file,
        "kind_title": services.KIND_TITLES.get(file.kind, file.kind),
        "inspection": inspection,
        "uses": _uses(file),
        "trees": _trees(file),
    }
    fragment = request.GET.get("fragment") == "inspection"
    return render(request, "library/_inspection.html" if fragment else "library/file.html", context)


def _uses(file: LibraryFile) -> list[dict[str, str]]:
    """The job types that take this kind of file, each with the address of its form filled in."""
    return [
        {
            "title": job_type.title,
            "summary": job_type.summary,
            "duration": job_type.duration,
            "url": f"{reverse('job-form', args=[slug])}?{urlencode({field: str(file.pk)})}",
        }
        for slug, job_type in registry.all_types().items()
        if job_type.listed
        for field, kinds in job_type.file_kinds().items()
        if file.kind in kinds
    ]


TREE_TITLE = re.compile(r"^(?:Tree|RNTuple) (?P<name>.+?)(?:;\d+)?: ")


def _trees(file: LibraryFile) -> list[dict[str, Any]]:
    """The trees of an inspected ROOT file with their branches, for the choice of a histogram."""
    result = (file.inspection_job.result if file.inspection_job else None) or {}
    titled = ((TREE_TITLE.match(table["title"]), table) for table in result.get("tables", ()) if file.kind == "root")
    return [{"name": match["name"], "branches": [row[0] for row in table["rows"]]} for match, table in titled if match]


@login_required
@require_GET
def histogram(request: HttpRequest, file_id: uuid.UUID) -> HttpResponse:
    """The histogram of one branch: waits as a fragment that asks again, then the plot."""
    file = _own(request, file_id)
    tree, branch = request.GET.get("tree", ""), request.GET.get("branch", "")
    context: dict[str, Any] = {"file": file, "tree": tree, "branch": branch}
    try:
        context["job"] = services.histogram(file, tree, branch)
    except JobRefusedError as error:
        context["refused"] = error
    return render(request, "library/_histogram.html" if request.headers.get("HX-Request") else "library/histogram.html", context)


@login_required
@require_GET
def download(request: HttpRequest, file_id: uuid.UUID) -> HttpResponseBase:
    """The stored bytes; always as an attachment, never shown by the browser as a page of the portal."""
    file = _own(request, file_id)
    return send_file(request, lambda: services.open_file(file), name=file.name, size=file.size, sha256=file.sha256)


@login_required
@require_POST
def inspect(request: HttpRequest, file_id: uuid.UUID) -> HttpResponse:
    """Inspect the file again."""
    services.inspect(_own(request, file_id))
    return redirect("library-file", file_id)


@login_required
@require_POST
def delete(request: HttpRequest, file_id: uuid.UUID) -> HttpResponse:
    """Remove the file."""
    file = _own(request, file_id)
    services.delete(file)
    messages.success(request, f"{file.name} was deleted.")
    return redirect("library")


def _own(request: HttpRequest, file_id: uuid.UUID) -> LibraryFile:
    return get_object_or_404(
        LibraryFile.objects.select_related("content", "inspection_job", "owner"), pk=file_id, owner=request.user.pk
    )
