"""Generated code: what stands in it once."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from mlcore.networks.build import QUICK, BuildOptions
from mlcore.networks.compiler import translate
from mlcore.networks.emit.project import References, project
from mlcore.networks.predictor import load
from mlcore.toolchain.compiler import find_compiler
from tests.mlcore.networks.models import model


def test_equal_functions_of_products_are_one() -> None:
    """Three layers of one shape: two do the same with their results and so are one kernel, the last does something else."""
    rng = np.random.default_rng(0)
    constants: dict[str, np.ndarray] = {}
    nodes = []
    for i, activation in enumerate(("Relu", "Relu", "Tanh")):
        constants |= {f"w{i}": rng.standard_normal((8, 8)).astype(np.float32), f"b{i}": rng.standard_normal(8).astype(np.float32)}
        nodes += [
            helper.make_node("Gemm", [f"x{i}" if i else "x", f"w{i}", f"b{i}"], [f"sum{i}"]),
            helper.make_node(activation, [f"sum{i}"], [f"x{i + 1}"]),
        ]
    proto = model(nodes, {"x": (TensorProto.FLOAT, [3, 8])}, {"x3": TensorProto.FLOAT}, constants)
    code = translate(proto, "layers").code
    assert code.count("inline constexpr auto add_relu = [](") == 1
    assert (code.count("after::add_relu,"), code.count("after::add_tanh,")) == (2, 1)

    x = rng.standard_normal((3, 8)).astype(np.float32)
    expected = x.astype(np.float64)
    for i in range(3):
        total = expected @ constants[f"w{i}"] + constants[f"b{i}"]
        expected = np.tanh(total) if i == 2 else np.maximum(total, 0)
    found = load(proto, options=BuildOptions(flags=QUICK)).run({"x": x})["x3"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)  # float32 sums of eight terms, three layers deep


def test_weights_that_are_used_again_are_stored_once() -> None:
    """A step that is taken four times, and one with other weights: as many bytes as where each is taken once."""
    rng = np.random.default_rng(0)
    constants = {
        name: rng.standard_normal(shape).astype(np.float32)
        for name, shape in (("w", (8, 8)), ("b", (8,)), ("other_w", (8, 8)), ("other_b", (8,)))
    }

    def steps(repeated: int) -> Any:
        nodes = []
        for i in range(repeated + 1):
            weights = ["w", "b"] if i < repeated else ["other_w", "other_b"]
            nodes += [
                helper.make_node("Gemm", [f"x{i}" if i else "x", *weights], [f"sum{i}"]),
                helper.make_node("Relu", [f"sum{i}"], [f"x{i + 1}"]),
            ]
        return model(nodes, {"x": (TensorProto.FLOAT, [3, 8])}, {f"x{repeated + 1}": TensorProto.FLOAT}, constants)

    stored = len(translate(steps(4), "steps").weights)
    assert stored == len(translate(steps(1), "steps").weights)
    assert stored >= 2 * 4 * (64 + 8)

    x = rng.standard_normal((3, 8)).astype(np.float32)
    expected = x.astype(np.float64)
    for i in range(5):
        prefix = "" if i < 4 else "other_"
        expected = np.maximum(expected @ constants[f"{prefix}w"] + constants[f"{prefix}b"], 0)
    found = load(steps(4), options=BuildOptions(flags=QUICK)).run({"x": x})["x5"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)  # float32 sums of eight terms, five layers deep


def named(names: list[str], *, joined: bool = False) -> dict[str, bytes]:
    """A project whose inputs and sizes have these names; each of them makes code with local names of many kinds.

    Parameters
    ----------
    joined
        Whether there is one output, so that the code has a functor.
    """
    nodes, outputs = [], [f"!c{i}" for i in range(len(names))]
    for i, name in enumerate(names):
        nodes += [
            helper.make_node("Softmax", [name], [f"!a{i}"], axis=0),
            helper.make_node("MatMul", [f"!a{i}", "!w"], [f"!b{i}"]),
            helper.make_node("Softmax", [f"!b{i}"], [f"!c{i}"], axis=0),
        ]
    if joined:
        nodes.append(helper.make_node("Concat", outputs, ["!y"], axis=0))
        outputs = ["!y"]
    inputs: dict[str, Any] = {name: (TensorProto.FLOAT, [name, 2]) for name in names}
    proto = model(nodes, inputs, dict.fromkeys(outputs, TensorProto.FLOAT), {"!w": np.ones((2, 3), np.float32)})
    emitted = translate(proto, "network")
    given = tuple(np.zeros((1, 2), np.float32) for _ in names)
    wanted = tuple(np.zeros((len(names) if joined else 1, 3), np.float32) for _ in outputs)
    sizes, tolerances = {item.name: 1 for item in emitted.sizes}, (1e-6,) * len(outputs)
    return project(emitted, references=References(given, wanted, sizes, tolerances, "nothing"))


def compile_files(contents: dict[str, bytes], folder: Path, *names: str) -> None:
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    for name in names:
        language = ["-x", "c", "-std=c99"] if name.endswith(".c") else ["-std=c++17"]
        command = [str(find_compiler().path), *language, "-fsyntax-only", "-w", name]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[:2000]


def test_no_name_of_a_model_is_one_of_the_codes_own(tmp_path: Path) -> None:
    """Inputs and sizes that are called as anything in the code around them is: header, example, self-test, C face."""
    texts = {name: content.decode() for name, content in named(["alpha", "beta"]).items() if name.endswith("pp")}
    texts["network.hpp"] = texts["network.hpp"].partition("namespace nn = kernels::nn;")[2]
    words = {word for word in re.findall(r"[a-z]\w*", "".join(texts.values())) if word.islower()} - {"network"}
    words |= {f"{prefix}{i}" for prefix in ("a", "b", "row", "s", "slot", "t", "u", "w", "x", "y") for i in range(4)}
    assert {"weights", "workspace", "in", "run", "this", "wrong"} <= words
    words |= {"restrict", "_Bool", "main"}
    contents = named(sorted(words)) | {"use.c": b'#include "network.h"\n'}
    compile_files(contents, tmp_path, "main.cpp", "selftest.cpp", "network_c.cpp", "use.c")


def test_nor_one_of_the_functors(tmp_path: Path) -> None:
    names = ["session", "workspaces", "slot", "n_slots", "result", "weights_path", "x0", "nn", "std"]
    contents = named(names, joined=True)
    vectors = ", ".join(["std::vector<float>{1, 2}"] * len(names))
    contents["main.cpp"] += f"auto use(network::Functor<>& f) {{ return f(0, {vectors}); }}\n".encode()
    compile_files(contents, tmp_path, "main.cpp")
