"""Compiled networks wait for the next process in the user's folder, which nobody else may write to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto

from mlcore.networks import build
from tests.mlcore.networks.models import model

LOAD = "import sys; from mlcore import networks; print(networks.load(sys.argv[1]).compile_seconds)"


def network(folder: Path, scale: str) -> Path:
    path = folder / f"{scale}.onnx"
    proto = model([onnx.helper.make_node(scale, ["x"], ["y"])], {"x": (TensorProto.FLOAT, [3])}, {"y": TensorProto.FLOAT})
    onnx.save(proto, path)
    return path


def test_the_next_process_finds_what_one_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = network(tmp_path, "Tanh")
    took = [
        float(subprocess.run([sys.executable, "-c", LOAD, path], capture_output=True, text=True, check=True).stdout)
        for _ in range(2)
    ]
    assert took[0] > 0
    assert took[1] == 0
    assert len(list((tmp_path / "cache" / "ml4ep" / "networks").glob("network-*.so"))) == 1


def test_a_folder_that_others_may_write_to_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "ml4ep" / "networks"
    folder.mkdir(parents=True)
    folder.chmod(0o700)
    assert build.user_cache() == folder
    folder.chmod(0o777)
    assert build.user_cache() != folder


def test_the_newest_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlcore import networks

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "KEPT", 1)
    options = networks.BuildOptions(flags=build.QUICK)
    for kind in ("Sin", "Cos"):
        networks.load(network(tmp_path, kind), options=options)
    assert networks.load(network(tmp_path, "Cos"), options=options).compile_seconds == 0
    assert networks.load(network(tmp_path, "Sin"), options=options).compile_seconds > 0
