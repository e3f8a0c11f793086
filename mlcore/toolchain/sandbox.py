"""The sandbox: a child process for foreign code and foreign files, limited in memory, time, files and network.

Every child starts through `launcher`, which sets resource limits and ties it to its parent. Where bubblewrap works it also gets
namespaces of its own: a read-only view of the files, a private ``/tmp``, its own processes and no network.
`isolation` says which of the two holds on this machine; `docs/reference/sandbox.md` says what each keeps out.

Examples
--------
>>> from pathlib import Path
>>> outcome = run(["/bin/sh", "-c", "echo hello"], cwd=Path("/"), limits=Limits(wall_seconds=10))
>>> outcome.stdout
'hello\\n'
"""

from __future__ import annotations

import functools
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Literal

from mlcore.toolchain import filters
from mlcore.toolchain.processes import Watch, kill_tree

__all__ = [
    "RLIMITS",
    "Isolation",
    "Limits",
    "Outcome",
    "View",
    "Watch",
    "foreign_isolation",
    "isolation",
    "kill_tree",
    "programs_only",
    "run",
    "signal_name",
    "spawn",
]

GIB = 1024**3
MARK = "ML4EP_SANDBOXED"
LAUNCHER = Path(__file__).with_name("launcher.py")
PROJECT = Path(__file__).resolve().parents[2]

# Masked by empty directories: other people's files and the sockets of the machine's services. What the child needs from
# beneath them (the interpreter, this project, what the caller names) is put back, read-only.
MASKED = (Path("/tmp"), Path("/var/tmp"), Path("/run"))  # noqa: S108 - masked, not used
CREDENTIALS = (".ssh", ".aws", ".azure", ".config", ".docker", ".globus", ".gnupg", ".kube", ".netrc", ".pgpass")
# Names are resolved through these where the network is allowed; NixOS keeps its programs and drivers in the other two.
RESOLVER = (Path("/run/systemd/resolve"), Path("/run/resolvconf"), Path("/run/nscd"))
ALWAYS_IN_RUN = (Path("/run/current-system"), Path("/run/opengl-driver"))
# What code of strangers gets to see: programs and libraries, and of /etc what these look up.
PROGRAM_FOLDERS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "opt", "nix", "gnu", "dev", "proc")
NAMESPACES = ("--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try", "--die-with-parent", "--new-session")
CAP_SETUID = 7
USERS = (61184, 64999)  # numbers that no person has; one of them by chance is what unprivileged code of root runs as
NOT_AS_ROOT = "Root's processes cannot be counted here, so code of strangers is not run: start the portal as an ordinary user."
LOOKED_UP = ("alternatives", "fonts", "group", "hosts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "nsswitch.conf", "passwd")

Stream = int | IO[bytes] | None


@dataclass(frozen=True)
class Limits:
    """What a child may use.

    Attributes
    ----------
    memory_bytes
        Resident memory of the whole process tree, kept by `Watch` (which `run` uses). The address space of each process is
        limited too, generously (`address_space`), since numerical libraries reserve far more than they touch.
    cpu_seconds
        CPU time of each process by the kernel, of the whole tree by `Watch`.
    wall_seconds
        Time from start to end, kept by `Watch`.
    file_bytes
        Size of each file written.
    processes
        Processes of the tree, kept by `Watch`; the kernel's own limit counts threads, and does not bind root.
    open_files
        Open files of each process.
    network
        Whether the child may use the network; cut only inside bubblewrap.
    """

    memory_bytes: int = 4 * GIB
    cpu_seconds: int = 600
    wall_seconds: float = 900
    file_bytes: int = 4 * GIB
    processes: int = 256
    open_files: int = 1024
    network: bool = False

    def __post_init__(self) -> None:
        for name in ("memory_bytes", "cpu_seconds", "wall_seconds", "file_bytes", "processes", "open_files"):
            if getattr(self, name) <= 0:
                raise ValueError(f"the limit {name} is {getattr(self, name)}; it must be positive")

    @property
    def address_space(self) -> int:
        """Bytes of address space of each process: twice the memory, and room for each core's thread stacks and heaps."""
        return 2 * self.memory_bytes + 4 * GIB + (os.cpu_count() or 1) * GIB // 8


@dataclass(frozen=True)
class Outcome:
    """How a child ended.

    Attributes
    ----------
    returncode
        As the program gave it; negative for a signal, also inside bubblewrap.
    stdout, stderr
        What it wrote, decoded; the middle is left out where it is longer than asked for.
    seconds
        Wall time.
    reason
        ``""`` when it ended by itself, else the limit that ended it: ``"memory"``, ``"cpu"``, ``"wall"``, ``"processes"``
        or ``"cancelled"``.
    """

    returncode: int
    stdout: str
    stderr: str
    seconds: float
    reason: str


@dataclass(frozen=True)
class Isolation:
    """What keeps a child in: its name, a sentence for the status page, and bubblewrap's command line up to its mounts.

    ``fenced`` is whether there are walls around the child, these or those that this process lives within: code of strangers is
    run nowhere else.
    """

    name: Literal["bubblewrap", "rlimits"]
    detail: str
    command: tuple[str, ...] = ()
    fenced: bool = False


@dataclass(frozen=True)
class View:
    """What a child sees: the `hidden`, `readable` and `writable` of `spawn`."""

    hidden: tuple[Path, ...]
    readable: tuple[Path, ...]
    writable: tuple[Path, ...] = ()


RLIMITS = Isolation("rlimits", "Resource limits only: files and network are not cut off.")


def isolation() -> Isolation:
    """The strongest isolation that works here; found out once, by really running bubblewrap."""
    return _probe(os.environ.get(MARK, ""))


def programs_only() -> View:
    """The view for code of strangers: programs and libraries, nobody's files, nothing of the machine's configuration.

    What stays visible wherever it lies (the interpreter, this project) still does.
    """
    hidden = [path for path in sorted(Path("/").iterdir()) if path.name not in PROGRAM_FOLDERS and not path.is_symlink()]
    private = [PROJECT / ".git", PROJECT / ".env"]
    return View((*hidden, *private), tuple(Path("/etc") / name for name in LOOKED_UP))


def foreign_isolation() -> Isolation:
    """The isolation that code of strangers is run in; where it is not ``fenced`` there is none, and it must not be run.

    The kernel counts no processes of root, and whoever forks fast enough takes the machine before a watch can look. So root's
    sandbox keeps the right to become somebody else, which `spawn` does with ``unprivileged``; an ordinary user's needs none.
    """
    found = isolation()
    if os.getuid() != 0 or not found.fenced:
        return found
    if found.name == "bubblewrap":
        return _probe_as_root()
    return found if _may_change_user() else replace(found, fenced=False, detail=NOT_AS_ROOT)


def _may_change_user() -> bool:
    """Whether this process has the capability to become another user."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return False
    held = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0)
    return bool(held >> CAP_SETUID & 1)


@functools.cache
def _probe_as_root() -> Isolation:
    """Bubblewrap without a user namespace, in which root may become another user."""
    kept = [part for name in ("SETUID", "SETGID", "KILL") for part in ("--cap-add", f"CAP_{name}")]
    command = (shutil.which("bwrap") or "bwrap", *NAMESPACES, "--cap-drop", "ALL", *kept)
    become = "import os; os.setgroups([]); os.setresgid(*[61184] * 3); os.setresuid(*[61184] * 3)"
    if _complaint(command, (sys.executable, "-I", "-S", "-c", become)):
        return replace(RLIMITS, detail=NOT_AS_ROOT)
    return replace(isolation(), command=command)


@functools.cache
def _probe(around: str) -> Isolation:
    if around:
        detail = "Resource limits within the sandbox that this process runs in."
        return Isolation("rlimits", detail, fenced=around == "bubblewrap" and _first_process() == "bwrap")
    program = shutil.which("bwrap")
    if program is None:
        return Isolation("rlimits", f"{RLIMITS.detail} Install bubblewrap (the program bwrap) for full isolation.")
    complaint = ""
    # A user namespace of its own, with no further ones inside, is the stronger form; some containers refuse it to root.
    for user in (("--unshare-user", "--disable-userns"), ()):
        command = (program, *user, *NAMESPACES, "--cap-drop", "ALL")
        said = _complaint(command, ("/bin/sh", "-c", ":"))
        if not said:
            detail = "bubblewrap: read-only files, own processes, private /tmp, no network unless a job needs it."
            return Isolation("bubblewrap", detail, command, fenced=True)
        complaint = complaint or said
    return Isolation("rlimits", f"{RLIMITS.detail} bubblewrap is installed and does not work here: {complaint}")


def _complaint(command: Sequence[str], program: Sequence[str]) -> str:
    """What bubblewrap says when it is tried with a program; empty where that works."""
    trial = [*command, "--unshare-net", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--", *program]
    try:
        result = subprocess.run(trial, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if result.returncode == 0:
        return ""
    return result.stderr.decode(errors="replace").strip()[-200:] or f"exit code {result.returncode}"


def _first_process() -> str:
    """The program of process 1: inside bubblewrap that is bubblewrap, whatever a variable says."""
    try:
        return Path("/proc/1/comm").read_text().strip()
    except OSError:
        return ""


def spawn(
    argv: Sequence[str | Path],
    *,
    cwd: Path,
    limits: Limits,
    writable: Iterable[Path] = (),
    readable: Iterable[Path] = (),
    hidden: Iterable[Path] = (),
    devices: Iterable[Path] = (),
    env: Mapping[str, str] | None = None,
    stdin: Stream = subprocess.DEVNULL,
    stdout: Stream = None,
    stderr: Stream = None,
    pass_fds: Sequence[int] = (),
    within: Isolation | None = None,
    unprivileged: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a program in the sandbox and return at once.

    The child dies with the *thread* that calls this, as Linux has it: call from one that lives as long as the child may.
    The kernel's limits hold by themselves; those of the tree (memory, wall time, processes) need a `Watch` that is asked
    now and then.

    Parameters
    ----------
    argv
        The program and its arguments; never seen by a shell.
    cwd
        The working folder, also HOME. It is read-only unless it lies in `writable`.
    limits
        What the child may use.
    writable
        Existing files or folders that it may change.
    readable
        Files or folders beneath ``/tmp``, ``/var/tmp``, ``/run`` or `hidden` that it must see nevertheless.
    hidden
        Files or folders that it must not see; of two nested paths the inner one's rule holds.
    devices
        Device files to hand in, for example ``/dev/nvidia0``; with any, the address space stays unlimited, as CUDA reserves
        the machine's whole.
    env
        Variables beyond the small environment that every child gets: PATH, HOME, LANG and TMPDIR.
    stdin, stdout, stderr, pass_fds
        As in `subprocess.Popen`.
    within
        The isolation to use instead of `isolation`: `foreign_isolation`, or another one for tests.
    unprivileged
        For code of strangers, started within the walls: system calls that it has no need of are refused, and root's child becomes
        another user, whom the kernel's limits bind. It must be able to read what it needs.

    Raises
    ------
    ValueError
        `argv` is empty, or `cwd` or a `writable` path does not exist.
    """
    if not argv:
        raise ValueError("there is no program to run")
    cwd = cwd.resolve()
    writable = [path.resolve() for path in writable]
    for path in (cwd, *writable):
        if not os.path.exists(path):  # noqa: PTH110 - Path.exists raises for a path beneath a closed folder
            raise ValueError(f"{path} does not exist or is closed to this user; make it before the child starts")
    within = isolation() if within is None else within
    if unprivileged and within.name == "bubblewrap":
        raise ValueError("bubblewrap needs what an unprivileged child may not do; start that one within it")
    devices = list(devices)
    temporary = cwd
    prefix: list[str] = []
    if within.name == "bubblewrap":
        mounts = _mounts(cwd, limits, writable, readable, hidden, devices, for_others="--cap-add" in within.command)
        prefix = [*within.command, *mounts, "--chdir", str(cwd), "--"]
        temporary = Path("/tmp")  # noqa: S108 - private to the child
    environment = {
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin")),
        "HOME": str(cwd),
        "LANG": "C.UTF-8",
        "TMPDIR": str(temporary),
        MARK: _walls(within),
        **(env or {}),
    }
    settings = [
        f"CPU={int(limits.cpu_seconds)}",
        f"FSIZE={limits.file_bytes}",
        f"NOFILE={limits.open_files}",
        f"TASKS={limits.processes + 8 * (os.cpu_count() or 1)}",
        "CORE=0",
    ]
    if unprivileged and (refused := filters.for_strangers()):
        settings.append(f"FILTER={refused.hex()}")
    if unprivileged and os.getuid() == 0:
        settings.append(f"USER={random.randint(*USERS)}")  # noqa: S311 - two with the same number share a limit, no more
    if not devices:
        settings.append(f"AS={limits.address_space}")
    launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), *settings, "--"]
    return subprocess.Popen(
        [*launcher, *prefix, *map(str, argv)],
        cwd=cwd,
        env=environment,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=pass_fds,
        start_new_session=True,
    )


def _walls(within: Isolation) -> str:
    """What a child is told of the walls around it, which may be those around this process."""
    return "bubblewrap" if within.fenced else "rlimits"


def _mounts(
    cwd: Path,
    limits: Limits,
    writable: Iterable[Path],
    readable: Iterable[Path],
    hidden: Iterable[Path],
    devices: Iterable[Path],
    *,
    for_others: bool = False,
) -> list[str]:
    """Bubblewrap's arguments for what the child sees; ``for_others``: and what another user within sees."""
    rules = {Path("/"): "read"}
    rules.update((path.resolve(), "hide") for path in (*MASKED, *_credentials()))
    rules.update((path.resolve(), "hide") for path in hidden)
    interpreter = {Path(name) for name in (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix)}
    needed = {*interpreter, PROJECT, *ALWAYS_IN_RUN, *(RESOLVER if limits.network else ())}
    _put_back(rules, {path for each in needed for path in (each, each.resolve())})
    rules.update((path.resolve(), "read") for path in readable)
    rules.update((path, "write") for path in writable)
    _put_back(rules, [cwd])

    size = min(limits.memory_bytes // 2, limits.file_bytes)
    arguments = [] if limits.network else ["--unshare-net"]
    masks = []
    # From the outside in, so that an inner rule is laid over an outer one.
    for path, rule in sorted(rules.items(), key=lambda item: len(item[0].parts)):
        if for_others and path.parent not in rules and os.path.exists(path):  # noqa: PTH110 - as below
            # Bubblewrap makes the folders that lead to what is shown beneath a mask for its own user alone.
            for parent in reversed([each for each in path.parents if rules[_outer(rules, each)] == "hide" and each not in rules]):
                arguments += ["--perms", "0755", "--dir", str(parent)]
        if rule == "write":
            arguments += ["--bind", str(path), str(path)]
        elif not os.path.exists(path):  # noqa: PTH110 - Path.exists raises for a path beneath a closed folder
            continue
        elif rule == "read":
            arguments += ["--ro-bind", str(path), str(path)]
        elif not path.is_dir():
            arguments += ["--dev-bind", "/dev/null", str(path)]
        else:
            arguments += ["--size", str(size), "--tmpfs", str(path)]
            masks.append(path)
    arguments += ["--proc", "/proc", "--dev", "/dev", "--size", str(size), "--tmpfs", "/dev/shm"]  # noqa: S108
    for device in devices:
        arguments += ["--dev-bind-try", str(device), str(device)]
    # Masks become read-only last, after the mount points inside them are made; the first one is the child's own /tmp.
    for path in [Path("/dev"), *masks]:
        if path != MASKED[0]:
            arguments += ["--remount-ro", str(path)]
    return arguments


def _credentials() -> list[Path]:
    try:
        home = Path.home()
    except RuntimeError:  # a user without an entry in the system's list, as containers like them
        return []
    return [home / name for name in CREDENTIALS]


def _put_back(rules: dict[Path, str], paths: Iterable[Path]) -> None:
    """Show those paths, read-only, that a mask covers; a rule for what is visible anyway might undo one further out."""
    for path in sorted(paths):
        if rules[_outer(rules, path)] == "hide":
            rules[path] = "read"


def _outer(rules: Mapping[Path, str], path: Path) -> Path:
    """The path whose rule holds for another one."""
    return next(parent for parent in (path, *path.parents) if parent in rules)


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path,
    limits: Limits,
    writable: Iterable[Path] = (),
    readable: Iterable[Path] = (),
    hidden: Iterable[Path] = (),
    devices: Iterable[Path] = (),
    env: Mapping[str, str] | None = None,
    input: bytes | None = None,  # noqa: A002 - as in subprocess.run
    cancelled: Callable[[], bool] | None = None,
    output_bytes: int = 1024**2,
    within: Isolation | None = None,
    unprivileged: bool = False,
) -> Outcome:
    """Run a program in the sandbox to its end, or to that of its limits.

    Parameters
    ----------
    argv, cwd, limits, writable, readable, hidden, devices, env, within, unprivileged
        As for `spawn`.
    input
        Bytes for its standard input.
    cancelled
        Asked several times a second; True ends the whole process tree.
    output_bytes
        How much of each of standard output and error is kept: the first half and the last.

    Raises
    ------
    ValueError
        As for `spawn`.
    """
    within = isolation() if within is None else within
    start = time.monotonic()
    process = spawn(
        argv,
        cwd=cwd,
        limits=limits,
        writable=writable,
        readable=readable,
        hidden=hidden,
        devices=devices,
        env=env,
        stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        within=within,
        unprivileged=unprivileged,
    )
    captures = [_Capture(stream, output_bytes) for stream in (process.stdout, process.stderr) if stream is not None]
    threads = [threading.Thread(target=capture.drain, daemon=True) for capture in captures]
    if input is not None and process.stdin is not None:
        threads.append(threading.Thread(target=_feed, args=(process.stdin, input), daemon=True))
    for thread in threads:
        thread.start()
    watch = Watch(process, limits)
    reason = ""
    try:
        pause = 0.01
        while process.poll() is None and not reason:
            try:
                process.wait(pause)
            except subprocess.TimeoutExpired:
                reason = "cancelled" if cancelled is not None and cancelled() else watch.exceeded()
            pause = min(2 * pause, 0.1)
    finally:
        watch.kill()
        for thread in threads:
            thread.join(2)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None and not any(thread.is_alive() for thread in threads):
                stream.close()
    code = process.wait()
    if within.name == "bubblewrap" and code > 128 and code - 128 in set(signal.Signals):
        code = 128 - code
    if code == -signal.SIGXCPU:
        reason = reason or "cpu"
    stdout, stderr = (capture.text() for capture in captures)
    return Outcome(code, stdout, stderr, time.monotonic() - start, reason)


def signal_name(number: int) -> str:
    """What a signal is called, for people."""
    return signal.strsignal(number) or f"signal {number}"


def _feed(stream: IO[bytes], data: bytes) -> None:
    """Write a child's input; it may well end before it has read all of it."""
    try:
        with stream:
            stream.write(data)
    except (BrokenPipeError, ValueError):
        return


class _Capture:
    """The first and the last of what a child writes, however much that is."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self.stream = stream
        self.half = max(1, size // 2)
        self.head = bytearray()
        self.tail = bytearray()
        self.lost = 0

    def drain(self) -> None:
        while chunk := os.read(self.stream.fileno(), 65536):
            room = self.half - len(self.head)
            self.head += chunk[:room]
            self.tail += chunk[room:]
            excess = len(self.tail) - self.half
            if excess > 0:
                del self.tail[:excess]
                self.lost += excess

    def text(self) -> str:
        gap = f"\n[{self.lost} bytes left out]\n".encode() if self.lost else b""
        return bytes(self.head + gap + self.tail).decode(errors="replace")
