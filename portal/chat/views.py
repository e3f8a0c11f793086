"""Pages of the chat. Each works as a plain form post and a reload; the script only adds streaming and swaps."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.middleware import HtmxDetails

from portal.accounts.models import User
from portal.chat import code, services
from portal.chat.models import Conversation, Share, Turn
from portal.chat.render import prose
from portal.chat.show import rail, show, turns_of
from portal.jobs.services import JobRefusedError
from portal.library.models import LibraryFile

EXAMPLES = (
    "How do I fill a histogram from a TTree with RDataFrame?",
    "Fit a Gaussian plus a linear background and get the yield with its error",
    "Read a branch of a ROOT file into NumPy",
    "Turn my XGBoost model into C++",
)
ATTACHABLE = 50  # files that the form lists
DOCUMENT_LIMIT = 100_000  # characters of a document that its page shows


class SignedInRequest(HttpRequest):
    """What `login_required` and the middleware let through, for the type checker."""

    user: User
    htmx: HtmxDetails


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def ask(request: SignedInRequest) -> HttpResponse:
    """A new question; ``?q=`` fills it in."""
    if request.method == "POST":
        question = request.POST.get("question", "")
        try:
            turn = services.ask(request.user, question, files=request.POST.getlist("file"))
        except services.ChatRefusedError as error:
            return _ask_page(request, question, error)
        return HttpResponseRedirect(_address(turn))
    return _ask_page(request, request.GET.get("q", ""))


def _ask_page(request: SignedInRequest, question: str, error: services.ChatRefusedError | None = None) -> HttpResponse:
    context = {
        "rail": rail(request.user),
        "question": question,
        "error": error,
        "examples": EXAMPLES,
        "limit": services.QUESTION_LIMIT,
        "files": attachable(request.user),
        "file": request.POST.get("file") or request.GET.get("file", ""),
    }
    return render(request, "chat/ask.html", context, status=400 if error else 200)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def conversation(request: SignedInRequest, pk: UUID) -> HttpResponse:
    """A conversation with its turns; a post asks the next question."""
    found = _own_conversation(request.user, pk)
    question = request.POST.get("question", "")
    refused = None
    if request.method == "POST":
        try:
            return HttpResponseRedirect(_address(services.ask(request.user, question, found, files=request.POST.getlist("file"))))
        except services.ChatRefusedError as error:
            refused = error
    turns = turns_of(found)
    context = {
        "conversation": found,
        "turns": turns,
        "rail": rail(request.user),
        "question": question,
        "error": refused,
        "limit": services.QUESTION_LIMIT,
        "files": attachable(request.user),
        "file": request.POST.get("file", ""),
        "busy": any(shown.turn.open for shown in turns),
        "share": (share := Share.objects.filter(conversation=found).first()),
        "share_url": request.build_absolute_uri(reverse("shared", args=[share.token])) if share else "",
    }
    return render(request, "chat/conversation.html", context, status=400 if refused else 200)


@login_required
@require_POST
def start_step(request: SignedInRequest, pk: UUID, number: int) -> HttpResponse:
    """Start the job that an answer offers: the click without which nothing starts."""
    found = _own_turn(request.user, pk)
    try:
        services.start_step(found, number)
    except (services.ChatRefusedError, JobRefusedError) as error:
        return _refused(request, found, error)
    return _changed(request, found)


@login_required
@require_GET
def steps(request: SignedInRequest, pk: UUID) -> HttpResponse:
    """The steps of a turn as they are now, for a page that shows a job in progress."""
    return render(request, "chat/_steps.html", {"shown": show(_own_turn(request.user, pk))})


@login_required
@require_POST
def rename(request: SignedInRequest, pk: UUID) -> HttpResponse:
    """Give a conversation another title."""
    found = _own_conversation(request.user, pk)
    try:
        services.rename(found, request.POST.get("title", ""))
    except services.ChatRefusedError as error:
        messages.error(request, _sentence(error))
    return redirect("conversation", pk=found.pk)


@login_required
@require_POST
def delete(request: SignedInRequest, pk: UUID) -> HttpResponse:
    """Remove a conversation."""
    found = _own_conversation(request.user, pk)
    title = found.title
    services.delete(found)
    messages.success(request, f"“{title}” was deleted.")
    return redirect("ask")


@login_required
@require_GET
def turn(request: SignedInRequest, pk: UUID) -> HttpResponse:
    """The lasting address of one turn: leads to it within its conversation."""
    found = _own_turn(request.user, pk)
    if request.htmx:
        return _turn(request, found)
    return HttpResponseRedirect(_address(found))


@login_required
@require_POST
def stop(request: SignedInRequest, pk: UUID) -> HttpResponse:
    """End the answer that is being written."""
    found = _own_turn(request.user, pk)
    services.stop(found)
    return _changed(request, found)


@login_required
@require_POST
def regenerate(request: SignedInRequest, pk: UUID) -> HttpResponse:
    """Answer the same question again."""
    found = _own_turn(request.user, pk)
    try:
        services.regenerate(found)
    except services.ChatRefusedError as error:
        return _refused(request, found, error)
    return _changed(request, found)


@login_required
@require_POST
def feedback(request: SignedInRequest, pk: UUID) -> HttpResponse:
    """Take what the reader thinks: ``useful`` is ``yes``, ``no`` or ``none`` (take it back), ``reason`` may go with it."""
    found = _own_turn(request.user, pk)
    useful = {"yes": True, "no": False}.get(request.POST.get("useful", ""))
    try:
        services.give_feedback(found, useful, request.POST.get("reason"))
    except services.ChatRefusedError as error:
        return _refused(request, found, error)
    return _changed(request, found)


@login_required
@require_GET
def passage(request: SignedInRequest, document: str) -> HttpResponse:
    """The document a passage was taken from, where it has no public page; else the copy kept with the turn in ``?turn=&n=``."""
    from assistant.errors import AssistantError
    from assistant.index.status import read_document

    try:
        stored = read_document(settings.INDEX_DIR, document)
    except AssistantError:
        stored = None
    if stored is not None:
        context = {
            "title": stored.title,
            "source": stored.source,
            "place": stored.place,
            "url": stored.url if stored.url.startswith(("https://", "http://")) else "",
            "origin": " ".join(part for part in (stored.corpus, stored.version) if part),
            "html": prose(stored.text[:DOCUMENT_LIMIT]),
            "cut": len(stored.text) > DOCUMENT_LIMIT,
            "document": document,
        }
        place = stored.place.rsplit(":", 1)[0]
        if stored.kind == "tutorial" and code.is_tutorial(place):
            context["tutorial"] = code.shown_tutorial(request.user, place)
        return render(request, "chat/passage.html", context)
    kept = _kept_passage(request, document)
    if kept is None:
        raise Http404("The index holds no such document.")
    context = {
        "title": kept["title"],
        "source": kept["source"],
        "place": kept["place"],
        "html": prose(kept["text"]),
        "gone": True,
    }
    return render(request, "chat/passage.html", context)


def _kept_passage(request: SignedInRequest, document: str) -> dict[str, str] | None:
    """The copy of a document's passage in one of this person's turns."""
    try:
        found = Turn.objects.filter(pk=UUID(request.GET.get("turn", "")), owner=request.user).first()
    except ValueError:
        return None
    passages = found.passages or () if found else ()
    return next((passage for passage in passages if passage.get("id") == document), None)


# --- answers ------------------------------------------------------------------------------------------------------------------


def _changed(request: SignedInRequest, found: Turn) -> HttpResponse:
    """After a change: the turn alone for a swap, its page otherwise."""
    if request.htmx:
        return _turn(request, Turn.objects.select_related("feedback").get(pk=found.pk))
    return HttpResponseRedirect(_address(found))


def _refused(request: SignedInRequest, found: Turn, error: services.ChatRefusedError | JobRefusedError) -> HttpResponse:
    """After a refusal: the turn with the reason, or its page with a message."""
    if request.htmx:
        return render(request, "chat/_turn.html", {"shown": show(found), "error": error})
    messages.error(request, _sentence(error))
    return HttpResponseRedirect(_address(found))


def _turn(request: SignedInRequest, found: Turn) -> HttpResponse:
    return render(request, "chat/_turn.html", {"shown": show(found)})


def _address(found: Turn) -> str:
    if found.conversation_id is None:
        raise Http404("This search belongs to no conversation.")
    return f"{reverse('conversation', args=[found.conversation_id])}#turn-{found.anchor}"


def attachable(owner: User) -> list[LibraryFile]:
    """The person's newest files, to go with a question."""
    return list(LibraryFile.objects.filter(owner=owner).order_by("-created_at")[:ATTACHABLE])


def _sentence(error: services.ChatRefusedError | JobRefusedError) -> str:
    return f"{error.message} {error.hint}".strip()


def _own_conversation(user: User, pk: UUID) -> Conversation:
    return get_object_or_404(Conversation, pk=pk, owner=user)


def _own_turn(user: User, pk: UUID) -> Turn:
    return get_object_or_404(Turn.objects.select_related("conversation", "feedback"), pk=pk, owner=user)
