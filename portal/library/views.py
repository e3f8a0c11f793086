"""The library's pages: a list with uploads, an inspector for each file."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from mlcore.filetypes import FOREST_HOLDERS, FORESTS
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
    """What is in one file, and what can be done with it; of a forest, also one of its trees, which the address may name."""
    file = _own(request, file_id)
    part = request.GET.get("fragment", "")
    forest = _forest(file, request.GET.get("tree", ""))
    if part == "tree" and forest is None:
        raise Http404
    context = {
        "file": file,
        "kind_title": services.KIND_TITLES.get(file.kind, file.kind),
        "inspection": file.inspection_job,
        "uses": _uses(file, holds_forest=forest is not None),
        "trees": _trees(file),
        "forest": forest,
        "wide": forest is not None or file.kind in FORESTS,
    }
    templates = {"inspection": "library/_inspection.html", "tree": "library/_tree.html"}
    return render(request, templates.get(part, "library/file.html"), context)


def _uses(file: LibraryFile, *, holds_forest: bool) -> list[dict[str, str]]:
    """The job types that take this kind of file, each with the address of its form filled in.

    What takes forests is named for an ONNX model or a ROOT file only where a forest was found in it.
    """
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
        if file.kind in kinds and (holds_forest or file.kind not in FOREST_HOLDERS or not set(FORESTS) & set(kinds))
    ]


def _forest(file: LibraryFile, wanted: str) -> dict[str, Any] | None:
    """Which tree of an inspected forest to show: its drawing, or the job that makes it. None where the file is no forest."""
    result = (file.inspection_job.result if file.inspection_job else None) or {}
    drawn = next(iter(result.get("series", ())), None)
    if drawn is None:
        return None
    total = drawn["total"]
    number = min(int(wanted), total - 1) if wanted.isascii() and wanted.isdigit() and len(wanted) < 10 else 0
    found: dict[str, Any] = {
        "number": number,
        "total": total,
        "last": total - 1,
        "previous": number - 1 if number else None,
        "next": number + 1 if number + 1 < total else None,
    }
    if not _drawing(found, drawn):
        try:
            found["job"] = job = services.trees(file, number)
        except JobRefusedError as error:
            found["refused"] = error
        else:
            for series in (job.result or {}).get("series", ()):
                _drawing(found, series)
    return found


def _drawing(forest: dict[str, Any], series: Mapping[str, Any]) -> bool:
    """Take the chosen tree's drawing from those of a job, where it is among them."""
    place = forest["number"] - series["first"]
    if 0 <= place < len(series["plots"]):
        forest["plot"] = series["plots"][place]
    return "plot" in forest


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
