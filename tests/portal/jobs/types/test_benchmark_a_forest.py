"""Benchmark a forest as a job (`forest-benchmark`): real models against real libraries, the user's rows, and wrong parameters."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse

from portal.chat import offers
from portal.jobs import services
from portal.jobs.models import Job, JobState
from portal.library import services as library
from portal.library.models import LibraryFile
from tests.portal.pages import check_page, text_of

pytestmark = pytest.mark.django_db(transaction=True)

RunNow = Callable[[Job], Job]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small model of each library."""
    import lightgbm
    import xgboost

    folder = tmp_path_factory.mktemp("models")
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(500, 5)).astype(np.float32)
    target = (rows[:, 0] * rows[:, 1] > rows[:, 2]).astype(np.int32)
    booster = xgboost.train({"objective": "binary:logistic", "max_depth": 3, "nthread": 1}, xgboost.DMatrix(rows, target), 8)
    booster.save_model(folder / "bdt.ubj")
    options = {"objective": "binary", "num_leaves": 7, "verbose": -1, "num_threads": 1}
    lightgbm.train(options, lightgbm.Dataset(rows, target), 8).save_model(folder / "bdt.txt")
    return {"XGBoost": folder / "bdt.ubj", "LightGBM": folder / "bdt.txt"}


def upload(owner: Any, path: Path) -> LibraryFile:
    return library.store_upload(owner, path.name, [path.read_bytes()])


def table(job: Job, title: str) -> list[list[str]]:
    return next(list(one["rows"]) for one in job.result["tables"] if one["title"] == title)


@pytest.mark.parametrize("trained_by", ["XGBoost", "LightGBM"])
def test_a_model_is_timed_beside_the_library_that_trained_it(
    person: Any, run_now: RunNow, client: Client, models: dict[str, Path], trained_by: str
) -> None:
    file = upload(person, models[trained_by])
    params = {"model": str(file.pk), "batches": [256, 1, 256], "seconds": 2}
    job = run_now(services.submit(person, "forest-benchmark", params))
    assert job.state == JobState.SUCCEEDED, (job.error_message, list(job.log_chunks.values_list("text", flat=True)))
    assert job.title == f"Benchmark of {file.name}"
    assert job.params["batches"] == [1, 256]
    assert job.result["notes"][0]["headline"] == "All answers agree."

    for title in ("Single rows", "Batches of 256 rows"):
        rows = table(job, title)
        assert {row[0] for row in rows} >= {"ML4EP", trained_by}
        assert [float(row[1]) for row in rows] == sorted(float(row[1]) for row in rows)
        assert next(row[3] for row in rows if row[0] == trained_by) == "1"
    contenders = {row[0]: row for row in table(job, "Contenders")}
    assert contenders[trained_by][3] == "100 %"
    absent = {row[0]: row for row in table(job, "Not measured")}
    other = "LightGBM" if trained_by == "XGBoost" else "XGBoost"
    assert "does not read" in absent[other][1]
    for name, row in absent.items():
        assert row[1] != "not installed" or row[2].startswith("pip install "), name
    assert job.steps[-1]["text"] == "Done"

    svg = job.result["plots"][0]["svg"]
    root = ET.fromstring(svg)  # noqa: S314  (our own text)
    assert root.attrib["role"] == "img"
    assert not any("style" in element.attrib for element in root.iter())
    with default_storage.open(job.artifacts.get(name="benchmark.json").path) as stored:
        report = json.loads(stored.read())
    assert report["reference"] == trained_by.lower()
    assert {(one["key"], one["batch"]) for one in report["timings"]} >= {("own", 1), ("own", 256)}
    assert report["machine"]

    client.force_login(person)
    html = client.get(reverse("job", args=[job.pk])).content.decode()
    check_page(html)
    assert f"Time relative to {trained_by}" in text_of(html)


def test_the_persons_own_rows_are_predicted(person: Any, run_now: RunNow, models: dict[str, Path], tmp_path: Path) -> None:
    np.save(tmp_path / "events.npy", np.random.default_rng(1).normal(size=(37, 5)))
    rows = upload(person, tmp_path / "events.npy")
    file = upload(person, models["XGBoost"])
    params = {"model": str(file.pk), "rows": str(rows.pk), "batches": [100], "seconds": 2}
    job = run_now(services.submit(person, "forest-benchmark", params))
    assert job.state == JobState.SUCCEEDED, job.error_message
    conditions = dict(table(job, "Conditions"))
    assert conditions["Rows"] == "given, float32, of 37 given ones, repeated"
    assert job.manifest["inputs"] == {file.name: file.sha256, rows.name: rows.sha256}


def test_rows_of_another_width_fail_with_a_hint(person: Any, run_now: RunNow, models: dict[str, Path], tmp_path: Path) -> None:
    np.save(tmp_path / "events.npy", np.zeros((37, 4)))
    rows, file = upload(person, tmp_path / "events.npy"), upload(person, models["XGBoost"])
    job = run_now(services.submit(person, "forest-benchmark", {"model": str(file.pk), "rows": str(rows.pk)}))
    assert job.state == JobState.FAILED
    assert job.error_code == "rows.shape"
    assert "(37, 4)" in job.error_message
    assert job.error_hint


def test_a_damaged_model_fails_with_a_hint(person: Any, run_now: RunNow, models: dict[str, Path]) -> None:
    content = models["LightGBM"].read_bytes()
    file = library.store_upload(person, "cut.txt", [content[: len(content) // 2]])
    job = run_now(services.submit(person, "forest-benchmark", {"model": str(file.pk)}))
    assert job.state == JobState.FAILED
    assert job.error_code not in ("internal", "crashed"), job.error_message
    assert job.error_hint
    assert not job.artifacts.exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [("batches", []), ("batches", [0]), ("batches", [10**9]), ("batches", list(range(1, 9))), ("threads", 0), ("missing", 51)],
)
def test_parameters_outside_their_range_are_refused(person: Any, models: dict[str, Path], field: str, value: Any) -> None:
    file = upload(person, models["XGBoost"])
    with pytest.raises(services.JobRefusedError) as refused:
        services.submit(person, "forest-benchmark", {"model": str(file.pk), field: value})
    assert {name.split(".")[0] for name in refused.value.problems} == {field}


def test_the_form_offers_models_and_rows_apart(person: Any, client: Client, models: dict[str, Path], tmp_path: Path) -> None:
    np.save(tmp_path / "events.npy", np.zeros((3, 5)))
    file, rows = upload(person, models["XGBoost"]), upload(person, tmp_path / "events.npy")
    client.force_login(person)
    html = client.get(reverse("job-form", args=["forest-benchmark"]) + f"?model={file.pk}").content.decode()
    check_page(html)
    assert f'<option value="{file.pk}" selected>' in html
    assert html.count(f'value="{rows.pk}"') == 1
    assert 'value="1, 64, 10000"' in html
    page = client.get(reverse("library-file", args=[file.pk])).content.decode()
    assert f"/jobs/new/forest-benchmark?model={file.pk}" in page


def test_a_chat_request_is_understood(person: Any, models: dict[str, Path]) -> None:
    file = upload(person, models["XGBoost"])
    offer = offers.find(person, f"Please benchmark my model {file.name}")
    assert offer is not None
    assert offer["type"] == "forest-benchmark"
    assert offer["chosen"][0] == file.name
