"""Contenders in processes of their own, in turn; rounds are kept as they come, so that a run that breaks off goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.batches import checking
from benchmarks.batches.contenders import OURS, InOrder
from benchmarks.batches.data import Task
from benchmarks.environment import UnavailableError
from benchmarks.peak_memory import peak_memory

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 3600.0


class Rounds:
    """Results by name, in a file that grows line by line.

    Parameters
    ----------
    path
        Of the file; it begins anew where the code is other than that which made it.
    code
        A hash of the code (`code_hash`).
    """

    def __init__(self, path: Path, code: str) -> None:
        self._path = path
        self._kept: dict[str, Any] = {}
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        if lines and lines[0] == code:
            for line in lines[1:]:
                name, result = json.loads(line)
                self._kept[name] = result
        else:
            path.write_text(f"{code}\n", encoding="utf-8")

    def __call__(self, name: str, make: Callable[[], Any]) -> Any:
        """The result of that name, made if there is none."""
        if name not in self._kept:
            self._kept[name] = make()
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([name, self._kept[name]]) + "\n")
        return self._kept[name]

    def finished(self) -> None:
        """Everything was shown: the next run measures anew."""
        self._path.unlink()


def code_hash() -> str:
    """Of what is measured and of what measures it."""
    digest = hashlib.sha256()
    for folder, pattern in (("mlcore/batches", "**/*.py"), ("kernels", "*.so"), ("benchmarks/batches", "*.py")):
        for path in sorted((ROOT / folder).glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def timed(name: str, task: Task, epochs: int) -> dict[str, Any]:
    """`child.timed` in a new process, with the peak of its memory beyond the imports in bytes."""
    peak = _run(name, task, f"child.timed(contender, {task.described()!r}, {epochs})")
    return {"epochs": peak.result, "peak": peak.over_imports}


def looked_at(name: str, task: Task, truth_at: Path, epochs: int) -> Any:
    """`child.looked_at` in a new process."""
    return _run(name, task, f"child.looked_at(contender, {task.described()!r}, {str(truth_at)!r}, {epochs})").result


def _run(name: str, task: Task, call: str) -> Any:
    imports = f"from benchmarks.batches import child\ncontender = child.prepared({name!r}, torch={task.torch})"
    try:
        return peak_memory(imports, f"result = {call}", timeout=TIMEOUT)
    except RuntimeError as failure:
        raise UnavailableError(" ".join(str(failure).strip().splitlines()[-1:])) from failure


def truth(cache: Path, task: Task) -> Path:
    """What uproot finds in the file, in order; made at the first call."""
    digest = hashlib.sha256(repr(task.cuts).encode()).hexdigest()[:6] if task.cuts else "all"
    path = cache / "batches" / f"{Path(task.path).stem}-{digest}.npz"
    if not path.exists():
        checking.content(InOrder(torch=False).chunks(task)).save(path)
    return path


def trained(task: Task, epochs: int) -> Any:
    """`training.trained` of ours in a new process."""
    imports = "from benchmarks.batches import training\nimport torch"
    statements = f"result = training.trained({OURS!r}, {task.described()!r}, {epochs})"
    return peak_memory(imports, statements, timeout=TIMEOUT).result
