"""HDF5 files: what is listed, and what is not followed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mlcore.inspection import Inspection, inspect


def rows(inspection: Inspection, title: str) -> list[tuple[Any, ...]]:
    return [row for table in inspection.tables if table.title.startswith(title) for row in table.rows]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "showers.h5"
    with h5py.File(path, "w", userblock_size=512) as out:
        out.create_dataset(
            "showers", data=np.ones((100, 45), np.float32), chunks=(10, 45), compression="gzip", compression_opts=6
        )
        out.create_dataset("incident/energy", data=np.arange(100.0))
        out["incident/energy"].attrs["unit"] = "MeV"
        out["incident"].attrs["cuts"] = np.array([1.5, 2.5])
        out.attrs["calibration"] = np.zeros(1000)
        out["scalar"] = 3
        out["names"] = ["e", "gamma"]
        out["records"] = np.zeros(2, [("pt", "f4"), ("id", "i8")])
    return path


def test_datasets(file: Path) -> None:
    found = inspect(file)
    datasets = {row[0]: row[1:] for row in rows(found, "Datasets")}
    assert set(datasets) == {"/showers", "/incident/energy", "/scalar", "/names", "/records"}
    shape, kind, stored, layout = datasets["/showers"]
    assert (shape, kind, layout) == ("100 × 45", "float32", "chunks of 10 × 45, gzip 6")
    assert 0 < stored < 100 * 45 * 4
    assert datasets["/incident/energy"] == ("100", "float64", 800, "contiguous")
    assert datasets["/scalar"][0] == "scalar"
    facts = dict(found.facts)
    assert (facts["Datasets"], facts["Groups"], facts["Attributes"], facts["User block"]) == (5, 2, 3, "512 B")


def test_attributes(file: Path) -> None:
    assert set(rows(inspect(file), "Attributes")) == {
        ("/incident/energy", "unit", "MeV"),
        ("/incident", "cuts", "[1.5 2.5]"),
        ("/", "calibration", "1000 of float64"),
    }


def test_links_are_named_and_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as out:
        out["secret"] = np.arange(7)
    path = tmp_path / "links.h5"
    with h5py.File(path, "w") as out:
        out["x"] = np.arange(3)
        out["elsewhere"] = h5py.ExternalLink(str(other), "/secret")
        out["soft"] = h5py.SoftLink("/x")
        out["dangling"] = h5py.SoftLink("/nowhere")
        out["group/loop"] = out["/"]
        out["again"] = out["x"]
    found = inspect(path)
    assert len(rows(found, "Datasets")) == 1
    links = dict(rows(found, "Links"))
    assert set(links) == {"/elsewhere", "/soft", "/dangling"}
    assert "another file" in links["/elsewhere"]


def test_external_and_virtual_storage_are_not_followed(tmp_path: Path) -> None:
    raw = tmp_path / "raw.bin"
    raw.write_bytes(bytes(80))
    path = tmp_path / "v.h5"
    with h5py.File(path, "w") as out:
        out.create_dataset("outside", (10,), "f8", external=[(str(raw), 0, 80)])
        layout = h5py.VirtualLayout((4, 3), "f4")
        layout[0] = h5py.VirtualSource(str(tmp_path / "absent.h5"), "x", (3,))
        out.create_virtual_dataset("virtual", layout)
    layouts = {row[0]: row[4] for row in rows(inspect(path), "Datasets")}
    assert "in another file (not followed)" in layouts["/outside"]
    assert layouts["/virtual"] == "virtual, of 1 sources (not followed)"


def test_claimed_size_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "huge.h5"
    with h5py.File(path, "w") as out:
        out.create_dataset("huge", (2**40, 2**20), "f8", chunks=(1024, 1024))
    assert rows(inspect(path), "Datasets")[0][1] == f"{2**40} × {2**20}"


def test_many_datasets_and_deep_groups_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "many.h5"
    with h5py.File(path, "w") as out:
        for number in range(1200):
            out[f"d{number:04d}"] = number
        out.create_group("/".join(["g"] * 100))
    found = inspect(path)
    table = next(table for table in found.tables if table.title == "Datasets")
    assert len(table.rows) == 1000
    assert table.note == "The first 1,000 of 1,200."
    assert dict(found.facts)["Groups"] == 65


def test_references_and_odd_attributes(tmp_path: Path) -> None:
    path = tmp_path / "odd.h5"
    with h5py.File(path, "w") as out:
        out["x"] = 1
        out.attrs["reference"] = out["x"].ref
        out.attrs["empty"] = h5py.Empty("f4")
        out.attrs["text"] = np.bytes_(b"caf\xe9\x07")
        out["type"] = np.dtype("f4")
    attributes = {row[1]: row[2] for row in rows(inspect(path), "Attributes")}
    assert set(attributes) == {"reference", "empty", "text"}
    assert "\x07" not in attributes["text"]
