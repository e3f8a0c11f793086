"""Forests: every program that `mlcore.forests.peers` knows, as an engine that is called from Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mlcore.benchmarks.cases import Case
from mlcore.benchmarks.engines._engine import Array, Made, PythonEngine, RefusedError, Session, Site
from mlcore.forests.peers import PEERS, AbsentError, Setting

REQUIREMENTS = {
    "onedal": ("scikit-learn-intelex==2026.2.0", "daal==2026.2.0", "tbb==2023.2.0", "tcmlib==1.6.0"),
    "lleaves": ("lleaves==1.3.0", "llvmlite==0.43.0"),
    "tl2cgen": ("tl2cgen==1.0.0", "treelite==4.8.1"),
}
"""Packages of environments of their own."""


class _Opened(Session):
    def __init__(self, key: str, case: Case, made: Made, threads: int) -> None:
        from mlcore.forests.forest import load

        peer = PEERS[key]
        setting = Setting(case.path, load(case.path), threads, Path.cwd())
        try:
            peer.load()
            self._predict = peer.start(setting)
        except AbsentError as error:
            raise RefusedError(error.reason) from error
        (self._rows,) = case.inputs.values()
        ((self._name, expected),) = case.expected.items()
        self._shape = expected.shape

    def run(self, times: int) -> None:
        predict, rows = self._predict, self._rows
        for _ in range(times):
            predict(rows)

    def answers(self) -> dict[str, Array]:
        return {self._name: np.asarray(self._predict(self._rows)).reshape(self._shape)}


class ForestPeer(PythonEngine):
    """A program of `mlcore.forests.peers`."""

    kinds = ("forest",)

    def __init__(self, key: str) -> None:
        peer = PEERS[key]
        # One class for many engines.
        self.name, self.title, self.note = key, f"{peer.title}, Python", peer.note
        self.module, self.distribution = peer.module, peer.distribution
        self.requirements = REQUIREMENTS.get(key, ())

    def make(self, case: Case, folder: Path, site: Site) -> Made:
        return Made({"model": str(case.path)}, ("model",))

    def open(self, case: Case, made: Made, threads: int) -> Session:
        return _Opened(self.name, case, made, threads)
