"""A profile of a file: how its tables are stored, how fast they are read here, and what would make that faster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mlcore.batches.blocks import Jagged, Values
from mlcore.batches.exploration.storage import Stored, StoredTable, stored_tables
from mlcore.batches.sources import DamagedDataError, Part, open_source
from mlcore.errors import MLCoreError

SECONDS = 2.0
"""For which a table is read."""
SMALL_UNIT = 8_000
"""Bytes of a basket or page, unpacked, below which its header and the call to decompress it cost more than the numbers."""
LARGE_CLUSTER = 300e6
"""Bytes of a cluster, unpacked, above which few can be read at a time."""
BLOCK_ROWS = 8192


@dataclass(frozen=True)
class Speed:
    """How fast a table is read, by one thread.

    Attributes
    ----------
    columns
        That were read, of those that can be features.
    native
        Whether all of them are decoded natively.
    rows, bytes
        Read; bytes as numbers in memory.
    seconds
        Of CPU and waiting, in all.
    """

    columns: int
    native: bool
    rows: int
    bytes: int
    seconds: float

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.seconds if self.seconds else 0.0

    @property
    def bytes_per_second(self) -> float:
        return self.bytes / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Advice:
    """What could be better about a file: a sentence that says what, and one that says what to do.

    Attributes
    ----------
    weight
        ``"much"`` where it costs a large part of the reading time, else ``"some"``.
    """

    headline: str
    text: str
    weight: Literal["much", "some"] = "some"


@dataclass(frozen=True)
class TableProfile:
    """A table of a file.

    Attributes
    ----------
    stored
        How it is stored.
    speed
        How fast it is read; None where it was not, and `unread` says why.
    unusable
        Columns that can be no features, with the reason.
    jagged
        Names of columns with another number of values in every row.
    advice
        What matters most first.
    """

    stored: StoredTable
    speed: Speed | None
    unread: str
    unusable: dict[str, str]
    jagged: tuple[str, ...]
    advice: tuple[Advice, ...]


@dataclass(frozen=True)
class Profile:
    """A file.

    Attributes
    ----------
    name, size
        Of the file, in bytes.
    tables
        All of them.
    """

    name: str
    size: int
    tables: tuple[TableProfile, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data, with what is computed."""
        found = asdict(self)
        for told, table in zip(found["tables"], self.tables, strict=True):
            for column, stored in zip(told["stored"]["columns"], table.stored.columns, strict=True):
                column |= {"ratio": stored.ratio, "unit_bytes": stored.unit_bytes}
            if table.speed is not None:
                told["speed"] |= {
                    "rows_per_second": table.speed.rows_per_second,
                    "bytes_per_second": table.speed.bytes_per_second,
                }
        return found


def profile(
    path: Path | str, *, seconds: float = SECONDS, progress: Callable[[float, str], None] = lambda fraction, text: None
) -> Profile:
    """Look at how a file is stored, and read its tables for a while.

    Parameters
    ----------
    path
        Of a ROOT, Parquet or HDF5 file.
    seconds
        For which each table is read at most; 0 reads nothing.
    progress
        Called with what is done, 0 to 1, and what is going on.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    path = Path(path)
    progress(0.05, "Reading the metadata")
    stored = stored_tables(path)
    tables = []
    for number, table in enumerate(stored):
        progress(0.1 + 0.9 * number / len(stored), f"Reading {table.name}")
        tables.append(_table(path, table, seconds))
    return Profile(path.name, path.stat().st_size, tuple(tables))


def _table(path: Path, stored: StoredTable, seconds: float) -> TableProfile:
    speed, unread = None, "nothing was asked for" if seconds <= 0 else ""
    unusable: dict[str, str] = {}
    jagged: tuple[str, ...] = ()
    try:
        (part,) = open_source(str(path), tree=stored.name if stored.kind in ("TTree", "RNTuple") else None).parts
        columns = list(part.schema.values())
        unusable = {column.name: column.why_not for column in columns if column.why_not}
        jagged = tuple(column.name for column in columns if column.jagged and not column.why_not)
        names = [column.name for column in columns if not column.why_not]
        if seconds > 0 and names and part.rows:
            speed = _speed(part, names, seconds)
    except MLCoreError as error:
        unread = error.message
    found = TableProfile(stored, speed, unread, unusable, jagged, ())
    return replace(found, advice=tuple(sorted(_advice(found), key=lambda entry: entry.weight == "some")))


def _speed(part: Part, names: list[str], seconds: float) -> Speed:
    """Read blocks for some time, after a first one that brings up what is slow only once."""
    with part.reader(names, BLOCK_ROWS) as reader:
        _, stop = 0, min(part.rows, BLOCK_ROWS)
        reader.read(0, stop)
        native = reader.native is not None
    rows = size = 0
    with part.reader(names, BLOCK_ROWS) as reader:
        begun = time.perf_counter()
        taken = 0.0
        try:
            for block in reader.blocks(0, part.rows):
                rows += len(next(iter(block.values())))
                size += sum(_bytes(values) for values in block.values())
                taken = time.perf_counter() - begun
                if taken > seconds:
                    break
        except DamagedDataError:
            if not rows:
                raise
    return Speed(len(names), native, rows, size, taken)


def _bytes(values: Values) -> int:
    return values.values.nbytes + values.offsets.nbytes if isinstance(values, Jagged) else values.nbytes


# --- advice ---------------------------------------------------------------------------------------------------------------------


def _advice(table: TableProfile) -> Iterator[Advice]:
    stored = table.stored
    total = sum(column.uncompressed for column in stored.columns)
    if not total or not stored.rows:
        return
    yield from _about_compression(stored)
    yield from _about_units(stored, total)
    yield from _about_clusters(stored, total)
    share = _share(stored, lambda column: _base(column.name) in {_base(name) for name in table.jagged})
    if share > 0.5:
        yield Advice(
            f"{share:.0%} of the bytes are in columns with another number of values in every row.",
            "They are read, but batches need them padded (pad=) or as one number each row, such as Sum(jet_pt > 30).",
        )
    doubles = _share(stored, lambda column: column.typename.lower() in ("double", "float64", "double[]", "std::vector<double>"))
    if doubles > 0.3:
        yield Advice(
            f"{doubles:.0%} of the bytes are double precision.",
            "Networks are trained in single precision: as float they would take half of that.",
        )
    if table.speed is not None and not table.speed.native and stored.kind in ("TTree", "RNTuple"):
        yield Advice(
            "Some columns are not decoded natively.",
            "Double32_t, Float16_t and branches of several leaves are read by uproot, which takes longer: leave them out, or "
            "write them as plain numbers.",
        )
    if len(table.unusable) > len(stored.columns) / 2:
        yield Advice(
            f"{len(table.unusable)} of {len(stored.columns)} columns can be no features.",
            "Text, objects that are not split and vectors of vectors have to be flattened first.",
        )


def _about_compression(stored: StoredTable) -> Iterator[Advice]:
    lzma = _share(stored, lambda column: column.algorithm == "LZMA")
    if lzma > 0.1:
        yield Advice(
            f"{lzma:.0%} of the bytes are compressed by LZMA, the slowest to unpack.",
            "Zstandard makes files about as small and unpacks several times as fast: hadd -f505 new.root old.root",
            "much",
        )
    zlib = _share(stored, lambda column: column.algorithm in ("ZLIB", "gzip", "GZIP"))
    if zlib > 0.5:
        what = "hadd -f505 new.root old.root" if stored.kind in ("TTree", "RNTuple") else "choose it when the file is written"
        yield Advice(
            f"{zlib:.0%} of the bytes are compressed by zlib.", f"Zstandard unpacks faster at about the same size: {what}"
        )
    poor = [c for c in stored.columns if c.algorithm not in ("none", "LZ4") and c.ratio is not None and c.ratio < 1.05]
    share = sum(c.compressed for c in poor) / max(1, sum(c.compressed for c in stored.columns))
    if share > 0.5:
        yield Advice(
            f"Compression hardly makes {share:.0%} of the bytes smaller.",
            "LZ4, or none, would be read faster at the same size: hadd -f404 new.root old.root"
            if stored.kind in ("TTree", "RNTuple")
            else "LZ4, or none, would be read faster at the same size.",
        )


def _about_units(stored: StoredTable, total: int) -> Iterator[Advice]:
    if stored.kind == "Parquet":
        return
    several = [column for column in stored.columns if column.units > 1]
    small = [column for column in several if column.unit_bytes < SMALL_UNIT]
    if several and len(small) > len(several) / 2:
        mean = sum(column.uncompressed for column in small) / sum(column.units for column in small)
        how = {
            "TTree": "Write with tree->SetAutoFlush(-30000000) or larger baskets; hadd -O does it for a file that is there.",
            "RNTuple": "Write with the default page and cluster size, and commit no cluster by hand.",
        }.get(stored.kind, "Write with larger chunks.")
        yield Advice(f"The {stored.unit}s are small: {_size(mean)} on average in {len(small)} columns.", how, "much")


def _about_clusters(stored: StoredTable, total: int) -> Iterator[Advice]:
    if stored.kind == "HDF5":
        whole = [column for column in stored.columns if column.units == 1 and column.uncompressed > LARGE_CLUSTER]
        if any(column.algorithm != "none" for column in whole):
            yield Advice(
                "A dataset is one compressed chunk.", "It is unpacked as a whole for every row: write it in chunks.", "much"
            )
        return
    most = max((column.units for column in stored.columns), default=0)
    clusters = stored.clusters
    if stored.kind == "TTree" and most > 3 and len(clusters) < most / 4:
        yield Advice(
            "Baskets of different branches end at different rows: the tree has no clusters.",
            "Whoever reads a range of rows unpacks more than that. Write with tree->SetAutoFlush(-30000000), or run hadd -O.",
        )
    elif clusters and max(clusters) / stored.rows * total > LARGE_CLUSTER:
        yield Advice(
            f"The largest cluster holds {_size(max(clusters) / stored.rows * total)}.",
            "Threads share the work by clusters: smaller ones, of 30 to 100 MB, keep all of them busy.",
        )
    elif len(clusters) > 10 and total / len(clusters) < 1e6:
        name = "row groups" if stored.kind == "Parquet" else "clusters"
        yield Advice(
            f"The {name} are small: {_size(total / len(clusters))} on average.",
            "Larger ones, of 30 to 100 MB, compress better and are read faster.",
            "much",
        )


def _share(stored: StoredTable, which: Callable[[Stored], bool]) -> float:
    total = sum(column.compressed for column in stored.columns)
    return sum(column.compressed for column in stored.columns if which(column)) / total if total else 0.0


def _base(name: str) -> str:
    return name.partition(".")[0].partition("/")[0]


def _size(count: float) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} bytes"
