"""The peers: each opens a trained model at its best for one thread, or says why it cannot."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import environment, native
from benchmarks.environment import UnavailableError
from benchmarks.forests.flat import Flat, write_onnx
from benchmarks.forests.models import Model
from benchmarks.forests.native import Native, adapter
from mlcore import forests
from mlcore.toolchain.compiler import find_compiler

Array = npt.NDArray[Any]

COMPILERS = Path(__file__).parent / "compilers"


@dataclass(frozen=True)
class Task:
    """A model for the peers to open, and the instruction set that they keep to."""

    model: Model
    cache: Path
    target: str = "native"

    @cached_property
    def forest(self) -> forests.Forest:
        return self.model.load()

    @cached_property
    def flat(self) -> Flat:
        return Flat.of(self.forest.model)

    def native(self, name: str, texts: Sequence[object], dtype: npt.DTypeLike, **options: Any) -> Native:
        """An adapter of `native/`, opened for this model."""
        library = adapter(self.cache, name, target=self.target, **options)
        return Native(library, texts, self.model.n_features, self.model.n_outputs, dtype)

    def derived(self, suffix: str, write: Callable[[Path], None]) -> Path:
        """A file made from the model, kept beside it."""
        path = self.model.path.with_suffix(suffix)
        if not path.exists():
            part = path.with_name(f"part-{path.name}")
            write(part)
            # NumPy puts its own ending behind a name that has another.
            (part if part.exists() else part.with_name(f"{part.name}.npz")).rename(path)
        return path


@dataclass(frozen=True)
class Peer:
    """A library that predicts with forests.

    Attributes
    ----------
    open
        Makes a native contender of a task; raises `UnavailableError` with the reason where it cannot.
    handles_nan
        Whether it has missing values.
    probabilities
        Whether several classes come as probabilities instead of margins.
    forced
        How it is kept to an instruction set, in words.
    """

    name: str
    open: Callable[[Task], Native]
    handles_nan: bool = True
    probabilities: bool = False
    forced: str = "compiled for every x86-64 processor, so it is the same on each"


def _package_file(package: str, *inside: str) -> Path:
    found = util.find_spec(package)
    if found is None or found.origin is None:
        raise UnavailableError(f"{package} is not installed")
    return Path(found.origin).parent.joinpath(*inside)


def _needs(task: Task, library: str) -> None:
    if task.model.library != library:
        raise UnavailableError(f"reads models of {library} only")


def _xgboost(task: Task) -> Native:
    _needs(task, "xgboost")
    return task.native("xgboost", [_package_file("xgboost", "lib", "libxgboost.so"), task.model.path], np.float32)


def _lightgbm(task: Task) -> Native:
    _needs(task, "lightgbm")
    return task.native("lightgbm", [_package_file("lightgbm", "lib", "lib_lightgbm.so"), task.model.path], np.float64)


def _onnxruntime(task: Task) -> Native:
    folder = environment.packages(environment.environment(task.cache, "onnxruntime")) / "onnxruntime" / "capi"
    library = next(folder.glob("libonnxruntime.so.*"), None)
    if library is None:
        raise UnavailableError("its package has no C library")
    return task.native("onnxruntime", [library, task.derived(".onnx", lambda path: write_onnx(task.flat, path))], np.float32)


ONEDAL_TARGETS = {"native": "", "avx2": "4", "portable": "0"}
"""oneDAL's own numbers of AVX2 and SSE2."""


def _onedal(task: Task) -> Native:
    folder = environment.environment(task.cache, "onedal")
    libraries = folder / "lib"
    options = [f"-l:{name}.so.4" for name in ("libonedal_core", "libonedal_thread")]
    # oneDAL's libraries find TBB by the path of the library that loads them, which only the older kind of path allows.
    options = [f"-L{libraries}", *options, f"-Wl,--disable-new-dtags,-rpath,{libraries}"]
    flat = task.derived(".flat", task.flat.write)
    include = [folder / "include", folder / "include" / "dal"]
    return task.native("onedal", [flat, ONEDAL_TARGETS[task.target]], np.float32, include=include, options=options)


LLEAVES_CPUS = {"native": "host", "avx2": "haswell", "portable": "x86-64"}


def _lleaves(task: Task) -> Native:
    _needs(task, "lightgbm")
    folder = environment.environment(task.cache, "lleaves")
    cpu = LLEAVES_CPUS[task.target]
    library = task.cache / "native" / f"lleaves-{_digest(task.model.path)}-{cpu}.so"
    if not library.exists():
        print(f"  lleaves compiles {task.model.title} ...", flush=True)
        library.parent.mkdir(parents=True, exist_ok=True)
        part = library.with_suffix(".o")
        part.unlink(missing_ok=True)
        environment.run(folder, COMPILERS / "lleaves_object.py", task.model.path, part, cpu)
        native.run([find_compiler().path, "-shared", part, "-o", library, "-lm"])
    return task.native("lleaves", [library], np.float64)


def _tl2cgen(task: Task) -> Native:
    precision = "float" if task.model.library == "xgboost" else "double"
    library = task.cache / "native" / f"tl2cgen-{_digest(task.model.path)}-{task.target}.so"
    if not library.exists():
        folder = environment.environment(task.cache, "tl2cgen")
        print(f"  tl2cgen compiles {task.model.title} ...", flush=True)
        source = task.model.path
        if task.model.library == "scikit-learn":
            source = task.derived(".npz", task.flat.write_arrays)
        code = library.with_suffix("")
        code.mkdir(parents=True, exist_ok=True)
        environment.run(folder, COMPILERS / "tl2cgen_c.py", task.model.library, source, code, 50)
        native.compiled_c(task.cache, code, library, target=task.target)
    return task.native("tl2cgen", [library, precision], np.float32 if precision == "float" else np.float64)


def _rbdt(task: Task) -> Native:
    _needs(task, "xgboost")
    return task.native("rbdt", [task.derived(".flat", task.flat.write)], np.float32)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"


COMPILED = "compiled with the matching options"
PEERS = (
    Peer(f"xgboost {_version('xgboost-cpu')}", _xgboost),
    Peer(f"lightgbm {_version('lightgbm')}", _lightgbm),
    Peer(
        f"oneDAL {environment.pinned('onedal', 'daal')}", _onedal, probabilities=True, forced="kept to AVX2 or SSE2 by setCpuId"
    ),
    Peer(f"lleaves {environment.pinned('lleaves', 'lleaves')}", _lleaves, forced="compiled for haswell or x86-64"),
    Peer(f"tl2cgen {environment.pinned('tl2cgen', 'tl2cgen')}", _tl2cgen, forced=COMPILED),
    Peer(f"onnxruntime {environment.pinned('onnxruntime', 'onnxruntime')}", _onnxruntime),
    Peer("RBDT's algorithm", _rbdt, handles_nan=False, forced=COMPILED),
)


@dataclass(frozen=True)
class Opened:
    """The peers that take part in a task, by name, and the reasons of those that do not."""

    contenders: dict[str, Native]
    absent: dict[str, str]


def opened(task: Task, *, nan: bool) -> Opened:
    """Open all peers on a model."""
    contenders: dict[str, Native] = {}
    absent: dict[str, str] = {}
    for peer in PEERS:
        if nan and not peer.handles_nan:
            absent[peer.name] = "has no missing values"
            continue
        try:
            contenders[peer.name] = peer.open(task)
        except UnavailableError as reason:
            absent[peer.name] = str(reason)
    return Opened(contenders, absent)


TOLERANCE = 5e-5
"""Relative to ``1 + |margin|``: peers sum float32 in their own order. One wrong leaf is more."""


def check(name: str, answer: Array, expected: Array) -> None:
    """Hold a peer's answer against the margins of the library that trained the model, shape (n_rows, n_outputs)."""
    probabilities = any(peer.name == name and peer.probabilities for peer in PEERS) and expected.shape[1] > 1
    if probabilities:
        expected = np.exp(expected - expected.max(axis=1, keepdims=True))
        expected /= expected.sum(axis=1, keepdims=True)
    error = np.abs(answer - expected) / (1 + np.abs(expected))
    if not np.all(error <= TOLERANCE):
        worst, mean = error.max(), error.mean()
        raise AssertionError(f"{name} answers otherwise than the library: by up to {worst:.2g}, {mean:.2g} on average")
