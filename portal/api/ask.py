"""Questions to the assistant: asked, followed as they are answered, stopped, judged; and the search for passages alone."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, Literal

from django.http import HttpRequest, StreamingHttpResponse
from ninja import Router, Schema, Status
from pydantic import ConfigDict, Field

from portal.accounts.models import User
from portal.api.auth import person
from portal.api.errors import ApiError, not_found, refusals
from portal.api.turn_events import POLL_SECONDS, follow, passages
from portal.chat import code, services
from portal.chat.models import Conversation, Turn, TurnState
from portal.downloads import stream

router = Router(tags=["ask"])
retrieval = Router(tags=["ask"])

SEARCH_SECONDS = 20.0


class AskOptions(Schema):
    """How a question is to be answered."""

    model_config = ConfigDict(extra="forbid")

    k: int = Field(0, ge=0, le=50, description="How many passages to find; 0: as many as suit")
    use_model: bool = Field(True, description="Let the language model write; otherwise the best passages are the answer")


class Question(Schema):
    """A question."""

    model_config = ConfigDict(extra="forbid")

    question: str = Field(min_length=1, max_length=services.QUESTION_LIMIT)
    conversation: uuid.UUID | None = Field(None, description="The conversation it goes on with; none: a new one")
    options: AskOptions = AskOptions(k=0, use_model=True)
    files: list[str] = Field([], max_length=services.FILES, description="Ids of your files that the question is about")


class Search(Schema):
    """A search for passages."""

    model_config = ConfigDict(extra="forbid")

    query: str = Field(min_length=1, max_length=services.QUESTION_LIMIT)
    k: int = Field(10, ge=1, le=50, description="How many passages at most")


class Judgement(Schema):
    """What you think of an answer."""

    model_config = ConfigDict(extra="forbid")

    useful: bool | None = Field(description="None takes it back")
    reason: str = Field("", max_length=services.REASON_LIMIT)


class PassageOut(Schema):
    """A piece of documentation or code."""

    n: int = Field(description="Its number: [n] in the answer's text cites it")
    title: str
    source: str = Field(description="The class's, tutorial's or page's name")
    kind: str = ""
    place: str = Field("", description="Where it stands in its source")
    url: str = Field("", description="The public documentation's page, else a page of this portal")
    score: float
    text: str


class CodeOut(Schema):
    """A block of an answer's code that can be run, and what came of it."""

    n: int = Field(description="Its number among the blocks of code, from 1")
    language: str
    state: Literal["none", "wait", "run", "ran", "ran_with_errors", "failed", "timed_out", "not_run", "refused", "cancelled"]
    label: str = Field(description="The same in a sentence of Markdown")
    mended: str = Field("", description="The model's mended version, where it ran; empty where there is none")


class TurnOut(Schema):
    """A question and its answer, as far as it is there."""

    id: uuid.UUID
    conversation: uuid.UUID | None
    question: str
    state: Literal["QUEUED", "SEARCHING", "WRITING", "DONE", "STOPPED", "FAILED"]
    passages: list[PassageOut] | None = Field(description="None until they are found")
    text: str = Field(description="Markdown; [n] cites passage n")
    answer: dict[str, Any] = Field(
        description="citations, abstained, extractive, provider, timings, tokens, versions, code (jobs of its blocks)"
    )
    code: list[CodeOut] = Field(
        description="What came of its code, as far as it has been run: get the question again for the rest"
    )
    attached: list[dict[str, Any]] = Field(description="Files that the question is about: id, name, kind")
    steps: list[dict[str, Any]] = Field(
        description="Tools that were called: tool, title, state, summary, url, seconds; one that is “offered” has an "
        "offer, which starts by POST …/steps/{number}, one that is “started” its job"
    )
    offer: dict[str, Any] | None = Field(description="A job that the question asks for; submitting it is up to you")
    error: str
    hint: str
    created_at: datetime
    finished_at: datetime | None


class Found(Schema):
    """The passages for a query, best first."""

    query: str
    passages: list[PassageOut]
    timings: dict[str, float] = Field(description="Seconds by stage")


def show(turn: Turn) -> dict[str, Any]:
    """The fields of `TurnOut`."""
    plain = {name: getattr(turn, name) for name in TurnOut.model_fields if name not in ("conversation", "passages", "code")}
    return plain | {"conversation": turn.conversation_id, "passages": passages(turn), "code": _code(turn)}


def _code(turn: Turn) -> list[dict[str, Any]]:
    """The fields of `CodeOut` for each block; none while the answer is being written."""
    if turn.open:
        return []
    return [
        {
            "n": n, "language": block.language, "state": block.run.state, "label": code.label(block.run),
            "mended": block.mended if block.mended_run.state == "ran" else "",
        }
        for n, block in code.shown(turn).items()
    ]  # fmt: skip


def find(request: HttpRequest, turn_id: uuid.UUID) -> Turn:
    """The person's question with this id."""
    turn = Turn.objects.filter(pk=turn_id, owner=person(request)).first()
    if turn is None:
        raise not_found("question")
    return turn


@router.post("", response={202: TurnOut} | refusals(404, 409, 422, 429), operation_id="ask", summary="Ask a question")
def ask(request: HttpRequest, payload: Question) -> Any:
    """Store a question; it is answered behind this. Follow it by its events, or by getting it again."""
    owner = person(request)
    conversation = None
    if payload.conversation is not None:
        conversation = Conversation.objects.filter(pk=payload.conversation, owner=owner).first()
        if conversation is None:
            raise not_found("conversation")
    return Status(202, show(services.ask(owner, payload.question, conversation, payload.options.model_dump(), payload.files)))


@router.get("/{uuid:turn_id}", response={200: TurnOut} | refusals(404), operation_id="get_question", summary="Get an answer")
def get(request: HttpRequest, turn_id: uuid.UUID) -> Any:
    """A question and its answer, as far as it is there."""
    return show(find(request, turn_id))


@router.get(
    "/{uuid:turn_id}/events",
    response={200: None} | refusals(404),
    operation_id="follow_question",
    summary="Follow an answer",
    openapi_extra={"responses": {200: {"description": "Server-sent events", "content": {"text/event-stream": {}}}}},
)
def events(request: HttpRequest, turn_id: uuid.UUID) -> StreamingHttpResponse:
    """The answer as server-sent events with JSON data.

    `state` {state}, `passages` {passages}, `text` {offset, text} (the text from that offset on) and, at the end, `done` with the
    whole of it.
    """
    turn = find(request, turn_id)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return stream(request, follow(turn, show), pause=POLL_SECONDS, content_type="text/event-stream", headers=headers)


@router.post(
    "/{uuid:turn_id}/stop", response={202: TurnOut} | refusals(404, 409), operation_id="stop_question", summary="Stop an answer"
)
def stop(request: HttpRequest, turn_id: uuid.UUID) -> Any:
    """End an answer that is being written."""
    if not services.stop(find(request, turn_id)):
        raise ApiError(409, "This answer has ended already.", code="chat.ended")
    return Status(202, show(find(request, turn_id)))


@router.post(
    "/{uuid:turn_id}/regenerate",
    response={202: TurnOut} | refusals(404, 409, 429),
    operation_id="regenerate_answer",
    summary="Answer again",
)
def regenerate(request: HttpRequest, turn_id: uuid.UUID) -> Any:
    """Answer the same question again."""
    return Status(202, show(services.regenerate(find(request, turn_id))))


@router.post(
    "/{uuid:turn_id}/steps/{int:number}",
    response={202: TurnOut} | refusals(404, 409, 422, 429),
    operation_id="start_offered_job",
    summary="Start a job that an answer offers",
)
def start_step(request: HttpRequest, turn_id: uuid.UUID, number: int) -> Any:
    """Start the job of an offered step; nothing that an answer offers starts by itself."""
    services.start_step(find(request, turn_id), number)
    return Status(202, show(find(request, turn_id)))


@router.post(
    "/{uuid:turn_id}/feedback",
    response={204: None} | refusals(404, 409, 422),
    operation_id="judge_answer",
    summary="Judge an answer",
)
def feedback(request: HttpRequest, turn_id: uuid.UUID, payload: Judgement) -> Any:
    """Say whether the answer was useful, and why."""
    services.give_feedback(find(request, turn_id), payload.useful, payload.reason)
    return Status(204, None)


def search(owner: User, query: str, k: int) -> dict[str, Any]:
    """The fields of `Found`: the assistant's worker searches, and this waits for it.

    Raises
    ------
    ApiError
        There is no index, or no assistant to search it.
    """
    turn = services.ask(owner, query, options={"retrieve_only": True, "k": k})
    turn = services.wait(turn, SEARCH_SECONDS)
    if turn.state == TurnState.FAILED:
        raise ApiError(503, turn.error, hint=turn.hint, code="index.unavailable")
    if turn.open:
        services.stop(turn)
        hint = "The assistant may be starting; GET /api/v1/status says what works. Try again in a moment."
        raise ApiError(503, f"The search was not done after {SEARCH_SECONDS:g} s.", hint=hint, code="assistant.busy")
    return {"query": turn.question, "passages": passages(turn) or [], "timings": turn.answer.get("timings", {})}


@retrieval.post("", response={200: Found} | refusals(422, 429, 503), operation_id="retrieve", summary="Find passages for a query")
def retrieve(request: HttpRequest, payload: Search) -> Any:
    """The passages for a query, best first, without an answer. The assistant's worker searches; this waits for it."""
    return search(person(request), payload.query, payload.k)
