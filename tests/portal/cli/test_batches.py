"""``ml4ep batches``: what it says of files, and what it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import uproot
from typer.testing import CliRunner

from portal.cli.app import app

ROWS = 3000


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("cli") / "events.root"
    rng = np.random.default_rng(5)
    with uproot.recreate(path) as root:
        root.mktree("Events", {"pt": "float32", "eta": "float64", "label": "int32", "row": "int32"}).extend(
            {
                "pt": rng.exponential(20, ROWS).astype(np.float32), "eta": rng.standard_normal(ROWS),
                "label": rng.integers(0, 2, ROWS).astype(np.int32), "row": np.arange(ROWS, dtype=np.int32),
            }
        )  # fmt: skip
    return str(path)


def run(*arguments: Any, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["batches", *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else done.output


def test_inspect(file: str) -> None:
    assert "3,000" in run("inspect", f"{file}:Events")
    told = json.loads(run("inspect", file, "--json"))
    assert told["rows"] == ROWS
    assert {column["name"]: column["dtype"] for column in told["columns"]}["pt"] == "float32"


def test_stats(file: str) -> None:
    assert "pt" in run("stats", file, "-c", "pt", "--filter", "pt > 10")
    told = json.loads(run("stats", file, "-c", "pt", "--define", "twice=2*pt", "-c", "twice", "--target", "label", "--json"))
    columns = {column["name"]: column for column in told["columns"]}
    assert columns["twice"]["mean"] == pytest.approx(2 * columns["pt"]["mean"], rel=1e-5)
    assert len(told["classes"]) == 2


def test_profile(file: str) -> None:
    assert "Rows" in run("profile", file, "--seconds", "0.1")
    told = json.loads(run("profile", file, "--seconds", "0", "--json"))
    assert told["tables"][0]["stored"]["rows"] == ROWS


def test_convert_writes_shards_with_code(file: str, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    arguments = [
        "convert", file, "--target", "label", "--filter", "pt > 5", "--split", "train=0.8", "--split", "validation=0.2",
        "--rows-per-shard", "500", "--out", out,
    ]  # fmt: skip
    assert "train" in run(*arguments)
    rows = np.concatenate([pq.read_table(path).column("row").to_numpy() for path in out.glob("*.parquet")])
    assert len(set(rows.tolist())) == len(rows)
    told = json.loads(run(*arguments, "--json"))
    assert told["rows"] == len(rows)
    assert (out / "train_torch.py").is_file()


def test_bench(file: str) -> None:
    told = json.loads(run("bench", file, "--epochs", "2", "--json"))
    assert [epoch["rows"] for epoch in told["epochs"]] == [ROWS, ROWS]
    assert "Rows a second" in run("bench", file, "--epochs", "2")


def test_what_is_damaged_is_skipped_and_told(file: str, tmp_path: Path) -> None:
    short = tmp_path / "short.root"
    short.write_bytes(Path(file).read_bytes()[:300])
    told = "1 files were skipped"
    assert "cut short" in run("stats", file, short, "-c", "pt", code=1)
    assert told in run("stats", file, short, "-c", "pt", "--on-error", "skip")
    assert json.loads(run("bench", file, short, "--epochs", "2", "--on-error", "skip", "--json"))["skipped"]["files"]
    assert told in run("bench", file, short, "--epochs", "2", "--on-error", "skip")
    assert told in run("convert", file, short, "--out", tmp_path / "out", "--on-error", "skip")
    again = json.loads(run("convert", file, short, "--out", tmp_path / "out", "--on-error", "skip", "--json"))
    assert (again["rows"], list(again["skipped"]["files"])) == (ROWS, [str(short)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stats", "FILE", "--filter", "ptt > 3"], "pt"),
        (["stats", "FILE", "--define", "nothing"], "NAME=VALUE"),
        (["convert", "FILE", "--split", "train=much", "--out", "x"], "is no number"),
        (["convert", "FILE", "--pad", "pt=x", "--out", "x"], "no whole number"),
        (["inspect", "nowhere.root"], "nowhere.root"),
        (["profile", "nowhere.root"], "nowhere.root"),
        (["inspect", "FILE:Evnts"], "Events"),
    ],
)
def test_what_is_wrong_is_said_in_words(
    file: str, arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    output = run(*(argument.replace("FILE", file) for argument in arguments), code=1)
    assert message in output
    assert "Traceback" not in output
    assert not (tmp_path / "x").exists()


def test_every_command_has_an_example() -> None:
    for name in ("inspect", "stats", "profile", "convert", "bench"):
        assert f"ml4ep batches {name}" in run(name, "--help")


def test_the_job_runs_here_on_several_files(file: str, tmp_path: Path) -> None:
    """Without a server there are no parts: one process does all of it."""
    out = tmp_path / "set"
    arguments = ["run", "training-set", "--files", file, "--background", file, "--columns", "pt", "--columns", "row"]
    done = CliRunner().invoke(app, [*arguments, "--rows-per-shard", "1000", "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    tables = [pq.read_table(path) for path in out.glob("*.parquet")]
    rows = np.concatenate([table.column("row").to_numpy() for table in tables])
    labels = np.concatenate([table.column("sample_label").to_numpy() for table in tables])
    for label in (0, 1):
        np.testing.assert_array_equal(np.sort(rows[labels == label]), np.arange(ROWS))
    assert (out / "training_set.json").is_file()
