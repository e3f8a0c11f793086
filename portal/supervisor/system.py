"""The worker of the queue `system`, with beat as a thread of its own: one process less to start and to keep.

Beat on its own is ``celery -A portal.celery beat``; a deployment on several machines runs exactly one of either.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import Any

log = logging.getLogger(__name__)


def main(arguments: list[str]) -> None:
    """Run the worker with Celery's own command line arguments."""
    from celery.signals import worker_ready

    from portal.celery import app

    worker_ready.connect(_start_beat)
    app.worker_main(["worker", *arguments])


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
    # Without it lost jobs are never found. The supervisor starts a whole new process.
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
