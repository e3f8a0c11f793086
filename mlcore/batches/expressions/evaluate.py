"""A tree over the rows of a block: NumPy on whole columns, never row by row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mlcore.batches.blocks import Array, Block, Jagged, Values
from mlcore.batches.expressions.check import literal_dtype, whole, widened
from mlcore.batches.expressions.faults import fault
from mlcore.batches.expressions.functions import FUNCTIONS, REAL, Kind, numeric, power, promote, truth
from mlcore.batches.expressions.rows import Rows
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
    children,
)

_COMPARE: dict[str, np.ufunc] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
}
_ARITHMETIC: dict[str, np.ufunc] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.true_divide,
    "//": np.floor_divide,
    "%": np.remainder,
}

Constants = Mapping[int, Array]
"""Values of the parts that read no column, by the identity of their nodes."""


def constants(tree: Node, source: str) -> dict[int, Array]:
    """The values of all parts of a checked tree that read no column, worked out once."""
    found: dict[int, Array] = {}
    evaluator = Evaluator({}, source, found)

    def fixed(node: Node) -> bool:
        below = [fixed(child) for child in children(node)]
        if isinstance(node, Name) or not all(below):
            return False
        value = evaluator.value(node)
        if isinstance(value, Jagged):  # no literal has rows
            return False
        found[id(node)] = value
        return True

    with np.errstate(all="ignore"):
        fixed(tree)
    return found


def evaluate(tree: Node, block: Block, source: str, known: Constants) -> Values:
    """What a tree gives for each row of a block that it was checked for.

    Parameters
    ----------
    tree
        Checked for columns of these types.
    block
        At least the columns that the tree reads, and at least one.
    source
        The text that the tree was read from.
    known
        From `constants`.

    Raises
    ------
    InputError
        Code ``batches.expression``: jagged columns differ in the number of values of a row.
    """
    with np.errstate(all="ignore"):
        result = Evaluator(block, source, known).value(tree)
    if isinstance(result, Jagged) or result.ndim:
        return result
    return np.full(len(next(iter(block.values()))), result)


class Evaluator:
    """Works out the nodes of one tree for one block.

    Values are arrays without an axis (constants), of shape (n_rows, *items), or jagged.
    """

    def __init__(self, block: Block, source: str, known: Constants) -> None:
        self.block = block
        self.source = source
        self.known = known
        self.columns: dict[str, Values] = {}
        self.layouts: dict[int, Rows] = {}

    def value(self, node: Node) -> Values:
        """Of a node, widened to bool, int64, uint64 or float64."""
        known = self.known.get(id(node))
        if known is not None:
            return known
        match node:
            case Literal():
                return np.asarray(node.value, literal_dtype(node.value))
            case Name():
                return self.column(node.name)
            case Unary():
                return self.unary(node)
            case Chain():
                return self.chain(node)
            case Power():
                return self.apply(node, _power, [self.value(node.base), self.value(node.exponent)])
            case Contained():
                return self.contained(node)
            case Index():
                return self.index(node)
            case Call():
                return self.call(node)

    def column(self, name: str) -> Values:
        if name not in self.columns:
            column = self.block[name]
            if isinstance(column, Jagged):
                used = column.values[: column.offsets[-1]]
                self.columns[name] = Jagged(used.astype(widened(used.dtype), copy=False), column.offsets)
            else:
                self.columns[name] = column.astype(widened(column.dtype), copy=False)
        return self.columns[name]

    def apply(self, node: Node, compute: Callable[..., Any], operands: Sequence[Values]) -> Values:
        """An elementwise function of values that are brought to one layout first."""
        rows, arrays = self.aligned(node, operands)
        result = np.asarray(compute(*arrays))
        return result if rows is None else Jagged(result, rows.offsets)

    def aligned(self, node: Node, operands: Sequence[Values]) -> tuple[Rows | None, list[Array]]:
        """Arrays that broadcast against each other, and the rows they lie in where one operand is jagged."""
        jagged = next((one for one in operands if isinstance(one, Jagged)), None)
        if jagged is None:
            arrays = [one for one in operands if not isinstance(one, Jagged)]
            most = max((one.ndim for one in arrays), default=0)
            return None, [one.reshape(one.shape + (1,) * (most - one.ndim)) if one.ndim else one for one in arrays]
        rows = self.rows(jagged)
        values = []
        for one in operands:
            if isinstance(one, Jagged) or one.ndim > 1:
                in_rows = one if isinstance(one, Jagged) else _as_jagged(one)
                self.same_rows(node, jagged, in_rows)
                values.append(in_rows.values)
            else:
                values.append(rows.spread(one) if one.ndim else one)
        return rows, values

    def rows(self, jagged: Jagged) -> Rows:
        """The rows of a jagged value, once for all that share them; keeps them, so that their identity stays theirs."""
        return self.layouts.setdefault(id(jagged.offsets), Rows(jagged.offsets))

    def same_rows(self, node: Node, first: Jagged, second: Jagged) -> None:
        if first.offsets is second.offsets or np.array_equal(first.offsets, second.offsets):
            return
        row = int(np.flatnonzero(first.counts != second.counts)[0])
        counts = f"{first.counts[row]} and {second.counts[row]} values"
        hint = "Columns that are computed with each other have as many values in each row; use the same mask for both."
        raise fault(self.source, node.span, f"row {row} of a block has {counts}", hint)

    def unary(self, node: Unary) -> Values:
        operand = self.value(node.operand)
        return self.apply(node, _negated if node.operator == "-" else _inverted, [operand])

    def chain(self, node: Chain) -> Values:
        values = [self.value(node.first), *(self.value(operand) for _, operand in node.rest)]
        operators = [operator for operator, _ in node.rest]
        if node.level in {OR, AND}:
            both = np.logical_or if node.level == OR else np.logical_and
            return self.apply(node, lambda *arrays: _joined(both, [truth(array) for array in arrays]), values)
        if node.level == COMPARE:
            return self.apply(node, lambda *arrays: _compared(operators, arrays), values)
        return self.apply(node, lambda *arrays: _computed(operators, arrays), values)

    def contained(self, node: Contained) -> Values:
        items = [np.asarray(self.value(item)) for item in node.items]
        return self.apply(node, lambda operand: _isin(operand, items, node.negated), [self.value(node.operand)])

    def index(self, node: Index) -> Values:
        operand, index = self.value(node.operand), self.value(node.index)
        if isinstance(index, Jagged) or index.ndim > 1:
            return self.masked(node, operand, index)
        default = None if node.default is None else np.asarray(self.value(node.default))
        at = whole(node.index)
        if default is None and at is not None and not isinstance(operand, Jagged):
            return np.asarray(operand[:, at])
        # A place beyond all rows must not wrap to one from the end.
        places = np.minimum(index, np.uint64(1 << 62)).astype(np.int64) if index.dtype == np.uint64 else index
        if isinstance(operand, Jagged):
            counts, starts, values = operand.counts, operand.offsets[:-1], operand.values
        else:
            counts = np.full(len(operand), operand.shape[1])
            starts = np.arange(len(operand)) * operand.shape[1]
            values = operand.reshape(-1, *operand.shape[2:])
        return _picked(values, starts, counts, places, default)

    def masked(self, node: Index, operand: Values, mask: Values) -> Jagged:
        values, chosen = (one if isinstance(one, Jagged) else _as_jagged(one) for one in (operand, mask))
        self.same_rows(node, values, chosen)
        counts = self.rows(chosen).sum(chosen.values)
        return Jagged(values.values[chosen.values], np.concatenate(([0], np.cumsum(counts))))

    def call(self, node: Call) -> Values:
        function = FUNCTIONS[node.function]
        arguments = [self.value(argument) for argument in node.arguments]
        if function.kind is Kind.ELEMENTWISE:
            if function.reals:
                return self.apply(node, lambda *arrays: function.compute(*map(_real, arrays)), arguments)
            return self.apply(node, function.compute, arguments)
        rows, arrays = self.aligned(node, arguments)
        shape: tuple[int, ...] | None = None
        if rows is None:
            arrays = list(np.broadcast_arrays(*arrays))
            shape = arrays[0].shape
            n_values = int(np.prod(shape[1:]))
            rows = Rows(np.arange(shape[0] + 1) * n_values)
            arrays = [array.reshape(-1) for array in arrays]
        else:
            arrays = [np.broadcast_to(array, (int(rows.offsets[-1]),)) for array in arrays]
        result = np.asarray(function.compute(rows, *(map(_real, arrays) if function.reals else arrays)))
        if function.kind is Kind.REDUCTION:
            return result
        return Jagged(result, rows.offsets) if shape is None else result.reshape(shape)


def _real(array: Array) -> Array:
    return array.astype(REAL, copy=False)


def _power(base: Array, exponent: Array) -> Array:
    return power(_real(base), _real(exponent))


def _negated(array: Array) -> Array:
    return np.asarray(np.negative(array if array.dtype == REAL else array.astype(np.int64)))


def _inverted(array: Array) -> Array:
    return np.logical_not(truth(array))


def _joined(both: np.ufunc, arrays: Sequence[Array]) -> Array:
    result = arrays[0]
    for array in arrays[1:]:
        result = both(result, array)
    return result


def _compared(operators: Sequence[str], arrays: Sequence[Array]) -> Array:
    pairs = zip(operators, arrays[:-1], arrays[1:], strict=True)
    return _joined(np.logical_and, [np.asarray(_COMPARE[operator](left, right)) for operator, left, right in pairs])


def _computed(operators: Sequence[str], arrays: Sequence[Array]) -> Array:
    result = arrays[0]
    for operator, array in zip(operators, arrays[1:], strict=True):
        dtype = REAL if operator == "/" else numeric((result.dtype, array.dtype))
        result = np.asarray(_ARITHMETIC[operator](result.astype(dtype, copy=False), array.astype(dtype, copy=False)))
    return result


def _isin(operand: Array, items: Sequence[Array], negated: bool) -> Array:
    # `numpy.isin` sorts, which pays for a long list, but would bring integers of different signs to reals.
    if len(items) > 16 and all(item.dtype == operand.dtype for item in items):
        found = np.isin(operand, np.array(items))
    else:
        found = _joined(np.logical_or, [np.asarray(np.equal(operand, item)) for item in items])
    return np.logical_not(found) if negated else found


def _as_jagged(array: Array) -> Jagged:
    """Fixed arrays of one axis as rows that all have as many values."""
    n_rows, n_values = array.shape
    return Jagged(array.reshape(-1), np.arange(n_rows + 1) * n_values)


def _picked(values: Array, starts: Array, counts: Array, places: Array, default: Array | None) -> Array:
    """One value of each row, from the end where its place is negative; NaN or the default where there is none."""
    from_start = np.where(places < 0, counts + places, places)
    there = (from_start >= 0) & (from_start < counts)
    dtype = REAL if default is None else promote((values.dtype, default.dtype))
    missing = np.asarray(np.nan if default is None else default, dtype)
    if not len(values):
        return np.broadcast_to(missing, (len(starts), *values.shape[1:])).copy()
    picked = values[np.where(there, starts + from_start, 0)].astype(dtype, copy=False)
    return np.where(there.reshape(-1, *(1,) * (values.ndim - 1)), picked, missing)
