"""What runs in a contender's own process: epochs that are timed, or looked at."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.batches import checking
from benchmarks.batches.contenders import CONTENDERS, Contender
from benchmarks.batches.data import Task


def prepared(name: str, *, torch: bool) -> Contender:
    """A contender with its imports done."""
    return CONTENDERS[name](torch=torch)


def timed(contender: Contender, asked: dict[str, Any], epochs: int) -> list[dict[str, float]]:
    """Seconds of each epoch, of the process's CPU and by the wall, and until the first batch; the first one includes opening."""
    task = Task(**asked)
    found = []
    cpu, wall = time.process_time(), time.perf_counter()
    begin = contender.opened(task)
    for _ in range(epochs):
        rows, started = 0, 0.0
        for x, _y in begin():
            rows += len(x)
            started = started or time.perf_counter() - wall
        now, clock = time.process_time(), time.perf_counter()
        found.append({"cpu": now - cpu, "wall": clock - wall, "batch": started, "rows": rows})
        cpu, wall = time.process_time(), time.perf_counter()
    return found


def looked_at(contender: Contender, asked: dict[str, Any], truth_at: str, epochs: int) -> list[dict[str, Any]]:
    """What each epoch delivered: what is wrong with it, and how it is mixed with the file and with the epoch before."""
    task = Task(**asked)
    truth = checking.Content.load(Path(truth_at))
    begin = contender.opened(task)
    before = None
    found: list[dict[str, Any]] = []
    for _ in range(epochs):
        got = checking.content(begin())
        trouble = checking.wrong(got, truth)
        entry: dict[str, Any] = {"wrong": trouble, "file": None, "epochs": None}
        place = None
        if trouble is None and len(truth.rows) == task.rows:
            place = checking.places(got.rows)
            entry["file"] = checking.mixing(truth.rows, place)
            entry["epochs"] = None if before is None else checking.mixing(before, place)
        before = place
        found.append(entry)
    return found
