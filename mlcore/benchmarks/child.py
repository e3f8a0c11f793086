"""The process that measures one engine that is used through Python; for engines behind C it is ``native/cell.cpp``.

Run as ``python -m mlcore.benchmarks.child DESCRIPTOR CORES ENGINE CASE MADE THREADS OUTPUTS``; it answers as `cell.cpp` says.
Nothing of the engine is imported before the memory of the empty process is known.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from mlcore.benchmarks import engines
from mlcore.benchmarks.arrays import save_arrays
from mlcore.benchmarks.cases import Case
from mlcore.benchmarks.engines import Made, PythonEngine, RefusedError, Session
from mlcore.errors import MLCoreError

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Open the engine, then do what is asked until nobody asks."""
    descriptor, cores, name, folder, made_json, threads, outputs = arguments
    answers = os.fdopen(int(descriptor), "w", encoding="utf-8", buffering=1)

    def say(**message: Any) -> None:
        answers.write(json.dumps(message) + "\n")

    # While it is stopped it would not see that nobody asks any more.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    os.sched_setaffinity(0, [int(core) for core in cores.split(",")])
    try:
        _serve(say, name, Case.open(Path(folder)), Made(**json.loads(made_json)), int(threads), Path(outputs))
    except (RefusedError, MLCoreError) as error:
        say(failed=str(error), refused=True)
        return 1
    except Exception as error:
        say(failed=f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"[:300])
        raise
    return 0


def _serve(say: Any, name: str, case: Case, made: Made, threads: int, outputs: Path) -> None:
    engine = engines.get(name)
    if not isinstance(engine, PythonEngine):
        raise TypeError(f"{name} is no engine for Python")
    case.read()  # before memory is counted
    gc.collect()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is counted from here
    base = resident()
    start = time.perf_counter()
    session = engine.open(case, made, threads)
    say(opened=time.perf_counter() - start, base=base, compiled=session.compile_seconds)
    gc.disable()
    for line in sys.stdin:
        what, _, number = line.strip().partition(" ")
        match what:
            case "answer":
                say(**_answer(session, outputs))
            case "run":
                cpu, wall = time.process_time(), time.perf_counter()
                session.run(int(number))
                say(wall=time.perf_counter() - wall, cpu=time.process_time() - cpu)
            case "allocated":
                say()
            case "memory":
                now = resident()
                say(resident=now, peak=max(now, _told("/proc/self/status", "VmHWM:")))
            case _:
                raise ValueError(f"there is nothing called {what!r} to do")


def _answer(session: Session, outputs: Path) -> dict[str, float]:
    """One inference, written to a file."""
    start = time.perf_counter()
    found = session.answers()
    seconds = time.perf_counter() - start
    save_arrays(outputs, {name: np.asarray(value) for name, value in found.items()})
    return {"seconds": seconds}


def resident() -> int:
    """Resident bytes of this process, exactly where the system tells."""
    return _told("/proc/self/smaps_rollup", "Rss:") or _told("/proc/self/status", "VmRSS:")


def _told(path: str, name: str) -> int:
    """A line of /proc in kilobytes, as bytes; 0 where there is none."""
    with suppress(OSError):
        for line in Path(path).read_text(encoding="ascii").splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
