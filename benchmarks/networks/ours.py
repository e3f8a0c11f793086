"""This project's contender: the C++ that `mlcore.networks` generates, compiled into an adapter."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from benchmarks import native
from benchmarks.environment import UnavailableError
from benchmarks.networks.native import SOURCES, Native
from benchmarks.networks.peers import Contender, contender
from benchmarks.networks.tasks import Task
from mlcore import networks
from mlcore.errors import UnsupportedFeatureError
from mlcore.networks.build import FAST
from mlcore.toolchain.compiler import find_compiler

OURS = "ours"
FLAGS = FAST
"""What the generated projects say they are compiled with."""


def open_task(task: Task) -> Contender:
    """The network as PyTorch exports it, converted now: what the compiler writes changes with every change to it.

    Raises
    ------
    UnavailableError
        The compiler does not take the network.
    """
    output = task.folder / "ours"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    start = time.perf_counter()
    try:
        report = networks.compile_model(task.onnx, output, name="network")
    except UnsupportedFeatureError as error:
        raise UnavailableError(error.message) from error
    seconds = time.perf_counter() - start
    return open_project(task, report.folder, seconds)


def open_again(task: Task) -> Native:
    """Another user of the network that was opened last, with tensors and a workspace of its own."""
    output = task.folder / "ours"
    inputs = {name: array.copy() for name, array in task.inputs.items()}
    return Native(output / "network.so", [output / "network" / "network.weights"], inputs, task.outputs)


def open_project(task: Task, project: Path, seconds: float) -> Contender:
    """A generated project, of the name ``network``, that took so many seconds to make."""
    header = project / "network.hpp"
    library, weights = project.parent / "network.so", project / "network.weights"
    definitions = (f'-DHEADER="{header}"', f"-DN_TENSORS={len(task.inputs) + len(task.outputs)}")
    flags = (*FLAGS, "-fPIC", "-shared", f"-I{native.HEADERS}", f"-I{SOURCES}", *definitions)
    native.run([find_compiler().path, *flags, SOURCES / "ours.cpp", "-o", library, "-ldl"])
    opened = Native(library, [weights], task.inputs, task.outputs)
    return contender(opened, task, (library, weights), seconds)
