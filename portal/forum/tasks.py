"""The forum bot's Celery tasks; they run in the assistant's worker, which has the index open."""

from __future__ import annotations

from portal.celery import app


@app.task(name="portal.forum.poll")  # type: ignore[untyped-decorator]  # celery has no types
def poll() -> None:
    """Look for new topics."""
    from portal.forum import engine

    engine.poll()


@app.task(name="portal.forum.poll_issues")  # type: ignore[untyped-decorator]
def poll_issues() -> None:
    """Look for new issues."""
    from portal.forum import issues

    issues.poll()


@app.task(name="portal.forum.draft_topic")  # type: ignore[untyped-decorator]
def draft_topic(pk: int) -> None:
    """Make a draft, unless it is being made or there already (a message may come twice)."""
    from portal.forum import engine

    engine.draft(pk)


@app.task(name="portal.forum.post_draft")  # type: ignore[untyped-decorator]
def post_draft(pk: int) -> None:
    """Post an approved draft, once."""
    from portal.forum import engine

    engine.post(pk)


@app.task(name="portal.forum.recheck")  # type: ignore[untyped-decorator]
def recheck(number: int) -> None:
    """Look at a topic again."""
    from portal.forum import engine

    engine.recheck(number)


@app.task(name="portal.forum.mirror")  # type: ignore[untyped-decorator]
def mirror() -> None:
    """Bring the corpus's topics nearer to the forum's."""
    from portal.forum import corpus

    corpus.sync()
