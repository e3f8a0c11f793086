"""The peers: each opens a task at its best for one thread, or says why it cannot."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import environment, native
from benchmarks.environment import UnavailableError
from benchmarks.networks.native import SOURCES, Fresh, Native, adapter, fresh_python
from benchmarks.networks.tasks import Task
from mlcore.toolchain.compiler import find_compiler

Array = npt.NDArray[Any]

COMPILERS = Path(__file__).parent / "compilers"


@dataclass(frozen=True)
class Contender:
    """An open contender.

    Attributes
    ----------
    run
        So many inferences, one after the other.
    answers
        The outputs of one inference.
    fresh
        Opens it in a process of its own.
    empty
        The name of the process that its memory is compared with: ``native`` or ``python``.
    artefact
        The files that hold the network; its runtime's libraries are not among them.
    conversion
        Seconds from the network to the artefact; None where there is nothing to make.
    """

    run: Callable[[int], object]
    answers: Callable[[], dict[str, Array]]
    fresh: Callable[[], Fresh]
    empty: str
    artefact: tuple[Path, ...]
    conversion: float | None


@dataclass(frozen=True)
class Peer:
    """Something that runs networks; `open` raises `UnavailableError` with the reason where it cannot take one."""

    name: str
    open: Callable[[Task], Contender]


def contender(opened: Native, task: Task, artefact: tuple[Path, ...], conversion: float | None) -> Contender:
    """A native one."""
    return Contender(opened.run, opened.answers, lambda: opened.fresh(task.cache), "native", artefact, conversion)


def _onnxruntime(task: Task) -> Contender:
    folder = environment.packages(environment.environment(task.cache, "onnxruntime")) / "onnxruntime" / "capi"
    library = next(folder.glob("libonnxruntime.so.*"), None)
    if library is None:
        raise UnavailableError("its package has no C library")
    opened = Native(adapter(task.cache, "onnxruntime"), [library, task.onnx], task.inputs, task.outputs)
    return contender(opened, task, (task.onnx,), None)


def reason(text: str) -> str:
    """A reason of some length on one line: what a compiler or converter says is long."""
    errors = [line for line in text.strip().splitlines() if "error" in line.lower()] or text.strip().splitlines()[-1:]
    line = " ".join(errors[:1]).strip()
    return re.sub(r"\S*/(?=[\w.-]+)", "", line)[:200]


FAST = "-ffast-math"
"""Generated code in which sums are written as loops is vectorised with it only; peers that are compiled take part with and
without, so that none is beaten by flags. It lets the compiler reorder sums and ignore NaN and infinity."""


def _linked(compiler_flags: tuple[str, ...], source: Path, library: Path, *link: str) -> None:
    """Compile and link apart: a linker that is told FAST would make denormals zero in the whole process."""
    part = library.with_suffix(".o")
    native.run([find_compiler().path, *compiler_flags, "-c", source, "-o", part])
    native.run([find_compiler().path, "-shared", part, "-o", library, *link])
    part.unlink()


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _headers() -> list[str]:
    return [_text(path) for folder in (native.HEADERS, SOURCES) for path in sorted(folder.glob("*.hpp"))]


def _built(*options: Sequence[str]) -> str:
    """What a compiled file depends on beside its sources: options, compiler, machine."""
    return native.digest(find_compiler().version, *(option for each in options for option in each))


def _free_openblas() -> None:
    """Let OpenBLAS choose its kernels by the processor: an OPENBLAS_CORETYPE of the surroundings can make SOFIE six times slower.
    It reads such variables when it is loaded; NumPy's own copy has been, and stays as it is."""
    for name in [name for name in os.environ if name.startswith("OPENBLAS_")]:
        del os.environ[name]


def _sofie(task: Task, *extra: str) -> Contender:
    folder = environment.environment(task.cache, "sofie")
    _free_openblas()

    def generate(header: Path) -> None:
        command = [folder / "bin" / "python", COMPILERS / "sofie_cpp.py", task.folded, header]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=600)
        if done.returncode != 0 or not header.exists():
            raise UnavailableError(f"its generator fails: {reason(done.stderr or done.stdout) or f'status {done.returncode}'}")

    header = task.made("sofie.hxx", generate, _text(COMPILERS / "sofie_cpp.py"), folder.name, _digest(task.folded))
    weights = header.path.with_suffix(".dat")
    namespace = re.search(r"^namespace (SOFIE_\w+)", header.path.read_text(encoding="utf-8"), re.MULTILINE)
    if namespace is None:
        raise UnavailableError("its code has no namespace")
    blas = environment.packages(folder) / "scipy_openblas32" / "lib"
    definitions = (
        f'-DHEADER="{header.path}"',
        f"-DSOFIE_NAMESPACE={namespace[1]}",
        f"-DN_TENSORS={len(task.inputs) + len(task.outputs)}",
        # The names of the BLAS that PyPI has carry a prefix.
        *(f"-D{name}_=scipy_{name}_" for name in ("sgemm", "sgemv", "saxpy", "scopy")),
    )
    link = (f"-L{blas}", "-lscipy_openblas", f"-Wl,-rpath,{blas}", "-ldl")
    source = SOURCES / "sofie.cpp"
    include = (f"-I{native.HEADERS}", f"-I{SOURCES}")
    flags = ("-std=c++20", "-O3", native.TARGETS["native"], *extra, "-fPIC", "-w", *include, *definitions)

    def build(library: Path) -> None:
        try:
            _linked(flags, source, library, *link)
        except UnavailableError as error:
            raise UnavailableError(f"its generated code does not compile: {reason(str(error))}") from error

    library = task.made(f"sofie{''.join(extra)}.so", build, _built(flags, link), _digest(header.path), _text(source), *_headers())
    opened = Native(library.path, [weights], task.inputs, task.outputs)
    return contender(opened, task, (library.path, weights), header.seconds + library.seconds)


EMX_LIMIT = 600
"""Seconds that its generator and the compiler get for a network."""


def _emx(task: Task, *extra: str) -> Contender:
    folder = environment.environment(task.cache, "emx")

    def generate(code: Path) -> None:
        shutil.rmtree(code, ignore_errors=True)
        code.mkdir()
        command = [
            folder / "bin" / "python",
            "-m",
            "emx_onnx_cgen",
            "compile",
            task.folded,
            code / "net.c",
            "--model-name",
            "net",
        ]
        try:
            done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=EMX_LIMIT)
        except subprocess.TimeoutExpired:
            raise UnavailableError(f"its generator needs more than {EMX_LIMIT} s") from None
        if done.returncode != 0 or not (code / "net.c").exists():
            said = (done.stdout + done.stderr).replace("Result: ", "")
            raise UnavailableError(f"its generator fails: {reason(said.split(' (while lowering')[0])}")
        (code / "net.bin").touch()  # small networks have their weights in the code

    flags = ("-x", "c", "-std=c11", "-O3", native.TARGETS["native"], *extra, "-fPIC", "-w")
    code = task.made("emx", generate, folder.name, _digest(task.folded))

    def build(library: Path) -> None:
        _linked(flags, code.path / "net.c", library, "-lm")

    library = task.made(f"emx{''.join(extra)}.so", build, _built(flags), _digest(code.path / "net.c"))
    weights = code.path / "net.bin"
    opened = Native(adapter(task.cache, "emx"), [library.path, weights], task.inputs, task.outputs)
    return contender(opened, task, (library.path, weights), code.seconds + library.seconds)


def _xla(task: Task) -> Contender:
    # JAX is imported into this process, so that all contenders take turns; NumPy and ONNX are the project's own.
    packages = environment.packages(environment.environment(task.cache, "jax"))
    if str(packages) not in sys.path:
        sys.path.append(str(packages))
    from mlcore.benchmarks.engines.xla import Compiled
    from mlcore.benchmarks.onnx_jax import UnsupportedOperatorError

    try:
        compiled = Compiled(task.folded, task.inputs)
    except UnsupportedOperatorError as error:
        raise UnavailableError(str(error)) from error
    inputs = task.made("inputs.npz", lambda path: np.savez(path, **task.inputs)).path
    program = COMPILERS / "xla.py"

    def fresh() -> Fresh:
        return fresh_python(program, task.folded, inputs, path=[packages])

    return Contender(compiled.run, compiled.answers, fresh, "python", (), compiled.seconds)


def _inductor(task: Task) -> Contender:
    import torch

    def build(folder: Path) -> None:
        print(f"  inductor compiles {task.title} ...", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        library = folder / "network.so"
        command = [sys.executable, COMPILERS / "aot_inductor.py", task.model.name, task.batch, library]
        done = subprocess.run(
            [*map(str, command)], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2], timeout=1800
        )
        if done.returncode != 0 or not library.exists():
            raise UnavailableError(f"it does not compile: {reason(done.stderr)}")

    folder = task.made("inductor", build, _text(COMPILERS / "aot_inductor.py"), native.digest())
    library = folder.path / "network.so"
    runtime = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    opened = Native(adapter(task.cache, "aot_inductor"), [runtime, library], task.inputs, task.outputs)
    return contender(opened, task, (library,), folder.seconds)


def _eager(task: Task) -> Contender:
    import torch

    torch.set_num_threads(1)
    arguments, module = task.model.arguments(task.inputs), task.module

    def run(times: int) -> None:
        with torch.inference_mode():
            for _ in range(times):
                module(*arguments)

    def fresh() -> Fresh:
        return fresh_python(COMPILERS / "eager.py", task.model.name, task.batch)

    return Contender(run, lambda: task.model.run(module, task.inputs), fresh, "python", (), None)


def empty(cache: Path) -> dict[str, Fresh]:
    """Processes without a network, for `Contender.empty`."""
    nothing = Native(adapter(cache, "nothing"), [], {"x": np.zeros(1, np.float32)}, {"y": (1,)})
    return {"native": nothing.fresh(cache), "python": fresh_python(COMPILERS / "eager.py", "nothing", 1)}


ONNXRUNTIME = f"onnxruntime {environment.pinned('onnxruntime', 'onnxruntime')}"
PEERS = (
    Peer(ONNXRUNTIME, _onnxruntime),
    Peer(f"SOFIE {environment.pinned('sofie', 'sofie')}", _sofie),
    Peer(f"SOFIE {environment.pinned('sofie', 'sofie')}, fast math", lambda task: _sofie(task, FAST)),
    Peer(f"emx-onnx-cgen {environment.pinned('emx', 'emx-onnx-cgen')}", _emx),
    Peer(f"emx-onnx-cgen {environment.pinned('emx', 'emx-onnx-cgen')}, fast math", lambda task: _emx(task, FAST)),
    Peer(f"XLA (jax {environment.pinned('jax', 'jax')})", _xla),
    Peer(f"torch {metadata.version('torch').partition('+')[0]} inductor", _inductor),
    Peer(f"torch {metadata.version('torch').partition('+')[0]} eager", _eager),
)
