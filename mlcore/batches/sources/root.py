"""ROOT files: which table of them is meant, and which module reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlcore.batches.sources import ntuple, tree
from mlcore.batches.sources._formats import Format
from mlcore.batches.sources._places import Place, is_url
from mlcore.batches.sources._root import explained, open_root
from mlcore.batches.sources.friends import FriendPart
from mlcore.batches.sources.part import Part
from mlcore.errors import DataError, InputError


def open_file(place: Place, *, follow: bool = True) -> Part:
    """The TTree or RNTuple of a ROOT file, with the friends that the tree lists where their files are there.

    Parameters
    ----------
    place
        The file, and the table in it.
    follow
        Whether to look for friends.

    Raises
    ------
    InputError
        The file cannot be read, or has several tables and the place names none.
    DataError
        It has no such table.
    """
    with open_root(place, minimal=False) as file:
        with explained(place):
            tables = _tables(file)
        if place.table:
            name = place.table.partition(";")[0].strip("/")
            if name not in tables:
                raise DataError.missing("tree or RNTuple", name, tables, where=place.path)
            place = replace(place, table=place.table.strip("/"))
        elif len(tables) == 1:
            place = replace(place, table=next(iter(tables)))
        elif not tables:
            raise InputError(f"{place.path} holds no TTree and no RNTuple", hint="Give a file with one.", code="batches.source")
        else:
            some = ", ".join(list(tables)[:10])
            raise InputError(
                f"{place.path} holds {len(tables)} trees or RNTuples: {some}",
                hint=f'Say which one: tree="{next(iter(tables))}".',
                code="batches.source",
            )
        with explained(place):
            table = _table(file, place)
            uuid = str(file.file.uuid)
            if tables[place.table.partition(";")[0]] == ntuple.CLASS:
                return ntuple.NtuplePart(place, table, uuid)
            part = tree.TreePart(place, table, uuid)
            listed = list(tree.listed_friends(table)) if follow else []
    return _befriended(part, listed)


def _befriended(part: tree.TreePart, listed: Sequence[tuple[str, str, str]]) -> Part:
    """A tree with the friends that it lists, as far as they are there and of as many rows."""
    friends: dict[str, Part] = {}
    for name, path, alias in listed:
        for found in _beside(part.place, path):
            try:
                friend = open_file(replace(part.place, path=found, table=name), follow=False)
            except (DataError, InputError):
                continue  # the tree can be read without
            if friend.rows == part.rows:
                friends[alias] = friend
            break
    return FriendPart(part, friends) if friends else part


def _beside(place: Place, path: str) -> list[str]:
    """Where the file of a friend may be: as the tree says, or beside the tree's own file; those that are there."""
    if not path:
        return [place.path]
    if place.remote or is_url(path):
        return []  # a file that was sent by someone else shall not make this machine ask others
    near = Path(place.path).parent / path
    return [str(each) for each in (near, near.with_name(Path(path).name)) if each.is_file()]


def _table(file: Any, place: Place) -> Any:
    """The table with its friends; without what belongs to a tree and is not understood, such as objects of a user's own."""
    try:
        return file[place.table]
    except Exception:  # uproot fails in many ways at foreign objects; without them it is asked once more
        if file.file.options["minimal_ttree_metadata"]:
            raise
    with open_root(place, minimal=True) as again:
        return again[place.table]


def _tables(file: Any) -> dict[str, str]:
    """The classes of all tables by their names, without cycles: the newest one of each is meant."""
    known = (*tree.CLASSES, ntuple.CLASS)
    found = file.classnames(recursive=True, cycle=True)
    return {name.rpartition(";")[0]: kind for name, kind in found.items() if kind in known}


FORMAT = Format("ROOT", kinds=("root",), open_file=open_file)
