"""What an engine is: what it runs, how it is installed, how a model becomes something that it runs, and how that is called."""

from __future__ import annotations

import json
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata, util
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mlcore.benchmarks.cases import Case, Kind

Array = npt.NDArray[Any]
Threads = Literal["inside", "beside", "one"]


class RefusedError(Exception):
    """An engine that does not take a model; the text is the reason, for the matrix."""


def one_line(text: str) -> str:
    """A reason of some length on one line, without the folders of files: what compilers and converters say is long."""
    lines = text.strip().splitlines()
    errors = [line for line in lines if "error" in line.lower()] or lines[-1:]
    return re.sub(r"\S*/(?=[\w.-]+)", "", " ".join(errors[:1]).strip())[:200]


@dataclass(frozen=True)
class Site:
    """Where a run keeps and finds things.

    Attributes
    ----------
    cache
        Folder of compiled adapters, cases and artefacts.
    environments
        Folder with an environment of Python for each engine that has one of its own, called as the engine; its packages are put
        behind this interpreter's. None where there is none.
    made
        Folder of what engines made in this run, which is not taken over by another: what it took is a figure. By default in the
        cache.
    """

    cache: Path
    environments: Path | None = None
    made: Path | None = None

    def packages(self, engine: str) -> tuple[Path, ...]:
        """Folders of further packages for an engine."""
        if self.environments is None:
            return ()
        return tuple(sorted((self.environments / engine / "lib").glob("python*/site-packages")))

    def to_json(self) -> str:
        return json.dumps([str(self.cache), None if self.environments is None else str(self.environments)])

    @classmethod
    def from_json(cls, text: str) -> Site:
        cache, environments = json.loads(text)
        return cls(Path(cache), None if environments is None else Path(environments))


@dataclass(frozen=True)
class Made:
    """What an engine runs instead of the model's file.

    Attributes
    ----------
    files
        By role, such as ``library`` and ``weights``.
    artefact
        The roles that hold the network; the libraries of the engine are not among them.
    seconds
        That it took to make them; None where there is nothing to make.
    flags
        Of the compiler.
    """

    files: Mapping[str, str] = field(default_factory=dict, hash=False)
    artefact: tuple[str, ...] = ()
    seconds: float | None = None
    flags: str = ""

    def path(self, role: str) -> Path:
        return Path(self.files[role])

    @property
    def artefact_bytes(self) -> int:
        return sum(self.path(role).stat().st_size for role in self.artefact)


class Session(ABC):
    """An open engine that is used through Python."""

    compile_seconds: float = 0.0
    """That opening it took to compile."""

    @abstractmethod
    def run(self, times: int) -> None:
        """So many inferences, one after the other."""

    @abstractmethod
    def answers(self) -> dict[str, Array]:
        """The outputs of one inference."""


class Engine(ABC):
    """Something that runs models. Subclasses live alone in a module of `mlcore.benchmarks.engines`, used through one instance."""

    name: str
    """The module's name."""
    title: str
    kinds: tuple[Kind, ...] = ("network",)
    module: str = ""
    """The Python module that must be there."""
    distribution: str = ""
    """The name that it is installed by."""
    requirements: tuple[str, ...] = ()
    """The packages of an environment of its own, for `mlcore.benchmarks.environments`, those that the portal has left out."""
    driver: Literal["native", "python"] = "python"
    """What calls it: a loop in C++, or one in Python."""
    threads: Threads = "inside"
    """What two threads do: share an inference; infer beside each other, each a batch of its own; or nothing, it has one."""
    note: str = ""
    """What is to be known about its figures."""

    @property
    def install(self) -> str:
        """The command that installs it."""
        return f"pip install {self.distribution}" if self.distribution else ""

    def absent(self, site: Site) -> str:
        """Why it cannot be used here, ``""`` where it can. Imports nothing heavy."""
        with packages_of(site, self.name):
            if self.module and util.find_spec(self.module) is None:
                return f"not installed: {self.install}"
        return ""

    def version(self, site: Site) -> str:
        """The installed version, ``""`` where it is not known."""
        with packages_of(site, self.name):
            for name in (self.distribution, self.module):
                try:
                    if name:
                        return metadata.version(name).partition("+")[0]
                except metadata.PackageNotFoundError:
                    continue
        return ""

    def refuses(self, case: Case, threads: int) -> str:
        """Why it does not take a case, as far as that can be told without trying."""
        if case.kind not in self.kinds:
            return f"runs {' and '.join(f'{kind}s' for kind in self.kinds)} only"
        if threads > 1 and self.threads == "one":
            return "has one thread"
        return ""

    def make(self, case: Case, folder: Path, site: Site) -> Made:
        """Convert and compile a model; the folder is empty.

        Raises
        ------
        RefusedError, MLCoreError
            It does not take the model.
        """
        return Made({"model": str(case.path)}, ("model",))


class PythonEngine(Engine):
    """An engine that is called from Python."""

    @abstractmethod
    def open(self, case: Case, made: Made, threads: int) -> Session:
        """Open it; heavy libraries are imported here.

        Raises
        ------
        RefusedError
            It does not take the model.
        """


class NativeEngine(Engine):
    """An engine that is called by a loop in C++."""

    driver = "native"

    def outputs(self, case: Case) -> Mapping[str, Array]:
        """Arrays of the outputs' names, shapes and element types, where these are not the expected ones' own."""
        return case.expected

    @abstractmethod
    def call(self, case: Case, made: Made, threads: int, site: Site) -> Sequence[object]:
        """The compiled adapter and its arguments."""


class OwnCode(NativeEngine):
    """This project's own native code."""

    distribution = "ml4ep-portal"

    @property
    def install(self) -> str:
        return "part of ML4EP; needs a C++ compiler"


@contextmanager
def packages_of(site: Site, engine: str) -> Iterator[None]:
    """The engine's own folders of packages, while something is looked up."""
    folders = [str(folder) for folder in site.packages(engine)]
    sys.path.extend(folders)
    try:
        yield
    finally:
        for folder in folders:
            sys.path.remove(folder)


def as_arrays(names: Sequence[str], values: Sequence[Any]) -> dict[str, Array]:
    """Outputs by name."""
    return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}
