"""A whole portal to measure: started as `make run` starts it, in a folder of its own on a free port."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
PATIENCE = 300.0
READY, LINK = "Ready at ", "First visit: "


class Portal:
    """One portal. As a context manager it is started and stopped.

    Parameters
    ----------
    folder
        Its data folder; what is in there is kept.
    settings
        Further ``ML4EP_*`` variables.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        with socket.socket() as trial:
            trial.bind(("127.0.0.1", 0))
            self.port = int(trial.getsockname()[1])
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("ML4EP_", "DJANGO_", "CELERY_"))}
        self.environment = clean | {
            "ML4EP_ENV_FILE": str(folder / "none"),
            "ML4EP_DATA_DIR": str(folder),
            "ML4EP_PORT": str(self.port),
            "ML4EP_MODEL": "none",
            "ML4EP_CORPUS_ON_START": "false",
            **settings,
        }
        self.link = ""
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Portal:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> float:
        """Start it and return the seconds from the command to the line that says it is ready."""
        began = time.perf_counter()
        process = self._process = subprocess.Popen(
            [sys.executable, "-m", "portal.supervisor"],
            cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        ready = 0.0
        for line in _lines(process):
            if line.startswith(READY):
                ready = time.perf_counter() - began
            elif line.startswith(LINK):
                self.link = line.removeprefix(LINK).strip()
                return ready
        self.stop()
        raise RuntimeError(f"the portal did not become ready; see the logs in {self.folder / 'log'}")

    def stop(self) -> None:
        """Stop it, as Ctrl-C does."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()  # the tethers take the rest along
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None

    def processes(self, name: str = "") -> list[psutil.Process]:
        """The processes of a program under the supervisor, by the beginning of its name; by default all."""
        from portal.supervisor.control import Control

        control = Control(self.folder / "run" / "broker.ctl")
        try:
            return [psutil.Process(one.pid) for one in control.processes() if one.pid and one.name.startswith(name)]
        finally:
            control.close()

    def connect(self) -> http.client.HTTPConnection:
        """A connection to the web server."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def sign_in(self) -> dict[str, str]:
        """Use the first-visit link; returns the administrator's cookies by name."""
        connection = self.connect()
        connection.request("GET", self.link.partition(f":{self.port}")[2])
        response = connection.getresponse()
        response.read()
        connection.close()
        pairs = (re.match(r"([^=]+)=([^;]*)", value) for value in response.headers.get_all("Set-Cookie", []))
        cookies = {pair[1]: pair[2] for pair in pairs if pair}
        if response.status != http.client.FOUND or not any("csrf" not in name for name in cookies):
            raise RuntimeError(f"the first-visit link was answered with status {response.status}")
        return cookies

    def token(self) -> str:
        """A token of the administrator for the REST API."""
        made = subprocess.run(
            [sys.executable, "-c", "from portal.cli import main; main()", "token", "create", "--name", "benchmark"],
            cwd=ROOT, env=self.environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return made.stdout.strip()

    def call(self, token: str, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """One call of the REST API; ``body`` is JSON, or bytes or an open file of another content type."""
        raw = json.dumps(body) if content_type == "application/json" and body is not None else body
        connection = self.connect()
        connection.request(
            method, f"/api/v1{path}", body=raw, headers={"Authorization": f"Bearer {token}", "Content-Type": content_type}
        )
        response = connection.getresponse()
        text = response.read()
        connection.close()
        if response.status >= http.client.BAD_REQUEST:
            raise RuntimeError(f"{method} {path} was answered with status {response.status}: {text[:500]!r}")
        return json.loads(text) if text else None

    def run_job(self, token: str, slug: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Submit a job and wait for its good end."""
        job = self.call(token, "POST", "/jobs", {"type": slug, "params": dict(params)})
        deadline = time.monotonic() + PATIENCE
        while job["state"] in ("PENDING", "RUNNING") and time.monotonic() < deadline:
            time.sleep(0.2)
            job = self.call(token, "GET", f"/jobs/{job['id']}")
        if job["state"] != "SUCCEEDED":
            raise RuntimeError(f"the job {slug} ended as {job['state']}: {job.get('error')}")
        return dict(job)


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """An empty folder, removed afterwards."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    """What a process prints, until it ends or patience does."""
    watchdog = threading.Timer(PATIENCE, process.kill)
    watchdog.start()
    try:
        while process.stdout is not None and (line := process.stdout.readline()):
            yield line
    finally:
        watchdog.cancel()
