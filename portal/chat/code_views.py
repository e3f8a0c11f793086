"""Buttons that run code: a block of an answer, or a tutorial. Each works as a form post and a reload too."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods
from django_htmx.middleware import HtmxDetails

from portal.accounts.models import User
from portal.chat import code
from portal.chat.models import Turn
from portal.jobs.services import JobRefusedError


class SignedInRequest(HttpRequest):
    """What `login_required` and the middleware let through, for the type checker."""

    user: User
    htmx: HtmxDetails


@login_required
@require_http_methods(["GET", "POST"])
def block(request: SignedInRequest, pk: UUID, number: int) -> HttpResponse:
    """A block with what came of it; a post runs it, with ``which=mended`` its mended version."""
    turn = get_object_or_404(Turn.objects.exclude(conversation=None).select_related("owner"), pk=pk, owner=request.user)
    refused = None
    if request.method == "POST":
        try:
            code.run_block(turn, number, mended=request.POST.get("which") == "mended")
        except JobRefusedError as error:
            refused = error
        turn.refresh_from_db()
    if not request.htmx:
        if refused:
            messages.error(request, f"{refused.message} {refused.hint}".strip())
        return HttpResponseRedirect(f"{reverse('conversation', args=[turn.conversation_id])}#turn-{turn.anchor}")
    shown = code.shown(turn).get(number)
    if shown is None:
        raise Http404("There is no such block in this answer.")
    return render(request, "chat/_code.html", {"block": shown, "refused": refused})


@login_required
@require_http_methods(["GET", "POST"])
def tutorial(request: SignedInRequest) -> HttpResponse:
    """What came of the tutorial at ``?place=``; a post runs it."""
    place = request.GET.get("place", "")
    if not code.is_tutorial(place):
        raise Http404("ROOT has no such tutorial.")
    refused = None
    if request.method == "POST":
        try:
            code.submit(request.user, "", "", tutorial=place)
        except JobRefusedError as error:
            refused = error
    if not request.htmx:
        if refused:
            messages.error(request, f"{refused.message} {refused.hint}".strip())
        document = request.POST.get("document", "")
        return HttpResponseRedirect(reverse("passage", args=[document]) if document else reverse("ask"))
    return render(request, "chat/_tutorial.html", {"block": code.shown_tutorial(request.user, place), "refused": refused})
