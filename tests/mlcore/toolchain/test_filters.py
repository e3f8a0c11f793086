"""The filter of system calls: well formed for each processor, installed by the launcher, and refusing what it says."""

from __future__ import annotations

import os
import platform
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from mlcore.toolchain import filters
from mlcore.toolchain.sandbox import LAUNCHER, RLIMITS, Isolation, Limits, run, spawn


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_way_through_the_filter_ends(machine: str) -> None:
    program = [struct.unpack("=HBBI", part) for part in struct.iter_unpack("8s", filters.for_strangers(machine)) for part in part]
    returns = 0x06
    for place, (code, if_true, if_false, _) in enumerate(program):
        if code == returns:
            continue
        nexts = (place + 1 + if_true, place + 1 + if_false) if code & 0x07 == 0x05 else (place + 1,)
        assert all(one < len(program) for one in nexts), place
    assert program[-1][0] == returns
    assert len(program) < 4096


def test_other_processors_have_none() -> None:
    assert filters.for_strangers("riscv64") == b""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="there is a filter for these two alone")
@pytest.mark.parametrize("refused", [False, True])
def test_calls_are_refused_and_threads_and_children_are_not(refused: bool, tmp_path: Path) -> None:
    """Without the filter a namespace can be made here, or the test says that it cannot tell."""
    script = """
import ctypes, subprocess, sys, threading
thread = threading.Thread(target=print, args=("thread",)); thread.start(); thread.join()
sys.stdout.flush()
subprocess.run(["echo", "child"], check=True)
libc = ctypes.CDLL(None, use_errno=True)
print(libc.unshare(0x10000000), ctypes.get_errno())
"""
    settings = [f"FILTER={filters.for_strangers().hex()}"] if refused else []
    argv = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), *settings, "--", sys.executable, "-c", script]
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    lines = result.stdout.splitlines()
    assert lines[:2] == ["thread", "child"], result.stderr
    if refused:
        assert lines[2] == "-1 1"
    elif lines[2] != "0 0":
        pytest.skip(f"this machine makes no user namespaces anyway: {lines[2]}")


def test_an_unprivileged_child_is_started_within_the_walls(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="within it"):
        spawn(["/bin/true"], cwd=tmp_path, limits=Limits(), within=Isolation("bubblewrap", "", ("bwrap",)), unprivileged=True)


def test_roots_child_becomes_somebody_else(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root")
    tmp_path.chmod(0o777)
    script = ["/bin/sh", "-c", "id -u; id -G; grep CapEff /proc/self/status"]
    outcome = run(script, cwd=Path("/"), limits=Limits(), within=RLIMITS, unprivileged=True)
    user, groups, _, capabilities = outcome.stdout.split()
    assert 61184 <= int(user) <= 64999, outcome.stderr
    assert groups == user
    assert int(capabilities, 16) == 0
