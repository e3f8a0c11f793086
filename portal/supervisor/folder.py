"""The data folder as one portal's own: its lock, and what an earlier run left behind."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import psutil

MARK = "SUPERVISOR_SERVER_URL"
"""Set by supervisord in the environment of everything it starts: the address of its control socket, which lies in our folder."""

GRACE_SECONDS = 8.0


class StartError(Exception):
    """A reason why the portal cannot start; the message names it and says what to do."""


def lock(path: Path, address: str) -> IO[str]:
    """Take the folder for this process; held until the returned file is closed or the process ends, however it ends.

    Raises
    ------
    StartError
        Another process holds it; the message names the address of that portal.
    """
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        running = _read(file.read())
        file.close()
        raise StartError(
            f"a portal runs on this folder already, at {running.get('address', 'an unknown address')} "
            f"(process {running.get('pid', 'unknown')}, folder {path.parent.parent}).\n"
            "  Use that one, stop it with Ctrl-C, or give this one a folder of its own: ML4EP_DATA_DIR=/another/folder"
        ) from None
    file.truncate(0)
    file.write(json.dumps({"pid": os.getpid(), "address": address}))
    file.flush()
    return file


def _read(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def check_port(host: str, port: int) -> None:
    """Raise StartError where the port cannot be listened on."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
            trial.listen(1)
        except OSError as error:
            why = "is taken by another program" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
            raise StartError(f"port {port} on {host} {why}.\n  Choose another one: make run PORT={port + 1}") from error


def end_leftovers(control: Path, files: list[Path]) -> int:
    """End what an earlier, killed portal of this folder left running, and remove its sockets. Returns how many processes.

    Call with the lock held: whatever still carries this folder's mark then belongs to nobody.
    """
    left = _leftovers(control)
    for process in left:
        _quietly(process.terminate)
    if left:
        _, alive = psutil.wait_procs(left, timeout=GRACE_SECONDS)
        for process in alive:
            _quietly(process.kill)
        psutil.wait_procs(alive, timeout=2)
    deadline = time.monotonic() + 2
    while (late := _leftovers(control)) and time.monotonic() < deadline:
        for process in late:
            _quietly(process.kill)
        time.sleep(0.05)
    for file in (control, *files):
        file.unlink(missing_ok=True)
    return len(left)


def _leftovers(control: Path) -> list[psutil.Process]:
    """Processes of this folder's supervisor: itself, and all whose environment names its socket."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid():
                continue
            if process.environ().get(MARK, "") == f"unix://{control}" or _is_supervisor(process, control):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def _is_supervisor(process: psutil.Process, control: Path) -> bool:
    return str(control.with_suffix(".conf")) in process.cmdline()


def _quietly(action: Callable[[], Any]) -> None:
    with contextlib.suppress(psutil.Error):
        action()
