"""The job `run-root-code`: a real run in a real child, what it shows, and what its code cannot reach of the portal."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.files.storage import default_storage

from mlcore.running import CodeRun, Picture
from mlcore.toolchain import sandbox
from portal.jobs import registry, services
from portal.jobs.context import SENT_ARTIFACTS, receive
from portal.jobs.models import Job, JobState
from portal.jobs.types.run_root_code import summary

pytestmark = pytest.mark.django_db(transaction=True)

RunNow = Callable[[Job], Job]
needs_sandbox = pytest.mark.skipif(
    not sandbox.foreign_isolation().fenced, reason=f"needs a sandbox: {sandbox.foreign_isolation().detail}"
)
needs_root = pytest.mark.skipif(not importlib.util.find_spec("ROOT"), reason="the root wheel is for Linux only")

MACRO = """
void plot() {
   auto c = new TCanvas("c");
   auto h = new TH1F("h", "", 9, 0, 1);
   h->Draw();
   printf("%d bins\\n", h->GetNbinsX());
}
"""


def submit(owner: Any, code: str, language: str = "python") -> Job:
    return services.submit(owner, "run-root-code", {"code": code, "language": language})


@needs_sandbox
@needs_root
def test_a_macro_with_its_output_and_picture(person: Any, run_now: RunNow) -> None:
    job = run_now(submit(person, MACRO, "cpp"))
    assert job.state == JobState.SUCCEEDED, (job.error_message, job.log_chunks.values_list("text"))
    assert job.result["facts"]["status"] == "ran", job.result
    assert job.result["texts"] == [{"title": "Output", "text": "9 bins\n"}]
    artifact = job.artifacts.get()
    assert (artifact.kind, artifact.name, artifact.title) == ("picture", "1-canvas-1.png", "Canvas 1")
    with default_storage.open(artifact.path) as file:
        assert file.read().startswith(b"\x89PNG")
    assert job.manifest["versions"]["root"]
    assert job.title.startswith("void plot()")


@needs_sandbox
def test_code_that_fails_is_a_job_that_ended_well_with_something_to_look_at(person: Any, run_now: RunNow) -> None:
    job = run_now(submit(person, "1 / 0"))
    assert job.state == JobState.SUCCEEDED
    assert job.result["facts"] | {"seconds": 0} == {
        "status": "failed", "error": "ZeroDivisionError: division by zero", "seconds": 0, "root": job.result["facts"]["root"],
    }  # fmt: skip
    assert job.result["notes"][0] == {"kind": "bad", "headline": "Failed.", "text": "ZeroDivisionError: division by zero"}


@needs_sandbox
def test_the_portals_own_is_out_of_reach(person: Any, run_now: RunNow) -> None:
    secret = settings.DATA_DIR / "secret_key"
    secret.write_text("sesame-0815")
    folder = settings.WORK_DIR
    code = f"""
import glob, os, pathlib
for path in ({str(secret)!r}, {str(settings.DATA_DIR / "db.sqlite3")!r}):
    print("GOT" if os.path.exists(path) else "no", path)
written = []
for place in glob.glob({str(folder)!r} + "/*") + [{str(folder)!r}, os.environ["HOME"], {str(settings.INDEX_DIR)!r}]:
    try:
        pathlib.Path(place, "hostile").touch()
        written.append(place)
    except OSError:
        pass
print("written", [place for place in written if place != os.environ["HOME"]])
print("folder", [path for path in glob.glob({str(folder)!r} + "/*/*")])
"""
    job = run_now(submit(person, code))
    text = job.result["texts"][0]["text"]
    assert "GOT" not in text
    assert "written []" in text
    assert not list(settings.DATA_DIR.rglob("hostile"))


def test_either_code_or_a_tutorial() -> None:
    job_type = registry.get("run-root-code")
    for raw in ({}, {"code": " "}, {"code": "1", "tutorial": "tutorials/a.C"}):
        with pytest.raises(registry.ParamsError, match="either code or a tutorial"):
            job_type.parse(raw)
    assert job_type.parse({"tutorial": "tutorials/hist/a.C"}).tutorial


@needs_sandbox
def test_no_such_tutorial_is_the_persons_mistake(person: Any, run_now: RunNow) -> None:
    job = run_now(services.submit(person, "run-root-code", {"tutorial": "tutorials/no-such-thing.C"}))
    assert (job.state, job.error_code) == (JobState.FAILED, "code.tutorial")


def test_what_is_shown_of_each_ending() -> None:
    shown = summary(CodeRun("not_run", error="There is no sandbox for it."))
    assert (shown.notes[0].kind, shown.notes[0].headline, shown.figures) == ("warn", "Not run.", ())
    shown = summary(CodeRun("timed_out", "a", "b", "Too long.", (Picture("a.png", 1, 1, b""),), 3, 60.0, "6.40.00"))
    assert [note.kind for note in shown.notes] == ["bad", "warn"]
    assert [text.title for text in shown.texts] == ["Output", "Messages"]
    shown = summary(CodeRun("ran_with_errors", error="Error in <TH1::Fit>: no"))
    assert (shown.notes[0].kind, shown.notes[0].headline, shown.facts["status"]) == (
        "warn",
        "Ran with errors.",
        "ran_with_errors",
    )


@pytest.mark.parametrize("name", ["../a", "a/b", ".env", "", ".."])
def test_what_comes_through_the_pipe_is_a_file_of_the_folder(name: str, tmp_path: Path) -> None:
    artifact = {"name": name, "path": "/etc/passwd", "kind": "picture", "title": "", "data": "eA=="}
    with pytest.raises((ValueError, OSError)):
        receive(artifact, tmp_path, 0)
    assert list(tmp_path.iterdir()) == []
    assert receive(artifact | {"name": "a.png"}, tmp_path, 0)["path"] == "a.png"
    with pytest.raises(ValueError, match="cannot be kept"):
        receive(artifact | {"name": "b.png"}, tmp_path, SENT_ARTIFACTS)
    with pytest.raises(FileExistsError):
        receive(artifact | {"name": "a.png"}, tmp_path, 1)
