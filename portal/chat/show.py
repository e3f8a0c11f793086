"""What the chat's templates are given: turns with their HTML, and the list of conversations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from portal.accounts.models import User
from portal.chat import code, render, services
from portal.chat.models import Conversation, Share, Turn, TurnState
from portal.chat.redact import redacted
from portal.jobs.models import Job

RAIL_LIMIT = 60

STAGES = {
    "wait": "waiting for a slot",
    "retrieve": "search",
    "retrieve.lexical": "search by words",
    "retrieve.dense": "search by meaning",
    "retrieve.fusion": "ranking",
    "retrieve.passages": "cutting passages",
    "first_text": "first words",
    "line": "in line for the model",
    "first_token": "model's first word",
    "generate": "model, in all",
    "total": "in all",
}
"""Names of an answer's timings, as a reader understands them; others are left out."""

PROGRESS = {
    TurnState.QUEUED: "Waiting for the assistant",
    TurnState.SEARCHING: "Searching",
    TurnState.WRITING: "Writing the answer",
}


@dataclass(frozen=True)
class ShownPassage:
    """A passage as the page shows it."""

    n: int
    title: str
    source: str
    place: str
    url: str
    public: bool
    score: float
    cited: bool
    html: SafeString


@dataclass(frozen=True)
class ShownStep:
    """A tool that was called, with the job that it led to as it is now."""

    number: int
    title: str
    state: str
    summary: str
    url: str
    seconds: float | None
    duration: str
    job: Job | None
    gone: bool


@dataclass(frozen=True)
class ShownTurn:
    """A turn as the page shows it."""

    turn: Turn
    number: int
    passages: tuple[ShownPassage, ...] | None
    prose: SafeString
    pieces: tuple[SafeString | code.ShownBlock, ...]
    """The prose once the answer is whole: HTML, and the blocks that can be run in their places."""
    progress: str
    timings: tuple[tuple[str, float], ...]
    steps: tuple[ShownStep, ...] = ()

    @property
    def watching(self) -> bool:
        """Whether a job that the answer started is still on its way."""
        return any(step.job is not None and step.job.active for step in self.steps)

    @property
    def search_seconds(self) -> float | None:
        """How long the search took, None where that is not known."""
        found = self.turn.answer.get("timings", {}).get("retrieve")
        return None if found is None else float(found)


def show(turn: Turn, number: int | None = None) -> ShownTurn:
    """A turn with everything that its template needs. ``number`` counts the turns of its conversation from 1."""
    if number is None:
        number = Turn.objects.filter(conversation=turn.conversation_id, created_at__lte=turn.created_at).count()
    passages = None if turn.passages is None else tuple(_passage(turn, each) for each in turn.passages)
    text = prose(turn)
    return ShownTurn(
        turn=turn,
        number=number,
        passages=passages,
        prose=text,
        pieces=(text,) if turn.open else _pieces(turn, text),
        progress=_progress(turn),
        timings=_timings(turn.answer.get("timings", {})),
        steps=_steps(turn),
    )


def _progress(turn: Turn) -> str:
    """What is being done, with the place in line."""
    if turn.open and turn.stop_requested_at:
        return "Stopping"
    if turn.state == TurnState.QUEUED and (before := services.before(turn)):
        return f"Waiting for the assistant: {_others(before)} before you"
    if turn.state == TurnState.WRITING and (before := int(turn.answer.get("before", 0))):
        return f"Waiting for the language model: {_others(before)} before you"
    return PROGRESS.get(TurnState(turn.state), "")


def _others(count: int) -> str:
    return f"{count} question{'s' if count > 1 else ''}"


def _steps(turn: Turn) -> tuple[ShownStep, ...]:
    started = [step["job"] for step in turn.steps if step.get("job")]
    known = {str(job.pk): job for job in Job.objects.filter(owner=turn.owner_id, pk__in=started)} if started else {}
    return tuple(
        ShownStep(
            number=number,
            title=step["offer"]["title"] if step.get("offer") else step["title"],
            # A step that was running when its run ended never ended itself.
            state="failed" if step["state"] == "running" and not turn.open else step["state"],
            summary=step.get("summary", ""),
            url=step.get("url", ""),
            seconds=step.get("seconds"),
            duration=step.get("offer", {}).get("duration", ""),
            job=known.get(step.get("job", "")),
            gone=bool(step.get("job")) and step["job"] not in known,
        )
        for number, step in enumerate(turn.steps)
    )


def prose(turn: Turn) -> SafeString:
    """The HTML of the text so far."""
    return render.answer(turn.text, turn.anchor, {passage["n"] for passage in turn.passages or ()})


def _pieces(turn: Turn, text: SafeString) -> tuple[SafeString | code.ShownBlock, ...]:
    """The answer with its blocks apart."""
    blocks = code.shown(turn)
    if not blocks:
        return (text,)
    pieces = render.answer_around(turn.text, turn.anchor, {passage["n"] for passage in turn.passages or ()}, blocks)
    return tuple(blocks[piece] if isinstance(piece, int) else piece for piece in pieces)


def _passage(turn: Turn, passage: Mapping[str, Any]) -> ShownPassage:
    url = str(passage["url"])
    own = url.startswith("/")
    return ShownPassage(
        n=passage["n"],
        title=passage["title"],
        source=passage["source"],
        place=passage["place"],
        # With the turn, the portal's own page can show the passage even after the document has left the index.
        url=f"{url}?turn={turn.pk}" if url.startswith("/ask/") else url if own or url.startswith(("https://", "http://")) else "",
        public=not own,
        score=passage["score"],
        cited=passage["n"] in turn.answer.get("citations", ()),
        html=render.prose(passage["text"]),
    )


def _timings(timings: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    return tuple((title, float(timings[name])) for name, title in STAGES.items() if name in timings)


def turns_of(conversation: Conversation) -> list[ShownTurn]:
    """The turns of a conversation, oldest first."""
    turns = conversation.turns.select_related("feedback").order_by("created_at")
    return [show(turn, number) for number, turn in enumerate(turns, 1)]


@dataclass(frozen=True)
class SharedTurn:
    """A turn as others see it: the question, the answer and its passages, and nothing else."""

    anchor: str
    number: int
    question: str
    pieces: tuple[SafeString | code.ShownBlock, ...]
    passages: tuple[ShownPassage, ...]
    abstained: bool
    extractive: bool
    stopped: bool


def shown_to_others(turns: Iterable[Turn], share: Share) -> list[SharedTurn]:
    """Turns for those who have a share link, with what came of their code until then.

    A passage without a public page keeps its title alone: what an installation has added to the corpus may be its own.
    """
    return [_shared(turn, number, share) for number, turn in enumerate(turns, 1)]


def _shared(turn: Turn, number: int, share: Share) -> SharedTurn:
    text = redacted(turn.text)
    numbers = {passage["n"] for passage in turn.passages or ()}
    blocks = code.shown_to_others(turn, text, share.until, lambda each: reverse("shared-picture", args=[share.token, each]))
    pieces = render.answer_around(text, turn.anchor, numbers, blocks) if blocks else [render.answer(text, turn.anchor, numbers)]
    shown = (_passage(turn, each) for each in turn.passages or ())
    return SharedTurn(
        anchor=turn.anchor,
        number=number,
        question=redacted(turn.question),
        pieces=tuple(blocks[piece] if isinstance(piece, int) else piece for piece in pieces),
        passages=tuple(each if each.public and each.url else _withheld(each) for each in shown),
        abstained=bool(turn.answer.get("abstained")),
        extractive=bool(turn.answer.get("extractive")),
        stopped=turn.state == TurnState.STOPPED,
    )


def _withheld(passage: ShownPassage) -> ShownPassage:
    """A passage that others do not read; of a person's own things not even the name."""
    hidden = replace(passage, url="", place="", html=SafeString(""))
    if passage.url.startswith(("/library/", "/jobs/")):
        return replace(hidden, title="A file or job of the person who asked", source="not shared")
    return hidden


@dataclass(frozen=True)
class RailGroup:
    """Conversations of about the same time, under their heading."""

    title: str
    old: bool
    conversations: tuple[Conversation, ...]


def rail(owner: User, now: datetime | None = None) -> list[RailGroup]:
    """This person's newest conversations by day, week and month."""
    today = (now or timezone.now()).date()
    newest = Conversation.objects.filter(owner=owner).order_by("-updated_at")[:RAIL_LIMIT]
    return group(newest, today)


def group(conversations: Iterable[Conversation], today: date) -> list[RailGroup]:
    """Conversations, newest first, under the headings of `rail`."""
    groups: dict[str, list[Conversation]] = {}
    for conversation in conversations:
        groups.setdefault(_heading(conversation.updated_at.date(), today), []).append(conversation)
    return [RailGroup(title, title != "Today", tuple(members)) for title, members in groups.items()]


def _heading(day: date, today: date) -> str:
    days = (today - day).days
    if days <= 0:
        return "Today"
    if days == 1:
        return "Yesterday"
    if days < 7:
        return "This week"
    return f"{day:%B}" if day.year == today.year else f"{day:%B %Y}"
