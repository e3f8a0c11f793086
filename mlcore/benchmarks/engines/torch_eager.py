"""PyTorch's module, operator by operator."""

from __future__ import annotations

from typing import Any

from mlcore.benchmarks.engines._torch import TorchEngine


class TorchEager(TorchEngine):
    name = "torch_eager"
    title = "PyTorch, eager"
    compiles = False

    def prepared(self, module: Any, arguments: tuple[Any, ...]) -> Any:
        return module


ENGINE = TorchEager()
