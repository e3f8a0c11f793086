"""ONNX Runtime as it is used from Python: a session, and a dictionary of arrays for each inference."""

from __future__ import annotations

from pathlib import Path

from mlcore.benchmarks.cases import Case
from mlcore.benchmarks.engines._engine import Array, Made, PythonEngine, RefusedError, Session, Site, as_arrays
from mlcore.benchmarks.engines._onnx import as_onnx


class _Opened(Session):
    def __init__(self, case: Case, made: Made, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(made.path("model"), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # it raises errors of its own kinds, without a common base
            raise RefusedError(str(error).strip().splitlines()[0][:200]) from error
        self._inputs = case.inputs
        self._names = [*case.expected]

    def run(self, times: int) -> None:
        run, inputs, names = self._session.run, self._inputs, self._names
        for _ in range(times):
            run(names, inputs)

    def answers(self) -> dict[str, Array]:
        return as_arrays(self._names, self._session.run(self._names, self._inputs))


class OnnxRuntimePython(PythonEngine):
    name = "onnxruntime_python"
    title = "ONNX Runtime, Python"
    module = distribution = "onnxruntime"
    kinds = ("network", "forest")

    def make(self, case: Case, folder: Path, site: Site) -> Made:
        return as_onnx(case, folder)

    def open(self, case: Case, made: Made, threads: int) -> Session:
        return _Opened(case, made, threads)


ENGINE = OnnxRuntimePython()
