"""``ml4ep up``: start every part of the portal, keep it running, say what happens, stop it all.

::

    this process            prepares, watches, prints; holds the folder's lock
      supervisord           starts each program again when it ends
        broker web-0 web-1 model
        workers           forks each worker again when it ends
          worker assistant system

Each arrow is a tether (`portal.supervisor.tether`): whoever dies takes those below along.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from portal.env import EnvironmentProblem
from portal.supervisor import folder, tether
from portal.supervisor.control import Control, ProcessInfo
from portal.supervisor.workers import running_workers

POLL_SECONDS = 0.4
HEALTH_SECONDS = 2.0
READY_SECONDS = 180.0
STOP_SECONDS = 15.0
RETRY_SECONDS = 30.0
SUPERVISOR_DEATHS = 5

Say = Callable[[str], None]


def _print(text: str) -> None:
    """Print a line; a terminal or pipe that has gone must not keep the portal from stopping in order."""
    try:
        print(text, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def up(*, say: Say = _print) -> int:
    """Run the portal in the foreground until Ctrl-C or SIGTERM.

    Parameters
    ----------
    say
        Takes each line meant for the person at the terminal.

    Returns
    -------
    int
        The exit status: 0 after an orderly stop, 1 where the portal could not start, 2 for settings that cannot be used.
    """
    stop = threading.Event()

    def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    previous = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        return _run(stop, say)
    except folder.StartError as error:
        print(f"ml4ep: {error}", file=sys.stderr, flush=True)
        return 1
    except EnvironmentProblem as problem:
        print(f"ml4ep: {problem}", file=sys.stderr, flush=True)
        return 2
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _run(stop: threading.Event, say: Say) -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    from django.conf import settings

    env = settings.ENV
    with folder.lock(Path(settings.RUN_DIR) / "lock", settings.PUBLIC_URL):
        _end_leftovers(settings, say)
        folder.check_port(env.host, env.port)
        configuration, link = _prepare(say)
        supervisor = Supervisor(configuration, Path(settings.LOG_DIR), say)
        try:
            supervisor.start()
            watch = Watch(supervisor, settings, link, say)
            while not stop.wait(POLL_SECONDS):
                watch.step()
        finally:
            say("Stopping")
            supervisor.stop()
            say("Stopped")
    return 0


def _end_leftovers(settings: Any, say: Say) -> None:
    from portal.supervisor.programs import control_socket

    ended = folder.end_leftovers(
        control_socket(), [settings.BROKER_SOCKET, *(settings.RUN_DIR / name for name in ("supervisord.pid", "workers.json"))]
    )
    if ended:
        say(f"Ended {ended} processes that an earlier, killed portal had left behind")


def _prepare(say: Say) -> tuple[Path, str]:
    """Everything before the first process; returns supervisord's configuration and the first-visit link."""
    import django

    from portal.supervisor import model, programs

    django.setup()
    from django.core.checks import ERROR, run_checks
    from django.core.exceptions import ImproperlyConfigured
    from django.db import DatabaseError

    from assistant.errors import AssistantError
    from portal.accounts.services import create_sign_in_link, local_administrator
    from portal.checks import TAG
    from portal.supervisor.prepare import prepare

    for problem in run_checks(tags=[TAG]):
        if problem.level >= ERROR:
            raise folder.StartError(f"{problem.msg}\n  {problem.hint}")
        say(f"Warning: {problem.msg} {problem.hint}")
    try:
        embedded = model.assign()
        prepare()
        return programs.write_configuration(programs.programs(embedded)), create_sign_in_link(local_administrator())
    except AssistantError as error:
        raise folder.StartError(f"ML4EP_MODEL: {error.message} {error.hint}".strip()) from error
    except (DatabaseError, ImproperlyConfigured) as error:
        raise folder.StartError(f"the database cannot be used: {str(error).strip()}\n  Check ML4EP_DATABASE_URL.") from error
    except ValueError as error:
        raise folder.StartError(str(error)) from error


class Supervisor:
    """The supervisord process: started, started again if it dies, stopped with all it runs."""

    def __init__(self, configuration: Path, log_dir: Path, say: Say) -> None:
        self.control = Control(configuration.with_suffix(".ctl"))
        self._command = [
            *(sys.executable, "-I", "-S", tether.__file__, str(int(signal.SIGTERM))),
            *(sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)),
        ]
        self._output = log_dir / "supervisor.out"
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self._deaths: list[float] = []

    def start(self) -> None:
        """Start supervisord in a session of its own, so that Ctrl-C reaches this process alone and the stop is orderly."""
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )

    def revive(self) -> bool:
        """Start it again where it has died; raises StartError where that keeps happening. Returns whether it had."""
        if self._process is None or self._process.poll() is None:
            return False
        now = time.monotonic()
        self._deaths = [at for at in self._deaths if now - at < 60] + [now]
        if len(self._deaths) > SUPERVISOR_DEATHS:
            last = self._output.read_text(errors="replace").strip().splitlines()[-3:]
            raise folder.StartError("the supervisor keeps ending: " + (" / ".join(last) or f"see {self._output.parent}"))
        self.control.close()
        self.start()
        return True

    def stop(self) -> None:
        """Stop everything; what does not end in time is killed."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()  # the tethers take the rest along
            self._process.wait()
        self.control.close()


@dataclass
class Watch:
    """Looks at the running portal a few times a second and says what a person wants to know."""

    supervisor: Supervisor
    settings: Any
    link: str
    say: Say
    began: float = field(default_factory=time.monotonic)
    ready: bool = False
    _pids: dict[str, int] = field(default_factory=dict)
    _fatal: dict[str, float] = field(default_factory=dict)
    _health: dict[str, str] = field(default_factory=dict)
    _next_health: float = 0.0
    _warned: bool = False

    def step(self) -> None:
        """Look once."""
        if self.supervisor.revive():
            self.say("The supervisor had died; everything is being started again")
            self._pids.clear()
            return
        for info in self.supervisor.control.processes():
            self._look(info)
        for name, pid in running_workers(Path(self.settings.RUN_DIR)).items():
            self._note(name, pid)
        now = time.monotonic()
        if now < self._next_health:
            return
        self._next_health = now + (HEALTH_SECONDS if self.ready else POLL_SECONDS)
        self._look_at_health()

    def _look(self, info: ProcessInfo) -> None:
        if info.pid:
            self._note(info.name, info.pid)
        if info.state == "FATAL":
            self._try_again(info)
        else:
            self._fatal.pop(info.name, None)

    def _note(self, name: str, pid: int) -> None:
        if self._pids.get(name, pid) != pid:
            self.say(f"{name} had ended and was started again (process {pid})")
        self._pids[name] = pid

    def _try_again(self, info: ProcessInfo) -> None:
        """Supervisord gives up on a program that keeps ending; the portal does not, but tries seldom and says so once."""
        now = time.monotonic()
        if info.name not in self._fatal:
            self.say(f"{info.name} cannot be started; it is tried again now and then. Its log: {info.log}")
        elif now - self._fatal[info.name] < RETRY_SECONDS:
            return
        self._fatal[info.name] = now
        self.supervisor.control.start(info)

    def _look_at_health(self) -> None:
        from portal.supervisor.control import read_health

        host = "127.0.0.1" if self.settings.ENV.host == "0.0.0.0" else self.settings.ENV.host  # noqa: S104 - compared
        health = read_health(host, self.settings.ENV.port)
        if health is None:
            self._warn_if_late({})
            return
        serves = all(health.get(name) == "ok" for name in ("db", "broker", "workers"))
        if not self.ready:
            if serves:
                self._become_ready(health)
            else:
                self._warn_if_late(health)
        else:
            self._say_changes(health)
        self._health = health

    def _become_ready(self, health: dict[str, str]) -> None:
        from portal.supervisor.prepare import submit_missing

        self.ready = True
        self.say(f"Ready at {self.settings.PUBLIC_URL}")
        self.say(f"First visit: {self.link}")
        self.say("  (signs the administrator in, once)")
        coming = submit_missing()
        works = ["pages", "jobs"] + [TITLES[name] for name in TITLES if health.get(name) == "ok"]
        self.say(f"Works now: {', '.join(works)}")
        for name, title in TITLES.items():
            if health.get(name) != "ok":
                self.say(f"{title[0].upper()}{title[1:]}: {health.get(name, 'unknown')}")
        for title in coming:
            self.say(f"Started in the background: {title}")
        self.say("Ctrl-C stops everything")

    def _say_changes(self, health: dict[str, str]) -> None:
        for name in ("db", "broker", "workers", *TITLES):
            was, now = stage(self._health.get(name, "")), stage(health.get(name, ""))
            if was != now:
                self.say(f"{TITLES.get(name, name)}: {'works' if now == 'ok' else now}")

    def _warn_if_late(self, health: dict[str, str]) -> None:
        if self.ready or self._warned or time.monotonic() - self.began < READY_SECONDS:
            return
        self._warned = True
        missing = "; ".join(f"{name}: {text}" for name, text in health.items() if text != "ok") or "no answer"
        self.say(f"Not ready yet ({missing}). The logs are in {self.settings.LOG_DIR}")


def stage(text: str) -> str:
    """A part's state without how far it is, which changes all the time."""
    return text.partition(";")[0].partition(":")[0]


TITLES = {"index": "search in the documentation", "model": "language model"}
