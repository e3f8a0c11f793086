"""Answers of the embedded model: how soon the quoted part, the first word of the model and its two hundredth stand there."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from assistant import prompting
from assistant.answer import Answer, Finished, answer
from assistant.models.store import ModelStore
from assistant.providers.openai_compatible import OpenAICompatible
from assistant.retrieval import Retriever
from benchmarks.cases.retrieval import QUESTIONS, index
from benchmarks.measure import Comparison, Measured, Settings, summary

TITLE = "Answers with the embedded model of 1.5 billion parameters"

MODEL = "qwen2.5-coder-1.5b"
PROMPT_TOKENS = 600
LONG = 200  # tokens of a long answer
QUOTED_SECONDS, FIRST_SECONDS, LONG_SECONDS = 0.5, 10.0, 35.0
SLOWEST, HALF = "the slowest", "half of them within"
STARTING = 120.0  # seconds that the server may take to load the model


@dataclass(frozen=True)
class Times:
    """Seconds of one question."""

    quoted: float
    first: float
    answer: Answer


def run(settings: Settings) -> list[Comparison]:
    """Questions of the forum one after the other, as a person alone on the machine would ask them."""
    folder, _ = index(settings)
    questions = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    texts = [f"{each['title']}\n{each['question']}" for each in questions if not each["out_of_scope"]]
    texts = texts[:: len(texts) // (2 if settings.quick else 15)]
    store = ModelStore(settings.cache / "models")
    model = store.pull(MODEL, progress=lambda share, text: None)
    retriever = Retriever.open(folder)
    retriever.retrieve("histogram", k=1)
    with _serving(model) as provider:
        next(filter(None, (_ask(text, retriever, provider) for text in texts)))  # the beginning of all prompts is read once
        asked = [found for text in texts if (found := _ask(text, retriever, provider)) is not None]
        long = [_long(text, retriever, provider) for text in texts[: 1 if settings.quick else 5]]
    answers = [each.answer for each in asked]
    prompts = [each.tokens["prompt"] for each in answers]
    written = sorted(each.tokens["completion"] for each in answers)
    assert max(prompts) <= PROMPT_TOKENS, f"a prompt had {max(prompts)} tokens"
    facts = {
        "questions": str(len(asked)),
        "tokens of the prompts": f"{min(prompts)} to {max(prompts)}",
        "cores": str(len(os.sched_getaffinity(0))),
        "load of the machine": f"{os.getloadavg()[0]:.1f} at the end, the model included",
    }
    ends = {reason: sum(each.finish == reason for each in answers) for reason in ("stop", "length", "repetition")}
    of_answers = facts | {
        "tokens of the answers": f"{written[0]} to {written[-1]}, half of them at least {written[len(written) // 2]}",
        "ended": ", ".join(f"{count} by {reason}" for reason, count in ends.items() if count),
    }
    return [
        _comparison("passages and the whole quoted answer", QUOTED_SECONDS, [each.quoted for each in asked], facts),
        _comparison("from the question to the model's first word", FIRST_SECONDS, [each.first for each in asked], of_answers),
        _comparison(f"from the question's prompt to the model's {LONG}th token", LONG_SECONDS, long, facts),
    ]


def _comparison(task: str, bound: float, seconds: list[float], facts: dict[str, str]) -> Comparison:
    slowest = max(seconds)
    return Comparison(
        task=task,
        goal=f"within {bound:g} s",
        unit="s",
        ours=SLOWEST,
        measured={SLOWEST: Measured(slowest, slowest, slowest), HALF: summary(seconds)},
        bound=bound,
        peers=(),
        facts=facts,
    )


def _ask(text: str, retriever: Retriever, provider: OpenAICompatible) -> Times | None:
    """One question, first answered by quoting and then by the model; None where nothing is found that answers it."""
    began = time.perf_counter()
    quoted = _finished(text, retriever, None)
    seconds = time.perf_counter() - began
    if quoted.abstained or quoted.asked:
        return None
    made = _finished(text, retriever, provider)
    assert not made.extractive, f"the model gave no answer: {made.note}"
    return Times(seconds, made.timings["retrieve"] + made.timings["first_token"], made)


def _finished(text: str, retriever: Retriever, provider: OpenAICompatible | None) -> Answer:
    for event in answer(text, retriever=retriever, provider=provider):
        if isinstance(event, Finished):
            return event.answer
    raise AssertionError("the answer has no end")


def _long(text: str, retriever: Retriever, provider: OpenAICompatible) -> float:
    """Seconds of an answer of `LONG` tokens, whatever the model would like to stop at."""
    prompt = prompting.build(text, retriever.retrieve(text, k=8).passages, (), tokens=PROMPT_TOKENS)
    body = {
        "model": provider.name,
        "messages": [{"role": message.role, "content": message.content} for message in prompt.messages],
        "max_tokens": LONG,
        "ignore_eos": True,
        "temperature": 0,
    }
    began = time.perf_counter()
    response = httpx.post(f"{provider.base_url}/chat/completions", json=body, timeout=300, trust_env=False)
    seconds = time.perf_counter() - began
    assert response.json()["usage"]["completion_tokens"] == LONG, "the model stopped before"
    return seconds


@contextmanager
def _serving(model: Path) -> Iterator[OpenAICompatible]:
    """The embedded server as the portal starts it, until the end of the block."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = int(trial.getsockname()[1])
    command = [sys.executable, "-m", "assistant.providers.embedded", "--model", str(model), "--name", MODEL, "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    provider = OpenAICompatible(base_url=f"http://127.0.0.1:{port}/v1", model=MODEL, prompt_tokens=PROMPT_TOKENS)
    try:
        until = time.monotonic() + STARTING
        while not _ready(port):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the server of {model} did not start")
            time.sleep(0.2)
        yield provider
    finally:
        provider.close()
        process.kill()
        process.wait()


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=2, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
