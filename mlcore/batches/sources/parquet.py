"""Parquet files, a row group after the other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.batches.blocks import Block
from mlcore.batches.schema import Column, Schema
from mlcore.batches.sources._arrow import columns_of, values_of
from mlcore.batches.sources._formats import Format
from mlcore.batches.sources._places import Place, check_version, fingerprint
from mlcore.batches.sources._readers import PiecesReader
from mlcore.batches.sources.part import BlockReader, DamagedDataError, Part
from mlcore.errors import InputError

BATCH = 65_536
"""Rows that Arrow decodes at a time."""


class ParquetPart(Part):
    """A Parquet file."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.name = place.path
        self.table = Path(place.path).stem
        self.version = place.version()
        with open_parquet(place) as file:
            metadata = file.metadata
            self.rows = int(metadata.num_rows)
            groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
            self.edges = np.concatenate([[0], np.cumsum(groups, dtype=np.int64)]).astype(np.int64)
            columns = [column for field in file.schema_arrow for column in columns_of(field.name, field.type)]
        self.schema = Schema(columns, where=self.name)
        self.fingerprint = fingerprint("parquet", place.path, *self.version)

    def boundaries(self, columns: Sequence[str]) -> npt.NDArray[np.int64]:
        self.schema.features(columns)
        return np.unique(self.edges)

    def reader(self, columns: Sequence[str], block_rows: int = 8192) -> BlockReader:
        return _Reader(self, self.schema.features(columns), block_rows)

    def check_unchanged(self) -> None:
        check_version(self.place, self.version)


class _Reader(PiecesReader):
    def __init__(self, part: ParquetPart, columns: Sequence[Column], block_rows: int) -> None:
        super().__init__(block_rows)
        self.part = part
        self.columns = tuple(columns)
        self.file = open_parquet(part.place)
        stored = [self.file.schema.column(i).path for i in range(len(self.file.schema))]
        # Lists have two levels of their own in the file, which no column's name has.
        paths = {re.sub(r"\.list\.(element|item)(?=\.|$)", "", path): path for path in stored}
        self.names = [paths.get(column.name, column.name) for column in columns]

    def pieces(self, start: int) -> Iterator[Block]:
        edges = self.part.edges
        for group in range(int(np.searchsorted(edges, start, "right")) - 1, len(edges) - 1):
            first = row = int(edges[group])
            try:
                for batch in self._batches(group):
                    stop = row + batch.num_rows
                    if stop > start:
                        rest = batch.slice(max(0, start - row))
                        yield {column.name: values_of(rest, column, self.part.name) for column in self.columns}
                    row = stop
            except (OSError, ValueError) as error:
                if isinstance(error, InputError):
                    raise
                last = int(edges[group + 1])
                message = f"{self.part.name}: row group {group}, rows {max(row, first)} to {last}: {error}"
                raise DamagedDataError(message, start=row, stop=last) from error

    def _batches(self, group: int) -> Iterator[Any]:
        yield from self.file.iter_batches(BATCH, row_groups=[group], columns=self.names, use_threads=False)

    def close(self) -> None:
        super().close()
        self.file.close()


def open_parquet(place: Place) -> Any:
    """The file, as pyarrow opens it; to be closed.

    Raises
    ------
    InputError
        It cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = pa.PythonFile(place.open(), mode="r") if place.remote else place.path
    try:
        return pq.ParquetFile(source, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{place.path} cannot be read as Parquet: {error}", hint="Copy the file again.") from error


def open_file(place: Place) -> Part:
    """The table of a Parquet file; it has but one, so the name of one is of no account.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    return ParquetPart(Place(place.path))


FORMAT = Format("Parquet", kinds=("parquet",), open_file=open_file)
