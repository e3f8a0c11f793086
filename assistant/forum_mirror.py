"""A forum's topics on this disk, kept in step with the forum: what the corpus reads.

Only public categories are asked for, one by one; a topic that moves out of them, is deleted or is hidden leaves the mirror. New
posts show in a category's list, which is read until nothing new comes. Edits and deletions do not: the forum's webhooks `mark`
a topic, and those read longest ago are read again a few at a time. Everything is stored as it comes, so a run may stop anywhere;
the next one goes on there.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from assistant.discourse import REGULAR, Discourse, Post, Topic, TopicPage, TopicSummary
from assistant.errors import BoardError
from assistant.forum_text import plain

__all__ = ["Mirror", "Mirrored", "Sync"]

POST_LETTERS = 6000
REPLIES = 6  # of a topic that are kept besides the accepted answer
READ_AGAIN_SECONDS = 24 * 3600.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS topics (
  number INTEGER PRIMARY KEY, category INTEGER NOT NULL, title TEXT NOT NULL, slug TEXT NOT NULL, bumped TEXT NOT NULL,
  posts INTEGER NOT NULL, solved INTEGER NOT NULL, accepted INTEGER NOT NULL, text TEXT NOT NULL, read_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS due (number INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS backfill (category INTEGER PRIMARY KEY, page INTEGER NOT NULL, done INTEGER NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Mirrored:
    """A topic of the mirror; `accepted` is the number of the accepted post in it, 0 where there is none."""

    number: int
    title: str
    slug: str
    solved: bool
    accepted: int
    text: str


@dataclass(slots=True)
class Sync:
    """What a run did: topics read, changed and removed, and whether it came to its end."""

    read: int = 0
    changed: int = 0
    removed: int = 0
    complete: bool = False


class Mirror:
    """The mirror in the SQLite file at ``path``, which is made where it is missing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.path, timeout=20, isolation_level=None)) as connection:
            connection.executescript(_SCHEMA)
            yield connection

    def __len__(self) -> int:
        with self._open() as database:
            return int(database.execute("SELECT count(*) FROM topics").fetchone()[0])

    def __contains__(self, number: int) -> bool:
        if not self.path.is_file():
            return False
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=20)) as database:
            return database.execute("SELECT 1 FROM topics WHERE number = ?", (number,)).fetchone() is not None

    def topics(self) -> Iterator[Mirrored]:
        """The topics, solved ones first, the newest of each first. Reads only: the file may be on a read-only disk."""
        if not self.path.is_file():
            return
        rows = "SELECT number, title, slug, solved, accepted, text FROM topics ORDER BY solved DESC, number DESC"
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=20)) as database:
            for number, title, slug, solved, accepted, text in database.execute(rows):
                yield Mirrored(number, title, slug, bool(solved), accepted, text)

    def mark(self, number: int) -> None:
        """Have a topic read again in the next run, because something of it was edited, deleted or moved."""
        with self._open() as database:
            database.execute("INSERT OR IGNORE INTO due VALUES (?)", (number,))

    def sync(
        self,
        forum: Discourse,
        categories: Collection[int],
        *,
        budget: int = 300,
        again: int = 20,
        stop: Callable[[], bool] = lambda: False,
        now: Callable[[], float] = time.time,
    ) -> Sync:
        """Bring the mirror nearer to the forum.

        Parameters
        ----------
        categories
            The categories that everybody may read, and that are wanted: nothing of another is asked for, or kept.
        budget
            How many topics to read at most.
        again
            How many of the topics read longest ago to read again, for edits and deletions that no webhook told of.
        stop
            Asked before each request.

        Raises
        ------
        BoardError
            The forum did not answer; what was read until then is kept.
        """
        with self._open() as database:
            return _Run(database, forum, frozenset(categories), budget, stop, now).all(again)


class _Run:
    """One run of `Mirror.sync`."""

    def __init__(
        self,
        database: sqlite3.Connection,
        forum: Discourse,
        categories: frozenset[int],
        budget: int,
        stop: Callable[[], bool],
        now: Callable[[], float],
    ) -> None:
        self.database, self.forum, self.categories = database, forum, categories
        self.left, self.stop, self.now = budget, stop, now
        self.done = Sync()

    def all(self, again: int) -> Sync:
        kept = ",".join(str(int(category)) for category in self.categories) or "-1"
        gone = self.database.execute(f"DELETE FROM topics WHERE category NOT IN ({kept})")  # noqa: S608  (whole numbers)
        self.done.removed += gone.rowcount
        for (number,) in self.database.execute("SELECT number FROM due").fetchall():
            if self._ended():
                return self.done
            self._read(number)
            self.database.execute("DELETE FROM due WHERE number = ?", (number,))
        for category in sorted(self.categories):
            if not (self._new(category) and self._backfill(category)):
                return self.done
        oldest = "SELECT number FROM topics WHERE read_at < ? ORDER BY read_at LIMIT ?"
        for (number,) in self.database.execute(oldest, (self.now() - READ_AGAIN_SECONDS, again)).fetchall():
            if self._ended():
                return self.done
            self._read(number)
        self.done.complete = True
        return self.done

    def _ended(self) -> bool:
        return self.left <= 0 or self.stop()

    def _new(self, category: int) -> bool:
        """Read what was written in since the last run: from the list's beginning to the first page without news."""
        started = self.database.execute("SELECT 1 FROM backfill WHERE category = ?", (category,)).fetchone()
        page = 0
        while started:
            listed = self._page(category, page)
            if listed is None:
                return False
            news = self._take(listed)
            if news is None:
                return False
            if not news or not listed.more:
                break
            page += 1
        return True

    def _backfill(self, category: int) -> bool:
        """Go on through the list to its end, once for each category."""
        row = self.database.execute("SELECT page, done FROM backfill WHERE category = ?", (category,)).fetchone()
        page, done = row or (0, 0)
        # Topics written in meanwhile have moved others down, never up: what was read is not missed, one page back is safe.
        page = max(page - 1, 0)
        while not done:
            listed = self._page(category, page)
            if listed is None or self._take(listed) is None:
                return False
            page, done = page + 1, 0 if listed.more else 1
            self.database.execute("INSERT OR REPLACE INTO backfill VALUES (?, ?, ?)", (category, page, done))
        return True

    def _page(self, category: int, page: int) -> TopicPage | None:
        return None if self._ended() else self.forum.latest(category=category, page=page, order="activity")

    def _take(self, listed: TopicPage) -> int | None:
        """Read the topics of a page that are new or have changed; how many, None where the run ends before them."""
        news = 0
        for topic in listed.topics:
            if topic.private or not topic.visible or topic.category_id not in self.categories:
                self._forget(topic.id)
            elif self._is_news(topic):
                if self._ended():
                    return None
                self._read(topic.id, topic)
                news += not topic.pinned  # pinned topics come first, however old
        return news

    def _is_news(self, topic: TopicSummary) -> bool:
        row = self.database.execute("SELECT bumped, posts, category FROM topics WHERE number = ?", (topic.id,)).fetchone()
        return bool(row != (_bumped(topic), topic.posts_count, topic.category_id))

    def _read(self, number: int, listed: TopicSummary | None = None) -> None:
        """Read a topic and store it; what a list says of it is what the next list is compared with."""
        self.left -= 1
        self.done.read += 1
        try:
            topic = self.forum.topic(number)
        except BoardError as error:
            if not error.missing:
                raise
            self._forget(number)
            return
        hidden = topic.private or topic.deleted or not topic.visible or topic.question is None
        if hidden or topic.category_id not in self.categories:
            self._forget(number)
            return
        accepted = next((post for post in topic.posts if post.accepted and _shown(post)), None)
        text = _text(topic, accepted)
        before = self.database.execute("SELECT title, text, bumped, posts FROM topics WHERE number = ?", (number,)).fetchone()
        self.done.changed += before is None or before[:2] != (topic.title, text)
        bumped, posts = (_bumped(listed), listed.posts_count) if listed else before[2:] if before else ("", 0)
        self.database.execute(
            "INSERT OR REPLACE INTO topics VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                number, topic.category_id, topic.title, topic.slug, bumped, posts, int(accepted is not None),
                accepted.number if accepted else 0, text, self.now(),
            ),
        )  # fmt: skip

    def _forget(self, number: int) -> None:
        gone = self.database.execute("DELETE FROM topics WHERE number = ?", (number,))
        self.done.removed += gone.rowcount


def _bumped(topic: TopicSummary) -> str:
    return topic.bumped_at.isoformat() if topic.bumped_at else ""


def _shown(post: Post) -> bool:
    """Whether everybody sees a post: no whisper, no note of a moderator, not deleted."""
    return post.kind == REGULAR and not post.deleted


def _text(topic: Topic, accepted: Post | None) -> str:
    """Question, accepted answer marked as such, then the first of the other replies; no names."""
    question = topic.question
    parts = [f"## Question\n\n{plain(question.raw)[:POST_LETTERS]}"] if question else []
    if accepted:
        parts.append(f"## Accepted answer\n\n{plain(accepted.raw)[:POST_LETTERS]}")
    replies = [post for post in topic.posts if post.number > 1 and _shown(post) and post is not accepted and plain(post.raw)]
    parts += [f"## Reply\n\n{plain(post.raw)[:POST_LETTERS]}" for post in replies[:REPLIES]]
    return "\n\n".join(parts)
