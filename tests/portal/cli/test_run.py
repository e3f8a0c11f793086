"""``ml4ep run``: options from the schema, the job in its sandboxed child, results in the folder."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field

from portal.cli import run
from portal.jobs import registry
from portal.jobs.registry import JobType, Params, file_field


def test_a_run_on_this_machine(ml4ep: Any, tmp_path: Path) -> None:
    result = ml4ep("run", "worker-check", "--seconds", "0.3", "--out", "result")
    assert "Ran for" in result.stdout
    assert "asked for 0.3 s" in result.stdout
    assert "report.json" in result.stdout
    assert "Counting" in result.stderr
    report = json.loads((tmp_path / "result" / "report.json").read_text())
    assert report["seconds"] >= 0.3
    manifest = json.loads((tmp_path / "result" / "manifest.json").read_text())
    assert manifest["type"] == "worker-check"
    assert manifest["options"] == {"seconds": 0.3, "memory_mb": 0, "ending": "well"}
    assert manifest["versions"]["ml4ep-portal"]


def test_results_for_programs(said: Any, tmp_path: Path) -> None:
    done = said("run", "worker-check", "--seconds", "0")
    assert (done["type"], done["state"]) == ("worker-check", "SUCCEEDED")
    (artifact,) = done["artifacts"]
    path = tmp_path / artifact["path"]
    assert path.parent.name == "worker-check", "the folder is called like the type by default"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == artifact["sha256"]
    assert done["result"]["figures"]


def test_a_folder_with_files_is_not_written_into(ml4ep: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("mine")
    refused = ml4ep("run", "worker-check", "--seconds", "0", "-o", "out", code=1)
    assert "has files in it" in refused.stderr
    ml4ep("run", "worker-check", "--seconds", "0", "-o", "out", "--force")
    assert (tmp_path / "out" / "precious").read_text() == "mine"
    assert "is a file" in ml4ep("run", "worker-check", "-o", "out/precious", code=1).stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--seconds", "-1"), "--seconds: Input should be greater than or equal to 0"),
        (("--memory-mb", "1000000"), "--memory-mb: "),
        (("--seconds", "0", "--ending", "error"), "Choose another ending."),
        (("--seconds", "0", "--ending", "crash"), "Its traceback is in"),
        (("--seconds", "0", "--ending", "exit"), "exit code 3"),
    ],
)
def test_what_goes_wrong_is_told_and_leaves_nothing(ml4ep: Any, tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    result = ml4ep("run", "worker-check", *words, code=1)
    assert "ml4ep: " in result.stderr
    assert told in result.stderr
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("--ending", "nobly"), ("--seconds", "long"), ("--colour", "red")])
def test_words_that_are_no_options(ml4ep: Any, words: tuple[str, ...]) -> None:
    result = ml4ep("run", "worker-check", *words, code=2)
    assert "Usage:" in result.stderr
    assert words[0] in result.stderr


def test_an_unknown_type(ml4ep: Any) -> None:
    assert "No such command" in ml4ep("run", "no-such", code=2).stderr


def test_limits_hold_here_too(ml4ep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlcore.toolchain.sandbox import Limits

    job_type = registry.get("worker-check")
    monkeypatch.setattr(type(job_type), "limits", Limits(wall_seconds=0.5))
    began = time.monotonic()
    result = ml4ep("run", "worker-check", "--seconds", "60", code=1)
    assert "ran longer than it may: 0.5 s" in result.stderr
    assert time.monotonic() - began < 50


def test_files_are_looked_at_first(ml4ep: Any, tmp_path: Path) -> None:
    assert "there is no file" in ml4ep("run", "forest-to-cpp", "--model", "none.json", code=1).stderr
    (tmp_path / "text.json").write_text("a text")
    assert "this needs xgboost-json or" in ml4ep("run", "forest-to-cpp", "--model", "text.json", code=1).stderr
    (tmp_path / "model.pkl").write_bytes(pickle.dumps({"a": 1}))
    refused = ml4ep("run", "forest-to-cpp", "--model", "model.pkl", code=1)
    assert "pickle" in refused.stderr
    assert "save_model" in refused.stderr


@pytest.mark.slow
def test_a_forest_becomes_cpp(said: Any, tmp_path: Path) -> None:
    """The whole way with a real model, files given as paths."""
    import numpy as np
    import xgboost

    rows = np.random.default_rng(1).normal(size=(200, 3)).astype(np.float32)
    data = xgboost.DMatrix(rows, label=(rows[:, 0] > 0).astype(np.float32))
    xgboost.train({"max_depth": 3, "objective": "binary:logistic"}, data, num_boost_round=3).save_model(tmp_path / "model.json")
    done = said("run", "forest-to-cpp", "--model", "model.json", "--name", "tiny", "--rows", "1000", "--out", "cpp")
    names = {Path(each["path"]).name for each in done["artifacts"]}
    assert {"tiny.hpp", "tiny.zip", "main.cpp", "CMakeLists.txt"} <= names
    assert all((tmp_path / "cpp" / name).is_file() for name in names)
    sha256 = hashlib.sha256((tmp_path / "model.json").read_bytes()).hexdigest()
    assert done["manifest"]["inputs"] == {"model.json": sha256}
    assert "model" not in done["manifest"]["options"], "paths of this machine stay out of the manifest"


# --- options from the schema --------------------------------------------------------------------------------------------------


class OddParams(Params):
    """One of each kind."""

    model: str = file_field(title="Model", description="A model", kinds=("onnx",))
    count: int = Field(3, ge=1, le=9, description="How many")
    ratio: float | None = Field(None, gt=0, description="A share", json_schema_extra={"x-unit": "%"})
    colour: Literal["red", "green"] = Field("red", description="Which")
    fast_mode: bool = Field(True, description="Quick")
    names: list[str] = Field(default_factory=list, description="Some names")


class Odd(JobType[OddParams]):
    slug = "odd"
    title = "Odd"
    summary = "One option of each kind"
    duration = "no time"
    gives = (("a.txt", "a text"),)
    Params = OddParams

    def run(self, context: Any, params: Any) -> Any:
        raise NotImplementedError


def help_of(job_type: Any) -> str:
    import typer
    from typer.testing import CliRunner

    app = typer.Typer()

    class Group(typer.core.TyperGroup):
        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            return run.command(job_type)

    app = typer.Typer(cls=Group)
    app.callback()(lambda: None)
    return CliRunner().invoke(app, [job_type.slug, "--help"], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"}).stdout


def test_options_say_what_the_schema_says() -> None:
    text = " ".join(help_of(Odd()).split())
    assert "--model FILE A model. [required]" in text
    assert "--count N How many; 1 to 9; default: 3." in text
    assert "--ratio X A share; in %;" in text
    assert "--colour" in text
    assert "red|green" in text
    assert "--fast-mode" in text
    assert "--no-fast-mode" in text
    assert "default: true" in text
    assert "--names TEXT" in text
    assert "Example: ml4ep run odd --model FILE --out odd" in text
    assert "a.txt: a text" in text


def test_names_that_the_command_itself_uses_are_refused() -> None:
    class TakenParams(Params):
        """Taken."""

        out: str = ""

    class Taken(Odd):
        slug = "taken"
        Params = TakenParams  # type: ignore[assignment]

    with pytest.raises(RuntimeError, match="may not be called out"):
        run.command(Taken())


@pytest.mark.parametrize("slug", sorted(registry.all_types()))
def test_every_job_type_has_its_command(ml4ep: Any, slug: str) -> None:
    text = ml4ep("run", slug, "--help").stdout
    for name in registry.get(slug).schema().get("properties", {}):
        assert f"--{name.replace('_', '-')}" in text


def test_interrupting_ends_the_run(tmp_path: Path) -> None:
    """Ctrl-C in a real terminal process: the child is gone, nothing is left."""
    command = [sys.executable, "-c", "from portal.cli import main; main()", "run", "worker-check", "--seconds", "300", "-v"]
    data = {"ML4EP_DATA_DIR": str(tmp_path / "data"), "TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | data,
        start_new_session=True,
    )
    assert process.stderr is not None
    line = ""
    while "runs for 300 s" not in line:
        line = process.stderr.readline()
        assert line, "the run ended before it began"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode != 0
    assert "Traceback" not in errors
    assert list((tmp_path / "tmp").iterdir()) == []
    assert not (tmp_path / "worker-check").exists()
