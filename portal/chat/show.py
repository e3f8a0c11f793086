"""What the chat's templates are given: turns with their HTML, and the list of conversations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.utils import timezone
from django.utils.safestring import SafeString

from portal.accounts.models import User
from portal.chat import code, render
from portal.chat.models import Conversation, Turn, TurnState

RAIL_LIMIT = 60

STAGES = {
    "wait": "waiting for a slot",
    "retrieve": "search",
    "retrieve.lexical": "search by words",
    "retrieve.dense": "search by meaning",
    "retrieve.fusion": "ranking",
    "retrieve.passages": "cutting passages",
    "first_text": "first words",
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
        progress="Stopping" if turn.open and turn.stop_requested_at else PROGRESS.get(TurnState(turn.state), ""),
        timings=_timings(turn.answer.get("timings", {})),
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
    own = url.startswith("/ask/")
    return ShownPassage(
        n=passage["n"],
        title=passage["title"],
        source=passage["source"],
        place=passage["place"],
        # With the turn, the portal's own page can show the passage even after the document has left the index.
        url=f"{url}?turn={turn.pk}" if own else url if url.startswith(("https://", "http://")) else "",
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
