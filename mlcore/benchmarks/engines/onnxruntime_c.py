"""ONNX Runtime through its C API: all optimisations, inputs and outputs bound once, in a loop of C++."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import util
from pathlib import Path

import numpy as np

from mlcore.benchmarks import native
from mlcore.benchmarks.cases import Case
from mlcore.benchmarks.engines._engine import Array, Made, NativeEngine, Site
from mlcore.benchmarks.engines._onnx import as_onnx


class OnnxRuntimeC(NativeEngine):
    name = "onnxruntime_c"
    title = "ONNX Runtime, C API"
    module = distribution = "onnxruntime"
    kinds = ("network", "forest")

    def make(self, case: Case, folder: Path, site: Site) -> Made:
        return as_onnx(case, folder)

    def absent(self, site: Site) -> str:
        return super().absent(site) or ("" if _library() else "its package has no C library")

    def outputs(self, case: Case) -> Mapping[str, Array]:
        # A forest in ONNX predicts in float32, whatever the library's own precision is.
        return (
            {name: array.astype(np.float32) for name, array in case.expected.items()} if case.kind == "forest" else case.expected
        )

    def call(self, case: Case, made: Made, threads: int, site: Site) -> Sequence[object]:
        return native.adapter(site.cache / "native", "onnxruntime"), _library(), made.path("model"), threads


def _library() -> Path | None:
    """The shared library in the installed package."""
    spec = util.find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted((Path(spec.origin).parent / "capi").glob("libonnxruntime.so.*"))), None)


ENGINE = OnnxRuntimeC()
