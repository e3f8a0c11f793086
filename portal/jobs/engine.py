"""The worker's side of one run: claim the job, start its child process in the sandbox, watch it, store what it made.

The child (`portal.jobs.child`) sends messages over a pipe; its standard output and error become the job's log. Whether the run
goes on is for the database alone to say: the heartbeat names the claim of the run, and a run without it is dropped.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import selectors
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.storage import default_storage

from mlcore.toolchain import sandbox
from portal.accounts import services as accounts
from portal.celery import stopping
from portal.jobs import registry, services
from portal.jobs.context import receive
from portal.jobs.models import Job
from portal.library.models import LibraryFile

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2
CHECK_SECONDS = 0.4
MESSAGE_LIMIT = 16 * 2**20  # bytes of one message; a result with its plots is far smaller
MOST_SHOWN = 12  # plots of a run in progress
PREVIEW_BYTES = 16_384
PREVIEW_LANGUAGES = {
    ".hpp": "cpp", ".hxx": "cpp", ".h": "c", ".cpp": "cpp", ".cxx": "cpp", ".C": "cpp", ".py": "python", ".json": "json",
    ".md": "markdown", ".txt": "text", ".cmake": "cmake", ".csv": "text", ".xml": "xml", ".yaml": "yaml",
}  # fmt: skip

LIMIT_TEXTS = {
    "memory": ("The job used more memory than it may: {memory:.1f} GB.", "Use a smaller input, or ask for a larger quota."),
    "wall": ("The job ran longer than it may: {wall:.0f} s.", "Use a smaller input, or ask for a larger quota."),
    "cpu": ("The job used more CPU time than it may: {cpu:.0f} s.", "Use a smaller input, or ask for a larger quota."),
    "processes": ("The job started more processes than it may.", "Nothing a person can set does this; tell the administrator."),
}


@dataclass
class Run:
    """What the worker knows of the run in progress."""

    job: Job
    folder: Path
    started: float = field(default_factory=time.monotonic)
    fraction: float = 0.0
    text: str = "Starting"
    steps: list[dict[str, Any]] = field(default_factory=list)
    artifacts: list[dict[str, str]] = field(default_factory=list)
    shown: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Plots of a run in progress, by title."""
    shown_changed: bool = False
    to_keep: list[dict[str, str]] = field(default_factory=list)
    """Copies of files that another run may go on from, not stored yet."""
    last: dict[str, Any] | None = None
    """The child's closing message: a result, an error or a crash."""
    log_pending: str = ""
    log_size: int = 0

    def take(self, message: dict[str, Any]) -> None:
        """Note a message of the child."""
        if "progress" in message:
            self.fraction = float(message["progress"])
            self._step(str(message["text"]))
        elif "log" in message:
            self.add_log(str(message["log"]))
        elif "show" in message:
            self.shown |= {str(plot["title"]): plot for plot in message["show"]}
            self.shown_changed = True
        elif "keep" in message:
            self.to_keep.append(message["keep"])
        elif "artifact" in message:
            self.artifacts.append(self._place(message["artifact"]))
        else:
            self.last = message

    def add_log(self, text: str) -> None:
        """Add to the log, up to its limit."""
        room = services.LOG_LIMIT - self.log_size
        if room <= 0:
            return
        kept = text[:room]
        self.log_size += len(kept)
        self.log_pending += kept + ("\n[the rest of the log is left out]\n" if len(kept) < len(text) else "")

    def _place(self, artifact: dict[str, str]) -> dict[str, str]:
        """Where an artefact lies; one of foreign code comes with its bytes, and with nothing else."""
        if not registry.get(self.job.type).foreign_code:
            return artifact
        return receive(artifact, self.folder / "out", len(self.artifacts))

    def _step(self, text: str) -> None:
        """A new text is a new step; the one before it ends."""
        if text != self.text:
            self.text = text
            self.steps.append({"text": text, "at": round(time.monotonic() - self.started, 2)})


def execute(job_id: str) -> None:
    """Run one waiting job to its end; returns at once where it does not wait any more."""
    job = services.claim(job_id, f"{socket.gethostname()}:{os.getpid()}")
    if job is None:
        return
    folder = settings.WORK_DIR / f"{job.pk}-{job.attempt}-{str(job.claim)[:8]}"
    try:
        folder.mkdir(parents=True)
        _run(job, folder)
    except Exception:
        log.exception("job %s could not be run", job.pk)
        services.fail(job, "internal", "The portal could not run this job.", _ask_administrator(job))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(job: Job, folder: Path) -> None:
    job_type = registry.get(job.type)
    limits = _limits(job, job_type)
    (folder / "out").mkdir()
    (folder / "in").mkdir()
    parts = _place_parts(job, folder)
    files, names, hashes = _place_inputs(job, job_type, folder, fetch=not parts)
    places = {name: str(path) for name, path in _places().items()}
    request = {
        "type": job.type, "params": job.params, "files": files, "names": names, "places": places,
        "parts": parts, "kept": _place_kept(job, folder),
    }  # fmt: skip
    (folder / "request.json").write_text(json.dumps(request))
    run = Run(job, folder)
    process, messages = _start(folder, limits, job_type)
    with messages:
        ending = _watch(run, process, messages, sandbox.Watch(process, limits))
    _flush(run)
    _finish(run, ending, process.returncode, limits, hashes)


def _limits(job: Job, job_type: registry.JobType[Any]) -> sandbox.Limits:
    """The job type's limits, no wider than its owner's quota."""
    network = job_type.network(job.params, _places())
    limits = replace(job_type.limits, network=network)
    if job.owner is None:
        return limits
    quota = accounts.quota(job.owner)
    return replace(
        limits,
        memory_bytes=min(limits.memory_bytes, quota.memory),
        wall_seconds=min(limits.wall_seconds, quota.seconds),
    )


def _place_inputs(
    job: Job, job_type: registry.JobType[Any], folder: Path, *, fetch: bool
) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Put the files that the parameters name where the child can read them; a job with parts needs what they made instead.

    Returns
    -------
    tuple
        Paths by id; names by id; sha256 by name, for the manifest.
    """
    paths: dict[str, str] = {}
    names: dict[str, str] = {}
    hashes: dict[str, str] = {}
    inputs = folder / "in"
    for reference in dict.fromkeys(one for named in job_type.files_of(job.params).values() for one in named):
        file = LibraryFile.objects.select_related("content").get(pk=reference)
        target = inputs / f"{len(paths)}-{file.sha256[:12]}"  # the uploader's name stays out of the file system
        if fetch:
            _fetch(file.path, target)
        paths[reference] = str(target)
        names[reference] = file.name
        # Files may have a name in common.
        hashes[file.name if hashes.get(file.name, file.sha256) == file.sha256 else f"{file.name} ({len(paths)})"] = file.sha256
    return paths, names, hashes


def _place_parts(job: Job, folder: Path) -> list[list[str]]:
    """Put what the job's parts made where the child can read it."""
    found: list[list[str]] = []
    for part in job.parts.order_by("part"):
        targets: list[str] = []
        for artifact in part.artifacts.order_by("name"):
            target = (
                folder / "in" / f"part-{len(found)}-{len(targets)}"
            )  # the child that made it named it, so that name is not used
            _fetch(artifact.path, target)
            targets.append(str(target))
        found.append(targets)
    return found


def _place_kept(job: Job, folder: Path) -> dict[str, str]:
    """Put what an earlier run kept where the child can read it: a run of this job, or of the one that it is to go on with."""
    found: dict[str, str] = {}
    for number, kept in enumerate(services.kept_of(job)):
        target = folder / "in" / f"kept-{number}"
        _fetch(kept.path, target)
        found[kept.name] = str(target)
    return found


def _fetch(stored: str, target: Path) -> None:
    """A stored file as a local one: a hard link where the storage is a local folder, a copy otherwise."""
    try:
        os.link(default_storage.path(stored), target)
    except (NotImplementedError, OSError):
        with default_storage.open(stored, "rb") as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)


def _start(folder: Path, limits: sandbox.Limits, job_type: registry.JobType[Any]) -> tuple[subprocess.Popen[bytes], Any]:
    """Start the child; returns it and the reading end of its messages."""
    reading, writing = os.pipe()
    access = _access(folder, job_type)
    try:
        process = sandbox.spawn(
            [settings.PYTHON, "-m", "portal.jobs.child", str(folder), str(writing)],
            cwd=folder,
            limits=limits,
            within=sandbox.foreign_isolation() if job_type.foreign_code else None,
            writable=access.writable,
            readable=access.readable,
            hidden=access.hidden,
            env={
                "PYTHONPATH": str(settings.BASE_DIR),
                "OMP_NUM_THREADS": str(os.cpu_count() or 1),
                "OMP_WAIT_POLICY": "PASSIVE",  # several jobs share the cores: who waits for a thread does not spin
                **(_network_variables() if limits.network else {}),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[writing],
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    return process, os.fdopen(reading, "rb", buffering=0)


def _access(folder: Path, job_type: registry.JobType[Any]) -> sandbox.View:
    """What the child may write and read of the deployment."""
    secrets = (settings.DATA_DIR, settings.BASE_DIR / ".env")
    if job_type.foreign_code:
        view = sandbox.programs_only()
        return sandbox.View((*view.hidden, *secrets), (folder, *view.readable))
    places = _places()
    return sandbox.View(
        hidden=secrets,
        # The inputs may be hard links to the library's own files, so the child must not write them.
        readable=(folder / "in", *(path for name, path in places.items() if name not in job_type.writable)),
        writable=(folder, *(places[name] for name in job_type.writable)),
    )


def _places() -> dict[str, Path]:
    """The deployment's folders that job types may see: the names of `JobType.writable`."""
    return {"index": settings.INDEX_DIR, "models": settings.MODELS_DIR, **settings.ENV.places}


def _network_variables() -> dict[str, str]:
    """How this machine reaches the network: proxies, certificates, package indexes, the model hub's mirror."""
    exact = {
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "ALL_PROXY",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "HF_ENDPOINT",
    }
    return {name: value for name, value in os.environ.items() if name.upper() in exact or name.startswith("PIP_")}


def _watch(run: Run, process: subprocess.Popen[bytes], messages: Any, watch: sandbox.Watch) -> str:
    """Read the child's messages and output until it ends.

    Returns ``""`` where it ended by itself, else why it was ended: a limit's name, ``"cancelled"``, ``"lost"`` or ``"stopping"``.
    """
    output = process.stdout
    if output is None:
        raise RuntimeError("the child's output is not a pipe")
    selector = selectors.DefaultSelector()
    selector.register(messages, selectors.EVENT_READ)
    selector.register(output, selectors.EVENT_READ)
    lines = bytearray()
    next_check = next_beat = 0.0
    ending = ""
    try:
        while selector.get_map():
            for key, _ in selector.select(POLL_SECONDS):
                data = os.read(key.fd, 1 << 16)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.fileobj is messages:
                    lines += data
                    _take_lines(run, lines)
                else:
                    run.add_log(data.decode(errors="replace"))
            now = time.monotonic()
            if now >= next_check:
                next_check = now + CHECK_SECONDS
                ending = _verdict(run, watch)
                if ending:
                    break
            if now >= next_beat:
                next_beat = now + settings.JOB_HEARTBEAT_SECONDS
                _flush(run)
            if process.poll() is not None and not selector.select(0):
                break
        else:
            ending = _wait(run, process, watch)
    finally:
        watch.kill(grace=0.0)
        output.close()
        selector.close()
    return ending


def _wait(run: Run, process: subprocess.Popen[bytes], watch: sandbox.Watch) -> str:
    """Wait for a child that has closed its pipes."""
    while True:
        try:
            process.wait(CHECK_SECONDS)
            return ""
        except subprocess.TimeoutExpired:
            if ending := _verdict(run, watch):
                return ending


def _verdict(run: Run, watch: sandbox.Watch) -> str:
    """Why the child must end now, ``""`` where it may go on."""
    if stopping.is_set():
        return "stopping"
    state = services.check(run.job)
    if not state.held:
        return "lost"
    if state.cancel:
        return "cancelled"
    return watch.exceeded()


def _take_lines(run: Run, lines: bytearray) -> None:
    while (end := lines.find(b"\n")) >= 0:
        line = bytes(lines[:end])
        del lines[: end + 1]
        run.take(json.loads(line))
    if len(lines) > MESSAGE_LIMIT:
        raise ValueError(f"a message of the job is longer than {MESSAGE_LIMIT} bytes")


def _flush(run: Run) -> None:
    """Write progress and log to the database."""
    shown = list(run.shown.values())[:MOST_SHOWN] if run.shown_changed else None
    run.shown_changed = False
    services.beat(run.job, progress=run.fraction, text=run.text, steps=run.steps, shown=shown)
    output = (run.folder / "out").resolve()
    for item in run.to_keep:
        path = _own_file(output, item["path"])
        services.keep(run.job, path, Path(item["name"]).name, item["note"])
        path.unlink()
    run.to_keep.clear()
    if run.log_pending:
        text, run.log_pending = run.log_pending, ""
        services.append_log(run.job, text)


def _finish(run: Run, ending: str, returncode: int | None, limits: sandbox.Limits, hashes: dict[str, str]) -> None:
    """Write how the run ended."""
    job, last = run.job, run.last
    if ending == "stopping":
        services.release(job)
    elif ending == "cancelled":
        services.cancelled(job)
    elif ending == "lost":
        log.warning("job %s: this run had lost its claim and was dropped", job.pk)
    elif ending:
        message, hint = LIMIT_TEXTS[ending]
        numbers = {"memory": limits.memory_bytes / 1e9, "wall": limits.wall_seconds, "cpu": limits.cpu_seconds}
        services.fail(job, f"limit.{ending}", message.format(**numbers), hint)
    elif last is None:
        services.fail(
            job, "crashed", f"The job's process ended unexpectedly ({_exit_text(returncode)}).", _ask_administrator(job)
        )
    elif "error" in last:
        services.fail(job, **last["error"])
    elif "crash" in last:
        log.error("job %s crashed:\n%s", job.pk, last["crash"])
        services.fail(job, "internal", "Something went wrong in the portal while it ran this job.", _ask_administrator(job))
    else:
        manifest = {"versions": last["manifest"], "options": job.params, "inputs": hashes, "type": job.type}
        services.succeed(job, last["result"], manifest, [_describe(run, item) for item in run.artifacts], run.steps)


def _describe(run: Run, item: dict[str, str]) -> services.NewArtifact:
    """Hash an artefact and take its preview; refuses a path that leads out of the run's folder."""
    path = _own_file((run.folder / "out").resolve(), item["path"])
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return services.NewArtifact(
        path=path,
        name=item["name"],
        kind=item["kind"],
        title=item["title"],
        size=path.stat().st_size,
        sha256=sha256,
        preview=_preview(path),
    )


def _own_file(output: Path, relative: str) -> Path:
    """A file that the child named, which has to lie in its folder itself."""
    path = output / relative
    if path.is_symlink() or not path.is_file() or output not in path.resolve().parents:
        raise ValueError(f"the job named a file that is not one of its own: {relative!r}")
    return path


def _preview(path: Path) -> dict[str, Any] | None:
    """The beginning of a text file, for the result page."""
    language = PREVIEW_LANGUAGES.get(path.suffix) or ("cmake" if path.name == "CMakeLists.txt" else None)
    if language is None:
        return None
    with path.open("rb") as file:
        data = file.read(PREVIEW_BYTES)
    text = data.decode(errors="replace")
    cut = path.stat().st_size > len(data)
    if cut:
        text = text.rsplit("\n", 1)[0]
    return {"language": language, "text": text, "cut": cut}


def _exit_text(returncode: int | None) -> str:
    """How a process ended, in words; bubblewrap reports a signal as 128 and its number."""
    number = returncode or 0
    number = -number if number < 0 else number - 128
    try:
        return f"{signal.strsignal(number)}, signal {number}" if signal.Signals(number) else ""
    except ValueError:
        return f"exit code {returncode}"


def _ask_administrator(job: Job) -> str:
    return f"The administrator finds the details in the worker's log under {job.pk}."
