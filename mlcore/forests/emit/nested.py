"""Small forests as nested conditional expressions: for single rows they outrun every engine that has no wide registers.

s[0] += (x[3] < 0.25f ? (!(x[1] >= 2.0f) ? 0.5f : -1.5f) : 0.125f);
"""

from __future__ import annotations

import numpy as np

from kernels import Comparison, Missing
from mlcore.forests.emit.literals import number
from mlcore.forests.ir import Tree, TreeModel

MAX_STEPS = 300
"""Of one row, from the roots to the leaves; beyond them mispredicted branches cost more than planes."""
_MAX_DEPTH = 32  # of brackets: compilers allow 256

_SIGNS = {Comparison.LESS: ("<", ">="), Comparison.LESS_EQUAL: ("<=", ">")}


def takes(model: TreeModel) -> bool:
    """Whether a forest is small and plain enough: numeric splits, NaN alone as missing value, one number a leaf."""
    trees = model.trees
    inner = trees.feature >= 0
    numeric = bool((trees.comparison[inner] <= Comparison.LESS_EQUAL).all())
    no_zeros = bool((trees.missing[inner] != Missing.ZERO).all())
    if trees.vector_leaves or model.depth > _MAX_DEPTH or not (numeric and no_zeros):
        return False
    return len(trees) * max(model.depth, 1) <= MAX_STEPS and trees.n_nodes <= 8 * MAX_STEPS


def statements(model: TreeModel) -> str:
    """C++ that adds all trees for the row ``x`` to the sums ``s``, in order."""
    return "\n".join(f"  s[{tree.output}] += {_expression(model, tree, 0)};" for tree in model.trees)


def _expression(model: TreeModel, tree: Tree, node: int) -> str:
    feature = int(tree.feature[node])
    if feature < 0:
        return number(float(tree.value[node]), real_of(model.sum_dtype))
    threshold = float(tree.threshold[node])
    holds, fails = _SIGNS[Comparison(int(tree.comparison[node]))]
    nan_goes_left = bool(tree.default_left[node])
    if tree.missing[node] == Missing.NONE:  # NaN reads as zero
        nan_goes_left = threshold > 0 or (threshold == 0 and holds == "<=")
    value = number(threshold, real_of(model.threshold_dtype))
    # Every comparison with NaN is false.
    condition = f"!(x[{feature}] {fails} {value})" if nan_goes_left else f"x[{feature}] {holds} {value}"
    left, right = (_expression(model, tree, int(child[node])) for child in (tree.left, tree.right))
    return f"({condition} ? {left} : {right})"


def real_of(dtype: str) -> str:
    """The C++ type of a dtype."""
    return "double" if dtype == np.dtype(np.float64).name else "float"
