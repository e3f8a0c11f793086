"""Engines behind C that do what their names say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlcore.benchmarks import native
from mlcore.benchmarks.cases import Case
from mlcore.benchmarks.engines import Made, NativeEngine, Site

SOURCE = Path(__file__).with_suffix(".cpp")


class FakeNative(NativeEngine):
    distribution = "fake-engine"
    threads = "beside"

    def __init__(self, name: str) -> None:
        self.manner = name
        self.name, self.title = f"native_{name}", name.capitalize()  # type: ignore[misc]

    def call(self, case: Case, made: Made, threads: int, site: Site) -> Sequence[object]:
        flags = ("-std=c++17", "-O1", f"-I{native.SOURCES}")
        return native.compiled(site.cache / "native", "fake", SOURCE, flags=flags), self.manner


GOOD, WRONG, LEAKING, ALLOCATING, CRASHING, REFUSING = map(
    FakeNative, ("good", "wrong", "leaking", "allocating", "crashing", "refusing")
)
