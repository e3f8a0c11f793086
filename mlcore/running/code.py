"""Run a piece of code that somebody wrote, or a language model, and say what came of it."""

from __future__ import annotations

import base64
import ctypes
import importlib.util
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mlcore.errors import InputError
from mlcore.running import driver, macros
from mlcore.running.pictures import Picture, collect, size_of
from mlcore.toolchain import sandbox
from mlcore.toolchain.sandbox import GIB, Limits, Outcome

Language = Literal["cpp", "python"]
Status = Literal["ran", "ran_with_errors", "failed", "timed_out", "not_run"]

CODE_CHARACTERS = 100_000
OUTPUT_BYTES = 64 * 1024
LIMITS = Limits(memory_bytes=2 * GIB, cpu_seconds=60, wall_seconds=60, file_bytes=256 * 2**20, processes=48, open_files=512)
"""What code may use; files lie in memory, and all of them together are no larger than one may be."""

_AROUND_SECONDS = 30.0  # more than the code's own limit has the process around it, to start and to collect what came
_ANSWER_BYTES = 32 * 2**20
_ENDINGS = {
    "memory": "it used more memory than it may: {0.memory_bytes:,} bytes",
    "wall": "it ran longer than it may: {0.wall_seconds:g} s",
    "cpu": "it used more CPU time than it may: {0.cpu_seconds} s",
    "processes": "it started more processes than it may: {0.processes}",
    "cancelled": "it was cancelled",
}
_PR_SET_DUMPABLE = 4
_REPORT = re.compile(r"\s*(?:(?:Sys)?Error in <|Fatal in <|\[#\d+\] (?:ERROR|FATAL):)")


@dataclass(frozen=True)
class CodeRun:
    """What came of running code.

    Attributes
    ----------
    status
        ``"ran"``: to its end, without an error; ``"ran_with_errors"``: to its end, but ROOT or RooFit reported an error on the
        way; ``"failed"``; ``"timed_out"``; ``"not_run"``: there is no sandbox to run it in, or no ROOT to run it with.
    output, messages
        What it wrote to standard output and standard error, the middle left out where that is long.
    error
        Why it did not run to its end, or the first error that was reported, in one line; empty where there was none.
    pictures
        The canvases at its end, figures of matplotlib, and PNG files that it wrote.
    left_out
        Pictures that were too many, too large, or broken.
    seconds
        Wall time of the code's process, starting ROOT included.
    root
        ROOT's version.
    """

    status: Status
    output: str = ""
    messages: str = ""
    error: str = ""
    pictures: tuple[Picture, ...] = ()
    left_out: int = 0
    seconds: float = 0.0
    root: str = ""

    @property
    def ran(self) -> bool:
        """Whether it came to its end without an error."""
        return self.status == "ran"

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json.dumps` accepts."""
        pictures = [{"name": one.name, "png": base64.b64encode(one.png).decode()} for one in self.pictures]
        return asdict(replace(self, pictures=())) | {"pictures": pictures}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> CodeRun:
        """What `to_json` made; pictures are looked at once more, since the sender shared a sandbox with foreign code."""
        pictures = []
        for each in entry["pictures"]:
            png = base64.b64decode(each["png"])
            pictures.append(Picture(Path(str(each["name"])).name[:80], *size_of(png), png))
        return cls(**{**entry, "pictures": tuple(pictures)})


def run_code(
    language: str,
    text: str,
    *,
    name: str = "",
    tutorial: str = "",
    limits: Limits = LIMITS,
    hidden: Iterable[Path] = (),
    cancelled: Callable[[], bool] | None = None,
) -> CodeRun:
    """Run a C++ macro, PyROOT or other Python in the sandbox, with the installed ROOT.

    Without bubblewrap it is not run at all. C++ goes through ROOT's interpreter: unnamed macros, macros of functions, programs
    with a ``main``, and statements as at its prompt. There is no display and no network; files go to a folder in memory.

    Parameters
    ----------
    language
        ``"cpp"`` or ``"python"``.
    name
        The file's name where it has one, for example ``hsimple.C``: the function of this name is the one that is called.
    tutorial
        Instead of `text`: a tutorial of the installed ROOT, for example ``tutorials/hist/hist001_TH1_fillrandom.C``.
    hidden
        Files or folders that it must not see, besides all that `sandbox.programs_only` hides.
    cancelled
        Asked several times a second; True ends it.

    Raises
    ------
    InputError
        The language is another one, the text is empty or too long, or there is no such tutorial.
    """
    request = _checked(language, text, name, tutorial)
    isolation = sandbox.foreign_isolation()
    if not isolation.fenced:
        return CodeRun("not_run", error=f"There is no sandbox for it. {isolation.detail}", root=root_version())
    if isolation.name != "bubblewrap":
        return _run_within(request, limits, cancelled)
    view = sandbox.programs_only()
    around = replace(
        limits,
        wall_seconds=limits.wall_seconds + _AROUND_SECONDS,
        cpu_seconds=limits.cpu_seconds + int(_AROUND_SECONDS),
        processes=limits.processes + 8,
        memory_bytes=limits.memory_bytes + GIB,
        file_bytes=limits.file_bytes,
    )
    outcome = sandbox.run(
        [sys.executable, "-m", "mlcore.running"],
        cwd=Path("/"),
        limits=around,
        readable=view.readable,
        hidden=[*view.hidden, *hidden],
        env={"PYTHONPATH": str(sandbox.PROJECT), "HOME": "/tmp"},  # noqa: S108 - its own
        input=json.dumps({"request": request, "limits": asdict(limits)}).encode(),
        output_bytes=_ANSWER_BYTES,
        cancelled=cancelled,
        within=isolation,
    )
    try:
        return CodeRun.from_json(json.loads(outcome.stdout))
    except (ValueError, TypeError, KeyError):
        return _ended_around(outcome, around)


def _ended_around(outcome: Outcome, limits: Limits) -> CodeRun:
    """The process around the code came to no answer: the code ended it, or its limits did."""
    reason = (
        _ENDINGS[outcome.reason].format(limits) if outcome.reason else f"it ended its own surroundings ({outcome.returncode})"
    )
    status: Status = "timed_out" if outcome.reason in ("wall", "cpu") else "failed"
    messages = outcome.stderr[-OUTPUT_BYTES:]
    return CodeRun(status, messages=messages, error=_sentence(reason), seconds=outcome.seconds, root=root_version())


def _checked(language: str, text: str, name: str, tutorial: str) -> dict[str, str]:
    if tutorial:
        path = tutorial_path(tutorial)
        return {"language": "python" if path.suffix == ".py" else "cpp", "text": "", "name": path.name, "tutorial": tutorial}
    if language not in ("cpp", "python"):
        raise InputError(f"code in {language!r} cannot be run", hint="Give cpp or python.", code="code.language")
    if not text.strip():
        raise InputError("there is no code", hint="Give the text of a macro or program.", code="code.empty")
    if len(text) > CODE_CHARACTERS:
        hint = f"{CODE_CHARACTERS:,} are allowed."
        raise InputError(f"the code has {len(text):,} characters", hint=hint, code="code.long")
    return {"language": language, "text": text, "name": name, "tutorial": ""}


def root_folder() -> Path | None:
    """Where ROOT is installed, None where it is not."""
    found = importlib.util.find_spec("ROOT")
    folders = list(found.submodule_search_locations or ()) if found else []
    return Path(folders[0]) if folders else None


def root_version() -> str:
    """The installed ROOT's version, such as ``"6.40.00"``; empty where there is none."""
    folder = root_folder()
    header = folder / "include" / "ROOT" / "RVersion.hxx" if folder else None
    if header is None or not header.is_file():
        return ""
    numbers = dict(re.findall(r"#define ROOT_VERSION_(MAJOR|MINOR|PATCH)\s+(\d+)", header.read_text()))
    return f"{numbers['MAJOR']}.{int(numbers['MINOR']):02d}.{int(numbers['PATCH']):02d}" if len(numbers) == 3 else "unknown"


def tutorial_path(tutorial: str) -> Path:
    """The file of a tutorial.

    Raises
    ------
    InputError
        ROOT has no such tutorial, or it is not one that can be run.
    """
    folder = root_folder()
    tutorials = folder / "tutorials" if folder else Path("/nonexistent")
    path = (tutorials.parent / tutorial).resolve()
    if tutorials.resolve() not in path.parents or path.suffix not in (".C", ".py") or not path.is_file():
        raise InputError(
            f"the installed ROOT has no tutorial {tutorial!r}", hint="Give its place, for example tutorials/hist/x.C.",
            code="code.tutorial",
        )  # fmt: skip
    return path


# --- inside the walls -----------------------------------------------------------------------------------------------------------


def main() -> int:
    """``python -m mlcore.running``: reads a request, runs it, writes what came of it. Only ever started within the sandbox."""
    asked = json.loads(sys.stdin.read())
    if not sandbox.foreign_isolation().fenced:
        raise SystemExit("code is run within the sandbox alone")
    print(json.dumps(_run_within(asked["request"], Limits(**asked["limits"]), None).to_json()))
    return 0


def _run_within(request: Mapping[str, str], limits: Limits, cancelled: Callable[[], bool] | None) -> CodeRun:
    """Run it in a child of this process, which is within the walls already."""
    version = root_version()
    if not version and (request["language"] == "cpp" or "ROOT" in request["text"]):
        return CodeRun("not_run", error="ROOT is not installed here: there is a package for Linux alone.")
    _keep_to_itself()
    scratch = Path(tempfile.mkdtemp(prefix="code-", dir="/tmp"))
    # The code may run as another user, for whom these are.
    scratch.chmod(0o777)
    for folder in (scratch.parent, Path("/dev/shm")):  # noqa: S108
        folder.chmod(0o1777)
    try:
        (scratch / "request.json").write_text(json.dumps(_prepare(request, scratch)), encoding="utf-8")
        outcome = sandbox.run(
            [sys.executable, "-P", Path(driver.__file__)],
            cwd=scratch,
            limits=limits,
            writable=[scratch],
            env={
                "MPLBACKEND": "Agg",
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONUNBUFFERED": "1",
                "MPLCONFIGDIR": str(scratch / ".mpl"),
            },
            output_bytes=OUTPUT_BYTES,
            cancelled=cancelled,
            unprivileged=True,
        )
        return _came_of(outcome, request, limits, scratch, version)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _keep_to_itself() -> None:
    """Let no other process look into this one, whose pipes lead outside: those that it starts have the same user."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _prepare(request: Mapping[str, str], scratch: Path) -> dict[str, Any]:
    """Write the code into the folder, and say what the driver is to do with it."""
    text, include = request["text"], []
    name = Path(request["name"]).name
    if request["tutorial"]:
        path = tutorial_path(request["tutorial"])
        text = path.read_text(encoding="utf-8", errors="replace")
        include = [str(path.parent)]
    if request["language"] == "python":
        name = name if name.endswith(".py") else "program.py"
        (scratch / name).write_text(text, encoding="utf-8")
        return {"language": "python", "path": name, "include": include}
    name = name if name.endswith((".C", ".cpp", ".cxx", ".cc")) else "macro.C"
    made = macros.steps(text, Path(name).stem)
    commands = []
    for number, part in enumerate(made.parts):
        where = Path(name) if len(made.parts) == 1 else Path(f"{Path(name).stem}_{number + 1}{Path(name).suffix}")
        line = f'#line {part.line} "{name}"\n'
        body = f"{line}{part.text}\n" if part.kind == "declare" else f"{{\n{line}{part.text}\n}}\n"
        (scratch / where).write_text(body, encoding="utf-8")
        commands.append(f".{'L' if part.kind == 'declare' else 'x'} {where}")
    return {"language": "cpp", "include": include, "commands": [*commands, *([f"{made.call};"] if made.call else [])]}


def _came_of(outcome: Outcome, request: Mapping[str, str], limits: Limits, scratch: Path, version: str) -> CodeRun:
    ended = (scratch / driver.ENDED).exists()
    found, left_out = collect([scratch / driver.PICTURES, scratch])
    status: Status = "failed"
    error = ""
    if outcome.reason:
        status = "timed_out" if outcome.reason in ("wall", "cpu") else "failed"
        error = _sentence(_ENDINGS[outcome.reason].format(limits))
    elif ended:
        error = _reported(outcome)
        status = "ran_with_errors" if error else "ran"
    else:
        error = _first_error(outcome, request["language"])
    return CodeRun(status, outcome.stdout, outcome.stderr, error, tuple(found), left_out, outcome.seconds, version)


def _reported(outcome: Outcome) -> str:
    """The first error that ROOT's or RooFit's message service wrote down; the code went on after it."""
    return next((line.strip() for line in f"{outcome.stderr}\n{outcome.stdout}".splitlines() if _REPORT.match(line)), "")[:500]


def _first_error(outcome: Outcome, language: str) -> str:
    """The line that says what went wrong."""
    lines = [line.strip() for line in outcome.stderr.splitlines() if line.strip()]
    if outcome.returncode < 0:
        return _sentence(f"it ended by a signal: {sandbox.signal_name(-outcome.returncode)}")
    if language == "cpp":
        told = next((line for line in lines if "error:" in line), "") or next((line for line in lines if "Error in" in line), "")
    else:
        told = next((line for line in reversed(lines) if not line.startswith(("File ", "^", "~"))), "")
    return (told or (lines[-1] if lines else f"it ended with exit code {outcome.returncode}"))[:500]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
