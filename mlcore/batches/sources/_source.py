"""Opening sources: what a user gives, as parts with one schema."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from mlcore.batches.schema import Column, Schema
from mlcore.batches.sources._formats import formats, readers
from mlcore.batches.sources._places import Place, expand, fingerprint
from mlcore.batches.sources.friends import FriendPart
from mlcore.batches.sources.part import Part
from mlcore.errors import DataError, InputError

Failures: TypeAlias = dict[str, InputError | DataError]
"""Files that cannot be opened, and why."""

HINT = (
    "Give a path, file.root:tree, a glob, a folder, a URL, a list of these; "
    "a dict of arrays, an array, an Arrow table or an RDataFrame."
)


@dataclass(frozen=True)
class Source:
    """Rows of one or several tables, one after the other.

    Attributes
    ----------
    parts
        In order.
    schema
        The columns that the parts have. What some lack, or have in another type, can be no feature: its `why_not` names the
        file.
    """

    parts: tuple[Part, ...]
    schema: Schema

    @property
    def rows(self) -> int:
        """Of all parts."""
        return sum(part.rows for part in self.parts)

    @property
    def fingerprint(self) -> str:
        """Changes when the content of a part does, or their order."""
        return fingerprint("source", *(part.fingerprint for part in self.parts))

    def check_unchanged(self) -> None:
        """Make sure that all files are still those that were opened.

        Raises
        ------
        InputError
            One is not.
        """
        for part in self.parts:
            part.check_unchanged()


def open_source(
    source: Any,
    *,
    tree: str | None = None,
    friends: Sequence[Any] = (),
    failures: Failures | None = None,
    may_be_empty: bool = False,
) -> Source:
    """The tables that are meant, with their metadata read and nothing else; of .npz files, the arrays.

    Parameters
    ----------
    source
        A path, ``file.root:tree``, a glob, a folder (all files of known kinds in it), a URL (``https://``, ``root://``,
        ``s3://``), or a list of these; a dict of NumPy arrays, a structured array, a matrix, an Arrow table, a data frame that
        has Arrow's interface, or ROOT's `RDataFrame`.
    tree
        The name of the TTree, RNTuple, HDF5 group or dataset, where the path names none; by default the only one there is.
    friends
        Sources of as many rows, whose columns are joined row by row. Those that a TTree lists itself are joined as well, where
        their files are there.
    failures
        Takes the files that cannot be opened, which are left out then; None raises the first one's error.
    may_be_empty
        Whether all files may be left out.

    Raises
    ------
    InputError
        A file is missing or cannot be read, it is not clear what is meant, or the friends do not fit.
    DataError
        A file has no such table.
    """
    parts = list(_parts(source, tree, failures))
    if not parts and failures:
        if may_be_empty:
            return Source((), Schema((), where="no file"))
        raise next(iter(failures.values()))
    if not parts:
        raise InputError("the list of sources is empty", hint=HINT, code="batches.source")
    for friend in friends:
        parts = _joined(parts, list(_parts(friend, None, failures)))
    return source_of(parts)


def source_of(parts: Sequence[Part]) -> Source:
    """Parts as one source; there is at least one."""
    return Source(tuple(parts), _common(parts))


def _parts(source: Any, tree: str | None, failures: Failures | None) -> Iterator[Part]:
    if isinstance(source, str | os.PathLike):
        text = os.fspath(source)
        if not isinstance(text, str):
            raise InputError("paths are text, not bytes", hint="Decode it by os.fsdecode.", code="batches.source")
        yield from _files(text, tree, failures)
        return
    for entry in formats():
        if entry.takes is not None and entry.open_object is not None and entry.takes(source):
            yield entry.open_object(source)
            return
    if isinstance(source, list | tuple | set | frozenset):
        for each in sorted(source) if isinstance(source, set | frozenset) else source:
            yield from _parts(each, tree, failures)
        return
    kind = f"{type(source).__module__}.{type(source).__qualname__}"
    raise InputError(f"a {kind} is no source of rows", hint=HINT, code="batches.source")


def _files(text: str, tree: str | None, failures: Failures | None) -> Iterator[Part]:
    for place in expand(text, list(readers())):
        if tree and place.table and tree != place.table:
            raise InputError(f"{place} names another table than tree={tree!r}", hint="Name it once.", code="batches.source")
        try:
            part = _file(place, tree)
        except (InputError, DataError) as error:
            if failures is None:
                raise
            failures[str(place)] = error
            continue
        yield part


def _file(place: Place, tree: str | None) -> Part:
    known = readers()
    kind = place.kind()
    if kind.kind not in known:
        raise InputError(
            f"{place.path} is no file of rows: {kind.title}",
            hint=f"These are read: {', '.join(sorted(known))}.",
            code="batches.source",
        )
    return known[kind.kind](replace(place, table=place.table or tree or ""))


def _joined(parts: Sequence[Part], friend: Sequence[Part]) -> list[Part]:
    """Each part with its friend."""
    ours, theirs = sum(part.rows for part in parts), sum(part.rows for part in friend)
    if ours != theirs:
        raise InputError(
            f"{friend[0].name} has {theirs} rows where {parts[0].name} has {ours}: friends are joined row by row",
            hint="Give a friend of as many rows, in the same order.",
            code="batches.friends",
        )
    if len(parts) != len(friend):
        raise InputError(
            f"the friend comes in {len(friend)} files and the source in {len(parts)}",
            hint="Give a friend for each file, in the same order.",
            code="batches.friends",
        )
    return [FriendPart(part, {other.table or "friend": other}) for part, other in zip(parts, friend, strict=True)]


def _common(parts: Sequence[Part]) -> Schema:
    """One schema of all parts, in the order of the first."""
    if len(parts) == 1:
        return parts[0].schema
    columns: dict[str, Column] = {}
    for part in parts:
        for name, column in part.schema.items():
            columns.setdefault(name, column)
    for name, column in columns.items():
        why_not = next(filter(None, (_differs(column, part, parts) for part in parts)), "")
        if why_not:
            columns[name] = replace(column, why_not=column.why_not or why_not)
    first = parts[0].schema.where
    schema = Schema(columns.values(), where=f"{first} and {len(parts) - 1} more")
    if not any(not column.why_not for column in schema.values()):
        hint = next((f"{column.name!r}: {column.why_not}." for column in schema.values() if column.why_not), "")
        raise InputError(f"{schema.where} have no column in common that can be a feature", hint=hint, code="batches.schema")
    return schema


def _differs(column: Column, part: Part, parts: Sequence[Part]) -> str:
    """How a part's column of this name differs; empty where it does not."""
    if column.name not in part.schema:
        return f"{part.name} has no such column"
    other = part.schema[column.name]
    if other.why_not:
        return f"in {part.name}, {other.why_not}"
    if (other.dtype, other.shape, other.jagged) == (column.dtype, column.shape, column.jagged):
        return ""
    home = next(each.name for each in parts if column.name in each.schema)
    return f"it is {_described(other)} in {part.name}, and {_described(column)} in {home}"


def _described(column: Column) -> str:
    shape = "".join(f"[{size}]" for size in column.shape)
    return f"{'jagged ' if column.jagged else ''}{column.dtype}{shape}"
