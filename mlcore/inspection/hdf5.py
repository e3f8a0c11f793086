"""HDF5 files, read by h5py: groups, datasets and attributes; links out of the file are named and never followed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlcore.inspection.report import Inspection, Rows, Value, clean, shape_text, size_text, tables

MAX_OBJECTS = 20_000
MAX_DEPTH = 64
MAX_ATTRIBUTES = 200
MAX_ATTRIBUTE_ELEMENTS = 16


def inspect(path: Path) -> Inspection:
    """The datasets of an HDF5 file with shapes and types, its attributes, and its links. No data is read."""
    import h5py

    datasets, attributes, links = Rows(), Rows(), Rows()
    groups = stored = claimed = objects = 0
    with h5py.File(path, "r", locking=False) as file:
        for name, item in _walk(file):
            objects += 1
            if isinstance(item, str):
                links.add(name, item)
                continue
            for key, value in _attributes(item):
                attributes.add(name, key, value)
            if isinstance(item, h5py.Dataset) and item.is_virtual:
                # Its shape may depend on the files behind it, which asking for it would open.
                datasets.add(
                    name, "", clean(item.dtype, 80), 0, f"virtual, of {len(item.virtual_sources())} sources (not followed)"
                )
            elif isinstance(item, h5py.Dataset):
                size = item.id.get_storage_size()
                stored += size
                claimed += item.nbytes
                datasets.add(name, shape_text(item.shape or ()), clean(item.dtype, 80), size, _layout(item))
            elif isinstance(item, h5py.Group):
                groups += 1
        facts: tuple[tuple[str, Value], ...] = (
            ("Size", size_text(path.stat().st_size)),
            ("Datasets", datasets.count),
            ("Groups", groups),
            ("Attributes", attributes.count),
            ("Stored data", size_text(stored)),
            ("Unpacked data", size_text(claimed)),
            *((("User block", size_text(file.userblock_size)),) if file.userblock_size else ()),
            *((("Not listed", f"what lies behind the first {MAX_OBJECTS:,} objects"),) if objects >= MAX_OBJECTS else ()),
        )
    return Inspection(
        "hdf5",
        "HDF5 file",
        facts,
        tables(
            datasets.table("Datasets", ("Name", "Shape", "Type", "Bytes on disk", "Layout")),
            attributes.table("Attributes", ("Of", "Name", "Value")),
            links.table("Links, not followed", ("Name", "Leads to")),
        ),
    )


def _walk(file: Any) -> Iterator[tuple[str, Any]]:
    """Each object once, with its first name; for a soft or external link, where it leads as a text."""
    import h5py

    seen = set()
    waiting: list[tuple[str, Any, int]] = [("/", file, 0)]
    count = 0
    while waiting and count < MAX_OBJECTS:
        name, item, depth = waiting.pop()
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:  # hard links make a graph of the tree, perhaps one with cycles
            continue
        seen.add(address)
        count += 1
        yield name, item
        if not isinstance(item, h5py.Group) or depth >= MAX_DEPTH:
            continue
        children = []
        for number, key in enumerate(item):
            if number >= MAX_OBJECTS:
                break
            child = f"{name.rstrip('/')}/{key}"
            link = item.get(key, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                count += 1
                yield child, f"{clean(link.path)} in another file, {clean(link.filename)}"
            elif isinstance(link, h5py.SoftLink):
                count += 1
                yield child, clean(link.path)
            else:
                children.append((child, item[key], depth + 1))
        waiting.extend(reversed(children))


def _attributes(item: Any) -> Iterator[tuple[str, str]]:
    import h5py

    for number, key in enumerate(item.attrs):
        if number >= MAX_ATTRIBUTES:
            return
        kind = item.attrs.get_id(key)
        elements = 1
        for size in kind.shape or ():
            elements *= size
        if elements > MAX_ATTRIBUTE_ELEMENTS or (kind.dtype.kind == "O" and h5py.check_ref_dtype(kind.dtype)):
            yield clean(key), f"{shape_text(kind.shape or ())} of {clean(kind.dtype, 60)}"
            continue
        value = item.attrs[key]
        yield clean(key), clean(value.decode(errors="replace") if isinstance(value, bytes) else value)


def _layout(dataset: Any) -> str:
    if dataset.external:
        return f"in another file (not followed): {clean(dataset.external[0][0], 60)}"
    parts = []
    if dataset.chunks:
        parts.append(f"chunks of {shape_text(dataset.chunks)}")
    if dataset.compression:
        parts.append(f"{dataset.compression} {dataset.compression_opts if dataset.compression_opts is not None else ''}".strip())
    elif dataset.id.get_create_plist().get_nfilters():
        parts.append("filtered")
    return ", ".join(parts) or "contiguous"
