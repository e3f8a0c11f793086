"""The answer as it is written, as server-sent events.

The stream reads the database a few times a second; the worker writes there. Each event holds the whole of its part, so a reader
may come late, come back, or be there in several tabs: `passages`, `text` and `state` are pieces of HTML to put in place, `done`
is the finished turn, after which the stream ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import UUID

from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_required
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.middleware.csrf import get_token
from django.template.loader import render_to_string

from portal.chat.models import Turn, TurnState
from portal.chat.show import show

POLL_SECONDS = 0.12
IDLE_POLL_SECONDS = 0.5  # where nothing has changed for a while, for example while the turn waits in a long queue
IDLE_AFTER = 10.0
KEEPALIVE_SECONDS = 15.0
LONGEST_SECONDS = 600.0  # then the browser connects again by itself


@dataclass
class Reader:
    """What one open stream has sent so far."""

    turn_id: UUID
    owner_id: int
    csrf_token: str
    revision: int = -1
    sent: dict[str, str] = field(default_factory=dict)
    ended: bool = False

    def read(self) -> list[tuple[str, str]]:
        """The events that are new since the last call. Sets `ended` once there will be no more."""
        try:
            return self._read()
        finally:
            # A pooled connection is given back between two looks: there may be more readers than connections.
            if connection.vendor != "sqlite" and not connection.in_atomic_block:
                connection.close()

    def _read(self) -> list[tuple[str, str]]:
        mine = Turn.objects.filter(pk=self.turn_id, owner=self.owner_id)
        now = mine.values("revision", "state").first()
        if now is not None and now["revision"] == self.revision and now["state"] != TurnState.QUEUED:
            return []  # the place of one that waits changes by others
        turn = mine.select_related("feedback").first()
        if turn is None:
            self.ended = True  # removed while it was being read
            return [("gone", "")]
        self.revision = turn.revision
        shown = show(turn)
        context = {"shown": shown, "csrf_token": self.csrf_token}
        parts: dict[str, str] = {"text": shown.prose}
        if shown.steps:
            parts = {"steps": render_to_string("chat/_steps.html", context)} | parts
        if shown.passages is not None:
            parts = {"passages": render_to_string("chat/_passages.html", context)} | parts
        if turn.open:
            parts["state"] = render_to_string("chat/_after.html", context)
        events: list[tuple[str, str]] = [(name, html) for name, html in parts.items() if self.sent.get(name, "") != html]
        self.sent.update(parts)
        if not turn.open:
            self.ended = True
            events.append(("done", render_to_string("chat/_turn.html", context)))
        return events


@login_required
async def events(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """The stream of one turn, for its owner."""
    user = await request.auser()
    if user.pk is None or not await Turn.objects.filter(pk=pk, owner_id=user.pk).aexists():
        raise Http404("No such question of yours.")
    reader = Reader(pk, user.pk, get_token(request))
    response = StreamingHttpResponse(stream(reader), content_type="text/event-stream; charset=utf-8")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # a proxy in front is not to collect the pieces
    return response


async def stream(reader: Reader) -> AsyncIterator[bytes]:
    """The events of `reader`, until the turn has ended or the client is gone (which cancels this)."""
    started = changed = spoken = time.monotonic()
    read = sync_to_async(reader.read)
    yield b"retry: 1000\n\n"
    while not reader.ended and time.monotonic() - started < LONGEST_SECONDS:
        new = await read()
        now = time.monotonic()
        if new:
            changed = spoken = now
            yield b"".join(message(name, html) for name, html in new)
            continue
        if now - spoken > KEEPALIVE_SECONDS:
            spoken = now
            yield b": still here\n\n"
        await asyncio.sleep(POLL_SECONDS if now - changed < IDLE_AFTER else IDLE_POLL_SECONDS)


def message(name: str, data: str) -> bytes:
    """One server-sent event; data may have several lines."""
    lines = "".join(f"data: {line}\n" for line in data.split("\n"))
    return f"event: {name}\n{lines}\n".replace("\r", "").encode()
