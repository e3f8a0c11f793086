"""Network to C++, and the check before it: real models whose self-test passes with plain g++; hostile and unsupported models."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import h5py
import numpy as np
import pytest
from django.conf import settings
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse
from onnx import TensorProto, helper

from portal.jobs import services
from portal.jobs.models import Job, JobState
from portal.library import services as library
from tests.mlcore.networks.models import mlp, model
from tests.portal.pages import check_page, text_of

pytestmark = pytest.mark.django_db(transaction=True)

RunNow = Callable[[Job], Job]
HOSTILE = '"); system("touch /tmp/owned"); //\n\\ ??/ */ #include "/etc/passwd" ü\u202e'


def upload(owner: Any, proto: Any, name: str = "tagger.onnx") -> Any:
    content = proto if isinstance(proto, bytes) else proto.SerializeToString()
    return library.store_upload(owner, name, [content])


def submit(owner: Any, file: Any, **options: Any) -> Job:
    return services.submit(owner, "network-to-cpp", {"model": str(file.pk), **options})


def log_of(job: Job) -> str:
    return "".join(job.log_chunks.values_list("text", flat=True))


def artifact(job: Job, name: str) -> bytes:
    with default_storage.open(job.artifacts.get(name=name).path) as stored:
        return bytes(stored.read())


def test_a_network_becomes_code_that_passes_its_self_test_elsewhere(person: Any, run_now: RunNow, tmp_path: Path) -> None:
    file = upload(person, mlp())
    assert file.kind == "onnx"
    job = run_now(submit(person, file, name="tagger", target="portable"))
    assert job.state == JobState.SUCCEEDED, (job.error_message, log_of(job))
    assert job.title == "tagger.onnx to C++"
    assert job.result["notes"][0]["kind"] == "ok"
    assert "onnxruntime" in job.result["notes"][0]["headline"]
    figures = {figure["label"]: figure for figure in job.result["figures"]}
    assert {"Largest difference", "Time per call", "Weights", "Memory of a call", "Header"} == set(figures)
    assert "ONNX Runtime" in figures["Time per call"]["condition"]
    assert "batch = 64" in figures["Time per call"]["condition"]
    tables = {table["title"]: table for table in job.result["tables"]}
    assert [row[:3] for row in tables["Agreement"]["rows"]] == [["y", "batch = 3", "12"], ["y", "batch = 7", "28"]]
    assert len(tables["Time per call"]["rows"]) == 2
    assert tables["Time by kind of operator"]["rows"][0][0] == "Linear"
    assert ["Input x", "float32[batch, 8]"] in tables["Network"]["rows"]
    for plot in job.result["plots"]:
        ET.fromstring(plot["svg"])  # noqa: S314 - our own text
        assert "style" not in plot["svg"]
    assert [plot["title"] for plot in job.result["plots"]] == ["Memory of a call", "Time by operator"]
    assert job.manifest["inputs"] == {file.name: file.sha256}

    names = set(job.artifacts.values_list("name", flat=True))
    assert {"tagger.zip", "tagger.hpp", "tagger.weights", "main.cpp", "selftest.cpp", "CMakeLists.txt", "README.md"} <= names
    with zipfile.ZipFile(io.BytesIO(artifact(job, "tagger.zip"))) as archive:
        archive.extractall(tmp_path)
    folder = tmp_path / "tagger"
    assert "// From tagger.onnx.\n" in (folder / "tagger.hpp").read_text()
    subprocess.run(["g++", "-std=c++17", "-O1", "selftest.cpp", "-o", "selftest"], cwd=folder, check=True)
    assert subprocess.run(["./selftest"], cwd=folder, check=False, capture_output=True).returncode == 0


def test_the_pages_show_it(person: Any, run_now: RunNow) -> None:
    file = upload(person, mlp())
    visitor = Client()
    visitor.force_login(person)
    assert file.inspection_job is not None
    run_now(file.inspection_job)
    page = visitor.get(reverse("library-file", args=[file.pk])).content.decode()
    check_page(page)
    for slug, title in (("network-to-cpp", "Network to C++"), ("network-check", "Check a network")):
        assert f"/jobs/new/{slug}?model={file.pk}" in page
        assert title in text_of(page)
    assert "forest-to-cpp" not in page
    form = visitor.get(f"/jobs/new/network-to-cpp?model={file.pk}").content.decode()
    check_page(form)
    assert "<textarea" in form
    job = run_now(submit(person, file, profile=False))
    shown = visitor.get(reverse("job", args=[job.pk])).content.decode()
    check_page(shown)
    assert "The C++ agrees with" in text_of(shown)
    assert "Worst element" in text_of(shown)
    assert "Time by operator" not in text_of(shown)


def pt2_file(folder: Path) -> Path:
    import torch

    module = torch.nn.Sequential(torch.nn.Linear(8, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2)).eval()
    program = torch.export.export(module, (torch.zeros(3, 8),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    torch.export.save(program, folder / "tagger.pt2")
    return folder / "tagger.pt2"


def keras_file(folder: Path) -> Path:
    """Written by Keras in a process of its own, whose backend is chosen when it is imported."""
    code = (
        "import sys, keras\nfrom keras import layers\n"
        "model = keras.Sequential([keras.Input((8,), name='x'), layers.Dense(5, 'relu'), layers.Dense(2)])\n"
        "model.save(sys.argv[1])"
    )
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    subprocess.run([sys.executable, "-c", code, str(folder / "tagger.keras")], check=True, env=environment)
    return folder / "tagger.keras"


@pytest.mark.parametrize(("make", "kind"), [(pt2_file, "pt2"), (keras_file, "keras")])
def test_files_of_other_libraries_become_onnx_on_the_way(
    person: Any, run_now: RunNow, tmp_path: Path, make: Callable[[Path], Path], kind: str
) -> None:
    file = upload(person, make(tmp_path).read_bytes(), f"tagger.{kind}")
    assert file.kind == kind
    job = run_now(submit(person, file, name="tagger", profile=False))
    assert job.state == JobState.SUCCEEDED, (job.error_message, log_of(job))
    assert job.result["notes"][0]["kind"] == "ok"  # agrees with the ONNX model
    names = set(job.artifacts.values_list("name", flat=True))
    assert {"tagger.zip", "tagger.hpp"} < names
    assert any(name.endswith(".onnx") for name in names)
    check = run_now(services.submit(person, "network-check", {"model": str(file.pk)}))
    assert check.state == JobState.SUCCEEDED, (check.error_message, log_of(check))


def test_an_old_keras_file_is_told_what_is_read(person: Any, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "old.h5", "w") as old:
        old.attrs["model_config"] = "{}"
    with pytest.raises(services.JobRefusedError) as refused:
        submit(person, upload(person, (tmp_path / "old.h5").read_bytes(), "old.h5"))
    assert "old.h5 is hdf5; this needs onnx or pt2 or keras" in refused.value.problems["model"]


def test_shapes_and_samples_are_used(person: Any, run_now: RunNow) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.full((5, 8), 2.0))  # float64: converted, as every value fits
    samples = library.store_upload(person, "samples.npz", [buffer.getvalue()])
    job = run_now(submit(person, upload(person, mlp()), shapes="x: 5, 8", samples=str(samples.pk), profile=False))
    assert job.state == JobState.SUCCEEDED, (job.error_message, log_of(job))
    tables = {table["title"]: table for table in job.result["tables"]}
    assert [row[:3] for row in tables["Agreement"]["rows"]] == [["y", "—", "20"], ["y", "—", "20"]]
    assert ["Input x", "float32[5, 8]"] in tables["Network"]["rows"]
    assert len(tables["Time per call"]["rows"]) == 1


@pytest.mark.parametrize(
    ("content", "told"), [({"z": np.zeros((5, 8), np.float32)}, "no array for the input 'x'"), (None, "cannot be read as arrays")]
)
def test_samples_that_do_not_fit_are_told(person: Any, run_now: RunNow, content: dict[str, Any] | None, told: str) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **(content or {"x": np.zeros(2)}))
    data = buffer.getvalue() if content else buffer.getvalue()[:-30]
    samples = library.store_upload(person, "samples.npz", [data])
    if samples.kind != "numpy":
        pytest.skip("a file cut short so is no archive any more")
    job = run_now(submit(person, upload(person, mlp()), samples=str(samples.pk)))
    assert_users_mistake(job)
    assert told in job.error_message


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"name": "../up"}, "name"),
        ({"name": "Upper"}, "name"),
        ({"name": "a__b"}, "name"),
        ({"name": ""}, "name"),
        ({"shapes": "batch, 3"}, "shapes"),
        ({"shapes": "x: -1, 3"}, "shapes"),
        ({"shapes": "x: 1; x: 2"}, "shapes"),
        ({"target": "cray"}, "target"),
    ],
)
def test_options_that_cannot_be_are_refused_at_their_field(person: Any, options: dict[str, str], field: str) -> None:
    with pytest.raises(services.JobRefusedError) as refused:
        submit(person, upload(person, mlp()), **options)
    assert set(refused.value.problems) == {field}


def assert_users_mistake(job: Job) -> None:
    assert job.state == JobState.FAILED
    assert job.error_code not in ("internal", "crashed"), (job.error_code, job.error_message, log_of(job))
    assert job.error_message
    shown = job.error_message + job.error_hint + log_of(job)
    assert "Traceback" not in shown
    assert str(settings.DATA_DIR) not in job.error_message
    assert not job.artifacts.exists()
    assert not list(settings.WORK_DIR.glob(f"{job.pk}*"))


def test_an_operator_that_is_not_supported_is_named_with_what_to_do(person: Any, run_now: RunNow) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Gelo", ["a"], ["b"], name="first"),
        helper.make_node("FusedConv", ["b"], ["y"], name="second", domain="com.microsoft"),
    ]
    proto = model(nodes, {"x": (TensorProto.FLOAT, [4])}, {"y": TensorProto.FLOAT})
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    job = run_now(submit(person, upload(person, proto)))
    assert_users_mistake(job)
    assert job.error_code == "network.operator"
    assert "Gelo (opset 17), node 'first'" in job.error_message
    assert "Opset 17 has no Gelo" in job.error_hint
    assert "1 more node is not supported" in job.error_hint


@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_a_truncated_model_fails_with_a_hint(person: Any, run_now: RunNow, share: float) -> None:
    content = mlp().SerializeToString()
    file = upload(person, content[: int(len(content) * share)])
    if file.kind == "onnx":
        assert_users_mistake(run_now(submit(person, file)))
    else:
        with pytest.raises(services.JobRefusedError):
            submit(person, file)


def test_a_contradiction_is_the_users_mistake(person: Any, run_now: RunNow) -> None:
    proto = model([helper.make_node("MatMul", ["x", "x"], ["y"], name="odd")], {"x": (1, [2, 3])}, {"y": 1})
    job = run_now(submit(person, upload(person, proto)))
    assert_users_mistake(job)
    assert "'odd'" in job.error_message


def test_hostile_names_reach_neither_code_nor_shell_nor_page(person: Any, run_now: RunNow, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Softmax", [HOSTILE], ["a" + HOSTILE], name=HOSTILE),
        helper.make_node("Softmax", ["a" + HOSTILE], ["y" + HOSTILE], name=HOSTILE, axis=0),
    ]
    proto = model(nodes, {HOSTILE: (1, [HOSTILE, 4])}, {"y" + HOSTILE: 1})
    proto.graph.name = proto.producer_name = proto.doc_string = HOSTILE
    file = upload(person, proto, 'a"; rm -rf ~; echo ".onnx')
    job = run_now(submit(person, file))
    assert job.state == JobState.SUCCEEDED, (job.error_message, log_of(job))
    visitor = Client()
    visitor.force_login(person)
    check_page(visitor.get(reverse("job", args=[job.pk])).content.decode())
    with zipfile.ZipFile(io.BytesIO(artifact(job, "network.zip"))) as archive:
        archive.extractall(tmp_path)
    header = (tmp_path / "network" / "network.hpp").read_text()
    own = header[header.index("struct Workspace") :]
    assert "system(" not in own.replace("// ", "").split("inline void run")[0]
    command = ["g++", "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-trigraphs", "selftest.cpp", "-o", "selftest"]
    subprocess.run(command, cwd=tmp_path / "network", check=True)
    assert subprocess.run(["./selftest"], cwd=tmp_path / "network", check=False, capture_output=True).returncode == 0


# Check a network.


def check(person: Any, run_now: RunNow, proto: Any, **options: Any) -> Job:
    job = run_now(services.submit(person, "network-check", {"model": str(upload(person, proto).pk), **options}))
    visitor = Client()
    visitor.force_login(person)
    check_page(visitor.get(reverse("job", args=[job.pk])).content.decode())
    return job


def test_a_network_is_checked(person: Any, run_now: RunNow) -> None:
    job = check(person, run_now, mlp())
    assert job.state == JobState.SUCCEEDED, (job.error_message, log_of(job))
    assert job.result["notes"][0]["headline"] == "This network can be compiled."
    figures = {figure["label"]: figure["value"] for figure in job.result["figures"]}
    assert figures["Nodes supported"] == "5 of 5"
    assert figures["Operations"] == "420·batch"
    tables = {table["title"]: table["rows"] for table in job.result["tables"]}
    assert set(tables) == {"Operators", "Cost by operator", "What the passes do", "Fused", "Inputs and outputs"}
    assert tables["Cost by operator"][-1][:3] == ["all", "5", "192·batch"]
    assert [plot["title"] for plot in job.result["plots"]] == ["Graph after all passes", "Memory of a call"]
    assert "fused::Linear" in artifact(job, "graph.txt").decode()
    fixed = check(person, run_now, mlp(), shapes="x: 1000, 8")
    assert {figure["label"]: figure["value"] for figure in fixed.result["figures"]}["Operations"] == "420\u2009000"


def test_what_is_not_supported_is_listed_on_a_page_of_its_own(person: Any, run_now: RunNow) -> None:
    nodes = [helper.make_node("Gelo", ["x"], ["a"], name=HOSTILE), helper.make_node("Bad", ["a"], ["y"], domain="mine")]
    job = check(person, run_now, model(nodes, {"x": (1, [4])}, {"y": 1}))
    assert job.state == JobState.SUCCEEDED, (job.error_message, log_of(job))
    assert job.result["notes"][0]["kind"] == "bad"
    assert job.result["notes"][0]["headline"] == "2 nodes are not supported."
    first = job.result["tables"][0]
    assert first["title"] == "Not supported"
    assert [row[0] for row in first["rows"]] == ["Gelo", "mine::Bad"]
    assert all(row[3] and row[4] for row in first["rows"])


def test_a_model_that_contradicts_itself_is_told(person: Any, run_now: RunNow) -> None:
    job = check(person, run_now, model([helper.make_node("MatMul", ["x", "x"], ["y"])], {"x": (1, [2, 3])}, {"y": 1}))
    assert job.state == JobState.SUCCEEDED
    assert "cannot be compiled" in job.result["notes"][0]["headline"]


def test_no_model_at_all_fails(person: Any, run_now: RunNow) -> None:
    content = mlp().SerializeToString()
    file = upload(person, content[: len(content) // 2])
    assert file.kind == "onnx"
    job = run_now(services.submit(person, "network-check", {"model": str(file.pk)}))
    assert_users_mistake(job)
