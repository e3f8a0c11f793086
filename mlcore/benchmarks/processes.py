"""A child that measures one cell: started, asked, stopped while others are asked, ended."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class CellError(Exception):
    """A child that cannot go on: why, and whether it is the engine's refusal of the model."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refused = refused


class Child:
    """A process that answers each line with a line of JSON. Between questions it is stopped, so that no thread of it spins.

    Parameters
    ----------
    command
        Of which ``{answers}`` becomes the number of the file descriptor for the answers.
    environment
        Its variables.
    folder
        Its working folder.
    timeout
        Seconds that an answer may take.
    """

    def __init__(self, command: Sequence[object], environment: Mapping[str, str], folder: Path, timeout: float) -> None:
        self._timeout = timeout
        self._pending = b""
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
        self._answers, writing = os.pipe()
        try:
            self._process = subprocess.Popen(
                [str(part).replace("{answers}", str(writing)) for part in command],
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=self._words,
                stderr=self._words,
                pass_fds=[writing],
            )
        except BaseException:
            os.close(self._answers)
            self._words.close()
            raise
        finally:
            os.close(writing)
        self._stopped = False

    def first(self) -> dict[str, Any]:
        """The message that it begins with."""
        try:
            return self._answer()
        finally:
            self._stop()

    def ask(self, line: str) -> dict[str, Any]:
        """Ask, and wait for the answer.

        Raises
        ------
        CellError
            It failed, ended, or took too long.
        """
        self._go_on()
        stdin = self._process.stdin
        if stdin is None:
            raise CellError("its process was not started")
        try:
            stdin.write(f"{line}\n".encode())
            stdin.flush()
        except OSError:
            raise self._ended() from None
        try:
            return self._answer()
        finally:
            self._stop()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._words):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        with contextlib.suppress(OSError):
            os.close(self._answers)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _stop(self) -> None:
        if self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGSTOP)
            self._stopped = True

    def _go_on(self) -> None:
        if self._stopped and self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGCONT)
        self._stopped = False

    def _answer(self) -> dict[str, Any]:
        deadline = time.monotonic() + self._timeout
        while b"\n" not in self._pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._answers], [], [], left)[0]:
                raise CellError(f"it takes more than {self._timeout:g} s")
            data = os.read(self._answers, 1 << 16)
            if not data:
                raise self._ended()
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        if "failed" in message:
            raise CellError(str(message["failed"]), refused=bool(message.get("refused")))
        return message

    def _ended(self) -> CellError:
        code = self._process.wait()
        self._words.seek(0)
        last = self._words.read()[-2000:].decode(errors="replace").strip().splitlines()[-1:]
        how = signal.strsignal(-code) if code < 0 else f"status {code}"
        return CellError(f"its process ended: {' '.join([str(how), *last])}"[:300])
