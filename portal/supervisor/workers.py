"""The Celery workers of one machine, forked from a process that has imported everything once.

``python -m portal.supervisor.workers cpu=2 chat=4 system=6`` runs one worker for each queue with that many threads. Each alone
would be ``celery -A portal.celery worker``; together they start in a third of the time and share their memory. A worker that dies
is forked again; all end with this process. The worker of the queue ``system`` has beat as a thread.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from portal.supervisor.tether import PR_SET_PDEATHSIG

log = logging.getLogger(__name__)

NAMES = {"cpu": "worker", "chat": "assistant"}
"""What people call the worker of a queue, where that is not the queue's name."""

EARLY_SECONDS = 5.0  # a worker that dies sooner is forked again only after a pause
PAUSE_SECONDS = 1.0

IMPORTED = ("celery.apps.worker", "celery.concurrency.thread", "celery.beat", "kombu.transport.redis", "portal.jobs.engine")


@dataclass(frozen=True)
class Worker:
    """One worker: the queue it serves, and how many messages at a time."""

    queue: str
    threads: int

    @property
    def name(self) -> str:
        return NAMES.get(self.queue, self.queue)


def arguments(worker: Worker, log_level: str) -> list[str]:
    """Celery's arguments; threads are enough, because whatever is heavy runs in a child process of its own."""
    return [
        "worker", f"--queues={worker.queue}", f"--hostname={worker.queue}@%h",
        "--pool=threads", f"--concurrency={worker.threads}", f"--loglevel={log_level}",
        "--without-gossip", "--without-mingle", "--without-heartbeat",  # for clusters of workers; they delay the start
    ]  # fmt: skip


class Host:
    """Forks the workers and forks them again when they end, until it is asked to stop."""

    def __init__(self, workers: list[Worker], listing: Path) -> None:
        self._workers = workers
        self._listing = listing
        self._running: dict[int, tuple[Worker, float]] = {}
        self._stopping = False

    def run(self) -> None:
        """Until SIGTERM or SIGINT, which the workers get too."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        for worker in self._workers:
            self._fork(worker)
        while self._running:
            pid, status = os.waitpid(-1, 0)
            if pid not in self._running:
                continue
            worker, began = self._running.pop(pid)
            if self._stopping:
                continue
            log.error("%s ended (%s) and is started again", worker.name, os.waitstatus_to_exitcode(status))
            if time.monotonic() - began < EARLY_SECONDS:
                time.sleep(PAUSE_SECONDS)
            self._fork(worker)

    def _fork(self, worker: Worker) -> None:
        parent = os.getpid()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            _become(worker, parent)
        self._running[pid] = (worker, time.monotonic())
        if self._stopping:  # asked between the two lines above
            os.kill(pid, signal.SIGTERM)
        temporary = self._listing.with_suffix(".new")
        temporary.write_text(json.dumps({worker.name: pid for pid, (worker, _) in self._running.items()}))
        temporary.replace(self._listing)

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._stopping = True
        for pid in self._running:
            os.kill(pid, signal.SIGTERM)


def _become(worker: Worker, parent: int) -> None:
    """Be that worker, in a process just forked; never returns."""
    code = 1
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        if sys.platform.startswith("linux"):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() == parent:
            _work(worker)
            code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _work(worker: Worker) -> None:
    from celery.signals import worker_ready
    from django.conf import settings

    from portal.celery import app

    if worker.queue == "system":
        worker_ready.connect(_start_beat)
    app.worker_main(arguments(worker, settings.ENV.log_level))


def _start_beat(**_kwargs: Any) -> None:
    threading.Thread(target=_beat, name="beat", daemon=True).start()


def _beat() -> None:
    from celery.beat import Service

    from portal.celery import app

    try:
        Service(app).start()
        log.error("beat has ended")
    except Exception:
        log.exception("beat has failed")
    os._exit(1)  # without beat lost jobs are never found; the worker is forked again, with a new one


def running_workers(run_dir: Path) -> dict[str, int]:
    """The process of each worker under the supervisor, by the worker's name."""
    try:
        found = json.loads((run_dir / "workers.json").read_text())
    except (OSError, ValueError):
        return {}
    return {str(name): int(pid) for name, pid in found.items() if Path(f"/proc/{pid}").exists()}


def main(given: list[str]) -> None:
    """Import everything, then fork."""
    import django

    django.setup()
    from django.conf import settings

    from portal.celery import app

    app.finalize()
    app.loader.import_default_modules()
    for name in IMPORTED:
        importlib.import_module(name)
    workers = [Worker(queue, int(threads)) for queue, _, threads in (word.partition("=") for word in given)]
    Host(workers, Path(settings.RUN_DIR) / "workers.json").run()


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    main(sys.argv[1:])
