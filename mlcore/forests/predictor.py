"""The native predictor of a forest: from the tree IR, or from a plan in a file, to what runs.

A predictor's `margin`, `predict` and `leaves` take float32 or float64 rows of any strides. Results have the shape (n_rows,)
where there is one column, else (n_rows, n_columns). They refuse rows that are no such array by TypeError, and those of another
width by ValueError.
"""

from __future__ import annotations

import kernels
from mlcore.forests.ir import TreeModel

Predictor = kernels.NativeForest


def build(model: TreeModel) -> Predictor:
    """The native predictor of a verified model."""
    return kernels.build_forest(model.tables())


def from_plan(plan: memoryview, model: TreeModel) -> Predictor | None:
    """The predictor of a plan that was kept in a file; None where the kernels refuse it, as one of another version.

    Of the model, nothing but the shape is looked at.
    """
    try:
        native = kernels.forest_from_plan(plan)
    except ValueError:
        return None
    if (native.n_features, native.n_outputs, native.n_trees) != (model.n_features, model.n_outputs, len(model.trees)):
        return None
    return native
