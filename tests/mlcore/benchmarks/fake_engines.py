"""Engines that do what their names say, for the tests of the measuring: each should double its input."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from mlcore.benchmarks.cases import Case
from mlcore.benchmarks.engines import Made, PythonEngine, RefusedError, Session, Site

SLEEP = 0.02
LEAK = 1 << 20


class Doubling(Session):
    def __init__(self, case: Case) -> None:
        self.x = case.inputs["x"]

    def run(self, times: int) -> None:
        for _ in range(times):
            self.answers()

    def answers(self) -> dict[str, Any]:
        return {"y": 2 * self.x}


class Sleeping(Doubling):
    def answers(self) -> dict[str, Any]:
        time.sleep(SLEEP)
        return super().answers()


class Wrong(Doubling):
    def answers(self) -> dict[str, Any]:
        return {"y": 2 * self.x + np.float32(0.01)}


class Nan(Doubling):
    def answers(self) -> dict[str, Any]:
        return {"y": np.full_like(self.x, np.nan)}


class WrongLater(Doubling):
    """Right once, when it is looked at; then it saves itself the work."""

    calls = 0

    def answers(self) -> dict[str, Any]:
        self.calls += 1
        return super().answers() if self.calls < 2 else {"y": np.zeros_like(self.x)}


class Leaking(Doubling):
    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self.kept: list[bytearray] = []

    def answers(self) -> dict[str, Any]:
        self.kept.append(bytearray(os.urandom(LEAK)))
        return super().answers()


class Large(Doubling):
    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self.weights = np.ones(8 << 20, np.float64)


class Crashing(Doubling):
    def run(self, times: int) -> None:
        os.kill(os.getpid(), 11)


class Fake(PythonEngine):
    module = ""
    distribution = "fake-engine"

    def __init__(self, name: str, session: type[Doubling]) -> None:
        self.name, self.title, self.session = name, name.capitalize(), session  # type: ignore[misc]

    def open(self, case: Case, made: Made, threads: int) -> Session:
        return self.session(case)


class Refusing(Fake):
    def make(self, case: Case, folder: Any, site: Site) -> Made:
        raise RefusedError("it has no operator Double")


class Absent(Fake):
    module = "a_module_that_nobody_has"


GOOD = Fake("good", Doubling)
SLEEPING = Fake("sleeping", Sleeping)
WRONG = Fake("wrong", Wrong)
NAN = Fake("nan", Nan)
WRONG_LATER = Fake("wrong_later", WrongLater)
LEAKING = Fake("leaking", Leaking)
LARGE = Fake("large", Large)
CRASHING = Fake("crashing", Crashing)
REFUSING = Refusing("refusing", Doubling)
ABSENT = Absent("absent", Doubling)


class Uninstallable(Fake):
    requirements = ("/nowhere/at/all.whl",)


UNINSTALLABLE = Uninstallable("uninstallable", Doubling)
