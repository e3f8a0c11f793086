"""What works and what does not: one list for the health check, the status page and the supervisor."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from importlib import metadata
from pathlib import Path
from threading import Lock
from urllib.parse import urlsplit

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone

QUEUES = ("cpu", "chat", "system")
PULSE_LIMIT = timedelta(seconds=15)
NETWORK_SECONDS = 0.5  # how long a broker or model server may take to answer
REMEMBER_SECONDS = {"broker": 1.0, "model": 3.0}


@dataclass(frozen=True)
class Check:
    """One part of the portal.

    Attributes
    ----------
    required
        Whether the portal cannot serve without it.
    detail
        A sentence: what works, or why not.
    """

    name: str
    ok: bool
    required: bool
    detail: str


def checks() -> list[Check]:
    """The state of every part, in the order in which they matter."""
    return [
        _database(),
        _remembered("broker", _broker),
        _workers(),
        _index(),
        _remembered("model", _model),
    ]


def healthz(request: HttpRequest) -> HttpResponse:
    """``GET /healthz``: each part ``"ok"`` or why not, status 503 where a part is missing without which nothing works."""
    found = checks()
    report = {check.name: "ok" if check.ok else check.detail for check in found} | {"version": _version()}
    serves = all(check.ok for check in found if check.required)
    response = JsonResponse(report, status=200 if serves else 503)
    response.headers["Cache-Control"] = "no-store"
    response._has_been_logged = True  # type: ignore[attr-defined]  # Django would log an error for each probe
    return response


@cache
def _version() -> str:
    try:
        return metadata.version("ml4ep-portal")
    except metadata.PackageNotFoundError:
        return "unknown"


_memory: dict[str, tuple[float, Check]] = {}
_memory_lock = Lock()


def _remembered(name: str, check: Callable[[], Check]) -> Check:
    """A check that asks another server, asked again only after a few seconds."""
    now = time.monotonic()
    with _memory_lock:
        known = _memory.get(name)
    if known is not None and now - known[0] < REMEMBER_SECONDS[name]:
        return known[1]
    found = check()
    with _memory_lock:
        _memory[name] = (time.monotonic(), found)
    return found


def _database() -> Check:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    except DatabaseError as error:
        return Check("db", False, True, f"The database does not answer: {_first_line(error)}")
    return Check("db", True, True, "PostgreSQL" if connection.vendor == "postgresql" else "SQLite")


def _broker() -> Check:
    from portal.celery import app

    url = str(app.conf.broker_url)
    scheme = urlsplit(url).scheme
    try:
        if scheme.startswith("redis"):
            _ping_redis(url)
        else:
            with app.connection_for_write(connect_timeout=NETWORK_SECONDS) as broker:
                broker.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=NETWORK_SECONDS)
    except Exception as error:
        return Check("broker", False, True, f"The broker does not answer: {_first_line(error)}")
    return Check("broker", True, True, "Embedded Valkey" if scheme == "redis+socket" else scheme)


def _ping_redis(url: str) -> None:
    """Ask the server itself: Celery's own connection would wait for a hanging one without end."""
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    address = url.replace("redis+socket://", "unix://", 1).partition("?")[0]
    once = Retry(NoBackoff(), 0)
    with Redis.from_url(address, socket_timeout=NETWORK_SECONDS, socket_connect_timeout=NETWORK_SECONDS, retry=once) as client:
        client.ping()


def _workers() -> Check:
    from portal.jobs.models import Pulse

    try:
        fresh = Pulse.objects.filter(at__gt=timezone.now() - PULSE_LIMIT).values_list("name", flat=True)
        served = {queue for name in fresh for queue in name.split(",")}
    except DatabaseError:
        return Check("workers", False, True, "Unknown while the database does not answer.")
    if missing := [queue for queue in QUEUES if queue not in served]:
        return Check("workers", False, True, f"No sign of life from the workers of: {', '.join(missing)}.")
    return Check("workers", True, True, f"Serving the queues {', '.join(QUEUES)}")


def _index() -> Check:
    from assistant.index import index_status

    status = index_status(Path(settings.INDEX_DIR))
    if not status.lexical:
        return Check("index", False, False, _waiting("corpus-ingest", "The documentation is not indexed yet"))
    if status.dense < 1.0:
        stage = f"Search by words works; search by meaning covers {status.dense:.0%}"
        return Check("index", False, False, _waiting("corpus-ingest", stage))
    return Check("index", True, False, f"{status.documents:,} documents, {status.passages:,} passages")


def _model() -> Check:
    from portal.supervisor.model import embedded_model

    if settings.ENV.model_url:
        problem = _ask(f"{settings.ENV.model_url}/models", settings.ENV.model_api_key.get_secret_value())
        name = settings.ENV.model_name
        return Check(
            "model", not problem, False, f"The model server {problem}" if problem else f"{name} at {settings.ENV.model_url}"
        )
    model = embedded_model()
    if model is None:
        return Check("model", False, False, "No language model is set up; answers show the best passages.")
    if not Path(model.path).exists():
        return Check("model", False, False, _waiting("model-pull", f"{model.name} is not there yet"))
    problem = _ask(f"http://127.0.0.1:{model.port}/health")
    return Check("model", not problem, False, f"{model.name}: its server {problem}" if problem else model.name)


def _ask(url: str, key: str = "") -> str:
    """Why a server does not answer a GET well, ``""`` where it does. A refusal for lack of rights is an answer."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    server = kind(parts.hostname or "", parts.port, timeout=NETWORK_SECONDS)
    try:
        server.request("GET", parts.path, headers={"Authorization": f"Bearer {key}"} if key else {})
        status = server.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"does not answer: {_first_line(error)}"
    finally:
        server.close()
    if status == http.client.SERVICE_UNAVAILABLE:
        return "is still loading"
    if status in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
        return "refuses the key in ML4EP_MODEL_API_KEY"
    return f"answers with status {status}" if status >= http.client.INTERNAL_SERVER_ERROR else ""


def _waiting(slug: str, text: str) -> str:
    """``text``, with how far the job is that will change it."""
    from portal.jobs.models import ACTIVE, Job, JobState

    try:
        job = Job.objects.filter(type=slug, state__in=ACTIVE).order_by("state", "-created_at").first()
        last = None if job else Job.objects.filter(type=slug, state=JobState.FAILED).order_by("-created_at").first()
    except DatabaseError:
        return f"{text}."
    if job is not None:
        return f"{text}: {job.progress:.0%} done." if job.state == JobState.RUNNING else f"{text}: waiting for a worker."
    return f"{text}; the last try failed: {last.error_message}" if last else f"{text}."


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
