"""``ml4ep showers``, models: each command once on small showers, and mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from mlcore.showers.dataset import Records, ShowerFile, write
from mlcore.showers.geometry import MATERIALS
from mlcore.showers.models.gflash import GFlash, GFlashConfig, Medium
from mlcore.showers.models.parametrised import Parametrised
from mlcore.showers.voxels import Voxels

GRID = Voxels.regular(layers=4, layer_depth=35, angles=4, rings=2, ring_width=12)
SIZES = [
    f"--set={size}" for size in ("width=8", "depth=1", "heads=2", "layer_width=8", "layer_depth=1", "steps=2", "layer_steps=2")
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Files of 100 showers each, of two calorimeters."""
    folder = tmp_path_factory.mktemp("showers")
    for number, (name, material) in enumerate((("first", "W"), ("first2", "W"), ("second", "Pb"), ("second2", "Pb"))):
        medium = Medium.of_layers(MATERIALS[material], 1.4, MATERIALS["Si"], 0.3, resolution=0.2)
        model = GFlash(GFlashConfig(medium, GRID))
        model.save(folder / "gflash.json")
        energies = 1e3 * 100 ** np.linspace(0.001, 0.999, 100)
        records = Records.of(model.sample(energies, seed=number), energies, GRID, geometries=(name.rstrip("2"),))
        write(folder / f"{name}.h5", records)
        Parametrised.fit(records).save(folder / "parametrised.npz")
    return lambda name: str(folder / name)


def test_from_a_training_to_a_student(said: Any, ml4ep: Any, files: Callable[[str], str]) -> None:
    trained = said(
        "showers", "train", "transformer", files("first.h5"), files("first2.h5"), "--out", "teacher", "--steps", "4",
        "--batch", "8", "--threshold", "0.5", *SIZES,
    )  # fmt: skip
    assert (trained["model"], trained["showers"], trained["steps"]) == ("transformer", 200, 4)
    more = said(
        "showers", "train", "transformer", files("first.h5"), "--out", "more", "--steps", "2", "--start", trained["file"],
        "--threshold", "0.5", *SIZES,
    )  # fmt: skip
    assert more["steps"] == 2
    student = said("showers", "distill", trained["file"], files("first.h5"), "--out", "student", "--parts", "2", "--steps", "2")
    assert student["model"] == "distilled"
    made = said("showers", "sample", student["file"], "--showers", "5", "--out", "made.h5")
    assert made["showers"] == 5
    assert ShowerFile.open(Path("made.h5")).metadata["model"] == "distilled"
    assert ShowerFile.open(Path("made.h5")).read().geometries == ("first",)
    said("showers", "export", student["file"], "--onnx", "--name", "student", "--out", "onnx")
    session = onnxruntime.InferenceSession("onnx/student.onnx")
    assert [port.name for port in session.get_inputs()] == ["energy", "conditions", "noise"]
    adapted = said(
        "showers", "adapt", trained["file"], files("second.h5"), "--out", "adapted", "--steps", "2", "--method", "bias"
    )
    assert 0 < adapted["numbers trained"] < trained["parameters"]
    ml4ep(
        "showers", "adapt", trained["file"], files("second.h5"), "--out", "curve", "--steps", "2", "--curve", files("second2.h5")
    )
    assert {point["method"] for point in json.loads(Path("curve/curve.json").read_text())["points"]} == {
        "scratch", "full", "bias", "low-rank",
    }  # fmt: skip


@pytest.mark.parametrize("model", ["gflash.json", pytest.param("parametrised.npz", marks=pytest.mark.slow)])
def test_classical_models_are_sampled_and_measured(model: str, said: Any, ml4ep: Any, files: Callable[[str], str]) -> None:
    said("showers", "sample", files(model), "--like", files("second.h5"), "--out", "made.h5")
    found = ShowerFile.open(Path("made.h5")).read()
    np.testing.assert_allclose(found.energy, ShowerFile.open(Path(files("second.h5"))).read().energy, rtol=1e-6)
    output = ml4ep(
        "showers", "evaluate", files(model), "--truth", files("second.h5"), "--second", files("second2.h5"), "--no-classifiers",
        "--out", "report",
    ).stdout  # fmt: skip
    assert "FPD" in output
    report = json.loads(Path("report/report.json").read_text())
    assert report["fpd"]["floor"] is not None
    assert Path("report/report.pdf").read_bytes().startswith(b"%PDF")


def test_mistakes(ml4ep: Any, files: Callable[[str], str]) -> None:
    train = "showers", "train", "vae", files("first.h5"), "--out", "vae", "--steps", "2"
    assert "has no size 'odd'" in ml4ep(*train, "--set", "odd=1", code=1).output
    assert "is no number" in ml4ep(*train, "--set", "latent=x", code=1).output
    assert "there is no model nothing" in ml4ep("showers", "sample", "nothing", "--out", "x.h5", code=1).output
    ml4ep(*train, "--set", "latent=2", "--set", "hidden=8")
    assert (
        "only a transformer"
        in ml4ep("showers", "distill", "vae/model.safetensors", files("first.h5"), "--out", "s", code=1).output
    )
    start = "--start", "vae/model.safetensors"
    assert "do not fit" in ml4ep(*train[:4], "--out", "other", "--steps", "2", *start, code=1).output
    Path("broken.safetensors").write_bytes(b"nothing")
    assert "holds no model" in ml4ep("showers", "export", "broken.safetensors", "--out", "cpp", code=1).output
