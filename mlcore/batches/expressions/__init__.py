"""Expressions over columns, in ROOT's and in Python's spelling: filters, and new columns from old ones.

Public names: `parse` reads an `Expression`; `Type` is what it gives; `FUNCTIONS` is the table of functions. A text is parsed and
computed with NumPy, never run as code.

Examples
--------
>>> import numpy as np
>>> cut = parse("20 < pt < 50 && !isnan(eta)")
>>> cut.columns
('pt', 'eta')
>>> cut.keep({"pt": np.array([10.0, 30.0]), "eta": np.array([0.5, 0.1])})
array([False,  True])
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.batches.blocks import Block, Jagged, Values
from mlcore.batches.expressions import evaluate as _evaluate
from mlcore.batches.expressions.check import Type, infer
from mlcore.batches.expressions.faults import CODE, fault
from mlcore.batches.expressions.functions import FUNCTIONS, Function, truth
from mlcore.batches.expressions.parse import MAX_DEPTH, MAX_LENGTH, parse_tree
from mlcore.batches.expressions.tree import Node, names, spell
from mlcore.batches.schema import Column
from mlcore.errors import InputError

__all__ = ["FUNCTIONS", "MAX_DEPTH", "MAX_LENGTH", "Expression", "Function", "Type", "parse"]


class Expression:
    """A text that was read; two are equal where they mean the same.

    Attributes
    ----------
    source
        The text as it was given. ``str()`` gives the canonical spelling, which can be longer than what `parse` takes.
    tree
        What was read.
    columns
        The columns that it reads, in the order of their first use.
    """

    def __init__(self, source: str, tree: Node) -> None:
        self.source = source
        self.tree = tree
        self.columns = names(tree)
        self._seen: set[tuple[Any, ...]] = set()

    def __str__(self) -> str:
        return spell(self.tree)

    def __repr__(self) -> str:
        return f"parse({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def check(self, schema: Mapping[str, Column]) -> Type:
        """What it gives for columns of a schema.

        Raises
        ------
        InputError
            Code ``batches.expression``: a column is not there or holds no numbers, or parts do not fit each other.
        """
        return infer(self.tree, schema, self.source)

    def check_filter(self, schema: Mapping[str, Column]) -> None:
        """Whether it can say which rows to keep: one number or truth value each row.

        Raises
        ------
        InputError
            Code ``batches.expression``: as for `check`, or it gives several values each row.
        """
        found = self.check(schema)
        if not found.flat:
            hint = "Say what is asked of them: Any(…), All(…), Count(…) > 1, Sum(…) > 0."
            raise fault(self.source, self.tree.span, f"a filter gives one value each row, and this gives {found}", hint)

    def evaluate(self, block: Block) -> Values:
        """What it gives for the rows of a block.

        Parameters
        ----------
        block
            The columns that it reads, and at least one.

        Returns
        -------
        Values
            bool, int64, uint64 or float64; may share memory with the block.

        Raises
        ------
        InputError
            Code ``batches.expression``: as for `check`, or jagged columns differ in the number of values of a row.
        """
        self._schema(block)
        return _evaluate.evaluate(self.tree, block, self.source, self._constants)

    def keep(self, block: Block) -> npt.NDArray[np.bool_]:
        """Which rows of a block a filter keeps, bool, shape (n_rows,): those where it is true or a number other than 0.

        NaN keeps no row. Raises as `check_filter` and `evaluate` do.
        """
        schema = self._schema(block)
        result = self.evaluate(block)
        if isinstance(result, Jagged) or result.ndim != 1:
            self.check_filter(schema)
            raise InputError("a filter gives one value each row", code=CODE)
        return truth(result)

    @cached_property
    def _constants(self) -> dict[int, npt.NDArray[Any]]:
        return _evaluate.constants(self.tree, self.source)

    def _schema(self, block: Block) -> dict[str, Column]:
        """The columns of a block as a schema, checked once for each combination of types."""
        if not block:
            raise InputError(
                "a block without columns has no rows",
                hint="Give the columns that are read, or one of those there are.",
                code=CODE,
            )
        schema = {name: _column(name, values) for name, values in block.items()}
        key = tuple((name, schema[name]) for name in self.columns if name in schema)
        if key not in self._seen:
            self.check(schema)
            self._seen.add(key)
        return schema


def parse(source: str) -> Expression:
    """Read an expression.

    Parameters
    ----------
    source
        Such as ``"Sum(jet_pt[abs(jet_eta) < 2.5]) > 200 and met / ht > 0.1"``.

    Raises
    ------
    InputError
        Code ``batches.expression``: it is none, is longer than 10 000 characters or nested too deeply. The message shows where.
    """
    return Expression(source, parse_tree(source))


def _column(name: str, values: Values) -> Column:
    jagged = isinstance(values, Jagged)
    array = values.values if isinstance(values, Jagged) else values
    return Column(name, array.dtype, array.shape[1:], jagged)
