"""A job run here and now, without a server: the same job type in the same sandboxed child process that a worker would start."""

from __future__ import annotations

import hashlib
import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlcore.toolchain import sandbox
from portal.cli.errors import CommandError
from portal.jobs.context import receive
from portal.jobs.registry import JobType

POLL_SECONDS = 0.2
UNFINISHED = ".unfinished"
"""The folder, within that of the results, of what an interrupted run left to go on from."""
TAIL = 4000  # characters of output shown of a child that ended without a word
LIMITS = {
    "memory": "it used more memory than it may: {0.memory_bytes:,} bytes",
    "wall": "it ran longer than it may: {0.wall_seconds:g} s",
    "cpu": "it used more CPU time than it may: {0.cpu_seconds:g} s",
    "processes": "it started more processes than it may: {0.processes}",
}


@dataclass(frozen=True)
class Kept:
    """A file that the run made, where it lies now."""

    path: Path
    kind: str
    title: str
    size: int
    sha256: str


@dataclass(frozen=True)
class LocalRun:
    """How a run ended well: `result` and `manifest` are those of a job in the portal."""

    result: dict[str, Any]
    manifest: dict[str, Any]
    artifacts: tuple[Kept, ...]
    seconds: float


def run(
    job_type: JobType[Any],
    params: Mapping[str, Any],
    out: Path,
    *,
    progress: Callable[[float, str], None],
    log: Callable[[str], None],
) -> LocalRun:
    """Run a job type in its child process and put what it makes into ``out``.

    Parameters
    ----------
    params
        As on the command line: files are paths.
    out
        A folder; made where it is missing.

    Raises
    ------
    CommandError
        A file cannot be used, or the run failed; nothing is left in ``out`` then but what another run can go on from.
    """
    started = time.monotonic()
    unfinished = out / UNFINISHED
    known = {"type": job_type.slug, "params": dict(params)}
    files = {path: Path(path) for named in job_type.files_of(params).values() for path in named}
    work = Path(tempfile.mkdtemp(prefix="ml4ep-run-"))
    try:
        (work / "out").mkdir()
        kept = _kept(unfinished, known)

        def keep(item: Mapping[str, str]) -> None:
            unfinished.mkdir(parents=True, exist_ok=True)
            (unfinished / "run.json").write_text(json.dumps(known))
            partial = unfinished / ".partial"
            shutil.move(work / "out" / item["path"], partial)
            partial.replace(unfinished / Path(item["name"]).name)

        last, made = _child(job_type, params, files, work, kept, progress, log, keep)
        if "error" in last:
            raise CommandError(last["error"]["message"], hint=last["error"]["hint"])
        if "crash" in last:
            raise CommandError(
                "Something went wrong in the job type itself.",
                hint=f"Its traceback is in {_keep_crash(job_type, last['crash'])}.",
            )
        out.mkdir(parents=True, exist_ok=True)
        artifacts = tuple(_keep(work / "out", item, out) for item in made)
        shutil.rmtree(unfinished, ignore_errors=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    inputs = {path.name: _sha256(path) for path in files.values()}
    options = {name: value for name, value in params.items() if name not in job_type.file_kinds()}
    manifest = {"type": job_type.slug, "versions": last["manifest"], "options": options, "inputs": inputs}
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    return LocalRun(last["result"], manifest, artifacts, time.monotonic() - started)


def _kept(unfinished: Path, known: Mapping[str, Any]) -> dict[str, Path]:
    """What an interrupted run of the same parameters left in the folder."""
    try:
        if json.loads((unfinished / "run.json").read_text()) != json.loads(json.dumps(known)):
            return {}
    except (OSError, ValueError):
        return {}
    return {path.name: path for path in unfinished.iterdir() if path.name != "run.json" and not path.name.startswith(".")}


def _child(
    job_type: JobType[Any],
    params: Mapping[str, Any],
    files: Mapping[str, Path],
    work: Path,
    kept: Mapping[str, Path],
    progress: Callable[[float, str], None],
    log: Callable[[str], None],
    keep: Callable[[Mapping[str, str]], None],
) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Start the child and follow it to its end: its closing message, and the artefacts that it named."""
    from portal import settings

    places = {"index": settings.INDEX_DIR, "models": settings.MODELS_DIR, **settings.ENV.places}
    request = {
        "type": job_type.slug,
        "params": dict(params),
        "files": {key: str(path) for key, path in files.items()},
        "places": {name: str(path) for name, path in places.items()},
        "kept": {name: str(path.resolve()) for name, path in kept.items()},
    }
    (work / "request.json").write_text(json.dumps(request))
    access = _access(job_type, work, [*files.values(), *(path.resolve() for path in kept.values())], places, settings.DATA_DIR)
    reading, writing = os.pipe()
    try:
        process = sandbox.spawn(
            [sys.executable, "-m", "portal.jobs.child", str(work), str(writing)],
            cwd=work,
            limits=job_type.limits,
            within=sandbox.foreign_isolation() if job_type.foreign_code else None,
            writable=access.writable,
            readable=access.readable,
            hidden=access.hidden,
            env={"PYTHONPATH": str(settings.BASE_DIR), "OMP_NUM_THREADS": str(os.cpu_count() or 1), "OMP_WAIT_POLICY": "PASSIVE"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[writing],
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    with os.fdopen(reading, "rb", buffering=0) as messages:
        return _follow(process, messages, job_type, work / "out", progress, log, keep)


def _access(job_type: JobType[Any], work: Path, files: list[Path], places: Mapping[str, Path], data: Path) -> sandbox.View:
    """What the child may write and read."""
    if job_type.foreign_code:
        view = sandbox.programs_only()
        return sandbox.View((*view.hidden, data), (work, *files, *view.readable))
    return sandbox.View(
        hidden=(data,),
        readable=(*files, *(path for name, path in places.items() if name not in job_type.writable)),
        writable=(work, *(places[name] for name in job_type.writable)),
    )


def _follow(
    process: subprocess.Popen[bytes],
    messages: Any,
    job_type: JobType[Any],
    out: Path,
    progress: Callable[[float, str], None],
    log: Callable[[str], None],
    keep: Callable[[Mapping[str, str]], None],
) -> tuple[dict[str, Any], list[dict[str, str]]]:
    watch = sandbox.Watch(process, job_type.limits)
    selector = selectors.DefaultSelector()
    selector.register(messages, selectors.EVENT_READ)
    selector.register(process.stdout, selectors.EVENT_READ)  # type: ignore[arg-type]  # a pipe, as asked
    lines, output = bytearray(), ""
    artifacts: list[dict[str, str]] = []
    last: dict[str, Any] | None = None
    try:
        while selector.get_map():
            for key, _ in selector.select(POLL_SECONDS):
                data = os.read(key.fd, 1 << 16)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.fileobj is messages:
                    lines += data
                else:
                    text = data.decode(errors="replace")
                    output = (output + text)[-TAIL:]
                    log(text)
            while (end := lines.find(b"\n")) >= 0:
                message = json.loads(lines[:end])
                del lines[: end + 1]
                if "progress" in message:
                    progress(message["progress"], message["text"])
                elif "log" in message:
                    log(message["log"])
                elif "keep" in message:
                    keep(message["keep"])
                elif "show" in message:
                    continue  # plots for a page
                elif "artifact" in message:
                    made = message["artifact"]
                    artifacts.append(receive(made, out, len(artifacts)) if job_type.foreign_code else made)
                else:
                    last = message
            if reason := watch.exceeded():
                raise CommandError(f"The run was ended: {LIMITS[reason].format(job_type.limits)}.", hint="Use a smaller input.")
        process.wait(10)
    finally:
        watch.kill()
        selector.close()
        if process.stdout:
            process.stdout.close()
    if last is None:
        hint = f"It wrote: {output.strip()}" if output.strip() else ""
        raise CommandError(f"The run's process ended unexpectedly (exit code {process.returncode}).", hint=hint)
    return last, artifacts


def _keep(folder: Path, item: Mapping[str, str], out: Path) -> Kept:
    """Move an artefact to where the person wants it; refuses a path that leads out of the run's folder."""
    source = folder / item["path"]
    if source.is_symlink() or not source.is_file() or folder.resolve() not in source.resolve().parents:
        raise CommandError(f"The run named an artefact that is not a file of its own: {item['path']!r}")
    target = out / Path(item["name"]).name
    shutil.move(source, target)
    return Kept(target, item["kind"], item["title"], target.stat().st_size, _sha256(target))


def _keep_crash(job_type: JobType[Any], text: str) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=f"ml4ep-{job_type.slug}-", suffix=".txt")
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    return Path(name)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
