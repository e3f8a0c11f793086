"""The first thing that runs in a sandboxed child: sets its limits, ties it to its parent, becomes the program.

Run as ``python -I -S launcher.py PARENT NAME=VALUE... -- PROGRAM ARGUMENT...`` by `mlcore.toolchain.sandbox`. It uses the
standard library alone and imports little, for it stands in front of every child. A ``preexec_fn`` could do the same with
less, but runs Python between fork and exec, which deadlocks in a process with threads.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import struct
import sys

PR_SET_PDEATHSIG = 1
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2
PR_SET_CHILD_SUBREAPER = 36
EXIT_REFUSED = 126  # the shell's number for a program that is there and cannot be run
EXIT_NOT_FOUND = 127


def main(arguments: list[str]) -> int:
    """Set the limits, then become the program; returns only when that fails."""
    split = arguments.index("--")
    parent, settings, program = int(arguments[0]), arguments[1:split], arguments[split + 1 :]
    try:
        values = {name: value for name, _, value in (setting.partition("=") for setting in settings)}
        if user := values.pop("USER", ""):
            become(int(user))
        tie_to_parent(parent)  # a change of user unties
        refused_calls = bytes.fromhex(values.pop("FILTER", ""))
        for name, value in values.items():
            limit(name, int(value))
        if refused_calls:
            refuse_calls(refused_calls)
    except (OSError, ValueError) as error:
        print(f"sandbox: cannot set the limits: {error}", file=sys.stderr)
        return EXIT_REFUSED
    # Python ignores these two; a program expects to be ended by them, as from a shell.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(program[0], program, os.environ)  # noqa: S606 - becoming the program is the purpose
    except FileNotFoundError:
        print(f"sandbox: no program {program[0]!r}", file=sys.stderr)
        return EXIT_NOT_FOUND
    except OSError as error:
        print(f"sandbox: cannot run {program[0]!r}: {error.strerror}", file=sys.stderr)
        return EXIT_REFUSED


def become(user: int) -> None:
    """Turn from root into another user for good, with none of root's groups and capabilities."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def refuse_calls(program: bytes) -> None:
    """Install a filter of system calls, for this process and all that come from it."""
    libc = ctypes.CDLL(None, use_errno=True)
    steps = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(steps))
    for option, mode, argument in ((PR_SET_NO_NEW_PRIVS, 1, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header)):
        if libc.prctl(option, mode, argument, 0, 0) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))


def tie_to_parent(parent: int) -> None:
    """Die when the parent dies, and adopt what descendants leave behind, so that the tree stays one tree."""
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((PR_SET_PDEATHSIG, signal.SIGKILL), (PR_SET_CHILD_SUBREAPER, 1)):
        if libc.prctl(option, int(value), 0, 0, 0) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
    if os.getppid() != parent:  # it died before the signal was armed
        os.kill(os.getpid(), signal.SIGKILL)


def limit(name: str, value: int) -> None:
    """Set one resource limit, never above the hard limit that is there already."""
    if name == "TASKS":
        name, value = "NPROC", value + tasks_of_user(os.getuid())
    kind = getattr(resource, f"RLIMIT_{name}", None)
    if kind is None:
        return
    _, ceiling = resource.getrlimit(kind)
    # One second of CPU time lies between SIGXCPU, which can be told apart, and SIGKILL, which cannot be ignored.
    hard = value + 1 if name == "CPU" else value
    if ceiling != resource.RLIM_INFINITY:
        value, hard = min(value, ceiling), min(hard, ceiling)
    resource.setrlimit(kind, (value, hard))


def tasks_of_user(uid: int) -> int:
    """The threads that a user runs now: RLIMIT_NPROC counts these, over all processes."""
    tasks = 0
    for entry in os.scandir("/proc") if os.path.isdir("/proc") else ():  # noqa: PTH112 - pathlib is slow to import
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if entry.stat().st_uid == uid:
                    tasks += len(os.listdir(f"/proc/{entry.name}/task"))  # noqa: PTH208 - as above
    return tasks


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
