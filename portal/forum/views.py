"""The review queue. Each page works as a plain form post and a reload; the script only adds the preview in place, and keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from portal.accounts.models import User
from portal.chat.render import answer as answer_html
from portal.chat.render import prose
from portal.forum import compose, services, verify
from portal.forum.models import OPEN, Draft, DraftPicture, DraftState, RejectReason, Topic, TopicState

PAGE = 50
SHOWN = {
    "waiting": ("Waiting", OPEN),
    "mine": ("Assigned to me", OPEN),
    "on-its-way": ("On its way", (DraftState.REWRITING, DraftState.APPROVED, DraftState.POSTING)),
    "posted": ("Posted", (DraftState.POSTED,)),
    "taken": ("For GitHub", (DraftState.TAKEN,)),
    "rejected": ("Rejected", (DraftState.REJECTED,)),
}


class ReviewerRequest(HttpRequest):
    """What `for_reviewers` lets through, for the type checker."""

    user: User


View = Callable[..., HttpResponse | StreamingHttpResponse]


def for_reviewers(view: View) -> View:
    """Only for people who may review; where no forum is set up, there is no such page."""

    @login_required
    @wraps(view)
    def checked(request: ReviewerRequest, *args: Any, **kwargs: Any) -> HttpResponse | StreamingHttpResponse:
        if not settings.ENV.drafts:
            raise Http404("Neither a forum nor a repository is set up.")
        if not request.user.has_perm(services.PERMISSION):
            raise PermissionDenied("Only the forum's reviewers see this page.")
        return view(request, *args, **kwargs)

    return checked


@require_GET
@for_reviewers
def queue(request: ReviewerRequest) -> HttpResponse:
    """Drafts that wait, or those of another ``?show=``; and what went wrong."""
    show = request.GET.get("show", "waiting")
    show = show if show in SHOWN else "waiting"
    drafts = Draft.objects.filter(state__in=SHOWN[show][1]).select_related("topic", "reviewer", "decided_by")
    if show == "mine":
        drafts = drafts.filter(reviewer=request.user)
    if show in ("posted", "taken", "rejected"):
        drafts = drafts.order_by("-decided_at")
    context = {
        "show": show,
        "kinds": [(name, title) for name, (title, _) in SHOWN.items() if name != "taken" or settings.ENV.github_repository],
        "page": Paginator(drafts, PAGE).get_page(request.GET.get("page")),
        "forum": services.forum(),
        "forum_url": settings.ENV.forum_url,
        "tracker": services.tracker(),
        "repository": settings.ENV.github_repository,
        "repository_url": settings.ENV.github_page,
        "coming": Topic.objects.filter(state__in=(TopicState.QUEUED, TopicState.WORKING)).count(),
        "failed": Topic.objects.filter(state=TopicState.FAILED)[:20],
    }
    return render(request, "forum/queue.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@for_reviewers
def draft(request: ReviewerRequest, pk: int) -> HttpResponse:
    """A topic and its draft, side by side; a post decides it (``action``), on the ``revision`` that the reviewer saw."""
    found = get_object_or_404(Draft.objects.select_related("topic", "reviewer", "decided_by"), pk=pk)
    if request.method != "POST":
        return _page(request, found)
    try:
        done = _act(request, found)
    except services.ForumRefusedError as error:
        found = get_object_or_404(Draft.objects.select_related("topic", "reviewer", "decided_by"), pk=pk)
        return _page(request, found, text=request.POST.get("text"), error=error, status=409)
    if not done:
        return _page(request, found, text=request.POST.get("text", ""), status=400)
    messages.success(request, done)
    decided = request.POST.get("action") in ("approve", "reject", "another")
    to_copy = request.POST.get("action") == "approve" and found.topic.by_hand
    following = _neighbours(found)[1] if decided and not to_copy else found.pk
    return HttpResponseRedirect(reverse("forum-draft", args=[following]) if following else reverse("forum"))


def _act(request: ReviewerRequest, found: Draft) -> str:
    """Do what the form asks; says what was done, nothing where the action is unknown."""
    given, user = request.POST, request.user
    try:
        revision = int(given.get("revision", ""))
    except ValueError:
        return ""
    text = given.get("text", found.text)
    match given.get("action"):
        case "save":
            services.edit(found, user, text, revision)
            return "The draft was saved."
        case "approve":
            services.approve(found, user, revision, text=text, anyway="anyway" in given)
            return "Approved. Post it on GitHub." if found.topic.by_hand else "Approved. It is posted within a minute."
        case "reject":
            services.reject(found, user, revision, given.get("reason", ""), given.get("words", ""))
            return "Rejected. The topic gets no other draft."
        case "another":
            services.ask_another(found, user, revision, given.get("remark", ""))
            return "Another draft is being written."
        case "assign":
            to = User.objects.filter(username=given["to"]).first() if given.get("to") else None
            services.assign(found, user, to)
            return f"Assigned to {to.get_username()}." if to else "Assigned to nobody."
    return ""


@require_POST
@for_reviewers
def preview(request: ReviewerRequest, pk: int) -> HttpResponse:
    """The text of the form as the forum would show it; nothing is stored."""
    found = get_object_or_404(Draft.objects.select_related("topic", "reviewer", "decided_by"), pk=pk)
    text = request.POST.get("text", "")[: compose.TEXT_LIMIT]
    if request.headers.get("HX-Request"):
        return render(request, "forum/_preview.html", {"preview": _post_html(found, text)})
    return _page(request, found, text=text)


@require_GET
@for_reviewers
def picture(_request: ReviewerRequest, pk: int, number: int) -> HttpResponse:
    """A picture that a draft's code drew."""
    found = get_object_or_404(DraftPicture, pk=number, draft=pk)
    return HttpResponse(bytes(found.png), content_type="image/png", headers={"Cache-Control": "private, max-age=86400"})


@require_POST
@for_reviewers
def retry(request: ReviewerRequest, pk: int) -> HttpResponse:
    """Try a topic again that failed."""
    try:
        services.try_again(get_object_or_404(Topic, pk=pk), request.user)
    except services.ForumRefusedError as error:
        messages.error(request, error.message)
    return redirect("forum")


@require_GET
@for_reviewers
def evaluation(_request: ReviewerRequest) -> StreamingHttpResponse:
    """What reviewers made of the drafts, as JSON lines for the evaluation of the assistant."""

    def lines() -> Iterator[str]:
        for row in services.evaluation_rows():
            yield json.dumps(row, ensure_ascii=False) + "\n"

    return StreamingHttpResponse(
        lines(),
        content_type="application/jsonl; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="forum-evaluation.jsonl"'},
    )


# --- the page -----------------------------------------------------------------------------------------------------------------


def _page(
    request: ReviewerRequest,
    found: Draft,
    *,
    text: str | None = None,
    error: services.ForumRefusedError | None = None,
    status: int = 200,
) -> HttpResponse:
    shown = found.text if text is None else text
    before, after = _neighbours(found)
    context = {
        "draft": found,
        "topic": found.topic,
        "question": prose(found.topic.question),
        "text": shown,
        "preview": _post_html(found, shown),
        "error": error,
        "passages": [passage | {"html": prose(passage["text"])} for passage in found.passages],
        "cited": compose.cited_numbers(shown, found.passages),
        "record": services.track_record(found.confidence),
        "similar": [each | {"url": f"{settings.ENV.forum_url}/t/{each['number']}"} for each in found.similar],
        "reasons": RejectReason.choices,
        "reviewers": services.reviewers(),
        "audit": found.topic.audit.all(),
        "before": before,
        "after": after,
        "whisper": _whispers(found),
        "markdown": _post(found, shown) if found.state == DraftState.TAKEN else "",
        "code_runs": verify.shown(shown, found.answer, found.pictures.defer("png")),
        "limit": compose.TEXT_LIMIT,
    }
    return render(request, "forum/draft.html", context, status=status)


def _post(found: Draft, text: str) -> str:
    return compose.post(verify.labelled(text, found.answer).text, found.passages, automatic=found.automatic)


def _post_html(found: Draft, text: str) -> str:
    """The post as it would read, in the page's own clean HTML."""
    return answer_html(_post(found, text).replace("\u200b", ""), "draft", set())


def _whispers(found: Draft) -> bool:
    forum = services.forum()
    return forum.whisper or found.topic.category in forum.whisper_categories


def _neighbours(found: Draft) -> tuple[int | None, int | None]:
    """The drafts that wait before and after this one, in the queue's order."""
    waiting = Draft.objects.filter(state__in=OPEN).exclude(pk=found.pk)
    before = waiting.filter(made_at__lte=found.made_at).order_by("-made_at").values_list("pk", flat=True).first()
    after = waiting.filter(made_at__gte=found.made_at).order_by("made_at").values_list("pk", flat=True).first()
    return before, after
