"""OpenVINO's CPU plugin through its C API: float32, the caller's memory as tensors, in a loop of C++."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import util
from pathlib import Path

from mlcore.benchmarks import native
from mlcore.benchmarks.cases import Case
from mlcore.benchmarks.engines._engine import Made, NativeEngine, Site, packages_of


class OpenVino(NativeEngine):
    name = "openvino"
    title = "OpenVINO, C API"
    module = distribution = "openvino"
    requirements = ("openvino==2026.4.1",)
    note = "float32 also where the processor has bfloat16"

    def absent(self, site: Site) -> str:
        return super().absent(site) or ("" if self._library(site) else "its package has no C library")

    def call(self, case: Case, made: Made, threads: int, site: Site) -> Sequence[object]:
        return native.adapter(site.cache / "native", "openvino"), self._library(site), made.path("model"), threads

    def _library(self, site: Site) -> Path | None:
        with packages_of(site, self.name):
            spec = util.find_spec("openvino")
        if spec is None or spec.origin is None:
            return None
        return next(iter(sorted((Path(spec.origin).parent / "libs").glob("libopenvino_c.so*"))), None)


ENGINE = OpenVino()
