"""Drawings of graphs: well-formed, uncoloured, without overlap, and folded when large."""

from __future__ import annotations

import itertools
import re
import time
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from mlcore.inspection.drawing import Node, _layers, _Plan, _spread, draw

SVG = "{http://www.w3.org/2000/svg}"


def boxes(svg: str) -> list[tuple[float, float, float, float]]:
    root = ET.fromstring(svg)  # noqa: S314 - our own text
    return [tuple(float(rect.get(name, "nan")) for name in ("x", "y", "width", "height")) for rect in root.iter(f"{SVG}rect")]  # type: ignore[misc]


def labels(svg: str) -> list[str]:
    root = ET.fromstring(svg)  # noqa: S314 - our own text
    return [text.text or "" for text in root.iter(f"{SVG}text") if "code-t" in (text.get("class") or "")]


def chain(count: int) -> tuple[list[Node], dict[int, list[int]]]:
    nodes = [Node("x", terminal=True), *(Node(("MatMul", "Relu")[i % 2]) for i in range(count)), Node("y", terminal=True)]
    return nodes, {i: [i + 1] for i in range(count + 1)}


def random_graph(count: int, seed: int, edges: int) -> tuple[list[Node], dict[int, list[int]]]:
    rng = np.random.default_rng(seed)
    leads: dict[int, list[int]] = {}
    for start, end in rng.integers(0, count, (edges, 2)).tolist():
        leads.setdefault(min(start, end), []).append(max(start, end))
    return [Node(f"op{number}", "3 × 4") for number in range(count)], leads


def test_every_node_and_edge_is_drawn() -> None:
    nodes = [Node("x", "N × 4", "input x", terminal=True), Node("Gemm", "4 × 2"), Node("Relu"), Node("Add")]
    svg = draw(nodes, {0: [1, 3], 1: [2], 2: [3]}, title="A graph")
    assert labels(svg) == ["x", "Gemm", "Relu", "Add"]
    assert svg.count("<path") == 4
    assert "4 × 2" in svg
    assert "<title>input x</title>" in svg


def test_edges_lead_downward() -> None:
    svg = draw([Node("c"), Node("b"), Node("a")], {2: [1], 1: [0]}, title="t")
    top = {label: y for label, (_, y, _, _) in zip(labels(svg), boxes(svg), strict=True)}
    assert top["a"] < top["b"] < top["c"]


@pytest.mark.parametrize("seed", range(8))
def test_boxes_do_not_overlap_and_fit(seed: int) -> None:
    svg = draw(*random_graph(60, seed, 90), title="t")
    width, height = map(float, re.search(r'viewBox="0 0 (\d+) (\d+)"', svg).groups())  # type: ignore[union-attr]
    drawn = boxes(svg)
    assert len(drawn) == 60
    for x, y, w, h in drawn:
        assert x >= 0
        assert y >= 0
        assert x + w <= width + 1
        assert y + h <= height + 1
    for (ax, ay, aw, ah), (bx, by, bw, bh) in itertools.combinations(drawn, 2):
        assert ax + aw <= bx + 0.2 or bx + bw <= ax + 0.2 or ay + ah <= by or by + bh <= ay


def test_long_edge_goes_around_the_boxes_between() -> None:
    plan = _Plan([Node("x"), Node("a"), Node("b"), Node("sum")], [[1, 3], [2], [3], []])
    bends = next(route for route in plan.routes if len(route) == 4)[1:-1]
    for bend, box in zip(bends, (1, 2), strict=True):
        assert abs(plan.x[bend] - plan.x[box]) > plan.widths[box] / 2


def test_narrow_pictures_are_not_blown_up_by_the_page() -> None:
    svg = draw(*chain(3), title="t")
    width = float(re.search(r'viewBox="0 0 (\d+) ', svg)[1])  # type: ignore[index]
    x, _, w, _ = boxes(svg)[0]
    assert width == 640
    assert x + w / 2 == pytest.approx(320, abs=1)


def test_a_plain_chain_is_straight() -> None:
    drawn = boxes(draw(*chain(10), title="t"))
    middles = [x + width / 2 for x, _, width, _ in drawn]
    assert max(middles) - min(middles) < 0.2  # coordinates are written with one decimal


def test_spread_keeps_gaps_and_stays_near() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        wanted = rng.normal(0, 100, 12).tolist()
        widths = rng.uniform(10, 80, 12).tolist()
        placed = _spread(wanted, widths)
        for (left, a), (right, b) in itertools.pairwise(zip(placed, widths, strict=True)):
            assert right - left >= (a + b) / 2 + 15.999
    assert _spread([0.0, 500.0], [10, 10]) == [0.0, 500.0]


def test_layers_are_longest_paths() -> None:
    assert _layers([[1, 3], [2], [3], []]) == [0, 1, 2, 3]


def test_source_stands_next_to_where_it_is_needed() -> None:
    assert _layers([[1], [2], [], [2]]) == [0, 1, 2, 1]


@pytest.mark.parametrize("edges", [{0: [0]}, {0: [1], 1: [0]}, {0: [1], 1: [2], 2: [0, 3]}])
def test_cycles_are_drawn(edges: dict[int, list[int]]) -> None:
    svg = draw([Node(str(i)) for i in range(4)], edges, title="t")
    assert sorted(labels(svg)) == ["0", "1", "2", "3"]


def test_large_chain_is_folded_into_one_box() -> None:
    svg = draw(*chain(1000), title="t")
    assert sorted(labels(svg)) == ["MatMul ×500, Relu ×500", "x", "y"]
    assert "1,000 nodes" in svg


@pytest.mark.parametrize(("count", "edges"), [(151, 300), (2000, 4000), (20_000, 60_000)])
def test_large_graphs_stay_small_and_quick(count: int, edges: int) -> None:
    start = time.process_time()
    svg = draw(*random_graph(count, 1, edges), title="t")
    assert time.process_time() - start < 60
    assert 2 <= len(boxes(svg)) <= 150
    # Nothing is lost in folding: each box is one operator or tells how many it stands for.
    root = ET.fromstring(svg)  # noqa: S314 - our own text
    details = [[text.text or "" for text in group.iter(f"{SVG}text")][1] for group in root.iter(f"{SVG}g")]
    folded = [int(detail.removesuffix(" nodes").replace(",", "")) for detail in details if detail.endswith(" nodes")]
    assert sum(folded) + len(details) - len(folded) == count


def test_many_terminals_are_folded_too() -> None:
    nodes = [Node(f"in{i}", terminal=True) for i in range(1000)] + [Node("Concat")]
    svg = draw(nodes, {i: [1000] for i in range(1000)}, title="t")
    assert len(boxes(svg)) <= 150


def test_dense_graph_of_long_edges_is_quick() -> None:
    count = 150
    nodes = [Node(f"op{i}") for i in range(count)]
    start = time.process_time()
    svg = draw(nodes, {i: list(range(i + 1, count)) for i in range(count)}, title="t")
    assert time.process_time() - start < 60
    assert len(boxes(svg)) == count


def test_hostile_texts_stay_texts() -> None:
    hostile = '"><script>alert(1)</script><rect style="x" onload=\'y\' \x00\x1b'
    svg = draw([Node(hostile, hostile, hostile), Node(hostile * 100)], {0: [1]}, title=hostile)
    root = ET.fromstring(svg)  # noqa: S314 - our own text
    allowed = {"svg", "g", "title", "rect", "text", "path"}
    for element in root.iter():
        assert element.tag.removeprefix(SVG) in allowed
        assert set(element.attrib) <= {"class", "d", "x", "y", "width", "height", "rx", "viewBox", "role", "aria-label"}
        assert set((element.get("class") or "").split()) <= {"node", "gr", "lb", "code-t", "a-m"}


def test_nothing_to_draw() -> None:
    assert draw([], {}, title="t") == ""
