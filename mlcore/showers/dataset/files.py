"""Showers in HDF5 files, streamed: the layouts of the Fast Calorimeter Simulation Challenge and of LEMURS.

========== ============================================ ==================================================
layout     datasets                                     showers
========== ============================================ ==================================================
challenge  incident_energies (n, 1), showers            (n, n_voxels): layer, then angle, then ring; MeV
lemurs     showers, incident_energy, incident_theta,    (n, n_radii, n_angles, n_layers); MeV
           incident_phi (n,)
========== ============================================ ==================================================

Files of the challenge hold one particle at one angle. What this project writes in that layout has ``theta``, ``phi``,
``particle`` and ``geometry`` beside, which the challenge's tools pass over, and says voxels and origin in attributes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import h5py
import numpy as np
import numpy.typing as npt

from mlcore.errors import DataError, InputError
from mlcore.showers.dataset.records import ELECTRON, NORMAL, Records
from mlcore.showers.voxels import Voxels

Layout = Literal["challenge", "lemurs"]
ENERGY = {"challenge": "incident_energies", "lemurs": "incident_energy"}
CONDITIONS = {
    "challenge": ("theta", "phi", "particle", "geometry"),
    "lemurs": ("incident_theta", "incident_phi", "incident_particle", "geometry"),
}
CHUNK = 256
"""Showers to a compressed piece of a file."""


@dataclass(frozen=True)
class ShowerFile:
    """What a file says of itself.

    Attributes
    ----------
    voxels
        None where neither the file nor its opener says.
    geometries
        Names of calorimeters to which the records refer.
    metadata
        What was written about its origin, such as the physics list.
    """

    path: Path
    layout: Layout
    count: int
    voxels: Voxels | None
    geometries: tuple[str, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, voxels: Voxels | None = None, *, geometry: str = "") -> ShowerFile:
        """Look into a file; nothing of its showers is read.

        Parameters
        ----------
        voxels
            Needed of files that do not say themselves, which those of the challenge and LEMURS do not.
        geometry
            Name of the calorimeter where the file does not say.

        Raises
        ------
        InputError
            It is no HDF5 file, or lengths and shapes in it do not fit each other or the voxels.
        DataError
            A dataset is missing.
        """
        with _opened(path) as file:
            layout = _layout(file, path)
            showers = _dataset(file, "showers", path)
            energy = _dataset(file, ENERGY[layout], path)
            count = int(showers.shape[0]) if showers.ndim else 0
            for name in (ENERGY[layout], *CONDITIONS[layout]):
                if name in file and int(np.prod(_dataset(file, name, path).shape)) != count:
                    raise InputError(
                        f"{path.name} has {count} showers and {int(np.prod(_dataset(file, name, path).shape))} values of {name}",
                        hint="The file is cut short or was put together wrongly.",
                        code="showers.file",
                    )
            for dataset in (showers, energy):
                if dataset.dtype.kind not in "fiu":
                    raise InputError(
                        f"{dataset.name} of {path.name} holds {dataset.dtype}, no numbers", hint="Give energies in MeV."
                    )
            stored = _attribute(file, "voxels", path)
            if stored is not None:
                try:
                    own = Voxels(tuple(stored["depths"]), int(stored["angles"]), tuple(stored["radii"]))
                except (KeyError, TypeError, ValueError) as error:
                    raise InputError(
                        f"the voxels that {path.name} names make no grid: {error}", hint="Write the file anew."
                    ) from error
                if voxels is not None and voxels.shape != own.shape:
                    raise InputError(
                        f"{path.name} has {_times(own.shape)} voxels, the geometry {_times(voxels.shape)}",
                        hint="Choose the geometry that the showers were made with.",
                        code="showers.voxels",
                    )
                voxels = voxels or own
            per_shower = int(np.prod(showers.shape[1:])) if showers.ndim > 1 else 0
            expected = None if voxels is None else voxels.shape[::-1]
            wrong = expected is not None and layout == "lemurs" and tuple(showers.shape[1:]) != expected
            if voxels is not None and (per_shower != voxels.count or wrong):
                shape = _times(showers.shape[1:]) if wrong else str(per_shower)
                wanted = _times(expected or ()) if wrong else f"{_times(voxels.shape)} = {voxels.count}"
                raise InputError(
                    f"showers of {path.name} have {shape} voxels each, the geometry {wanted}",
                    hint="Choose the geometry that the showers were made with.",
                    code="showers.voxels",
                )
            names = _attribute(file, "geometries", path)
            geometries = tuple(map(str, names)) if isinstance(names, list) and names else (geometry or "unknown",)
            return cls(path, layout, count, voxels, geometries, _attribute(file, "metadata", path) or {})

    def read(self, start: int = 0, stop: int | None = None) -> Records:
        """Showers `start` to `stop`, checked.

        Raises
        ------
        InputError
            NaN, negative energies or conditions without meaning are among them, or the voxels are not known.
        """
        if self.voxels is None:
            raise InputError(
                f"{self.path.name} does not say which voxels its showers have",
                hint="Name a calorimeter, such as dataset2, or give a binning file.",
                code="showers.voxels",
            )
        theta, phi, particle, geometry = CONDITIONS[self.layout]
        with _opened(self.path) as file:
            try:
                rows = slice(start, self.count if stop is None else min(stop, self.count))
                showers = file["showers"][rows]
                energy = np.asarray(file[ENERGY[self.layout]]).reshape(-1)[rows]
                given = {
                    name: np.asarray(file[name]).reshape(-1)[rows] if name in file else default
                    for name, default in ((theta, NORMAL), (phi, 0.0), (particle, ELECTRON), (geometry, 0))
                }
            except OSError as error:
                raise InputError(f"{self.path.name} is damaged: {error}", hint="Fetch or write it anew.") from error
        if self.layout == "lemurs":
            showers = np.ascontiguousarray(showers.transpose(0, 3, 2, 1))
        return Records.of(
            showers,
            energy,
            self.voxels,
            theta=given[theta],
            phi=given[phi],
            particle=given[particle],
            geometry=given[geometry],
            geometries=self.geometries,
            first=rows.start,
        )

    def column(self, name: str) -> npt.NDArray[np.float64]:
        """Further numbers, one to a shower, such as ``outside`` of simulated ones."""
        with _opened(self.path) as file:
            return np.asarray(_dataset(file, name, self.path), np.float64).reshape(-1)

    def batches(self, size: int = 1024) -> Iterator[Records]:
        """All showers, `size` at a time: no more of the file is in memory."""
        for start in range(0, self.count, size):
            yield self.read(start, start + size)


class Writer:
    """Writes showers piece by piece; the file appears under its name when all is written.

    Parameters
    ----------
    metadata
        About the origin, kept as JSON.
    extra
        Names of further numbers, one to a shower.
    compression
        Level of gzip, 0 to 9.

    Examples
    --------
    ::

        with Writer(path, voxels, ("dataset2",)) as writer:
            writer.append(records)
    """

    def __init__(
        self,
        path: Path,
        voxels: Voxels,
        geometries: Sequence[str],
        *,
        layout: Layout = "challenge",
        metadata: Mapping[str, Any] | None = None,
        extra: Sequence[str] = (),
        compression: int = 4,
    ) -> None:
        if layout not in get_args(Layout):
            raise DataError.missing("layout", str(layout), get_args(Layout), where="the project")
        self.path, self.voxels, self.geometries, self.layout = path, voxels, tuple(geometries), layout
        self._partial = path.with_name(f".{path.name}.partial")
        shape = (voxels.count,) if layout == "challenge" else voxels.shape[::-1]
        self._file = h5py.File(self._partial, "w")
        self._file.attrs["voxels"] = json.dumps({"depths": voxels.depths, "angles": voxels.angles, "radii": voxels.radii})
        self._file.attrs["geometries"] = json.dumps(self.geometries)
        self._file.attrs["metadata"] = json.dumps(dict(metadata or {}))
        self._add("showers", shape, "f4", compression)
        self._add(ENERGY[layout], (1,) if layout == "challenge" else (), "f8", compression)
        for name, kind in zip(CONDITIONS[layout], ("f8", "f8", "i4", "i2"), strict=True):
            self._add(name, (), kind, compression)
        self.extra = tuple(extra)
        for name in self.extra:
            self._add(name, (), "f8", compression)

    def _add(self, name: str, shape: tuple[int, ...], kind: str, compression: int) -> None:
        self._file.create_dataset(
            name,
            (0, *shape),
            kind,
            maxshape=(None, *shape),
            chunks=(CHUNK, *shape),
            compression="gzip",
            compression_opts=compression,
            shuffle=True,
        )

    def append(self, records: Records, extra: Mapping[str, npt.NDArray[np.float64]] | None = None) -> None:
        """Add showers; their calorimeters must be among those the file was opened for."""
        if records.voxels.shape != self.voxels.shape:
            raise InputError(
                f"showers of {_times(records.voxels.shape)} voxels do not fit a file of {_times(self.voxels.shape)}",
                hint="Write them to a file of their own.",
                code="showers.voxels",
            )
        for name in records.geometries:
            if name not in self.geometries:
                raise DataError.missing("calorimeter", name, self.geometries, where=self.path.name)
        kinds = np.array([self.geometries.index(name) for name in records.geometries], np.int16)[records.geometry]
        challenge = self.layout == "challenge"
        showers = records.showers.reshape(len(records), -1) if challenge else records.showers.transpose(0, 3, 2, 1)
        values = (
            showers,
            records.energy[:, None] if challenge else records.energy,
            records.theta,
            records.phi,
            records.particle,
            kinds,
        )
        start = self._file["showers"].shape[0]
        columns = dict(zip(("showers", ENERGY[self.layout], *CONDITIONS[self.layout]), values, strict=True))
        columns |= {name: (extra or {})[name] for name in self.extra}
        for name, array in columns.items():
            dataset = self._file[name]
            dataset.resize(start + len(records), axis=0)
            dataset[start:] = array

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        if kind is None:
            self._partial.replace(self.path)
        else:
            self._partial.unlink(missing_ok=True)


def write(path: Path, records: Records, *, layout: Layout = "challenge", metadata: Mapping[str, Any] | None = None) -> None:
    """Write all records to one file."""
    with Writer(path, records.voxels, records.geometries, layout=layout, metadata=metadata) as writer:
        for piece in records.batches(4 * CHUNK):
            writer.append(piece)


def _opened(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        raise InputError(
            f"{path.name} cannot be read as HDF5: {error}", hint="Give an HDF5 file of showers.", code="showers.file"
        ) from error


def _layout(file: h5py.File, path: Path) -> Layout:
    for layout in get_args(Layout):
        if ENERGY[layout] in file:
            return layout  # type: ignore[no-any-return]
    raise DataError.missing("dataset", ENERGY["challenge"], file, where=path.name)


def _dataset(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    # A link out of the file is not followed.
    link = file.get(name, getlink=True)
    item = file[name] if isinstance(link, h5py.HardLink) else None
    if not isinstance(item, h5py.Dataset) or item.is_virtual or item.external:
        raise DataError.missing("dataset", name, file, where=path.name)
    return item


def _attribute(file: h5py.File, name: str, path: Path) -> Any:
    text = file.attrs.get(name)
    if text is None:
        return None
    try:
        return json.loads(text)
    except (TypeError, ValueError) as error:
        raise InputError(f"the attribute {name} of {path.name} is no JSON", hint="Write the file anew.") from error


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
