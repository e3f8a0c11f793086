"""Pages about benchmarks: all runs, and the matrix of one, with another one beside it."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from portal.benchmarks import links, reports, table
from portal.jobs import forms, presentation
from portal.jobs.models import Job, JobState
from portal.unlisted import unlisted

MOST_CHANGES = 200


@login_required
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """All runs, and how to start one."""
    user: Any = request.user
    known = {one.slug: one for one in forms.startable(user)}
    context = {"jobs": reports.runs(user), "types": [known[slug] for slug in (reports.TYPE, "forest-benchmark") if slug in known]}
    return render(request, "benchmarks/index.html", context)


@login_required
@require_safe
def matrix(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
    """The matrix of a run at one size, relative to one engine; what is chosen is in the address."""
    job = get_object_or_404(presentation.visible(_user(request)).filter(type=reports.TYPE), pk=job_id)
    report = reports.report_of(job)
    if report is None or not report.cells:
        return render(request, "benchmarks/nothing.html", {"job": job}, status=404)
    others = [one for one in reports.runs(_user(request)) if one.pk != job.pk and one.state == JobState.SUCCEEDED]
    found = links.link_of(job)
    address = request.build_absolute_uri(reverse("benchmark-shared", args=[found.token])) if found else ""
    own = {"job": job, "others": others, "link": address, "may_share": job.owner_id == _user(request).pk}
    return render(request, "benchmarks/matrix.html", own | _shown(request, job, report) | _compared(request, report, job))


@login_required
@require_POST
def link(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
    """Make the link by which anybody sees the matrix, or end it (``end``)."""
    job = get_object_or_404(Job, pk=job_id, type=reports.TYPE, owner=_user(request))
    if "end" in request.POST:
        links.end(job)
        messages.success(request, "The link does not work any more.")
    elif reports.report_of(job) is None:
        messages.error(request, "There is nothing to show yet. Wait for the first figures.")
    else:
        links.make(job)
    return redirect(reverse("benchmark-matrix", args=[job.pk]) + "#share")


@require_safe
def shared(request: HttpRequest, token: str) -> HttpResponse:
    """The matrix of a run for anybody who has its link: nothing of its owner, of the job or of other runs."""
    job = links.job_of(token)
    report = reports.report_of(job) if job else None
    if job is None or report is None or not report.cells:
        raise Http404("There is no such link, or its owner has ended it.")
    return unlisted(render(request, "benchmarks/matrix.html", {"public": True} | _shown(request, job, report)))


def _shown(request: HttpRequest, job: Job, report: Any) -> dict[str, Any]:
    """What the address chooses of a report."""
    from mlcore.benchmarks.advice import advice
    from mlcore.benchmarks.report import reasons, reference_of
    from portal.jobs.benchmark_pages import memory_plots, scaling_plots

    quantities = table.quantities()
    quantity = quantities.get(request.GET.get("show", ""), quantities["time"])
    batch = _chosen(request, "batch", report.batches)
    threads = _chosen(request, "threads", report.threads)
    measured = {cell.key.engine for cell in report.measured}
    wanted = request.GET.get("against", "")
    against = wanted if wanted in measured else reference_of(report)
    return {
        "title": job.title,
        "created_at": job.created_at,
        "report": report,
        "partial": job.state != JobState.SUCCEEDED,
        "quantities": quantities.values(),
        "quantity": quantity,
        "batch": batch,
        "threads": threads,
        "against": against,
        "against_title": report.engine_title(against),
        "references": [engine for engine in report.engines if engine.name in measured],
        "engines": [(engine, _reason(engine)) for engine in report.engines],
        "rows": table.rows(report, batch, threads, quantity, against),
        "plots": [*memory_plots(report, batch, threads), *scaling_plots(report, threads)],
        "advice": advice(report),
        "reasons": reasons(report),
        "machine": report.machine.items(),
    }


def _user(request: HttpRequest) -> Any:
    return request.user


def _reason(engine: Any) -> str:
    """What stands below an engine's name."""
    return str(engine.version or ("not here" if engine.absent else ""))


def _chosen(request: HttpRequest, name: str, choices: tuple[int, ...]) -> int:
    """A number of the address where it is one of the choices, else the first of these."""
    text = request.GET.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and int(text[:9]) in choices else choices[0]


def _compared(request: HttpRequest, report: Any, job: Job) -> dict[str, Any]:
    """What changed since the run that the address names."""
    from mlcore.benchmarks.comparing import compare
    from mlcore.benchmarks.report import seconds

    try:
        identifier = uuid.UUID(request.GET.get("since", ""))
    except ValueError:
        return {"since": None}
    other = presentation.visible(_user(request)).filter(pk=identifier, type=reports.TYPE).exclude(pk=job.pk).first()
    earlier = reports.report_of(other) if other is not None else None
    if earlier is None:
        return {"since": None}
    found = compare(earlier, report)
    colours = {"faster": "f2", "slower": "l2", "noisy": "", "unclear": "", "same": ""}
    changes = [
        {
            "model": report.model_title(each.key.model),
            "engine": report.engine_title(each.key.engine),
            "key": each.key,
            "before": seconds(each.before),
            "after": seconds(each.after),
            "change": f"{100 * (each.ratio - 1):+.1f} %".replace("-", "−"),
            "ratio": f"{each.ratio:.6g}",
            "interval": f"{each.lower:.3f} – {each.upper:.3f}",
            "probability": f"{each.probability:.2g}",
            "verdict": each.verdict,
            "colour": colours[each.verdict],
        }
        for each in found.changes
    ]
    counts = {verdict: sum(each.verdict == verdict for each in found.changes) for verdict in colours}
    return {
        "since": other,
        "changes": changes[:MOST_CHANGES],
        "counts": counts,
        "differences": found.differences,
        "lost": len(found.lost),
        "gained": len(found.gained),
    }
