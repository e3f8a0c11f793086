"""A case's chart: a panel for each figure that its comparisons name, a group of bars for each comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

from benchmarks.measure import Comparison

COLOURS = ("#c1272d", "#4477aa", "#66a5ad", "#228833", "#ccbb44", "#aa6fae", "#8c6d4f", "#888888", "#333333")
"""Ours first."""


def draw(comparisons: Sequence[Comparison], title: str, path: Path) -> bool:
    """Draw those that belong to a figure; False where none does."""
    figures = list(dict.fromkeys(comparison.figure for comparison in comparisons if comparison.figure))
    if not figures:
        return False
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "benchmarks", "font.size": 9})
    from matplotlib import pyplot as plt
    from matplotlib.patches import Patch

    chosen = [comparison for comparison in comparisons if comparison.figure]
    contenders = list(dict.fromkeys([c.ours for c in chosen] + [name for c in chosen for name in c.measured]))
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(contenders)}
    sheet, axes = plt.subplots(len(figures), 1, figsize=(11, 3.4 * len(figures)), squeeze=False, layout="constrained")
    for axis, figure in zip(axes[:, 0], figures, strict=True):
        _panel(axis, figure, [c for c in chosen if c.figure == figure], colours)
    handles = [Patch(color=colours[name]) for name in contenders]
    sheet.legend(handles, contenders, loc="outside lower center", ncols=min(5, len(contenders)), frameon=False)
    sheet.suptitle(title)
    sheet.savefig(path, metadata={"Date": None})
    plt.close(sheet)
    return True


def _panel(axis: Any, figure: str, comparisons: Sequence[Comparison], colours: dict[str, str]) -> None:
    """One panel, on a logarithmic scale; above our bar stands how many times better than the best peer it is."""
    for group, comparison in enumerate(comparisons):
        width = 0.85 / len(comparison.measured)
        for i, (name, measured) in enumerate(comparison.measured.items()):
            place = group - 0.425 + (i + 0.5) * width
            axis.bar(place, measured.median, width, color=colours[name])
            if name == comparison.ours and comparison.reached is not None:
                text = f"{comparison.reached:.1f}×"
                axis.annotate(text, (place, measured.median), ha="center", va="bottom", fontsize=8, fontweight="bold")
    lower = all(comparison.lower_is_better for comparison in comparisons)
    axis.set_yscale("log")
    axis.set_ylabel(f"{comparisons[0].unit} ({'lower' if lower else 'higher'} is better)")
    axis.set_title(figure, loc="left", fontsize=10)
    axis.set_xticks(range(len(comparisons)), ["\n".join(wrap(comparison.label, 18)) for comparison in comparisons], fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.margins(x=0.01, y=0.15)
