"""A Discourse forum on this machine, for tests: the JSON of its API documentation, rate limits, faults on demand, webhooks.

It keeps topics and posts in memory and answers `/latest.json`, `/c/<id>/l/latest.json`, `/tag/<tag>.json`, `/t/<id>.json`,
`/t/<id>/posts.json`, `/posts.json`, `/uploads.json`, `/u/<name>.json`, `/site.json` and `/search.json`. It sends no webhook:
`webhook` makes headers and body of one, for the test to send.
"""

from __future__ import annotations

import email
import email.message
import hashlib
import hmac
import json
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

KEY, BOT, SECRET = "k3y-of-the-bot", "rootbot", "whsec"
PAGE = 30  # topics of a page
STREAM = 20  # posts sent with a topic

Fault = str
"""``429``, ``500``, ``502``, ``502-done`` (carried out, then an error), ``timeout``, ``timeout-done``, ``drop`` or ``html``."""


def stamp(moment: datetime) -> str:
    """A time as Discourse writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


class FakeDiscourse:
    """The forum's content, what was asked of it, and the faults to come."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.topics: dict[int, dict[str, Any]] = {}
        self.posts: dict[int, list[dict[str, Any]]] = {}
        self.users: dict[str, int] = {"system": -1, "discobot": -2, BOT: 7, "ada": 20, "emmy": 21, "helper-bot": 30}
        self.staff = {"system", BOT}
        self.categories = [
            {"id": 1, "name": "ROOT", "slug": "root", "read_restricted": False, "parent_category_id": None},
            {"id": 2, "name": "Lounge", "slug": "lounge", "read_restricted": False, "parent_category_id": None},
            {"id": 9, "name": "Staff", "slug": "staff", "read_restricted": True, "parent_category_id": None},
        ]
        self.requests: list[tuple[str, str]] = []
        self.uploads: list[bytes] = []
        self.largest_upload = 4 * 2**20
        self.faults: Callable[[str, str], Fault | None] = lambda _method, _path: None
        self.retry_after = "0"
        self.hang = 0.4  # seconds of a timeout
        self.url = ""
        self._next = 100

    # --- content --------------------------------------------------------------------------------------------------------------

    def add_topic(
        self,
        title: str = "How do I fill a TH1F?",
        raw: str = "I have a TTree and want a TH1F.",
        *,
        by: str = "ada",
        category: int = 1,
        tags: tuple[str, ...] = (),
        age: timedelta = timedelta(0),
        **fields: Any,
    ) -> int:
        """A new topic with its first post; returns its number."""
        with self.lock:
            self._next += 1
            number = self._next
            self.topics[number] = {
                "id": number, "title": title, "fancy_title": title, "slug": re.sub(r"\W+", "-", title.lower())[:50].strip("-"),
                "category_id": category, "tags": list(tags), "created_at": stamp(datetime.now(UTC) - age), "closed": False,
                "archived": False, "visible": True, "archetype": "regular", "pinned": False, "deleted_at": None,
            } | fields  # fmt: skip
            self.posts[number] = []
        self.add_post(number, raw, by=by)
        return number

    def add_post(self, topic: int, raw: str, *, by: str = "emmy", kind: int = 1, **fields: Any) -> int:
        """A new post; returns its number on the forum."""
        with self.lock:
            self._next += 1
            rows = self.posts[topic]
            author = self.users.setdefault(by, len(self.users) + 50)
            rows.append(
                {
                    "id": self._next, "topic_id": topic, "username": by, "user_id": author,
                    "created_at": stamp(datetime.now(UTC)), "updated_at": stamp(datetime.now(UTC)), "raw": raw,
                    "cooked": f"<p>{raw[:200]}</p>", "post_number": len(rows) + 1, "post_type": kind, "hidden": False,
                    "deleted_at": None, "user_deleted": False, "accepted_answer": False, "version": 1,
                } | fields
            )  # fmt: skip
            return self._next

    def by_bot(self, topic: int) -> list[dict[str, Any]]:
        """The bot's posts in a topic."""
        return [row for row in self.posts[topic] if row["username"] == BOT]

    def webhook(self, event: str, payload: dict[str, Any], number: int = 1, secret: str = SECRET) -> tuple[bytes, dict[str, str]]:
        """Body and headers of a webhook, for example of ``"topic_created"``."""
        body = json.dumps(payload).encode()
        signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        return body, {
            "X-Discourse-Instance": self.url,
            "X-Discourse-Event-Id": str(number),
            "X-Discourse-Event-Type": event.split("_")[0],
            "X-Discourse-Event": event,
            "X-Discourse-Event-Signature": f"sha256={signature}",
        }

    def topic_event(self, topic: int, event: str = "topic_created", number: int = 1) -> tuple[bytes, dict[str, str]]:
        """The webhook about a topic."""
        return self.webhook(event, {"topic": self._listed(topic)}, number)

    # --- answers --------------------------------------------------------------------------------------------------------------

    def _listed(self, number: int) -> dict[str, Any]:
        row = self.topics[number]
        last = self.posts[number][-1]["created_at"]
        return {"bumped_at": last} | row | {"posts_count": len(self.posts[number]), "last_posted_at": last}

    def _list(self, rows: list[int], page: int, order: str = "created") -> dict[str, Any]:
        newest = sorted(rows, reverse=True)
        if order == "activity":
            newest.sort(key=lambda number: str(self._listed(number)["bumped_at"]), reverse=True)
        ordered = sorted(newest, key=lambda number: not self.topics[number]["pinned"])
        shown = ordered[page * PAGE : (page + 1) * PAGE]
        listed: dict[str, Any] = {"per_page": PAGE, "topics": [self._listed(number) for number in shown]}
        if len(ordered) > (page + 1) * PAGE:
            listed["more_topics_url"] = f"/latest?page={page + 1}"
        return {"users": [], "topic_list": listed}

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: dict[str, Any]) -> tuple[int, Any]:
        """Status and JSON of a request."""
        page, order = int(query.get("page", ["0"])[0]), query.get("order", ["created"])[0]
        visible = [number for number, row in self.topics.items() if row["archetype"] == "regular" and not row["deleted_at"]]
        if method == "POST" and path == "/posts.json":
            return self._create(body)
        if path == "/latest.json":
            return 200, self._list(visible, page, order)
        if found := re.fullmatch(r"/c/(\d+)/l/latest\.json", path):
            return 200, self._list([n for n in visible if self.topics[n]["category_id"] == int(found[1])], page, order)
        if found := re.fullmatch(r"/tag/(.+)\.json", path):
            return 200, self._list([n for n in visible if unquote(found[1]) in self.topics[n]["tags"]], page)
        if found := re.fullmatch(r"/t/(\d+)\.json", path):
            return self._topic(int(found[1]))
        if found := re.fullmatch(r"/t/(\d+)/posts\.json", path):
            ids = {int(each) for each in query.get("post_ids[]", [])}
            return 200, {"post_stream": {"posts": [row for row in self.posts[int(found[1])] if row["id"] in ids]}}
        if found := re.fullmatch(r"/u/(.+)\.json", path):
            name = unquote(found[1])
            if name not in self.users:
                return 404, {"errors": ["The requested URL or resource could not be found."], "error_type": "not_found"}
            return 200, {"user": {"id": self.users[name], "username": name, "admin": False, "moderator": name in self.staff}}
        if path == "/site.json":
            return 200, {"categories": self.categories}
        if path == "/search.json":
            words = set(re.findall(r"\w+", query["q"][0].lower())) - {"status", "solved"}
            hits = [n for n in visible if words & set(re.findall(r"\w+", self.topics[n]["title"].lower()))]
            return 200, {"topics": [self._listed(n) for n in hits]} if hits else {"grouped_search_result": {}}
        return 404, {"errors": ["The requested URL or resource could not be found."], "error_type": "not_found"}

    def _topic(self, number: int) -> tuple[int, Any]:
        if number not in self.topics or self.topics[number].get("gone"):
            return 404, {"errors": ["The requested URL or resource could not be found."], "error_type": "not_found"}
        rows = self.posts[number]
        stream = {"posts": rows[:STREAM], "stream": [row["id"] for row in rows]}
        return 200, self._listed(number) | {"post_stream": stream}

    def upload(self, content_type: str, body: bytes) -> tuple[int, Any]:
        """Take a picture as the composer sends it: a form with the fields ``type`` and ``synchronous`` and the file."""
        form = email.message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
        if not form.is_multipart():
            return 400, {"errors": ["param is missing or the value is empty: file"]}
        parts: dict[Any, email.message.Message] = {}
        for part in form.get_payload():
            assert isinstance(part, email.message.Message)
            parts[part.get_param("name", header="content-disposition")] = part
        fields = {name: part.get_payload(decode=True) for name, part in parts.items()}
        content = fields.get("file")
        if fields.get("type") != b"composer" or fields.get("synchronous") != b"true" or not isinstance(content, bytes):
            return 400, {"errors": ["param is missing or the value is empty: type"]}
        name = parts["file"].get_filename() or ""
        if not name.endswith(".png") or content[:8] != b"\x89PNG\r\n\x1a\n":
            allowed = "Sorry, the file you are trying to upload is not authorized (authorized extensions: jpg, jpeg, png, gif)."
            return 422, {"errors": [allowed], "error_type": "invalid_parameters"}
        if len(content) > self.largest_upload:
            most = f"(maximum size is {self.largest_upload // 1024}KB)"
            return 422, {"errors": [f"Sorry, the image you are trying to upload is too big {most}, please resize it."]}
        if content not in self.uploads:
            self.uploads.append(content)
        digest = hashlib.sha256(content).hexdigest()
        width, height = (int.from_bytes(content[start : start + 4], "big") for start in (16, 20))
        return 200, {
            "id": self.uploads.index(content) + 1, "url": f"/uploads/default/original/1X/{digest}.png", "original_filename": name,
            "filesize": len(content), "width": width, "height": height, "thumbnail_width": width, "thumbnail_height": height,
            "extension": "png", "short_url": f"upload://{digest[:27]}.png", "short_path": f"/uploads/short-url/{digest[:27]}.png",
            "retain_hours": None, "human_filesize": f"{len(content) / 1024:.1f} KB", "dominant_color": None,
        }  # fmt: skip

    def _create(self, body: dict[str, Any]) -> tuple[int, Any]:
        topic, raw = int(body["topic_id"]), str(body["raw"])
        if topic not in self.topics:
            return 404, {"errors": ["not found"], "error_type": "not_found"}
        if self.topics[topic]["closed"]:
            return 422, {"action": "create_post", "errors": ["That topic is closed."]}
        if any(row["raw"] == raw for row in self.by_bot(topic)):
            return 422, {"action": "create_post", "errors": ["Body is too similar to what you recently posted"]}
        number = self.add_post(topic, raw, by=BOT, kind=4 if body.get("whisper") else 1)
        return 200, next(row for row in self.posts[topic] if row["id"] == number)


class _Handler(BaseHTTPRequestHandler):
    forum: FakeDiscourse
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet for head and body
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._handle("GET", b"")

    def do_POST(self) -> None:
        self._handle("POST", self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _handle(self, method: str, body: bytes) -> None:
        url, forum = urlsplit(self.path), self.forum
        with forum.lock:
            forum.requests.append((method, url.path))
            fault = forum.faults(method, url.path)
            if self.headers.get("Api-Key") != KEY or self.headers.get("Api-Username") != BOT:
                status, answer = 403, {"errors": ["You are not permitted to view the requested resource."]}
            elif fault == "429":
                status, answer = 429, {"errors": ["You've performed this action too many times."], "error_type": "rate_limit"}
                answer["extras"] = {"wait_seconds": float(forum.retry_after)}
            elif fault in ("500", "502"):
                status, answer = int(fault), {"errors": ["The server has a problem."]}
            elif fault in ("timeout", "drop", "html"):
                status, answer = 200, {}
            elif method == "POST" and url.path == "/uploads.json":
                status, answer = forum.upload(self.headers.get("Content-Type", ""), body)
            else:
                status, answer = forum.answer(method, url.path, parse_qs(url.query), json.loads(body or b"{}"))
            content = json.dumps(answer).encode()
        if fault in ("timeout", "timeout-done"):
            time.sleep(forum.hang)
        if fault in ("timeout", "timeout-done", "drop"):
            self.close_connection = True
            return
        if fault == "502-done":
            status, content = 502, b"<html>Bad gateway</html>"
        if fault == "html":
            content = b"<html>Please sign in</html>"
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        if status == 429:
            self.send_header("Retry-After", forum.retry_after)
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
def serving(forum: FakeDiscourse | None = None) -> Iterator[FakeDiscourse]:
    """A forum that answers at its `url` until the end of the block."""
    forum = forum or FakeDiscourse()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"forum": forum}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    forum.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield forum
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def random_faults(seed: int, share: float, kinds: tuple[Fault, ...]) -> Callable[[str, str], Fault | None]:
    """Faults in `share` of the requests; those that are carried out all the same only where something is posted."""
    dice = random.Random(seed)

    def fault(method: str, _path: str) -> Fault | None:
        if dice.random() >= share:
            return None
        kind = dice.choice(kinds)
        return kind.removesuffix("-done") if method == "GET" else kind

    return fault
