"""Splits by equality (ONNX's EQ, NEQ and MEMBER, treelite's ``==``) as the tree IR's ``<`` and ``<=``, exactly.

A run of such splits on one feature sends each of a few numbers to some subtree, every other number to one more, and NaN
somewhere. That is a small search tree over the numbers: ``x < v`` and ``x <= v`` single out each ``v``, and the subtree of the
other numbers is repeated between them. NaN takes the default directions to a place that leads on as it should; where there is
none, a split ``x <= infinity``, which only NaN fails, is put before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlcore.errors import UnsupportedFeatureError
from mlcore.forests.frontends._fields import damaged
from mlcore.forests.ir import Comparison

MAX_NODES = 1 << 20
"""Nodes of a forest after this, which the repeated subtrees of a hostile file would otherwise let grow without end."""

FREE_NODES, PER_NODE = 1 << 14, 64
"""Of these, what any file may take, and what each of its nodes may take besides: a small file ends soon."""


class Split(NamedTuple):
    """A node as the IR decides; children are None at a leaf."""

    feature: int
    threshold: float
    comparison: Comparison
    default_left: bool
    source: int
    """The leaf that it copies, or -1."""


@dataclass(frozen=True, eq=False)
class Written:
    """One tree as the file has it; each array has one entry a node.

    Attributes
    ----------
    feature
        -1 marks a leaf.
    comparison, threshold, left, right, default_left
        As of `mlcore.forests.ir.Tree`, where `values` has no entry.
    values
        The numbers that go left, of splits by equality; there NaN goes by `default_left`.
    """

    feature: npt.NDArray[np.int32]
    threshold: npt.NDArray[np.float64]
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    comparison: npt.NDArray[np.uint8]
    default_left: npt.NDArray[np.bool_]
    values: dict[int, frozenset[float]]


@dataclass
class _Built:
    """The tree being written."""

    nodes: list[Split] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    right: list[int] = field(default_factory=list)


class Budget:
    """Counts nodes over the trees of a forest; wide leaves, of many numbers, leave room for fewer."""

    def __init__(self, width: int) -> None:
        self.bound = MAX_NODES // max(1, width // 8)
        self.allowed = FREE_NODES
        self.spent = 0

    def allow(self, n_nodes: int) -> None:
        """Add the share of a tree of so many nodes."""
        self.allowed += PER_NODE * n_nodes

    def spend(self, amount: int = 1) -> None:
        self.spent += amount
        most = min(self.bound, self.allowed)
        if self.spent > most:
            raise UnsupportedFeatureError(
                f"splits by equality would take more than {most} nodes as comparisons",
                hint="Load the file that the training library itself saved: LightGBM's text lists categories as sets.",
            )


def expanded(tree: Written, place: str, budget: Budget) -> tuple[Written, npt.NDArray[np.int64]]:
    """The tree without splits by equality, and the node that each of its leaves copies (-1 at splits).

    Raises
    ------
    InputError
        A child is out of range.
    UnsupportedFeatureError
        The repeated subtrees would become too many.
    """
    budget.allow(len(tree.feature))
    built = _Built()
    _Expansion(tree, place, budget, built).run()
    columns = list(zip(*built.nodes, strict=True))
    written = Written(
        feature=np.array(columns[0], np.int32),
        threshold=np.array(columns[1], np.float64),
        comparison=np.array(columns[2], np.uint8),
        default_left=np.array(columns[3], np.bool_),
        left=np.array(built.left, np.int32),
        right=np.array(built.right, np.int32),
        values={},
    )
    return written, np.array(columns[4], np.int64)


class _Expansion:
    """Writes one tree anew, from the root on."""

    def __init__(self, tree: Written, place: str, budget: Budget, built: _Built) -> None:
        self.tree, self.place, self.budget, self.built = tree, place, budget, built
        self.waiting: list[tuple[int, int, bool]] = []  # node of the file, and whose child it becomes, on which side

    def run(self) -> None:
        self.waiting.append((0, -1, True))
        while self.waiting:
            node, parent, is_left = self.waiting.pop()
            self._write(node, parent, is_left)

    def _write(self, node: int, parent: int, is_left: bool) -> None:
        tree = self.tree
        if not 0 <= node < len(tree.feature):
            damaged(self.place, "has a child out of range")
        if node in tree.values:
            self._search(node, parent, is_left)
            return
        leaf = tree.feature[node] < 0
        split = Split(
            int(tree.feature[node]),
            float(tree.threshold[node]),
            Comparison(int(tree.comparison[node])),
            bool(tree.default_left[node]),
            node if leaf else -1,
        )
        number = self._append(split, parent, is_left)
        if not leaf:
            self.waiting.append((int(tree.right[node]), number, False))
            self.waiting.append((int(tree.left[node]), number, True))

    def _append(self, split: Split, parent: int, is_left: bool) -> int:
        self.budget.spend()
        built = self.built
        number = len(built.nodes)
        built.nodes.append(split)
        built.left.append(-1)
        built.right.append(-1)
        if parent >= 0:
            (built.left if is_left else built.right)[parent] = number
        return number

    def _search(self, node: int, parent: int, is_left: bool) -> None:
        """A search tree in place of a run of splits by equality on one feature."""
        feature = int(self.tree.feature[node])
        other = self._exit(node, feature, None)
        exits = {value: self._exit(node, feature, value) for value in self._values(node, feature)}
        points = sorted(value for value, leads in exits.items() if leads != other)
        missing = self._exit(node, feature, np.nan)
        to_point = next((value for value in points if exits[value] == missing), None)
        if missing != other and to_point is None:
            split = Split(feature, np.inf, Comparison.LESS_EQUAL, False, -1)
            parent, is_left = self._append(split, parent, is_left), True
            self.waiting.append((missing, parent, False))
        aim = -np.inf if missing == other or to_point is None else to_point
        ranges = [(0, len(points), parent, is_left)]
        while ranges:
            low, high, parent, is_left = ranges.pop()
            if low == high:
                self.waiting.append((other, parent, is_left))
                continue
            middle = (low + high) // 2
            point = points[middle]
            at_other = missing == other or to_point is None
            below = Split(feature, point, Comparison.LESS, at_other or aim < point, -1)
            first = self._append(below, parent, is_left)
            second = self._append(Split(feature, point, Comparison.LESS_EQUAL, not at_other and aim == point, -1), first, False)
            self.waiting.append((exits[point], second, True))
            ranges.append((middle + 1, high, second, False))
            ranges.append((low, middle, first, True))

    def _values(self, node: int, feature: int) -> set[float]:
        """All numbers that the run of splits by equality on a feature tells apart."""
        values: set[float] = set()
        stack = [node]
        while stack:
            node = stack.pop()
            if self._of_run(node, feature):
                self.budget.spend(1 + len(self.tree.values[node]))
                values |= self.tree.values[node]
                stack += [int(self.tree.left[node]), int(self.tree.right[node])]
        return values

    def _exit(self, node: int, feature: int, value: float | None) -> int:
        """Where a number leaves the run; None is a number that no split lists."""
        while self._of_run(node, feature):
            self.budget.spend()
            if value is not None and np.isnan(value):
                left = bool(self.tree.default_left[node])
            else:
                left = value is not None and value in self.tree.values[node]
            node = int((self.tree.left if left else self.tree.right)[node])
        return node

    def _of_run(self, node: int, feature: int) -> bool:
        return node in self.tree.values and int(self.tree.feature[node]) == feature
