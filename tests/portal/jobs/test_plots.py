"""Plots: well-formed SVG without styles, whatever the numbers."""

from __future__ import annotations

import math
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.jobs import plots

finite = st.floats(-1e12, 1e12, allow_nan=False)


@given(low=finite, width=st.floats(1e-6, 1e9), counts=st.lists(st.integers(0, 10**9), min_size=1, max_size=40))
def test_a_histogram_is_well_formed(low: float, width: float, counts: list[int]) -> None:
    edges = [low + width * index for index in range(len(counts) + 1)]
    if edges[-1] <= edges[0]:
        return
    svg = plots.histogram(edges, counts, x_title="m <GeV>", y_title="Entries", label='"quoted" & <b>')
    root = ET.fromstring(svg)  # noqa: S314  (our own text)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == '"quoted" & <b>'
    assert not any("style" in element.attrib for element in root.iter())
    assert "nan" not in svg
    assert "inf" not in svg


@given(low=finite, span=st.floats(1e-3, 1e12))
def test_ticks_are_few_and_inside(low: float, span: float) -> None:
    found = plots.ticks(low, low + span)
    assert len(found) <= 12
    slack = span * 1e-6 + abs(low) * 1e-9
    assert all(low - slack <= tick <= low + span + slack for tick in found)
    assert all(math.isfinite(tick) for tick in found)


names = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=40)  # `clean` lets no others through


@given(rows=st.lists(st.tuples(names, st.floats(0, 1e9), st.floats(0, 1e9)), min_size=1, max_size=20))
def test_bars_are_well_formed(rows: list[tuple[str, float, float]]) -> None:
    labels, first, second = zip(*rows, strict=True)
    svg = plots.bars(labels, (("a <b>", first), ("c", second)), x_title="share [%]", label='"quoted" & <b>')
    root = parsed(svg)
    assert sum(element.tag == "rect" for element in root.iter()) == 2 * len(rows) + 2  # and the legend's


@given(ratios=st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=12))
def test_ratios_start_at_one_and_go_left_where_faster(ratios: list[float]) -> None:
    engines = sorted(plots.MARKS)
    rows = [
        (f"<{number}>", engines[number % len(engines)], ratio, ratio * 0.9, ratio * 1.1, "2 µs")
        for number, ratio in enumerate(ratios)
    ]
    root = parsed(plots.ratios([("Single rows", rows)], x_title="time relative to <b>", label="&"))
    bars = [element for element in root.iter() if element.get("class") == "span"]
    assert len(bars) == len(ratios)
    line = next(element for element in root.iter() if element.get("class") == "ref-l")
    one = float(line.attrib["d"].removeprefix("M").split()[0])
    for bar, ratio in zip(bars, ratios, strict=True):
        left, width = float(bar.attrib["x"]), float(bar.attrib["width"])
        assert left == one if ratio > 1 else abs(left + width - one) < 0.2


def parsed(svg: str) -> ET.Element:
    """The drawing, which has no style of its own and no number that is none."""
    root = ET.fromstring(svg)  # noqa: S314  (our own text)
    assert not any("style" in element.attrib for element in root.iter())
    numbers = " ".join(
        value for element in root.iter() for name, value in element.attrib.items() if name in ("d", "x", "y", "width")
    )
    assert "nan" not in numbers
    assert "inf" not in numbers
    return root


@given(
    low=finite,
    width=st.floats(1e-6, 1e9),
    counts=st.lists(st.lists(st.integers(0, 10**9), min_size=7, max_size=7), min_size=1, max_size=5),
    names=st.lists(names, min_size=5, max_size=5),
)
def test_classes_on_one_axis_are_well_formed(low: float, width: float, counts: list[list[int]], names: list[str]) -> None:
    edges = [low + width * index for index in range(8)]
    if any(a >= b for a, b in pairwise(edges)):
        return
    svg = plots.overlay(edges, list(zip(names, counts, strict=False)), x_title=names[0], y_title="Share", label=names[1])
    other = plots.before_and_after(edges, counts[0], counts[-1], x_title=names[0], label=names[1])
    for text in (svg, other):
        root = ET.fromstring(text)  # noqa: S314  (our own text)
        assert not any("style" in element.attrib for element in root.iter())
    drawn = "".join(value for element in ET.fromstring(svg).iter() for key, value in element.attrib.items() if key == "d")  # noqa: S314
    assert "nan" not in drawn
    assert "inf" not in drawn


def test_the_ratio_of_equal_shapes_is_one() -> None:
    """Whatever the numbers of rows are: shares are compared."""
    svg = plots.overlay([0, 1, 2, 3], [("s", [10, 20, 30]), ("b", [100, 200, 300])], x_title="x", y_title="y", label="l")
    circles = [element.attrib["cy"] for element in ET.fromstring(svg).iter("circle")]  # noqa: S314
    middle = (plots.RATIO_TOP + plots.RATIO_BOTTOM) / 2
    assert [float(y) for y in circles] == [middle] * 3


def test_a_matrix_says_each_number() -> None:
    svg = plots.matrix(["a<b", "c", "d"], [[1.0, -0.8, None], [-0.8, 1.0, 0.05], [None, 0.05, 1.0]], label="l")
    root = ET.fromstring(svg)  # noqa: S314  (our own text)
    titles = [element.text for element in root.iter("title")]
    assert titles[:3] == ["a<b, a<b: 1.00", "a<b, c: -0.80", "a<b, d: —"]
    assert [element.attrib["class"] for element in root.iter("g")][:3] == ["q-f3", "q-l3", "q-0"]


def test_columns_are_stacked_and_labelled_sparsely() -> None:
    days = [f"{n} Nov" for n in range(1, 31)]
    drawn = plots.columns(
        days, [("questions", [2.0] * 30), ("searches", [0.0] * 29 + [3.0])], x_title="day", y_title="number", label="Use & more"
    )
    parsed = ET.fromstring(drawn)  # noqa: S314  (our own text)
    assert parsed.attrib["aria-label"] == "Use & more"
    boxes = [box for box in parsed.iter("rect") if box.attrib.get("class") == "fl"]
    assert len(boxes) == 31, "nothing is drawn for zero"
    below, above = boxes[-2], boxes[-1]
    assert float(above.attrib["y"]) + float(above.attrib["height"]) == pytest.approx(float(below.attrib["y"]), abs=0.11)
    named = [text.text for text in parsed.iter("text") if text.text in days]
    assert 5 <= len(named) <= 15
    assert "30 Nov, searches: 3" in drawn


def test_columns_of_nothing() -> None:
    ET.fromstring(plots.columns(["a"], [("x", [0.0])], x_title="x", y_title="y", label="l"))  # noqa: S314  (our own text)
