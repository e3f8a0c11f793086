"""Showers on disk and in memory.

Public names: `Records`, the one form that models and measures take; `ShowerFile` reads files of the Fast Calorimeter Simulation
Challenge and of LEMURS, `Writer` and `write` write them, `stream` goes through several; `binning` is the challenge's XML.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from mlcore.showers.dataset import binning
from mlcore.showers.dataset.files import Layout, ShowerFile, Writer, write
from mlcore.showers.dataset.records import ELECTRON, NORMAL, PHOTON, POSITRON, Records
from mlcore.showers.voxels import Voxels

__all__ = [
    "ELECTRON",
    "NORMAL",
    "PHOTON",
    "POSITRON",
    "Layout",
    "Records",
    "ShowerFile",
    "Writer",
    "binning",
    "read",
    "stream",
    "write",
]


def stream(paths: Iterable[Path], voxels: Voxels | None = None, *, size: int = 1024, geometry: str = "") -> Iterator[Records]:
    """Showers of several files, one file after the other, at most `size` at a time."""
    for path in paths:
        yield from ShowerFile.open(path, voxels, geometry=geometry).batches(size)


def read(paths: Path | Iterable[Path], voxels: Voxels | None = None, *, geometry: str = "") -> Records:
    """All showers of one or several files in memory."""
    return Records.joined(stream([paths] if isinstance(paths, Path) else paths, voxels, geometry=geometry))
