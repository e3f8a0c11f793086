"""What a language-model provider is: something that turns messages into a stream of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a request took, counted by the server."""

    prompt: int
    completion: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a streamed answer.

    Attributes
    ----------
    text
        The next characters; may be empty.
    usage
        Token counts, in one of the last chunks, from servers that send them.
    finish
        Why the answer ends, in one of the last chunks: ``"stop"``, or ``"length"`` where it was cut at ``max_tokens``.
    """

    text: str = ""
    usage: Usage | None = None
    finish: str = ""


class Provider(Protocol):
    """A language model that can be asked. Instances are used by several threads at a time."""

    @property
    def name(self) -> str:
        """What to call the model in an answer's record."""
        ...

    @property
    def prompt_tokens(self) -> int:
        """The longest prompt worth giving to it: small models lose the thread, and take long, with more."""
        ...

    def stream(self, messages: Sequence[Message], *, max_tokens: int) -> Iterator[Chunk]:
        """Ask, and yield the answer as it is written. Closing the iterator ends the request.

        Raises
        ------
        ProviderError
            While iterating, whatever went wrong: `permanent` tells whether trying again can help.
        """
        ...
