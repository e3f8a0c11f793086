"""emx-onnx-cgen: a network as C, compiled."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mlcore.benchmarks import native
from mlcore.benchmarks.cases import Case, child_environment
from mlcore.benchmarks.engines._engine import Made, NativeEngine, RefusedError, Site, one_line
from mlcore.benchmarks.engines._sofie import FAST
from mlcore.benchmarks.folding import folded
from mlcore.errors import MLCoreError

GENERATE_SECONDS = 600


class Emx(NativeEngine):
    name = "emx"
    title = "emx-onnx-cgen"
    module = "emx_onnx_cgen"
    distribution = "emx-onnx-cgen"
    requirements = ("emx-onnx-cgen==1.4.0", "emx-regex-cgen==0.2.0", "jinja2==3.1.6", "markupsafe==3.0.4")
    threads = "one"
    note = "its C with -O3 -march=native -ffast-math"

    def make(self, case: Case, folder: Path, site: Site) -> Made:
        source = folded(case.path, folder / "folded.onnx")
        start = time.perf_counter()
        code, weights = folder / "net.c", folder / "net.bin"
        command = [sys.executable, "-m", "emx_onnx_cgen", "compile", source, code, "--model-name", "net"]
        try:
            done = subprocess.run(
                [*map(str, command)],
                env=child_environment(site.packages(self.name)),
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=GENERATE_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise RefusedError(f"its generator needs more than {GENERATE_SECONDS} s") from None
        if done.returncode != 0 or not code.exists():
            said = (done.stdout + done.stderr).replace("Result: ", "").split(" (while lowering")[0]
            raise RefusedError(f"its generator fails: {one_line(said)}")
        weights.touch()  # small networks have their weights in the code
        flags = ("-x", "c", "-std=c11", "-O3", native.TARGETS["native"], FAST)
        try:
            library = native.compiled(folder, "net", code, flags=(*flags, "-w"), link=("-lm",))
        except MLCoreError as error:
            raise RefusedError(f"its generated code does not compile: {one_line(str(error))}") from error
        return Made(
            {"library": str(library), "weights": str(weights)},
            ("library", "weights"),
            time.perf_counter() - start,
            " ".join(flags),
        )

    def call(self, case: Case, made: Made, threads: int, site: Site) -> Sequence[object]:
        return native.adapter(site.cache / "native", "emx"), made.path("library"), made.path("weights")


ENGINE = Emx()
