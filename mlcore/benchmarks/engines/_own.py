"""This project's own C++: the project that `mlcore.networks` writes, compiled for a target, in a loop of C++."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from mlcore.benchmarks import native
from mlcore.benchmarks.cases import Case
from mlcore.benchmarks.engines._engine import Made, OwnCode, Site
from mlcore.errors import InputError, ToolchainError

NAMES = {"avx512": "AVX-512", "avx2": "AVX2", "portable": "portable"}


class OwnEngine(OwnCode):
    """The generated C++ for one target."""

    threads = "beside"
    note = "two threads: one session, each thread with a workspace and a batch of its own"

    def __init__(self, target: str) -> None:
        self.target = target
        self.name = f"own_{target}"
        self.title = f"ML4EP C++, {NAMES[target]}"

    def absent(self, site: Site) -> str:
        from mlcore.networks.build import flags_for
        from mlcore.toolchain.compiler import find_compiler

        try:
            flags_for(self.target)
            find_compiler()
        except (InputError, ToolchainError) as error:
            return error.message
        return ""

    def make(self, case: Case, folder: Path, site: Site) -> Made:
        from mlcore.networks.build import flags_for
        from mlcore.networks.compiler import translate
        from mlcore.networks.emit import project

        start = time.perf_counter()
        for name, data in project.project(translate(case.path, "network"), model=case.title).items():
            (folder / name).write_bytes(data)
        header = folder / "network.hpp"
        flags = flags_for(self.target)
        count = len(case.inputs) + len(case.expected)
        definitions = (f'-DHEADER="{header}"', f"-DN_TENSORS={count}", f"-I{native.SOURCES}")
        library = native.compiled(
            folder, "ours", native.SOURCES / "ours.cpp", flags=(*flags, "-w", *definitions), depends=[header]
        )
        files = {"library": str(library), "weights": str(folder / "network.weights")}
        return Made(files, ("library", "weights"), time.perf_counter() - start, " ".join(flags))

    def call(self, case: Case, made: Made, threads: int, site: Site) -> Sequence[object]:
        return made.path("library"), made.path("weights")
