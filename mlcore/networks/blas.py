"""Libraries of matrix products that generated code may be compiled with: OpenBLAS and oneDNN.

Generated code needs neither. Compiled with ``-DML4EP_BLAS`` or ``-DML4EP_ONEDNN`` it leaves large products to the library
(`kernels/nn/blas.hpp`); here the library is found, as the system or a Python package has it.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from mlcore.errors import ToolchainError

Blas = Literal["none", "openblas", "onednn"]

_PACKAGES = {"openblas": "scipy-openblas32", "onednn": "onednn-cpu-gomp"}
_FILES = {"openblas": "libopenblas.so", "onednn": "libdnnl.so"}
_SYSTEM = ("/usr/local/lib", "/usr/local/lib64", "/usr/lib", "/usr/lib64")


@dataclass(frozen=True)
class ProductLibrary:
    """A library that large matrix products are left to.

    Attributes
    ----------
    name
        As it was asked for.
    path
        What is linked.
    defines
        The compiler's options that ask for it.
    """

    name: str
    path: Path
    defines: tuple[str, ...]

    @property
    def link_flags(self) -> tuple[str, ...]:
        """Options for the linker behind the library: where it is found when the code runs."""
        return (f"-Wl,-rpath,{self.path.parent}",)


def find_library(name: Blas, *, folders: tuple[Path, ...] | None = None) -> ProductLibrary | None:
    """The library of a name on this machine; None for ``"none"``.

    Parameters
    ----------
    folders
        Where to look; by default the environment of this Python and the folders of the system.

    Raises
    ------
    ToolchainError
        There is none.
    """
    if name == "none":
        return None
    if name not in get_args(Blas):
        raise ToolchainError(f"there is no library {name!r}", hint="There are openblas and onednn.", code="toolchain.blas")
    defines = ("-DML4EP_ONEDNN",) if name == "onednn" else ("-DML4EP_BLAS",)
    for folder in _folders() if folders is None else folders:
        found = folder / _FILES[name]
        if found.is_file():
            return ProductLibrary(name, found, defines)
    if name == "openblas" and folders is None and (wheel := _of_wheel()) is not None:
        return ProductLibrary(name, wheel, (*defines, "-DML4EP_BLAS_PREFIX=scipy_"))
    raise ToolchainError(
        f"there is no {_FILES[name]} on this machine",
        hint=f"pip install {_PACKAGES[name]}, or compile without: the code has kernels of its own.",
        code="toolchain.blas",
    )


def _folders() -> tuple[Path, ...]:
    own = Path(sys.prefix) / "lib"
    system = [Path(folder) for folder in _SYSTEM]
    return (own, *system, *(found for folder in system[2:3] for found in sorted(folder.glob("*-linux-gnu*"))))


def _of_wheel() -> Path | None:
    """OpenBLAS as the wheel scipy-openblas32 brings it, without importing that, which would load the library."""
    spec = importlib.util.find_spec("scipy_openblas32")
    path = Path(spec.origin).parent / "lib" / "libscipy_openblas.so" if spec is not None and spec.origin else None
    return path if path is not None and path.is_file() else None
