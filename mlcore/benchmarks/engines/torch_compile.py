"""PyTorch's module through `torch.compile`: inductor's C++, called from Python."""

from __future__ import annotations

from typing import Any

from mlcore.benchmarks.engines._engine import Site
from mlcore.benchmarks.engines._torch import TorchEngine
from mlcore.errors import ToolchainError


class TorchCompile(TorchEngine):
    name = "torch_compile"
    title = "torch.compile"

    def absent(self, site: Site) -> str:
        from mlcore.toolchain.compiler import find_compiler

        try:
            find_compiler()
        except ToolchainError as error:
            return error.message
        return super().absent(site)

    def prepared(self, module: Any, arguments: tuple[Any, ...]) -> Any:
        import torch

        compiled: Any = torch.compile(module, dynamic=False, options={"freezing": True})
        compiled(*arguments)
        return compiled


ENGINE = TorchCompile()
