"""One tree drawn as SVG, from the root at the left to the values of its leaves at the right.

Colours come from the page's classes, never from the drawing. A large tree is drawn as deep as its ends can be read, and what
lies below is folded into one end each. All text from the model is escaped and shortened.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.errors import InputError
from mlcore.forests.ir import Comparison, Missing, Tree, TreeModel

MOST_ENDS = 40
MOST_LEVELS = 6
ROW, BOX_WIDTH, BOX_HEIGHT = 22.0, 112.0, 30.0
LEAST_COLUMN, MOST_COLUMN = 130.0, 190.0
BARS = 130.0  # width of the bars of the leaves' values
LEAST_WIDTH = 860.0
TOP, LEFT = 26.0, 2.0
NAME_LETTERS, CONDITION_LETTERS = 17, 18

_SIGNS = {Comparison.LESS: "<", Comparison.LESS_EQUAL: "≤", Comparison.IN_SET: "in", Comparison.NOT_IN_SET: "not in"}
_MISSING = {
    Missing.NONE: "NaN counts as zero",
    Missing.ZERO: "zero and NaN go {} whatever the condition",
    Missing.NAN: "NaN goes {}",
}


@dataclass(frozen=True)
class TreeDrawing:
    """A drawn tree.

    Attributes
    ----------
    number
        Which one, from 0.
    svg
        An SVG element of shapes, text and classes.
    note
        How to read it, and what of the tree is not drawn.
    """

    number: int
    svg: str
    note: str


@dataclass
class _End:
    """Where a branch ends in the drawing: a leaf, or a part of the tree that is not drawn."""

    node: int
    leaves: int
    low: float
    high: float
    text: str

    @property
    def folded(self) -> bool:
        return self.leaves > 1


@dataclass
class _Plan:
    """What is drawn, and where. Places are of a box's left edge and of its middle."""

    levels: list[list[int]] = field(default_factory=list)
    drawn: dict[int, tuple[int, int]] = field(default_factory=dict)
    """The splits that are drawn, with their children."""
    ends: dict[int, _End] = field(default_factory=dict)
    x: dict[int, float] = field(default_factory=dict)
    y: dict[int, float] = field(default_factory=dict)
    width: float = LEAST_WIDTH
    height: float = 0.0


def draw_tree(model: TreeModel, number: int) -> TreeDrawing:
    """Draw one tree of a verified forest.

    Parameters
    ----------
    model
        The tree IR.
    number
        Of the tree, from 0.

    Raises
    ------
    InputError
        There is no such tree.
    """
    if not 0 <= number < len(model.trees):
        raise InputError(
            f"there is no tree {number}: the forest has {len(model.trees)}",
            hint=f"Choose one from 0 to {len(model.trees) - 1}." if len(model.trees) else "It predicts a constant.",
            code="forest.tree",
        )
    tree = model.trees[number]
    plan = _plan(tree)
    return TreeDrawing(number, _write(model, tree, plan, number), _note(tree, plan))


def _plan(tree: Tree) -> _Plan:
    plan = _Plan()
    level = [0]
    while level:
        inner = [node for node in level if tree.feature[node] >= 0]
        # Drawing this level's splits opens one more end for each.
        n_ends = len(plan.ends) + len(level) + len(inner)
        deeper = len(plan.levels) < MOST_LEVELS and n_ends <= MOST_ENDS
        plan.levels.append(level)
        following: list[int] = []
        for node in level:
            if tree.feature[node] >= 0 and deeper:
                children = int(tree.left[node]), int(tree.right[node])
                plan.drawn[node] = children
                following += children
            else:
                plan.ends[node] = _end(tree, node)
        level = following
    _place(plan)
    return plan


def _end(tree: Tree, node: int) -> _End:
    leaves = _leaves_below(tree, node)
    values = tree.value[leaves].astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if len(leaves) > 1:
        text = f"{len(leaves):,} leaves".replace(",", "\u2009")
    elif values.ndim == 2:
        text = ", ".join(number_text(value) for value in values[0, :3].tolist()) + (", …" if values.shape[1] > 3 else "")
    else:
        text = number_text(low)
    return _End(node, len(leaves), low, high, text)


def _leaves_below(tree: Tree, node: int) -> npt.NDArray[np.int64]:
    level = np.array([node], np.int64)
    found = []
    while len(level):
        leaf = tree.feature[level] < 0
        found.append(level[leaf])
        inner = level[~leaf]
        level = np.concatenate([tree.left[inner], tree.right[inner]]).astype(np.int64)
    return np.concatenate(found)


def _place(plan: _Plan) -> None:
    """Ends in rows from above to below, each split in the middle of its children; one column a level."""
    order: list[int] = []
    waiting = [plan.levels[0][0]]
    while waiting:
        node = waiting.pop()
        if node in plan.drawn:
            waiting += reversed(plan.drawn[node])
        else:
            order.append(node)
    for row, node in enumerate(order):
        plan.y[node] = TOP + ROW * (row + 0.5)
    column = (LEAST_WIDTH - BARS - LEFT) / len(plan.levels)
    column = min(max(column, LEAST_COLUMN), MOST_COLUMN)
    for number, level in enumerate(plan.levels):
        for node in level:
            plan.x[node] = LEFT + column * number
    for level in reversed(plan.levels):
        for node in level:
            if node in plan.drawn:
                a, b = plan.drawn[node]
                plan.y[node] = (plan.y[a] + plan.y[b]) / 2
    plan.width = LEFT + column * len(plan.levels) + BARS
    # A lone leaf is as tall as a split's box.
    plan.height = TOP + max(ROW * len(order), BOX_HEIGHT) + 6


def _write(model: TreeModel, tree: Tree, plan: _Plan, number: int) -> str:
    label = f"Tree {number}: {len(plan.drawn)} splits and {len(plan.ends)} ends drawn"
    width, height = f"{max(plan.width, LEAST_WIDTH):.0f}", f"{plan.height:.0f}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(label)}">'
    ]
    for node, children in plan.drawn.items():
        for side, child in enumerate(children):
            parts.append(_edge(tree, plan, node, child, to_left=side == 0))
    parts += [_split(model, tree, plan, node) for node in plan.drawn]
    parts += _leaves(plan)
    return "".join([*parts, "</svg>"])


def _edge(tree: Tree, plan: _Plan, node: int, child: int, *, to_left: bool) -> str:
    x, y, to_x, to_y = plan.x[node] + BOX_WIDTH, plan.y[node], plan.x[child], plan.y[child]
    bend = (to_x - x) * 0.55
    takes_missing = tree.missing[node] != Missing.NONE and bool(tree.default_left[node]) == to_left
    weight = "sw2" if takes_missing else "sw1"
    curve = f"M{x:.1f} {y:.1f}C{x + bend:.1f} {y:.1f} {to_x - bend:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"
    return f'<path class="branch {weight}" d="{curve}"/>'


def _split(model: TreeModel, tree: Tree, plan: _Plan, node: int) -> str:
    x, y = plan.x[node], plan.y[node]
    name = feature_name(model, int(tree.feature[node]))
    condition = _condition(tree, node)
    side = "up" if tree.default_left[node] else "down"
    hover = f"{name} {condition}; {_MISSING[Missing(int(tree.missing[node]))].format(side)}"
    return (
        f"<g><title>{_text(hover, 300)}</title>"
        f'<rect class="node" x="{x:.1f}" y="{y - BOX_HEIGHT / 2:.1f}" width="{BOX_WIDTH:g}" height="{BOX_HEIGHT:g}" rx="3"/>'
        f'<text class="code-t" x="{x + 6:.1f}" y="{y - 3:.1f}">{_text(name, NAME_LETTERS)}</text>'
        f'<text class="lb" x="{x + 6:.1f}" y="{y + 10:.1f}">{_text(_short_condition(tree, node), CONDITION_LETTERS)}</text></g>'
    )


def _leaves(plan: _Plan) -> list[str]:
    """The ends, and at the right a bar for each value, from zero."""
    ends = list(plan.ends.values())
    low, high = min(0.0, *(end.low for end in ends)), max(0.0, *(end.high for end in ends))
    span = (high - low) or 1.0
    first, last = plan.width - BARS + 8, plan.width - 4

    def place(value: float) -> float:
        return first + (value / span - low / span) * (last - first)  # divided first: the span may be near the largest number

    zero = place(0.0)
    parts = [f'<text class="lb" x="{first:.1f}" y="11">value of the leaf</text>']
    for end in ends:
        x, y = plan.x[end.node], plan.y[end.node]
        letters = len(end.text)
        parts.append(f"<g><title>{_end_title(end)}</title>")
        wide = max(34.0, letters * 6.3 + 12)
        if not end.folded:
            parts.append(f'<path class="gr" d="M{x + wide:.1f} {y:.1f}H{first:.1f}"/>')
        parts.append(f'<rect class="leaf" x="{x:.1f}" y="{y - 8.5:.1f}" width="{wide:.1f}" height="17" rx="3"/>')
        kind = "lb" if end.folded else "val"
        parts.append(f'<text class="{kind}" x="{x + 6:.1f}" y="{y + 4:.1f}">{_text(end.text, 40)}</text>')
        a, b = (place(end.low), place(end.high)) if end.folded else sorted((zero, place(end.low)))
        look = "span" if end.folded else "fl"
        parts.append(f'<rect class="m1 {look}" x="{a:.1f}" y="{y - 5:.1f}" width="{max(b - a, 1):.1f}" height="10"/></g>')
    parts.append(f'<path class="ax" d="M{zero:.1f} {TOP - 8:.0f}V{plan.height - 4:.0f}"/>')
    return parts


def _end_title(end: _End) -> str:
    if end.folded:
        return f"{end.leaves} leaves that are not drawn, from {end.low:.6g} to {end.high:.6g}"
    return f"leaf: {end.low!r}" if end.low == end.high else f"leaf: {_text(end.text, 100)}"


def _note(tree: Tree, plan: _Plan) -> str:
    parts = []
    if plan.drawn:
        parts.append("The upper branch is taken where the condition holds.")
    if any(tree.missing[node] != Missing.NONE for node in plan.drawn):
        parts.append("Missing values take the heavier one.")
    folded = [end for end in plan.ends.values() if end.folded]
    if folded:
        hidden = sum(end.leaves for end in folded)
        parts.append(
            f"{len(folded)} part{'s' if len(folded) > 1 else ''} of the tree with {hidden:,} leaves "
            f"{'are' if len(folded) > 1 else 'is'} folded; the pale bars span their values.".replace(",", "\u2009")
        )
    if not plan.drawn:
        parts.append("This tree has no split: it adds the same to every prediction.")
    return " ".join(parts)


def _condition(tree: Tree, node: int) -> str:
    comparison = Comparison(int(tree.comparison[node]))
    if comparison <= Comparison.LESS_EQUAL:
        return f"{_SIGNS[comparison]} {tree.threshold[node].item()!r}"
    return f"{_SIGNS[comparison]} {{{', '.join(map(str, tree.categories.get(node, ())[:60]))}}}"


def _short_condition(tree: Tree, node: int) -> str:
    comparison = Comparison(int(tree.comparison[node]))
    if comparison <= Comparison.LESS_EQUAL:
        return f"{_SIGNS[comparison]} {number_text(float(tree.threshold[node]))}"
    return _condition(tree, node)


def feature_name(model: TreeModel, feature: int) -> str:
    """The name of a feature as the file has it, else its number in words; any text at all."""
    name = model.feature_names[feature] if feature < len(model.feature_names) else ""
    return name or f"feature {feature}"


def number_text(value: float) -> str:
    """A number with four significant digits and a real minus sign."""
    return f"{value:.4g}".replace("-", "−")


def _text(text: Any, most: int) -> str:
    """Text from a model: printable, on one line, not longer than `most`, escaped."""
    shown = "".join(letter if letter.isprintable() else "�" for letter in str(text)[: most + 1])
    return escape(shown if len(shown) <= most else shown[: most - 1] + "…", quote=False)
