"""Run ROOT code: a C++ macro, PyROOT or other Python, or one of ROOT's tutorials, in the sandbox and with the installed ROOT."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from mlcore.toolchain.sandbox import GIB, Limits
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType, Params
from portal.jobs.results import Figure, Note, Result, Text

if TYPE_CHECKING:
    from mlcore.running import CodeRun

SECONDS = 60
TITLES = {"ran": "Ran", "ran_with_errors": "Ran with errors", "failed": "Failed", "timed_out": "Timed out", "not_run": "Not run"}
KINDS: dict[str, Literal["ok", "warn", "bad", "act"]] = {
    "ran": "ok", "ran_with_errors": "warn", "failed": "bad", "timed_out": "bad", "not_run": "warn",
}  # fmt: skip


class RunRootCodeParams(Params):
    """The code, or which tutorial."""

    code: str = Field(
        "", max_length=100_000, title="Code", description="A macro, or a program", json_schema_extra={"format": "code"}
    )
    language: Literal["cpp", "python"] = Field("cpp", title="Language", description="C++ for ROOT's interpreter, or Python")
    tutorial: str = Field(
        "", max_length=300, title="Tutorial", description="Instead of code: one of ROOT's, such as tutorials/hist/h1draw.C"
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> RunRootCodeParams:
        if bool(self.code.strip()) == bool(self.tutorial):
            raise ValueError("give either code or a tutorial")
        return self


class RunRootCode(JobType[RunRootCodeParams]):
    slug = "run-root-code"
    title = "Run ROOT code"
    summary = "Run a C++ macro, PyROOT, Python or a tutorial with the installed ROOT: what it writes and what it draws"
    duration = "a few seconds"
    gives = (("canvas-1.png", "each canvas that it drew"),)
    phrases = ("run code", "run macro", "run tutorial")
    versions = ("root",)
    limits = Limits(
        memory_bytes=3 * GIB, cpu_seconds=SECONDS + 30, wall_seconds=SECONDS + 30, file_bytes=256 * 2**20, processes=64
    )
    foreign_code = True
    Params = RunRootCodeParams

    def name_run(self, params: RunRootCodeParams, files: object) -> str:
        if params.tutorial:
            return params.tutorial.rsplit("/", 1)[-1]
        first = next((line.strip() for line in params.code.splitlines() if line.strip(" \t{}")), self.title)
        return first[:80]

    def run(self, context: JobContext, params: RunRootCodeParams) -> Result:
        from mlcore.running import LIMITS, run_code

        context.progress(0.1, "Running")
        found = run_code(
            params.language,
            params.code,
            tutorial=params.tutorial,
            limits=replace(LIMITS, wall_seconds=SECONDS, cpu_seconds=SECONDS),
        )
        for number, picture in enumerate(found.pictures, 1):
            path = context.folder / f"{number}-{picture.name}"
            path.write_bytes(picture.png)
            context.artifact(path, kind="picture", title=name_of(picture.name))
        return summary(found)


def name_of(file: str) -> str:
    """What a picture is called: ``canvas-1.png`` is “Canvas 1”; a file that the code wrote keeps its name."""
    drawn = re.fullmatch(r"(canvas|figure)-(\d+)\.png", file)
    return f"{drawn[1].capitalize()} {drawn[2]}" if drawn else file


def summary(found: CodeRun) -> Result:
    """What the job shows."""
    notes = [Note(KINDS[found.status], f"{TITLES[found.status]}.", found.error)]
    if found.left_out:
        notes.append(Note("warn", f"{found.left_out} pictures are left out.", "They are too many, too large, or broken."))
    texts = [("Output", found.output), ("Messages", found.messages)]
    return Result(
        notes=tuple(notes),
        figures=(Figure("Time", f"{found.seconds:.1f} s", "with the start of ROOT"),) if found.seconds else (),
        texts=tuple(Text(title, text) for title, text in texts if text.strip()),
        facts={"status": found.status, "error": found.error, "seconds": round(found.seconds, 2), "root": found.root},
    )
