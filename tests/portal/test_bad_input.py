"""Bad input through the real upload: each is refused with 4xx and a hint, or fails as a job with one; nothing is left behind."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from portal.jobs import services as jobs
from portal.jobs.models import Job, JobState
from portal.library.models import LibraryFile

pytestmark = pytest.mark.django_db(transaction=True)


WORK_DIR: Path = settings.WORK_DIR


def _zip_bomb() -> bytes:
    """A NumPy archive of 200 kB that unpacks to 200 MB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        for _ in range(200):
            member.write(bytes(1_000_000))
    return buffer.getvalue()


def _gzip_bomb() -> bytes:
    """What joblib writes with compression, and it unpacks to 200 MB of a pickle's padding."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packer.compress(b"\x80\x04" + pickle.dumps({"a": 1})[2:])]
    parts += [packer.compress(bytes(1_000_000)) for _ in range(200)]
    return b"".join([*parts, packer.flush()])


def _object_array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def _torch_file() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps({"weight": [1.0]}))
        archive.writestr("model/version", "3")
    return buffer.getvalue()


REFUSED = {
    "empty.root": b"",
    "model.pkl": pickle.dumps({"a": 1}),
    "renamed.json": pickle.dumps({"a": 1}, protocol=0),
    "model.joblib": gzip.compress(pickle.dumps({"a": 1})),
    "model.pt": _torch_file(),
    "objects.npy": _object_array(),
    "bomb.joblib": _gzip_bomb(),
}


@pytest.fixture
def visitor(person: Any) -> Client:
    client = Client()
    client.force_login(person)
    return client


def send(client: Client, name: str, content: bytes) -> Any:
    return client.post(reverse("library-upload"), content, content_type="application/octet-stream", query_params={"name": name})


def left_behind() -> list[Path]:
    """Files of uploads and runs in progress."""
    return [path for path in WORK_DIR.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_never_loaded_is_refused_at_the_door(visitor: Client, name: str) -> None:
    response = send(visitor, name, REFUSED[name])
    assert 400 <= response.status_code < 500
    answer = response.json()
    assert answer["error"]
    assert answer["hint"]
    assert "Traceback" not in response.content.decode()
    assert not LibraryFile.objects.exists()
    assert left_behind() == []


def _hdf5(tmp_path: Path) -> bytes:
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["showers"] = np.arange(20_000.0)
    return (tmp_path / "a.h5").read_bytes()


def _parquet(tmp_path: Path) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": list(range(5000))}), tmp_path / "a.parquet")
    return (tmp_path / "a.parquet").read_bytes()


def _onnx(_tmp_path: Path) -> bytes:
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], name=f"n{i}") for i in range(40)], "g", [x], [y])
    return bytes(helper.make_model(graph).SerializeToString())


def _forest(_tmp_path: Path) -> bytes:
    """Looks like XGBoost's JSON at its beginning, and is nothing of the kind."""
    return json.dumps({"learner": {"gradient_booster": {"name": "gbtree"}}, "version": [3, 2, 0]}).encode()


def _deep_json(_tmp_path: Path) -> bytes:
    return b'{"learner": ' + b"[" * 200_000 + b"]" * 200_000 + b', "version": [3, 2, 0]}'


def _huge_ubj(_tmp_path: Path) -> bytes:
    """A UBJSON object that claims an array of 2^62 elements."""
    return b"{L" + (7).to_bytes(8, "big") + b"learner" + b"[$d#L" + (2**62).to_bytes(8, "big") + b"\x00" * 64


@pytest.mark.parametrize(
    ("name", "make", "share"),
    [
        ("cut.h5", _hdf5, 0.5),
        ("cut.parquet", _parquet, 0.6),
        ("cut.onnx", _onnx, 0.6),
        ("hollow.json", _forest, 1),
        ("deep.json", _deep_json, 1),
        ("huge.ubj", _huge_ubj, 1),
    ],
)
def test_what_is_broken_fails_with_a_hint(
    visitor: Client,
    tmp_path: Path,
    run_now: Callable[[Job], Job],
    name: str,
    make: Callable[[Path], bytes],
    share: float,
) -> None:
    content = make(tmp_path)
    response = send(visitor, name, content[: int(len(content) * share)])
    if response.status_code != 201:
        assert 400 <= response.status_code < 500
        assert response.json()["hint"]
        return
    file = LibraryFile.objects.get()
    if file.inspection_job is None:
        # Not recognised as anything: it can be kept, and no job takes it.
        with pytest.raises(jobs.JobRefusedError):
            jobs.submit(file.owner, "forest-to-cpp", {"model": str(file.pk)})
        return
    job = run_now(file.inspection_job)
    assert job.state == JobState.FAILED
    assert job.error_code not in ("internal", "crashed"), (job.error_code, job.error_message)
    assert job.error_hint
    page = visitor.get(reverse("library-file", args=[file.pk])).content.decode()
    assert "Traceback" not in page
    assert str(settings.DATA_DIR) not in page
    assert left_behind() == []


def test_a_zip_bomb_is_kept_packed(visitor: Client) -> None:
    """An archive of plain arrays is no danger as it lies there: nobody unpacks it on arrival."""
    bomb = _zip_bomb()
    response = send(visitor, "arrays.npz", bomb)
    assert response.status_code == 201
    assert response.json()["kind"] == "numpy"
    assert LibraryFile.objects.get().size == len(bomb) < 1_000_000
    assert left_behind() == []


def test_a_mislabelled_file_is_known_by_its_content(visitor: Client, tmp_path: Path) -> None:
    assert send(visitor, "events.root", _parquet(tmp_path)).json()["kind"] == "parquet"
    assert send(visitor, "model.onnx", b"just words, whatever the name says").json()["kind"] == "text"


def test_too_large_an_upload_is_refused_by_its_announcement(visitor: Client, settings: Any) -> None:
    settings.ENV = settings.ENV.model_copy(update={"upload_limit": 1000})
    response = send(visitor, "large.root", bytes(2000))
    assert response.status_code == 413
    assert "larger than" in response.json()["error"]
    assert not LibraryFile.objects.exists()
    assert left_behind() == []
