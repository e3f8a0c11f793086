"""What a source holds: its columns by name, each with a type."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlcore.errors import DataError, InputError


@dataclass(frozen=True)
class Column:
    """A branch, field or array.

    Attributes
    ----------
    name
        As the file says; nested ones with dots.
    dtype
        Of its values, in the machine's byte order; None where they are no numbers.
    shape
        Of the values of one row; of one value of a row where it is jagged.
    jagged
        Whether each row has a number of values of its own.
    typename
        What the file calls the type, such as ``std::vector<float>``.
    why_not
        Why it can be no feature; empty where it can.
    """

    name: str
    dtype: np.dtype[Any] | None
    shape: tuple[int, ...] = ()
    jagged: bool = False
    typename: str = ""
    why_not: str = ""

    @property
    def items(self) -> int:
        """Values of one row, or of one value where it is jagged."""
        return math.prod(self.shape)


class Schema(Mapping[str, Column]):
    """The columns of a source, in its order.

    Parameters
    ----------
    columns
        All of them, those that can be no features as well.
    where
        What the source is called in messages.
    """

    def __init__(self, columns: Iterable[Column], *, where: str) -> None:
        self._columns = {column.name: column for column in columns}
        self.where = where

    def __getitem__(self, name: str) -> Column:
        try:
            return self._columns[name]
        except KeyError:
            raise DataError.missing("column", name, self._columns, where=self.where) from None

    def features(self, names: Iterable[str]) -> list[Column]:
        """The columns of these names, each of which can be a feature.

        Raises
        ------
        DataError
            There is no such column, or it can be no feature.
        InputError
            None is asked for.
        """
        columns = [self[name] for name in names]
        if not columns:
            raise InputError(f"no column of {self.where} is asked for", hint="Name one at least.")
        for column in columns:
            if column.why_not:
                hint = "Choose other columns; those that can be features have an empty `why_not` in the schema."
                message = f"column {column.name!r} ({column.typename or 'of no known type'}) of {self.where} cannot be read"
                raise DataError(f"{message}: {column.why_not}", hint=hint)
        return columns

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)
