"""The client against a real server: what is sent arrives, what breaks is told in words."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from portal.client import Done, Passages, Portal, PortalError, Retries, State, Text
from portal.client.blocking import now
from portal.client.downloads import fetch
from portal.jobs.models import Job

CHECK = {"seconds": 0.1}
AT_ONCE = Retries(pause=0.0)


@pytest.fixture
def portal(live_server: Any, administrator: Any) -> Iterator[Portal]:
    from portal.accounts.services import create_token

    with Portal(live_server.url, create_token(administrator, "tests")) as there:
        yield there


@pytest.fixture
def done(portal: Portal, run_now: Any) -> Any:
    """A job that has succeeded there."""
    job = portal.jobs.submit("worker-check", CHECK, title="mine")
    run_now(Job.objects.get(pk=job.id))
    return job


def test_a_job_from_beginning_to_end(portal: Portal, run_now: Any, tmp_path: Path) -> None:
    job = portal.jobs.submit("worker-check", CHECK, title="mine")
    assert (job.state, job.title, job.finished) == ("PENDING", "mine", False)
    with pytest.raises(PortalError, match="did not end within 0 s"):
        portal.jobs.wait(job, timeout=0)
    run_now(Job.objects.get(pk=job.id))
    logs: list[str] = []
    done = portal.jobs.wait(job, log=logs.append, timeout=5)
    assert done.state == "SUCCEEDED"
    assert done.result is not None
    assert "runs for" in "".join(logs) == "".join(portal.jobs.log(job))
    (path,) = portal.jobs.download(done, tmp_path / "out")
    assert json.loads(path.read_text())["memory"] == 0
    assert hashlib.sha256(path.read_bytes()).hexdigest() == done.artifacts[0].sha256
    assert portal.jobs.manifest(job)["type"] == "worker-check"


def test_wait_tells_of_progress(portal: Portal, done: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from portal.client import jobs

    monkeypatch.setattr(jobs, "POLL_SECONDS", (0.0, 0.0))
    real, looks = portal.jobs.twin.get, [("PENDING", 0.0), ("RUNNING", 0.5)]
    seen: list[tuple[float, str]] = []

    async def get(job: Any) -> Any:
        if not looks:
            return await real(job)
        state, fraction = looks.pop(0)
        from dataclasses import replace

        return replace(await real(job), state=state, progress={"fraction": fraction, "text": "Counting", "eta_seconds": None})

    monkeypatch.setattr(portal.jobs.twin, "get", get)
    assert portal.jobs.wait(done, progress=lambda *step: seen.append(step)).state == "SUCCEEDED"
    assert seen == [(0.0, "Waiting for a worker"), (0.5, "Counting")]


def test_a_job_that_fails_or_is_cancelled(portal: Portal, run_now: Any) -> None:
    job = portal.jobs.submit("worker-check", {"seconds": 0, "ending": "error"})
    run_now(Job.objects.get(pk=job.id))
    with pytest.raises(PortalError, match="asked to fail") as caught:
        portal.jobs.wait(job)
    assert (caught.value.code, caught.value.hint) == ("check.asked", "Choose another ending.")
    assert portal.jobs.wait(job, check=False).state == "FAILED"
    again = portal.jobs.retry(job)
    assert portal.jobs.cancel(again).state == "CANCELLED"
    with pytest.raises(PortalError, match="was cancelled"):
        portal.jobs.wait(again)
    portal.jobs.delete(again)
    with pytest.raises(PortalError) as gone:
        portal.jobs.get(again)
    assert gone.value.status == 404


def test_lists_are_read_page_by_page(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    from portal.client import connection

    monkeypatch.setattr(connection, "PAGE", 2)
    made = [portal.jobs.submit("worker-check", CHECK).id for _ in range(5)]
    portal.jobs.cancel(made[0])
    assert [job.id for job in portal.jobs.list()] == made[::-1]
    assert [job.id for job in portal.jobs.list(state="CANCELLED")] == [made[0]]
    assert "forest-to-cpp" in [each.slug for each in portal.jobs.types()]


def test_files(portal: Portal, tmp_path: Path) -> None:
    source = tmp_path / "notes.txt"
    source.write_bytes(b"a line\n" * 400_000)
    steps: list[float] = []
    file = portal.files.upload(source, progress=lambda fraction, _: steps.append(fraction))
    assert (file.name, file.size, file.kind) == ("notes.txt", source.stat().st_size, "text")
    assert len(steps) == 3
    assert steps[-1] == 1.0
    assert [each.id for each in portal.files.list(q="notes")] == [file.id]
    assert portal.files.inspect(file).inspection is None
    copy = portal.files.download(file, tmp_path / "copy.txt")
    assert copy.read_bytes() == source.read_bytes()
    portal.files.delete(file)
    assert list(portal.files.list()) == []


def test_an_upload_that_is_refused(portal: Portal, tmp_path: Path) -> None:
    import pickle

    source = tmp_path / "model.pkl"
    source.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(PortalError, match="pickle") as caught:
        portal.files.upload(source)
    assert caught.value.status == 415
    assert caught.value.hint
    with pytest.raises(FileNotFoundError):
        portal.files.upload(tmp_path / "nothing")


def test_wrong_parameters_are_named(portal: Portal) -> None:
    with pytest.raises(PortalError) as caught:
        portal.jobs.submit("worker-check", {"seconds": -1, "colour": "red"})
    assert set(caught.value.problems) == {"seconds", "colour"}


def test_me_and_status(portal: Portal) -> None:
    assert portal.me()["username"] == "admin"
    assert {part["name"] for part in portal.status()["parts"]} >= {"db", "workers"}


def test_a_wrong_token(live_server: Any, db: None) -> None:
    with Portal(live_server.url, "wrong") as there, pytest.raises(PortalError) as caught:
        there.me()
    assert (caught.value.status, caught.value.code) == (401, "unauthenticated")


def test_an_answer_as_it_is_written(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    from portal.chat import services
    from portal.chat.models import Turn

    real = services.ask

    def answered(*args: Any, **kwargs: Any) -> Turn:
        turn = real(*args, **kwargs)
        found = [{"n": 1, "title": "TH1", "source": "TH1", "score": 0.5, "text": "Fits."}]
        Turn.objects.filter(pk=turn.pk).update(state="DONE", passages=found, text="Because [1].", answer={"citations": [1]})
        return turn

    monkeypatch.setattr(services, "ask", answered)
    events = list(portal.ask("Why?"))
    assert [type(event) for event in events] == [State, Passages, Text, Done]
    last = events[-1]
    assert isinstance(last, Done)
    assert (last.turn.text, last.turn.answer["citations"], last.turn.passages[0].title) == ("Because [1].", [1], "TH1")
    assert portal.assistant.answer("Why?").text == "Because [1]."
    portal.assistant.feedback(last.turn.id, True, "good")
    assert portal.assistant.get(last.turn.id).state == "DONE"


# --- what goes wrong on the way -----------------------------------------------------------------------------------------------


def test_nobody_there() -> None:
    with (
        Portal("http://127.0.0.1:9", "t", retries=AT_ONCE) as there,
        pytest.raises(PortalError, match="cannot be reached") as caught,
    ):
        there.me()
    assert caught.value.code == "unreachable"


def test_no_address() -> None:
    with pytest.raises(PortalError, match="not the address"):
        Portal("portal.example.org")


@pytest.mark.parametrize(
    ("status", "text"), [(502, "<h1>Bad gateway</h1>"), (200, "<h1>Sign in</h1>"), (302, ""), (500, '{"a": 1}')]
)
def test_something_else_answers(status: int, text: str) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(status, text=text))
    with Portal("http://proxy.example.org", transport=transport, retries=AT_ONCE) as there, pytest.raises(PortalError) as caught:
        there.me()
    assert caught.value.code == "not-a-portal"


def test_a_stream_that_breaks_is_taken_up_again() -> None:
    """Each part of the text comes once, although the second connection begins with all of it."""
    first = 'event: state\ndata: {"state": "WRITING"}\n\nevent: text\ndata: {"offset": 0, "text": "Be"}\n\n'
    second = (
        'event: state\ndata: {"state": "WRITING"}\n\nevent: text\ndata: {"offset": 0, "text": "Because"}\n\n: still here\n\n'
        'event: text\ndata: {"offset": 2, "text": "ing"}\n\n'
        'event: done\ndata: {"id": "1", "question": "Why?", "state": "DONE", "text": "Being", "passages": null}\n\n'
    )
    bodies = [first, second]

    def handle(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(202, json={"id": "1", "question": "Why?", "state": "QUEUED", "text": "", "passages": None})
        return httpx.Response(200, text=bodies.pop(0))

    with Portal("http://portal.example.org", transport=httpx.MockTransport(handle), retries=AT_ONCE) as there:
        events = list(there.ask("Why?"))
    texts = [(event.added, event.corrected) for event in events if isinstance(event, Text)]
    assert texts == [("Be", False), ("cause", False), ("Being", True)]
    assert isinstance(events[-1], Done)


class Breaking(BaseHTTPRequestHandler):
    """Serves bytes with ranges, and closes the connection in the middle of the first answers."""

    data = bytes(range(256)) * 4000
    breaks = 2
    asked: list[str | None] = []

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        type(self).asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        body = self.data[start:]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if type(self).breaks:
            type(self).breaks -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def breaking() -> Iterator[str]:
    Breaking.breaks, Breaking.asked = 2, []
    with ThreadingHTTPServer(("127.0.0.1", 0), Breaking) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_broken_download_goes_on(breaking: str, tmp_path: Path) -> None:
    sha256 = hashlib.sha256(Breaking.data).hexdigest()
    target = tmp_path / "deep" / "file.bin"
    with Portal(breaking, retries=AT_ONCE) as there:
        now(fetch(there._connection, "/file", target, size=len(Breaking.data), sha256=sha256))
        assert target.read_bytes() == Breaking.data
        assert len(Breaking.asked) == 3
        assert Breaking.asked[0] is None
        assert all(wanted and wanted != "bytes=0-" for wanted in Breaking.asked[1:])
        now(fetch(there._connection, "/file", target, size=len(Breaking.data), sha256=sha256))
    assert len(Breaking.asked) == 3, "what is there already is not fetched again"
    assert [path.name for path in target.parent.iterdir()] == ["file.bin"]


def test_wrong_bytes_are_refused(breaking: str, tmp_path: Path) -> None:
    Breaking.breaks = 0
    with Portal(breaking, retries=AT_ONCE) as there, pytest.raises(PortalError, match="did not arrive") as caught:
        now(fetch(there._connection, "/file", tmp_path / "a", size=len(Breaking.data), sha256="0" * 64))
    assert caught.value.code == "download.damaged"
    assert list(tmp_path.iterdir()) == []


def test_an_artefact_cannot_leave_its_folder(tmp_path: Path) -> None:
    from portal.client import Artifact

    artifact = Artifact("1", "..", "x", "", 1, "0", "/x")
    with Portal("http://portal.example.org") as there, pytest.raises(PortalError, match="no file name"):
        there.jobs.download_artifact(artifact, tmp_path)


def test_the_client_needs_httpx_alone() -> None:
    code = (
        "import sys, portal.client; heavy = {'django', 'ninja', 'celery', 'pydantic', 'numpy', 'mlcore', 'assistant'};"
        "print(sorted(heavy & {name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
