"""What a user asks of a source, checked against its schema: which columns become what part of a batch, which rows are kept."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from kernels import RowField, RowLayout
from mlcore.batches.blocks import Block, Values
from mlcore.batches.expressions import Expression, parse
from mlcore.batches.schema import Column, Schema
from mlcore.errors import InputError

if TYPE_CHECKING:
    from mlcore.batches.skipping import Skipped
    from mlcore.batches.sources import Part
    from mlcore.batches.splitting import RowChoice

Precision: TypeAlias = Literal["float32", "float64"]
Names: TypeAlias = str | Sequence[str]

ID_BYTES = 8


@dataclass(frozen=True)
class Output:
    """One array of a batch.

    Attributes
    ----------
    name
        ``x``, ``y`` or ``w``.
    offset
        Where it begins in a record, in bytes.
    width
        Numbers of a row.
    flat
        Whether its shape is (n_rows,) rather than (n_rows, width).
    """

    name: str
    offset: int
    width: int
    flat: bool


class Selection:
    """The columns and rows of a source that batches are made of.

    Parameters
    ----------
    schema
        Of the source.
    columns
        The features, in order; None takes every column that is neither target nor weight, has no padding missing and is a
        number or an array of fixed size.
    target, weight
        A name gives an array of shape (n_rows,), a list of names one of shape (n_rows, n_names); none gives no array.
    keep
        Which rows are kept: an expression (`mlcore.batches.expressions`), or None for all.
    define
        New columns by name, each an expression of columns and of those defined before it.
    pad
        For jagged columns: how many values a row has, cut or filled up with zeros.
    dtype
        Of the arrays.
    hidden
        Columns that are features only where they are named.
    gaps
        Whether rows may be missing for other reasons than the filter.
    skipped
        Takes rows that are damaged, which are left out then; None raises an error.

    Raises
    ------
    InputError
        An expression cannot be read, a column can be no feature, or a name is given twice.
    DataError
        There is no such column.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        columns: Sequence[str] | None = None,
        target: Names = (),
        weight: Names = (),
        keep: str | None = None,
        define: Mapping[str, str] | None = None,
        pad: Mapping[str, int] | None = None,
        dtype: Precision = "float32",
        hidden: Collection[str] = (),
        gaps: bool = False,
        skipped: Skipped | None = None,
    ) -> None:
        if dtype not in ("float32", "float64"):
            raise InputError(
                f"batches are of float32 or float64, not {dtype!r}", hint="Choose one of these.", code="batches.dtype"
            )
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.pad = dict(pad or {})
        self.defined: dict[str, Expression] = {}
        known: dict[str, Column] = {name: schema[name] for name in schema}
        for name, text in (define or {}).items():
            if name in known:
                raise InputError(
                    f"there is a column {name!r} already", hint="Define it under another name.", code="batches.define"
                )
            expression = parse(text)
            kind = expression.check(known)
            self.defined[name] = expression
            known[name] = Column(name, kind.dtype, kind.shape, kind.jagged)
        self.known = Schema(known.values(), where=schema.where)
        self.keep = None if keep is None else parse(keep)
        if self.keep is not None:
            self.keep.check_filter(known)
        self.choices: tuple[RowChoice, ...] = ()
        self.gaps, self.skipped = gaps or skipped is not None, skipped
        targets, weights = _names(target), _names(weight)
        if columns is None:
            columns = [name for name in known if name not in {*targets, *weights, *hidden} and self._fits(known[name])]
        self.features = tuple(columns)
        if not self.features:
            raise InputError(
                f"{schema.where} has no column that can be a feature", hint="Name the columns.", code="batches.columns"
            )
        self.groups: dict[str, tuple[tuple[str, ...], bool]] = {"x": (self.features, False)}
        if targets:
            self.groups["y"] = (targets, isinstance(target, str))
        if weights:
            self.groups["w"] = (weights, isinstance(weight, str))

    def _fits(self, column: Column) -> bool:
        return column.dtype is not None and not column.why_not and (not column.jagged or column.name in self.pad)

    @cached_property
    def packed(self) -> tuple[str, ...]:
        """The columns that records hold, each once."""
        return tuple(dict.fromkeys(name for names, _ in self.groups.values() for name in names))

    @cached_property
    def read(self) -> tuple[str, ...]:
        """The columns that have to be read from the source."""
        needed = dict.fromkeys(self.packed)
        for expression in (*self.defined.values(), *([self.keep] if self.keep else [])):
            needed |= dict.fromkeys(expression.columns)
        for choice in self.choices:
            needed |= dict.fromkeys(choice.by)
        return tuple(name for name in needed if name not in self.defined)

    @property
    def is_plain(self) -> bool:
        """Whether records are what the source holds, all of it."""
        return self.keep is None and not self.defined and not self.choices

    @property
    def keeps_all(self) -> bool:
        """Whether there is a record for every row of the source."""
        return self.keep is None and not self.choices and not self.gaps

    @property
    def numbered(self) -> bool:
        """Whether records have to say which rows they are."""
        return not (self.is_plain and self.keeps_all)

    def restricted(self, choice: RowChoice) -> Self:
        """The same of some of the rows."""
        other = copy.copy(self)
        vars(other).pop("read", None)  # what was found for these choices
        other.choices = (*self.choices, choice)
        other.skipped = None if self.skipped is None else type(self.skipped)(self.skipped.failures)
        return other

    def described(self) -> dict[str, Any]:
        """As JSON; two selections of one source that say the same have the same records."""
        return {
            "groups": {name: [list(names), flat] for name, (names, flat) in self.groups.items()},
            "read": list(self.read),
            "define": {name: str(expression) for name, expression in self.defined.items()},
            "filter": None if self.keep is None else str(self.keep),
            "choices": [repr(choice) for choice in self.choices],
            "layout": repr(self.layout(self.packed, with_id=True)),
            "skips": self.skipped is not None,
        }

    def width(self, name: str) -> int:
        """Numbers of a row of a column.

        Raises
        ------
        InputError
            It can be no feature as it is.
        """
        column = self.known[name]
        if column.dtype is None or column.why_not:
            why = column.why_not or "it holds no numbers"
            raise InputError(f"the column {name!r} can be no feature: {why}", hint="Leave it out.", code="batches.columns")
        if not column.jagged:
            return column.items
        if name not in self.pad:
            raise InputError(
                f"the column {name!r} has another number of values in every row",
                hint=f"Say how many a row gets, such as pad={{{name!r}: 4}}, or define a number each row, such as Sum({name}).",
                code="batches.columns",
            )
        if column.shape or self.pad[name] < 1:
            raise InputError(
                f"{name!r} cannot be padded to {self.pad[name]} values", hint="Give 1 or more.", code="batches.columns"
            )
        return self.pad[name]

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """A name for each column of x: that of the column, with an index where a row has several values."""
        names: list[str] = []
        for name in self.features:
            width = self.width(name)
            plain = width == 1 and not self.known[name].jagged
            names += [name] if plain else [f"{name}[{index}]" for index in range(width)]
        return tuple(names)

    @cached_property
    def outputs(self) -> tuple[Output, ...]:
        """The arrays of a batch, in the order of their bytes in a record."""
        outputs, offset = [], 0
        for name, (names, flat) in self.groups.items():
            width = sum(self.width(each) for each in names)
            outputs.append(Output(name, offset, width, flat and width == 1))
            offset += width * self.dtype.itemsize
        return tuple(outputs)

    @cached_property
    def id_offset(self) -> int:
        """Where the row's number lies in a record that holds it: behind everything else."""
        last = self.outputs[-1]
        return last.offset + last.width * self.dtype.itemsize

    def layout(self, order: Sequence[str], *, with_id: bool, constants: Mapping[str, float] | None = None) -> RowLayout:
        """Of records that are packed from columns in this order, and from constants."""
        fields, offset = [], 0
        for names, _ in self.groups.values():
            for name in names:
                width = self.width(name)
                if constants and name in constants:
                    fields.append(RowField(None, offset, self.dtype.name, width, value=constants[name]))
                else:
                    fields.append(RowField(order.index(name), offset, self.dtype.name, width))
                offset += width * self.dtype.itemsize
        return RowLayout(tuple(fields), offset + (ID_BYTES if with_id else 0))

    def compute(self, block: Block) -> tuple[Block, npt.NDArray[np.bool_] | None]:
        """A block with what is defined, and which of its rows are kept; None for all."""
        found: dict[str, Values] = dict(block)
        for name, expression in self.defined.items():
            found[name] = expression.evaluate(found)
        return found, None if self.keep is None else self.keep.keep(found)

    def chosen(
        self, block: Block, mask: npt.NDArray[np.bool_] | None, part: Part, first: int, rows: int
    ) -> npt.NDArray[np.bool_] | None:
        """Which rows of a block are kept by the filters and all choices; `first` is the first one's number in the part."""
        if part.keep is not None:
            found = part.keep.keep(block)
            mask = found if mask is None else mask & found
        for choice in self.choices:
            found = choice.mask(part, first, rows, block)
            mask = found if mask is None else mask & found
        return mask


def _names(names: Names) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)
