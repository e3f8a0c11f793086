"""What type each part of an expression has, and whether its parts fit each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlcore.batches.expressions.faults import fault, nearest
from mlcore.batches.expressions.functions import BOOL, FUNCTIONS, INTEGER, REAL, UNSIGNED, Kind, numeric, promote
from mlcore.batches.expressions.tree import (
    AND,
    COMPARE,
    OR,
    Call,
    Chain,
    Contained,
    Index,
    Literal,
    Name,
    Node,
    Power,
    Unary,
    names,
)
from mlcore.batches.schema import Column
from mlcore.errors import InputError

_KINDS = {BOOL: "bool", INTEGER: "integer", UNSIGNED: "unsigned integer", REAL: "real"}


@dataclass(frozen=True)
class Type:
    """What an expression gives.

    Attributes
    ----------
    dtype
        bool, int64, uint64 or float64.
    jagged
        Whether each row has a number of values of its own.
    shape
        Of the values of one row that all rows have, such as (3,); () where it is one value or jagged.
    """

    dtype: np.dtype[Any]
    jagged: bool = False
    shape: tuple[int, ...] = ()

    @property
    def flat(self) -> bool:
        """Whether each row has one value."""
        return not self.jagged and not self.shape

    def __str__(self) -> str:
        kind = _KINDS[self.dtype]
        if self.jagged:
            return f"{kind}, jagged"
        return f"{kind}, {' × '.join(map(str, self.shape))} values each row" if self.shape else kind


def widened(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type in which values of a column are computed.

    Raises
    ------
    KeyError
        They are no real numbers.
    """
    if dtype == UNSIGNED:
        return UNSIGNED
    return {"b": BOOL, "i": INTEGER, "u": INTEGER, "f": REAL}[dtype.kind]


def infer(node: Node, columns: Mapping[str, Column], source: str) -> Type:
    """The type of a tree over columns.

    Parameters
    ----------
    node
        The tree.
    columns
        Such as a `Schema`.
    source
        The text that the tree was read from.

    Raises
    ------
    InputError
        Code ``batches.expression``: a column is not there or holds no numbers, or parts do not fit each other.
    """
    return _Checker(columns, source).type(node)


class _Checker:
    def __init__(self, columns: Mapping[str, Column], source: str) -> None:
        self.columns = columns
        self.source = source

    def wrong(self, node: Node, message: str, hint: str = "") -> InputError:
        return fault(self.source, node.span, message, hint)

    def type(self, node: Node) -> Type:
        match node:
            case Literal():
                return Type(literal_dtype(node.value))
            case Name():
                return self.column(node)
            case Unary():
                return self.unary(node)
            case Chain():
                return self.chain(node)
            case Power():
                return self.joined(node, [self.type(node.base), self.type(node.exponent)], REAL)
            case Contained():
                return self.contained(node)
            case Index():
                return self.index(node)
            case Call():
                return self.call(node)

    def column(self, node: Name) -> Type:
        if node.name not in self.columns:
            raise self.wrong(node, f"there is no column {node.name!r}", nearest(node.name, self.columns))
        column = self.columns[node.name]
        try:
            if column.dtype is None:
                raise KeyError
            dtype = widened(column.dtype)
        except KeyError:
            why = column.why_not or f"its type is {column.typename or column.dtype}"
            raise self.wrong(node, f"the column {node.name!r} holds no real numbers: {why}") from None
        if column.jagged and column.shape:
            why = f"each row of {node.name!r} has a varying number of arrays of shape {column.shape}"
            raise self.wrong(node, why, "Expressions take one value, a fixed array or a varying number of values each row.")
        return Type(dtype, column.jagged, column.shape)

    def joined(self, node: Node, types: Sequence[Type], dtype: np.dtype[Any]) -> Type:
        """The type of values that are computed one by one, each row's own with each other."""
        shapes = {one.shape for one in types if one.shape}
        if any(one.jagged for one in types):
            if any(len(shape) > 1 for shape in shapes):
                raise self.wrong(node, "a varying number of values stands beside arrays of several axes")
            return Type(dtype, True)
        if len(shapes) > 1:
            listed = " and ".join(map(str, sorted(shapes)))
            raise self.wrong(node, f"arrays of shapes {listed} do not fit each other", "Take one value of each with x[i].")
        return Type(dtype, False, shapes.pop() if shapes else ())

    def unary(self, node: Unary) -> Type:
        operand = self.type(node.operand)
        if node.operator == "-":
            return Type(REAL if operand.dtype == REAL else INTEGER, operand.jagged, operand.shape)
        if node.operator == "~" and operand.dtype != BOOL:
            hint = "Write ! or not for 'is 0'; for bits, bit_xor(x, -1)."
            raise self.wrong(node, f"'~' is for truth values, and here is a value of type {operand}", hint)
        return Type(BOOL, operand.jagged, operand.shape)

    def chain(self, node: Chain) -> Type:
        types = [self.type(node.first), *(self.type(operand) for _, operand in node.rest)]
        if node.level in {OR, AND}:
            for at, (operator, operand) in enumerate(node.rest):
                if operator in {"&", "|"}:
                    self.logical(operator, node.first if not at else node.rest[at - 1][1], types[at])
                    self.logical(operator, operand, types[at + 1])
            return self.joined(node, types, BOOL)
        if node.level == COMPARE:
            return self.joined(node, types, BOOL)
        dtype = REAL if any(operator == "/" for operator, _ in node.rest) else numeric(one.dtype for one in types)
        return self.joined(node, types, dtype)

    def logical(self, operator: str, operand: Node, found: Type) -> None:
        if found.dtype != BOOL:
            bits = {"&": "bit_and", "|": "bit_or"}[operator]
            hint = f"Write {operator * 2} for 'is not 0', {bits}(x, y) for bits, parentheses around comparisons."
            raise self.wrong(operand, f"{operator!r} joins truth values, and here is a value of type {found}", hint)

    def contained(self, node: Contained) -> Type:
        operand = self.type(node.operand)
        for item in node.items:
            if names(item):
                raise self.wrong(item, "the values of 'in' are numbers, and this reads a column", "Write x == y || x == z.")
            if not self.type(item).flat:
                raise self.wrong(item, "the values of 'in' are numbers")
        return Type(BOOL, operand.jagged, operand.shape)

    def index(self, node: Index) -> Type:
        operand, index = self.type(node.operand), self.type(node.index)
        if operand.flat:
            raise self.wrong(node, "there is nothing to index: each row has one value")
        if index.dtype == BOOL and not index.flat:
            return self.masked(node, operand, index)
        if index.dtype == BOOL:
            hint = "Filter rows with a filter, or write where(condition, x, 0)."
            raise self.wrong(node.index, "a mask has a truth value for each value, and here is one for the whole row", hint)
        if not index.flat:
            raise self.wrong(
                node.index, "an index is one number each row, or a mask", "Take one value with x[0], or with a mask x[x > 30]."
            )
        if index.dtype == REAL:
            raise self.wrong(node.index, "an index is a whole number", "Write int(x).")
        default = None if node.default is None else self.type(node.default)
        if default is not None and not default.flat:
            raise self.wrong(node, "Alt gives one value each row in place of a missing one")
        at = whole(node.index)
        if operand.shape and at is not None and not -operand.shape[0] <= at < operand.shape[0]:
            raise self.wrong(
                node.index, f"there are {operand.shape[0]} values", f"The last one is [{operand.shape[0] - 1}] or [-1]."
            )
        if default is not None:
            if len(operand.shape) > 1:
                raise self.wrong(node, "Alt takes one value of a row, and this is an array")
            return Type(promote((operand.dtype, default.dtype)))
        always_there = operand.shape and at is not None
        return Type(operand.dtype if always_there else REAL, False, operand.shape[1:])

    def masked(self, node: Index, operand: Type, mask: Type) -> Type:
        if node.default is not None:
            raise self.wrong(node, "Alt takes one value of a row, and this is a mask")
        if len(operand.shape) > 1 or len(mask.shape) > 1:
            raise self.wrong(node, "a mask is for values of one axis", "Take a line with x[i] first.")
        self.joined(node, (operand, mask), BOOL)
        return Type(operand.dtype, True)

    def call(self, node: Call) -> Type:
        function = FUNCTIONS[node.function]
        types = [self.type(argument) for argument in node.arguments]
        for argument, one in zip(node.arguments, types, strict=True):
            if function.needs is not None and one.dtype not in function.needs:
                raise self.wrong(
                    argument, f"{function.name} takes whole numbers, and here is a value of type {one}", "Write int(x)."
                )
        together = self.joined(node, types, function.result([one.dtype for one in types]))
        if function.kind is Kind.ELEMENTWISE:
            return together
        if together.flat:
            hint = "Elementwise functions and operators take such values."
            if function.name in {"Max", "Min"}:
                hint = f"Write {function.name.lower()}(x, y) for the {'larger' if function.name == 'Max' else 'smaller'} of two."
            raise self.wrong(node, f"{function.name} takes the values of a row, and here is one value each row", hint)
        if function.kind is Kind.ORDER:
            if len(together.shape) > 1:
                raise self.wrong(node, f"{function.name} is for values of one axis", "Take a line with x[i] first.")
            return together
        return Type(together.dtype)


def whole(node: Node) -> int | None:
    """The number of an index that is written as one, or None."""
    if isinstance(node, Unary) and node.operator == "-":
        positive = whole(node.operand)
        return None if positive is None else -positive
    return node.value if isinstance(node, Literal) and isinstance(node.value, int) else None


def literal_dtype(value: bool | int | float) -> np.dtype[Any]:
    """The type of a number as it is written."""
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, float):
        return REAL
    return INTEGER if value <= np.iinfo(np.int64).max else UNSIGNED
