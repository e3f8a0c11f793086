"""Directed graphs drawn as SVG, layer below layer; colours come from the page's classes, never from the drawing.

`draw` first folds what is too large to be looked at, then gives each node the layer below its lowest predecessor, leads long
edges through places of their own in the layers between, sorts the layers so that few edges cross, puts everything close to its
neighbours, and writes the picture: Sugiyama's method, in its plainest form.

References
----------
K. Sugiyama, S. Tagawa, M. Toda, Methods for visual understanding of hierarchical system structures, IEEE Trans. Syst. Man
Cybern. 11 (1981) 109.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

from mlcore.inspection.report import clean

MOST_NODES = 150
MOST_BENDS = 5000
LEAST_WIDTH = 640.0  # pages show pictures as wide as the text: a narrow one would be blown up
SWEEPS = 8
CHARACTER = 6.4  # width of the page's monospaced 10.5 px letters
LINE, PADDING, GAP_X, GAP_Y = 13, 8, 16, 26


@dataclass(frozen=True)
class Node:
    """A box: its `label` in the first line, `detail` in the second, `title` shown on hovering.

    `terminal` boxes are what goes in and what comes out; they are folded last. `members` are the labels that a folded box stands
    for, with their numbers.
    """

    label: str
    detail: str = ""
    title: str = ""
    terminal: bool = False
    members: tuple[tuple[str, int], ...] = ()


Edges = Mapping[int, Sequence[int]]


def draw(nodes: Sequence[Node], edges: Edges, *, title: str, most: int = MOST_NODES) -> str:
    """An SVG element of a graph.

    Parameters
    ----------
    nodes
        The boxes.
    edges
        For each number of a node, those that it leads to; cycles are drawn, too.
    title
        What the picture shows, for people who do not see it.
    most
        Above this many nodes, chains become one box each; where that is not enough, neighbouring layers do.
    """
    successors = [sorted({end for end in edges.get(start, ()) if end != start}) for start in range(len(nodes))]
    boxes = list(nodes)
    if len(boxes) > most:
        boxes, successors = _fold(boxes, successors, _chains(boxes, successors))
    if len(boxes) > most:
        boxes, successors = _fold(boxes, successors, _bands(boxes, successors, most))
    if not boxes:
        return ""
    return _write(_Plan(boxes, successors), title)


def _predecessors(successors: Sequence[Sequence[int]]) -> list[list[int]]:
    before: list[list[int]] = [[] for _ in successors]
    for start, ends in enumerate(successors):
        for end in ends:
            before[end].append(start)
    return before


def _topological(successors: Sequence[Sequence[int]]) -> list[int]:
    """All nodes, each behind its predecessors as far as there are no cycles."""
    waiting = [len(before) for before in _predecessors(successors)]
    ready = [node for node, count in enumerate(waiting) if count == 0]
    order: list[int] = []
    placed = set(ready)
    rest = iter(range(len(successors)))
    while len(order) < len(successors):
        if not ready:  # a cycle: opened at its first node
            node = next(node for node in rest if node not in placed)
            placed.add(node)
            ready.append(node)
        node = ready.pop()
        order.append(node)
        for end in successors[node]:
            waiting[end] -= 1
            if waiting[end] == 0 and end not in placed:
                placed.add(end)
                ready.append(end)
    return order


def _layers(successors: Sequence[Sequence[int]]) -> list[int]:
    """The layer of each node: one below its lowest predecessor."""
    layer = [0] * len(successors)
    order = _topological(successors)
    position = {node: number for number, node in enumerate(order)}
    for node in order:
        for end in successors[node]:
            if position[end] > position[node]:
                layer[end] = max(layer[end], layer[node] + 1)
    # What has no predecessor moves down to where it is needed.
    before = _predecessors(successors)
    for node, ends in enumerate(successors):
        if not before[node] and ends:
            layer[node] = max(0, min(layer[end] for end in ends) - 1)
    return layer


# Folding.


def _chains(nodes: Sequence[Node], successors: Sequence[Sequence[int]]) -> list[int]:
    """A group for each node: a run of nodes that lead to one another alone is one group."""
    before = _predecessors(successors)
    group = list(range(len(nodes)))
    for node in _topological(successors):
        joined = (
            len(before[node]) == 1
            and len(successors[before[node][0]]) == 1
            and not nodes[node].terminal
            and not nodes[before[node][0]].terminal
            and group[before[node][0]] != node
        )
        if joined:
            group[node] = group[before[node][0]]
    return group


def _bands(nodes: Sequence[Node], successors: Sequence[Sequence[int]], most: int) -> list[int]:
    """A group for each node: neighbouring layers together, as many as leaves room for; terminals in excess join them."""
    layer = _layers(successors)
    terminals = sum(node.terminal for node in nodes)
    alone = terminals <= most // 2
    bands = max(1, most - (terminals if alone else 0))
    depth = max(layer) + 1
    width = -(-depth // bands)
    return [number if node.terminal and alone else len(nodes) + layer[number] // width for number, node in enumerate(nodes)]


def _fold(nodes: Sequence[Node], successors: Sequence[Sequence[int]], group: Sequence[int]) -> tuple[list[Node], list[list[int]]]:
    """The graph with each group as one node."""
    members: dict[int, list[int]] = {}
    for node in _topological(successors):
        members.setdefault(group[node], []).append(node)
    number = {name: index for index, name in enumerate(members)}
    folded = [_merged([nodes[node] for node in those]) for those in members.values()]
    ends = [
        sorted({number[group[end]] for node in those for end in successors[node]} - {number[name]})
        for name, those in members.items()
    ]
    return folded, ends


def _merged(nodes: Sequence[Node]) -> Node:
    if len(nodes) == 1:
        return nodes[0]
    counts: Counter[str] = Counter()
    for node in nodes:
        counts.update(dict(node.members) or {node.label: 1})
    members = tuple(counts.most_common())
    common = [f"{label} ×{count:,}" if count > 1 else label for label, count in members[:20]]
    label = ", ".join(common[:3]) + (" …" if len(members) > 3 else "")
    return Node(label, f"{counts.total():,} nodes", ", ".join(common), members=members)


# Placing.


@dataclass
class _Plan:
    """Where everything goes: boxes, and the bends of long edges, which are numbered behind the boxes."""

    nodes: Sequence[Node]
    successors: Sequence[Sequence[int]]
    widths: list[float] = field(init=False)
    heights: list[float] = field(init=False)
    routes: list[list[int]] = field(init=False, default_factory=list)
    rows: list[list[int]] = field(init=False)
    x: list[float] = field(init=False)  # of the middle
    y: list[float] = field(init=False)  # of the upper edge
    width: float = field(init=False)
    height: float = field(init=False)

    def __post_init__(self) -> None:
        self.widths = [_width(node) for node in self.nodes]
        self.heights = [2.0 * PADDING + LINE * (2 if node.detail else 1) - 2 for node in self.nodes]
        layer = _layers(self.successors)
        self._route(layer)
        downward = [route for route in self.routes if layer[route[0]] < layer[route[-1]]]
        down: list[list[int]] = [[] for _ in layer]
        for route in downward:
            for start, end in pairwise(route):
                down[start].append(end)
        up = _predecessors(down)
        self.rows = [[] for _ in range(max(layer) + 1)]
        for number in _topological(down):
            self.rows[layer[number]].append(number)
        self._order(up, down)
        self._place(up, down)

    def _route(self, layer: list[int]) -> None:
        bends = 0
        for start, ends in enumerate(self.successors):
            for end in ends:
                between = range(layer[start] + 1, layer[end])
                if bends + len(between) > MOST_BENDS:
                    between = range(0)
                bends += len(between)
                first = len(layer)
                layer.extend(between)
                self.widths.extend(0.0 for _ in between)
                self.heights.extend(0.0 for _ in between)
                self.routes.append([start, *range(first, len(layer)), end])

    def _order(self, up: Sequence[Sequence[int]], down: Sequence[Sequence[int]]) -> None:
        """Sort each row by the mean place of its neighbours, down and up in turn."""
        place = {number: index / len(row) for row in self.rows for index, number in enumerate(row)}
        for sweep in range(SWEEPS):
            neighbours = up if sweep % 2 == 0 else down
            for row in self.rows if sweep % 2 == 0 else reversed(self.rows):
                mean = {number: _mean([place[other] for other in neighbours[number]], place[number]) for number in row}
                row.sort(key=mean.__getitem__)
                place.update((number, index / len(row)) for index, number in enumerate(row))

    def _place(self, up: Sequence[Sequence[int]], down: Sequence[Sequence[int]]) -> None:
        """Put each row as close beneath its neighbours as its order and its widths allow."""
        self.x = [0.0] * len(self.widths)
        for sweep in range(SWEEPS):
            neighbours = up if sweep % 2 == 0 else down
            for row in self.rows if sweep % 2 == 0 else reversed(self.rows):
                wanted = [_mean([self.x[other] for other in neighbours[number]], self.x[number]) for number in row]
                for number, place in zip(row, _spread(wanted, [self.widths[number] for number in row]), strict=True):
                    self.x[number] = place
        leftmost = min(x - width / 2 for x, width in zip(self.x, self.widths, strict=True))
        rightmost = max(x + width / 2 for x, width in zip(self.x, self.widths, strict=True))
        self.width = max(LEAST_WIDTH, rightmost - leftmost + 2 * GAP_X)
        margin = (self.width - (rightmost - leftmost)) / 2
        self.x = [x - leftmost + margin for x in self.x]
        self.y = [0.0] * len(self.widths)
        y = float(PADDING)
        for row in self.rows:
            tall = max(self.heights[number] for number in row)
            for number in row:
                self.y[number] = y + (tall - self.heights[number]) / 2
            y += tall + GAP_Y
        self.height = y - GAP_Y + PADDING


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _spread(wanted: Sequence[float], widths: Sequence[float]) -> list[float]:
    """Middles closest to those wanted (least squares) that keep the order and the gaps: pooling of adjacent violators."""
    offsets = [0.0]
    for left, right in pairwise(widths):
        offsets.append(offsets[-1] + (left + right) / 2 + GAP_X)
    pools: list[tuple[float, int]] = []  # mean and number of members
    for place, offset in zip(wanted, offsets, strict=True):
        mean, count = place - offset, 1
        while pools and pools[-1][0] > mean:
            before, members = pools.pop()
            mean = (mean * count + before * members) / (count + members)
            count += members
        pools.append((mean, count))
    middles = [mean for mean, count in pools for _ in range(count)]
    return [mean + offset for mean, offset in zip(middles, offsets, strict=True)]


# Writing.


def _write(plan: _Plan, title: str) -> str:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {plan.width:.0f} {plan.height:.0f}" '
        f'width="{plan.width:.0f}" height="{plan.height:.0f}" role="img" aria-label="{_attribute(title)}">'
    ]
    for route in plan.routes:
        start = route[0]
        x, y = plan.x[start], plan.y[start] + plan.heights[start]
        path = [f"M{x:.1f} {y:.1f}"]
        for number in route[1:]:
            to_x, to_y = plan.x[number], plan.y[number]
            bend = max(GAP_Y / 2, abs(to_y - y) / 2)
            path.append(f"C{x:.1f} {y + bend:.1f} {to_x:.1f} {to_y - bend:.1f} {to_x:.1f} {to_y:.1f}")
            x, y = to_x, to_y
        parts.append(f'<path class="gr" d="{"".join(path)}"/>')
    for number, node in enumerate(plan.nodes):
        x, y, wide, tall = plan.x[number], plan.y[number], plan.widths[number], plan.heights[number]
        radius = min(tall / 2, 13) if node.terminal else 3
        parts.append(f"<g><title>{_text(node.title or node.label)}</title>")
        parts.append(
            f'<rect class="node" x="{x - wide / 2:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{tall:.1f}" rx="{radius:g}"/>'
        )
        parts.append(f'<text class="code-t a-m" x="{x:.1f}" y="{y + PADDING + 9:.1f}">{_text(_short(node.label))}</text>')
        if node.detail:
            line = y + PADDING + 9 + LINE
            parts.append(f'<text class="lb a-m" x="{x:.1f}" y="{line:.1f}">{_text(_short(node.detail))}</text>')
        parts.append("</g>")
    parts.append("</svg>")
    return "".join(parts)


def _short(text: str) -> str:
    return clean(text, 44)


def _width(node: Node) -> float:
    letters = max(len(_short(node.label)), len(_short(node.detail)))
    return round(max(36.0, letters * CHARACTER + 2 * PADDING), 1)


def _text(text: str) -> str:
    return escape(clean(text, 300), quote=False)


def _attribute(text: str) -> str:
    return escape(clean(text, 300), quote=True)
