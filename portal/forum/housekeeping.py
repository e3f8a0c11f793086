"""Periodic task of the forum bot."""

from __future__ import annotations

from celery import shared_task


@shared_task(name="portal.forum.housekeeping.tick")  # type: ignore[untyped-decorator]  # celery has no types
def tick() -> None:
    """Send what is due."""
    from portal.forum import services

    services.tick()
