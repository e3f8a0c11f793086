"""Inspection of files from strangers: the readers run in a sandboxed child, and only plain data come back.

A reader that crashes, hangs or devours memory over a crafted file takes the child along and nothing else.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from mlcore.errors import DataError, InputError, ToolchainError, UnsupportedFeatureError
from mlcore.filetypes import Kind, refuse
from mlcore.inspection.report import Histogram, Inspection, clean
from mlcore.toolchain.sandbox import GIB, PROJECT, Limits, run

LIMITS = Limits(memory_bytes=2 * GIB, cpu_seconds=60, wall_seconds=90, file_bytes=2**20, processes=32)
ANSWER_BYTES = 64 * 2**20
ERRORS = {error.__name__: error for error in (InputError, UnsupportedFeatureError, DataError)}


def inspect(path: Path, kind: Kind | None = None, *, limits: Limits = LIMITS) -> Inspection:
    """As `mlcore.inspection.inspect`, in the sandbox.

    Raises
    ------
    InputError
        Also when the reader crashed or ran into a limit.
    UnsupportedFeatureError
        There is no inspector for that kind.
    """
    kind = refuse(path).kind if kind is None else kind
    return Inspection.from_json(_ask(path, {"kind": kind}, limits))


def histogram(
    path: Path, tree: str, branch: str, bins: int = 60, max_entries: int = 1_000_000, *, limits: Limits = LIMITS
) -> Histogram:
    """As `mlcore.inspection.root.histogram`, in the sandbox.

    Raises
    ------
    DataError
        There is no such tree or branch.
    InputError
        The branch holds no numbers, or the reader crashed or ran into a limit.
    """
    question = {"tree": tree, "branch": branch, "bins": bins, "max_entries": max_entries}
    return Histogram.from_json(_ask(path, question, limits))


def _ask(path: Path, question: dict[str, Any], limits: Limits) -> dict[str, Any]:
    path = path.resolve()
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(
            [sys.executable, "-m", "mlcore.inspection"],
            cwd=Path(folder),
            readable=[path],
            limits=limits,
            env={"PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            input=json.dumps({"path": str(path), **question}).encode(),
            output_bytes=ANSWER_BYTES,
        )
    name = clean(path.name)
    if outcome.reason:
        reasons = {"memory": f"{limits.memory_bytes / GIB:.1f} GiB of memory", "processes": f"{limits.processes} processes"}
        needs = reasons.get(outcome.reason, f"{limits.cpu_seconds} s")
        raise InputError(
            f"reading {name} needs more than {needs}",
            hint="It may be damaged, or claim sizes that it does not have; if it is not, make a smaller one.",
            code=f"inspection.{outcome.reason}",
        )
    if outcome.returncode < 0:
        raise InputError(
            f"{name} is damaged: its reader crashed (signal {-outcome.returncode})",
            hint="Write it anew with its library.",
            code="inspection.damaged",
        )
    try:
        answer: dict[str, Any] = json.loads(outcome.stdout)
    except ValueError:
        last = clean((outcome.stderr.strip() or "no answer").splitlines()[-1])
        raise ToolchainError(f"the inspection of {name} failed: {last}", hint="Report this with the file.") from None
    if "error" in answer:
        raise ERRORS.get(answer["error"], InputError)(answer["message"], hint=answer["hint"], code=answer["code"])
    return answer
