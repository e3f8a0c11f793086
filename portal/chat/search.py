"""Full-text search over one person's conversations, the same on SQLite and PostgreSQL.

All words of the query must occur in the conversation, in its title, a question or an answer, in any order and in any case; words
in quotation marks must stand together. Conversations that have a word in the title come first, then the newest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Exists, OuterRef, Q, QuerySet

from portal.accounts.models import User
from portal.chat.models import Conversation, Turn

QUERY_LIMIT = 200  # characters
MOST_TERMS = 10
AROUND = 90  # characters of a text shown before and after a word found
_TERM = re.compile(r'"([^"]+)"|(\S+)')


@dataclass(frozen=True)
class Hit:
    """A conversation that was found, and where: pieces of text, those that were asked for marked."""

    conversation: Conversation
    turn: Turn | None
    """The turn that the pieces are of; None where only the title was found."""
    pieces: tuple[tuple[str, bool], ...] = ()


def terms(query: str) -> tuple[str, ...]:
    """The words and quoted phrases of a query, each once."""
    found = (" ".join((phrase or word).split()) for phrase, word in _TERM.findall(query[:QUERY_LIMIT]))
    return tuple(dict.fromkeys(term for term in (each.strip('"') for each in found) if term))[:MOST_TERMS]


def search(owner: User, query: str) -> QuerySet[Conversation]:
    """The person's conversations that hold all of ``query``; all of them for an empty one."""
    found = Conversation.objects.filter(owner=owner)
    wanted = terms(query)
    in_title = Q()
    for term in wanted:
        turns = Turn.objects.filter(_has("question", term) | _has("text", term), conversation=OuterRef("pk"))
        found = found.filter(_has("title", term) | Exists(turns))
        in_title |= _has("title", term)
    if wanted:
        return found.annotate(titled=Exists(Conversation.objects.filter(in_title, pk=OuterRef("pk")))).order_by(
            "-titled", "-updated_at", "pk"
        )
    return found.order_by("-updated_at", "pk")


def hits(conversations: Sequence[Conversation], query: str) -> list[Hit]:
    """Where each conversation holds the query: its first turn that has a word of it."""
    wanted = terms(query)
    if not wanted:
        return [Hit(each, None) for each in conversations]
    any_term = Q()
    for term in wanted:
        any_term |= _has("question", term) | _has("text", term)
    first: dict[object, tuple[int, Turn]] = {}
    for turn in Turn.objects.filter(any_term, conversation__in=conversations).order_by("created_at"):
        has = sum(bool(re.search(re.escape(term), f"{turn.question}\n{turn.text}", re.IGNORECASE)) for term in wanted)
        if has > first.get(turn.conversation_id, (0, turn))[0]:
            first[turn.conversation_id] = (has, turn)
    return [_hit(each, first[each.pk][1], wanted) if each.pk in first else Hit(each, None) for each in conversations]


def _hit(conversation: Conversation, turn: Turn, wanted: Sequence[str]) -> Hit:
    pattern = re.compile("|".join(re.escape(term) for term in sorted(wanted, key=len, reverse=True)), re.IGNORECASE)
    text = next((each for each in (turn.text, turn.question) if pattern.search(each)), turn.question)
    return Hit(conversation, turn, excerpt(text, pattern))


def excerpt(text: str, pattern: re.Pattern[str]) -> tuple[tuple[str, bool], ...]:
    """The surroundings of the first match, on one line, as (piece, whether it matches)."""
    found = pattern.search(text)
    start = max(found.start() - AROUND, 0) if found else 0
    end = (found.end() if found else 0) + AROUND
    if start and (space := re.search(r"\s", text[start : start + AROUND // 2])):
        start += space.end()
    if end < len(text) and (cut := text.rfind(" ", end - AROUND // 2, end)) > 0:
        end = cut
    shown = " ".join(text[start:end].split())
    shown = f"{'… ' if start else ''}{shown}{' …' if end < len(text) else ''}"
    pieces: list[tuple[str, bool]] = []
    done = 0
    for match in pattern.finditer(shown):
        pieces += [(shown[done : match.start()], False), (match[0], True)]
        done = match.end()
    pieces.append((shown[done:], False))
    return tuple(piece for piece in pieces if piece[0])


def _has(name: str, term: str) -> Q:
    """Whether a field holds ``term`` in any case.

    SQLite folds the case of ASCII alone, so other letters are looked for in the ways that people write them.
    """
    found = Q(**{f"{name}__icontains": term})
    if not term.isascii():
        for written in {term.lower(), term.upper(), term.capitalize(), term.title()} - {term}:
            found |= Q(**{f"{name}__icontains": written})
    return found
