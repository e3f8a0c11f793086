"""Profiles of files as jobs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.storage import default_storage

from portal.jobs import services
from portal.jobs.models import JobState
from portal.library import services as library

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_slow_file_is_told(person: Any, run_now: Any, tmp_path: Path) -> None:
    import uproot

    path = tmp_path / "slow.root"
    with uproot.recreate(path, compression=uproot.LZMA(1)) as file:
        tree = file.mktree("Events", {"pt": "float32"})
        for _ in range(20):
            tree.extend({"pt": np.random.default_rng(1).exponential(20, 300).round().astype(np.float32)})
    stored = library.store_upload(person, path.name, [path.read_bytes()])
    job = run_now(services.submit(person, "profile-file", {"file": str(stored.pk)}))
    assert job.state == JobState.SUCCEEDED, job.error_message
    assert job.title == "Profile of slow.root"
    text = json.dumps(job.result, ensure_ascii=False)
    assert "LZMA" in text
    assert "baskets are small" in text
    labels = [figure["label"] for figure in job.result["figures"]]
    assert labels == ["Rows", "On disk", "Read at", "Rows a second", "Clusters"]
    with default_storage.open(job.artifacts.get().path) as told:
        report = json.load(told)
    assert (report["name"], report["tables"][0]["stored"]["rows"]) == ("slow.root", 6000)


def test_a_file_without_tables(person: Any, run_now: Any, tmp_path: Path) -> None:
    import uproot

    path = tmp_path / "none.root"
    with uproot.recreate(path) as file:
        file["h"] = np.histogram(np.zeros(3))
    stored = library.store_upload(person, path.name, [path.read_bytes()])
    job = run_now(services.submit(person, "profile-file", {"file": str(stored.pk)}))
    assert job.state == JobState.SUCCEEDED, job.error_message
    assert "no table" in job.result["notes"][0]["headline"]
