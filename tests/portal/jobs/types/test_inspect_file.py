"""Inspections and histograms as jobs (`inspect-file`, `branch-histogram`): real files, and files made to hurt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portal.jobs.models import Job, JobState
from portal.library import services as library
from portal.library.models import LibraryFile

pytestmark = pytest.mark.django_db(transaction=True)

RunNow = Callable[[Job], Job]


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """A ROOT file with one tree of 1000 entries."""
    import uproot

    path = tmp_path / "events.root"
    rng = np.random.default_rng(3)
    with uproot.recreate(path) as file:
        tree = file.mktree("Events", {"pt": "float64", "njet": "int64"})
        tree.extend({"pt": rng.exponential(20, 1000), "njet": rng.integers(0, 9, 1000)})
    return path


def upload(owner: Any, path: Path) -> LibraryFile:
    return library.store_upload(owner, path.name, [path.read_bytes()])


def inspected(file: LibraryFile, run_now: RunNow) -> Job:
    assert file.inspection_job is not None, f"{file.name} is {file.kind}"
    return run_now(file.inspection_job)


def test_a_root_file_shows_its_trees_and_branches(person: Any, run_now: RunNow, events: Path) -> None:
    job = inspected(upload(person, events), run_now)
    assert job.state == JobState.SUCCEEDED, job.error_message
    text = json.dumps(job.result, ensure_ascii=False)
    assert "Events" in text
    assert "pt" in text
    assert "njet" in text
    assert "1\u2009000" in text


def test_a_branch_has_a_histogram_which_is_made_once(person: Any, run_now: RunNow, events: Path) -> None:
    file = upload(person, events)
    job = run_now(library.histogram(file, "Events", "pt"))
    assert job.state == JobState.SUCCEEDED, job.error_message
    plot = job.result["plots"][0]
    assert plot["svg"].startswith("<svg")
    assert "style" not in plot["svg"]
    assert "1\u2009000" in plot["caption"]
    assert library.histogram(file, "Events", "pt").pk == job.pk
    assert library.histogram(file, "Events", "njet").pk != job.pk


def test_a_branch_that_is_not_there_names_its_neighbours(person: Any, run_now: RunNow, events: Path) -> None:
    job = run_now(library.histogram(upload(person, events), "Events", "njets"))
    assert job.state == JobState.FAILED
    assert "njets" in job.error_message
    assert "njet" in job.error_hint


def test_onnx_data_outside_the_models_folder_is_not_followed(person: Any, run_now: RunNow, tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": "../../../../etc/passwd", "offset": "0", "length": "16"}.items():
        weights.external_data.add(key=key, value=value)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
        [weights],
    )
    path = tmp_path / "outside.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    assert onnx.load(path, load_external_data=False).graph.name == "g"
    job = inspected(upload(person, path), run_now)
    assert job.state == JobState.FAILED
    assert job.error_code != "internal", job.error_message
    assert "passwd" in job.error_message + job.error_hint
    assert "root:" not in str(job.error_message)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_a_truncated_root_file_fails_with_a_hint(
    person: Any, run_now: RunNow, events: Path, tmp_path: Path, share: float
) -> None:
    content = events.read_bytes()
    path = tmp_path / "cut.root"
    path.write_bytes(content[: int(len(content) * share)])
    job = inspected(upload(person, path), run_now)
    assert job.state == JobState.FAILED
    assert job.error_code not in ("internal", "crashed"), job.error_message
    assert job.error_hint
    assert "Traceback" not in "".join(job.log_chunks.values_list("text", flat=True))
