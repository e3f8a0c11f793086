"""A tool, a call of it, and what comes of the call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from assistant.errors import AssistantError
from assistant.passages import Passage
from assistant.providers.base import Message


class ToolError(AssistantError, ValueError):
    """A call that cannot be done: the model reads the message and may call again with other arguments."""

    code = "tool"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a call.

    Attributes
    ----------
    text
        What the model reads.
    summary
        One line for the person who watches.
    passages
        What the answer may cite.
    url
        Where the person sees more.
    offer
        What a person may start by a click, for the one who shows it; None where there is nothing to start.
    """

    text: str
    summary: str
    passages: tuple[Passage, ...] = ()
    url: str = ""
    offer: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a language model is told of it; `parameters` is a JSON schema of an object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Tool:
    """Something that can be done.

    Attributes
    ----------
    run
        Does it. Raises `ToolError` where the arguments do not fit; it checks them itself, for a model may send anything.
    title
        A call in words, for the person who watches: ``"Look into events.root"``.
    """

    spec: ToolSpec
    run: Callable[[Mapping[str, Any]], Outcome]
    title: Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True, slots=True)
class Call:
    """What a model wants done."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""


@runtime_checkable
class SupportsTools(Protocol):
    """A language model that can call tools."""

    def choose(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], done: Sequence[tuple[Call, str]] = (), *, max_tokens: int
    ) -> list[Call]:
        """The calls that the model wants next, none where it has what it needs. ``done`` are those made, with what they gave.

        Raises
        ------
        ProviderError
            As `Provider.stream`.
        """
        ...


def text_argument(arguments: Mapping[str, Any], name: str, limit: int = 400) -> str:
    """A text that a call must give.

    Raises
    ------
    ToolError
        It is missing, no text, empty or too long.
    """
    value = arguments.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ToolError(f"“{name}” must be a text that is not empty.")
    if len(value) > limit:
        raise ToolError(f"“{name}” is longer than {limit} characters.")
    return value.strip()
