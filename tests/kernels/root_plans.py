"""Plans of columns from uproot's metadata, as small as the tests of the kernels need them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import uproot

from kernels import ColumnPlan, SourceFile, basket_bytes, memory_file, open_file
from kernels.columns import Encoding

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


def branch_plan(branch: Any, embedded: list[tuple[int, bytes]]) -> ColumnPlan:
    """Of a branch of numbers in file 0; embedded baskets are added to the pieces of file 1."""
    interpretation = branch.interpretation
    jagged = hasattr(interpretation, "header_bytes")
    dtype = (interpretation.content if jagged else interpretation).from_dtype
    number = int(branch.member("fWriteBasket"))
    entries = [int(entry) for entry in branch.member("fBasketEntry")[: number + 1]]
    pages = []
    for i in range(number):
        place, size = int(branch.member("fBasketSeek")[i]), int(branch.member("fBasketBytes")[i])
        pages.append([0, place, size, entries[i], entries[i + 1] - entries[i], 0])
    first = entries[number] if number < len(entries) else 0
    for basket in branch.embedded_baskets:
        rows = basket.num_entries
        data = basket_bytes(basket.data, basket.byte_offsets)
        offset = sum(len(piece) for _, piece in embedded)
        embedded.append((offset, data))
        pages.append([1, offset, len(data), first, rows, 0])
        first += rows
    return ColumnPlan(
        kind="basket",
        dtype=dtype.base.newbyteorder("=").name,
        pages=np.array([page for page in pages if page[4]], np.int64).reshape(-1, 6),
        items=int(np.prod(dtype.shape)),
        jagged=jagged,
        header_bytes=int(interpretation.header_bytes) if jagged else 0,
    )


def tree_plans(path: Path, tree: str, names: list[str]) -> tuple[list[SourceFile], list[ColumnPlan]]:
    """The files of a TTree's branches and their plans."""
    embedded: list[tuple[int, bytes]] = []
    with uproot.open(path) as file:
        plans = [branch_plan(file[tree][name], embedded) for name in names]
    return [open_file(path), memory_file(embedded)], plans


def ntuple_plans(path: Path, name: str, fields: list[str]) -> tuple[list[SourceFile], list[ColumnPlan]]:
    """The file of an RNTuple's fields and their plans: numbers, arrays of them, and vectors of numbers or of records."""
    with uproot.open(path) as file:
        planner = _NtuplePlanner(file[name])
        return [open_file(path)], [planner.plan(field) for field in fields]


class _NtuplePlanner:
    def __init__(self, ntuple: Any) -> None:
        self.ntuple = ntuple
        self.clusters = [cluster for group in [ntuple.page_link_list] for cluster in group]
        self.indices: dict[int, Any] = {}

    def child(self, parent: int | None, name: str) -> int:
        for number, record in enumerate(self.ntuple.field_records):
            top = record.parent_field_id == number
            if record.field_name == name and (top if parent is None else record.parent_field_id == parent and not top):
                return number
        raise KeyError(name)

    def column(self, field: int) -> Any:
        return next(record for record in self.ntuple.column_records if record.field_id == field)

    def pages(self, column: Any, bases: list[int]) -> np.ndarray:
        pages, first = [], 0
        for cluster, base in zip(self.clusters, bases, strict=True):
            for page in cluster[column.idx].pages:
                if page.num_elements:
                    pages.append([0, page.locator.offset, page.locator.num_bytes, first, page.num_elements, base])
                first += page.num_elements
        return np.array(pages, np.int64).reshape(-1, 6)

    def plan(self, path: str) -> ColumnPlan:
        parent, offsets_of, items = None, None, 1
        for name in path.split("."):
            parent = self.child(parent, name)
            while True:
                record = self.ntuple.field_records[parent]
                if record.struct_role == 1:  # a collection
                    offsets_of = parent
                elif record.flags & 1:  # an array of fixed size
                    items *= record.repetition
                elif not any(r.field_id == parent for r in self.ntuple.column_records) and self.has_child(parent, "_0"):
                    pass
                else:
                    break
                if not self.has_child(parent, "_0"):
                    break
                parent = self.child(parent, "_0")
                if self.ntuple.field_records[parent].struct_role == 2:
                    break
        assert parent is not None
        column = self.column(parent)
        dtype, encoding = _TYPES[column.type]
        zeros = [0] * len(self.clusters)
        offsets = None
        if offsets_of is not None:
            values = [sum(page.num_elements for page in cluster[column.idx].pages) // items for cluster in self.clusters]
            if offsets_of not in self.indices:
                index = self.column(offsets_of)
                index_type, index_encoding = _TYPES[index.type]
                bases = [int(base) for base in np.cumsum([0, *values[:-1]])]
                self.indices[offsets_of] = ColumnPlan("page", index_type, self.pages(index, bases), encoding=index_encoding)
            offsets = self.indices[offsets_of]
        return ColumnPlan("page", dtype, self.pages(column, zeros), items=items, encoding=encoding, offsets=offsets)

    def has_child(self, parent: int, name: str) -> bool:
        try:
            self.child(parent, name)
        except KeyError:
            return False
        return True
