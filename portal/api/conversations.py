"""A person's conversations: searched, renamed, shared, exported, deleted; and the assistant's use, for administrators."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from datetime import date, datetime
from typing import Any, Literal
from urllib.parse import urljoin

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from ninja import Query, Router, Schema, Status
from pydantic import ConfigDict, Field

from portal.api import ask
from portal.api.auth import person
from portal.api.errors import ApiError, not_found, refusals
from portal.api.pages import Page, Paging, page
from portal.chat import services
from portal.chat.export import ENDINGS, export, file_name, turns_of
from portal.chat.models import Conversation, Share
from portal.chat.search import QUERY_LIMIT, search
from portal.chat.usage import report

router = Router(tags=["conversations"])
use = Router(tags=["portal"])


class Found(Paging):
    """Which conversations."""

    q: str = Field("", max_length=QUERY_LIMIT, description="Only those that hold all of these words; “…” keeps words together")


class Title(Schema):
    """A new title."""

    model_config = ConfigDict(extra="forbid")

    title: str = Field(min_length=1, max_length=200)


class ShareOut(Schema):
    """A link by which anybody reads a conversation."""

    url: str
    until: datetime = Field(description="Answers asked for later are not shown")


class ConversationOut(Schema):
    """A conversation."""

    id: uuid.UUID
    title: str
    created_at: datetime
    updated_at: datetime
    share: ShareOut | None


class WholeConversation(ConversationOut):
    """A conversation with its turns, oldest first."""

    turns: list[ask.TurnOut]


class SpreadOut(Schema):
    """How long something took, in seconds."""

    median: float
    p95: float
    count: int


class DayOut(Schema):
    """What was asked on a day (UTC)."""

    day: date
    answers: int
    searches: int
    forum_drafts: int


class ModelOut(Schema):
    """What a language model did."""

    model: str
    answers: int
    prompt_tokens: int
    completion_tokens: int
    cost: float
    seconds: float = Field(description="Of the model's work")


class GapOut(Schema):
    """A question that found no answer."""

    text: str
    confidence: float | None
    times: int
    last: datetime


class ReasonOut(Schema):
    """What a reader wrote about an answer."""

    at: datetime
    useful: bool
    reason: str
    question: str


class UseOut(Schema):
    """The assistant's use, summed over all people."""

    since: datetime
    people: int
    counts: dict[str, int] = Field(description="answer, search, forum")
    outcomes: dict[str, int] = Field(description="Of answers: written, quoted, abstained, asked, stopped, failed")
    days: list[DayOut]
    models: list[ModelOut]
    cost: float
    currency: str
    latency: dict[str, SpreadOut] = Field(description="Of answers: wait, retrieve, first_text, total")
    useful: int
    not_useful: int
    reasons: list[ReasonOut]
    gaps: list[GapOut] = Field(description="Questions without an answer: gaps of the documentation")


def find(request: HttpRequest, conversation_id: uuid.UUID) -> Conversation:
    """The person's conversation with this id."""
    found = Conversation.objects.select_related("share").filter(pk=conversation_id, owner=person(request)).first()
    if found is None:
        raise not_found("conversation")
    return found


def show(conversation: Conversation) -> dict[str, Any]:
    """The fields of `ConversationOut`."""
    share = getattr(conversation, "share", None)
    plain = {name: getattr(conversation, name) for name in ("id", "title", "created_at", "updated_at")}
    return plain | {"share": _share(share) if share else None}


def _share(share: Share) -> dict[str, Any]:
    return {"url": urljoin(settings.PUBLIC_URL, reverse("shared", args=[share.token])), "until": share.until}


@router.get(
    "",
    response={200: Page[ConversationOut]} | refusals(422),
    operation_id="list_conversations",
    summary="List your conversations",
)
def listed(request: HttpRequest, filters: Query[Found]) -> Any:
    """Your conversations, newest first; with `q` those that hold all of its words, in title, questions or answers."""
    return page(search(person(request), filters.q).select_related("share"), filters, show)


@router.get(
    "/{uuid:conversation_id}",
    response={200: WholeConversation} | refusals(404),
    operation_id="get_conversation",
    summary="Get a conversation",
)
def get(request: HttpRequest, conversation_id: uuid.UUID) -> Any:
    """A conversation with its questions and answers."""
    found = find(request, conversation_id)
    return show(found) | {"turns": [ask.show(turn) for turn in turns_of(found)]}


@router.patch(
    "/{uuid:conversation_id}",
    response={200: ConversationOut} | refusals(404, 422),
    operation_id="rename_conversation",
    summary="Rename a conversation",
)
def rename(request: HttpRequest, conversation_id: uuid.UUID, payload: Title) -> Any:
    """Give a conversation another title."""
    services.rename(find(request, conversation_id), payload.title)
    return show(find(request, conversation_id))


@router.delete(
    "/{uuid:conversation_id}",
    response={204: None} | refusals(404),
    operation_id="delete_conversation",
    summary="Delete a conversation",
)
def delete(request: HttpRequest, conversation_id: uuid.UUID) -> Any:
    """Remove a conversation for good, with its answers, feedback and share link."""
    services.delete(find(request, conversation_id))
    return Status(204, None)


@router.put(
    "/{uuid:conversation_id}/share",
    response={200: ShareOut} | refusals(404, 422),
    operation_id="share_conversation",
    summary="Share a conversation",
)
def share(request: HttpRequest, conversation_id: uuid.UUID) -> Any:
    """Make the link by which anybody reads the answers that are there now. Called again it adds what came since."""
    return _share(services.share(find(request, conversation_id)))


@router.delete(
    "/{uuid:conversation_id}/share",
    response={204: None} | refusals(404),
    operation_id="stop_sharing_conversation",
    summary="End a share link",
)
def stop_sharing(request: HttpRequest, conversation_id: uuid.UUID) -> Any:
    """End the link; one made later is another."""
    services.stop_sharing(find(request, conversation_id))
    return Status(204, None)


@router.get(
    "/{uuid:conversation_id}/export",
    response={200: None} | refusals(404, 422),
    operation_id="export_conversation",
    summary="Export a conversation",
    openapi_extra={
        "responses": {200: {"description": "The file", "content": {"text/markdown": {}, "application/x-ipynb+json": {}}}}
    },
)
def exported(request: HttpRequest, conversation_id: uuid.UUID, format: Literal["markdown", "notebook"] = "markdown") -> Any:  # noqa: A002 - the API's name
    """The conversation as Markdown, or as a Jupyter notebook whose code blocks are cells."""
    found = find(request, conversation_id)
    headers = {"Content-Disposition": f'attachment; filename="{file_name(found, format)}"', "Cache-Control": "private, no-store"}
    return HttpResponse(export(found, turns_of(found), format), content_type=ENDINGS[format][1], headers=headers)


@use.get("", response={200: UseOut} | refusals(403, 422), operation_id="get_use", summary="Get the assistant's use")
def get_use(request: HttpRequest, days: int = Query(30, ge=1, le=366, description="How many days, today among them")) -> Any:  # type: ignore[type-arg]
    """What was asked, how it ended, how long it took, what it cost, and what found no answer. For administrators."""
    if not person(request).is_staff:
        raise ApiError(403, "Only administrators may see the assistant's use.", code="forbidden")
    found = report(days)
    return {
        "since": found.since,
        "people": found.people,
        "counts": found.counts,
        "outcomes": found.outcomes,
        "days": [
            {"day": day, "answers": counts["answer"], "searches": counts["search"], "forum_drafts": counts["forum"]}
            for day, counts in found.days
        ],
        "models": [
            {
                "model": each["model"],
                "answers": each["answers"],
                "prompt_tokens": each["prompt"],
                "completion_tokens": each["completion"],
                "cost": each["paid"],
                "seconds": each["busy"] or 0.0,
            }
            for each in found.models
        ],
        "cost": found.cost,
        "currency": settings.ENV.model_currency,
        "latency": {name: asdict(spread) for name, spread in found.latency.items()},
        "useful": found.useful,
        "not_useful": found.not_useful,
        "reasons": [
            {"at": at, "useful": useful, "reason": reason, "question": question} for at, useful, reason, question in found.reasons
        ],
        "gaps": [asdict(gap) for gap in found.gaps],
    }
