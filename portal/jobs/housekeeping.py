"""Periodic tasks of jobs, and the workers' signs of life."""

from __future__ import annotations

import logging
import socket
import threading
from typing import Any

from celery import shared_task
from celery.signals import worker_ready
from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone

from mlcore.toolchain import sandbox
from portal.celery import stopping
from portal.jobs import services
from portal.jobs.models import Pulse

log = logging.getLogger(__name__)

PULSE_SECONDS = 3.0


@shared_task(name="portal.jobs.housekeeping.reap")  # type: ignore[untyped-decorator]
def reap() -> None:
    """Requeue or end what lost its worker."""
    services.reap()


@shared_task(name="portal.jobs.housekeeping.expire")  # type: ignore[untyped-decorator]
def expire() -> None:
    """Remove what is older than the retention time."""
    services.expire()


@worker_ready.connect  # type: ignore[untyped-decorator]
def _start_pulse(sender: Any, **_kwargs: Any) -> None:
    """Say every few seconds that this worker lives, from a thread of its own, for the health check and the status page."""
    queues = ",".join(sorted(sender.app.amqp.queues.consume_from))
    threading.Thread(target=_pulse_forever, args=(queues,), name="pulse", daemon=True).start()


def _pulse_forever(queues: str) -> None:
    isolation = sandbox.isolation()
    details = {
        "host": socket.gethostname(),
        "isolation": isolation.name,
        "isolation_detail": isolation.detail,
        "slots": settings.ENV.worker_slots,
    }
    while True:
        try:
            Pulse.objects.update_or_create(name=queues, defaults={"at": timezone.now(), "details": details})
        except DatabaseError:
            log.warning("could not write this worker's pulse", exc_info=True)
        finally:
            connection.close()
        if stopping.wait(PULSE_SECONDS):
            return
