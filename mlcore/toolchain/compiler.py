"""The C++ compiler: found once, run in the sandbox."""

from __future__ import annotations

import functools
import os
import shlex
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlcore.errors import ToolchainError
from mlcore.toolchain.sandbox import GIB, Limits, Outcome, run

CANDIDATES = ("g++", "c++", "clang++")
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
    """

    path: Path
    version: str
    arguments: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, hash=False)

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
        options = [*self.arguments, *flags, *(f"-I{folder}" for folder in include)]
        outcome = run(
            [self.path, *options, *sources, "-o", output],
            cwd=output.parent,
            writable=[output.parent],
            readable=_outside(output.parent, [*(source.parent for source in sources), *include, *self._home()]),
            limits=limits,
            env=self.env,
            cancelled=cancelled,
        )
        if outcome.reason or outcome.returncode != 0:
            output.unlink(missing_ok=True)
            raise self._failure(outcome, limits)
        return outcome

    def _home(self) -> list[Path]:
        """The folder that the compiler is installed in, with its headers beside it."""
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


def find_compiler(cxx: str | None = None, *, path: str | None = None, env: Mapping[str, str] | None = None) -> Compiler:
    """The first C++ compiler that runs.

    Parameters
    ----------
    cxx
        The user's choice, as in the variable CXX: a program, perhaps with arguments (``"ccache g++ -m64"``).
    path
        Folders to search, as in the variable PATH; by default those of this process.
    env
        Variables that the compiler needs to run.

    Raises
    ------
    ToolchainError
        There is none, or the chosen one does not run.
    """
    return _find(cxx or "", path or "", tuple(sorted((env or {}).items())))


@functools.lru_cache(maxsize=8)
def _find(cxx: str, path: str, env: tuple[tuple[str, str], ...]) -> Compiler:
    try:
        choices = [tuple(shlex.split(cxx))] if cxx.strip() else [(name,) for name in CANDIDATES]
    except ValueError as error:
        raise ToolchainError(f"CXX is {cxx!r}: {error}", hint="Close the quotation marks.") from error
    complaints = []
    for name, *arguments in choices:
        found = shutil.which(name, path=path or None)
        if found is None:
            complaints.append(f"{name}: not found")
            continue
        program = Path(os.path.abspath(found))  # noqa: PTH100 - ccache's links must keep their names
        readable = [program.resolve().parents[1]] if len(program.resolve().parts) > 3 else []
        limits = Limits(cpu_seconds=20, wall_seconds=20)
        outcome = run([program, *arguments, "--version"], cwd=Path("/"), limits=limits, readable=readable, env=dict(env))
        if outcome.returncode == 0 and outcome.stdout.strip():
            return Compiler(program, outcome.stdout.strip().splitlines()[0], tuple(arguments), dict(env))
        complaints.append(f"{name}: {(outcome.stderr.strip() or 'no answer').splitlines()[-1]}")
    raise ToolchainError(
        f"no C++ compiler runs here ({'; '.join(complaints)})",
        hint="Install one (Debian and Ubuntu: apt install g++) or name one in CXX.",
        code="toolchain.missing",
    )
