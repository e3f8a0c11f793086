"""The child process that runs Geant4: a task on standard input, a line of JSON for each shard on standard output.

`mlcore.showers.fullsim.production` starts it. The task names the folder, the shards, the data sets and a scratch folder. What
Geant4 says goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from mlcore.errors import MLCoreError
from mlcore.showers.dataset import Records, Writer
from mlcore.showers.fullsim.engine import Engine
from mlcore.showers.fullsim.plan import PDG, Plan


def main() -> int:
    task = json.load(sys.stdin)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        _work(task, answers)
    except MLCoreError as error:
        _say(answers, {"error": error.message, "hint": error.hint, "code": error.code, "kind": type(error).__name__})
        return 1
    answers.flush()
    # Geant4's objects were made in C++ and in Python, and are not taken down in an order that suits both.
    os._exit(0)


def _work(task: dict[str, Any], answers: TextIO) -> None:
    plan, folder = Plan.from_json(task["plan"]), Path(task["folder"])
    data = Path(task["data"]) if task["data"] else None
    engine = Engine(plan, data, Path(task["scratch"]))
    for shard in task["shards"]:
        started = time.process_time()
        conditions = plan.conditions(shard)
        made = engine.run(conditions)
        seconds = time.process_time() - started
        name = plan.calorimeter.name
        records = Records.of(
            made.showers, conditions.energy, engine.voxels, theta=conditions.theta, phi=conditions.phi,
            particle=PDG[plan.particle], geometries=(name,),
        )  # fmt: skip
        origin = {
            "simulation": f"Geant4 {engine.version} (geant4-pybind)",
            "physics": engine.physics,
            "range_cut_mm": plan.cut,
            "seed": plan.seed,
            "shard": shard,
            "cpu_seconds": round(seconds, 3),
        }
        if plan.calorimeter.orientation is not None:
            origin["orientation"] = "not simulated: the crystal is taken as amorphous"
        with Writer(shard_path(folder, shard), engine.voxels, (name,), metadata=origin, extra=("outside",)) as writer:
            writer.append(records, extra={"outside": made.outside})
        _say(answers, {"shard": shard, "showers": len(records), "cpu_seconds": seconds, "steps": int(made.steps.sum())})


def shard_path(folder: Path, shard: int) -> Path:
    return folder / f"shard-{shard:05d}.h5"


def _say(answers: TextIO, content: dict[str, Any]) -> None:
    answers.write(json.dumps(content) + "\n")
    answers.flush()
