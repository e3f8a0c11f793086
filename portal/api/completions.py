"""The assistant for clients of OpenAI's Chat Completions API: editors, Open WebUI, the ``openai`` package.

A request is a question like any other: stored, answered by the assistant's worker, found among the person's conversations. The
client sends the whole conversation each time; where its last turn is one that the portal answered, that conversation goes on.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any, Literal

from django.db import close_old_connections
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from pydantic import BaseModel, Field
from pydantic import ValidationError as BodyError

from portal.accounts.models import User
from portal.accounts.services import user_of_token
from portal.api.errors import EXPECTED, ApiError, translate
from portal.api.turn_events import COMMENT_SECONDS, LIMIT_SECONDS, POLL_SECONDS, passages
from portal.chat import code, services
from portal.chat.models import Conversation, Turn, TurnState
from portal.downloads import stream

MODELS = {
    "ml4ep": "Passages of the documentation, and an answer that the portal's language model writes from them",
    "ml4ep-passages": "The best passages alone, without a language model: the quickest",
}
CREATED = 1767225600  # of the models: a date is asked for, and they have none
MESSAGES_LIMIT = 400
KINDS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}
CODE = "\n\n---\n\n**Code**\n\n"
SOURCES = "\n\n---\n\n**Sources**\n\n"
CODE_SECONDS = 45.0  # for which an answer waits for its code to be run, once its text is whole
_MARKER = re.compile(r"\[(\d+)\]")


class Part(BaseModel):
    """A piece of a message."""

    type: str
    text: str = ""


class Message(BaseModel):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None

    def words(self) -> str:
        """The message's text.

        Raises
        ------
        ApiError
            It has pictures, sound or files, which nobody here looks at.
        """
        if not isinstance(self.content, list):
            return self.content or ""
        other = sorted({part.type for part in self.content} - {"text", "input_text", "output_text"})
        if other:
            hint = "Send text. Files go to the library (PUT /api/v1/files); a question may name them."
            raise ApiError(
                400, f"A message has a part of the type “{other[0]}”; only text is understood.", hint=hint, code="messages"
            )
        return "\n".join(part.text for part in self.content)


class StreamOptions(BaseModel):
    """What a stream ends with."""

    include_usage: bool = False


class Completion(BaseModel):
    """A request. What is not named here (temperature, max_tokens, seed, …) is the portal's own affair, and passed over."""

    model: str
    messages: list[Message] = Field(min_length=1, max_length=MESSAGES_LIMIT)
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: int | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None


def _guarded(view: Callable[[HttpRequest], HttpResponse | StreamingHttpResponse]) -> Callable[[HttpRequest], Any]:
    """The view, with every refusal in OpenAI's shape: ``{"error": {"message", "type", "param", "code"}}``."""

    @wraps(view)
    def guarded(request: HttpRequest) -> Any:
        try:
            return view(request)
        except Exception as error:
            if not isinstance(error, (*EXPECTED, BodyError)):
                raise
            return _refused(error)

    guarded.csrf_exempt = True  # type: ignore[attr-defined]  # a session is no way in: only a token is
    return guarded


def _refused(error: Exception) -> JsonResponse:
    if isinstance(error, BodyError):
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        known = ApiError(400, f"{place or 'The request'}: {first['msg']}", code=place or "request")
    else:
        known = translate(error)
    status = 400 if known.status == 422 else known.status
    problem = known.problem
    body = {
        "message": " ".join(part for part in (problem.message, problem.hint) if part),
        "type": KINDS.get(status, "invalid_request_error" if status < 500 else "server_error"),
        "param": None,
        "code": CODES.get(status, problem.code),
    }
    response = JsonResponse({"error": body}, status=status)
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _person(request: HttpRequest) -> User:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    user = user_of_token(token.strip()) if scheme.lower() == "bearer" else None
    if user is None:
        hint = "Use an API token of the portal as the key; tokens are made on the account page or by “ml4ep token create”."
        raise ApiError(401, "This needs a valid token.", hint=hint)
    return user


def _method(request: HttpRequest, allowed: str) -> None:
    if request.method != allowed:
        raise ApiError(405, f"{request.method} is not possible here.", hint=f"Use {allowed}.")


@_guarded
def models(request: HttpRequest) -> JsonResponse:
    """The models that a question may name."""
    _method(request, "GET")
    _person(request)
    found = [
        {"id": name, "object": "model", "created": CREATED, "owned_by": "ml4ep-portal", "description": text}
        for name, text in MODELS.items()
    ]
    return JsonResponse({"object": "list", "data": found})


@_guarded
def unknown(request: HttpRequest) -> JsonResponse:
    """Any other address beneath ``/v1/``."""
    hint = "There are GET /v1/models and POST /v1/chat/completions; the portal's own API is at /api/v1/."
    raise ApiError(404, f"There is nothing at {request.path}.", hint=hint)


@_guarded
def completions(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """Answer the last message, in one piece or as a stream of server-sent events."""
    _method(request, "POST")
    owner = _person(request)
    wanted = Completion.model_validate_json(request.body)
    _check(wanted)
    question, earlier = _question(wanted.messages)
    options: dict[str, Any] = {} if wanted.model == "ml4ep" else {"use_model": False}
    conversation = _conversation(owner, earlier)
    if conversation is None and earlier:
        options["history"] = earlier[-services.HISTORY_TURNS :]
    turn = services.ask(owner, question, conversation, options)
    if wanted.stream:
        usage = wanted.stream_options is not None and wanted.stream_options.include_usage
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        chunks = _chunks(turn, wanted.model, usage=usage)
        return stream(request, chunks, pause=POLL_SECONDS, content_type="text/event-stream", headers=headers)
    turn = services.wait(turn, LIMIT_SECONDS)
    _check_answered(turn)
    turn = code.settled(turn, CODE_SECONDS)
    text = _full(turn)
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": None, "annotations": citations(turn, text)},
        "finish_reason": _reason(turn),
        "logprobs": None,
    }
    return JsonResponse({**_head(turn, wanted.model, "chat.completion"), "choices": [choice], "usage": _usage(turn)})


def _check(wanted: Completion) -> None:
    """Refuse what would change the answer's meaning and cannot be had."""
    if wanted.model not in MODELS:
        hint = f"There are {' and '.join(MODELS)}."
        raise ApiError(404, f"There is no model “{wanted.model}”.", hint=hint, code="model_not_found")
    if wanted.n not in (None, 1):
        raise ApiError(400, f"n is {wanted.n}; there is one answer to a question.", hint="Leave n away.", code="n")
    if wanted.tool_choice not in (None, "none", "auto"):
        hint = "Leave tool_choice away. Tools for agents are at /mcp."
        raise ApiError(400, "The assistant calls no tools of its clients.", hint=hint, code="tool_choice")
    if wanted.response_format is not None and wanted.response_format.get("type", "text") != "text":
        hint = "Leave response_format away; /api/v1/ask answers in JSON with citations and passages."
        raise ApiError(400, "Answers are Markdown.", hint=hint, code="response_format")


def _question(messages: Sequence[Message]) -> tuple[str, list[tuple[str, str]]]:
    """The last message, which is the person's, and the pairs of question and answer before it, oldest first.

    Messages of the system are instructions to a language model. The portal has its own, and does not take others.
    """
    spoken = [message for message in messages if message.role in ("user", "assistant")]
    if not spoken or spoken[-1].role != "user":
        raise ApiError(400, "The last message is not a user's.", hint="End messages with the question.", code="messages")
    pairs: list[tuple[str, str]] = []
    asked = ""
    for message in spoken[:-1]:
        if message.role == "user":
            asked = message.words()
        elif asked:
            pairs.append((asked[: services.QUESTION_LIMIT], _written(message.words()).strip()[: services.EARLIER_LIMIT]))
            asked = ""
    return spoken[-1].words(), pairs


def _conversation(owner: User, earlier: Sequence[tuple[str, str]]) -> Conversation | None:
    """The conversation whose last turn is the last of ``earlier``: the client goes on with it."""
    if not earlier:
        return None
    question, text = earlier[-1]
    asked = Turn.objects.filter(owner=owner, question=question.strip(), text__startswith=text).exclude(conversation=None)
    for turn in asked.select_related("conversation").order_by("-created_at")[:5]:
        last = Turn.objects.filter(conversation=turn.conversation_id).order_by("-created_at").first()
        if last == turn and not turn.open and turn.text.strip()[: services.EARLIER_LIMIT] == text:
            return turn.conversation
    return None


def _check_answered(turn: Turn) -> None:
    if turn.state == TurnState.FAILED:
        raise ApiError(503, turn.error, hint=turn.hint, code="assistant.failed")
    if turn.open:
        services.stop(turn)
        raise ApiError(503, f"There was no answer after {LIMIT_SECONDS:g} s.", hint="Try again later.", code="assistant.busy")


def _cited(turn: Turn) -> list[dict[str, Any]]:
    """The passages that the answer cites."""
    cited = set(turn.answer.get("citations", ()))
    return [passage for passage in passages(turn) or () if passage["n"] in cited]


def _sources(turn: Turn) -> str:
    """The list under the answer: what each number stands for."""
    lines = []
    for each in _cited(turn):
        name = re.sub(r"([\[\]\\])", r"\\\1", " ".join(str(each["title"]).split()))
        lines.append(f"- [{each['n']}] [{name}]({each['url']})" if each["url"] else f"- [{each['n']}] {name}")
    return SOURCES + "\n".join(lines) if lines else ""


def _code(turn: Turn) -> str:
    """What came of the answer's blocks of code, in their order."""
    labels = code.labels(turn)
    if len(labels) < 2:
        return "".join(CODE + text for text in labels.values())
    return CODE + "\n\n".join(f"Block {place}: {text}" for place, text in enumerate(labels.values(), 1)) if labels else ""


def _written(text: str) -> str:
    """An answer as the portal keeps it, without what was put under it here."""
    return text.split(CODE)[0].split(SOURCES)[0]


def _full(turn: Turn) -> str:
    return turn.text + _code(turn) + _sources(turn)


def citations(turn: Turn, text: str) -> list[dict[str, Any]]:
    """Each citation's place in the text, its title and its address, as OpenAI's ``url_citation``."""
    known = {passage["n"]: passage for passage in _cited(turn)}
    body = _written(text)
    return [
        {
            "type": "url_citation",
            "url_citation": {"start_index": mark.start(), "end_index": mark.end(), "title": found["title"], "url": found["url"]},
        }
        for mark in _MARKER.finditer(body)
        if (found := known.get(int(mark[1]))) is not None
    ]


def _reason(turn: Turn) -> str:
    return "length" if turn.answer.get("finish") == "length" else "stop"


def _usage(turn: Turn) -> dict[str, int]:
    tokens = turn.answer.get("tokens", {})
    prompt, written = int(tokens.get("prompt") or 0), int(tokens.get("completion") or 0)
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}


def _head(turn: Turn, model: str, kind: str) -> dict[str, Any]:
    created = int((turn.finished_at or turn.asked_at).timestamp())
    return {"id": f"chatcmpl-{turn.pk.hex}", "object": kind, "created": created, "model": model}


def _data(content: Any) -> bytes:
    return f"data: {json.dumps(content)}\n\n".encode()


def _chunks(turn: Turn, model: str, *, usage: bool) -> Iterator[bytes]:
    """The answer's pieces as they are written; ``b""`` where nothing is new. A client that goes away stops its answer.

    What was sent cannot be taken back. Where the checks at the end change the text, the whole of it follows once more.
    """
    head = _head(turn, model, "chat.completion.chunk")

    def piece(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return _data({**head, "choices": [choice], **({"usage": None} if usage else {})})

    sent, last = "", time.monotonic()
    started = last
    try:
        yield piece({"role": "assistant", "content": ""})
        while True:
            now = Turn.objects.filter(pk=turn.pk).first()
            if now is None:  # its conversation was deleted
                return
            turn = now
            close_old_connections()  # a reader of minutes must not keep a connection of the pool
            if not turn.open or time.monotonic() - started > LIMIT_SECONDS:
                break
            if turn.text.startswith(sent) and turn.text != sent:
                yield piece({"content": turn.text[len(sent) :]})
                sent, last = turn.text, time.monotonic()
            elif time.monotonic() - last > COMMENT_SECONDS:
                last = time.monotonic()
                yield b": still here\n\n"
            else:
                yield b""
        until = time.monotonic() + CODE_SECONDS
        while not turn.open and code.is_run(turn) and time.monotonic() < until:
            yield b": code is being run\n\n" if (late := time.monotonic() - last > COMMENT_SECONDS) else b""
            last = time.monotonic() if late else last
            turn = Turn.objects.filter(pk=turn.pk).first() or turn
            close_old_connections()
        yield from _ending(turn, sent, piece)
        if usage:
            yield _data({**head, "choices": [], "usage": _usage(turn)})
        yield b"data: [DONE]\n\n"
    finally:
        services.stop(turn)


def _ending(turn: Turn, sent: str, piece: Callable[..., bytes]) -> Iterator[bytes]:
    try:
        _check_answered(turn)
    except ApiError as error:
        yield b"data: " + _refused(error).content + b"\n\n"
        return
    if turn.text.startswith(sent):
        rest, before = turn.text[len(sent) :], 0
    else:
        frame = "\n\n---\n\n**The checked answer**\n\n"
        rest, before = frame + turn.text, len(sent) + len(frame)
    rest += _code(turn) + _sources(turn)
    if rest:
        yield piece({"content": rest})
    found = citations(turn, turn.text)
    for each in found:
        each["url_citation"]["start_index"] += before
        each["url_citation"]["end_index"] += before
    yield piece({"annotations": found} if found else {}, _reason(turn))
