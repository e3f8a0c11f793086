"""ROOT files, read by uproot: objects, trees, RNTuples, branches, and the histogram of one of these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.errors import DataError, InputError
from mlcore.inspection.report import Histogram, Inspection, Rows, Table, clean, size_text, tables
from mlcore.root_classes import own_classes

MAX_TREES = 50
MAX_BINS = 1000
RNTUPLE = "ROOT::RNTuple"


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import uproot

    # As a dictionary's key, since a colon in a plain name would part it into file and object.
    with uproot.open({str(path): None}, custom_classes=own_classes(), object_cache=None, array_cache=None) as file:
        yield file


def inspect(path: Path) -> Inspection:
    """The objects of a ROOT file, with the branches of its trees and the fields of its RNTuples.

    Raises
    ------
    InputError
        The file ends before what its header announces.
    """
    size = path.stat().st_size
    with _opened(path) as file:
        source = file.file
        if source.fEND > size:
            message = f"the file is cut short: {size_text(size)} of {size_text(source.fEND)} are there"
            raise InputError(message, hint="Upload it again.", code="inspection.truncated")
        classes: dict[str, str] = file.classnames(recursive=True)
        objects = Rows()
        for name, class_name in classes.items():
            key = file.key(name)
            objects.add(name, class_name, key.fTitle, key.fNbytes)
        found = [name for name, class_name in classes.items() if _is_tree(class_name)]
        branches = [_fields(file, name) if classes[name] == RNTUPLE else _branches(file, name) for name in found[:MAX_TREES]]
        facts = (
            ("Size", size_text(size)),
            ("Written by ROOT", _version(source.fVersion)),
            ("Compression", clean(source.compression) if source.compression else "none"),
            ("Objects", len(classes)),
            ("Trees", sum(classes[name] != RNTUPLE for name in found)),
            ("RNTuples", sum(classes[name] == RNTUPLE for name in found)),
            ("Classes", clean(", ".join(f"{name} ({count})" for name, count in Counter(classes.values()).most_common()))),
        )
    listing = objects.table("Objects", ("Name", "Class", "Title", "Bytes on disk"))
    return Inspection("root", "ROOT file", facts, tables(*branches, listing))


def _is_tree(class_name: str) -> bool:
    return class_name in {"TTree", "TNtuple", "TNtupleD", RNTUPLE}


def _version(number: int) -> str:
    """63200 is 6.32.00; files above 2 GiB add a million."""
    number %= 1_000_000
    return f"{number // 10_000}.{number // 100 % 100:02d}.{number % 100:02d}"


def _branches(file: Any, name: str) -> Table:
    tree = file[name]
    rows = Rows()
    for path, branch in tree.iteritems(recursive=True, full_paths=True):
        packed, unpacked = branch.compressed_bytes, branch.uncompressed_bytes
        ratio = round(unpacked / packed, 2) if packed else None
        rows.add(path, branch.typename, branch.num_entries, branch.num_baskets, packed, unpacked, ratio)
    columns = ("Branch", "Type", "Entries", "Baskets", "Bytes on disk", "Bytes unpacked", "Ratio")
    return rows.table(f"Tree {clean(name)}: {tree.num_entries:,} entries, {rows.count:,} branches", columns, of=name)


def _fields(file: Any, name: str) -> Table:
    ntuple = file[name]
    sizes = _field_bytes(ntuple)
    rows = Rows()
    for path, type_name in ntuple.typenames(recursive=False).items():
        rows.add(path, type_name, sizes.get(path))
    title = f"RNTuple {clean(name)}: {ntuple.num_entries:,} entries, {rows.count:,} fields"
    return rows.table(title, ("Field", "Type", "Bytes on disk"), of=name)


def _field_bytes(ntuple: Any) -> dict[str, int]:
    """Bytes of pages of each top-level field, its inner fields counted with it."""
    records = ntuple.field_records
    owner: list[int] = []
    for number, record in enumerate(records):
        parent = record.parent_field_id
        # A top-level field is its own parent; a parent stands before its children.
        owner.append(owner[parent] if parent < number else number)
    sizes: Counter[str] = Counter()
    for cluster in ntuple.page_link_list:
        for column, pages in zip(ntuple.column_records, cluster, strict=False):
            name = records[owner[column.field_id]].field_name
            sizes[name] += sum(page.locator.num_bytes for page in pages.pages)
    return dict(sizes)


def histogram(path: Path, tree: str, branch: str, bins: int = 60, max_entries: int = 1_000_000) -> Histogram:
    """The distribution of a numeric branch, or field of an RNTuple; jagged ones are flattened.

    Integers whose range fits get one bin a value, and wider ones bins of a whole number of values, so that no bin is
    emptier than its neighbours for no reason of the data.

    Parameters
    ----------
    path
        The file.
    tree, branch
        Names, as `inspect` shows them.
    bins
        How many bins at the most, 1 to 1000.
    max_entries
        How many entries are read, from the first on.

    Raises
    ------
    DataError
        There is no such tree or branch; the hint lists the nearest.
    InputError
        The branch holds something other than numbers, or none that is finite, or `bins` or `max_entries` is out of range.
    """
    if not 1 <= bins <= MAX_BINS or max_entries < 1:
        raise InputError(f"{bins} bins of {max_entries} entries cannot be made", hint=f"Ask for 1 to {MAX_BINS} bins.")
    with _opened(path) as file:
        classes = file.classnames(recursive=True)
        trees = {name: class_name for name, class_name in classes.items() if _is_tree(class_name)}
        chosen = tree if tree in trees else next((name for name in trees if name.rpartition(";")[0] == tree), None)
        if chosen is None:
            raise DataError.missing("tree", tree, trees, where="the file")
        source = file[chosen]
        names = source.keys(recursive=True, full_paths=True) if trees[chosen] != RNTUPLE else source.keys(recursive=False)
        if branch not in names:
            raise DataError.missing("branch", branch, names, where=f"the tree {clean(tree)}")
        entries = int(source.num_entries)
        values = _numbers(source[branch], min(entries, max_entries), where=f"branch {clean(branch)} of {clean(tree)}")
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not len(finite):
        message = f"branch {clean(branch)} of {clean(tree)} has no finite value in {min(entries, max_entries):,} entries"
        raise InputError(message, hint="There is nothing to draw: choose another branch.", code="inspection.no-values")
    edges = _edges(finite, bins)
    counts = np.histogram(finite, edges)[0]
    wide = finite.astype(np.float64)
    with np.errstate(all="ignore"):  # sums of the largest numbers may overflow
        mean, deviation = _finite_or_none(float(wide.mean())), _finite_or_none(float(wide.std()))
    return Histogram(
        tree=tree,
        branch=branch,
        edges=tuple(edges.tolist()),
        counts=tuple(int(count) for count in counts),
        entries_read=min(entries, max_entries),
        entries=entries,
        values=len(values),
        not_finite=len(values) - len(finite),
        mean=mean,
        deviation=deviation,
    )


def _numbers(branch: Any, stop: int, *, where: str) -> npt.NDArray[Any]:
    """All numbers of the first entries, one after the other: integers, float64 for every sort of float, uint8 for bool."""
    import awkward as ak

    values = branch.array(entry_stop=stop, library="ak")
    form = str(ak.type(values).content)
    if any(word in form for word in ("string", "char", "bytes", "{", "unknown", "union")):
        # A record has several columns of numbers: which one is meant is not to be guessed.
        raise InputError(
            f"{where} holds {clean(form, 80)}, not numbers", hint="Choose a branch of numbers.", code="inspection.not-numeric"
        )
    flat: npt.NDArray[Any] = ak.to_numpy(ak.drop_none(ak.flatten(values, axis=None)), allow_missing=False)
    if flat.dtype.kind not in "biuf":
        raise InputError(
            f"{where} holds {flat.dtype}, not numbers", hint="Choose a branch of numbers.", code="inspection.not-numeric"
        )
    if flat.dtype.kind == "b":
        return flat.astype(np.uint8)
    return flat.astype(np.float64) if flat.dtype.kind == "f" else flat.astype(flat.dtype.newbyteorder("="))


def _edges(finite: npt.NDArray[Any], bins: int) -> npt.NDArray[np.float64]:
    low, high = finite.min().item(), finite.max().item()
    # Beyond this float64 does not hold every half integer.
    if finite.dtype.kind != "f" and max(abs(low), abs(high)) < 2**51:
        width = -(-(high - low + 1) // bins)
        count = -(-(high - low + 1) // width)
        whole: npt.NDArray[np.float64] = low - 0.5 + width * np.arange(count + 1, dtype=np.float64)
        return whole
    low, high = float(low), float(high)
    if low == high:
        room = max(abs(low) * 1e-6, 0.5)
        low, high = low - room, high + room
    # Weighted, since the difference of the ends may overflow.
    step = np.linspace(0, 1, bins + 1)
    edges: npt.NDArray[np.float64] = np.unique(low * (1 - step) + high * step)
    edges[0], edges[-1] = low, high
    return edges


def _finite_or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None
