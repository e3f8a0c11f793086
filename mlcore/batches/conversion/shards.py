"""Shards: files of rows in the formats that training programs read."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, TypeAlias, get_args

import numpy as np

from mlcore.batches.blocks import Array, Jagged, Values
from mlcore.batches.conversion.pieces import to_arrow
from mlcore.batches.conversion.tfrecord import write_records
from mlcore.errors import InputError

Format: TypeAlias = Literal["parquet", "hdf5", "numpy", "tfrecord", "webdataset"]
Groups: TypeAlias = Mapping[str, tuple[str, ...]]
"""``x``, ``y`` and ``w``, each with the names of its columns."""


@dataclass(frozen=True)
class ShardFormat:
    """How shards of a format are written.

    Attributes
    ----------
    suffix
        Of their names.
    jagged
        Whether a row may have a number of values of its own.
    write
        Writes columns to a file: (file, columns, groups, precision of matrices, number of the first row).
    """

    suffix: str
    jagged: bool
    write: Callable[[BinaryIO, Mapping[str, Values], Groups, np.dtype[Any], int], None]


def shard_format(name: str) -> ShardFormat:
    """The format of this name.

    Raises
    ------
    InputError
        There is none.
    """
    if name not in _FORMATS:
        raise InputError(
            f"{name!r} is no format of shards", hint=f"Choose one of {', '.join(get_args(Format))}.", code="batches.format"
        )
    return _FORMATS[name]


def _parquet(file: BinaryIO, columns: Mapping[str, Values], groups: Groups, dtype: np.dtype[Any], first: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # A dictionary of floats that hardly repeat is larger than the floats.
    pq.write_table(pa.Table.from_batches([to_arrow(columns)]), file, compression="zstd", use_dictionary=False)


def _hdf5(file: BinaryIO, columns: Mapping[str, Values], groups: Groups, dtype: np.dtype[Any], first: int) -> None:
    import h5py

    with h5py.File(file, "w") as out:
        for name, values in columns.items():
            array = _array(values)
            chunks = (
                (min(len(array), max(1, 2**20 // max(1, array.itemsize * array[:1].size))), *array.shape[1:])
                if len(array)
                else None
            )
            # Slashes would make groups.
            out.create_dataset(
                name.replace("/", "."),
                data=array,
                chunks=chunks,
                shuffle=bool(chunks),
                compression="gzip" if chunks else None,
                compression_opts=1 if chunks else None,
            )


def _numpy(file: BinaryIO, columns: Mapping[str, Values], groups: Groups, dtype: np.dtype[Any], first: int) -> None:
    import zipfile

    # As numpy.savez, which takes no column that is called "file".
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, values in columns.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(_array(values)), allow_pickle=False)


def _tfrecord(file: BinaryIO, columns: Mapping[str, Values], groups: Groups, dtype: np.dtype[Any], first: int) -> None:
    write_records(file, columns)


def _webdataset(file: BinaryIO, columns: Mapping[str, Values], groups: Groups, dtype: np.dtype[Any], first: int) -> None:
    """Two or three members a row, ``000000012.x.npy`` and so on: a member costs 1 kB, so a column cannot have its own."""
    matrices = {name: matrix(columns, names, dtype) for name, names in groups.items()}
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for row in range(len(next(iter(matrices.values())))):
            for name, values in matrices.items():
                data = io.BytesIO()
                np.lib.format.write_array(data, values[row], allow_pickle=False)
                info = tarfile.TarInfo(f"{first + row:09d}.{name}.npy")
                info.size = data.tell()
                data.seek(0)
                archive.addfile(info, data)


def matrix(columns: Mapping[str, Values], names: tuple[str, ...], dtype: np.dtype[Any]) -> Array:
    """Columns side by side, shape (n_rows, n_values)."""
    with np.errstate(over="ignore"):
        found: Array = np.concatenate(
            [_array(columns[name]).reshape(len(columns[name]), -1).astype(dtype) for name in names], axis=1
        )
    return found


def _array(values: Values) -> Array:
    if isinstance(values, Jagged):
        raise TypeError("jagged columns are refused before")
    return values


_FORMATS: dict[str, ShardFormat] = {
    "parquet": ShardFormat(".parquet", jagged=True, write=_parquet),
    "hdf5": ShardFormat(".h5", jagged=False, write=_hdf5),
    "numpy": ShardFormat(".npz", jagged=False, write=_numpy),
    "tfrecord": ShardFormat(".tfrecord", jagged=True, write=_tfrecord),
    "webdataset": ShardFormat(".tar", jagged=False, write=_webdataset),
}
