"""Engines: found where they are installed, in environments of their own too; named with a reason where they are not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlcore.benchmarks import engines, environments, matrix
from mlcore.benchmarks.engines import Site
from mlcore.benchmarks.engines._engine import one_line
from mlcore.benchmarks.folding import folded
from mlcore.errors import InputError, ToolchainError
from tests.mlcore.benchmarks import fake_engines

ROOT = Path(__file__).resolve().parents[3]


def test_listing_all_engines_imports_none() -> None:
    code = (
        "import sys; from mlcore.benchmarks import engines, matrix; from pathlib import Path\n"
        "for name in engines.names(): matrix.engine_facts(name, matrix.Site(Path('/')))\n"
        "matrix.subjects()\n"
        "print([name for name in ('torch', 'onnxruntime', 'xgboost', 'lightgbm', 'jax', 'ROOT') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_what_pages_read_is_light() -> None:
    code = (
        "import sys; from mlcore.benchmarks import advice, comparing, report\n"
        "print([name for name in ('torch', 'onnx', 'onnxruntime', 'scipy', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_an_engine_is_found_in_its_own_environment(tmp_path: Path) -> None:
    engine = fake_engines.ABSENT
    assert engine.absent(Site(tmp_path)) == "not installed: pip install fake-engine"
    packages = tmp_path / "engines" / "absent" / "lib" / "python3.99" / "site-packages"
    (packages / "fake_engine-7.1.dist-info").mkdir(parents=True)
    (packages / "fake_engine-7.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-engine\nVersion: 7.1\n")
    (packages / "a_module_that_nobody_has.py").touch()
    site = Site(tmp_path, tmp_path / "engines")
    assert engine.absent(site) == ""
    assert engine.version(site) == "7.1"
    assert str(packages) not in sys.path
    assert engine.absent(Site(tmp_path)) != ""
    assert Site.from_json(site.to_json()) == site


def test_every_engine_that_is_not_here_says_how_to_have_it(tmp_path: Path) -> None:
    for name in engines.names():
        facts = matrix.engine_facts(name, Site(tmp_path))
        assert facts.install
        if facts.absent.startswith("not installed"):
            assert facts.install in facts.absent


def test_an_environment_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no environment of its own"):
        environments.install(fake_engines.GOOD, tmp_path)
    with pytest.raises(ToolchainError, match="cannot be installed"):
        environments.install(fake_engines.UNINSTALLABLE, tmp_path)
    assert not (tmp_path / "uninstallable" / "ready").exists()


def test_reasons_are_one_line_without_folders() -> None:
    said = "compiling\n/home/a/b/net.c:3: error: no sgemm\nmore"
    assert one_line(said) == "net.c:3: error: no sgemm"
    assert one_line("first\nlast words") == "last words"
    assert one_line("") == ""
    assert len(one_line("x" * 500)) == 200


def test_constants_are_folded(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="it folds")
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])
    nodes = [helper.make_node("Mul", ["a", "b"], ["c"]), helper.make_node("Add", ["x", "c"], ["y"])]
    constants = [numpy_helper.from_array(np.full(3, value, np.float32), name) for name, value in (("a", 2), ("b", 3))]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], constants), opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )
    onnx.save(model, tmp_path / "model.onnx")
    found = onnx.load(folded(tmp_path / "model.onnx", tmp_path / "folded.onnx"))
    assert [node.op_type for node in found.graph.node] == ["Add"]


@pytest.mark.parametrize("name", ["own_avx512", "own_avx2", "own_portable"])
def test_own_code_is_refused_where_the_processor_cannot_run_it(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from mlcore.networks import build

    monkeypatch.setattr(build, "_cpu", lambda: "flags : sse2")
    reason = engines.get(name).absent(Site(tmp_path))
    assert ("this machine has no" in reason) == (name != "own_portable")


def test_the_docs_have_every_engine_as_it_is() -> None:
    text = (ROOT / "docs" / "reference" / "benchmarks.md").read_text(encoding="utf-8")
    drivers = {"native": "C++", "python": "Python"}
    threads = {"inside": "share an inference", "beside": "a batch each", "one": "none"}
    for engine in map(engines.get, engines.names()):
        kinds = " and ".join(f"{kind}s" for kind in engine.kinds)
        line = f"| `{engine.name}` {engine.title} | {kinds} | {drivers[engine.driver]} | {threads[engine.threads]} |"
        assert line in text, f"docs/reference/benchmarks.md lacks {line}"
