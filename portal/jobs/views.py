"""Pages about jobs: the list, the forms, one job and what it made."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.files.storage import default_storage
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.text import slugify
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from portal.downloads import send_file, send_zip
from portal.jobs import forms, fragments, presentation, registry, services
from portal.jobs.models import Artifact, Job, JobState, Kept, LogChunk
from portal.library import services as library

PER_PAGE = 25
LOG_TAIL = 200_000  # characters of the log on the page; the raw log has all


# --- lists and forms ------------------------------------------------------------------------------------------------------------


@login_required
@require_safe
def job_list(request: HttpRequest) -> HttpResponse:
    """Jobs, newest first, filtered by what the address says."""
    user: Any = request.user
    chosen = {name: request.GET.get(name, "").strip() for name in ("whose", "state", "type", "q")}
    jobs = presentation.visible(user).filter(parent=None).order_by("-created_at")
    if user.is_staff and chosen["whose"] == "mine":
        jobs = jobs.filter(owner=user)
    if chosen["state"] in JobState.values:
        jobs = jobs.filter(state=chosen["state"])
    if chosen["type"]:
        jobs = jobs.filter(type=chosen["type"])
    if chosen["q"]:
        jobs = jobs.filter(title__icontains=chosen["q"])
    page = Paginator(jobs, PER_PAGE).get_page(request.GET.get("page"))
    found = presentation.rows(jobs[page.start_index() - 1 : page.end_index()]) if page.paginator.count else []
    query = request.GET.copy()
    for name in ("page", "fragment"):
        query.pop(name, None)
    context = {
        "page": page,
        "jobs": found,
        "chosen": chosen,
        "filtered": any(chosen.values()),
        "query": query.urlencode(),
        # Asked for again while something on it changes by itself.
        "table_url": f"?{query.urlencode()}&page={page.number}&fragment=table" if any(job.active for job in found) else "",
        "states": JobState.choices,
        "types": sorted((one.slug, one.title) for one in registry.all_types().values() if user.is_staff or not one.staff_only),
    }
    fragment = request.GET.get("fragment") == "table"
    return render(request, "jobs/_table.html" if fragment else "jobs/list.html", context)


@login_required
@require_safe
def job_new(request: HttpRequest) -> HttpResponse:
    """Every kind of job that this person may start."""
    return render(request, "jobs/new.html", {"types": forms.startable(request.user)})


@login_required
@require_http_methods(["GET", "POST"])
def job_form(request: HttpRequest, slug: str) -> HttpResponse:
    """The form of one job type, made from the schema of its parameters."""
    job_type = next((one for one in forms.startable(request.user) if one.slug == slug), None)
    if job_type is None:
        return render(request, "jobs/no_type.html", {"slug": slug, "types": forms.startable(request.user)}, status=404)
    user: Any = request.user
    form = forms.JobForm(job_type, user)
    status = 200
    if request.method == "POST":
        form.take(request.POST, request.FILES)
        if form.refused is None and not form.problems:
            if "check" in request.POST:
                form.check()
            elif job := form.submit():
                return redirect("job", job.pk)
        status = 200 if form.checked else 422
    else:
        form.prefill(request.GET, _source(request))
    context = {
        "form": form,
        "job_type": job_type,
        "types": forms.startable(user),
        "slug": slug,
        "public_url": settings.PUBLIC_URL,
    }
    return render(request, "jobs/form.html", context, status=status)


@login_required
@require_http_methods(["GET", "POST"])
def job_preview(request: HttpRequest, slug: str) -> HttpResponse:
    """What a form shows beside itself while it is filled in: a short job, started by what was typed, then asked for again."""
    job_type = next((one for one in forms.startable(request.user) if one.slug == slug and one.preview_type), None)
    if job_type is None:
        return render(request, "jobs/no_type.html", {"slug": slug, "types": forms.startable(request.user)}, status=404)
    user: Any = request.user
    context: dict[str, Any] = {"slug": slug}
    if request.method == "GET":
        known = presentation.visible(user).filter(type=job_type.preview_type)
        context["job"] = get_object_or_404(known, pk=request.GET.get("job", "")) if _is_uuid(request.GET.get("job", "")) else None
        return render(request, "jobs/_preview.html", context)
    form = forms.JobForm(job_type, user)
    form.take(request.POST, {})
    try:
        context["job"] = services.preview(user, job_type.preview_type, form.parameters())
    except services.JobRefusedError as error:
        # What is still empty is no mistake while the form is being filled in.
        missing = all(problem == "Field required" or "at least 1 item" in problem for problem in error.problems.values())
        context["refused"] = None if error.problems and missing else error
    return render(request, "jobs/_preview.html", context)


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _source(request: HttpRequest) -> Job | None:
    """The job whose parameters the form starts from, where the address names one."""
    try:
        identifier = uuid.UUID(request.GET.get("from", ""))
    except ValueError:
        return None
    return presentation.visible(request.user).filter(pk=identifier).first()


# --- one job --------------------------------------------------------------------------------------------------------------------


@login_required
@require_safe
def job_page(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
    """State, figures, plots, detail, artefacts, log."""
    job = _visible_or_404(request, job_id)
    return _with_body(request, "jobs/job.html", job, _job_context(request, job) | _log_context(job))


@require_safe
def job_status(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
    """What changes while a job runs, as a fragment; the whole result once it has ended."""
    if not request.user.is_authenticated:
        return HttpResponse(headers={"HX-Redirect": f"{reverse('account_login')}?next={reverse('job', args=[job_id])}"})
    job = presentation.visible(request.user).select_related("owner").filter(pk=job_id).first()
    if job is None:
        return HttpResponse(headers={"HX-Redirect": reverse("job-list")})
    # The state that the page shows: where it is another now, the rest of the page changes too.
    context = _job_context(request, job) | _log_context(job, after=_number(request.GET.get("after", "")))
    context["changed"] = request.GET.get("shown", "") != job.state or job.state == JobState.PENDING
    return _with_body(request, "jobs/_live.html", job, context)


@login_required
@require_safe
def job_log(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
    """The whole log as plain text."""
    job = _visible_or_404(request, job_id)
    text = "".join(LogChunk.objects.filter(job=job).values_list("text", flat=True))
    return HttpResponse(text, content_type="text/plain; charset=utf-8")


@login_required
@require_POST
def job_cancel(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
    """Cancel a job that waits or runs."""
    job = _visible_or_404(request, job_id)
    if not services.cancel(job):
        messages.info(request, "This job had ended already.")
    return redirect("job", job.pk)


@login_required
@require_POST
def job_retry(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
    """Run a job again with the same parameters, as a new job."""
    job = _visible_or_404(request, job_id)
    user: Any = request.user
    try:
        return redirect("job", services.retry(job, user).pk)
    except services.JobRefusedError as error:
        messages.error(request, f"{error.message} {error.hint}")
        return redirect("job", job.pk)


@login_required
@require_POST
def job_delete(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
    """Remove an ended job and its artefacts."""
    job = _visible_or_404(request, job_id)
    try:
        services.delete(job)
    except services.JobRefusedError as error:
        messages.error(request, f"{error.message} {error.hint}")
        return redirect("job", job_id)
    messages.success(request, f"“{job.title}” and its artefacts are deleted.")
    return redirect("job-list")


# --- what it made ---------------------------------------------------------------------------------------------------------------


@login_required
@require_safe
def artifact(request: HttpRequest, job_id: uuid.UUID, artifact_id: uuid.UUID) -> HttpResponseBase:
    """One file that a job made."""
    job = _visible_or_404(request, job_id)
    found = get_object_or_404(Artifact, pk=artifact_id, job=job)
    return send_file(
        request, lambda: default_storage.open(found.path, "rb"), name=found.name, size=found.size, sha256=found.sha256
    )


@login_required
@require_safe
def kept(request: HttpRequest, job_id: uuid.UUID, kept_id: uuid.UUID) -> HttpResponseBase:
    """One file that a run in progress, or one that did not end well, has kept so far."""
    _visible_or_404(request, job_id)
    found = get_object_or_404(Kept, pk=kept_id, job=job_id)
    return send_file(
        request, lambda: default_storage.open(found.path, "rb"), name=found.name, size=found.size, sha256=found.sha256
    )


@login_required
@require_http_methods(["GET", "POST"])
def artifact_use(request: HttpRequest, job_id: uuid.UUID, artifact_id: uuid.UUID) -> HttpResponse:
    """What a file that a job made can be used for; sent, it puts the file into the library and opens a form with it."""
    job = _visible_or_404(request, job_id)
    found = get_object_or_404(Artifact, pk=artifact_id, job=job)
    user: Any = request.user
    uses = library.uses_of_artifact(found)
    if request.method == "GET":
        return render(
            request, "jobs/use.html", {"job": job, "artifact": found, "uses": uses, "kept_days": settings.ENV.retention_days}
        )
    try:
        file = library.keep_artifact(user, found)
    except library.UploadRefusedError as error:
        messages.error(request, f"{error.message} {error.hint}")
        return redirect("artifact-use", job.pk, found.pk)
    use = next(
        (one for one in uses if one.slug == request.POST.get("use", "") and one.field == request.POST.get("field", "")), None
    )
    if use is None:
        return redirect("library-file", file.pk)
    return redirect(f"{reverse('job-form', args=[use.slug])}?{urlencode({use.field: str(file.pk)})}")


@login_required
@require_safe
def job_zip(request: HttpRequest, job_id: uuid.UUID) -> HttpResponseBase:
    """All files that a job made, as one archive made while it is sent."""
    job = _visible_or_404(request, job_id)
    found = list(job.artifacts.all())
    if not found:
        return render(request, "errors/404.html", status=404)
    members = [(one.name, _opener(one.path)) for one in found]
    return send_zip(request, f"{slugify(job.title) or 'job'}-{str(job.pk)[:8]}.zip", members)


def _opener(path: str) -> Any:
    return lambda: default_storage.open(path, "rb")


@login_required
@require_safe
def job_manifest(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
    """Versions, options and inputs behind a result, with the sha256 of every artefact."""
    job = _visible_or_404(request, job_id)
    artifacts = [{"name": one.name, "size": one.size, "sha256": one.sha256} for one in job.artifacts.all()]
    content = {
        "job": str(job.pk),
        "title": job.title,
        "state": job.state,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        **job.manifest,
        "artifacts": artifacts,
    }
    response = JsonResponse(content, json_dumps_params={"indent": 1, "ensure_ascii": False})
    response["Content-Disposition"] = f'attachment; filename="manifest-{str(job.pk)[:8]}.json"'
    return response


# --- shared ---------------------------------------------------------------------------------------------------------------------


def _visible_or_404(request: HttpRequest, job_id: uuid.UUID) -> Job:
    return get_object_or_404(presentation.visible(request.user).select_related("owner"), pk=job_id)


def _job_context(request: HttpRequest, job: Job) -> dict[str, Any]:
    """What the page and its fragments show of a job."""
    user: Any = request.user
    job_type = registry.all_types().get(job.type)
    waits_for = list(job.parts.order_by("part").defer("result", "manifest")) if job.state == JobState.PENDING else []
    presentation.set_places([job, *waits_for])
    job.needs_look = presentation.needs_look(job)  # type: ignore[attr-defined]
    kept = services.kept_of(job) if job.state != JobState.SUCCEEDED else []
    return {
        "job": job,
        "kept": kept,
        "kept_size": sum(one.size for one in kept),
        "steps": presentation.steps(job),
        "waits_for": waits_for,
        "elapsed": presentation.elapsed(job),
        "time_left": presentation.time_left(job),
        "percent": round(100 * job.progress),
        "kept_until": presentation.kept_until(job),
        "announcement": presentation.announcement(job),
        "waited": (timezone.now() - job.created_at).total_seconds(),
        "headline": presentation.title_prefix(job),
        "short_id": str(job.pk)[:8],
        "can_retry": job_type is not None and (not job_type.staff_only or user.is_staff),
        "can_change": any(one.slug == job.type for one in forms.startable(user)),
    }


def _with_body(request: HttpRequest, template: str, job: Job, context: dict[str, Any]) -> HttpResponse:
    """A page or fragment, with what a job that ended well made where the template has `done`."""
    if job.state != JobState.SUCCEEDED:
        return render(request, template, context)
    body = fragments.done_body(job)
    return body.put_into(render(request, template, context | {"done": fragments.MARK, "has_artifacts": body.artifacts}))


def _log_context(job: Job, after: int = 0) -> dict[str, Any]:
    """The log beyond a chunk's number, and the number of its last chunk."""
    chunks = list(LogChunk.objects.filter(job=job, pk__gt=after).values_list("pk", "text"))
    text = "".join(chunk for _, chunk in chunks)
    return {
        "log": text[-LOG_TAIL:],
        "log_cut": len(text) > LOG_TAIL,
        "log_last": chunks[-1][0] if chunks else after,
    }


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
