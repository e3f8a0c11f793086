"""The C++ that SOFIE generates, compiled and driven by a loop of C++: of the package on PyPI, or of ROOT."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from abc import abstractmethod
from collections.abc import Sequence
from importlib import util
from pathlib import Path

from mlcore.benchmarks import native
from mlcore.benchmarks.cases import Case, child_environment
from mlcore.benchmarks.engines._engine import Made, NativeEngine, RefusedError, Site, one_line
from mlcore.benchmarks.folding import folded
from mlcore.errors import MLCoreError

FAST = "-ffast-math"
"""Generated code in which sums are written as loops is vectorised with it only. It lets the compiler reorder sums and ignore NaN
and infinity; where the answers are wrong with it, there is no figure."""
GENERATE_SECONDS = 600


class SofieEngine(NativeEngine):
    """A generator of SOFIE's code."""

    threads = "beside"
    note = "its C++ with -O3 -march=native -ffast-math and OpenBLAS; two threads: two sessions"

    @property
    @abstractmethod
    def program(self) -> str:
        """What generates the code: Python that gets the ONNX file and the header to write as its arguments."""

    def include(self) -> Sequence[Path]:
        """Further folders of headers that the generated code needs."""
        return ()

    def make(self, case: Case, folder: Path, site: Site) -> Made:
        blas = blas_folder()
        if blas is None:
            raise RefusedError("its code needs OpenBLAS: pip install scipy-openblas32")
        source = folded(case.path, folder / "folded.onnx")
        start = time.perf_counter()
        header = folder / "network.hxx"
        done = subprocess.run(
            [sys.executable, "-c", self.program, str(source), str(header)],
            env=child_environment(site.packages(self.name)),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=GENERATE_SECONDS,
        )
        if done.returncode != 0 or not header.exists():
            raise RefusedError(f"its generator fails: {one_line(done.stderr or done.stdout) or f'status {done.returncode}'}")
        namespace = re.search(r"^namespace (\w*SOFIE_\w+)", header.read_text(encoding="utf-8"), re.MULTILINE)
        if namespace is None:
            raise RefusedError("its code has no namespace")
        flags = ("-std=c++20", "-O3", native.TARGETS["native"], FAST)
        definitions = (
            "-w",
            *(f"-isystem{path}" for path in self.include()),
            f'-DHEADER="{header}"',
            f"-DSOFIE_NAMESPACE={namespace[1]}",
            f"-DN_TENSORS={len(case.inputs) + len(case.expected)}",
            # The names of the BLAS that PyPI has carry a prefix.
            *(f"-D{name}_=scipy_{name}_" for name in ("sgemm", "sgemv", "saxpy", "scopy")),
        )
        link = (f"-L{blas}", "-lscipy_openblas", f"-Wl,-rpath,{blas}")
        try:
            library = native.compiled(
                folder, "sofie", native.SOURCES / "sofie.cpp", flags=(*flags, *definitions), depends=[header], link=link
            )
        except MLCoreError as error:
            raise RefusedError(f"its generated code does not compile: {one_line(str(error))}") from error
        files = {"library": str(library), "weights": str(header.with_suffix(".dat"))}
        return Made(files, ("library", "weights"), time.perf_counter() - start, " ".join(flags))

    def call(self, case: Case, made: Made, threads: int, site: Site) -> Sequence[object]:
        return made.path("library"), made.path("weights")


def blas_folder() -> Path | None:
    """Where the wheel of OpenBLAS has its library; None where it is not installed."""
    spec = util.find_spec("scipy_openblas32")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / "lib"
