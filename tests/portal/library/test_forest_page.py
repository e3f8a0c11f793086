"""A model's page: figures, plots, tables, and one tree at a time; the trees beyond the first by the job `forest-trees`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.test import Client
from django.urls import reverse

from portal.jobs import services as jobs
from portal.jobs.models import Job, JobState
from portal.library import services
from portal.library.models import LibraryFile
from tests.portal.pages import check_page, text_of

pytestmark = pytest.mark.django_db(transaction=True)

RunNow = Callable[[Job], Job]
N_TREES = 40
HOSTILE = '"><script>alert(1)</script>&'


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An XGBoost model of 40 trees."""
    import xgboost

    path = tmp_path_factory.mktemp("model") / "bdt.json"
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(600, 4)).astype(np.float32)
    target = (rows[:, 0] * rows[:, 1] > rows[:, 2]).astype(np.int32)
    data = xgboost.DMatrix(rows, target, feature_names=["pt", "eta", "phi", "mass"])
    xgboost.train({"objective": "binary:logistic", "max_depth": 3, "nthread": 1}, data, N_TREES).save_model(path)
    return path


def upload(owner: Any, path: Path, run_now: RunNow, content: bytes | None = None) -> LibraryFile:
    file = services.store_upload(owner, path.name, [path.read_bytes() if content is None else content])
    assert file.inspection_job is not None
    file.inspection_job = run_now(file.inspection_job)
    return file


@pytest.fixture
def visitor(person: Any) -> Client:
    client = Client()
    client.force_login(person)
    return client


@pytest.fixture
def file(person: Any, run_now: RunNow, model: Path) -> LibraryFile:
    found = upload(person, model, run_now)
    assert found.inspection_job is not None
    assert found.inspection_job.state == JobState.SUCCEEDED, found.inspection_job.error_message
    return found


def page_of(client: Client, file: LibraryFile, query: str = "") -> str:
    response = client.get(reverse("library-file", args=[file.pk]) + query)
    assert response.status_code == 200
    return str(response.content.decode())


def test_the_page_shows_figures_plots_a_tree_and_the_jobs_that_take_it(visitor: Client, file: LibraryFile) -> None:
    html = page_of(visitor, file)
    check_page(html)
    words = text_of(html)
    for told in ("Importance of the features", "Leaves by depth", "Values of the leaves", "Thresholds of", "Tree 0 of 40"):
        assert told in words
    assert "Which engine runs here, and why" in words
    assert html.count('role="img"') >= 5
    assert f"/jobs/new/forest-to-cpp?model={file.pk}" in html
    assert 'id="tree-next"' in html
    assert 'id="tree-previous"' not in html


def test_the_next_trees_come_at_once_as_far_as_they_are_drawn(visitor: Client, file: LibraryFile) -> None:
    part = page_of(visitor, file, "?tree=15&fragment=tree")
    assert "<main" not in part
    assert 'aria-label="Tree 15:' in part
    assert 'id="tree-previous"' in part
    assert not Job.objects.filter(type="forest-trees").exists()


def test_a_later_tree_is_drawn_by_a_job_that_is_made_once(visitor: Client, file: LibraryFile, run_now: RunNow) -> None:
    waiting = page_of(visitor, file, "?tree=17&fragment=tree")
    assert "hx-trigger" in waiting
    assert 'aria-busy="true"' in waiting
    check_page(page_of(visitor, file, "?tree=20"))  # of the same job
    job = Job.objects.get(type="forest-trees")
    assert job.params["first"] == 16
    run_now(job)
    for number in (17, 31):
        part = page_of(visitor, file, f"?tree={number}&fragment=tree")
        assert f'aria-label="Tree {number}:' in part
        assert "hx-trigger" not in part
    assert Job.objects.filter(type="forest-trees").count() == 1


@pytest.mark.parametrize(("asked", "shown"), [("999", 39), ("-1", 0), ("x", 0), ("", 0), ("9" * 30, 0), ("٣", 0)])
def test_a_number_that_is_no_tree_shows_the_nearest_or_the_first(
    visitor: Client, file: LibraryFile, asked: str, shown: int
) -> None:
    assert f"Tree {shown} of 40" in text_of(page_of(visitor, file, f"?fragment=tree&tree={asked}"))


def test_a_file_that_is_no_forest_has_no_tree(visitor: Client, person: Any) -> None:
    notes = services.store_upload(person, "notes.txt", [b"words"])
    assert visitor.get(reverse("library-file", args=[notes.pk]) + "?fragment=tree").status_code == 404


def test_hostile_names_are_shown_as_text(visitor: Client, person: Any, run_now: RunNow, model: Path) -> None:
    content = json.loads(model.read_text())
    content["learner"]["feature_names"] = [f"{HOSTILE}{number}" for number in range(4)]
    html = page_of(visitor, upload(person, model, run_now, json.dumps(content).encode()))
    check_page(html)
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert" in html


def test_a_forest_in_an_onnx_model_is_shown_and_other_models_offer_no_forest_job(
    visitor: Client, person: Any, run_now: RunNow, tmp_path: Path
) -> None:
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
    )
    path = tmp_path / "net.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    html = page_of(visitor, upload(person, path, run_now))
    assert "forest-to-cpp" not in html
    assert re.search(r"Tree \d+ of", text_of(html)) is None


def test_a_tree_that_is_not_there_fails_with_a_hint(person: Any, file: LibraryFile, run_now: RunNow) -> None:
    job = run_now(jobs.submit(person, "forest-trees", {"file": str(file.pk), "first": 16, "count": 64}))
    assert job.state == JobState.SUCCEEDED
    assert [plot["title"] for plot in job.result["series"][0]["plots"]] == [f"Tree {n}" for n in range(16, 40)]
    job = run_now(jobs.submit(person, "forest-trees", {"file": str(file.pk), "first": 40}))
    assert job.state == JobState.FAILED
    assert "40" in job.error_message
