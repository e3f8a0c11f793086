"""GitHub's issues on this machine, for tests: the JSON of its REST API, pages by `Link`, ETags, rate limits, faults on demand.

It keeps the issues of one repository in memory and answers `/repos/<owner>/<name>/issues` (state, since, sort by updated,
per_page, page), `/issues/<n>` and `/issues/<n>/comments`. Anything but GET is counted in `writes` and refused.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

TOKEN, REPOSITORY = "ghp_tests", "root-project/root"

Fault = str
"""``limit`` (primary rate limit), ``secondary`` (with Retry-After), ``429``, ``500``, ``drop``, ``html`` or ``302``."""


def stamp(moment: datetime) -> str:
    """A time as GitHub writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class FakeGitHub:
    """The repository's issues, what was asked, and the faults to come."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.issues: dict[int, dict[str, Any]] = {}
        self.comments: dict[int, list[dict[str, Any]]] = {}
        self.users: dict[str, int] = {}
        self.requests: list[str] = []
        self.not_modified = 0
        self.writes = 0
        self.faults: Callable[[str], Fault | None] = lambda _path: None
        self.retry_after = "0"
        self.reset = 0.0
        self.url = ""
        self._next = 0

    # --- content --------------------------------------------------------------------------------------------------------------

    def user(self, login: str) -> dict[str, Any]:
        number = self.users.setdefault(login, len(self.users) + 1000)
        return {"id": number, "login": login, "type": "Bot" if login.endswith("[bot]") else "User", "site_admin": False}

    def add_issue(
        self, title: str = "Crash in TTree::Fill", body: str | None = "It crashes.", *, by: str = "ada",
        labels: tuple[str, ...] = ("bug",), age: timedelta = timedelta(0), **fields: Any,
    ) -> int:  # fmt: skip
        """A new issue; returns its number."""
        with self.lock:
            self._next += 1
            moment = stamp(datetime.now(UTC) - age)
            self.issues[self._next] = {
                "id": 10_000 + self._next, "number": self._next, "title": title, "body": body, "user": self.user(by),
                "labels": [{"id": 1, "name": name, "color": "ffffff"} for name in labels], "state": "open", "locked": False,
                "comments": 0, "created_at": moment, "updated_at": moment, "author_association": "NONE",
            } | fields  # fmt: skip
            self.comments[self._next] = []
            return self._next

    def add_pull(self, title: str = "Fix it") -> int:
        """A pull request, which is an issue too."""
        return self.add_issue(title, pull_request={"url": "https://api.github.com/pulls/1"})

    def add_comment(self, issue: int, body: str = "Try this.", *, by: str = "emmy") -> None:
        with self.lock:
            rows = self.comments[issue]
            rows.append(
                {"id": issue * 1000 + len(rows), "user": self.user(by), "body": body, "created_at": stamp(datetime.now(UTC))}
            )
            self.change(issue, comments=len(rows))

    def change(self, issue: int, **fields: Any) -> None:
        """Change fields of an issue; it counts as updated."""
        with self.lock:
            self.issues[issue] |= fields | {"updated_at": stamp(datetime.now(UTC))}

    # --- answers --------------------------------------------------------------------------------------------------------------

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        base = f"/repos/{REPOSITORY}/issues"
        missing = 404, {"message": "Not Found", "documentation_url": "https://docs.github.com/rest"}
        if path == base:
            rows = [row for row in self.issues.values() if not row.get("gone")]
            if query.get("state", "open") != "all":
                rows = [row for row in rows if row["state"] == query.get("state", "open")]
            if since := query.get("since"):
                rows = [row for row in rows if row["updated_at"] >= since]
            key = "updated_at" if query.get("sort") == "updated" else "created_at"
            return 200, sorted(rows, key=lambda row: (row[key], row["number"]), reverse=query.get("direction", "desc") == "desc")
        if found := re.fullmatch(rf"{base}/(\d+)(/comments)?", path):
            number = int(found[1])
            if number not in self.issues or self.issues[number].get("gone"):
                return missing
            return 200, self.comments[number] if found[2] else self.issues[number]
        return missing


class _Handler(BaseHTTPRequestHandler):
    hub: FakeGitHub
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        url, hub = urlsplit(self.path), self.hub
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        with hub.lock:
            hub.requests.append(self.path)
            fault = hub.faults(url.path)
            headers: dict[str, str] = {}
            if self.headers.get("Authorization") not in (None, f"Bearer {TOKEN}"):
                return self._send(401, {"message": "Bad credentials"}, {})
            if fault == "limit":
                headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(hub.reset))}
                return self._send(403, {"message": "API rate limit exceeded for user ID 1."}, headers)
            if fault in ("secondary", "429"):
                message = {"message": "You have exceeded a secondary rate limit."}
                return self._send(403 if fault == "secondary" else 429, message, {"Retry-After": hub.retry_after})
            if fault == "500":
                return self._send(500, {"message": "Server Error"}, {})
            if fault == "302":
                return self._send(302, {}, {"Location": "http://127.0.0.1:1/"})
            if fault == "drop":
                self.close_connection = True
                return None
            if fault == "html":
                return self._send(200, "<html>Please sign in</html>", {})
            status, found = hub.answer(url.path, query)
            if status == 200 and isinstance(found, list):
                size, page = int(query.get("per_page", "30")), int(query.get("page", "1"))
                last = max(1, -(-len(found) // size))
                links = []
                if page < last:
                    links = [self._link(url.path, query, page + 1, "next"), self._link(url.path, query, last, "last")]
                if page > 1:
                    links.insert(0, self._link(url.path, query, page - 1, "prev"))
                headers |= {"Link": ", ".join(links)} if links else {}
                found = found[(page - 1) * size : page * size]
        return self._send(status, found, headers)

    def _link(self, path: str, query: dict[str, str], page: int, rel: str) -> str:
        return f'<{self.hub.url}{path}?{urlencode(query | {"page": page})}>; rel="{rel}"'

    def _write(self) -> None:
        self.hub.writes += 1
        self._send(403, {"message": "Resource not accessible by integration"}, {})

    do_POST = do_PATCH = do_PUT = do_DELETE = _write  # noqa: N815

    def _send(self, status: int, answer: Any, headers: dict[str, str]) -> None:
        content = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        tag = f'W/"{hashlib.sha256(content).hexdigest()}"'
        if status == 200 and self.headers.get("If-None-Match") == tag:
            self.hub.not_modified += 1
            status, content = 304, b""
        self.send_response(status)
        for name, value in (
            {"X-RateLimit-Remaining": "4999"} | headers | ({"ETag": tag} if status in (200, 304) else {})
        ).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        if status != 304:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_args: Any) -> None:
        """A client that has gone is part of the tests."""


@contextmanager
def serving(hub: FakeGitHub | None = None) -> Iterator[FakeGitHub]:
    """A repository that answers at its `url` until the end of the block."""
    hub = hub or FakeGitHub()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    hub.reset = time.time() + 100
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
