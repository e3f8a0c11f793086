"""PyTorch: the module of the zoo as it is, traced, or compiled."""

from __future__ import annotations

import time
import warnings
from abc import abstractmethod
from typing import Any

from mlcore.benchmarks.cases import Case
from mlcore.benchmarks.engines._engine import Array, Made, PythonEngine, RefusedError, Session


class _Opened(Session):
    """A module with its arguments."""

    def __init__(self, engine: TorchEngine, case: Case, threads: int) -> None:
        import torch

        from mlcore.benchmarks import zoo

        warnings.simplefilter("ignore")
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        self._torch = torch
        self._model = zoo.get(case.zoo)
        self._arguments = self._model.arguments(case.inputs)
        module = self._model.module()
        start = time.perf_counter()
        try:
            with torch.inference_mode():
                self._call = engine.prepared(module, self._arguments)
        except Exception as error:  # what tracing and compiling raise is of many kinds
            raise RefusedError(f"it cannot be prepared: {(str(error).strip().splitlines() or ['?'])[0][:200]}") from error
        self.compile_seconds = time.perf_counter() - start if engine.compiles else 0.0

    def run(self, times: int) -> None:
        call, arguments = self._call, self._arguments
        with self._torch.inference_mode():
            for _ in range(times):
                call(*arguments)

    def answers(self) -> dict[str, Array]:
        with self._torch.inference_mode():
            answer = self._call(*self._arguments)
        values = answer if isinstance(answer, tuple | list) else (answer,)
        return {name: value.numpy() for name, value in zip(self._model.output_names, values, strict=True)}


class TorchEngine(PythonEngine):
    """PyTorch in one of its modes."""

    module = distribution = "torch"
    compiles = True

    def refuses(self, case: Case, threads: int) -> str:
        refused = super().refuses(case, threads)
        return refused or ("" if case.zoo else "runs modules of PyTorch, which an ONNX file does not hold")

    def make(self, case: Case, folder: Any, site: Any) -> Made:
        return Made()

    @abstractmethod
    def prepared(self, module: Any, arguments: tuple[Any, ...]) -> Any:
        """What is called with the arguments; all compiling is done here."""

    def open(self, case: Case, made: Made, threads: int) -> Session:
        return _Opened(self, case, threads)
