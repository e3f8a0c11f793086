"""RNTuples: where the pages of their fields lie, from uproot's metadata; what plans cannot say, uproot reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from kernels.columns import ColumnPlan, Encoding
from mlcore.batches.blocks import Block, Values
from mlcore.batches.schema import Column, Schema
from mlcore.batches.sources._awkward import values_of
from mlcore.batches.sources._places import Place, fingerprint
from mlcore.batches.sources._planned import PlannedPart
from mlcore.batches.sources._readers import PiecesReader
from mlcore.batches.sources._root import explained, open_root
from mlcore.batches.sources._values import number_column
from mlcore.batches.sources.part import BlockReader, DamagedDataError

CLASS = "ROOT::RNTuple"
CHECKSUM = 8
"""Bytes of XXH3 behind a page, where it has a checksum."""
ZEROS = 64 * 1024
"""Elements of a page of zeros, which stands for rows before a field was added."""

_TYPES: dict[int, tuple[str, Encoding]] = {
    0x00: ("bool", "bits"),
    0x01: ("uint8", "plain"),
    0x02: ("uint8", "plain"),
    0x03: ("int8", "plain"),
    0x04: ("uint8", "plain"),
    0x05: ("int16", "plain"),
    0x06: ("uint16", "plain"),
    0x07: ("int32", "plain"),
    0x08: ("uint32", "plain"),
    0x09: ("int64", "plain"),
    0x0A: ("uint64", "plain"),
    0x0B: ("float16", "plain"),
    0x0C: ("float32", "plain"),
    0x0D: ("float64", "plain"),
    0x0E: ("uint32", "plain"),
    0x0F: ("uint64", "plain"),
    0x11: ("int16", "zigzag"),
    0x12: ("uint16", "split"),
    0x13: ("int32", "zigzag"),
    0x14: ("uint32", "split"),
    0x15: ("int64", "zigzag"),
    0x16: ("uint64", "split"),
    0x17: ("float16", "split"),
    0x18: ("float32", "split"),
    0x19: ("float64", "split"),
    0x1A: ("uint32", "delta"),
    0x1B: ("uint64", "delta"),
}
"""Column types by their numbers in the format's specification: Bit, Byte, Char, Int8 and so on to SplitIndex64."""
_CUT_FLOATS = (0x1C, 0x1D)
"""Real32Trunc and Real32Quant, of any number of bits, which uproot reads."""
_LEAF, _COLLECTION, _RECORD, _VARIANT, _STREAMER = range(5)
"""What a field is structurally."""


@dataclass(frozen=True)
class _Leaf:
    """What is known of a column.

    Attributes
    ----------
    field
        The number of the field whose RNTuple columns hold the values.
    collection
        That of the field whose RNTuple column counts them; None where rows have one each.
    key
        What uproot calls it, or the nearest field above that has a name.
    shape
        Of the values of one row, or of one value of a row.
    cardinality
        Whether it is the number of values in a collection, for which the file has no column of numbers.
    """

    field: int
    collection: int | None
    key: str
    shape: tuple[int, ...] = ()
    cardinality: bool = False


class NtuplePart(PlannedPart):
    """An RNTuple.

    Parameters
    ----------
    place
        The file and the RNTuple's name in it.
    ntuple
        uproot's, of a file that is still open.
    uuid
        Of the file.
    """

    unit = "page"

    def __init__(self, place: Place, ntuple: Any, uuid: str) -> None:
        super().__init__()
        self.place = place
        self.name = str(place)
        self.table = place.table
        self.version = place.version()
        self.rows = int(ntuple.num_entries)
        self._fields = ntuple.field_records
        self._keys = [field.path for field in ntuple.all_fields]
        self._clusters = ntuple.page_link_list
        self._firsts = np.array([int(summary.num_first_entry) for summary in ntuple.cluster_summaries], np.int64)
        self._columns: dict[int, list[Any]] = {}
        for record in ntuple.column_records:
            self._columns.setdefault(record.field_id, []).append(record)
        self._children: dict[int, list[int]] = {}
        top = []
        for number, field in enumerate(self._fields):
            if field.parent_field_id == number:
                top.append(number)
            else:
                self._children.setdefault(field.parent_field_id, []).append(number)
        self._indices: dict[int, ColumnPlan | None] = {}
        self._zeros: dict[int, int] = {}
        self._leaves: dict[str, _Leaf] = {}
        columns = []
        for number in top:
            for column, leaf in self._walk(number, self._fields[number].field_name, _Leaf(number, None, "")):
                columns.append(column)
                self._leaves[column.name] = leaf
        self.schema = Schema(columns, where=self.name)
        self.fingerprint = fingerprint("ntuple", place.path, place.table, *self.version, uuid)

    def _walk(self, number: int, name: str, above: _Leaf, whole: str = "") -> Iterator[tuple[Column, _Leaf]]:
        """The columns of a field and of those in it.

        `name` is the field's, `above` what is known of those around it, `whole` the type of one around it that goes by its name.
        """
        field = self._fields[number]
        typename = whole or field.type_name
        children = self._children.get(number, [])
        own = number if field.source_field_id is None else int(field.source_field_id)
        leaf = replace(above, field=own, key=self._keys[number] or above.key)
        jagged = leaf.collection is not None
        why_not = ""
        if field.struct_role == _RECORD:
            for child in children:
                inner = self._fields[child].field_name
                # The members of a base class lie in a field of the class, whose name begins with a colon.
                yield from self._walk(child, name if inner.startswith(":") else f"{name}.{inner}", leaf)
            return
        if field.struct_role == _COLLECTION:
            if jagged:
                why_not = "it holds vectors of vectors; flatten them first"
            elif leaf.shape:
                why_not = "it holds arrays of vectors"
            else:
                for child in children:
                    inner = self._fields[child].field_name
                    below = (name, typename) if len(children) == 1 else (f"{name}.{inner}", "")
                    yield from self._walk(child, below[0], replace(leaf, collection=own), below[1])
                return
        elif field.struct_role == _VARIANT:
            why_not = "its values are of several types"
        elif field.struct_role == _STREAMER:
            why_not = "it holds objects in a form of ROOT's own"
        elif field.repetition:
            leaf = replace(leaf, shape=(*leaf.shape, int(field.repetition)))
        if not why_not and len(children) == 1 and own not in self._columns:
            yield from self._walk(children[0], name, leaf, typename)
            return
        types = {record.type for record in self._columns.get(own, [])}
        numbers = {_TYPES[kind][0] if kind in _TYPES else "float32" for kind in types if kind in _TYPES or kind in _CUT_FLOATS}
        if why_not:
            pass
        elif "RNTupleCardinality" in field.type_name:
            leaf = replace(leaf, cardinality=True)
            numbers = {"uint64" if "64" in field.type_name else "uint32"}
            why_not = "it counts vectors in vectors" if jagged else ""
        elif field.type_name.startswith("std::string"):
            why_not = "it holds text"
        elif not numbers or any(kind not in _TYPES and kind not in _CUT_FLOATS for kind in types):
            why_not = "its values are no numbers that are known"
        if why_not:
            yield Column(name, None, leaf.shape, jagged, typename, why_not), leaf
            return
        dtype = np.result_type(*(np.dtype(kind) for kind in numbers))
        yield number_column(name, dtype, leaf.shape, jagged=jagged, typename=typename), leaf

    def boundaries(self, columns: Sequence[str]) -> npt.NDArray[np.int64]:
        self.schema.features(columns)
        return np.unique(np.concatenate([self._firsts, np.array([0, self.rows], np.int64)]))

    def make_plan(self, name: str) -> ColumnPlan | None:
        leaf, column = self._leaves[name], self.schema[name]
        record = self._record(leaf.field)
        if leaf.cardinality or record is None or record.type not in _TYPES:
            return None
        offsets = None
        if leaf.collection is not None:
            offsets = self._offsets(leaf.collection, record, column.items)
            if offsets is None:
                return None
        dtype, encoding = _TYPES[record.type]
        if dtype != column.dtype:
            return None  # other clusters have it in another type
        zeros = np.zeros(len(self._clusters), np.int64)
        pages, checksums = self._pages(record, zeros, np.dtype(dtype).itemsize)
        return ColumnPlan("page", dtype, pages, items=column.items, encoding=encoding, offsets=offsets, checksums=checksums)

    def covered(self, name: str) -> int:
        plan = self.plan(name)
        if plan is None:
            return self.rows
        pages, items = (plan.pages, plan.items) if plan.offsets is None else (plan.offsets.pages, 1)
        return min(self.rows, int(pages[-1, 3] + pages[-1, 4]) // items) if len(pages) else 0

    def _record(self, field: int) -> Any:
        """The RNTuple column of a field that holds its values in all clusters; None where clusters differ."""
        for record in self._columns.get(field, []):
            if all(record.idx >= len(cluster) or not cluster[record.idx].suppressed for cluster in self._clusters):
                return record
        return None

    def _offsets(self, collection: int, values: Any, items: int) -> ColumnPlan | None:
        """The plan of the RNTuple column that counts a collection's values, one for all its members."""
        if collection not in self._indices:
            record = self._record(collection)
            plan = None
            if record is not None and _TYPES.get(record.type, ("", ""))[0] in ("uint32", "uint64"):
                dtype, encoding = _TYPES[record.type]
                counts = [sum(page.num_elements for page in self._in(cluster, values)) // items for cluster in self._clusters]
                bases = np.concatenate([[0], np.cumsum(counts[:-1], dtype=np.int64)]) if counts else np.zeros(0, np.int64)
                pages, checksums = self._pages(record, bases, np.dtype(dtype).itemsize)
                plan = ColumnPlan("page", dtype, pages, encoding=encoding, checksums=checksums)
            self._indices[collection] = plan
        return self._indices[collection]

    @staticmethod
    def _in(cluster: Any, record: Any) -> Any:
        """The pages of an RNTuple column in a cluster; none where the column was added later."""
        return cluster[record.idx].pages if record.idx < len(cluster) else []

    def _pages(
        self, record: Any, bases: npt.NDArray[np.int64], width: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """The pages of an RNTuple column, as plans have them, and which of them have a checksum behind them."""
        pages: list[tuple[int, ...]] = []
        checksums: list[bool] = []
        first = 0
        late = int(record.first_element_index)
        while first < late:  # rows from before the field was added have zeros
            count = min(ZEROS, late - first)
            pages.append((1, self._page_of_zeros(width), count * width if record.type else (count + 7) // 8, first, count, 0))
            checksums.append(False)
            first += count
        for cluster, base in zip(self._clusters, bases.tolist(), strict=True):
            for page in self._in(cluster, record):
                count = int(page.num_elements)
                if count:
                    pages.append((0, int(page.locator.offset), int(page.locator.num_bytes), first, count, base))
                    checksums.append(bool(page.has_checksum))
                first += count
        return np.array(pages, np.int64).reshape(-1, 6), np.array(checksums, bool)

    def _page_of_zeros(self, width: int) -> int:
        if width not in self._zeros:
            self._zeros[width] = self.embed(bytes(ZEROS * width))
        return self._zeros[width]

    def spans(self, name: str) -> npt.NDArray[np.int64]:
        leaf = self._leaves[name]
        records = [self._record(field) for field in (leaf.field, leaf.collection) if field is not None]
        edges = [*self._firsts.tolist(), self.rows]
        spans = [
            (
                int(page.locator.offset),
                int(page.locator.num_bytes) + CHECKSUM * page.has_checksum,
                edges[number],
                edges[number + 1],
            )
            for number, cluster in enumerate(self._clusters)
            for record in records
            for page in self._in(cluster, record)
        ]
        return np.array(spans, np.int64).reshape(-1, 4)

    def check_pages(self, name: str, row: int) -> None:
        """Make sure that the pages of a column, in the cluster that has a row, match their checksums, as native readers do.

        Raises
        ------
        ValueError
            One does not.
        """
        leaf = self._leaves[name]
        cluster = self._clusters[int(np.searchsorted(self._firsts, row, "right")) - 1]
        pages = [
            page
            for field in (leaf.field, leaf.collection)
            if field is not None
            for record in self._columns.get(field, [])
            for page in self._in(cluster, record)
            if page.has_checksum
        ]
        spans = [(int(page.locator.offset), int(page.locator.num_bytes)) for page in pages]
        for data, (at, size) in zip(self.place.read([(at, size + CHECKSUM) for at, size in spans]), spans, strict=True):
            if xxhash.xxh3_64_intdigest(data[:size]) != int.from_bytes(data[size:], "little"):
                raise ValueError(f"the page at byte {at} does not match its checksum")

    def fallback(self, names: Sequence[str], block_rows: int) -> BlockReader:
        return _UprootReader(self, [(self.schema[name], self._leaves[name].key) for name in names], block_rows)


class _UprootReader(PiecesReader):
    """Columns read by uproot, a cluster at a time."""

    def __init__(self, part: NtuplePart, columns: Sequence[tuple[Column, str]], block_rows: int) -> None:
        super().__init__(block_rows)
        self.part = part
        self.columns = tuple(columns)
        self.edges = part.boundaries([column.name for column, _ in columns])
        self.file = open_root(part.place)
        with explained(part.place):
            self.ntuple = self.file[part.place.table]

    def pieces(self, start: int) -> Iterator[Block]:
        while start < self.part.rows:
            stop = int(self.edges[np.searchsorted(self.edges, start, "right")])
            yield {column.name: self._values(column, key, start, stop) for column, key in self.columns}
            start = stop

    def _values(self, column: Column, key: str, start: int, stop: int) -> Values:
        try:
            self.part.check_pages(column.name, start)
            array = self.ntuple.arrays(filter_name=[key], entry_start=start, entry_stop=stop)
            while array.fields:  # nothing else was asked for, so each level holds one
                array = array[array.fields[0]]
            return values_of(array, column)
        except MemoryError:
            raise
        except Exception as error:  # on damaged bytes uproot raises nearly anything
            first = int(self.edges[np.searchsorted(self.edges, start, "right") - 1])
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            message = f"{self.part.name}: column {column.name!r}, pages of the rows {first} to {stop}: {reason}"
            raise DamagedDataError(message, start=first, stop=stop) from error

    def close(self) -> None:
        super().close()
        self.file.close()
