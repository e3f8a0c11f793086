"""A language model of a test's own, behind OpenAI's API: it says what it was told to, in pieces."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NAME = "scripted"
HALF = 120


@dataclass
class Model:
    """A model that is served at `url`."""

    url: str = ""
    goes_on: threading.Event = field(default_factory=threading.Event)
    """Where it is cleared, a streamed answer stops after `HALF` characters until it is set again."""


@contextmanager
def serving(text: str) -> Iterator[Model]:
    """A model that answers every question with ``text``, a few characters at a time, and wants no tools."""
    model = Model()
    model.goes_on.set()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Be quiet."""

        def do_GET(self) -> None:
            self._reply({"object": "list", "data": [{"id": NAME, "object": "model"}]})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            head = {"id": "x", "created": 1, "model": NAME}
            if not asked.get("stream"):
                said = {"role": "assistant", "content": "Nothing is missing." if "tools" in asked else text}
                choice = {"index": 0, "message": said, "finish_reason": "stop"}
                self._reply(head | {"object": "chat.completion", "choices": [choice]})
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for start in range(0, len(text), 12):
                if start >= HALF:
                    model.goes_on.wait(60)
                self._piece(head, {"role": "assistant", "content": text[start : start + 12]}, None)
            self._piece(head, {}, "stop")
            self.wfile.write(b"data: [DONE]\n\n")

        def _piece(self, head: dict[str, Any], delta: dict[str, str], finish: str | None) -> None:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            chunk = head | {"object": "chat.completion.chunk", "choices": [choice]}
            self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")

        def _reply(self, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        model.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        try:
            yield model
        finally:
            server.shutdown()
            thread.join()
