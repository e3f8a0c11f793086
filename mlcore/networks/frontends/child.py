"""Files of other libraries become ONNX in a limited child; what comes back are bytes of an ONNX model, or an error.

Run as ``python -m mlcore.networks.frontends.child KIND FILE OUTPUT``.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlcore
from mlcore.errors import InputError, MLCoreError, RunError, UnsupportedOperatorError
from mlcore.toolchain.sandbox import GIB, Limits, run

LIMITS = Limits(memory_bytes=6 * GIB, cpu_seconds=300, wall_seconds=300, file_bytes=2 * GIB)
MOST_BYTES = 2 * 10**9
"""Of a file, and of what comes out of it: protobuf takes no more."""
_KERAS = {"KERAS_BACKEND": "torch", "CUDA_VISIBLE_DEVICES": ""}
"""Keras puts weights on a GPU where there is one."""


def converted(kind: str, path: Path, limits: Limits = LIMITS) -> bytes:
    """A file as the bytes of an ONNX model.

    Raises
    ------
    InputError, UnsupportedOperatorError
        As the frontend of its kind.
    RunError
        The child went over a limit, or broke.
    """
    path = path.resolve()
    if path.stat().st_size > MOST_BYTES:
        raise InputError(f"the file has more than {MOST_BYTES / 1e9:g} GB", code="network.large")
    folder = Path(tempfile.mkdtemp(prefix="frontend-"))
    try:
        outcome = run(
            [sys.executable, "-m", "mlcore.networks.frontends.child", kind, path, folder / "model.onnx"],
            cwd=folder,
            limits=limits,
            writable=[folder],
            readable=[path],
            env={"PYTHONPATH": str(Path(mlcore.__file__).parents[1]), "OMP_NUM_THREADS": "1"} | _KERAS,
        )
        if outcome.reason:
            raise RunError(
                f"reading the file went over a limit: {outcome.reason}",
                hint="Export the model to ONNX yourself, and give that file.",
                code="network.limit",
            )
        if outcome.returncode == 0:
            return (folder / "model.onnx").read_bytes()
        raise _said(outcome.stdout) or RunError(
            f"the process that reads the file broke: {outcome.stderr.strip()[-300:]}",
            hint="Export the model to ONNX yourself, and give that file.",
            code="network.crash",
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _said(text: str) -> MLCoreError | None:
    """The error that the child wrote last."""
    try:
        facts = json.loads(text.splitlines()[-1])
        if "why" in facts:
            return UnsupportedOperatorError(
                str(facts["operator"]), int(facts["opset"]), str(facts["node"]), str(facts["why"]), hint=str(facts["hint"])
            )
        return InputError(str(facts["message"]), hint=str(facts["hint"]), code=str(facts["code"]))
    except (IndexError, KeyError, TypeError, ValueError):
        return None


def _facts(error: MLCoreError) -> dict[str, Any]:
    facts: dict[str, Any] = {"message": error.message, "hint": error.hint, "code": error.code}
    if isinstance(error, UnsupportedOperatorError):
        facts |= {"operator": error.operator, "opset": error.opset, "node": error.node, "why": error.why}
    return facts


def main(kind: str, path: Path, output: Path) -> int:
    """Convert one file; 0, or 3 with the error as JSON on standard output."""
    from mlcore.networks.frontends import keras, keras_file, pt2, pytorch

    frontends = {"pt2": lambda: pytorch.read(pt2.load(path)), "keras": lambda: keras.read(keras_file.load(path))}
    try:
        model = frontends[kind]()
        output.write_bytes(model.SerializeToString())
    except MLCoreError as error:
        print(json.dumps(_facts(error)), flush=True)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
