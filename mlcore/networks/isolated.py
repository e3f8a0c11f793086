"""A compiled network in a child process with limits: code made of a stranger's model never runs in the caller's own.

The child lives from call to call, loses access to files and network where the sandbox can take it away, and is started anew after
a crash, a timeout or too much memory, each of which is an error of the call that it happened in.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import mlcore
from mlcore import errors
from mlcore.errors import MLCoreError, RunError
from mlcore.networks.calling import Face
from mlcore.networks.emit.cpp import Emitted
from mlcore.networks.frames import Channel, FrameError
from mlcore.networks.ir import Array
from mlcore.toolchain.sandbox import GIB, Limits, Watch, spawn

CALL_LIMITS = Limits(memory_bytes=4 * GIB, cpu_seconds=120, wall_seconds=120, processes=16)
"""Of one call."""

_LIFE_SECONDS = 10**8
_LAST_WORDS = 1000
_RAISED = {name: getattr(errors, name) for name in ("InputError", "RunError", "ToolchainError")}


@dataclass
class _Running:
    """A child that has been started."""

    process: subprocess.Popen[bytes]
    watch: Watch
    answers: int
    words: IO[bytes]
    channel: Channel
    starter: threading.Thread = field(default_factory=threading.current_thread)
    ended: bool = False

    @property
    def is_lost(self) -> bool:
        """Whether it is dead, or about to be: a child dies with the thread that started it."""
        return self.process.poll() is not None or not self.starter.is_alive()

    def end(self) -> None:
        """End it, and close everything; once."""
        if self.ended:
            return
        self.ended = True
        self.watch.kill()
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        self.process.wait()
        os.close(self.answers)
        self.words.close()


class IsolatedFunction:
    """As `mlcore.networks.calling.Function`, in a child. One call at a time.

    Parameters
    ----------
    library, emitted
        From `mlcore.networks.build.build` and the emitter.
    limits
        Memory of the child; seconds of each call.
    """

    def __init__(self, library: Path, emitted: Emitted, limits: Limits = CALL_LIMITS) -> None:
        self.emitted = emitted
        self._library = library
        self._limits = limits
        # The child lives longer than a call, so that the times of a call are kept here.
        self._life = replace(limits, cpu_seconds=_LIFE_SECONDS, wall_seconds=float(_LIFE_SECONDS))
        self._folder = Path(tempfile.mkdtemp(prefix="network-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        (self._folder / "weights").write_bytes(emitted.weights)
        self._running: _Running | None = None
        self._deadline = 0.0

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """Run once; see `mlcore.networks.calling.Native.__call__`.

        Raises
        ------
        InputError
            An input has a wrong type or shape, or the network cannot be applied to its values.
        RunError
            It crashed (code ``network.crash``), took too long (``network.timeout``) or too much memory (``network.memory``).
        """
        return self._asked({"do": "call"}, inputs)[1]

    def seconds_per_call(self, inputs: Sequence[Any], *, seconds: float = 0.5) -> float:
        """The median time of a call; see `mlcore.networks.calling.Native.seconds_per_call`."""
        return float(self._asked({"do": "time", "seconds": seconds}, inputs)[0]["seconds"])

    def profile(self, inputs: Sequence[Any], *, seconds: float = 1.0) -> Array:
        """The seconds in each node of some calls; see `mlcore.networks.calling.Native.profile`."""
        (rows,) = self._asked({"do": "profile", "seconds": seconds}, inputs)[1]
        found: Array = rows
        return found

    def close(self) -> None:
        """End the child; the next call starts another."""
        running, self._running = self._running, None
        if running is not None:
            running.end()

    def _asked(self, header: dict[str, Any], values: Sequence[Any]) -> tuple[dict[str, Any], list[Any]]:
        self._deadline = time.monotonic() + self._limits.wall_seconds
        # Where it is gone before it was asked anything, another takes its place.
        if self._running is not None and self._running.is_lost:
            self.close()
        running = self._running or self._start()
        return self._exchange(running, header, values)

    def _start(self) -> _Running:
        words = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
        answers, writing = os.pipe()
        try:
            process = spawn(
                [sys.executable, "-m", "mlcore.networks.child", str(writing)],
                cwd=self._folder,
                limits=self._life,
                readable=[self._folder, self._library],
                env={"PYTHONPATH": str(Path(mlcore.__file__).parents[1]), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=words,
                pass_fds=[writing],
            )
        except BaseException:
            os.close(answers)
            words.close()
            raise
        finally:
            os.close(writing)
        assert process.stdin is not None  # noqa: S101 - a pipe, as asked
        channel = Channel(answers, process.stdin.fileno(), most_bytes=self._limits.memory_bytes)
        running = self._running = _Running(process, Watch(process, self._life), answers, words, channel)
        weakref.finalize(self, running.end)
        face = Face.of(self.emitted).to_json()
        self._exchange(
            running, {"library": str(self._library.resolve()), "weights": str(self._folder / "weights"), "face": face}, []
        )
        return running

    def _exchange(self, running: _Running, header: dict[str, Any], values: Sequence[Any]) -> tuple[dict[str, Any], list[Any]]:
        channel = running.channel
        channel.check = lambda: self._check(running)
        try:
            channel.send(header, values)
            answer, found = channel.receive()
        except FrameError as error:
            raise self._crashed(running, error) from None
        except BaseException:
            self.close()
            raise
        finally:
            channel.check = _go_on  # what outlives this object must not hold it
        if "error" in answer:
            kind: type[MLCoreError] = _RAISED.get(answer.get("class", ""), RunError)
            raise kind(str(answer["error"]), hint=str(answer.get("hint", "")), code=str(answer.get("code", "network.run")))
        return answer, found

    def _check(self, running: _Running) -> None:
        """Give up where the child is over a limit."""
        if time.monotonic() > self._deadline:
            raise RunError(
                f"the network took longer than {self._limits.wall_seconds:g} s",
                hint="Give it fewer events in one call, or more time.",
                code="network.timeout",
            )
        reason = running.watch.exceeded()
        if reason == "memory":
            raise RunError(
                f"the network needs more memory than it may: {self._limits.memory_bytes / GIB:.3g} GiB",
                hint="Give it fewer events in one call.",
                code="network.memory",
            )
        if reason:
            raise RunError(f"the process of the network went over a limit: {reason}", code="network.limit")

    def _crashed(self, running: _Running, error: FrameError) -> RunError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.process.wait(1.0)
        code = running.process.poll()
        running.words.seek(0)
        words = running.words.read()[-_LAST_WORDS:].decode(errors="replace").strip()
        self.close()
        if code is None:
            ending = str(error)
        else:
            number = -code if code < 0 else code - 128
            known = {item.value for item in signal.Signals}
            ending = f"it was ended by {signal.Signals(number).name}" if number in known else f"it ended with status {code}"
        return RunError(
            f"the process of the network crashed: {ending}{f'; its last words: {words}' if words else ''}",
            hint="This is a defect of the generated code or a limit of this machine; please report it with the model.",
            code="network.crash",
        )


def _go_on() -> None:
    """No reason to give up."""
