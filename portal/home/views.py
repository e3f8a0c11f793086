"""The home and status pages, and the pages for what went wrong."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.views.decorators.http import require_safe

from portal.home import overview
from portal.jobs import forms, presentation, registry

RECENT_JOBS = 8

TRIES = (
    "Fit a J/ψ peak with RDataFrame",
    "Read an RNTuple in Python",
    "How do I fill a TH2D and project it on x?",
)


@login_required
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """What can I do, is it up, what ran."""
    user: Any = request.user
    jobs = presentation.visible(user).filter(parent=None)
    found = presentation.rows(jobs.exclude(type__in=_in_passing()).order_by("-created_at")[:RECENT_JOBS])
    context = {
        "tries": TRIES,
        "table_url": "?fragment=table" if any(job.active for job in found) else "",
        "strip": overview.strip(),
        "jobs": found,
        "types": forms.startable(user),
    }
    fragment = request.GET.get("fragment") == "table"
    return render(request, "jobs/_table.html" if fragment else "home/home.html", context)


def _in_passing() -> list[str]:
    """The types of job that come with using a page, such as looking into an uploaded file: not what a person means by a job."""
    return [one.slug for one in registry.all_types().values() if not one.listed and not one.staff_only]


@login_required
@require_safe
def status(request: HttpRequest) -> HttpResponse:
    """Each service with its state and why."""
    template = "home/_status.html" if request.GET.get("fragment") == "services" else "home/status.html"
    return render(request, template, overview.full(request.user))


@login_required
@require_safe
def status_strip(request: HttpRequest) -> HttpResponse:
    """The line under the ask box, as a fragment."""
    return render(request, "home/_strip.html", {"strip": overview.strip()})


@require_safe
def favicon(request: HttpRequest) -> HttpResponse:
    """Where browsers look for an icon on pages that name none."""
    return redirect(static("portal/mark.svg"))


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """The page for a request that cannot be understood."""
    return render(request, "errors/400.html", status=400)


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """The page for what this person may not do."""
    return render(request, "errors/403.html", status=403)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """The page for an address that leads nowhere, or to somebody else's things."""
    return render(request, "errors/404.html", status=404)


def server_error(request: HttpRequest) -> HttpResponse:
    """The page for a mistake of ours. Rendered without the database, which may be what broke."""
    return HttpResponse(render_to_string("errors/500.html"), status=500)
