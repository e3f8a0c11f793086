"""The line before the embedded language model, which answers one request at a time.

Whoever asks finds passages and the quoted answer at once; only the model's part waits. Of several people the one who was served
least since they came is next: a person with many questions stands once behind each of the others, not before them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assistant.providers.base import Chunk, Message, Provider

LONGEST_SECONDS = 900.0  # in line
_LOOK_SECONDS = 0.25

Told = Callable[[int], None]
"""Takes how many are before one: whenever that changes, 0 once it is one's turn."""


def _tell_nobody(_place: int) -> None:
    pass


@dataclass(eq=False)
class _Ticket:
    owner: str
    turn: int
    number: int

    @property
    def order(self) -> tuple[int, int]:
        return self.turn, self.number


class Line:
    """Lets one in at a time, in turns between owners (start-time fair queuing with equal weights).

    References
    ----------
    Goyal, Vin, Cheng, "Start-time fair queuing" (1996), section 2: a request starts at the larger of its arrival's turn and
    the end of its owner's last one.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[_Ticket] = []
        self._inside: _Ticket | None = None
        self._turn = 0
        self._next_turn: dict[str, int] = {}
        self._count = 0

    @contextmanager
    def place(self, owner: str, gone: threading.Event, told: Told = _tell_nobody) -> Iterator[bool]:
        """Wait for one's turn and keep it within the block; False where ``gone`` was set, or it took too long."""
        ticket = self._join(owner)
        try:
            yield self._wait(ticket, gone, told)
        finally:
            with self._changed:
                if self._inside is ticket:
                    self._inside = None
                else:
                    self._waiting.remove(ticket)
                if not self._waiting and self._inside is None:
                    self._next_turn.clear()
                self._changed.notify_all()

    def _join(self, owner: str) -> _Ticket:
        with self._changed:
            self._count += 1
            turn = max(self._turn, self._next_turn.get(owner, 0))
            self._next_turn[owner] = turn + 1
            self._waiting.append(ticket := _Ticket(owner, turn, self._count))
            self._changed.notify_all()
            return ticket

    def _wait(self, ticket: _Ticket, gone: threading.Event, told: Told) -> bool:
        until = time.monotonic() + LONGEST_SECONDS
        place = 0
        while not gone.is_set() and time.monotonic() < until:
            with self._changed:
                before = sum(other.order < ticket.order for other in self._waiting) + (self._inside is not None)
                if before == 0:
                    self._waiting.remove(ticket)
                    self._inside = ticket
                    self._turn = ticket.turn
                elif before == place:
                    self._changed.wait(_LOOK_SECONDS)
                    continue
            if before != place:  # outside of the lock: it may be written to a database
                place = before
                told(before)
            if before == 0:
                return True
        return False


@dataclass(frozen=True)
class InLine:
    """A provider whose requests stand in a line.

    Attributes
    ----------
    owner
        Who asks: requests of one owner do not get before those of others by being many.
    gone
        Set once nobody waits for the answer any more.
    waited
        Gets the seconds of each wait.
    """

    server: Provider
    line: Line
    owner: str = ""
    gone: threading.Event = field(default_factory=threading.Event)
    told: Told = _tell_nobody
    waited: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The model's."""
        return self.server.name

    @property
    def prompt_tokens(self) -> int:
        """The model's."""
        return self.server.prompt_tokens

    def of(self, owner: str, gone: threading.Event, told: Told) -> InLine:
        """The same for one person's question."""
        return replace(self, owner=owner, gone=gone, told=told, waited=[])

    def stream(self, messages: Sequence[Message], *, max_tokens: int) -> Generator[Chunk]:
        """As of `Provider`, once it is this request's turn.

        Raises
        ------
        ProviderError
            Others took too long, or the model failed.
        """
        from assistant.errors import ProviderError

        began = time.monotonic()
        with self.line.place(self.owner, self.gone, self.told) as mine:
            self.waited.append(time.monotonic() - began)
            if self.gone.is_set():
                return
            if not mine:
                raise ProviderError(
                    f"{self.name} was busy with other questions for {LONGEST_SECONDS:g} s.",
                    hint="Ask again later.",
                    code="provider.busy",
                )
            yield from self.server.stream(messages, max_tokens=max_tokens)
