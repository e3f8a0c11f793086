"""What every provider must do, and how the OpenAI-compatible one names what goes wrong, against a small server of ours."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from assistant.errors import ProviderError
from assistant.providers import Chunk, Message, Provider
from assistant.providers.fake import FakeProvider
from assistant.providers.openai_compatible import OpenAICompatible

QUESTION = (Message("system", "Be brief."), Message("user", "What is a TTree?"))
WORDS = ["A ", "TTree ", "holds ", "columns."]


@dataclass
class ModelServer:
    """A server that speaks the OpenAI chat API as far as the tests need it.

    `behaviour` is ``"answer"``, ``"cut"`` (the connection ends after two words), ``"stall"`` (silence after two words),
    ``"error-piece"`` (an error as a piece of the stream), ``"no-finish"``, ``"garbage"``, ``"silent"``, or an HTTP status to
    fail with.
    """

    behaviour: str | int = "answer"
    error: dict[str, Any] = field(default_factory=lambda: {"message": "no"})
    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    aborted: threading.Event = field(default_factory=threading.Event)
    pause: float = 0.0


def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(chunk)}\n\n".encode()


@pytest.fixture
def server() -> Iterator[ModelServer]:
    state = ModelServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(200, {"data": [{"id": "tiny"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.requests.append(body)
            state.keys.append(self.headers.get("Authorization", ""))
            if isinstance(state.behaviour, int):
                self.reply(state.behaviour, {"error": state.error})
                return
            if state.behaviour == "silent":
                time.sleep(1.5)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            try:
                self.stream(body)
            except OSError:
                state.aborted.set()

        def stream(self, body: dict[str, Any]) -> None:
            if state.behaviour == "garbage":
                self.wfile.write(b"data: {this is not json\n\n")
                return
            words = WORDS[: body["max_tokens"]]
            for number, word in enumerate(words):
                if state.behaviour == "cut" and number == 2:
                    return
                if state.behaviour == "stall" and number == 2:
                    time.sleep(1.5)
                if state.behaviour == "error-piece" and number == 2:
                    self.wfile.write(f"data: {json.dumps({'error': state.error})}\n\n".encode())
                    return
                self.wfile.write(event({"role": "assistant", "content": word}))
                self.wfile.flush()
                time.sleep(state.pause)
            if state.behaviour != "no-finish":
                self.wfile.write(event({}, "length" if len(words) < len(WORDS) else "stop"))
                usage = {"prompt_tokens": 11, "completion_tokens": len(words), "total_tokens": 11 + len(words)}
                final = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": usage}
                self.wfile.write(f"data: {json.dumps(final)}\n\n".encode())
            self.wfile.write(b"data: [DONE]\n\n")

        def reply(self, status: int, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        http.block_on_close = False
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        state.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
        yield state
        http.shutdown()
        thread.join()


@pytest.fixture
def openai(server: ModelServer) -> Iterator[OpenAICompatible]:
    provider = OpenAICompatible(base_url=server.url, model="tiny", api_key="secret-key", timeout=0.7)
    yield provider
    provider.close()


@pytest.fixture(params=["fake", "openai_compatible"])
def provider(request: pytest.FixtureRequest) -> Provider:
    """Every provider, about to answer `WORDS`."""
    if request.param == "fake":
        return FakeProvider.saying("".join(WORDS), "".join(WORDS))
    made: OpenAICompatible = request.getfixturevalue("openai")
    return made


# What every provider must do


def test_it_streams_the_answer_in_pieces(provider: Provider) -> None:
    chunks = list(provider.stream(QUESTION, max_tokens=50))
    assert "".join(chunk.text for chunk in chunks) == "".join(WORDS)
    assert len([chunk for chunk in chunks if chunk.text]) == len(WORDS)
    assert [chunk.finish for chunk in chunks if chunk.finish] == ["stop"]
    (usage,) = [chunk.usage for chunk in chunks if chunk.usage]
    assert usage.prompt > 0
    assert usage.completion == len(WORDS)


def test_it_stops_at_the_limit_and_says_so(provider: Provider) -> None:
    chunks = list(provider.stream(QUESTION, max_tokens=2))
    assert "".join(chunk.text for chunk in chunks) == "".join(WORDS[:2])
    assert [chunk.finish for chunk in chunks if chunk.finish] == ["length"]


def test_it_can_be_left_and_asked_again(provider: Provider) -> None:
    stream = provider.stream(QUESTION, max_tokens=50)
    assert next(stream).text == WORDS[0]
    del stream
    assert "".join(chunk.text for chunk in provider.stream(QUESTION, max_tokens=50)) == "".join(WORDS)


def test_it_says_what_it_is(provider: Provider) -> None:
    assert provider.name
    assert provider.prompt_tokens >= 300


# The fake one


def test_fake_breaks_off_where_an_error_is_queued() -> None:
    fake = FakeProvider.saying(["A ", ProviderError("gone", code="provider.cut-off")])
    got: list[Chunk] = []
    with pytest.raises(ProviderError, match="gone"):
        got.extend(fake.stream(QUESTION, max_tokens=9))
    assert fake.requests == [QUESTION]
    assert fake.closed == 1


def test_fake_without_reply_is_an_error() -> None:
    with pytest.raises(ProviderError, match="no reply left"):
        list(FakeProvider().stream(QUESTION, max_tokens=9))


# The OpenAI-compatible one


def test_openai_sends_messages_model_key_and_limit(server: ModelServer, openai: OpenAICompatible) -> None:
    list(openai.stream((*QUESTION, Message("assistant", "A"), Message("user", "More?")), max_tokens=33))
    (request,) = server.requests
    assert [(m["role"], m["content"]) for m in request["messages"]] == [
        ("system", "Be brief."),
        ("user", "What is a TTree?"),
        ("assistant", "A"),
        ("user", "More?"),
    ]
    assert (request["model"], request["max_tokens"], request["stream"]) == ("tiny", 33, True)
    assert server.keys == ["Bearer secret-key"]
    assert "secret-key" not in repr(openai)


FAILURES: list[tuple[str | int, dict[str, Any], str, bool]] = [
    (401, {"message": "bad key"}, "provider.key", True),
    (403, {"message": "not yours"}, "provider.key", True),
    (404, {"message": "no such model"}, "provider.model", True),
    (429, {"message": "slow down"}, "provider.busy", False),
    (429, {"message": "pay", "code": "insufficient_quota"}, "provider.quota", True),
    (400, {"message": "request exceeds the available context size"}, "provider.too-long", True),
    (400, {"message": "bad request"}, "provider.failed", True),
    (500, {"message": "oops"}, "provider.failed", False),
    (503, {"message": "Loading model"}, "provider.busy", False),
    ("garbage", {}, "provider.garbage", False),
    ("cut", {}, "provider.cut-off", False),
    ("no-finish", {}, "provider.cut-off", False),
    ("silent", {}, "provider.timeout", False),
    ("stall", {}, "provider.timeout", False),
    ("error-piece", {"message": "out of memory"}, "provider.failed", False),
]


@pytest.mark.parametrize(("behaviour", "error", "code", "permanent"), FAILURES, ids=lambda value: str(value)[:24])
def test_openai_names_what_went_wrong(
    server: ModelServer, openai: OpenAICompatible, behaviour: str | int, error: dict[str, Any], code: str, permanent: bool
) -> None:
    server.behaviour, server.error = behaviour, error
    with pytest.raises(ProviderError) as caught:
        list(openai.stream(QUESTION, max_tokens=50))
    assert (caught.value.code, caught.value.permanent) == (code, permanent)
    assert server.url in caught.value.message
    assert caught.value.hint
    assert "secret-key" not in str(caught.value)
    assert len(server.requests) == 1, "no hidden retries"


@pytest.mark.parametrize("behaviour", ["cut", "stall", "error-piece"])
def test_openai_keeps_what_arrived_before_it_failed(server: ModelServer, openai: OpenAICompatible, behaviour: str) -> None:
    server.behaviour = behaviour
    got: list[str] = []
    with pytest.raises(ProviderError):
        got.extend(chunk.text for chunk in openai.stream(QUESTION, max_tokens=50))
    assert "".join(got).startswith("A ")


def test_openai_out_of_reach() -> None:
    provider = OpenAICompatible(base_url="http://127.0.0.1:9/v1", model="tiny")
    for ask in (lambda: list(provider.stream(QUESTION, max_tokens=5)), provider.check):
        with pytest.raises(ProviderError, match="no answer from a model server") as caught:
            ask()
        assert caught.value.code == "provider.unreachable"
        assert not caught.value.permanent
    provider.close()


def test_openai_ends_the_request_when_left(server: ModelServer, openai: OpenAICompatible) -> None:
    server.pause = 0.1
    stream = openai.stream(QUESTION, max_tokens=50)
    assert next(stream).text == WORDS[0]
    close: Callable[[], None] = stream.close  # type: ignore[attr-defined]
    close()
    assert server.aborted.wait(3)


def test_openai_check(server: ModelServer, openai: OpenAICompatible) -> None:
    openai.check()
    other = OpenAICompatible(base_url=server.url, model="huge")
    with pytest.raises(ProviderError, match="it serves tiny") as caught:
        other.check()
    assert caught.value.code == "provider.model"


def test_openai_takes_no_proxy_to_this_machine(
    server: ModelServer, openai: OpenAICompatible, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    openai.check()
    assert list(openai.stream(QUESTION, max_tokens=5))
