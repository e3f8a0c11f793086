"""What a user asks of a source, checked against its schema: which columns become what part of a batch, which rows are kept."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from kernels import RowField, RowLayout
from mlcore.batches.blocks import Block, Values
from mlcore.batches.expressions import Expression, parse
from mlcore.batches.padding import Pad, check_shared, is_shared, pads_of, unpadded
from mlcore.batches.schema import Column, Schema
from mlcore.errors import InputError

if TYPE_CHECKING:
    from mlcore.batches.skipping import Skipped
    from mlcore.batches.sources import Part
    from mlcore.batches.splitting import RowChoice

Precision: TypeAlias = Literal["float32", "float64"]
Names: TypeAlias = str | Sequence[str]
Form: TypeAlias = Literal["matrix", "dict"]
JaggedForm: TypeAlias = Literal["pad", "offsets"]

ID_BYTES = 8


@dataclass(frozen=True)
class Output:
    """One array of a batch.

    Attributes
    ----------
    name
        ``x``, ``y``, ``w`` or ``mask`` of matrices; the column's or the mask's, where arrays have names.
    offset
        Where it begins in a record, in bytes.
    dtype
        Of its numbers.
    shape
        Of a row.
    counted
        Whether it says which values of the array before it are a row's own, and is no array of a batch itself.
    """

    name: str
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    counted: bool = False

    @property
    def bytes(self) -> int:
        """Of a row."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Place:
    """Where the values of a column lie in a record.

    Attributes
    ----------
    name, group
        The column's; of what it is a part: ``x``, ``y`` or ``w``.
    offset
        In bytes.
    dtype, width
        Of its numbers, and how many there are.
    mask
        Where their mask begins; None where there is none.
    """

    name: str
    group: str
    offset: int
    dtype: np.dtype[Any]
    width: int
    mask: int | None = None


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
        For jagged columns: how many values a row has, cut or filled up with zeros; or a `mlcore.batches.Pad`.
    dtype
        Of the arrays, where they are matrices.
    form
        ``"matrix"``: x, y and w; and, where a feature's `Pad` has a mask, a mask of x. ``"dict"``: an array for each column, with
        its own type (float16 as float32), and one for each mask.
    jagged
        ``"offsets"``: jagged columns without a pad have all their values, in arrays of their own; in a dict alone.
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
        pad: Mapping[str, int | Pad] | None = None,
        dtype: Precision = "float32",
        form: Form = "matrix",
        jagged: JaggedForm = "pad",
        hidden: Collection[str] = (),
        gaps: bool = False,
        skipped: Skipped | None = None,
    ) -> None:
        if dtype not in ("float32", "float64"):
            raise InputError(
                f"batches are of float32 or float64, not {dtype!r}", hint="Choose one of these.", code="batches.dtype"
            )
        if form not in ("matrix", "dict") or jagged not in ("pad", "offsets") or (form, jagged) == ("matrix", "offsets"):
            raise InputError(
                f"there are no batches of layout={form!r} with jagged={jagged!r}",
                hint='Choose "matrix" or "dict", and with the latter "pad" or "offsets".',
                code="batches.layout",
            )
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.by_name, self.with_offsets = form == "dict", jagged == "offsets"
        self.longest: Callable[[tuple[str, ...]], Mapping[str, int]] | None = None
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
        self.pad = pads_of(pad, self.known, self._type)
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
        for name in self.packed:
            self._check(name)
        self.has_shared_masks = is_shared(self.pad, self.packed)
        self._check_names()

    def _fits(self, column: Column) -> bool:
        told = column.name in self.pad or self.with_offsets
        return column.dtype is not None and not column.why_not and (not column.jagged or told)

    def _type(self, column: Column) -> np.dtype[Any]:
        """Of a column's numbers in a record."""
        if not self.by_name or column.dtype is None:
            return self.dtype
        return np.dtype(np.float32) if column.dtype == np.float16 else column.dtype

    def _check(self, name: str) -> None:
        """Make sure that a column can be packed.

        Raises
        ------
        InputError
            It can be no feature as it is.
        """
        column = self.known[name]
        if column.dtype is None or column.why_not:
            why = column.why_not or "it holds no numbers"
            raise InputError(f"the column {name!r} can be no feature: {why}", hint="Leave it out.", code="batches.columns")
        if column.jagged and name not in self.pad and not self.with_offsets:
            raise unpadded(column)

    def _check_names(self) -> None:
        """Make sure that no mask is called as a column is, and that masks of matrices are of features."""
        masked = {name: self.pad[name].mask_name(name) for name in self.packed if name in self.pad and self.pad[name].mask}
        for name, mask in masked.items():
            if self.by_name and mask in self.packed:
                raise InputError(
                    f"the mask of {name!r} would be called {mask!r}, as a column is",
                    hint=f"Give it another name, such as mask={mask + '_of_padding'!r}.",
                    code="batches.pad",
                )
            if not self.by_name and name not in self.features:
                raise InputError(
                    f"{name!r} is no feature, and batches of matrices have a mask of x alone",
                    hint='Take layout="dict", or leave out its mask.',
                    code="batches.pad",
                )

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
        return self.keep is None and not self.defined and not self.choices and not self.has_shared_masks

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
            "masks": {name: pad.mask for name, pad in self.pad.items() if name in self.packed},
            "skips": self.skipped is not None,
        }

    def is_ragged(self, name: str) -> bool:
        """Whether a column has all its values, however many a row has."""
        return self.known[name].jagged and name not in self.pad

    def width(self, name: str) -> int:
        """Numbers of a row of a column; of the longest row, where it has all its values."""
        column = self.known[name]
        if not column.jagged:
            return column.items
        return column.items * (self.pad[name].size if name in self.pad else max(1, self._longest[name]))

    @cached_property
    def _longest(self) -> Mapping[str, int]:
        """The most values that a row has of each column that has them all."""
        if self.longest is None:
            raise TypeError("a selection of jagged columns has to be told how long their rows are")
        return self.longest(tuple(name for name in self.packed if self.is_ragged(name)))

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """A name for each column of x: that of the column, with an index where a row has several values."""
        names: list[str] = []
        for name in self.features:
            width = 1 if self.is_ragged(name) else self.width(name)
            plain = width == 1 and (not self.known[name].jagged or self.is_ragged(name))
            names += [name] if plain else [f"{name}[{index}]" for index in range(width)]
        return tuple(names)

    @cached_property
    def _placed(self) -> tuple[tuple[Place, ...], int]:
        """Where all columns of x, y and w lie, in this order, and how many bytes they take with their masks."""
        places, offset = [], 0
        for group, (names, _) in self.groups.items():
            for name in names:
                place = Place(name, group, offset, self._type(self.known[name]), self.width(name))
                places.append(place)
                offset += place.width * place.dtype.itemsize
        masks: dict[str, int] = {}
        all_of_x = not self.by_name and any(name in self.pad and self.pad[name].mask for name in self.features)
        for number, place in enumerate(places):
            if all_of_x and place.group == "x":
                key = f"x {number}"
            elif self.by_name and self.is_ragged(place.name):
                key = f"offsets {place.name}"
            elif self.by_name and place.name in self.pad and self.pad[place.name].mask:
                key = f"mask {self.pad[place.name].mask_name(place.name)}"
            else:
                continue
            if key not in masks:
                masks[key] = offset
                offset += place.width
                places[number] = replace(place, mask=masks[key])
        return tuple(places), offset

    @cached_property
    def outputs(self) -> tuple[Output, ...]:
        """The arrays of a batch, in the order of their bytes in a record but for masks, which follow what they are of."""
        places, _ = self._placed
        boolean = np.dtype(np.bool_)
        if not self.by_name:
            outputs = []
            for group, (_, flat) in self.groups.items():
                own = [place for place in places if place.group == group]
                width = sum(place.width for place in own)
                flat = flat and width == 1
                outputs.append(Output(group, own[0].offset, self.dtype, () if flat else (width,)))
            if places[0].mask is not None:
                outputs.append(Output("mask", places[0].mask, boolean, outputs[0].shape))
            return tuple(outputs)
        found: dict[str, Output] = {}
        for place in places:
            column = self.known[place.name]
            if place.name in found:
                continue
            each = place.width // column.items
            shape = (each, *column.shape) if column.jagged else column.shape
            found[place.name] = Output(place.name, place.offset, place.dtype, shape)
            if place.mask is not None:
                ragged = self.is_ragged(place.name)
                mask = place.name + " counted" if ragged else self.pad[place.name].mask_name(place.name)
                found[mask] = Output(mask, place.mask, boolean, (each, *column.shape), counted=ragged)
        return tuple(found.values())

    @property
    def id_offset(self) -> int:
        """Where the row's number lies in a record that holds it: behind everything else."""
        return self._placed[1]

    def layout(self, order: Sequence[str], *, with_id: bool, constants: Mapping[str, float] | None = None) -> RowLayout:
        """Of records that are packed from columns in this order, and from constants; fields are in the order of x, y and w."""
        fields = []
        for place in self._placed[0]:
            pad = self.pad[place.name].value if place.name in self.pad else 0.0
            constant = constants is not None and place.name in constants
            fields.append(
                RowField(
                    None if constant else order.index(place.name),
                    place.offset,
                    place.dtype.name,
                    place.width,
                    pad=pad,
                    value=constants[place.name] if constants is not None and constant else 0.0,
                    mask=place.mask,
                )
            )
        return RowLayout(tuple(fields), self.id_offset + (ID_BYTES if with_id else 0))

    def compute(self, block: Block) -> tuple[Block, npt.NDArray[np.bool_] | None]:
        """A block with what is defined, and which of its rows are kept; None for all."""
        found: dict[str, Values] = dict(block)
        for name, expression in self.defined.items():
            found[name] = expression.evaluate(found)
        if self.has_shared_masks:
            check_shared(self.pad, self.packed, found)
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
