"""Where the C library of the kernels lies: for build systems, and `python -m kernels.c_library --cmake-dir` for people.

A wheel carries `libkernels_forest`, its headers `kernels/forest.h` and `kernels/forest_api.hpp`, and a CMake package.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import kernels._native


def library() -> Path:
    """The shared library.

    Raises
    ------
    FileNotFoundError
        The kernels were built without it.
    """
    return _found("lib/libkernels_forest.so")


def include_dir() -> Path:
    """The folder to search for `kernels/forest.h`.

    Raises
    ------
    FileNotFoundError
        The kernels were built without the library.
    """
    return _found("include/kernels/forest.h").parent.parent


def cmake_dir() -> Path:
    """The folder of the CMake package: the value of `kernels_DIR` for `find_package(kernels)`.

    Raises
    ------
    FileNotFoundError
        The kernels were built without the library.
    """
    return _found("lib/cmake/kernels/kernelsConfig.cmake").parent


def _found(name: str) -> Path:
    path = Path(kernels._native.__file__).parent / name
    if not path.exists():
        message = f"{path} does not exist: the kernels were built without their C library (CMake option KERNELS_C_LIBRARY)"
        raise FileNotFoundError(message)
    return path


def main() -> None:
    """Print what the options ask for, a path a line."""
    parser = argparse.ArgumentParser(prog="python -m kernels.c_library", description="Where the C library of the kernels lies.")
    parser.add_argument("--cmake-dir", action="store_true", help="the CMake package, for -Dkernels_DIR=")
    parser.add_argument("--include-dir", action="store_true", help="the headers, for -I")
    parser.add_argument("--library", action="store_true", help="the shared library")
    options = parser.parse_args()
    paths = [
        path()
        for wanted, path in ((options.cmake_dir, cmake_dir), (options.include_dir, include_dir), (options.library, library))
        if wanted
    ]
    if not paths:
        parser.error("ask for --cmake-dir, --include-dir or --library")
    for path in paths:
        print(path)


if __name__ == "__main__":
    main()
