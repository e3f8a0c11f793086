"""The events of an answer in the making, read from the database: what changed since the last look."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urljoin

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import close_old_connections

from portal.chat.models import Turn

POLL_SECONDS = 0.1
COMMENT_SECONDS = 10.0  # proxies close a connection that is silent for long
LIMIT_SECONDS = 900.0


def passages(turn: Turn) -> list[dict[str, Any]] | None:
    """The passages that were found, None until then; a page of the portal becomes a whole address."""
    if turn.passages is None:
        return None
    return [each | {"url": urljoin(settings.PUBLIC_URL, each["url"]) if each.get("url") else ""} for each in turn.passages]


def event(name: str, data: Any) -> bytes:
    """One server-sent event."""
    return f"event: {name}\ndata: {json.dumps(data, cls=DjangoJSONEncoder)}\n\n".encode()


def follow(turn: Turn, show: Callable[[Turn], dict[str, Any]]) -> Iterator[bytes]:
    """The turn's events from its beginning to its end, one look at the database each; ``b""`` where nothing has changed.

    ``show`` makes the data of the last one.
    """
    seen = Turn(pk=turn.pk, state="", text="", passages=None)
    quiet_since = started = time.monotonic()
    now: Turn | None = turn
    while now is not None and time.monotonic() - started < LIMIT_SECONDS:
        parts = list(_changes(seen, now))
        if not now.open:
            yield b"".join([*parts, event("done", show(now))])
            return
        if parts:
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since > COMMENT_SECONDS:
            quiet_since = time.monotonic()
            parts = [b": still here\n\n"]
        seen = now
        yield b"".join(parts)
        now = Turn.objects.filter(pk=turn.pk).first()
        close_old_connections()  # a reader of minutes must not keep a connection of the pool


def _changes(seen: Turn, now: Turn) -> Iterator[bytes]:
    if now.state != seen.state:
        yield event("state", {"state": now.state})
    if now.passages is not None and now.passages != seen.passages:
        yield event("passages", {"passages": passages(now)})
    if now.text != seen.text:
        # Written text normally only grows; a correction replaces it from the first character that differs.
        offset = _agreeing(seen.text, now.text)
        yield event("text", {"offset": offset, "text": now.text[offset:]})


def _agreeing(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginning."""
    if other.startswith(one):
        return len(one)
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
