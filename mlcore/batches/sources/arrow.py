"""Arrow tables, and what gives one: data frames of pandas and Polars."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.batches.blocks import Values
from mlcore.batches.schema import Schema
from mlcore.batches.sources._arrow import columns_of, values_of
from mlcore.batches.sources._formats import Format, made_by
from mlcore.batches.sources._readers import ArraysReader
from mlcore.batches.sources.part import BlockReader, Part


class TablePart(Part):
    """A pyarrow Table."""

    def __init__(self, table: Any) -> None:
        self.name = "the table"
        self.rows = int(table.num_rows)
        self._table = table
        self._fingerprint = ""
        self._values: dict[str, Values] = {}
        self._lock = threading.Lock()
        columns = [column for field in table.schema for column in columns_of(field.name, field.type)]
        self.schema = Schema(columns, where=self.name)

    @property
    def fingerprint(self) -> str:  # type: ignore[override]
        """Of the content: the table in Arrow's own form, hashed once."""
        if not self._fingerprint:
            import pyarrow as pa

            sink = _Digest()
            with pa.output_stream(sink) as stream, pa.ipc.new_stream(stream, self._table.schema) as writer:
                writer.write_table(self._table.combine_chunks())
            self._fingerprint = sink.digest.hexdigest()
        return self._fingerprint

    def boundaries(self, columns: Sequence[str]) -> npt.NDArray[np.int64]:
        self.schema.features(columns)
        return np.unique(np.array([0, self.rows], np.int64))

    def reader(self, columns: Sequence[str], block_rows: int = 8192) -> BlockReader:
        found = self.schema.features(columns)
        with self._lock:  # what has to be copied is copied for all readers once
            for column in found:
                if column.name not in self._values:
                    self._values[column.name] = values_of(self._table, column, self.name)
            return ArraysReader({name: self._values[name] for name in columns}, block_rows)

    def check_unchanged(self) -> None:
        """A table is never changed."""


class _Digest:
    """A file that keeps a hash of what is written."""

    closed = False

    def __init__(self) -> None:
        self.digest = hashlib.blake2b(digest_size=32)

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return len(data)

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def takes(given: object) -> bool:
    """Whether it is a table or data frame; a single array is none."""
    return made_by(given, "pyarrow") or (hasattr(given, "__arrow_c_stream__") and hasattr(given, "columns"))


def open_object(given: Any) -> Part:
    """A pyarrow Table or RecordBatch, or a data frame that has Arrow's interface."""
    import pyarrow as pa

    return TablePart(given if isinstance(given, pa.Table) else pa.table(given))


FORMAT = Format("Arrow", takes=takes, open_object=open_object)
