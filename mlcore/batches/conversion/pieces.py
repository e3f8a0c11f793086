"""Piece files: the rows of one task of a conversion, in blobs by split and bucket, each with a checksum.

A file is the blobs (Arrow record batches), a footer in JSON that says where they are, and a trailer that says where that is.
It is written beside its place and moved there when it is whole, so a file that is there is complete, or was damaged later.
"""

from __future__ import annotations

import base64
import json
import os
import struct
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from google_crc32c import value as crc32c

from mlcore.batches.blocks import Array, Jagged, Values
from mlcore.batches.stores import StorageError
from mlcore.errors import InputError

ROW = "__row__"
"""The column of the rows' numbers in pieces."""
MAGIC = b"ML4EPpc2"
_TRAILER = struct.Struct("<QI8s")


class DamagedPieceError(InputError):
    """A piece file that is not what was written; the next run makes it again."""

    code = "batches.piece"

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path} is damaged: {why}", hint="Run the conversion again: it makes this piece anew and keeps the others."
        )
        self.path = path


@dataclass(frozen=True)
class Blob:
    """Rows of one split and bucket.

    Attributes
    ----------
    split, bucket
        Their numbers.
    rows
        How many.
    offset, length
        Where they lie in the file, in bytes.
    checksum
        CRC-32C of these bytes.
    """

    split: int
    bucket: int
    rows: int
    offset: int
    length: int
    checksum: int


@dataclass(frozen=True)
class Piece:
    """A piece file, by its footer.

    Attributes
    ----------
    path
        Where it is.
    recipe
        The mark of the conversion that it is of.
    name
        What its rows are of, such as ``signal.root:Events``.
    number, start, stop
        The part of the source, and its rows that were looked at.
    fingerprint
        Of the part.
    schema
        Arrow's, of every blob.
    blobs
        In ascending order of split and bucket.
    skipped
        Rows that could not be read: the first one, the one behind the last, and why.
    refused
        Why the part could not be opened at all; it has no rows then, and no columns.
    """

    path: Path
    recipe: str
    name: str
    number: int
    start: int
    stop: int
    fingerprint: str
    schema: Any
    blobs: tuple[Blob, ...]
    skipped: tuple[tuple[int, int, str], ...] = ()
    refused: str = ""

    @classmethod
    def open(cls, path: Path) -> Piece:
        """Read the footer.

        Raises
        ------
        DamagedPieceError
            It is not whole.
        """
        import pyarrow as pa

        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size < _TRAILER.size:
                raise DamagedPieceError(path, "it is cut short")
            file.seek(size - _TRAILER.size)
            length, checksum, magic = _TRAILER.unpack(file.read(_TRAILER.size))
            begin = size - _TRAILER.size - length
            if magic != MAGIC or begin < 0:
                raise DamagedPieceError(path, "its end is not that of a piece")
            file.seek(begin)
            footer = file.read(length)
        if crc32c(footer) != checksum:
            raise DamagedPieceError(path, "its footer has another checksum")
        told = json.loads(footer)
        blobs = tuple(Blob(*entry) for entry in told.pop("blobs"))
        if sum(blob.length for blob in blobs) != begin:
            raise DamagedPieceError(path, "blobs are missing")
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(told.pop("schema"))))
        skipped = tuple((start, stop, why) for start, stop, why in told.pop("skipped"))
        return cls(path=path, schema=schema, blobs=blobs, skipped=skipped, **told)

    def read(self, blob: Blob) -> Any:
        """The record batch of a blob.

        Raises
        ------
        DamagedPieceError
            Its checksum is another one.
        """
        import pyarrow as pa

        with self.path.open("rb") as file:
            file.seek(blob.offset)
            data = file.read(blob.length)
        if len(data) != blob.length or crc32c(data) != blob.checksum:
            self.path.unlink(missing_ok=True)
            raise DamagedPieceError(self.path, f"bytes {blob.offset} to {blob.offset + blob.length} have another checksum")
        return pa.ipc.read_record_batch(pa.py_buffer(data), self.schema)


def write_piece(
    path: Path, batches: Iterator[tuple[int, int, Any]], schema: Any, *, recipe: str, name: str, number: int, start: int,
    stop: int, fingerprint: str, skipped: Sequence[tuple[int, int, str]] = (), refused: str = "",
) -> None:  # fmt: skip
    """Write a piece file; see `Piece` for what is told of it.

    Parameters
    ----------
    path
        Where it goes.
    batches
        Split, bucket and record batch, in ascending order.
    schema
        Of the batches.

    Raises
    ------
    StorageError
        The disk is full, or fails; nothing stays behind.
    """
    blobs: list[list[int]] = []
    with replacing(path) as file:
        offset = 0
        for split, bucket, batch in batches:
            data = batch.serialize().to_pybytes()
            file.write(data)
            blobs.append([split, bucket, batch.num_rows, offset, len(data), crc32c(data)])
            offset += len(data)
        footer = json.dumps(
            {
                "recipe": recipe, "name": name, "number": number, "start": start, "stop": stop, "fingerprint": fingerprint,
                "schema": base64.b64encode(schema.serialize()).decode(), "blobs": blobs,
                "skipped": list(skipped), "refused": refused,
            }
        ).encode()  # fmt: skip
        file.write(footer)
        file.write(_TRAILER.pack(len(footer), crc32c(footer), MAGIC))


def write_refused(path: Path, reason: str, *, recipe: str, name: str, number: int) -> Piece:
    """Write the piece of a part that could not be opened, so that it is known not to be missing; the rest as of `write_piece`."""
    import pyarrow as pa

    write_piece(
        path, iter(()), pa.schema([]), recipe=recipe, name=name, number=number, start=0, stop=0, fingerprint="", refused=reason
    )
    return Piece.open(path)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` once it is written to the disk; on an error nothing changes.

    Raises
    ------
    StorageError
        The disk is full, or fails.
    """
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # noqa: PTH101 - a shard is for its owner's programs and group, as any new file
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, StorageError):
            message = f"rows cannot be written to {path.parent}: {error.strerror or error}"
            raise StorageError(message, hint="Free space there, or name another folder; what is complete is kept.") from error
        raise


def to_arrow(columns: Mapping[str, Values]) -> Any:
    """A record batch of columns: arrays of several values a row become lists of fixed size, jagged ones lists."""
    import pyarrow as pa

    return pa.RecordBatch.from_arrays([_arrow(values) for values in columns.values()], names=list(columns))


def _arrow(values: Values) -> Any:
    import pyarrow as pa

    if isinstance(values, Jagged):
        return pa.LargeListArray.from_arrays(pa.array(values.offsets), _arrow(values.values))
    if values.ndim == 1:
        return pa.array(np.ascontiguousarray(values))
    width = int(np.prod(values.shape[1:]))
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), width)


def from_arrow(table: Any) -> dict[str, Values]:
    """The columns of a table; arrays of several values a row have the shape (n_rows, n_values)."""
    return {name: _values(table.column(name).combine_chunks()) for name in table.column_names}


def _values(array: Any) -> Values:
    import pyarrow as pa

    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if pa.types.is_fixed_size_list(array.type):
        flat: Array = array.flatten().to_numpy(zero_copy_only=False)
        return flat.reshape(len(array), array.type.list_size)
    if pa.types.is_large_list(array.type):
        offsets = array.offsets.to_numpy().astype(np.int64)
        return Jagged(array.flatten().to_numpy(zero_copy_only=False), offsets - offsets[0])
    plain: Array = array.to_numpy(zero_copy_only=False)
    return plain
