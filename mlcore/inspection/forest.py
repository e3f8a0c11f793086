"""Forests of decision trees, read by `mlcore.forests`: facts, use of the features, shapes of the trees, the first ones drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from mlcore.errors import InputError, UnsupportedFeatureError
from mlcore.filetypes import detect
from mlcore.forests import Forest, load
from mlcore.forests.analysis import Analysis, analyse, histogram
from mlcore.forests.drawing import draw_tree, feature_name
from mlcore.inspection.report import Bars, Distribution, Drawing, Inspection, Rows, Table, Value, clean, size_text, tables

MAX_TREES = 500
BARS = 15  # features in the chart; the table has more
THRESHOLD_CHARTS = 5
DRAWN = 16
"""Trees that are drawn with the inspection; the others by `drawings` when somebody asks for them."""
LABEL = 40
MOST_HELD = 256 * 2**20  # bytes of a file that may hold a forest among other things
HELD_MARKS = (b"TreeEnsemble", b"TMVA::Experimental::RBDT", b"num_trees")  # operators of ONNX; classes and keys of ROOT


def inspect(path: Path) -> Inspection:
    """What a model file of any format that `mlcore.forests` reads says about its trees, features, thresholds and leaves."""
    found = detect(path)
    forest = load(path)
    analysis = analyse(forest.model)
    return Inspection(
        found.kind,
        found.title,
        _facts(forest, analysis, path.stat().st_size),
        tables(_engine_table(forest), _feature_table(forest, analysis), _tree_table(analysis)),
        charts=_charts(forest, analysis),
        drawings=drawings(forest, 0),
        n_drawings=len(forest.model.trees),
    )


def inside(path: Path, inspection: Inspection) -> Inspection:
    """The inspection of an ONNX model or a ROOT file, with that of the forest in it, where there is one that can be read."""
    if path.stat().st_size > MOST_HELD or not any(mark in path.read_bytes() for mark in HELD_MARKS):
        return inspection
    try:
        found = inspect(path)
    except (InputError, UnsupportedFeatureError):
        return inspection  # such as trees among other operators: what is known about the file is said already
    known = {label for label, _ in found.facts}
    return replace(
        found,
        kind=inspection.kind,
        title=inspection.title,
        facts=(*found.facts, *(fact for fact in inspection.facts if fact[0] not in known)),
        tables=(*found.tables, *inspection.tables),
        graph=inspection.graph,
    )


def drawings(forest: Forest, first: int, count: int = DRAWN) -> tuple[Drawing, ...]:
    """Drawings of some trees of a forest, from the number `first` on; fewer at its end."""
    model = forest.model
    numbers = range(first, min(first + count, len(model.trees)))
    if not numbers and first:
        raise InputError(
            f"there is no tree {first}", hint=f"The forest has {len(model.trees)}, counted from 0.", code="forest.tree"
        )
    drawn = (draw_tree(model, number) for number in numbers)
    return tuple(Drawing(f"Tree {tree.number}", tree.svg, tree.note) for tree in drawn)


def _facts(forest: Forest, analysis: Analysis, size: int) -> tuple[tuple[str, Value], ...]:
    info = forest.info
    return (
        ("Trees", info.n_trees),
        ("Depth", info.depth),
        ("Features in use", int(np.count_nonzero(analysis.features.splits))),
        ("Distinct thresholds", info.n_thresholds),
        ("Objective", clean(info.objective) or None),
        ("Library", clean(f"{info.library} {info.library_version}".strip())),
        ("Booster", clean(info.booster) or None),
        ("Prediction", clean(info.link)),
        ("Nodes", info.n_nodes),
        ("Leaves", info.n_leaves),
        ("Features", info.n_features),
        ("Classes" if info.n_outputs > 1 else "Outputs", info.n_outputs),
        *((("Labels", clean(", ".join(forest.model.classes))),) if forest.model.classes else ()),
        *((("Splits by categories", analysis.categorical_splits),) if analysis.categorical_splits else ()),
        ("Splits with a way for missing values", analysis.missing_splits),
        *((("Best iteration", info.best_iteration),) if info.best_iteration is not None else ()),
        ("Size", size_text(size)),
    )


def engines(forest: Forest) -> tuple[tuple[str, str], ...]:
    """Which engine predicts here for which number of rows, and why: pairs of a case and a text."""
    pairs = (line.partition(": ") for line in forest.engine.splitlines())
    return tuple((case, text) for case, _, text in pairs)


def _engine_table(forest: Forest) -> Table:
    rows = Rows()
    for case, text in engines(forest):
        rows.add(case, clean(text, 400))
    return rows.table("Which engine runs here, and why", ("For", "Engine"))


def _feature_table(forest: Forest, analysis: Analysis) -> Table:
    use = analysis.features
    rows = Rows()
    numbers = np.lexsort((np.arange(len(use.splits)), -use.spread, -use.splits))
    for number in numbers.tolist():
        rows.add(
            feature_name(forest.model, number),
            number,
            int(use.splits[number]),
            round(100 * float(use.split_share[number]), 2),
            round(100 * float(use.spread_share[number]), 2),
            int(use.trees[number]),
            int(use.thresholds[number]),
        )
    columns = ("Name", "Number", "Splits", "Share of splits [%]", "Share of spread [%]", "Trees", "Thresholds")
    return rows.table("Features", columns)


def _tree_table(analysis: Analysis) -> Table:
    shapes = analysis.trees
    rows = Rows(most=MAX_TREES)
    for number in range(len(shapes.depth)):
        if number >= MAX_TREES:
            rows.count = len(shapes.depth)
            break
        rows.add(
            number,
            int(shapes.output[number]),
            int(shapes.depth[number]),
            int(shapes.nodes[number]),
            int(shapes.leaves[number]),
            float(shapes.lowest[number]),
            float(shapes.highest[number]),
        )
    return rows.table("Trees", ("Number", "Output", "Depth", "Nodes", "Leaves", "Lowest value", "Highest value"))


def _charts(forest: Forest, analysis: Analysis) -> tuple[Bars | Distribution, ...]:
    use, model = analysis.features, forest.model
    used = np.flatnonzero(use.splits)
    ranked = used[np.argsort(-use.splits[used], kind="stable")].tolist()
    charts: list[Bars | Distribution] = []
    if ranked:
        top = ranked[:BARS]
        charts.append(
            Bars(
                "Importance of the features",
                tuple(clean(feature_name(model, number), LABEL) for number in top),
                (
                    ("share of splits", tuple(100 * float(use.split_share[number]) for number in top)),
                    ("share of spread", tuple(100 * float(use.spread_share[number]) for number in top)),
                ),
                "share [%]",
                (f"The first {len(top)} of {len(ranked)} features in use. " if len(ranked) > len(top) else "")
                + "Spread is the variance of the trees' outputs that the splits cause if each sends half of the rows to each "
                "side; the file holds no training data, so it is not the gain of the training.",
            )
        )
    if len(analysis.leaf_depths):
        charts.append(
            Distribution(
                "Leaves by depth",
                tuple(float(edge) - 0.5 for edge in range(len(analysis.leaf_depths) + 1)),
                tuple(analysis.leaf_depths.tolist()),
                "splits before the leaf",
                "leaves",
                f"Trees have {_range(analysis.trees.leaves)} leaves and depths of {_range(analysis.trees.depth)}.",
            )
        )
        charts.append(_distribution("Values of the leaves", analysis.leaf_values, "value of the leaf", "leaves"))
    for number in ranked:
        if number in analysis.thresholds and len(charts) < 3 + THRESHOLD_CHARTS:
            name = clean(feature_name(model, number), LABEL)
            distinct = f"{int(use.thresholds[number])} distinct ones. "
            charts.append(_distribution(f"Thresholds of {name}", analysis.thresholds[number], name, "splits", note=distinct))
    return tuple(charts)


def _distribution(title: str, values: object, x_title: str, y_title: str, note: str = "") -> Distribution:
    edges, counts, outside = histogram(np.asarray(values))
    note += f"{outside} far outside of this range are left out." if outside else ""
    return Distribution(title, tuple(edges.tolist()), tuple(counts.tolist()), x_title, y_title, note.strip())


def _range(values: object) -> str:
    found = np.asarray(values)
    low, high = (int(found.min()), int(found.max())) if len(found) else (0, 0)
    return str(low) if low == high else f"{low} to {high}"
