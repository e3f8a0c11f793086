"""The loop: a language model says which tools to call, they are run, it reads what they gave, until it has what it needs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from assistant import prompts
from assistant.condense import Turn
from assistant.errors import AssistantError
from assistant.prompting import as_data, clip
from assistant.providers.base import Message
from assistant.providers.pump import pumped
from assistant.tools.base import Call, Outcome, SupportsTools, Tool, ToolSpec

ROUNDS = 4
CALLS = 8
SECONDS = 90.0
RESULT_TOKENS = 700  # of one result that the model reads
CHOICE_TOKENS = 800
NOTES_TOKENS = 600


@dataclass(frozen=True, slots=True)
class Started:
    """A call begins; `title` says it in words."""

    number: int
    call: Call
    title: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A call has ended: with `outcome`, or with `problem` where it could not be done."""

    number: int
    call: Call
    outcome: Outcome | None
    problem: str
    seconds: float


Step = Started | Ended


def run(tool: Tool, call: Call, number: int) -> Generator[Step, None, Outcome | None]:
    """One call with its beginning and end. A tool that fails in a way of its own is an error of ours, and ends the call only."""
    yield Started(number, call, tool.title(call.arguments))
    started = time.perf_counter()
    outcome, problem = None, ""
    try:
        outcome = tool.run(call.arguments)
    except AssistantError as error:
        problem = f"{error.message} {error.hint}".strip()
    yield Ended(number, call, outcome, problem, time.perf_counter() - started)
    return outcome


def work(
    question: str,
    *,
    provider: SupportsTools,
    tools: Sequence[Tool],
    history: Sequence[Turn] = (),
    notes: str = "",
    first: int = 0,
    cancelled: Callable[[], bool] = lambda: False,
    seconds: float = SECONDS,
) -> Generator[Step]:
    """Let a model call tools for a question: yields `Started` and `Ended` of each call.

    Parameters
    ----------
    notes
        What is known already, for example of attached files.
    first
        The number of the first call.
    cancelled
        Asked many times a second, also while the model thinks.

    Raises
    ------
    ProviderError
        The model server failed; the calls made until then have been yielded.
    StoppedError
        It was cancelled, or the time was up.
    """
    by_name = {tool.spec.name: tool for tool in tools}
    specs = [tool.spec for tool in tools]
    messages = _messages(question, history, notes)
    done: list[tuple[Call, str]] = []
    until = time.monotonic() + seconds
    for _ in range(ROUNDS):
        calls = _choose(provider, messages, specs, done, cancelled, until - time.monotonic())
        new = [call for call in calls if not any(_same(call, known) for known, _ in done)]
        for call in new[: CALLS - len(done)]:
            tool = by_name.get(call.name)
            if tool is None:
                done.append((call, f"There is no tool {call.name}. There are: {', '.join(by_name)}."))
                continue
            step = run(tool, call, first + len(done))
            said = ""
            for event in step:
                yield event
                if isinstance(event, Ended):
                    said = event.outcome.text if event.outcome else f"It could not be done: {event.problem}"
            done.append((call, clip(as_data(said), RESULT_TOKENS)))
        if not new or len(done) >= CALLS:
            return


def _choose(
    provider: SupportsTools,
    messages: Sequence[Message],
    specs: Sequence[ToolSpec],
    done: Sequence[tuple[Call, str]],
    cancelled: Callable[[], bool],
    seconds: float,
) -> list[Call]:
    """What the model wants next; left at once where the person stops it."""

    def ask() -> Generator[list[Call]]:
        yield provider.choose(messages, specs, done, max_tokens=CHOICE_TOKENS)

    stream = pumped(ask(), cancelled=cancelled, seconds=max(seconds, 1.0))
    try:
        return next(stream, [])
    finally:
        stream.close()


def _messages(question: str, history: Sequence[Turn], notes: str) -> tuple[Message, ...]:
    prompt = prompts.load("tools")
    earlier = f"Earlier question: {clip(as_data(history[-1].question), 100)}\n\n" if history else ""
    known = f"Known already:\n{clip(as_data(notes), NOTES_TOKENS)}\n\n" if notes else ""
    user = prompt.user.substitute(history=earlier, notes=known, question=clip(as_data(question), 900))
    return Message("system", prompt.system), Message("user", user)


def _same(one: Call, other: Call) -> bool:
    def key(call: Call) -> str:
        return json.dumps([call.name, dict(call.arguments)], sort_keys=True, default=str)

    return key(one) == key(other)
