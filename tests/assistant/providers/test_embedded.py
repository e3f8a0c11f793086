"""The embedded server as a process: what needs no model here, the rest with one where the machine has it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from assistant.errors import ProviderError
from assistant.providers.base import Message
from assistant.providers.embedded.server import ServerOptions, serve

MODEL = os.environ.get("TEST_MODEL", "")
needs_model = pytest.mark.skipif(not Path(MODEL).is_file(), reason="ML4EP_TEST_MODEL names no GGUF file")
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
    return number


@pytest.fixture
def start(port: int) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def launch(model: Path | str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "assistant.providers.embedded", "--model", str(model), "--port", str(port), *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield launch
    for process in started:
        process.kill()
        process.communicate()


def wait_for(port: int, status: int, seconds: float = 60) -> httpx.Response:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            response = httpx.get(f"http://127.0.0.1:{port}/health", timeout=5)
        except httpx.TransportError:
            pass
        else:
            if response.status_code == status:
                return response
        time.sleep(0.05)
    raise AssertionError(f"no answer {status} within {seconds} s")


def end(process: subprocess.Popen[str]) -> float:
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == -signal.SIGTERM
    return time.monotonic() - began


def test_it_answers_503_until_the_model_file_is_there(tmp_path: Path, port: int, start: Start) -> None:
    process = start(tmp_path / "late.gguf", "--wait")
    response = wait_for(port, 503)
    assert "not there yet" in response.json()["error"]["message"]
    assert httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json={}).status_code == 503
    assert end(process) < 1


def test_a_file_that_comes_late_but_is_no_model_ends_it_with_a_reason(tmp_path: Path, port: int, start: Start) -> None:
    process = start(tmp_path / "late.gguf", "--wait")
    wait_for(port, 503)
    (tmp_path / "late.gguf").write_bytes(b"no model at all")
    assert process.wait(timeout=10) == 1
    assert process.stderr is not None
    assert "is not a GGUF model file" in process.stderr.read()


def test_a_missing_file_without_wait(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="cannot be read") as caught:
        serve(ServerOptions(tmp_path / "none.gguf"))
    assert caught.value.permanent
    assert caught.value.hint


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(b"GGUF")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ProviderError, match="cannot listen on") as caught:
            serve(ServerOptions(model, port=other.getsockname()[1]))
    assert caught.value.code == "provider.port"


def test_a_broken_model_is_said(tmp_path: Path, port: int, start: Start) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(b"GGUF" + bytes(1000))
    process = start(model)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert f"could not load {model}" in errors


@pytest.mark.slow
@needs_model
def test_it_serves_a_real_model_and_ends_at_once(tmp_path: Path, port: int, start: Start) -> None:
    from assistant.providers.openai_compatible import OpenAICompatible

    model = tmp_path / "late.gguf"
    process = start(model, "--wait", "--name", "tiny", "--context", "1024")
    wait_for(port, 503)
    model.symlink_to(MODEL)
    wait_for(port, 200)
    foreign = httpx.get(f"http://127.0.0.1:{port}/v1/models", headers={"Origin": "http://elsewhere.example"})
    assert foreign.json()["data"][0]["id"] == "tiny"
    assert foreign.headers.get("access-control-allow-origin") not in {"*", "null", "http://elsewhere.example"}
    provider = OpenAICompatible(base_url=f"http://127.0.0.1:{port}/v1", model="tiny")
    chunks = list(provider.stream([Message("user", "Count from 1 to 5, digits only.")], max_tokens=30))
    assert "3" in "".join(chunk.text for chunk in chunks)
    usage = next(chunk.usage for chunk in chunks if chunk.usage)
    assert usage.prompt > 10
    assert 5 <= usage.completion <= 30
    assert end(process) < 2


SMALL = Path(__file__).parents[2] / "data" / "assistant" / "small_model.json"
"""Questions with their passages, to which the model once answered "[1] [2]" and nothing else."""


@pytest.mark.slow
@needs_model
def test_the_model_answers_in_words_and_prompts_stay_within_their_budget(port: int, start: Start) -> None:
    from assistant.answer import Finished, Options, answer
    from assistant.passages import Passage, Retrieval
    from assistant.providers.openai_compatible import OpenAICompatible
    from assistant.retrieval import RetrievalOptions

    class Found:
        def __init__(self, passages: list[dict[str, Any]]) -> None:
            self.passages = tuple(Passage(**each) for each in passages)

        def retrieve(self, _question: str, k: int = 8, *, options: RetrievalOptions | None = None) -> Retrieval:
            return Retrieval(passages=self.passages[:k], confidence=0.9, query=_question)

    start(MODEL, "--name", "model")
    wait_for(port, 200)
    provider = OpenAICompatible(base_url=f"http://127.0.0.1:{port}/v1", model="model", prompt_tokens=600)
    for each in json.loads(SMALL.read_text(encoding="utf-8")):
        events = answer(
            each["question"], retriever=Found(each["passages"]), provider=provider, options=Options(max_tokens=64, lead=False)
        )
        made = next(event.answer for event in events if isinstance(event, Finished))
        assert not made.extractive, made.note
        assert len(re.findall(r"[A-Za-z]{2,}", made.written)) >= 15, made.written
        assert made.tokens["prompt"] <= 600


@pytest.mark.slow
@needs_model
def test_tokens_are_estimated_rather_too_high(port: int, start: Start) -> None:
    from assistant import prompting
    from assistant.passages import Passage
    from tests.assistant.test_prompting import DENSE

    start(MODEL, "--name", "model")
    wait_for(port, 200)
    for name, text in DENSE.items():
        passages = [Passage(f"p{n}", "Title", "s", "page", "x:1", "", 1.0, text) for n in range(8)]
        built = prompting.build(f"What? {text}", passages, (), tokens=600, name="answer-small")
        messages = [{"role": message.role, "content": message.content} for message in built.messages]
        whole = httpx.post(f"http://127.0.0.1:{port}/apply-template", json={"messages": messages}).json()["prompt"]
        counted = httpx.post(f"http://127.0.0.1:{port}/tokenize", json={"content": whole}).json()["tokens"]
        assert len(counted) <= built.tokens <= 600, name
