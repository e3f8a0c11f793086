"""Client of one repository's issues on GitHub, or on a GitHub Enterprise server: it reads, and has no way to write.

Lists are followed page by page by the `Link` header. Answers are asked for again with their ETag, which GitHub does not count
where nothing has changed. Where the rate limit is used up, nothing is asked until it is open again: the error says when.

What GitHub sends is data of strangers: answers are read up to a limit, redirects are not followed, and a field of the wrong type
is an error, never a crash elsewhere.

References
----------
GitHub REST API, https://docs.github.com/en/rest/issues; best practices and rate limits,
https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api.
"""

from __future__ import annotations

import json
import math
import random
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from assistant.errors import BoardError

__all__ = ["Account", "Comment", "GitHub", "GitHubError", "Issue"]

ANSWER_LIMIT = 16 * 2**20  # bytes of one answer that are read
PER_PAGE = 100  # GitHub's most
COMMENTS_LIMIT = 200  # comments of one issue that are read; whether somebody has answered shows long before
REMEMBERED = 200  # answers kept with their ETag
_ATTEMPTS = 4
_LONGEST_WAIT = 20.0  # seconds of one pause; who is asked to wait longer comes back later
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})/[A-Za-z0-9._-]{1,100}")
_NEXT = re.compile(r'<([^<>]+)>\s*;[^,]*\brel="next"')
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)


class GitHubError(BoardError):
    """GitHub did not answer as asked."""

    code = "github"


@dataclass(frozen=True, slots=True)
class Account:
    """Who wrote something; GitHub Apps and service accounts are bots."""

    id: int
    login: str
    bot: bool = False


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment under an issue."""

    id: int
    by: Account
    created_at: datetime
    body: str = ""


@dataclass(frozen=True, slots=True)
class Issue:
    """An issue; pull requests are issues too for GitHub.

    Attributes
    ----------
    body
        Its Markdown, without the comments that templates hide in it.
    """

    number: int
    title: str
    by: Account
    labels: tuple[str, ...]
    created_at: datetime
    updated_at: datetime
    body: str = ""
    open: bool = True
    locked: bool = False
    pull_request: bool = False
    comments: int = 0


class GitHub:
    """The issues of one repository.

    Parameters
    ----------
    repository
        ``"owner/name"``.
    token
        A token that may read it; without one GitHub allows 60 requests an hour.
    base_url
        The API's address: of GitHub, or ``https://<host>/api/v3`` of an Enterprise server. The token goes there only.
    timeout
        Seconds to wait for a connection, and for each piece of an answer.
    sleep
        How to pause; tests hand in one that does not.
    now
        The clock, in seconds since 1970.
    """

    def __init__(
        self,
        repository: str,
        *,
        token: str = "",
        base_url: str = "https://api.github.com",
        timeout: float = 20.0,
        attempts: int = _ATTEMPTS,
        sleep: Callable[[float], object] = time.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        if not _NAME.fullmatch(repository):
            raise GitHubError(
                f"{repository!r} is no repository.", hint="Write it as owner/name.", code="github.repository", permanent=True
            )
        self.repository = repository
        self.base_url = base_url.rstrip("/")
        self._attempts = attempts
        self._sleep = sleep
        self._now = now
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[str, bytes, str]] = OrderedDict()  # by address: ETag, body, next page
        self._closed_until = 0.0
        local = (urlsplit(self.base_url).hostname or "") in {"localhost", "127.0.0.1", "::1"}
        headers = {
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
            "User-Agent": "ml4ep-portal",
        } | ({"Authorization": f"Bearer {token}"} if token else {})
        self._client = httpx.Client(timeout=timeout, headers=headers, follow_redirects=False, trust_env=not local)

    def __repr__(self) -> str:
        return f"GitHub({self.repository!r}, base_url={self.base_url!r})"

    def __enter__(self) -> GitHub:
        return self

    def __exit__(self, *_args: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    # --- reading --------------------------------------------------------------------------------------------------------------

    def changed(self, since: datetime) -> Iterator[Issue]:
        """Issues and pull requests that changed since then, the oldest change first, read page by page.

        Raises
        ------
        GitHubError
        """
        moment = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        query = {"state": "all", "sort": "updated", "direction": "asc", "since": moment, "per_page": str(PER_PAGE)}
        return map(_issue, self._pages(self._address("issues", query)))

    def issue(self, number: int) -> Issue:
        """One issue.

        Raises
        ------
        GitHubError
            With the code ``"github.missing"`` where it is gone, moved to another repository, or not for these eyes.
        """
        found = self._get(self._address(f"issues/{number}"))[0]
        if not isinstance(found, dict):
            raise _garbage("an issue")
        return _issue(found)

    def comments(self, number: int) -> list[Comment]:
        """The first comments of an issue, oldest first."""
        found: list[Comment] = []
        for row in self._pages(self._address(f"issues/{number}/comments", {"per_page": str(PER_PAGE)})):
            found.append(_comment(row))
            if len(found) >= COMMENTS_LIMIT:
                break
        return found

    def _address(self, path: str, query: Mapping[str, str] | None = None) -> str:
        return str(httpx.URL(f"{self.base_url}/repos/{self.repository}/{path}", params=dict(query or {})))

    # --- requests -------------------------------------------------------------------------------------------------------------

    def _pages(self, address: str) -> Iterator[dict[str, Any]]:
        """The rows of a list, over all its pages; each page is asked for once."""
        seen: set[str] = set()
        while address and address not in seen:
            seen.add(address)
            rows, address = self._get(address)
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise _garbage("a list of objects")
            yield from rows

    def _get(self, address: str) -> tuple[Any, str]:
        """What an address answers, and the next page's address; tried again where that can help."""
        if not address.startswith(f"{self.base_url}/"):
            raise GitHubError(f"GitHub sends to another place than {self.base_url}.", code="github.garbage", permanent=True)
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._once(address)
            except GitHubError as error:
                asked = error.retry_after or 0.0
                if error.permanent or attempt >= self._attempts or asked > _LONGEST_WAIT:
                    raise
                pause = 0.5 * 2 ** (attempt - 1) * random.uniform(0.8, 1.2)  # noqa: S311  (spreads clients, hides nothing)
                self._sleep(max(asked, pause))

    def _once(self, address: str) -> tuple[Any, str]:
        with self._lock:
            kept = self._kept.get(address)
            left = self._closed_until - self._now()
        if left > 0:
            raise self._busy(left)
        headers = {"If-None-Match": kept[0]} if kept else {}
        try:
            with self._client.stream("GET", address, headers=headers) as response:
                content = self._limited(response)
        except httpx.TransportError as error:
            raise GitHubError(
                f"There is no answer from {self.base_url}: {type(error).__name__}.",
                hint="It is tried again; if it goes on, check the address and the network.",
                code="github.unreachable",
            ) from error
        except httpx.InvalidURL as error:
            raise GitHubError(
                f"{self.base_url} is not an address.", permanent=True, hint="Check ML4EP_GITHUB_URL.", code="github.address"
            ) from error
        if response.status_code == 304 and kept:
            return json.loads(kept[1]), kept[2]
        if response.status_code != 200:
            raise self._by_status(response, content)
        try:
            found = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise _garbage("JSON") from error
        link = _NEXT.search(response.headers.get("Link", ""))
        following = link[1] if link else ""
        if tag := response.headers.get("ETag"):
            with self._lock:
                self._kept[address] = (tag, content, following)
                self._kept.move_to_end(address)
                while len(self._kept) > REMEMBERED:
                    self._kept.popitem(last=False)
        return found, following

    def _limited(self, response: httpx.Response) -> bytes:
        parts, size = [], 0
        for part in response.iter_bytes():
            size += len(part)
            if size > ANSWER_LIMIT:
                raise GitHubError(f"An answer is longer than {ANSWER_LIMIT // 2**20} MiB.", code="github.long", permanent=True)
            parts.append(part)
        return b"".join(parts)

    def _by_status(self, response: httpx.Response, content: bytes) -> GitHubError:
        status, said = response.status_code, _message(content)
        if status == 429 or (status == 403 and (pause := self._pause(response, said)) is not None):
            pause = self._pause(response, said)
            seconds = 60.0 if pause is None else pause
            with self._lock:
                self._closed_until = max(self._closed_until, self._now() + seconds)
            return self._busy(seconds)
        if status == 401 or status == 403:
            return GitHubError(
                f"GitHub refuses the token for {self.repository} ({status}: {said}).",
                hint="Check ML4EP_GITHUB_TOKEN and what it may read.",
                code="github.key",
                permanent=True,
            )
        if status in (301, 302, 307, 308, 404, 410):
            return GitHubError(
                f"There is no such thing in {self.repository}, or the token may not read it ({status}).",
                hint="Check ML4EP_GITHUB_REPOSITORY; a repository that was renamed needs its new name.",
                code="github.missing",
                permanent=True,
            )
        if status >= 500:
            return GitHubError(
                f"GitHub failed ({status}).", hint="It is tried again.", code="github.failed", retry_after=self._after(response)
            )
        return GitHubError(f"GitHub answered {status}: {said}.", code="github.failed", permanent=True)

    def _busy(self, seconds: float) -> GitHubError:
        return GitHubError(
            f"GitHub's limit of requests is used up for {math.ceil(seconds)} s.",
            hint="It is tried again then. With a token the limit is 5,000 an hour, without one 60.",
            code="github.busy",
            retry_after=seconds,
        )

    def _pause(self, response: httpx.Response, said: str) -> float | None:
        """Seconds until GitHub may be asked again; None where it is no rate limit."""
        if (after := self._after(response)) is not None:  # the secondary limit
            return after
        if response.headers.get("X-RateLimit-Remaining") == "0":
            try:
                reset = float(response.headers.get("X-RateLimit-Reset", ""))
            except ValueError:
                return 60.0
            # Clocks differ; a second more does no harm.
            return min(max(reset - self._now() + 1.0, 1.0), 3600.0) if math.isfinite(reset) else 60.0
        return 60.0 if "rate limit" in said.lower() else None

    @staticmethod
    def _after(response: httpx.Response) -> float | None:
        try:
            seconds = float(response.headers.get("Retry-After", ""))
        except ValueError:
            return None
        return min(seconds, 3600.0) if math.isfinite(seconds) and seconds >= 0 else None


# --- what GitHub sends --------------------------------------------------------------------------------------------------------


def _garbage(wanted: str) -> GitHubError:
    return GitHubError(
        f"What GitHub answered is not {wanted}.",
        hint="Check ML4EP_GITHUB_URL: it is the API's address, without a login page before it.",
        code="github.garbage",
    )


def _message(content: bytes) -> str:
    try:
        return " ".join(str(json.loads(content)["message"]).split())[:200]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "no reason given"


def _text(value: Any) -> str:
    """A text that every database takes: without NUL, and without halves of characters, which JSON can hold."""
    return str(value or "").replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def _int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _garbage("a number where one belongs")
    return value


def _time(value: Any) -> datetime:
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError as error:
        raise _garbage("a time where one belongs") from error
    if found.tzinfo is None:
        raise _garbage("a time with its zone")
    return found


def _account(value: Any) -> Account:
    """The author; accounts that were deleted come as nothing, or as ghost."""
    if not isinstance(value, Mapping):
        return Account(0, "ghost")
    login = _text(value.get("login")) or "ghost"
    return Account(_int(value.get("id")), login, value.get("type") == "Bot" or login.endswith("[bot]"))


def _issue(row: Mapping[str, Any]) -> Issue:
    labels = row.get("labels") or ()
    if not isinstance(labels, list | tuple):
        raise _garbage("a list of labels")
    return Issue(
        number=_int(row.get("number")),
        title=_text(row.get("title")),
        by=_account(row.get("user")),
        labels=tuple(_text(each.get("name") if isinstance(each, Mapping) else each) for each in labels),
        created_at=_time(row.get("created_at")),
        updated_at=_time(row.get("updated_at")),
        body=_COMMENT.sub("", _text(row.get("body"))).strip(),
        open=row.get("state") == "open",
        locked=bool(row.get("locked")),
        pull_request="pull_request" in row,
        comments=_int(row.get("comments", 0)),
    )


def _comment(row: Mapping[str, Any]) -> Comment:
    return Comment(
        id=_int(row.get("id")),
        by=_account(row.get("user")),
        created_at=_time(row.get("created_at")),
        body=_COMMENT.sub("", _text(row.get("body"))).strip(),
    )
