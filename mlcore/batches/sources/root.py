"""ROOT files: which table of them is meant, and which module reads it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mlcore.batches.sources import ntuple, tree
from mlcore.batches.sources._formats import Format
from mlcore.batches.sources._places import Place
from mlcore.batches.sources._root import explained, open_root
from mlcore.batches.sources.part import Part
from mlcore.errors import DataError, InputError


def open_file(place: Place) -> Part:
    """The TTree or RNTuple of a ROOT file, with the friends that the tree lists where their files are there.

    Raises
    ------
    InputError
        The file cannot be read, or has several tables and the place names none.
    DataError
        It has no such table.
    """
    with open_root(place) as file:
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
            table = file[place.table]
            uuid = str(file.file.uuid)
            if tables[place.table.partition(";")[0]] == ntuple.CLASS:
                return ntuple.NtuplePart(place, table, uuid)
            return tree.TreePart(place, table, uuid)


def _tables(file: Any) -> dict[str, str]:
    """The classes of all tables by their names, without cycles: the newest one of each is meant."""
    known = (*tree.CLASSES, ntuple.CLASS)
    found = file.classnames(recursive=True, cycle=True)
    return {name.rpartition(";")[0]: kind for name, kind in found.items() if kind in known}


FORMAT = Format("ROOT", kinds=("root",), open_file=open_file)
