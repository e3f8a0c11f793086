"""Generated code with GCC and with Clang, as Zig's wheel brings it: no warnings in a user's program, and the same numbers."""

from __future__ import annotations

import importlib.util
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from mlcore import networks
from mlcore.benchmarks import zoo
from mlcore.errors import InputError
from mlcore.networks.build import QUICK, flags_for
from mlcore.networks.compiler import translate
from mlcore.networks.emit.project import project
from mlcore.toolchain.compiler import find_compiler
from tests.mlcore.networks.models import mlp, model

PC = platform.machine() == "x86_64"
needs_zig = pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="needs the wheel ziglang")
pytestmark = pytest.mark.skipif(not PC, reason="compiles for levels of x86-64")


def convolution() -> Any:
    """Images of three channels, 3x3 windows of them, ReLU: channels last, in runs of neighbours."""
    weights = np.random.default_rng(0).standard_normal((8, 3, 3, 3)).astype(np.float32)
    nodes = [helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["a"], ["y"])]
    return model(nodes, {"x": (TensorProto.FLOAT, [1, 3, 12, 12])}, {"y": TensorProto.FLOAT}, {"w": weights})


def silent(command: list[str], folder: Path) -> None:
    """Compile what a user has, without linking."""
    for name, source in (("tagger", mlp()), ("filter", convolution())):
        for file, data in project(translate(source, name)).items():
            (folder / file).write_bytes(data)
        (folder / "unit.cpp").write_text(f'#include "main.cpp"\n#include "{name}_c.cpp"\n')
        full = [*command, "-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-c", "unit.cpp", "-o", "unit.o"]
        done = subprocess.run(full, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[:4000]


@pytest.mark.skipif("g++" not in find_compiler().version, reason="the compiler here is not GCC")
def test_gcc_has_nothing_to_say(tmp_path: Path) -> None:
    # Not for AVX-512: GCC 12 warns of its own intrinsics there.
    silent([str(find_compiler().path), "-march=x86-64-v3"], tmp_path)


@needs_zig
@pytest.mark.parametrize(
    "cpu", ["x86_64_v4", pytest.param("baseline", marks=pytest.mark.slow), pytest.param("x86_64_v3", marks=pytest.mark.slow)]
)
def test_clang_has_nothing_to_say(tmp_path: Path, cpu: str, monkeypatch: pytest.MonkeyPatch) -> None:
    zig = find_compiler("zig")
    for name, value in zig.env.items():
        monkeypatch.setenv(name, value)
    silent([str(zig.path), *zig.arguments, f"-mcpu={cpu}"], tmp_path)


@needs_zig
@pytest.mark.slow
@pytest.mark.parametrize("target", ["portable", "avx2", "avx512"])
@pytest.mark.parametrize("name", ["mlp_5x50", "cnn", "gru", "transformer", "deep_sets"])
def test_clang_computes_what_gcc_computes(tmp_path: Path, name: str, target: str) -> None:
    """Also with sizes that the call gives, for the two of sets of particles."""
    network = zoo.get(name)
    file = network.export_onnx(tmp_path / "network.onnx", dynamic=name in ("transformer", "deep_sets"))
    inputs = network.example(1)
    try:
        flags = (*QUICK, *(flag for flag in flags_for(target) if flag.startswith("-march")))
    except InputError as error:
        pytest.skip(error.message)
    answers = [
        networks.load(file, options=networks.BuildOptions(flags=flags, compiler=find_compiler(cxx))).run(inputs)
        for cxx in (None, "zig c++")
    ]
    for output, expected in answers[0].items():
        # Sums are in the order that the code says; what compilers make of constants might differ in a last bit.
        np.testing.assert_allclose(answers[1][output], expected, rtol=1e-6, atol=1e-6)
