"""The page about showers."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from portal.jobs import forms, presentation
from portal.library.models import LibraryFile
from portal.showers import leaderboard

STEPS = (
    "shower-simulate", "shower-inspect", "shower-train", "shower-adapt", "shower-distill", "shower-sample", "shower-evaluate",
    "shower-to-cpp",
)  # fmt: skip
"""The job types in the order of the work."""
MOST_JOBS = 12
MOST_FILES = 12


@login_required
@require_safe
def showers(request: HttpRequest) -> HttpResponse:
    """Models by dataset, what can be done, what was done last."""
    user: Any = request.user
    known = {one.slug: one for one in forms.startable(user)}
    jobs = presentation.visible(user).filter(type__startswith="shower-", parent=None).order_by("-created_at")[:MOST_JOBS]
    context = {
        "boards": leaderboard.boards(user),
        "columns": leaderboard.COLUMNS,
        "steps": [known[slug] for slug in STEPS if slug in known],
        "jobs": presentation.rows(jobs),
        "files": LibraryFile.objects.filter(owner=user, kind__in=("shower-model", "hdf5")).order_by("-created_at")[:MOST_FILES],
    }
    return render(request, "showers/showers.html", context)
