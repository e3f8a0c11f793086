"""Parquet files, read by pyarrow: schema, row groups and compression, all from the footer. No data is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlcore.errors import InputError
from mlcore.inspection.report import Inspection, Rows, clean, size_text, tables

MAX_CHUNKS = 200_000
MAX_COLUMNS = 2000
THRIFT_LIMIT = 64 * 1024**2


def inspect(path: Path) -> Inspection:
    """The schema of a Parquet file with its size by column and by row group.

    Raises
    ------
    InputError
        The file does not end as a Parquet file must, or its footer is encrypted.
    """
    import pyarrow.parquet as pq

    _check_end(path)
    file = pq.ParquetFile(
        path, thrift_string_size_limit=THRIFT_LIMIT, thrift_container_size_limit=1_000_000, page_checksum_verification=False
    )
    with file:
        metadata = file.metadata
        groups = Rows()
        totals: list[list[int]] = [[0, 0] for _ in range(min(metadata.num_columns, MAX_COLUMNS))]
        compressions: list[set[str]] = [set() for _ in totals]
        looked_at = 0
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            packed = 0
            for column in range(len(totals) if looked_at < MAX_CHUNKS else 0):
                chunk = group.column(column)
                looked_at += 1
                totals[column][0] += chunk.total_compressed_size
                totals[column][1] += chunk.total_uncompressed_size
                compressions[column].add(chunk.compression)
                packed += chunk.total_compressed_size
            groups.add(number, group.num_rows, packed, group.total_byte_size)
        columns = Rows()
        for number, (packed, unpacked) in enumerate(totals):
            column = metadata.schema.column(number)
            ratio = round(unpacked / packed, 2) if packed else None
            compression = ", ".join(sorted(compressions[number])).lower()
            columns.add(column.path, _type(column), compression, packed, unpacked, ratio)
        extra = Rows(most=100)
        for key, value in (metadata.metadata or {}).items():
            if key != b"ARROW:schema":  # the schema again, encoded
                extra.add(key.decode(errors="replace"), value.decode(errors="replace"))
        facts = (
            ("Size", size_text(path.stat().st_size)),
            ("Rows", metadata.num_rows),
            ("Columns", metadata.num_columns),
            ("Row groups", metadata.num_row_groups),
            ("Compression", ", ".join(sorted(set().union(*compressions))).lower() or "none"),
            ("Written by", clean(metadata.created_by or "unknown")),
            ("Format", clean(metadata.format_version)),
        )
    return Inspection(
        "parquet",
        "Parquet file",
        facts,
        tables(
            columns.table("Columns", ("Name", "Type", "Compression", "Bytes on disk", "Bytes unpacked", "Ratio")),
            groups.table("Row groups", ("Number", "Rows", "Bytes on disk", "Bytes unpacked")),
            extra.table("Metadata", ("Key", "Value")),
        ),
    )


def _check_end(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(max(0, size - 8))
        end = stream.read(8)
    if end.endswith(b"PARE"):
        raise InputError("the file has an encrypted footer", hint="Upload it decrypted.", code="inspection.encrypted")
    if size < 12 or not end.endswith(b"PAR1"):
        raise InputError(
            "the file is cut short: a Parquet file ends with its table of contents, and this one does not",
            hint="Upload it again, or close its writer before copying it.",
            code="inspection.truncated",
        )
    if int.from_bytes(end[:4], "little") > size - 12:
        raise InputError("the file claims a footer larger than itself", hint="Write it anew.", code="inspection.damaged")


def _type(column: Any) -> str:
    logical = str(column.logical_type)
    return str(column.physical_type).lower() if logical == "None" else f"{logical} ({str(column.physical_type).lower()})"
