"""The forum's topics as a source of answers: a mirror beside the index, kept in step by the assistant's worker."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings

from portal.celery import stopping
from portal.forum import services

if TYPE_CHECKING:
    from assistant.forum_mirror import Mirror

log = logging.getLogger(__name__)

SOURCE = "forum"  # its name in the list of sources


def path() -> Path:
    """Where the mirror is: beside the index, which the job that reads it may reach."""
    return Path(settings.INDEX_DIR) / "forum.sqlite3"


def _mirror() -> Mirror:
    from assistant.forum_mirror import Mirror

    return Mirror(path())


def mark(number: int) -> None:
    """Have a topic read again: something of it changed."""
    _mirror().mark(number)


def has(number: int) -> bool:
    """Whether a topic is in the mirror: then it matters where it moves to, also out of the categories that are read."""
    return number in _mirror()


def sync() -> None:
    """One run: read what is new or changed, then have the index read the mirror where that changed anything."""
    from assistant.errors import BoardError
    from portal.forum import engine

    if not services.start_mirror():
        return
    error = ""
    try:
        forum = engine.client()
        rule = engine.current_rules(forum)
        done = _mirror().sync(forum, rule.categories & rule.readable, stop=stopping.is_set)
        log.info("mirror: %d topics read, %d changed, %d removed", done.read, done.changed, done.removed)
        if done.changed or done.removed:
            _index()
    except BoardError as problem:
        error = f"{problem.message} {problem.hint}".strip()
        log.warning("the forum's topics could not be brought up to date: %s", problem)
    except Exception:
        error = "The run broke off; the assistant's log says why."
        log.exception("the forum's topics could not be brought up to date")
    services.end_mirror(error)


def _index() -> None:
    """Add the source where it is not listed, and have the index read it, unless that is about to happen."""
    from assistant.corpus import add_source, list_sources
    from portal.jobs import services as jobs
    from portal.jobs.models import Job, JobState

    if not any(entry.kind == "discourse" for entry in list_sources(settings.INDEX_DIR)):
        add_source(settings.INDEX_DIR, "discourse", str(path()), name=SOURCE, url=settings.ENV.forum_url)
    if not Job.objects.filter(type="corpus-ingest", state=JobState.PENDING).exists():
        jobs.submit(None, "corpus-ingest", {})
