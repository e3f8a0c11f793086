"""Issues of a GitHub repository in the same queue: read, drafted, reviewed; posted by a person alone.

An issue is handed on as a topic of the forum would be: one set of rules, one way to a draft and one review page serve both.
There is no way to write to GitHub: `assistant.github` has none.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

from django.conf import settings
from django.utils import timezone

from portal.forum import compose, rules, services
from portal.forum.models import Draft, DraftState, Source, Topic, Tracker
from portal.forum.rules import Rules, names

if TYPE_CHECKING:
    from assistant.discourse import Topic as ForumTopic
    from assistant.github import Account, Comment, GitHub, Issue

log = logging.getLogger(__name__)

CATEGORY = 0  # issues have none; the one that the rules for them name
OVERLAP = timedelta(minutes=1)  # GitHub's lists may lag a little behind its issues
KEEP_UP = 300  # changed issues looked at in one poll; the next one goes on there


@cache
def _client(repository: str, url: str, token: str) -> GitHub:
    """One client for the process, so that its connections and ETags are used again."""
    from assistant.github import GitHub

    return GitHub(repository, base_url=url, token=token)


def client() -> GitHub:
    """The configured repository."""
    env = settings.ENV
    return _client(env.github_repository, env.github_url, env.github_token.get_secret_value())


def current_rules() -> Rules:
    """The rules as `portal.forum.rules` takes them; labels take the place of tags."""
    of, shared = services.tracker(), services.forum()
    return Rules(
        me="",
        categories=frozenset({CATEGORY}),
        readable=frozenset({CATEGORY}),
        tags=names(of.labels),
        excluded_tags=names(of.excluded_labels),
        bots=names(shared.bots),
        max_age=timedelta(days=shared.max_age_days),
    )


def read(number: int) -> ForumTopic:
    """An issue with its comments.

    Raises
    ------
    BoardError
        With a code that ends in ``.missing`` also where the number is that of a pull request.
    """
    from assistant.github import GitHubError

    of = client()
    issue = of.issue(number)
    if issue.pull_request:
        raise GitHubError(f"{number} is a pull request.", code="github.missing", permanent=True)
    return as_topic(issue, of.comments(number) if issue.comments else [])


def as_topic(issue: Issue, comments: list[Comment]) -> ForumTopic:
    """An issue as a topic: labels as tags, comments as posts, and accounts of apps with a number that only bots have."""
    from assistant.discourse import Post, Topic

    def post(number: int, by: Account, at: datetime, raw: str, key: int = 0) -> Post:
        author = 0 if by.bot else by.id
        return Post(id=key, number=number, user_id=author, username=by.login, created_at=at, raw=raw)

    first = post(1, issue.by, issue.created_at, issue.body or issue.title)
    rest = [post(number, each.by, each.created_at, each.body, each.id) for number, each in enumerate(comments, 2)]
    return Topic(
        id=issue.number,
        title=issue.title,
        category_id=CATEGORY,
        tags=issue.labels,
        created_at=issue.created_at,
        posts_count=1 + issue.comments,
        closed=not issue.open or issue.locked,
        posts=(first, *rest),
    )


def poll() -> int:
    """Queue new issues, and look again at those with a waiting draft that changed. Returns how many are new.

    The moment up to which all changes were seen is stored at the end; what a poll that broke off has not read, the next one does.
    """
    from assistant.errors import BoardError

    if not services.start_poll(Tracker):
        return 0
    new, error, wait = 0, "", None
    since = services.tracker().since or timezone.now() - timedelta(days=services.forum().max_age_days)
    latest = since
    try:
        rule = current_rules()
        for count, issue in enumerate(client().changed(since - OVERLAP), 1):
            new += _notice(issue, rule)
            latest = max(latest, issue.updated_at)
            if count >= KEEP_UP and latest - OVERLAP > since:  # the next poll begins later than this one did
                break
    except BoardError as problem:
        error = f"{problem.message} {problem.hint}".strip()
        wait = problem.retry_after
        log.warning("the issues could not be polled: %s", problem)
    except Exception:
        error = "The poll broke off; the assistant's log says why."
        log.exception("the issues could not be polled")
    finally:
        # The oldest changes came first, so what was read is behind `latest` also where the poll broke off.
        services.end_poll(error, Tracker, since=latest, not_before=_moment(wait))
    services.enqueue_next()
    return new


def _moment(wait: float | None) -> datetime | None:
    return None if wait is None else timezone.now() + timedelta(seconds=wait)


def _notice(issue: Issue, rule: Rules) -> bool:
    from portal.forum import engine

    if issue.pull_request:
        return False
    topic = as_topic(issue, [])
    if Draft.objects.filter(topic__source=Source.GITHUB, topic__number=issue.number, state=DraftState.WAITING).exists():
        engine.recheck(issue.number, Source.GITHUB)
    if Topic.objects.filter(source=Source.GITHUB, number=issue.number).exclude(state="SKIPPED").exists():
        return False
    if rules.out_of_scope(topic, rule) or rules.too_old(topic, rule, timezone.now()):
        return False
    seen = services.see(
        issue.number,
        title=issue.title[: compose.TITLE_LIMIT],
        category=CATEGORY,
        tags=list(issue.labels),
        created_at=issue.created_at,
        source=Source.GITHUB,
    )
    return seen is not None
