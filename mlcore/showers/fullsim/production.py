"""Simulation in shards by several processes; what a run made before it ended is kept, and another goes on from there."""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlcore import errors
from mlcore.errors import InputError, MLCoreError, ToolchainError
from mlcore.showers.dataset import ShowerFile
from mlcore.showers.fullsim.engine import installed_data
from mlcore.showers.fullsim.plan import Plan
from mlcore.showers.fullsim.worker import shard_path

POLL_SECONDS = 0.5
TAIL = 2000
MOST_PROCESSES = 256


@dataclass(frozen=True)
class Produced:
    """What a production left.

    Attributes
    ----------
    made
        Showers simulated now; those of before are not among them.
    cpu_seconds
        Used for them.
    """

    paths: tuple[Path, ...]
    made: int
    cpu_seconds: float


def produce(
    plan: Plan,
    folder: Path,
    *,
    processes: int = 1,
    data: Path | None = None,
    only: Sequence[int] | None = None,
    progress: Callable[[float, str], None] = lambda _part, _what: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Produced:
    """Simulate the shards of a plan that a folder does not have yet.

    Parameters
    ----------
    processes
        Run at once; the showers do not depend on how many.
    data
        Folder of Geant4's data sets. Without them, only the data-free electromagnetic physics can be had.
    only
        Numbers of the shards that are wanted here, where other machines make the rest; all if left out.
    cancelled
        Asked twice a second; once true, the simulation ends, and finished shards are kept.

    Raises
    ------
    InputError
        The folder holds another plan's showers, or the plan cannot be simulated.
    ToolchainError
        Geant4 is not installed or failed; the message has the end of what it said.
    """
    if not 1 <= processes <= MOST_PROCESSES:
        raise InputError(f"{processes} processes", hint=f"Give 1 to {MOST_PROCESSES}.", code="showers.plan")
    if data is not None and not installed_data(data):
        raise InputError(
            f"{data.name} holds no data sets of Geant4", hint="It has G4EMLOW*, G4ENSDFSTATE* and others.", code="showers.physics"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        plan.settle(folder)
        wanted = range(plan.shards) if only is None else sorted(set(only))
        if any(not 0 <= shard < plan.shards for shard in wanted):
            raise InputError(f"the plan has {plan.shards} shards", hint="They count from 0.", code="showers.plan")
        missing = [shard for shard in wanted if not _finished(plan, folder, shard)]
        made, seconds = 0, 0.0
        lots = [missing[start::processes] for start in range(min(processes, len(missing)))]
        with tempfile.TemporaryDirectory(prefix="ml4ep-geant4-") as scratch:
            children = [_start(plan, folder, lot, data, Path(scratch), number) for number, lot in enumerate(lots)]
            try:
                with selectors.DefaultSelector() as selector:
                    for child in children:
                        selector.register(child.process.stdout, selectors.EVENT_READ, child)  # type: ignore[arg-type]
                    while selector.get_map():
                        if cancelled():
                            break
                        for key, _ in selector.select(POLL_SECONDS):
                            line = key.data.process.stdout.readline()
                            if not line:
                                selector.unregister(key.fileobj)
                                key.data.check()
                                continue
                            answer = json.loads(line)
                            if "error" in answer:
                                raise _error(answer)
                            made, seconds = made + answer["showers"], seconds + answer["cpu_seconds"]
                            done = sum(shard_path(folder, shard).exists() for shard in wanted)
                            progress(
                                done / len(wanted),
                                f"{done} of {len(wanted)} shards, {made / max(seconds, 1e-9):.3g} showers a CPU second",
                            )
            finally:
                for child in children:
                    child.stop()
    return Produced(tuple(sorted(folder.glob("shard-*.h5"))), made, seconds)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two productions in one folder would write the same files."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"another production writes to {folder.name}", hint="Wait for it, or choose another folder.", code="showers.plan"
            ) from error
        yield


@dataclass(frozen=True)
class _Child:
    process: subprocess.Popen[str]
    log: Path

    def check(self) -> None:
        if self.process.wait() != 0:
            said = self.log.read_text(errors="replace")[-TAIL:].strip()
            raise ToolchainError(
                f"Geant4's process ended with {self.process.returncode}", hint=f"It said: {said}" if said else "It said nothing."
            )

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def _start(plan: Plan, folder: Path, shards: list[int], data: Path | None, scratch: Path, number: int) -> _Child:
    own = scratch / str(number)
    (own / "data").mkdir(parents=True)
    task = {
        "plan": plan.to_json(), "folder": str(folder.resolve()), "shards": shards, "data": str(data.resolve()) if data else "",
        "scratch": str(own / "data"),
    }  # fmt: skip
    log = own / "log"
    with log.open("w") as errors_to:
        process = subprocess.Popen(
            [sys.executable, "-c", "from mlcore.showers.fullsim import worker; raise SystemExit(worker.main())"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors_to, text=True, cwd=own,
            env=_environment(),
        )  # fmt: skip
    child = _Child(process, log)
    try:
        process.stdin.write(json.dumps(task))  # type: ignore[union-attr]
        process.stdin.close()  # type: ignore[union-attr]
    except BrokenPipeError:
        child.check()
    return child


def _finished(plan: Plan, folder: Path, shard: int) -> bool:
    """Whether a shard is there, whole, and as long as the plan has it."""
    path = shard_path(folder, shard)
    if not path.exists():
        return False
    try:
        return ShowerFile.open(path).count == min(plan.shard, plan.showers - shard * plan.shard)
    except MLCoreError:
        return False


def _environment() -> dict[str, str]:
    # The child finds this project where this process did, installed or not.
    root = str(Path(__file__).resolve().parents[3])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH", "")])])}


def _error(answer: dict[str, Any]) -> MLCoreError:
    kind = getattr(errors, answer["kind"], MLCoreError)
    error: MLCoreError = kind(answer["error"], hint=answer["hint"], code=answer["code"])
    return error
