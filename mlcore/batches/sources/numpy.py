"""NumPy arrays, in memory and in files: dicts of arrays, structured arrays, matrices; .npy and .npz."""

from __future__ import annotations

import hashlib
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.batches.blocks import Array, Jagged, Values
from mlcore.batches.schema import Column, Schema
from mlcore.batches.sources._formats import Format, made_by
from mlcore.batches.sources._places import Place, check_version, fingerprint
from mlcore.batches.sources._readers import ArraysReader
from mlcore.batches.sources._values import number_column, plain
from mlcore.batches.sources.part import BlockReader, Part
from mlcore.errors import DataError, InputError

HINT = "Give a dict of arrays, a structured array or a matrix."
MATRIX = "x"
"""What the columns of a matrix without a name are called: ``x_0``, ``x_1`` and so on."""


class ArraysPart(Part):
    """Arrays of equal length, in memory or mapped from a file.

    Parameters
    ----------
    name
        For messages.
    arrays
        The columns; those that hold no numbers as well.
    place
        Of the file that they come from, if they do.
    """

    def __init__(self, name: str, arrays: Mapping[str, Values], place: Place | None = None) -> None:
        self.name = name
        self._arrays = dict(arrays)
        self._place = place
        self._version = None if place is None else place.version()
        self._fingerprint = ""
        lengths = {key: len(values) for key, values in self._arrays.items()}
        if not lengths:
            raise InputError(f"{name} holds no arrays", hint=HINT, code="batches.source")
        self.rows = next(iter(lengths.values()))
        for key, length in lengths.items():
            if length != self.rows:
                raise InputError(
                    f"{name}: {key!r} has {length} rows where {next(iter(lengths))!r} has {self.rows}",
                    hint="Give arrays of equal length.",
                    code="batches.rows",
                )
        self.schema = Schema((_column(key, values) for key, values in self._arrays.items()), where=name)

    @property
    def fingerprint(self) -> str:  # type: ignore[override]
        """Of the file; without one, of the numbers, which takes about a second for each GB, once."""
        if not self._fingerprint:
            if self._place is not None and self._version is not None:
                self._fingerprint = fingerprint("numpy", self._place.path, self._place.table, *self._version)
            else:
                self._fingerprint = content_hash(self._arrays)
        return self._fingerprint

    def boundaries(self, columns: Sequence[str]) -> npt.NDArray[np.int64]:
        self.schema.features(columns)
        return np.unique(np.array([0, self.rows], np.int64))

    def reader(self, columns: Sequence[str], block_rows: int = 8192) -> BlockReader:
        self.schema.features(columns)
        return ArraysReader({name: self._arrays[name] for name in columns}, block_rows)

    def check_unchanged(self) -> None:
        if self._place is not None and self._version is not None:
            check_version(self._place, self._version)


def content_hash(arrays: Mapping[str, Values]) -> str:
    """A hash of names, types, shapes and numbers."""
    digest = hashlib.blake2b(digest_size=32)
    for name, values in arrays.items():
        for array in (values.values, values.offsets) if isinstance(values, Jagged) else (values,):
            digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
            if array.dtype.hasobject:
                digest.update(repr(array.tolist()).encode())
                continue
            step = max(1, 2**24 // max(1, array.nbytes // max(1, len(array))))
            for start in range(0, len(array), step):
                digest.update(np.ascontiguousarray(array[start : start + step]).view(np.uint8).data)
    return digest.hexdigest()


def _column(name: str, values: Values) -> Column:
    if isinstance(values, Jagged):
        return number_column(name, values.values.dtype, values.values.shape[1:], jagged=True)
    return number_column(name, values.dtype, values.shape[1:])


def columns_of(name: str, array: Array) -> Iterator[tuple[str, Array]]:
    """The columns of one array: one, or one for each field of a structured array, with dots where fields are nested."""
    if array.dtype.names is None:
        yield name, array
        return
    for field in array.dtype.names:
        yield from columns_of(f"{name}.{field}" if name else field, array[field])


def matrix_columns(name: str, array: Array) -> Iterator[tuple[str, Array]]:
    """The columns of a matrix: ``name_0`` and so on."""
    for i in range(array.shape[1]):
        yield f"{name}_{i}", array[:, i]


def _table(arrays: Mapping[str, Any], where: str) -> dict[str, Values]:
    """The columns of named arrays."""
    found: dict[str, Values] = {}
    for name, given in arrays.items():
        if not isinstance(name, str):
            raise InputError(f"{where}: columns have names, not {name!r}", hint=HINT, code="batches.source")
        if isinstance(given, Jagged):
            found[name] = given
            continue
        array = _array(given, f"{where}: {name!r}")
        for column, values in columns_of(name, array):
            found[column] = plain(values) if values.dtype.kind in "iufb" and not values.dtype.isnative else values
    return found


def _array(given: Any, where: str) -> Array:
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise InputError(f"{where} makes no array: {error}", hint="Give rows of equal length, or `Jagged`.") from error
    if array.ndim == 0:
        raise InputError(f"{where} is a single value, not an array with rows", hint=HINT, code="batches.source")
    return array


def open_object(given: Any) -> Part:
    """A dict of arrays, a structured array, or a matrix, whose columns are ``x_0`` and so on.

    Raises
    ------
    InputError
        It is none of these, or its arrays differ in length.
    """
    if isinstance(given, Mapping):
        return ArraysPart("the arrays", _table(given, "the arrays"))
    return ArraysPart("the array", _unnamed(given, "the array"))


def _unnamed(array: Array, where: str, name: str = MATRIX) -> dict[str, Values]:
    if array.dtype.names is not None and array.ndim == 1:
        return _table(dict(columns_of("", array)), where)
    if array.ndim == 2 and array.dtype.names is None:
        return _table(dict(matrix_columns(name, array)), where)
    if array.ndim == 1:
        return _table({name: array}, where)
    raise InputError(
        f"{where} has the shape {array.shape}; a table has one or two dimensions",
        hint=f'Name it, as a column whose rows are arrays: {{"{name}": array}}.',
        code="batches.source",
    )


def open_file(place: Place) -> Part:
    """The array of a .npy file, mapped into memory as far as it is local, or the arrays of a .npz file.

    Raises
    ------
    InputError
        The file cannot be read, or its arrays differ in length.
    DataError
        It has no array of the name that the place says.
    """
    where = str(place)
    try:
        with place.open() as stream:
            if stream.read(6) == b"\x93NUMPY":
                array = _mapped(place)
                return ArraysPart(where, _unnamed(array, where), place)
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as archive:
                if place.table:
                    if place.table not in archive.files:
                        raise DataError.missing("array", place.table, archive.files, where=place.path)
                    return ArraysPart(where, _unnamed(archive[place.table], where, place.table), place)
                arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{place.path} cannot be read: {error}", hint="Save it again by np.save or np.savez.") from error
    if len(arrays) == 1:
        name, array = next(iter(arrays.items()))
        return ArraysPart(where, _unnamed(array, where, name), place)
    return ArraysPart(where, _table(arrays, where), place)


def _mapped(place: Place) -> Array:
    if place.remote:
        with place.open() as stream:
            array: Array = np.load(stream, allow_pickle=False)
            return array
    mapped: Array = np.load(place.path, mmap_mode="r", allow_pickle=False)
    if math.prod(mapped.shape) == 0:
        raise InputError(f"{place.path} holds no rows", hint="Give an array with rows.", code="batches.source")
    return mapped


def takes(given: object) -> bool:
    """Whether it is a dict or an array; Awkward's and PyTorch's are none, whose dicts of columns are."""
    return isinstance(given, Mapping | np.ndarray) and not made_by(given, "awkward")


FORMAT = Format("NumPy", kinds=("numpy",), open_file=open_file, takes=takes, open_object=open_object)
