"""PyTorch's module, traced and frozen by TorchScript."""

from __future__ import annotations

from typing import Any

from mlcore.benchmarks.engines._torch import TorchEngine


class TorchScript(TorchEngine):
    name = "torch_script"
    title = "TorchScript"

    def prepared(self, module: Any, arguments: tuple[Any, ...]) -> Any:
        import torch

        frozen: Any = torch.jit.freeze(torch.jit.trace(module, arguments, check_trace=False))  # type: ignore[no-untyped-call]
        # It looks at its first inferences, and compiles with what it saw.
        for _ in range(3):
            frozen(*arguments)
        return frozen


ENGINE = TorchScript()
