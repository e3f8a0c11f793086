"""Forests of decision trees, read by `mlcore.forests`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from mlcore.filetypes import detect
from mlcore.inspection.report import Inspection, Rows, Value, clean, size_text, tables

MAX_TREES = 500


def inspect(path: Path) -> Inspection:
    """Trees, depth, features, classes and objective of a model of XGBoost or LightGBM."""
    from mlcore.forests import load

    found = detect(path)
    forest = load(path)
    info, model = forest.info, forest.model
    splits: Counter[int] = Counter()
    cuts: dict[int, set[float]] = {}
    trees = Rows(most=MAX_TREES)
    for number, tree in enumerate(model.trees):
        used = tree.feature[~tree.is_leaf]
        splits.update(used.tolist())
        for feature, threshold in zip(used.tolist(), tree.threshold[~tree.is_leaf].tolist(), strict=True):
            cuts.setdefault(feature, set()).add(threshold)
        trees.add(number, tree.output, tree.depth, tree.n_nodes, int(tree.is_leaf.sum()))
    features = Rows()
    for number in range(info.n_features):
        name = info.feature_names[number] if number < len(info.feature_names) else ""
        features.add(number, name or f"feature {number}", splits[number], len(cuts.get(number, ())))
    facts: tuple[tuple[str, Value], ...] = (
        ("Library", clean(f"{info.library} {info.library_version}".strip())),
        ("Objective", clean(info.objective)),
        ("Booster", clean(info.booster)),
        ("Trees", info.n_trees),
        ("Depth", info.depth),
        ("Nodes", info.n_nodes),
        ("Leaves", info.n_leaves),
        ("Features", info.n_features),
        ("Features in use", len(splits)),
        ("Classes" if info.n_outputs > 1 else "Outputs", info.n_outputs),
        ("Distinct thresholds", info.n_thresholds),
        *((("Best iteration", info.best_iteration),) if info.best_iteration is not None else ()),
        ("Size", size_text(path.stat().st_size)),
    )
    return Inspection(
        found.kind,
        found.title,
        facts,
        tables(
            features.table("Features", ("Number", "Name", "Splits", "Thresholds")),
            trees.table("Trees", ("Number", "Output", "Depth", "Nodes", "Leaves")),
        ),
    )
