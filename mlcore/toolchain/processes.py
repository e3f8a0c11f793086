"""Process trees: what one uses, and how it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from mlcore.toolchain.sandbox import Limits

# A process may end, or not be ours to look at, between being listed and being asked.
GONE = (psutil.NoSuchProcess, psutil.AccessDenied)
SUPERVISOR = "bwrap"


class Watch:
    """Keeps the limits of a process tree that the kernel does not keep: memory, CPU time, wall time and process number.

    Ask `exceeded` several times a second; end the tree by `kill`.

    Parameters
    ----------
    process
        The child, as `mlcore.toolchain.sandbox.spawn` returned it.
    limits
        What its tree may use.
    """

    def __init__(self, process: subprocess.Popen[bytes], limits: Limits) -> None:
        self.process = process
        self.limits = limits
        self.start = time.monotonic()
        self.seen: dict[int, psutil.Process] = {}
        self.spent: dict[int, float] = {}

    def exceeded(self) -> str:
        """The limit that the tree is over: ``"wall"``, ``"processes"``, ``"cpu"``, ``"memory"``, or ``""``."""
        tree = process_tree(self.process)
        self.seen.update((member.pid, member) for member in tree)
        for member in tree:
            with contextlib.suppress(*GONE):
                times = member.cpu_times()
                self.spent[member.pid] = times.user + times.system
        if time.monotonic() - self.start > self.limits.wall_seconds:
            return "wall"
        if len(tree) > self.limits.processes:
            return "processes"
        if sum(self.spent.values()) > self.limits.cpu_seconds:
            return "cpu"
        # Resident sets count shared pages once for each process: cheap, and too much. Only when they say that
        # the limit is passed is the exact and costly number asked for.
        if resident_bytes(tree) > self.limits.memory_bytes and proportional_bytes(tree) > self.limits.memory_bytes:
            return "memory"
        return ""

    def kill(self, grace: float = 0.0) -> None:
        """End the tree, with all that was ever seen in it."""
        kill_tree(self.process, grace, also=self.seen.values())


def kill_tree(process: subprocess.Popen[bytes], grace: float = 0.5, *, also: Iterable[psutil.Process] = ()) -> None:
    """End a child with everything that it started: SIGTERM, `grace` seconds to tidy up, then SIGKILL.

    Also ends what is left of a child that has ended already. Returns when all is gone, normally at once and after two
    seconds at the latest.
    """
    members = [*process_tree(process), *(member for member in also if member.is_running())]
    # Bubblewrap's own processes would take the others along at once, so that none could tidy up; they leave when those have.
    workers = [member for member in members if _name(member) != SUPERVISOR]
    if grace > 0 and workers:
        _signal(workers, signal.SIGTERM)
        psutil.wait_procs(workers, timeout=grace)
    deadline = time.monotonic() + max(0.5, 1.8 - grace)
    while True:
        # Listed anew in each round: a tree that forks faster than it is read loses the race in the end.
        members = [*process_tree(process), *(member for member in members if _alive(member))]
        if not members or time.monotonic() > deadline:
            break
        _signal(members, signal.SIGKILL)
        process.poll()
        psutil.wait_procs(members, timeout=0.05)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(0.2)


def process_tree(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """A child, its descendants, and whatever else lives in the session that it leads, zombies left out."""
    leader = process.pid
    found: dict[int, psutil.Process] = {}
    if process.poll() is None:
        with contextlib.suppress(*GONE):
            root = psutil.Process(leader)
            found[leader] = root
            found.update((child.pid, child) for child in root.children(recursive=True))
    elif psutil.pid_exists(leader):
        return []  # the number is another process's by now; while its session had members it could not be given away
    for other in psutil.pids():
        if other not in found:
            with contextlib.suppress(OSError, *GONE):
                if os.getsid(other) == leader:
                    found[other] = psutil.Process(other)
    return [member for member in found.values() if _alive(member)]


def resident_bytes(tree: Iterable[psutil.Process]) -> int:
    """The sum of the resident sets, pages that processes share counted for each."""
    total = 0
    for member in tree:
        with contextlib.suppress(*GONE):
            total += member.memory_info().rss
    return total


def proportional_bytes(tree: Iterable[psutil.Process]) -> int:
    """The memory of a tree, each shared page counted once; resident sets where the kernel does not tell."""
    total = 0
    for member in tree:
        try:
            total += member.memory_footprint().pss if hasattr(member, "memory_footprint") else member.memory_full_info().pss
        except psutil.AccessDenied:
            total += resident_bytes([member])
        except psutil.NoSuchProcess:
            continue
    return total


def _alive(member: psutil.Process) -> bool:
    try:
        return member.is_running() and member.status() != psutil.STATUS_ZOMBIE
    except GONE:
        return False


def _name(member: psutil.Process) -> str:
    try:
        return str(member.name())
    except GONE:
        return ""


def _signal(members: Iterable[psutil.Process], number: int) -> None:
    for member in members:
        with contextlib.suppress(*GONE):
            member.send_signal(number)
