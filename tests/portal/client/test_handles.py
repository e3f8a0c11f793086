"""A job at hand: what it knows, what it gives, and where its progress is shown."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from portal.client import InvalidError, JobCancelledError, JobFailedError, NotFoundError, Portal
from portal.client import progress as places
from portal.jobs.models import Job
from tests.portal.client.test_client import portal

__all__ = ["portal"]  # the fixture


def test_a_job_from_its_id_to_its_artefacts(portal: Portal, run_now: Any, tmp_path: Path) -> None:
    submitted = portal.submit("worker-check", {"seconds": 0}, title="mine")
    run_now(Job.objects.get(pk=submitted.id))
    assert (submitted.state, submitted.artifacts, submitted.result, submitted.finished) == ("PENDING", (), None, False)
    job = portal.job(submitted.id).wait(progress=None)
    assert (job.title, job.type, job.state, job.finished, job.error) == ("mine", "worker-check", "SUCCEEDED", True, None)
    assert job.params["seconds"] == 0
    assert "Ran for" in job.figures
    (artifact,) = job.artifacts
    assert job.artifact("report.json") == artifact
    assert json.loads(job.read("report.json"))["memory"] == 0
    assert job.download(tmp_path) == job.download(tmp_path, "report.json") == (tmp_path / "report.json",)
    with pytest.raises(NotFoundError, match=r"report\.json"):
        job.artifact("nothing")
    assert "runs for" in "".join(job.log())
    assert job.manifest()["type"] == "worker-check"
    assert submitted.refresh().state == "SUCCEEDED"
    again = job.retry()
    assert again.cancel().state == "CANCELLED"
    with pytest.raises(JobCancelledError):
        again.wait()
    again.delete()
    assert repr(job) == f"<job {job.id} worker-check SUCCEEDED: mine>"


def test_a_job_that_fails_carries_the_job(portal: Portal, run_now: Any) -> None:
    job = portal.submit("worker-check", seconds=0, ending="error")
    run_now(Job.objects.get(pk=job.id))
    with pytest.raises(JobFailedError, match="asked to fail") as caught:
        job.wait()
    assert caught.value.job.state == job.state == "FAILED"
    error = job.wait(check=False).error or {}
    assert (error["code"], error["message"], error["hint"]) == ("check.asked", caught.value.message, caught.value.hint)


def test_a_path_is_uploaded_where_a_file_is_wanted(portal: Portal, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("a line\n")
    file = portal.upload(path)
    for given in (path, file, file.id):  # of the wrong kind, which says that it arrived
        with pytest.raises(InvalidError) as caught:
            portal.submit("forest-to-cpp", model=given)
        assert "notes.txt" in caught.value.problems["model"]
    assert len(list(portal.files.list())) == 1


def test_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with places.shown("auto") as show:
        show(0.25, "Counting [sheep]")
    assert "25%" in sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert "Counting [sheep]" in sys.stderr.getvalue()  # type: ignore[attr-defined]


def test_progress_elsewhere() -> None:
    with places.shown("auto") as show:
        assert show is places.silent
    with places.shown(None) as show:
        assert show is places.silent
    with places.shown(print) as show:
        assert show is print


def test_a_bar_of_a_notebook_is_escaped() -> None:
    bar = places.bar_html(1.5, "<script>")
    assert 'value="1.0000"' in bar
    assert "&lt;script&gt;" in bar
    assert "<script>" not in bar
