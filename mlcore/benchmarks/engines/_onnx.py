"""Models as ONNX files, for the engines that read these: networks as they are, forests as tree ensembles."""

from __future__ import annotations

import time
from pathlib import Path

from mlcore.benchmarks.cases import Case
from mlcore.benchmarks.engines._engine import Made


def as_onnx(case: Case, folder: Path) -> Made:
    """The model's ONNX file; a forest is converted.

    Raises
    ------
    UnsupportedFeatureError
        ONNX has no such forests.
    """
    if case.kind == "network":
        return Made({"model": str(case.path)}, ("model",))
    from mlcore.forests.forest import load
    from mlcore.forests.onnx_export import to_onnx

    start = time.perf_counter()
    path = folder / "model.onnx"
    path.write_bytes(to_onnx(load(case.path).model))
    return Made({"model": str(path)}, ("model",), time.perf_counter() - start)
