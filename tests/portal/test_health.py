"""The health check: every part named, 503 only where the portal cannot serve, quick, and without heavy libraries."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from portal.home import health
from portal.jobs.models import Job, JobState, Pulse

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _fresh(settings: Any, tmp_path: Path) -> None:
    health._memory.clear()
    settings.INDEX_DIR = tmp_path / "index"
    settings.RUN_DIR = tmp_path


def pulses(*queues: str, age: float = 0.0) -> None:
    for queue in queues:
        Pulse.objects.update_or_create(name=queue, defaults={"at": timezone.now() - timedelta(seconds=age)})


def states() -> dict[str, health.Check]:
    return {check.name: check for check in health.checks()}


class ModelServer(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(type(self).status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def model_server(tmp_path: Path) -> Iterator[type[ModelServer]]:
    """A model server of which the portal knows, with its model file there."""
    (tmp_path / "model.gguf").touch()
    with HTTPServer(("127.0.0.1", 0), ModelServer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.server_address[1]
        (tmp_path / "model.json").write_text(
            json.dumps(
                {"name": "small", "path": str(tmp_path / "model.gguf"), "port": port, "url": f"http://127.0.0.1:{port}/v1"}
            )
        )
        try:
            ModelServer.status = 200
            yield ModelServer
        finally:
            server.shutdown()
            thread.join()


def test_everything_required_works(client: Any) -> None:
    pulses("cpu", "chat,system")
    response = client.get("/healthz", headers={"Host": "probe.example"})
    assert response.status_code == 200
    body = response.json()
    assert set(body) == {"db", "broker", "workers", "index", "model", "version"}
    assert (body["db"], body["broker"], body["workers"]) == ("ok", "ok", "ok")
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(("given", "missing"), [((), "cpu, chat, system"), (("cpu", "system"), "chat")])
def test_a_missing_worker_is_named(given: tuple[str, ...], missing: str, client: Any) -> None:
    pulses(*given)
    response = client.get("/healthz")
    assert response.status_code == 503
    assert response.json()["workers"] == f"No sign of life from the workers of: {missing}."


def test_a_worker_that_went_quiet_counts_as_missing() -> None:
    pulses("cpu", "chat")
    pulses("system", age=16)
    assert "system" in states()["workers"].detail


def test_a_database_that_fails_is_reported(monkeypatch: pytest.MonkeyPatch, client: Any) -> None:
    def fail() -> Any:
        raise OperationalError("the disk is\nfull")

    monkeypatch.setattr(health.connection, "cursor", fail)
    response = client.get("/healthz")
    assert response.status_code == 503
    assert response.json()["db"] == "The database does not answer: the disk is"


@pytest.mark.parametrize("kind", ["absent", "silent"])
def test_a_broker_that_does_not_answer_is_reported(kind: str, tmp_path: Path) -> None:
    from portal.celery import app

    path = tmp_path / "b.sock"
    before = app.conf.broker_url
    with socket.socket(socket.AF_UNIX) as server:
        if kind == "silent":
            server.bind(str(path))
            server.listen()
        app.conf.broker_url = f"redis+socket://{path}"
        try:
            found = states()["broker"]
        finally:
            app.conf.broker_url = before
    assert not found.ok
    assert found.required
    assert found.detail.startswith("The broker does not answer: ")


def test_an_index_is_not_required_and_its_job_is_named() -> None:
    assert states()["index"] == health.Check("index", False, False, "The documentation is not indexed yet.")
    job = Job.objects.create(type="corpus-ingest", title="t", queue="system", queued_at=timezone.now())
    assert states()["index"].detail == "The documentation is not indexed yet: waiting for a worker."
    Job.objects.filter(pk=job.pk).update(state=JobState.RUNNING, progress=0.42)
    assert states()["index"].detail == "The documentation is not indexed yet: 42% done."
    Job.objects.filter(pk=job.pk).update(state=JobState.FAILED, error_message="No source has any document.")
    assert states()["index"].detail == "The documentation is not indexed yet; the last try failed: No source has any document."


def test_no_model_is_no_failure() -> None:
    found = states()["model"]
    assert (found.ok, found.required) == (False, False)
    assert "answers show the best passages" in found.detail


@pytest.mark.parametrize(
    ("status", "ok", "detail"),
    [
        (200, True, "small"),
        (503, False, "small: its server is still loading"),
        (500, False, "small: its server answers with status 500"),
    ],
)
def test_the_embedded_model(model_server: type[ModelServer], status: int, ok: bool, detail: str) -> None:
    model_server.status = status
    found = states()["model"]
    assert (found.ok, found.detail) == (ok, detail)


def test_a_model_that_is_not_there_yet(model_server: type[ModelServer], tmp_path: Path) -> None:
    (tmp_path / "model.gguf").unlink()
    assert states()["model"].detail == "small is not there yet."


def test_a_model_server_elsewhere(settings: Any) -> None:
    from portal import env

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
    settings.ENV = env.Environment(model_url=url, model_name="llama")
    found = states()["model"]
    assert not found.ok
    assert found.detail.startswith("The model server does not answer: ")


def test_other_servers_are_not_asked_at_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(health, "_broker", lambda: calls.append("broker") or health.Check("broker", True, True, ""))
    for _ in range(5):
        health.checks()
    assert calls == ["broker"]
