"""This project's forests, through the C API of the kernels in a loop of C++."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import kernels
from mlcore.benchmarks import native
from mlcore.benchmarks.cases import Case
from mlcore.benchmarks.engines._engine import Made, OwnCode, Site
from mlcore.errors import ToolchainError

INCLUDE = Path(kernels.__file__).parent / "include"


class OwnForest(OwnCode):
    name = "own_forest"
    title = "ML4EP forest, C API"
    kinds = ("forest",)

    def absent(self, site: Site) -> str:
        from mlcore.toolchain.compiler import find_compiler

        try:
            find_compiler()
        except ToolchainError as error:
            return error.message
        return "" if _library() else "the kernels were built without their C API"

    def make(self, case: Case, folder: Path, site: Site) -> Made:
        from mlcore.forests.forest import load

        start = time.perf_counter()
        path = folder / "model.forest"
        load(case.path).save(path)
        return Made({"forest": str(path)}, ("forest",), time.perf_counter() - start)

    def call(self, case: Case, made: Made, threads: int, site: Site) -> Sequence[object]:
        header = INCLUDE / "kernels" / "forest.h"
        adapter = native.adapter(site.cache / "native", "forest_own", flags=(f"-I{INCLUDE}",), depends=[header])
        return adapter, _library(), made.path("forest"), threads


def _library() -> Path | None:
    """The shared library that has the C API's functions, beside the kernels' Python module or below the package."""
    from kernels import _native

    folders = (Path(str(_native.__file__)).parent, Path(kernels.__file__).parent)
    return next((path for folder in folders for path in sorted(folder.glob("**/libkernels_forest.so*"))), None)


ENGINE = OwnForest()
