"""Periodic task of the chat."""

from __future__ import annotations

from celery import shared_task


@shared_task(name="portal.chat.housekeeping.heal")  # type: ignore[untyped-decorator]  # celery has no types
def heal() -> None:
    """End or send again what lost its worker or its message."""
    from portal.chat import code, services

    services.heal()
    code.heal()
