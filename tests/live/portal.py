"""A whole portal for the tests: started as `make run` starts it, in a folder of its own on a free port."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 150.0
"""How long anything may take before a test gives up; generous, because the machine may be busy."""

MARK = "SUPERVISOR_SERVER_URL"


def wait_for(condition: Callable[[], Any], what: str, seconds: float = PATIENCE, pause: float = 0.1) -> Any:
    """The first true value of ``condition``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(pause)
    raise AssertionError(f"waited {seconds:.0f} s in vain: {what}")


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


class Probe:
    """Requests to `probe.py`, a process beside the portal."""

    def __init__(self, environment: dict[str, str]) -> None:
        paths = [str(ROOT), *filter(None, [environment.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("probe.py"))],  # -P: this folder has a `portal` of its own
            cwd=ROOT, env=environment | {"DJANGO_SETTINGS_MODULE": "portal.settings", "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __call__(self, command: str, *arguments: Any) -> Any:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the probe has no pipes")
        self._process.stdin.write(json.dumps([command, arguments]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the probe failed at {command} {arguments}; its message is above")
        return json.loads(answer)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class Portal:
    """One portal under test; it can be started, stopped and killed several times on the same folder."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.port = free_port()
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("ML4EP_", "DJANGO_", "CELERY_"))}
        self.environment = clean | {
            "ML4EP_ENV_FILE": str(folder / "none"),
            "ML4EP_DATA_DIR": str(folder / "var"),
            "ML4EP_PORT": str(self.port),
            "ML4EP_MODEL": "none",
            "ML4EP_CORPUS_ON_START": "false",
            **settings,
        }
        self.lines: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._probe: Probe | None = None

    # --- life -----------------------------------------------------------------------------------------------------------------

    def launch(self) -> subprocess.Popen[str]:
        """Start the command, without waiting."""
        process = subprocess.Popen(
            [sys.executable, "-m", "portal.supervisor"],
            cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self._process = process
        threading.Thread(target=self._read, args=(process,), daemon=True).start()
        return process

    def start(self) -> Portal:
        """Start the portal and wait until it says that it is ready."""
        process = self.launch()
        count = len(self.lines)
        wait_for(
            lambda: any(line.startswith("Ready at ") for line in self.lines[count:]) or process.poll() is not None,
            "the portal did not become ready",
        )
        assert process.poll() is None, self.report()
        return self

    def _read(self, process: subprocess.Popen[str]) -> None:
        if process.stdout is not None:
            with process.stdout as output:
                for line in output:
                    self.lines.append(line.rstrip("\n"))

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop, and wait; returns its exit status."""
        process = self._running()
        process.send_signal(number)
        status = process.wait(60)
        self._process = None
        return status

    def kill_all(self) -> None:
        """What a power cut does: every process of the portal gone at once, none asked."""
        process = self._running()
        members = self.members()
        for member in members:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.suspend()  # so that nobody sees another one die and reacts
        for member in members:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        process.wait(30)
        psutil.wait_procs(members, timeout=30)
        self._process = None

    def kill_top(self) -> None:
        """Kill the command alone, and not what it started."""
        process = self._running()
        process.kill()
        process.wait(30)
        self._process = None

    def close(self) -> None:
        """Stop whatever is left, at the end of a test."""
        if self._probe is not None:
            self._probe.close()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(60)
            finally:
                for member in self.members():
                    with contextlib.suppress(psutil.NoSuchProcess):
                        member.kill()

    def _running(self) -> subprocess.Popen[str]:
        assert self._process is not None, "the portal does not run"
        return self._process

    # --- looking at it --------------------------------------------------------------------------------------------------------

    @property
    def run_dir(self) -> Path:
        return self.folder / "var" / "run"

    def members(self) -> list[psutil.Process]:
        """Every process of this portal, wherever it hangs in the tree."""
        found: dict[int, psutil.Process] = {}
        if self._process is not None and self._process.poll() is None:
            top = psutil.Process(self._process.pid)
            found = {member.pid: member for member in [top, *top.children(recursive=True)]}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if str(self.run_dir) in process.environ().get(MARK, "") or str(self.run_dir) in " ".join(process.cmdline()):
                    found[process.pid] = process
        return list(found.values())

    def children(self) -> dict[str, int]:
        """The programs that run under the supervisor, the workers among them: name -> process."""
        from portal.supervisor.control import Control
        from portal.supervisor.workers import running_workers

        control = Control(self.run_dir / "broker.ctl")
        try:
            return {info.name: info.pid for info in control.processes() if info.pid} | running_workers(self.run_dir)
        finally:
            control.close()

    def health(self) -> tuple[int, dict[str, str]]:
        """Status and body of ``/healthz``; status 0 where nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", "/healthz", headers={"Host": "probe.example"})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        except OSError:
            return 0, {}
        finally:
            connection.close()

    def ask(self, command: str, *arguments: Any) -> Any:
        """Something from `probe.py`."""
        if self._probe is None:
            self._probe = Probe(self.environment)
        return self._probe(command, *arguments)

    def submit(self, seconds: float = 3.0, **params: Any) -> str:
        """Submit a worker check and return its id."""
        return str(self.ask("submit", "worker-check", {"seconds": seconds, **params}))

    def job(self, job: str) -> dict[str, Any]:
        found = self.ask("state", job)
        assert isinstance(found, dict)
        return found

    def wait_running(self, job: str, attempt: int = 1) -> dict[str, Any]:
        """Wait until the job's run is under way in its child process."""

        def running() -> dict[str, Any] | None:
            found = self.job(job)
            assert found["state"] in ("PENDING", "RUNNING"), found
            return found if found["attempt"] == attempt and found["progress"] > 0 else None

        return dict(wait_for(running, f"job {job} did not run"))

    def wait_ended(self, job: str) -> dict[str, Any]:
        """Wait until the job has ended."""

        def ended() -> dict[str, Any] | None:
            found = self.job(job)
            return found if found["state"] not in ("PENDING", "RUNNING") else None

        return dict(wait_for(ended, f"job {job} did not end"))

    def report(self) -> str:
        """What it printed, and the ends of its logs, for the message of a failed test."""
        logs = sorted((self.folder / "var" / "log").glob("*.log"))
        ends = (f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-15:]) for path in logs)
        return "\n".join([*self.lines, *ends])
