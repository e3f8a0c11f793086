"""``ml4ep network``: real models through each command, without a database or a server."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from tests.mlcore.networks.models import mlp, mlp_answer, model


@pytest.fixture
def tagger(tmp_path: Path) -> str:
    """The path of a small network in the folder where commands run."""
    (tmp_path / "Jet-Tagger v2.onnx").write_bytes(mlp().SerializeToString())
    return "Jet-Tagger v2.onnx"


@pytest.fixture
def unsupported(tmp_path: Path) -> str:
    proto = model([helper.make_node("Relo", ["x"], ["y"], name="misspelt")], {"x": (1, [4])}, {"y": 1})
    (tmp_path / "odd.onnx").write_bytes(proto.SerializeToString())
    return "odd.onnx"


def test_inspect(ml4ep: Any, said: Any, tagger: str) -> None:
    shown = ml4ep("network", "inspect", tagger).stdout
    for told in ("Parameters", "212", "ai.onnx 17", "batch × 8", "MatMul"):
        assert told in shown
    found = said("network", "inspect", tagger)
    assert dict(found["facts"])["Parameters"] == 212
    assert "graph" not in found


def test_inspect_takes_what_is_not_supported(ml4ep: Any, unsupported: str) -> None:
    assert "Relo" in ml4ep("network", "inspect", unsupported).stdout


def test_check(ml4ep: Any, said: Any, tagger: str) -> None:
    shown = ml4ep("network", "check", tagger).stdout
    assert "can be compiled" in shown
    assert "Linear + Add, Relu" in shown
    found = said("network", "check", tagger, "--shape", "x: 10, 8")
    assert found["supported"]
    assert found["total"]["macs"] == "1920"
    assert found["symbols"] == []


def test_check_fails_where_something_is_not_supported(ml4ep: Any, unsupported: str) -> None:
    shown = ml4ep("network", "check", unsupported, code=1)
    assert "One node is not supported." in shown.stdout
    assert "misspelt" in shown.stdout
    found = json.loads(ml4ep("network", "check", unsupported, "--json", code=1).stdout)
    assert [item["operator"] for item in found["unsupported"]] == ["Relo"]


def test_a_file_is_run(ml4ep: Any, said: Any, tagger: str, tmp_path: Path) -> None:
    x = np.random.default_rng(3).standard_normal((5, 8)).astype(np.float32)
    np.savez(tmp_path / "in.npz", x=x, other=np.zeros(2))
    found = said("network", "run", tagger, "in.npz", "--out", "out.npz")
    assert found == {"outputs": {"y": {"type": "float32", "shape": [5, 4]}}, "out": "out.npz"}
    with np.load(tmp_path / "out.npz") as arrays:
        np.testing.assert_allclose(arrays["y"], mlp_answer(mlp(), x), atol=1e-5)  # sums of 16 products of float32
    np.save(tmp_path / "in.npy", x)
    ml4ep("network", "run", tagger, "in.npy", "-o", "out.npy")
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), mlp_answer(mlp(), x), atol=1e-5)


def test_random_inputs_are_the_same_for_a_seed(ml4ep: Any, tagger: str) -> None:
    def shown(*words: str) -> str:
        return str(ml4ep("network", "run", tagger, "--random", *words).stdout)

    first = shown("--size", "batch=3")
    assert "3 × 4" in first
    assert shown("--size", "batch=3") == first
    assert shown("--size", "batch=3", "--seed", "1") != first


def test_what_comes_out_need_not_be_a_tensor(ml4ep: Any, said: Any, tmp_path: Path) -> None:
    nodes = [helper.make_node("SplitToSequence", ["x"], ["y"], axis=0)]
    proto = model(nodes, {"x": (1, [3, 2])}, {})
    proto.graph.output.append(helper.make_tensor_sequence_value_info("y", 1, None))
    (tmp_path / "split.onnx").write_bytes(proto.SerializeToString())
    assert "3 items" in ml4ep("network", "run", "split.onnx", "--random").stdout
    assert said("network", "run", "split.onnx", "--random")["outputs"]["y"] == [{"type": "float32", "shape": [1, 2]}] * 3
    refused = ml4ep("network", "run", "split.onnx", "--random", "--out", "y.npz", code=1)
    assert "cannot be saved" in refused.stderr


def test_compile(ml4ep: Any, tagger: str, tmp_path: Path) -> None:
    """The name comes from the file's; the self-test passes with a plain compiler."""
    result = ml4ep("network", "compile", tagger, "--out", "cpp", "-v")
    assert "agrees with onnxruntime" in result.stdout
    assert "2 nodes after all passes" in result.stderr
    folder = tmp_path / "cpp" / "jet_tagger_v2"
    assert {"jet_tagger_v2.hpp", "jet_tagger_v2.weights", "selftest.cpp"} <= {path.name for path in folder.iterdir()}
    assert (tmp_path / "cpp" / "jet_tagger_v2.zip").is_file()
    subprocess.run(["g++", "-std=c++17", "-O1", "selftest.cpp", "-o", "selftest"], cwd=folder, check=True)
    subprocess.run(["./selftest"], cwd=folder, check=True)
    again = ml4ep("network", "compile", tagger, "--out", "cpp", code=1)
    assert "is there already" in again.stderr


def test_compile_for_programs(said: Any, tagger: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", x=np.ones((2, 8), np.float32))
    words = ("--name", "tiny", "--shape", "x: 2, 8", "--samples", "in.npz", "--target", "portable", "--time")
    done = said("network", "compile", tagger, *words)
    assert (done["name"], done["folder"], done["archive"]) == ("tiny", "tiny", "tiny.zip")
    assert done["inputs"] == ["x: float32[2, 8]"]
    assert len(done["agreements"]) == 2, "random inputs and samples"
    assert "-march=native" not in done["flags"]
    assert done["timings"][0]["seconds"] > 0
    assert (tmp_path / "tiny" / "tiny.hpp").is_file()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("check", "none.onnx"), "There is no file none.onnx"),
        (("check", "model.pkl"), "pickle"),
        (("inspect", "text.onnx"), "damaged"),
        (("check", "text.onnx"), "no ONNX model"),
        (("check", "MODEL", "--shape", "x 3"), "names no input"),
        (("run", "MODEL", "--random", "--shape", "z: 3"), "no input 'z'"),
        (("run", "MODEL"), "Give either"),
        (("run", "MODEL", "in.npz", "--random"), "Give either"),
        (("run", "MODEL", "in.npz", "--size", "batch=3"), "goes with --random"),
        (("run", "MODEL", "--random", "--size", "n=3"), "Its symbols: batch."),
        (("run", "MODEL", "--random", "--out", "y.csv"), "--out outputs.npz"),
        (("run", "MODEL", "text.npz"), "cannot be read as arrays"),
        (("compile", "odd.onnx"), "ml4ep network check odd.onnx"),
        (("compile", "MODEL", "--name", "a b"), "cannot be the name"),
    ],
)
def test_what_goes_wrong_is_told(
    ml4ep: Any, tagger: str, unsupported: str, tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps({"a": 1}))
    for name in ("text.onnx", "text.npz"):
        (tmp_path / name).write_text("a text")
    result = ml4ep("network", *(tagger if word == "MODEL" else word for word in words), code=1)
    told_of = " ".join(result.stderr.split())
    assert "ml4ep: " in told_of
    assert told in told_of
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_neither_database_nor_web_is_loaded(tagger: str, tmp_path: Path) -> None:
    code = (
        "import sys; from portal.cli.app import app\n"
        "try:\n    app(['network', 'check', sys.argv[1]])\n"
        "except SystemExit as ending:\n    assert not ending.code, ending.code\n"
        "print('django' in sys.modules)"
    )
    environment = os.environ | {"ML4EP_DATA_DIR": str(tmp_path / "data")}
    words = [sys.executable, "-c", code, str(tmp_path / tagger)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120, env=environment)
    assert done.stdout.strip().endswith("False"), done.stderr
    assert not (tmp_path / "data").exists()
