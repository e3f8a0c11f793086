"""Pages of conversations as a whole: search, share link, export; and the page of the assistant's use, for administrators."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.core.files.storage import default_storage
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST, require_safe

from portal.chat import code, services
from portal.chat.export import ENDINGS, file_name, turns_of
from portal.chat.export import export as exported
from portal.chat.models import Conversation, Share
from portal.chat.redact import redacted
from portal.chat.search import QUERY_LIMIT, hits, search
from portal.chat.show import rail, shown_to_others
from portal.chat.use_page import PERIODS, use_page
from portal.chat.views import SignedInRequest
from portal.downloads import send_file
from portal.unlisted import unlisted

PAGE = 30


@login_required
@require_safe
def conversations(request: SignedInRequest) -> HttpResponse:
    """The person's conversations; ``?q=`` finds those that hold some words."""
    query = request.GET.get("q", "")[:QUERY_LIMIT].strip()
    page = Paginator(search(request.user, query), PAGE).get_page(request.GET.get("page"))
    context = {"rail": rail(request.user), "query": query, "page": page, "hits": hits(list(page.object_list), query)}
    return render(request, "chat/conversations.html", context)


@login_required
@require_POST
def share(request: SignedInRequest, pk: UUID) -> HttpResponse:
    """Make the share link, bring it up to date, or end it (``end``)."""
    found = get_object_or_404(Conversation, pk=pk, owner=request.user)
    if "end" in request.POST:
        services.stop_sharing(found)
        messages.success(request, "The link does not work any more.")
    else:
        try:
            services.share(found)
        except services.ChatRefusedError as error:
            messages.error(request, f"{error.message} {error.hint}".strip())
    return redirect(reverse("conversation", args=[found.pk]) + "#share")


@require_safe
def shared(request: HttpRequest, token: str) -> HttpResponse:
    """A shared conversation, for anybody who has its link: nothing of its owner, of files or of how it came about."""
    found = _share_or_404(token)
    context = {
        "title": redacted(found.conversation.title),
        "until": found.until,
        "turns": shown_to_others(services.shared_turns(found), found),
    }
    return unlisted(render(request, "chat/shared.html", context))


@require_safe
def shared_picture(request: HttpRequest, token: str, pk: UUID) -> HttpResponseBase:
    """A picture that code of a shared answer drew."""
    found = _share_or_404(token)
    picture = code.shared_picture(services.shared_turns(found), pk, found.until)
    if picture is None:
        raise Http404("There is no such picture.")
    sent = send_file(
        request, lambda: default_storage.open(picture.path, "rb"), name=picture.name, size=picture.size, sha256=picture.sha256
    )
    return unlisted(sent)


def _share_or_404(token: str) -> Share:
    found = Share.objects.select_related("conversation").filter(token=token, conversation__owner__is_active=True).first()
    if found is None:
        raise Http404("There is no such link, or its owner has ended it.")
    return found


@login_required
@require_GET
def export(request: SignedInRequest, pk: UUID, ending: str) -> HttpResponse:
    """The conversation as a file, by its ending."""
    found = get_object_or_404(Conversation, pk=pk, owner=request.user)
    kind = next((kind for kind, (known, _) in ENDINGS.items() if known == f".{ending}"), None)
    if kind is None:
        raise Http404("Conversations are not exported in this format.")
    return HttpResponse(
        exported(found, turns_of(found), kind),
        content_type=ENDINGS[kind][1],
        headers={"Content-Disposition": f'attachment; filename="{file_name(found, kind)}"', "Cache-Control": "private, no-store"},
    )


@login_required
@require_safe
def use(request: SignedInRequest) -> HttpResponse:
    """What the assistant's use amounts to; ``?days=`` of `PERIODS`."""
    if not request.user.is_staff:
        raise PermissionDenied("Only administrators see this page.")
    given = request.GET.get("days", "")
    days = int(given) if given.isdigit() and int(given) in PERIODS else 30
    return render(request, "chat/use.html", use_page(days))
