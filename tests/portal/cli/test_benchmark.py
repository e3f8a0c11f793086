"""``ml4ep benchmark``: a run on this machine, what there is, what a report says, two compared, and mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from portal.cli.app import app
from tests.mlcore.benchmarks.reports import measured, report, small
from tests.mlcore.networks.models import mlp


def run(*arguments: Any, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["benchmark", *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else done.output


def test_a_run_on_this_machine(tmp_path: Path) -> None:
    (tmp_path / "tagger.onnx").write_bytes(mlp().SerializeToString())
    said = run(
        "run", "--files", tmp_path / "tagger.onnx", "--engines", "onnxruntime_python", "--batches", 1, "--quick", "--out",
        tmp_path / "out",
    )  # fmt: skip
    assert "tagger.onnx" in said
    data = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert [cell["status"] for cell in data["cells"]] == ["measured"]
    assert "ONNX Runtime, Python" in run("show", tmp_path / "out" / "benchmark.json")


def test_what_there_is() -> None:
    assert "own_portable" in run("engines")
    listed = {each["name"]: each for each in json.loads(run("engines", "--json"))}
    assert listed["onnxruntime_c"]["kinds"] == ["network", "forest"]
    assert all(each["version"] or each["absent"] or each["name"].startswith("own_") for each in listed.values())
    assert "particle_transformer" in run("models")


def test_two_reports_are_compared(tmp_path: Path) -> None:
    report([measured("m", "a", 10)]).save(tmp_path / "1.json")
    report([measured("m", "a", 8)]).save(tmp_path / "2.json")
    assert "1 faster, 0 slower" in run("compare", tmp_path / "1.json", tmp_path / "2.json")
    assert json.loads(run("compare", tmp_path / "2.json", tmp_path / "1.json", "--json"))["changes"][0]["verdict"] == "slower"


def test_mistakes(tmp_path: Path) -> None:
    small().save(tmp_path / "report.json")
    assert "(13.00 ×)" in run("show", tmp_path / "report.json", "--against", "own")
    assert "no engine 'owm'" in run("show", tmp_path / "report.json", "--against", "owm", code=1)
    (tmp_path / "x.json").write_text("{}")
    assert "no report of a benchmark" in run("show", tmp_path / "x.json", code=1)
    assert "no environment of its own" in run("install", "torch_eager", "--environments", tmp_path / "e", code=1)
    assert not (tmp_path / "e").exists()
    assert "cannot be read" in run("compare", tmp_path / "report.json", tmp_path / "nothing.json", code=1)
