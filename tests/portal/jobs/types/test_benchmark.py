"""Run benchmarks as a job (`benchmark`): the user's own models, what a cancelled run keeps, and wrong parameters."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse

from mlcore.benchmarks.report import Report
from portal.chat import offers
from portal.jobs import services
from portal.jobs.models import Job, JobState
from portal.jobs.types.benchmark import free_sizes
from portal.library import services as library
from portal.library.models import LibraryFile
from tests.mlcore.networks.models import mlp
from tests.portal.pages import check_page, text_of

pytestmark = pytest.mark.django_db(transaction=True)

RunNow = Callable[[Job], Job]
ENGINES = ["onnxruntime_c", "onnxruntime_python", "torch_eager"]


def upload(owner: Any, name: str = "tagger.onnx") -> LibraryFile:
    return library.store_upload(owner, name, [mlp().SerializeToString()])


def report_of(job: Job) -> Report:
    with default_storage.open(job.artifacts.get(name="benchmark.json").path) as file:
        return Report.from_json(json.loads(file.read()))


def test_a_model_of_the_users_is_measured(person: Any, run_now: RunNow, client: Client) -> None:
    file = upload(person)
    params = {"files": [str(file.pk)], "engines": ENGINES, "batches": [4, 1, 4], "quick": True}
    job = run_now(services.submit(person, "benchmark", params))
    assert job.state == JobState.SUCCEEDED, (job.error_message, list(job.log_chunks.values_list("text", flat=True)))
    assert job.title == "Benchmark of tagger.onnx"
    assert job.params["batches"] == [1, 4]
    report = report_of(job)
    assert [model.title for model in report.models] == ["tagger.onnx"]
    assert {cell.status for cell in report.cells if cell.key.engine != "torch_eager"} == {"measured"}
    assert {cell.status for cell in report.cells if cell.key.engine == "torch_eager"} == {"refused"}
    assert {one.name for one in job.artifacts.all()} >= {"benchmark.json", "benchmark.md", "benchmark.csv", "matrix.svg"}
    assert [table["title"] for table in job.result["tables"]][:3] == [
        "Batch 1, 1 thread",
        "Batch 4, 1 thread",
        "Without a figure",
    ]
    assert not job.kept.exists()
    for plot in job.result["plots"]:
        ET.fromstring(plot["svg"])  # noqa: S314 - our own

    client.force_login(person)
    html = client.get(reverse("job", args=[job.pk])).content.decode()
    check_page(html)
    assert reverse("benchmark-matrix", args=[job.pk]) in html
    assert "quickest for one event" in text_of(html) or "equally quick" in text_of(html)


def test_a_run_resumes_with_the_cells_that_are_missing(
    person: Any, run_now: RunNow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = upload(person)
    params = {"files": [str(file.pk)], "engines": ["onnxruntime_python"], "batches": [1, 2], "quick": True}
    first = run_now(services.submit(person, "benchmark", params))
    report = report_of(first)
    half = Report(report.created, report.machine, report.settings, report.models, report.engines, report.cells[:1])
    job = services.submit(person, "benchmark", params)
    claimed = services.claim(str(job.pk), "a worker")
    assert claimed is not None
    half.save(tmp_path / "benchmark.json")
    assert services.keep(claimed, tmp_path / "benchmark.json", "benchmark.json", "1 of 2 cells")
    services.cancel(claimed)
    services.cancelled(claimed)
    job.refresh_from_db()
    assert job.state == JobState.CANCELLED

    again = run_now(services.retry(job, person))
    assert again.state == JobState.SUCCEEDED, again.error_message
    found = report_of(again)
    assert found.cells[0] == half.cells[0]  # to the last digit: it was not measured again
    assert len(found.cells) == 2
    assert found.created == half.created
    assert "1 of 2 cells were measured before" in "".join(again.log_chunks.values_list("text", flat=True))


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({}, "Choose one of your models"),
        ({"models": ["mlp_5x50"], "batches": [0]}, "1 to 1024"),
        ({"models": ["mlp_5x50"], "threads": [3]}, "1 and 2"),
        ({"models": ["../secret"]}, "is no name"),
        ({"models": ["mlp_5x50"], "sizes": "particles"}, "name = number"),
    ],
)
def test_wrong_parameters_are_refused(person: Any, params: dict[str, Any], told: str) -> None:
    with pytest.raises(services.JobRefusedError) as raised:
        services.submit(person, "benchmark", params)
    assert told in " ".join(raised.value.problems.values())


@pytest.mark.parametrize("field", ["models", "engines"])
def test_unknown_names_are_told_with_the_nearest(person: Any, run_now: RunNow, field: str) -> None:
    job = run_now(
        services.submit(person, "benchmark", {"models": ["mlp_5x50"], field: ["mlp_5x51" if field == "models" else "torch_eagr"]})
    )
    assert job.state == JobState.FAILED
    assert ("mlp_5x50" if field == "models" else "torch_eager") in job.error_hint


def test_free_sizes_are_read() -> None:
    assert free_sizes("particles = 64\n\n n=2 ") == {"particles": 64, "n": 2}


def test_the_chat_offers_it(person: Any) -> None:
    upload(person)
    found = offers.find(person, "Please run benchmarks of my network tagger.onnx")
    assert found is not None
    assert found["type"] == "benchmark"


def test_the_form_names_all_models_and_engines() -> None:
    from mlcore.benchmarks import boosted, engines, zoo
    from portal.jobs.types import benchmark

    assert benchmark.MODELS.split(", ") == [*zoo.names(), *boosted.names()]
    assert benchmark.ENGINES.split(", ") == list(engines.names())
