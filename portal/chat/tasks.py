"""The one Celery task of the chat: the message holds the id alone, everything else is in the database."""

from __future__ import annotations

import threading
from typing import Any

from celery.signals import worker_ready

from portal.celery import app


# Of this application by name, not a shared task: the web process sends it before anything else there has made the application.
@app.task(name="portal.chat.answer_turn")  # type: ignore[untyped-decorator]  # celery has no types
def answer_turn(turn_id: str) -> None:
    """Answer the turn, unless it is being answered or has ended already (a message may come twice)."""
    from portal.chat import engine

    engine.execute(turn_id)


@app.task(name="portal.chat.check_code")  # type: ignore[untyped-decorator]
def check_code(turn_id: str, chain: str) -> None:
    """Go on with running an answer's code."""
    from portal.chat import code

    code.advance(turn_id, chain)


@worker_ready.connect  # type: ignore[untyped-decorator]
def _preload(sender: Any, **_kwargs: Any) -> None:
    """A worker that serves the chat loads the index before the first question comes."""
    if "chat" in sender.app.amqp.queues.consume_from:
        from portal.chat import engine

        threading.Thread(target=engine.stay_loaded, name="stay-loaded", daemon=True).start()
