"""Client of a Discourse forum: latest topics, a topic with its posts, categories, people, search, and posting.

Reading is tried again where that can help: after a timeout, a broken connection, a server error or a rate limit (429), with
growing pauses or the pause that the forum asks for. Posting is tried once: a post whose fate is unknown raises an error with
`uncertain`, and the caller looks into the topic before it posts again.

What the forum sends is data of strangers: answers are read up to a limit, redirects are not followed, missing fields get their
empty value, and a field of the wrong type is an error, never a crash elsewhere.

References
----------
Discourse API documentation, https://docs.discourse.org; webhooks, https://meta.discourse.org/t/49045.
"""

from __future__ import annotations

import contextlib
import json
import math
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from assistant.errors import BoardError

__all__ = [
    "WHISPER",
    "Category",
    "Discourse",
    "DiscourseError",
    "Person",
    "Post",
    "Topic",
    "TopicPage",
    "TopicSummary",
    "Upload",
]

REGULAR, WHISPER = 1, 4
"""Values of `Post.kind`; 2 and 3 are the forum's own notes on what moderators did."""

ANSWER_LIMIT = 16 * 2**20  # bytes of one answer that are read
POSTS_PER_REQUEST = 20  # what Discourse itself sends with a topic
POSTS_LIMIT = 200  # posts of one topic that are read; whether somebody has answered shows long before
_ATTEMPTS = 4
_SHORT_URL = re.compile(r"upload://[A-Za-z0-9]+\.[a-z0-9]+")
_LONGEST_WAIT = 20.0  # seconds of one pause; who is asked to wait longer comes back later


class DiscourseError(BoardError):
    """A forum that did not answer as asked."""

    code = "discourse"


@dataclass(frozen=True, slots=True)
class Post:
    """One post of a topic.

    Attributes
    ----------
    number
        Its place in the topic, from 1; a deleted post leaves a gap.
    kind
        `REGULAR`, `WHISPER`, or what the forum noted.
    raw
        Its Markdown as the author wrote it; empty where the forum did not send it.
    deleted
        Whether it was deleted or hidden.
    """

    id: int
    number: int
    user_id: int
    username: str
    created_at: datetime
    kind: int = REGULAR
    raw: str = ""
    deleted: bool = False
    accepted: bool = False


@dataclass(frozen=True, slots=True)
class TopicSummary:
    """A topic as lists show it."""

    id: int
    title: str
    category_id: int
    tags: tuple[str, ...]
    created_at: datetime
    posts_count: int
    closed: bool = False
    archived: bool = False
    visible: bool = True
    pinned: bool = False
    private: bool = False
    bumped_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Topic(TopicSummary):
    """A topic with its posts, oldest first."""

    slug: str = ""
    deleted: bool = False
    posts: tuple[Post, ...] = ()

    @property
    def question(self) -> Post | None:
        """The first post, None where it is gone."""
        return next((post for post in self.posts if post.number == 1 and not post.deleted), None)

    @property
    def solved(self) -> bool:
        """Whether an answer was accepted."""
        return any(post.accepted for post in self.posts)


@dataclass(frozen=True, slots=True)
class TopicPage:
    """One page of a list of topics; `more` tells whether there is another."""

    topics: tuple[TopicSummary, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Upload:
    """A file on the forum, for posts to show; `short_url` is what their Markdown calls it: ``upload://abc.png``."""

    id: int
    short_url: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Category:
    """A category; `restricted` where not everybody may read it."""

    id: int
    name: str
    slug: str
    restricted: bool
    parent_id: int | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """An account. Discourse's own accounts have numbers below 1."""

    id: int
    username: str
    staff: bool


class Discourse:
    """The forum at one address, as one of its users.

    Parameters
    ----------
    base_url
        The forum's address, for example ``"https://root-forum.example.org"``.
    api_key, username
        A key of that user. The key goes to this address only, and into no message.
    timeout
        Seconds to wait for a connection, and for each piece of an answer.
    sleep
        How to pause; tests hand in one that does not.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str,
        username: str,
        timeout: float = 20.0,
        attempts: int = _ATTEMPTS,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.username = username
        self._attempts = attempts
        self._sleep = sleep
        local = (urlsplit(self.base_url).hostname or "") in {"localhost", "127.0.0.1", "::1"}
        self._client = httpx.Client(
            base_url=self.base_url,
            timeout=timeout,
            headers={"Api-Key": api_key, "Api-Username": username, "Accept": "application/json"},
            follow_redirects=False,
            trust_env=not local,
        )

    def __repr__(self) -> str:
        return f"Discourse(base_url={self.base_url!r}, username={self.username!r})"

    def __enter__(self) -> Discourse:
        return self

    def __exit__(self, *_args: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    # --- reading --------------------------------------------------------------------------------------------------------------

    def latest(self, *, category: int | None = None, tag: str = "", page: int = 0, order: str = "created") -> TopicPage:
        """One page of topics, by `order` those created last first, or with ``"activity"`` those written in last.

        Parameters
        ----------
        category
            The category's number; None: all of them.
        tag
            Only topics with this tag.
        page
            Counted from 0.

        Raises
        ------
        DiscourseError
        """
        if tag:
            path = f"/tag/{quote(tag, safe='')}.json"
        else:
            path = "/latest.json" if category is None else f"/c/{category}/l/latest.json"
        query: dict[str, str | int] = {"order": order, "page": page}
        if tag and category is not None:
            query["category"] = category
        found = self._get(path, query)
        listed = _mapping(found, "topic_list")
        return TopicPage(tuple(map(_summary, _rows(listed, "topics"))), bool(listed.get("more_topics_url")))

    def topic(self, number: int) -> Topic:
        """A topic with the Markdown of its posts, at most `POSTS_LIMIT` of them.

        Raises
        ------
        DiscourseError
            With the code ``"discourse.missing"`` where there is none, or this user may not read it.
        """
        found = self._get(f"/t/{number}.json", {"include_raw": "true"})
        stream = _mapping(found, "post_stream")
        posts = {_int(row.get("id")): row for row in _rows(stream, "posts")}
        wanted = [_int(each) for each in (stream.get("stream") or ())][:POSTS_LIMIT]
        missing = [each for each in wanted if each not in posts]
        for start in range(0, len(missing), POSTS_PER_REQUEST):
            query = [("post_ids[]", each) for each in missing[start : start + POSTS_PER_REQUEST]]
            more = self._get(f"/t/{number}/posts.json", [*query, ("include_raw", "true")])
            posts |= {_int(row.get("id")): row for row in _rows(_mapping(more, "post_stream"), "posts")}
        accepted = found.get("accepted_answer")
        accepted_number = accepted.get("post_number") if isinstance(accepted, Mapping) else None
        read = sorted((_post(row, accepted_number) for row in posts.values()), key=lambda post: post.number)
        summary = _summary(found)
        fields = {name: getattr(summary, name) for name in TopicSummary.__slots__}
        return Topic(**fields, slug=_text(found.get("slug")), deleted=bool(found.get("deleted_at")), posts=tuple(read))

    def categories(self) -> tuple[Category, ...]:
        """All categories that this user sees, subcategories included."""
        rows = _rows(self._get("/site.json"), "categories")
        return tuple(
            Category(
                id=_int(row.get("id")),
                name=_text(row.get("name")),
                slug=_text(row.get("slug")),
                # Where the forum does not say, the category is taken for a private one.
                restricted=bool(row.get("read_restricted", True)),
                parent_id=None if row.get("parent_category_id") is None else _int(row["parent_category_id"]),
            )
            for row in rows
        )

    def person(self, username: str) -> Person:
        """An account by its name."""
        row = _mapping(self._get(f"/u/{quote(username, safe='')}.json"), "user")
        staff = bool(row.get("admin") or row.get("moderator"))
        return Person(_int(row.get("id")), _text(row.get("username")), staff)

    def search(self, words: str) -> tuple[TopicSummary, ...]:
        """Topics that fit, best first. `words` may hold Discourse's own filters, such as ``status:solved``."""
        found = self._get("/search.json", {"q": words})
        return tuple(map(_summary, _rows(found, "topics")))

    # --- writing --------------------------------------------------------------------------------------------------------------

    def reply(self, topic: int, raw: str, *, whisper: bool = False) -> Post:
        """Post into a topic; a whisper is seen by the forum's staff only.

        Raises
        ------
        DiscourseError
            `uncertain` where the post may have been taken.
        """
        body: dict[str, Any] = {"topic_id": topic, "raw": raw}
        if whisper:
            body["whisper"] = True
        return _post(self._send("POST", "/posts.json", body=body), None)

    def upload(self, name: str, content: bytes, kind: str = "image/png") -> Upload:
        """Bring a picture to the forum. Discourse knows a file by its content: the same one twice is there once.

        Raises
        ------
        DiscourseError
            `permanent` where the forum takes no such file, or none from this user.
        """
        found = self._send(
            "POST", "/uploads.json", fields={"type": "composer", "synchronous": "true"}, file=(name, content, kind)
        )
        short = _text(found.get("short_url"))
        if not _SHORT_URL.fullmatch(short):
            raise self._garbage("/uploads.json", uncertain=True)
        return Upload(_int(found.get("id")), short, _int(found.get("width") or 0), _int(found.get("height") or 0))

    # --- requests -------------------------------------------------------------------------------------------------------------

    def _get(self, path: str, query: Mapping[str, str | int] | Sequence[tuple[str, str | int]] = ()) -> dict[str, Any]:
        return self._send("GET", path, query=list(query.items()) if isinstance(query, Mapping) else list(query))

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str | int]] = (),
        body: Mapping[str, Any] | None = None,
        fields: Mapping[str, str] | None = None,
        file: tuple[str, bytes, str] | None = None,
    ) -> dict[str, Any]:
        """One request; reading is tried again where that can help. Who posts decides by itself when to try again."""
        attempts = self._attempts if method == "GET" else 1
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._once(method, path, query, body, fields, file)
            except DiscourseError as error:
                asked = error.retry_after or 0.0
                if error.permanent or attempt >= attempts or asked > _LONGEST_WAIT:
                    raise
                pause = 0.5 * 2 ** (attempt - 1) * random.uniform(0.8, 1.2)  # noqa: S311  (spreads clients, hides nothing)
                self._sleep(max(asked, pause))

    def _once(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str | int]],
        body: Mapping[str, Any] | None,
        fields: Mapping[str, str] | None,
        file: tuple[str, bytes, str] | None,
    ) -> dict[str, Any]:
        writes = method != "GET"
        content_of: dict[str, Any] = {"json": body} if file is None else {"data": fields, "files": {"file": file}}
        try:
            with self._client.stream(method, path, params=httpx.QueryParams(list(query)), **content_of) as response:
                content = _limited(response)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:  # nothing was sent
            raise self._unreachable(error, uncertain=False) from error
        except httpx.TransportError as error:
            raise self._unreachable(error, uncertain=writes) from error
        except httpx.InvalidURL as error:
            raise DiscourseError(
                f"{self.base_url} is not an address.", permanent=True, hint="Check ML4EP_FORUM_URL.", code="discourse.address"
            ) from error
        if response.status_code // 100 != 2:
            raise self._by_status(response, content, path, writes)
        try:
            found = json.loads(content)
        except ValueError as error:
            raise self._garbage(path, uncertain=writes) from error
        if not isinstance(found, dict):
            raise self._garbage(path, uncertain=writes)
        return found

    def _unreachable(self, error: Exception, *, uncertain: bool) -> DiscourseError:
        return DiscourseError(
            f"There is no answer from {self.base_url}: {type(error).__name__}.",
            hint="It is tried again; if it goes on, check the address and the network.",
            code="discourse.unreachable",
            uncertain=uncertain,
        )

    def _garbage(self, path: str, *, uncertain: bool) -> DiscourseError:
        return DiscourseError(
            f"What {self.base_url}{path} answered is not Discourse's JSON.",
            hint="Check that the address is the forum's own, without a login page before it.",
            code="discourse.garbage",
            uncertain=uncertain,
        )

    def _by_status(self, response: httpx.Response, content: bytes, path: str, writes: bool) -> DiscourseError:
        status = response.status_code
        said = _errors(content)
        where = f"{self.base_url}{path}"
        if status == 429:
            return DiscourseError(
                f"{self.base_url} is asked too often.",
                hint="It is tried again after the pause that the forum asks for.",
                code="discourse.busy",
                retry_after=_pause(response, content),
            )
        if status in (401, 403) and not path.startswith("/t/"):
            return DiscourseError(
                f"The forum refuses user {self.username} at {where} ({status}{said}).",
                hint="Check ML4EP_FORUM_KEY and ML4EP_FORUM_USER, and what the key may do.",
                code="discourse.key",
                permanent=True,
            )
        if status in (401, 403, 404, 410):
            return DiscourseError(
                f"{where} is not there, or user {self.username} may not read it ({status}).",
                code="discourse.missing",
                permanent=True,
            )
        if status >= 500:
            # A gateway may give up on a request that the forum still carries out.
            return DiscourseError(
                f"{where} failed ({status}).", hint="It is tried again.", code="discourse.failed", uncertain=writes,
                retry_after=_pause(response, content),
            )  # fmt: skip
        if status in (413, 422):
            return DiscourseError(
                f"The forum refuses the {'file' if path == '/uploads.json' else 'post'}{said}.",
                code="discourse.refused",
                permanent=True,
            )
        return DiscourseError(
            f"{where} answered {status}{said}.", hint="Check ML4EP_FORUM_URL.", code="discourse.failed", permanent=True
        )


# --- what the forum sends -----------------------------------------------------------------------------------------------------


def _limited(response: httpx.Response) -> bytes:
    """The body of an answer, up to the limit."""
    parts, size = [], 0
    for part in response.iter_bytes():
        size += len(part)
        if size > ANSWER_LIMIT:
            raise DiscourseError(
                f"An answer of {response.request.url.path} is longer than {ANSWER_LIMIT // 2**20} MiB.",
                code="discourse.long",
                permanent=True,
            )
        parts.append(part)
    return b"".join(parts)


def _errors(content: bytes) -> str:
    """What the forum says is wrong, as the end of a sentence."""
    try:
        found = json.loads(content)["errors"]
        return ": " + "; ".join(" ".join(str(each).split()) for each in found)[:300] if found else ""
    except (ValueError, KeyError, TypeError):
        return ""


def _pause(response: httpx.Response, content: bytes) -> float | None:
    """Seconds to wait, by the header or by Discourse's own field."""
    candidates: list[Any] = [response.headers.get("Retry-After")]
    with contextlib.suppress(ValueError, KeyError, TypeError):
        candidates.append(json.loads(content)["extras"]["wait_seconds"])
    for candidate in candidates:
        try:
            seconds = float(candidate)
        except (TypeError, ValueError):
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return min(seconds, 3600.0)
    return None


def _mapping(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    part = found.get(name)
    if not isinstance(part, dict):
        raise DiscourseError(f"The forum's answer has no “{name}”.", code="discourse.garbage")
    return part


def _rows(found: Mapping[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """The objects of a list; a list that is not there is empty (Discourse leaves empty ones out of a search)."""
    rows = found.get(name) or []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DiscourseError(f"“{name}” in the forum's answer is not a list of objects.", code="discourse.garbage")
    return iter(rows)


def _text(value: Any) -> str:
    """A text that every database takes: without NUL, and without halves of characters, which JSON can hold."""
    return str(value or "").replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def _int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise DiscourseError(f"The forum sent {str(value)[:40]!r} where a number belongs.", code="discourse.garbage")
    return value


def _time(value: Any) -> datetime:
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError as error:
        raise DiscourseError(f"The forum sent {str(value)[:40]!r} where a time belongs.", code="discourse.garbage") from error
    if found.tzinfo is None:
        raise DiscourseError(f"The forum sent the time {str(value)[:40]} without a zone.", code="discourse.garbage")
    return found


def _summary(row: Mapping[str, Any]) -> TopicSummary:
    # Newer versions send tags as objects.
    tags = (tag.get("name", "") if isinstance(tag, Mapping) else tag for tag in row.get("tags") or ())
    private = row.get("archetype", "regular") != "regular"
    return TopicSummary(
        id=_int(row.get("id")),
        title=_text(row.get("title")),
        category_id=0 if row.get("category_id") is None else _int(row["category_id"]),  # private messages have none
        tags=tuple(_text(tag) for tag in tags),
        created_at=_time(row.get("created_at")),
        posts_count=_int(row.get("posts_count", 0)),
        closed=bool(row.get("closed")),
        archived=bool(row.get("archived")),
        visible=bool(row.get("visible", True)),
        pinned=bool(row.get("pinned") or row.get("pinned_globally")),
        private=private,
        bumped_at=None if (bumped := row.get("bumped_at") or row.get("last_posted_at")) is None else _time(bumped),
    )


def _post(row: Mapping[str, Any], accepted_number: Any) -> Post:
    number = _int(row.get("post_number"))
    return Post(
        id=_int(row.get("id")),
        number=number,
        user_id=_int(row.get("user_id")),
        username=_text(row.get("username")),
        created_at=_time(row.get("created_at")),
        kind=_int(row.get("post_type", REGULAR)),
        raw=_text(row.get("raw")),
        deleted=bool(row.get("deleted_at") or row.get("user_deleted") or row.get("hidden")),
        accepted=bool(row.get("accepted_answer")) or (accepted_number is not None and number == accepted_number),
    )
