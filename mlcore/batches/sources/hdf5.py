"""HDF5 files: arrays of equal length in a group, a structured dataset, or a matrix."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.batches.blocks import Block, Values
from mlcore.batches.schema import Column, Schema
from mlcore.batches.sources._formats import Format
from mlcore.batches.sources._places import Place, check_version, fingerprint
from mlcore.batches.sources._readers import PiecesReader
from mlcore.batches.sources._values import jagged_of, number_column, plain
from mlcore.batches.sources.part import BlockReader, DamagedDataError, Part
from mlcore.errors import DataError, InputError

PIECE = 16 * 1024**2
"""Bytes of the columns of one dataset that are read at a time, about; whole chunks."""


@dataclass(frozen=True)
class _Source:
    """Where a column is: the dataset, the fields of its structure, the number of its column where it is a matrix."""

    dataset: str
    fields: tuple[str, ...] = ()
    number: int | None = None


class Hdf5Part(Part):
    """The datasets of a group, or one dataset.

    Parameters
    ----------
    place
        The file, and the group or dataset in it; where it names none, the only group with datasets.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.version = place.version()
        self._sources: dict[str, _Source] = {}
        columns: list[Column] = []
        with open_hdf5(place) as file:
            datasets = _datasets(file, place)
            self.name = str(place)
            self.rows = _rows(datasets, self.name)
            self.chunks = {dataset.name: dataset.chunks[0] if dataset.chunks else 1 for dataset in datasets.values()}
            for name, dataset in datasets.items():
                for column, source in _columns(name, dataset):
                    columns.append(column)
                    self._sources[column.name] = source
        self.schema = Schema(columns, where=self.name)
        self.fingerprint = fingerprint("hdf5", place.path, place.table, *self.version)

    def source(self, name: str) -> _Source:
        """Where a column is."""
        return self._sources[name]

    def boundaries(self, columns: Sequence[str]) -> npt.NDArray[np.int64]:
        names = {self._sources[column.name].dataset for column in self.schema.features(columns)}
        step = max([self.chunks[name] for name in names], default=1)
        step *= -(-4096 // step)  # chunks of few rows are many
        return np.unique(np.append(np.arange(0, self.rows, step, dtype=np.int64), self.rows))

    def reader(self, columns: Sequence[str], block_rows: int = 8192) -> BlockReader:
        return _Reader(self, self.schema.features(columns), block_rows)

    def check_unchanged(self) -> None:
        check_version(self.place, self.version)


class _Reader(PiecesReader):
    def __init__(self, part: Hdf5Part, columns: Sequence[Column], block_rows: int) -> None:
        super().__init__(block_rows)
        self.part = part
        self.columns = [(column, part.source(column.name)) for column in columns]
        self.file = open_hdf5(part.place)
        chunk = max([part.chunks[source.dataset] for _, source in self.columns], default=1)
        wide = max([_row_bytes(self.file[source.dataset]) for _, source in self.columns], default=1)
        self.step = chunk * max(1, PIECE // (wide * chunk))

    def pieces(self, start: int) -> Iterator[Block]:
        while start < self.part.rows:
            stop = min(self.part.rows, (start // self.step + 1) * self.step)
            read: dict[str, Any] = {}
            try:
                block = {column.name: self._values(column, source, start, stop, read) for column, source in self.columns}
            except (OSError, RuntimeError) as error:
                message = f"{self.part.name}: rows {start} to {stop}: {error}"
                raise DamagedDataError(message, start=start, stop=stop) from error
            yield block
            start = stop

    def _values(self, column: Column, source: _Source, start: int, stop: int, read: dict[str, Any]) -> Values:
        if source.dataset not in read:
            read[source.dataset] = self.file[source.dataset][start:stop]
        values = read[source.dataset]
        for field in source.fields:
            values = values[field]
        if column.jagged:
            counts = np.array([len(row) for row in values], np.int64)
            flat = np.concatenate(values) if counts.sum() else np.empty(0, column.dtype)
            return jagged_of(plain(flat), counts)
        return plain(values if source.number is None else values[:, source.number])

    def close(self) -> None:
        super().close()
        self.file.close()


def open_hdf5(place: Place) -> Any:
    """The file, as h5py opens it; to be closed.

    Raises
    ------
    InputError
        It cannot be read.
    """
    import h5py

    try:
        return h5py.File(place.open() if place.remote else place.path, "r")
    except OSError as error:
        raise InputError(f"{place.path} cannot be read as HDF5: {error}", hint="Copy the file again.") from error


def _datasets(file: Any, place: Place) -> dict[str, Any]:
    """The datasets of the table by the names that their columns begin with."""
    import h5py

    if place.table:
        found = file.get(place.table)
        if found is None:
            raise DataError.missing("group or dataset", place.table, _names(file), where=place.path)
        if isinstance(found, h5py.Dataset):
            return {found.name.rpartition("/")[2]: found}
        return _inside(found)
    groups = {group.name: _inside(group) for group in _groups(file)}
    full = {name: datasets for name, datasets in groups.items() if datasets}
    if len(full) == 1:
        return next(iter(full.values()))
    if not full:
        raise InputError(f"{place.path} holds no arrays", hint="Give a file with datasets.", code="batches.source")
    raise InputError(
        f"{place.path} holds {len(full)} groups of datasets: {', '.join(list(full)[:10])}",
        hint=f'Say which one: tree="{next(iter(full)).strip("/") or "/"}".',
        code="batches.source",
    )


def _inside(group: Any) -> dict[str, Any]:
    """The arrays that lie in a group itself. Links to elsewhere are not followed: they may lead to other files."""
    import h5py

    found = {}
    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.HardLink):
            item = group[name]
            if isinstance(item, h5py.Dataset) and item.shape:
                found[name] = item
    return found


def _groups(group: Any) -> Iterator[Any]:
    import h5py

    yield group
    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.HardLink) and isinstance(group[name], h5py.Group):
            yield from _groups(group[name])


def _names(file: Any) -> list[str]:
    found = []
    for group in _groups(file):
        found += [group.name.strip("/") or "/", *(dataset.name.strip("/") for dataset in _inside(group).values())]
    return found


def _rows(datasets: dict[str, Any], where: str) -> int:
    if not datasets:
        raise InputError(f"{where} holds no arrays", hint="Give a group with datasets.", code="batches.source")
    (first, dataset), *others = datasets.items()
    for name, other in others:
        if len(other) != len(dataset):
            raise InputError(
                f"{where}: {name!r} has {len(other)} rows where {first!r} has {len(dataset)}",
                hint='Name one dataset, as in tree="group/dataset", or give a group whose datasets are of equal length.',
                code="batches.rows",
            )
    rows: int = dataset.shape[0]
    return rows


def _columns(name: str, dataset: Any) -> Iterator[tuple[Column, _Source]]:
    """The columns of a dataset: its own, those of its fields, or those of a matrix."""
    import h5py

    source = _Source(dataset.name)
    if dataset.external or dataset.is_virtual:
        yield Column(name, None, typename=str(dataset.dtype), why_not="its data lies in other files"), source
    elif dataset.dtype.names is not None:
        for column, fields in _fields("", dataset.dtype, ()):
            whole = (
                column
                if dataset.ndim == 1
                else Column(column.name, None, why_not="it is a structured array of several dimensions")
            )
            yield whole, _Source(dataset.name, fields)
    elif (inner := h5py.check_vlen_dtype(dataset.dtype)) is not None and not isinstance(inner, type):
        yield number_column(name, inner, jagged=True, typename=f"vlen {inner.name}"), source
    elif dataset.ndim == 2:
        for i in range(dataset.shape[1]):
            yield number_column(f"{name}_{i}", dataset.dtype), _Source(dataset.name, number=i)
    else:
        yield number_column(name, dataset.dtype, dataset.shape[1:]), source


def _fields(name: str, dtype: np.dtype[Any], above: tuple[str, ...]) -> Iterator[tuple[Column, tuple[str, ...]]]:
    for field in dtype.names or ():
        inner = dtype[field]
        full = f"{name}.{field}" if name else field
        if inner.names is not None:
            yield from _fields(full, inner, (*above, field))
        else:
            yield number_column(full, inner.base, inner.shape), (*above, field)


def _row_bytes(dataset: Any) -> int:
    width: int = dataset.dtype.itemsize * math.prod(dataset.shape[1:])
    return max(1, width)


def open_file(place: Place) -> Part:
    """The table of an HDF5 file.

    Raises
    ------
    InputError
        The file cannot be read, or it is not clear what its table is.
    DataError
        It has no such group or dataset.
    """
    return Hdf5Part(place)


FORMAT = Format("HDF5", kinds=("hdf5",), open_file=open_file)
