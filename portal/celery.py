"""The Celery application: one broker, queues by kind of work, tasks discovered in each portal app."""

from __future__ import annotations

import os
import threading
from typing import Any

from celery import Celery
from celery.signals import worker_shutting_down

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

app = Celery("portal")
app.set_default()  # of every thread: a shared task looks for the thread's own current application first
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(related_name="tasks")
app.autodiscover_tasks(related_name="housekeeping")

stopping = threading.Event()
"""Set once this worker has been asked to stop: what runs is given back to the queue instead of being finished."""


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _stop(**_kwargs: Any) -> None:
    stopping.set()
