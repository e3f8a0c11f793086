"""The C++ compiler: found once, run in the sandbox."""

from __future__ import annotations

import functools
import importlib.util
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mlcore.errors import ToolchainError
from mlcore.toolchain.sandbox import GIB, Limits, Outcome, run

CANDIDATES = ("g++", "c++", "clang++", "zig c++")
COMPILE_LIMITS = Limits(memory_bytes=4 * GIB, cpu_seconds=900, wall_seconds=900)
LAST_LINES = 20


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler that answered.

    Attributes
    ----------
    path
        The program.
    version
        The first line of what it says about itself.
    arguments
        What stood behind the program's name in ``CXX``, for example ``("-m64",)``.
    env
        Variables it needs beyond the sandbox's own, for example LD_LIBRARY_PATH of a software stack.
    cache
        Folder that it keeps its standard library in, which ``zig c++`` compiles itself when it first links.
    """

    path: Path
    version: str
    arguments: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, hash=False)
    cache: Path | None = None

    @property
    def is_zig(self) -> bool:
        """Whether this is Clang as Zig brings it, with options of its own."""
        return self.path.name == "zig"

    def build(
        self,
        sources: Sequence[Path],
        output: Path,
        *,
        flags: Sequence[str] = ("-std=c++17", "-O2"),
        include: Sequence[Path] = (),
        limits: Limits = COMPILE_LIMITS,
        cancelled: Callable[[], bool] | None = None,
    ) -> Outcome:
        """Compile and link, in the sandbox: only the folder of the output can be written.

        Parameters
        ----------
        sources
            Files of C++, or objects and libraries to link.
        output
            The program or library to make; its folder exists.
        flags
            Options of the compiler; ``-shared -fPIC`` for a library.
        include
            Folders of headers.
        limits
            What the compiler may use.
        cancelled
            As for `mlcore.toolchain.sandbox.run`.

        Returns
        -------
        Outcome
            With the seconds that it took, and warnings in `Outcome.stderr`.

        Raises
        ------
        ToolchainError
            The compiler failed, or ran into a limit; with its last lines.
        """
        sources = [source.resolve() for source in sources]
        include = [folder.resolve() for folder in include]
        output = output.resolve()
        if not output.parent.is_dir():
            raise ToolchainError(
                f"there is no folder {output.parent} for {output.name}", hint="Make it before compiling into it."
            )
        for source in sources:
            if not source.is_file():
                raise ToolchainError(f"there is no source file {source}", code="toolchain.source")
        options = [*flags, *(f"-I{folder}" for folder in include)]
        commands: list[list[str | Path]] = [[*options, *sources, "-o", output]]
        if self.is_zig:
            commands = _zig_commands(sources, output, options)
        writable = [output.parent]
        if self.cache is not None:
            self.cache.mkdir(parents=True, exist_ok=True)
            writable.append(self.cache)
        seconds, warnings = 0.0, ""
        try:
            for command in commands:
                outcome = run(
                    [self.path, *self.arguments, *command],
                    cwd=output.parent,
                    writable=writable,
                    readable=_outside(output.parent, [*(source.parent for source in sources), *include, *self.home]),
                    limits=limits,
                    env=self.env,
                    cancelled=cancelled,
                )
                if outcome.reason or outcome.returncode != 0:
                    output.unlink(missing_ok=True)
                    raise self._failure(outcome, limits)
                seconds += outcome.seconds
                warnings += outcome.stderr
        finally:
            for command in commands[:-1]:
                Path(command[-1]).unlink(missing_ok=True)
        return replace(outcome, seconds=seconds, stderr=warnings)

    @property
    def home(self) -> list[Path]:
        """The folder that the compiler is installed in, with its headers beside it."""
        if self.is_zig:
            return [self.path.resolve().parent]
        return [self.path.resolve().parents[1]] if len(self.path.resolve().parts) > 3 else []

    def _failure(self, outcome: Outcome, limits: Limits) -> ToolchainError:
        reasons = {
            "memory": f"needed more than {limits.memory_bytes / GIB:.1f} GiB of memory",
            "cpu": f"needed more than {limits.cpu_seconds} s of CPU time",
            "wall": f"took longer than {limits.wall_seconds:.0f} s",
            "cancelled": "was cancelled",
        }
        if outcome.reason:
            reason = reasons.get(outcome.reason, f"was ended ({outcome.reason})")
            return ToolchainError(
                f"the compiler {self.path.name} {reason}",
                hint="A smaller model compiles with less; an administrator can raise the limit.",
                code=f"toolchain.{outcome.reason}",
            )
        lines = (outcome.stderr.strip() or outcome.stdout.strip()).splitlines()[-LAST_LINES:]
        text = "\n".join(lines) or f"no message, status {outcome.returncode}"
        return ToolchainError(
            f"the compiler {self.path.name} failed:\n{text}",
            hint=f"Used: {self.version}. C++17 is needed (GCC 8, Clang 7 or newer).",
            code="toolchain.compile",
        )


def _outside(folder: Path, paths: Iterable[Path]) -> list[Path]:
    """Without those that the writable folder covers: a read-only rule for it would win."""
    return sorted({path for path in paths if not path.is_relative_to(folder)})


def _zig_commands(sources: Sequence[Path], output: Path, flags: Sequence[str]) -> list[list[str | Path]]:
    """What ``zig c++`` is called with: each source for the machine that is asked for, then the link.

    Zig knows processors by other names, and takes the machine's own where none is named. It compiles the standard library that
    it links once for each processor, in a minute, so the link names none. Without -O it would trap what is undefined.
    """
    cpu = next((flag.partition("=")[2].replace("-", "_") for flag in flags if flag.startswith(("-march=", "-mcpu="))), "baseline")
    common = ["-O2", "-fno-sanitize=undefined", *(flag for flag in flags if not flag.startswith(("-march=", "-mcpu=")))]
    compiled = [source for source in sources if source.suffix in {".cpp", ".cc", ".cxx", ".C"}]
    objects = {source: output.with_name(f"{output.name}.{number}.o") for number, source in enumerate(compiled)}
    alone = [flag for flag in common if flag != "-shared" and not flag.startswith(("-l", "-L", "-Wl,"))]
    commands: list[list[str | Path]] = [[*alone, f"-mcpu={cpu}", "-c", source, "-o", to] for source, to in objects.items()]
    return [*commands, [*common, "-mcpu=baseline", *(objects.get(source, source) for source in sources), "-o", output]]


def find_compiler(
    cxx: str | None = None, *, path: str | None = None, env: Mapping[str, str] | None = None, cache: Path | None = None
) -> Compiler:
    """The first C++ compiler that runs: g++, c++, clang++, else the Clang in the ``ziglang`` wheel.

    Parameters
    ----------
    cxx
        The user's choice, as in the variable CXX: a program, perhaps with arguments (``"ccache g++ -m64"``, ``"zig c++"``).
    path
        Folders to search, as in the variable PATH; by default those of this process.
    env
        Variables that the compiler needs to run.
    cache
        Folder for the standard library of ``zig c++``; by default Zig's own, ``~/.cache/zig``.

    Raises
    ------
    ToolchainError
        There is none, or the chosen one does not run.
    """
    return _find(cxx or "", path or "", tuple(sorted((env or {}).items())), cache)


def _which(name: str, path: str) -> str | None:
    """A program in these folders; zig is also in its wheel, which may have put no link to it there."""
    found = shutil.which(name, path=path or None)
    if found is None and name == "zig" and (wheel := importlib.util.find_spec("ziglang")) and wheel.origin:
        found = shutil.which(str(Path(wheel.origin).with_name("zig")))
    return found


@functools.lru_cache(maxsize=8)
def _find(cxx: str, path: str, env: tuple[tuple[str, str], ...], cache: Path | None) -> Compiler:
    try:
        choices = [shlex.split(choice) for choice in ([cxx] if cxx.strip() else CANDIDATES)]
    except ValueError as error:
        raise ToolchainError(f"CXX is {cxx!r}: {error}", hint="Close the quotation marks.") from error
    complaints = []
    for name, *arguments in choices:
        if arguments[:2] == ["-m", "ziglang"] or name == "zig":
            name, arguments = "zig", arguments[2 * (name != "zig") :] or ["c++"]
        found = _which(name, path)
        if found is None:
            complaints.append(f"{name}: not found")
            continue
        program = Path(os.path.abspath(found))  # noqa: PTH100 - ccache's links must keep their names
        compiler = Compiler(program, "", tuple(arguments), dict(env))
        if compiler.is_zig:
            # It answers nothing, not even with its version, where it has no folder to write to.
            folder = (cache or _zig_cache()).absolute()
            folder.mkdir(parents=True, exist_ok=True)
            compiler = replace(compiler, cache=folder, env={**compiler.env, "ZIG_GLOBAL_CACHE_DIR": str(folder)})
        answer = _asked(compiler, *arguments, "--version")
        if answer.returncode == 0 and answer.stdout.strip():
            version = answer.stdout.strip().splitlines()[0]
            if compiler.is_zig:
                version = f"{version}, Zig {_asked(compiler, 'version').stdout.strip()}"
            return replace(compiler, version=version)
        complaints.append(f"{name}: {(answer.stderr.strip() or 'no answer').splitlines()[-1]}")
    raise ToolchainError(
        f"no C++ compiler runs here ({'; '.join(complaints)})",
        hint="Install g++ or clang++ (Debian and Ubuntu: apt install g++), or the wheel ziglang (pip install ziglang), which "
        "brings Clang along; or name one in CXX.",
        code="toolchain.missing",
    )


def _zig_cache() -> Path:
    """Where Zig itself would keep what it makes, so that other processes find it again."""
    try:
        return Path.home() / ".cache" / "zig"
    except RuntimeError:  # a user without an entry in the system's list, as containers like them
        return Path(tempfile.mkdtemp(prefix="zig-"))


def _asked(compiler: Compiler, *arguments: str) -> Outcome:
    return run(
        [compiler.path, *arguments],
        cwd=Path("/"),
        limits=Limits(cpu_seconds=20, wall_seconds=20),
        readable=compiler.home,
        writable=[] if compiler.cache is None else [compiler.cache],
        env=compiler.env,
    )
