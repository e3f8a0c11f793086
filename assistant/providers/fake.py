"""A provider for tests: it says what it was told to say, and records what it was asked."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from assistant.errors import ProviderError
from assistant.providers.base import Chunk, Message, Usage

if TYPE_CHECKING:
    from assistant.tools.base import Call, ToolSpec

Reply = str | ProviderError | Sequence[str | ProviderError]


@dataclass(slots=True)
class FakeProvider:
    """Answers from a queue.

    Attributes
    ----------
    replies
        What to answer to each request in turn: a text (sent word by word), an error (raised at once), or a sequence of pieces
        (sent as they are; an error among them breaks the stream off there).
    delay
        Seconds before each piece.
    requests
        The messages of every request so far.
    """

    replies: deque[Reply] = field(default_factory=deque)
    name: str = "fake"
    prompt_tokens: int = 600
    delay: float = 0.0
    requests: list[tuple[Message, ...]] = field(default_factory=list)
    choices: deque[list[Call] | ProviderError] = field(default_factory=deque)
    """What tools to call, in each round; none where the queue is empty."""
    offered: list[tuple[tuple[Message, ...], tuple[ToolSpec, ...], tuple[tuple[Call, str], ...]]] = field(default_factory=list)
    closed: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def saying(cls, *replies: Reply, delay: float = 0.0) -> FakeProvider:
        """A provider with these replies queued."""
        return cls(deque(replies), delay=delay)

    def stream(self, messages: Sequence[Message], *, max_tokens: int) -> Iterator[Chunk]:
        """The next reply of the queue, cut after `max_tokens` words."""
        with self._lock:
            self.requests.append(tuple(messages))
            if not self.replies:
                raise ProviderError("The fake provider has no reply left.", permanent=True, hint="Queue one more.")
            reply = self.replies.popleft()
        pieces = _words(reply) if isinstance(reply, str) else [reply] if isinstance(reply, ProviderError) else list(reply)
        sent = 0
        try:
            for piece in pieces:
                time.sleep(self.delay)
                if isinstance(piece, ProviderError):
                    raise piece
                if sent == max_tokens:
                    break
                sent += 1
                yield Chunk(piece)
            yield Chunk(finish="length" if sent < len(pieces) else "stop")
            yield Chunk(usage=Usage(sum(len(message.content.split()) for message in messages), sent))
        finally:
            self.closed += 1

    def choose(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], done: Sequence[tuple[Call, str]] = (), *, max_tokens: int
    ) -> list[Call]:
        """The next choice of the queue."""
        with self._lock:
            self.offered.append((tuple(messages), tuple(tools), tuple(done)))
            choice = self.choices.popleft() if self.choices else []
        if isinstance(choice, ProviderError):
            raise choice
        return choice


def _words(text: str) -> list[str]:
    return [word for word in text.replace(" ", " \0").split("\0") if word]
