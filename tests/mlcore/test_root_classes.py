"""What a ROOT file says of its classes is believed of this file alone."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import uproot

from mlcore.errors import MLCoreError
from mlcore.forests.rows import read_rows
from mlcore.inspection import histogram, inspect
from mlcore.root_classes import own_classes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.root"
    with uproot.recreate(path, compression=None) as file:
        file.mktree("t", {"x": np.dtype("f8")})
        file["t"].extend({"x": np.arange(50.0)})
        file["h"] = np.histogram(np.arange(9.0))
    return path


def versions() -> dict[str, dict[int, type]]:
    """The versions of classes that uproot knows."""
    return {name: dict(kind.known_versions) for name, kind in uproot.classes.items() if hasattr(kind, "known_versions")}


def test_copies_can_be_changed_and_uproot_s_stay() -> None:
    before = versions()
    own = own_classes()
    own["TTree"].known_versions[99] = object
    assert own["TTree"].known_versions.keys() - {99} == before["TTree"].keys()
    assert versions() == before
    assert 99 not in own_classes()["TTree"].known_versions
    assert own["ROOT::RNTuple"] is uproot.classes["ROOT::RNTuple"]


def test_damaged_files_leave_uproot_as_it_was(path: Path) -> None:
    """Whoever reads them, and whatever comes of it."""
    whole = path.read_bytes()
    rng = np.random.default_rng(6)
    before = versions()
    for _ in range(40):
        data = bytearray(whole)
        for at in rng.integers(100, len(data), 3):
            data[at] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        for look in (inspect, lambda file: histogram(file, "t", "x")):
            with contextlib.suppress(MLCoreError):
                look(path)
        with contextlib.suppress(Exception):  # it leaves the error to the job
            read_rows(path, SimpleNamespace(n_features=1, feature_names=("x",)))  # type: ignore[arg-type]
    assert versions() == before
    path.write_bytes(whole)
    assert sum(histogram(path, "t", "x").counts) == 50
