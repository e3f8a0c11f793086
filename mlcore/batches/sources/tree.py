"""TTrees: where the baskets of their branches lie, from uproot's metadata; what plans cannot say, uproot reads."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.columns import NUMBER_TYPES, ColumnPlan, basket_bytes
from mlcore.batches.blocks import Block, Jagged, Values
from mlcore.batches.schema import Column, Schema
from mlcore.batches.sources._awkward import values_of
from mlcore.batches.sources._places import Place, fingerprint
from mlcore.batches.sources._planned import PlannedPart, common_boundaries
from mlcore.batches.sources._readers import PiecesReader
from mlcore.batches.sources._root import explained, open_root
from mlcore.batches.sources._values import cut, jagged_of, join, number_column, plain
from mlcore.batches.sources.part import BlockReader, DamagedDataError

CLASSES = ("TTree", "TNtuple", "TNtupleD")
GENERATED_OFFSETS = 1
"""The IO feature of trees whose baskets hold no offsets, which are counted from the sizes instead."""
SPAN = 100_000
"""Rows that uproot reads at a time, about; whole baskets."""


@dataclass(frozen=True, eq=False)
class _Leaf:
    """What is known of a column.

    Attributes
    ----------
    branch
        uproot's.
    route
        The branch's number in the tree, then in that branch, and so on.
    field
        The leaf, where the branch has several.
    stored
        The values of one row, or of one value of a row, as they lie in the file; None where plans cannot say it.
    header_bytes
        Before the values of each row of a jagged one.
    """

    branch: Any
    route: tuple[int, ...]
    field: str = ""
    stored: np.dtype[Any] | None = None
    header_bytes: int = 0


class TreePart(PlannedPart):
    """A TTree.

    Parameters
    ----------
    place
        The file and the tree's name in it.
    tree
        uproot's, with the metadata read.
    uuid
        Of the file.
    """

    unit = "basket"

    def __init__(self, place: Place, tree: Any, uuid: str) -> None:
        super().__init__()
        self.place = place
        self.name = str(place)
        self.table = place.table
        self.version = place.version()
        self.rows = int(tree.num_entries)
        self._leaves: dict[str, _Leaf] = {}
        self._edges: dict[str, npt.NDArray[np.int64]] = {}
        columns: list[Column] = []
        for name, leaf in _branches(tree, "", ()):
            for column, entry in _columns(name, leaf, self.rows):
                if column.name not in self._leaves:  # as in ROOT, the first of equal names
                    columns.append(column)
                    self._leaves[column.name] = entry
        self.schema = Schema(columns, where=self.name)
        self.fingerprint = fingerprint("tree", place.path, place.table, *self.version, uuid)

    def boundaries(self, columns: Sequence[str]) -> npt.NDArray[np.int64]:
        return common_boundaries([self.edges(column.name)[:-1] for column in self.schema.features(columns)], self.rows)

    def edges(self, name: str) -> npt.NDArray[np.int64]:
        """The first row of each basket of a column, in order, and the row behind the last: int64, shape (n_baskets + 1,)."""
        if name not in self._edges:
            try:
                self._edges[name] = _edges(self._leaves[name].branch)
            except MemoryError:
                raise
            except Exception as error:  # uproot reads embedded baskets only now, and on damaged bytes raises nearly anything
                message = f"{self.name}: it is not clear where the baskets of column {name!r} begin: {error}"
                raise DamagedDataError(message, start=0, stop=self.rows) from error
        return self._edges[name]

    def covered(self, name: str) -> int:
        return int(self.edges(name)[-1])

    def make_plan(self, name: str) -> ColumnPlan | None:
        leaf, jagged = self._leaves[name], self.schema[name].jagged
        dtype, branch = leaf.stored, leaf.branch
        if dtype is None or dtype.base.newbyteorder("=").name not in NUMBER_TYPES:
            return None
        if jagged and _without_offsets(branch):
            return None
        pages = []
        normal = _written(branch)
        embedded = list(branch.embedded_baskets)
        seeks, sizes = branch.member("fBasketSeek"), branch.member("fBasketBytes")
        for i, (start, stop) in enumerate(itertools.pairwise(self.edges(name).tolist())):
            if stop == start:
                continue
            if i < normal:
                pages.append([0, int(seeks[i]), int(sizes[i]), start, stop - start, 0])
            else:
                basket = embedded[i - normal]
                data = basket_bytes(basket.data, basket.byte_offsets)
                pages.append([1, self.embed(data), len(data), start, stop - start, 0])
        return ColumnPlan(
            kind="basket",
            dtype=dtype.base.newbyteorder("=").name,
            pages=np.array(pages, np.int64).reshape(-1, 6),
            items=int(np.prod(dtype.shape, dtype=np.int64)),
            jagged=jagged,
            header_bytes=leaf.header_bytes,
        )

    def spans(self, name: str) -> npt.NDArray[np.int64]:
        plan = self.plan(name)
        pages = np.zeros((0, 6), np.int64) if plan is None else plan.pages[plan.pages[:, 0] == 0]
        return np.stack([pages[:, 1], pages[:, 2], pages[:, 3], pages[:, 3] + pages[:, 4]], axis=1)

    def fallback(self, names: Sequence[str], block_rows: int) -> BlockReader:
        return _UprootReader(self, [(self.schema[name], self._leaves[name]) for name in names], block_rows)


class _UprootReader(PiecesReader):
    """Columns read by uproot, some baskets at a time."""

    def __init__(self, part: TreePart, columns: Sequence[tuple[Column, _Leaf]], block_rows: int) -> None:
        super().__init__(block_rows)
        self.part = part
        self.columns = tuple(columns)
        self.edges = part.boundaries([column.name for column, _ in columns])
        self.file = open_root(part.place)
        with explained(part.place):
            tree = self.file[part.place.table]
            self.branches = [_branch(tree, leaf.route) for _, leaf in columns]

    def pieces(self, start: int) -> Iterator[Block]:
        while start < self.part.rows:
            stop = self._stop(start)
            try:
                block = self._arrays(start, stop)
            except DamagedDataError as error:
                if error.start > start:
                    yield self._arrays(start, min(error.start, stop))
                raise
            yield block
            start = stop

    def _stop(self, start: int) -> int:
        """Where a piece ends: at a boundary about `SPAN` rows later, or in the midst of a large basket."""
        behind = self.edges[self.edges > start]
        near = behind[behind <= start + SPAN]
        return int(near[-1]) if len(near) else min(start + SPAN, self.part.rows)

    def _arrays(self, start: int, stop: int) -> Block:
        found: dict[str, Values] = {}
        read: dict[int, Any] = {}
        for (column, leaf), branch in zip(self.columns, self.branches, strict=True):
            if column.jagged and _without_offsets(branch) and leaf.stored is not None:
                found[column.name] = self._read(_counted, branch, column.name, start, stop, leaf.stored)
                continue
            if id(branch) not in read:
                read[id(branch)] = self._read(_array, branch, column.name, start, stop)
            array = read[id(branch)]
            found[column.name] = values_of(array[leaf.field] if leaf.field else array, column)
        return found

    def _read(self, how: Callable[..., Any], branch: Any, name: str, start: int, stop: int, *more: Any) -> Any:
        """The rows of a branch.

        Raises
        ------
        DamagedDataError
            A basket cannot be read; it is found by reading them one by one.
        """
        try:
            return how(branch, start, stop, *more)
        except MemoryError:
            raise
        except Exception as error:  # on damaged bytes uproot raises nearly anything
            edges = self.part.edges(name)
            for number, (first, last) in enumerate(itertools.pairwise(edges.tolist())):
                if first < stop and last > start and not _readable(how, branch, first, last, *more):
                    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                    message = f"{self.part.name}: column {name!r}, basket {number}, rows {first} to {last}: {reason}"
                    raise DamagedDataError(message, start=first, stop=last) from error
            raise DamagedDataError(f"{self.part.name}: column {name!r}: {error}", start=start, stop=stop) from error

    def close(self) -> None:
        super().close()
        self.file.close()


def _array(branch: Any, start: int, stop: int) -> Any:
    return branch.array(entry_start=start, entry_stop=stop, library="ak")


def _counted(branch: Any, start: int, stop: int, dtype: np.dtype[Any]) -> Jagged:
    """Rows of a branch whose baskets hold values alone: another branch says how many each row has."""
    pieces: list[Values] = []
    for number, (first, last) in enumerate(itertools.pairwise(branch.entry_offsets)):
        if first >= stop or last <= start:
            continue
        counts = branch.count_branch.array(entry_start=first, entry_stop=last, library="np").astype(np.int64)
        values = np.frombuffer(branch.basket(number).data.tobytes(), dtype)
        if counts.min(initial=0) < 0 or counts.sum() != len(values):
            raise ValueError(f"it holds {len(values)} values, and {branch.count_branch.name} counts {counts.sum()}")
        pieces.append(cut(jagged_of(plain(values), counts), max(start, first) - first, min(stop, last) - first))
    found = join(pieces)
    if not isinstance(found, Jagged):
        raise TypeError("pieces of jagged values are jagged")
    return found


def _readable(how: Callable[..., Any], branch: Any, start: int, stop: int, *more: Any) -> bool:
    try:
        how(branch, start, stop, *more)
    except Exception:  # damaged, in whatever way
        return False
    return True


def _without_offsets(branch: Any) -> bool:
    return bool(branch.has_member("fIOFeatures") and branch.member("fIOFeatures").member("fIOBits") & GENERATED_OFFSETS)


def listed_friends(tree: Any) -> Iterator[tuple[str, str, str]]:
    """The friends that a tree lists: the name of the tree, the path of its file (empty for the same one), and its alias."""
    for friend in tree.member("fFriends", none_if_missing=True) or ():
        name = friend.member("fTreeName", none_if_missing=True)
        if name:
            yield str(name), str(friend.member("fTitle", none_if_missing=True) or ""), str(friend.member("fName") or name)


def _edges(branch: Any) -> npt.NDArray[np.int64]:
    normal = _written(branch)
    edges = branch.member("fBasketEntry")[: normal + 1].tolist() if normal else [0]
    for basket in branch.embedded_baskets:
        edges.append(edges[-1] + basket.num_entries)
    return np.array(edges, np.int64)


def _written(branch: Any) -> int:
    """The number of baskets that lie in the file on their own."""
    seeks = branch.member("fBasketSeek")[: branch.member("fWriteBasket")]
    empty = np.flatnonzero(seeks == 0)
    return int(empty[0]) if len(empty) else len(seeks)


def _branch(tree: Any, route: Sequence[int]) -> Any:
    for number in route:
        tree = tree.branches[number]
    return tree


def _branches(parent: Any, above: str, route: tuple[int, ...]) -> Iterator[tuple[str, _Leaf]]:
    """All branches with their names, in the order of the tree."""
    for number, branch in enumerate(parent.branches):
        name = re.sub(r"(\[\w*\])+$", "", branch.name).rstrip(".")
        if above and not name.startswith(f"{above}."):
            name = f"{above}.{name}"
        leaf = _Leaf(branch, (*route, number))
        yield name, leaf
        yield from _branches(branch, name, leaf.route)


def _columns(name: str, leaf: _Leaf, rows: int) -> Iterator[tuple[Column, _Leaf]]:
    """The columns of a branch: one, several where it has several leaves, none where it but groups others."""
    branch = leaf.branch
    try:
        interpretation, typename = branch.interpretation, str(branch.typename)
    except Exception as error:  # a type of whose description uproot makes nothing
        yield Column(name, None, why_not=f"its type is not understood: {error}"), leaf
        return
    kind = type(interpretation).__name__
    if kind == "AsGrouped":
        return
    jagged = kind == "AsJagged"
    content = interpretation.content if jagged else interpretation
    numbers = type(content).__name__
    why_not = _why_not(kind, numbers, typename)
    if branch.member("fEntries") != rows:
        why_not = f"it has {branch.member('fEntries')} rows where the tree has {rows}"
    elif branch.member("fFileName", none_if_missing=True):
        why_not = f"its baskets lie in another file, {branch.member('fFileName')}"
    if why_not:
        yield Column(name, None, jagged=jagged, typename=typename, why_not=why_not), leaf
        return
    dtype = content.to_dtype
    if dtype.names is None:
        stored = content.from_dtype if numbers == "AsDtype" else None
        column = number_column(name, dtype.base, dtype.shape, jagged=jagged, typename=typename)
        header = int(interpretation.header_bytes) if jagged else 0
        yield column, replace(leaf, stored=stored, header_bytes=header)
        return
    for field in dtype.names:
        inner = dtype[field]
        yield (
            number_column(f"{name}.{field}", inner.base, inner.shape, jagged=jagged, typename=inner.base.newbyteorder("=").name),
            replace(leaf, field=field),
        )


def _why_not(kind: str, numbers: str, typename: str) -> str:
    """Why a branch holds no numbers; empty where it does."""
    if numbers in ("AsDtype", "AsDouble32", "AsFloat16"):
        return ""
    if kind == "AsStrings" or "string" in typename:
        return "it holds text"
    if typename.count("vector<") + typename.count("RVec<") > 1:
        return "it holds vectors of vectors; flatten them with RDataFrame first"
    if kind == "UnknownInterpretation":
        return "its type is not understood"
    return "it holds objects; write their members as branches of their own"
