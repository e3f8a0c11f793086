"""Run by `test_live` in a process and a data folder of its own: a real broker, a real worker, its end at the worst moments.

Prints one JSON object with what became of the turns.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import django

WORDS = ["TH1::Fit ", "fits ", "the ", "histogram ", "with ", "a ", "function. "] * 8
PAUSE = 0.06
PAGE = """# Fitting a histogram

TH1::Fit fits the histogram with a function, given by its name, for example `gaus`, or as an object of the class TF1.
Option S returns the full result of the fit, a TFitResultPtr, with the parameters, their errors and the covariance matrix.

```cpp
histogram->Fit("gaus", "S");
```
"""


class ModelServer(BaseHTTPRequestHandler):
    """An OpenAI-compatible server that writes slowly."""

    def log_message(self, *_: Any) -> None:
        """Be quiet."""

    def do_GET(self) -> None:
        body = json.dumps({"data": [{"id": "slow"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            for word in WORDS:
                self._piece({"role": "assistant", "content": word}, None)
                time.sleep(PAUSE)
            self._piece({}, "stop")
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            return  # the worker was killed, or has left

    def _piece(self, delta: dict[str, str], finish: str | None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "slow", "choices": [choice]}
        self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")


def until(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Seconds until the condition holds."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.05)
    return round(time.monotonic() - started, 2)


def main() -> None:
    django.setup()
    from django.conf import settings
    from django.core.management import call_command

    from assistant.corpus.document import SourceEntry
    from assistant.index.build import BuildOptions, build
    from portal.accounts.services import local_administrator
    from portal.chat import services
    from portal.chat.models import Turn
    from portal.supervisor import programs, workers

    call_command("migrate", verbosity=0)
    pages = settings.DATA_DIR / "pages"
    pages.mkdir()
    (pages / "fit.md").write_text(PAGE)
    build(BuildOptions(settings.INDEX_DIR, sources=(SourceEntry("pages", "folder", str(pages)),), dense=False))
    server = ThreadingHTTPServer(("127.0.0.1", 0), ModelServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    (settings.RUN_DIR / "model.json").write_text(json.dumps({"name": "slow", "url": f"http://127.0.0.1:{port}/v1"}))

    found: dict[str, Any] = {}
    owner = local_administrator()
    running: list[subprocess.Popen[bytes]] = []

    def start(command: tuple[str, ...]) -> subprocess.Popen[bytes]:
        with (settings.LOG_DIR / "live.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"CELERY_SKIP_CHECKS": "1"})
        running.append(process)
        return process

    def worker() -> subprocess.Popen[bytes]:
        command = workers.arguments(workers.Worker("chat", 2), "INFO")
        return start((sys.executable, "-m", "celery", "-A", "portal.celery", *command))

    def writing(turn: Turn) -> bool:
        turn.refresh_from_db()
        return turn.state == "WRITING" and turn.answer != {} and turn.text != ""

    def state(turn: Turn, *states: str) -> Callable[[], bool]:
        def holds() -> bool:
            turn.refresh_from_db()
            return turn.state in states

        return holds

    try:
        first = services.ask(owner, "How do I fit a histogram?")  # there is no broker yet: the message is lost
        start(programs.broker_command())
        until(Path(settings.BROKER_SOCKET).exists, 20, "broker")
        process = worker()
        services.RESEND_SECONDS = 0.0
        until(lambda: services.heal() >= 0 and state(first, "DONE")(), 60, "an answer to a question that was asked too early")
        found["lost_message"] = {
            "state": first.state,
            "provider": first.answer["provider"],
            "citations": first.answer["citations"],
        }
        services.RESEND_SECONDS = 3600.0

        turn = services.regenerate(first)
        until(lambda: writing(turn), 30, "writing")
        process.terminate()
        found["released_after"] = until(state(turn, "QUEUED"), 10, "giving back")
        process.wait(20)
        process = worker()
        until(state(turn, "DONE"), 60, "the answer after the restart")
        found["released"] = turn.state

        turn = services.regenerate(turn)
        until(lambda: writing(turn), 30, "writing again")
        found["stopped_after"] = until(lambda: (services.stop(turn) or True) and state(turn, "STOPPED")(), 10, "stopping")

        turn = services.regenerate(turn)
        until(lambda: writing(turn), 30, "writing once more")
        process.kill()
        process.wait(20)
        services.LOST_SECONDS = 3.0
        until(lambda: services.heal() >= 0 and state(turn, "FAILED")(), 30, "healing")
        found["killed"] = {"state": turn.state, "hint": turn.hint, "kept": turn.text != ""}
        worker()
        turn = services.regenerate(turn)
        until(state(turn, "DONE"), 60, "the answer after the kill")
        found["asked_again"] = turn.state
    finally:
        for process in reversed(running):
            process.kill()
            process.wait(10)
        server.shutdown()
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
