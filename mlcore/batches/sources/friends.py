"""Friends: columns of another table, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from kernels.columns import ColumnPlan
from mlcore.batches.schema import Schema
from mlcore.batches.sources._places import fingerprint
from mlcore.batches.sources._planned import NativeColumn, NativeReader, PlannedPart, common_boundaries
from mlcore.batches.sources._readers import JoinedReader
from mlcore.batches.sources.part import BlockReader, Part
from mlcore.errors import InputError


class FriendPart(Part):
    """A part with the columns of others beside its own.

    Parameters
    ----------
    main
        Its columns keep their names.
    friends
        By the names of their tables. Their columns keep their names as well, but where the name is taken: those are called
        ``table.column``.

    Raises
    ------
    InputError
        A friend has another number of rows.
    """

    def __init__(self, main: Part, friends: Mapping[str, Part]) -> None:
        for part in friends.values():
            if part.rows != main.rows:
                raise InputError(
                    f"{part.name} has {part.rows} rows where {main.name} has {main.rows}: friends are joined row by row",
                    hint="Give a friend of as many rows, in the same order.",
                    code="batches.friends",
                )
        self.name = main.name
        self.table = main.table
        self.rows = main.rows
        self.parts = (main, *friends.values())
        self.lasting = all(part.lasting for part in self.parts)
        self._places: dict[str, tuple[int, str]] = {name: (0, name) for name in main.schema}
        columns = list(main.schema.values())
        for number, (table, part) in enumerate(friends.items(), 1):
            for name, column in part.schema.items():
                here = name if name not in self._places else f"{table}.{name}"
                if here not in self._places:
                    self._places[here] = number, name
                    columns.append(replace(column, name=here))
        self.schema = Schema(columns, where=self.name)

    @property
    def fingerprint(self) -> str:  # type: ignore[override]
        """Of all of them."""
        return fingerprint("friends", *(part.fingerprint for part in self.parts), *self.schema)

    @property
    def identity(self) -> str:
        return self.parts[0].identity

    def boundaries(self, columns: Sequence[str]) -> npt.NDArray[np.int64]:
        self.schema.features(columns)
        starts = [self.parts[number].boundaries(list(names.values()))[:-1] for number, names in self._by_part(columns)]
        return common_boundaries(starts, self.rows)

    def reader_bytes(self, columns: Sequence[str]) -> int:
        return sum(self.parts[number].reader_bytes(list(names.values())) for number, names in self._by_part(columns))

    def _by_part(self, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
        """For each part that has some of the columns, their names here and there."""
        found: dict[int, dict[str, str]] = {}
        for name in columns:
            number, there = self._places[name]
            found.setdefault(number, {})[name] = there
        return sorted(found.items())

    def reader(self, columns: Sequence[str], block_rows: int = 8192) -> BlockReader:
        self.schema.features(columns)
        groups = self._by_part(columns)
        if len(groups) == 1 and all(here == there for here, there in groups[0][1].items()):
            return self.parts[groups[0][0]].reader(columns, block_rows)
        native = self._native(groups, columns, block_rows)
        if native is not None:
            return native
        readers = [(self.parts[number].reader(list(names.values()), block_rows), names) for number, names in groups]
        return JoinedReader(readers, columns, block_rows)

    def _native(
        self, groups: Sequence[tuple[int, Mapping[str, str]]], columns: Sequence[str], block_rows: int
    ) -> BlockReader | None:
        """One native reader of all files, where all parts are local files of ROOT and all columns have plans; else None."""
        entries: dict[str, NativeColumn] = {}
        planned = []
        moved: dict[int, ColumnPlan] = {}
        for count, (number, names) in enumerate(groups):
            part = self.parts[number]
            if not isinstance(part, PlannedPart) or part.place.remote:
                return None
            for here, entry in zip(names, part.native_columns(list(names.values())), strict=True):
                if entry is None:
                    return None
                plan = _moved(entry.plan, 2 * count, moved)
                entries[here] = replace(entry, column=self.schema[here], plan=plan)
            planned.append(part)
        files = [file for part in planned for file in part.files()]
        return NativeReader(files, [entries[name] for name in columns], block_rows)

    def check_unchanged(self) -> None:
        for part in self.parts:
            part.check_unchanged()


def _moved(plan: ColumnPlan, by: int, moved: dict[int, ColumnPlan]) -> ColumnPlan:
    """A plan whose files are counted from a later one; plans that share their offsets still do."""
    if id(plan) not in moved:
        pages = plan.pages.copy()
        pages[:, 0] += by
        offsets = None if plan.offsets is None else _moved(plan.offsets, by, moved)
        moved[id(plan)] = replace(plan, pages=pages, offsets=offsets)
    return moved[id(plan)]
