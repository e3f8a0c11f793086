"""How files store their columns, as far as the formats tell it: bytes, compression, baskets or pages, clusters."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mlcore.batches.sources._places import Place
from mlcore.batches.sources._root import explained, open_root
from mlcore.batches.sources.hdf5 import open_hdf5
from mlcore.batches.sources.parquet import open_parquet
from mlcore.errors import InputError

_ALGORITHMS = {1: "ZLIB", 2: "LZMA", 3: "old", 4: "LZ4", 5: "ZSTD"}
_MARKS = {b"ZL": "ZLIB", b"XZ": "LZMA", b"CS": "old", b"L4": "LZ4", b"ZS": "ZSTD"}
"""What a compressed basket begins with."""
_KEY_LENGTH = 14
"""Where the length of a key stands in it."""
_TREES = ("TTree", "TNtuple", "TNtupleD")
_RNTUPLE = "ROOT::RNTuple"


@dataclass(frozen=True)
class Stored:
    """How a column is stored.

    Attributes
    ----------
    name, typename
        As the file says; inner fields are counted with the one that they are in.
    compressed, uncompressed
        Bytes in the file, and unpacked.
    algorithm, level
        Of the compression; ``"none"`` and None where there is none. Where they differ, those of most bytes.
    units
        Baskets, pages, chunks or column chunks.
    """

    name: str
    typename: str
    compressed: int
    uncompressed: int
    algorithm: str
    level: int | None
    units: int

    @property
    def ratio(self) -> float | None:
        """How much smaller compression makes it."""
        return self.uncompressed / self.compressed if self.compressed else None

    @property
    def unit_bytes(self) -> float:
        """Of one basket or page, unpacked, on average."""
        return self.uncompressed / self.units if self.units else 0.0

    @property
    def compression(self) -> str:
        """Algorithm and level as one text."""
        return self.algorithm if self.level is None else f"{self.algorithm} {self.level}"


@dataclass(frozen=True)
class StoredTable:
    """How a table is stored.

    Attributes
    ----------
    name, kind
        Of the table; ``"TTree"``, ``"RNTuple"``, ``"Parquet"`` or ``"HDF5"``.
    unit
        What `Stored.units` counts.
    rows
        Their number; of HDF5, of the longest dataset.
    columns
        All of them.
    clusters
        The rows of each range that can be read without touching the others; empty where the format has no such thing.
    """

    name: str
    kind: str
    unit: str
    rows: int
    columns: tuple[Stored, ...]
    clusters: tuple[int, ...] = ()


def stored_tables(path: Path) -> tuple[StoredTable, ...]:
    """All tables of a file.

    Raises
    ------
    InputError
        It cannot be read, or is of a kind that is not profiled.
    """
    place = Place(str(path))
    match place.kind().kind:
        case "root":
            return tuple(_root(place))
        case "parquet":
            return (_parquet(place),)
        case "hdf5":
            return (_hdf5(place),)
    raise InputError(
        f"{path} is {place.kind().title}", hint="ROOT, Parquet and HDF5 files can be profiled.", code="batches.source"
    )


# --- ROOT -----------------------------------------------------------------------------------------------------------------------


def _root(place: Place) -> Iterator[StoredTable]:
    with open_root(place) as file, place.open() as stream, explained(place):
        classes = file.classnames(recursive=True, cycle=True)
        newest: dict[str, str] = {}
        for name in classes:  # uproot lists the newest cycle of a name first
            newest.setdefault(name.rpartition(";")[0], name)
        for short, name in newest.items():
            if classes[name] in _TREES:
                yield _tree(short, file[name], stream)
            elif classes[name] == _RNTUPLE:
                yield _ntuple(short, file[name])


def _tree(name: str, tree: Any, stream: BinaryIO) -> StoredTable:
    columns, edges = [], []
    for path, branch in tree.iteritems(recursive=True, full_paths=True):
        if not branch.num_baskets:
            continue  # it groups others
        packed, unpacked = int(branch.compressed_bytes), int(branch.uncompressed_bytes)
        algorithm, level = _compression(branch, tree.file, stream)
        columns.append(Stored(path, str(branch.typename), packed, unpacked, algorithm, level, int(branch.num_baskets)))
        edges.append(np.asarray(branch.entry_offsets, np.int64))
    return StoredTable(name, "TTree", "basket", int(tree.num_entries), tuple(columns), _shared(edges))


def _compression(branch: Any, file: Any, stream: BinaryIO) -> tuple[str, int | None]:
    """Algorithm and level of a branch.

    What the first basket begins with says which algorithm it was, whatever the tree says; uproot writes trees that say none.
    """
    seeks = branch.member("fBasketSeek")
    if not len(seeks) or not seeks[0]:
        return "none", None  # its rows lie in the tree itself
    stream.seek(int(seeks[0]) + _KEY_LENGTH)
    (key_length,) = struct.unpack(">H", stream.read(2))
    stream.seek(int(seeks[0]) + key_length)
    algorithm = _MARKS.get(stream.read(2), "none")
    if algorithm == "none" or branch.compressed_bytes >= branch.uncompressed_bytes:
        return "none", None
    for setting in (int(branch.member("fCompress")), int(file.fCompress)):
        if _ALGORITHMS.get(setting // 100) == algorithm:
            return algorithm, setting % 100
    return algorithm, None


def _shared(edges: list[Any]) -> tuple[int, ...]:
    """The rows between those at which baskets of all branches begin.

    Branches of one basket hold few bytes, and say nothing about where clusters end.
    """
    several = [each for each in edges if len(each) > 2]
    if not several:
        return tuple(np.diff(edges[0]).tolist()) if edges else ()
    common = several[0]
    for other in several[1:]:
        common = np.intersect1d(common, other)
    return tuple(np.diff(common).tolist())


def _ntuple(name: str, ntuple: Any) -> StoredTable:
    records = ntuple.field_records
    owner: list[int] = []
    for number, record in enumerate(records):
        # A top-level field is its own parent; a parent stands before its children.
        owner.append(owner[record.parent_field_id] if record.parent_field_id < number else number)
    tops = [number for number, own in enumerate(owner) if number == own]
    packed, unpacked, pages = (dict.fromkeys(tops, 0) for _ in range(3))
    settings: dict[int, dict[int, int]] = {number: {} for number in tops}
    for cluster in ntuple.page_link_list:
        for column, entry in zip(ntuple.column_records, cluster, strict=False):
            top = owner[column.field_id]
            size = sum(page.locator.num_bytes for page in entry.pages)
            packed[top] += size
            unpacked[top] += sum((abs(page.num_elements) * column.nbits + 7) // 8 for page in entry.pages)
            pages[top] += len(entry.pages)
            setting = int(entry.compression_settings or 0)
            settings[top][setting] = settings[top].get(setting, 0) + size
    columns = []
    for top in tops:
        setting = max(settings[top], key=settings[top].__getitem__, default=0)
        label = _ALGORITHMS.get(setting // 100, "unknown") if setting else "none"
        columns.append(
            Stored(
                records[top].field_name, records[top].type_name, packed[top], unpacked[top], label,
                setting % 100 if setting else None, pages[top],
            )
        )  # fmt: skip
    clusters = tuple(int(summary.num_entries) for summary in ntuple.cluster_summaries)
    return StoredTable(name, "RNTuple", "page", int(ntuple.num_entries), tuple(columns), clusters)


# --- tables ---------------------------------------------------------------------------------------------------------------------


def _parquet(place: Place) -> StoredTable:
    with open_parquet(place) as file:
        told = file.metadata
        found: dict[str, list[Any]] = {}
        for group in range(told.num_row_groups):
            row_group = told.row_group(group)
            for number in range(row_group.num_columns):
                chunk = row_group.column(number)
                found.setdefault(chunk.path_in_schema, []).append(chunk)
        clusters = tuple(told.row_group(group).num_rows for group in range(told.num_row_groups))
        columns = tuple(
            Stored(
                name.removesuffix(".list.element").removesuffix(".list.item"),
                str(chunks[0].physical_type).lower(),
                sum(chunk.total_compressed_size for chunk in chunks),
                sum(chunk.total_uncompressed_size for chunk in chunks),
                _most((chunk.compression, chunk.total_compressed_size) for chunk in chunks).replace("UNCOMPRESSED", "none"),
                None,
                len(chunks),
            )
            for name, chunks in found.items()
        )
        return StoredTable(Path(place.path).name, "Parquet", "column chunk", int(told.num_rows), columns, clusters)


def _most(marks: Iterable[tuple[str, int]]) -> str:
    sizes: dict[str, int] = {}
    for mark, size in marks:
        sizes[mark] = sizes.get(mark, 0) + size
    return max(sizes, key=sizes.__getitem__)


def _hdf5(place: Place) -> StoredTable:
    import h5py

    columns: list[Stored] = []
    rows = 0

    def look(name: str, item: Any) -> None:
        nonlocal rows
        if not isinstance(item, h5py.Dataset) or not item.shape:
            return
        rows = max(rows, int(item.shape[0]))
        chunks = item.id.get_num_chunks() if item.chunks else 1
        algorithm = str(item.compression or "none")
        level = item.compression_opts if isinstance(item.compression_opts, int) else None
        if algorithm == "none" and item.id.get_create_plist().get_nfilters() > (item.shuffle or 0) + (item.fletcher32 or 0):
            algorithm = "a filter of its own"
        columns.append(
            Stored(
                name,
                str(item.dtype),
                int(item.id.get_storage_size()),
                int(item.size * item.dtype.itemsize),
                algorithm,
                level,
                chunks,
            )
        )

    with open_hdf5(place) as file:
        file.visititems(look)
    return StoredTable(Path(place.path).name, "HDF5", "chunk", rows, tuple(columns))
