"""Jobs about showers by ``ml4ep run``: the same as in the portal; an interrupted training goes on in its folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.portal.jobs.types.test_showers import showers

NETWORK = ("--model", "vae", "--size", "small", "--steps", "1000", "--batch", "2", "--out", "out")


def test_a_fit_and_an_inspection(ml4ep: Any, said: Any, tmp_path: Path) -> None:
    showers(tmp_path / "train.h5", count=120)
    done = said("run", "shower-train", "--files", "train.h5", "--model", "gflash", "--out", "model")
    assert {Path(each["path"]).name for each in done["artifacts"]} == {"gflash.json", "test.h5", "events.json"}
    told = ml4ep("run", "shower-inspect", "--files", "model/test.h5", "--out", "look")
    assert "24" in told.stdout
    assert "Response" in told.stdout
    refused = ml4ep("run", "shower-sample", "--model", "train.h5", code=1)
    assert "shower-model" in refused.stderr


@pytest.mark.slow
def test_an_interrupted_training_goes_on_in_its_folder(ml4ep: Any, tmp_path: Path) -> None:
    showers(tmp_path / "train.h5", count=120)
    words = [Path(sys.executable).parent / "ml4ep", "run", "shower-train", "--files", "train.h5", *NETWORK]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        unfinished = tmp_path / "out" / ".unfinished"
        deadline = time.monotonic() + 200
        while not (unfinished / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        process.wait(60)
    assert sorted(path.name for path in unfinished.iterdir()) == ["checkpoint.safetensors", "curves.csv", "run.json"]
    assert json.loads((unfinished / "run.json").read_text())["params"]["steps"] == 1000
    told = ml4ep("run", "shower-train", "--files", "train.h5", *NETWORK, "--verbose")
    assert "Going on with the training that was kept." in told.stderr
    assert not unfinished.exists()
    assert (tmp_path / "out" / "vae.safetensors").exists()
