"""Forest to C++ as a job: from an uploaded model to a zip whose self-test passes with plain g++; and hostile models."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.core.files.storage import default_storage

from portal.jobs import services
from portal.jobs.models import Job, JobState
from portal.library import services as library

pytestmark = pytest.mark.django_db(transaction=True)

RunNow = Callable[[Job], Job]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One small model of each format, by the kind of its file."""
    import lightgbm
    import xgboost

    folder = tmp_path_factory.mktemp("models")
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(500, 5)).astype(np.float32)
    target = (rows[:, 0] * rows[:, 1] > rows[:, 2]).astype(np.int32)
    booster = xgboost.train({"objective": "binary:logistic", "max_depth": 3}, xgboost.DMatrix(rows, target), 8)
    booster.save_model(folder / "bdt.json")
    booster.save_model(folder / "bdt.ubj")
    options = {"objective": "binary", "num_leaves": 7, "verbose": -1, "num_threads": 1}
    lightgbm.train(options, lightgbm.Dataset(rows, target), 8).save_model(folder / "bdt.txt")
    return {"xgboost-json": folder / "bdt.json", "xgboost-ubj": folder / "bdt.ubj", "lightgbm-text": folder / "bdt.txt"}


def upload(owner: Any, path: Path, content: bytes | None = None) -> Any:
    return library.store_upload(owner, path.name, [path.read_bytes() if content is None else content])


@pytest.mark.parametrize("kind", ["xgboost-json", "xgboost-ubj", "lightgbm-text"])
def test_a_model_becomes_code_that_passes_its_self_test_elsewhere(
    person: Any, run_now: RunNow, models: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    file = upload(person, models[kind])
    assert file.kind == kind
    job = run_now(services.submit(person, "forest-to-cpp", {"model": str(file.pk), "name": "tagger", "rows": 1000}))
    assert job.state == JobState.SUCCEEDED, (job.error_message, list(job.log_chunks.values_list("text", flat=True)))
    assert job.result["notes"][0]["kind"] == "ok"
    agreement = job.result["tables"][0]["rows"]
    assert all(row[1] == row[2] for row in agreement if row[0].startswith("margin, batch, float32")), agreement
    assert job.manifest["inputs"] == {file.name: file.sha256}

    names = set(job.artifacts.values_list("name", flat=True))
    assert {"tagger.zip", "tagger.hpp", "main.cpp", "selftest.cpp", "CMakeLists.txt", "README.md"} <= names
    with default_storage.open(job.artifacts.get(name="tagger.zip").path) as stored, zipfile.ZipFile(stored) as archive:
        archive.extractall(tmp_path)
    folder = tmp_path / "tagger"
    subprocess.run(["g++", "-std=c++17", "selftest.cpp", "-o", "selftest"], cwd=folder, check=True)
    assert subprocess.run(["./selftest"], cwd=folder, check=False).returncode == 0

    # A self-test that cannot fail proves nothing: one wrong expected margin must be noticed.
    data = folder / "selftest_data.hpp"
    start = data.read_text().index("margin_bits[] = {")
    head, tail = data.read_text()[:start], data.read_text()[start:]
    data.write_text(head + re.sub(r"0x[0-9a-fA-F]+|\b\d+", "0x3f800001", tail, count=1))
    subprocess.run(["g++", "-std=c++17", "selftest.cpp", "-o", "selftest"], cwd=folder, check=True)
    assert subprocess.run(["./selftest"], cwd=folder, check=False, capture_output=True).returncode != 0


def _damaged(model: dict[str, Any], how: str) -> None:
    tree = model["learner"]["gradient_booster"]["model"]["trees"][0]
    if how == "cycle":
        tree["left_children"][0] = 0
    elif how == "feature":
        tree["split_indices"][0] = 999
    elif how == "child":
        tree["right_children"][0] = 10_000
    elif how == "lengths":
        tree["split_conditions"] = tree["split_conditions"][:-1]


@pytest.mark.parametrize("how", ["cycle", "feature", "child", "lengths"])
def test_a_broken_forest_fails_with_a_hint_and_leaves_nothing(
    person: Any, run_now: RunNow, models: dict[str, Path], how: str
) -> None:
    model = json.loads(models["xgboost-json"].read_text())
    _damaged(model, how)
    file = upload(person, Path(f"{how}.json"), json.dumps(model).encode())
    job = run_now(services.submit(person, "forest-to-cpp", {"model": str(file.pk), "rows": 1000}))
    _assert_users_mistake(job)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
@pytest.mark.parametrize("kind", ["xgboost-json", "xgboost-ubj", "lightgbm-text"])
def test_a_truncated_forest_fails_with_a_hint(
    person: Any, run_now: RunNow, models: dict[str, Path], kind: str, share: float
) -> None:
    content = models[kind].read_bytes()
    file = upload(person, models[kind], content[: int(len(content) * share)])
    if file.kind not in ("xgboost-json", "xgboost-ubj", "lightgbm-text"):
        with pytest.raises(services.JobRefusedError):
            services.submit(person, "forest-to-cpp", {"model": str(file.pk)})
        return
    _assert_users_mistake(run_now(services.submit(person, "forest-to-cpp", {"model": str(file.pk), "rows": 1000})))


def _assert_users_mistake(job: Job) -> None:
    assert job.state == JobState.FAILED
    assert job.error_code not in ("internal", "crashed"), (job.error_code, job.error_message)
    assert job.error_message
    assert job.error_hint
    shown = job.error_message + job.error_hint + "".join(job.log_chunks.values_list("text", flat=True))
    assert "Traceback" not in shown
    assert str(settings.DATA_DIR) not in job.error_message
    assert not job.artifacts.exists()
    assert not list(settings.WORK_DIR.glob(f"{job.pk}*"))


def test_hostile_names_reach_neither_code_nor_shell(
    person: Any, run_now: RunNow, models: dict[str, Path], tmp_path: Path
) -> None:
    hostile = '*/ int main(){system("touch /tmp/owned");} /*\n#include "/etc/passwd"\n??/'
    model = json.loads(models["xgboost-json"].read_text())
    model["learner"]["feature_names"] = [f"{hostile}{index}" for index in range(5)]
    file = upload(person, Path('"; rm -rf ~; echo ".json'), json.dumps(model).encode())
    job = run_now(services.submit(person, "forest-to-cpp", {"model": str(file.pk), "rows": 1000}))
    if job.state == JobState.FAILED:
        _assert_users_mistake(job)
        return
    with default_storage.open(job.artifacts.get(name="forest.hpp").path) as stored:
        (tmp_path / "forest.hpp").write_bytes(stored.read())
    (tmp_path / "use.cpp").write_text('#include "forest.hpp"\nint main() { return 0; }\n')
    assert shutil.which("g++")
    subprocess.run(["g++", "-std=c++17", "-Werror", "-trigraphs", "use.cpp", "-o", "use"], cwd=tmp_path, check=True)


@pytest.mark.parametrize("name", ["../up", "a b", "1st", "", "x" * 65, "a;b"])
def test_a_name_that_is_no_identifier_is_refused(person: Any, models: dict[str, Path], name: str) -> None:
    file = upload(person, models["xgboost-json"])
    with pytest.raises(services.JobRefusedError) as refused:
        services.submit(person, "forest-to-cpp", {"model": str(file.pk), "name": name})
    assert set(refused.value.problems) == {"name"}
