"""``ml4ep showers``: geometries, a small simulation that goes on, what a file holds, a validation, and mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from portal.cli.app import app

SMALL = """
name: block
layers:
  - {repeat: 20, slabs: [{material: W, thickness: 3.5}, {material: Si, thickness: 0.5, sensitive: true}]}
voxels: {layers: 20, layer_depth: 4, angles: 8, rings: 5, ring_width: 6}
"""


def run(*arguments: Any, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["showers", *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else done.output


def test_geometries() -> None:
    assert "dataset2          90  45 x 16 x 9       36.2   4.22" in run("geometries")
    listed = json.loads(run("geometries", "--json"))
    assert {"dataset2", "dataset3", "par04-siw", "par04-scipb", "odd", "cld", "hgcal", "pwo"} <= {
        entry["name"] for entry in listed
    }


def test_simulate_inspect_and_go_on(tmp_path: Path) -> None:
    (tmp_path / "block.yaml").write_text(SMALL)
    command = "simulate", tmp_path / "block.yaml", "--energy", 0.1, 0.5, "--shard", 2, "--out", tmp_path / "out", "--json"
    assert json.loads(run(*command, "--showers", 2))["made"] == 2
    more = json.loads(run(*command, "--showers", 4))
    assert (more["made"], len(more["files"])) == (2, 2)
    said = run("inspect", more["files"][0])
    assert "20 x 8 x 5" in said
    assert "data-free electromagnetic" in said
    assert "differs in seed" in run(*command, "--seed", 7, code=1)


def test_validate(tmp_path: Path) -> None:
    (tmp_path / "block.yaml").write_text(SMALL)
    said = run("validate", tmp_path / "block.yaml", "--energy", 0.3, "--energy", 1, "-n", 20, "--out", tmp_path / "report")
    assert "resolution" in said
    assert (tmp_path / "report" / "report.pdf").stat().st_size > 5000
    assert len(json.loads((tmp_path / "report" / "report.json").read_text())["points"]) == 2


def test_mistakes(tmp_path: Path) -> None:
    assert "dataset2" in run("simulate", "dataset9", "--out", tmp_path, code=1)
    assert "no pi-" in run("simulate", "pwo", "--particle", "pi-", "--out", tmp_path / "a", code=1)
    (tmp_path / "x.h5").write_text("x")
    assert "cannot be read as HDF5" in run("inspect", tmp_path / "x.h5", code=1)
