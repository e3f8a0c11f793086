"""Plots with ratios: where lines, points and triangles stand, and that nothing but classes gives them colour."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest

from portal.home.rendering import svg
from portal.jobs.comparisons import Axis, Line, Point, against, curves, scatter

EDGES = [0.0, 1.0, 2.0, 3.0]


def parsed(text: str) -> ET.Element:
    """The drawing, which has to survive the page's sanitizer whole."""
    assert "style=" not in text
    assert len(re.findall("<path", svg(text))) == len(re.findall("<path", text))
    return ET.fromstring(text)  # noqa: S314  (our own)


def texts(root: ET.Element) -> list[str]:
    return [element.text or "" for element in root.iter("text")]


def test_a_reference_alone_has_no_ratio() -> None:
    root = parsed(against(EDGES, Line("truth", [1, 2, 3]), x_title="x", y_title="y", label="a plot"))
    assert root.get("aria-label") == "a plot"
    assert not any("model /" in text for text in texts(root))


def test_ratios_outside_become_triangles() -> None:
    reference, model = Line("Geant4", [10, 10, 10], [1, 1, 1]), Line("model", [10, 40, 1], [1, 1, 1])
    root = parsed(against(EDGES, reference, [model], x_title="x", y_title="y", label="a plot"))
    assert "model / Geant4" in texts(root)
    marks = [element for element in root.iter() if element.get("class") == "pt"]
    assert [element.tag for element in marks] == ["circle", "path", "path"]
    assert (marks[1].get("d") or "").split("l")[1] == "3.5 6h-7Z"
    assert (marks[2].get("d") or "").split("l")[1] == "3.5 -6h-7Z"
    # The band of the reference is a tenth up and down.
    band = next(element for element in root.iter("rect") if element.get("class") == "tint fl")
    assert float(band.get("height") or 0) == pytest.approx(2 * 0.1 * (290 - 236), abs=0.2)


@pytest.mark.parametrize("log", [False, True])
def test_what_is_not_finite_is_left_out(log: bool) -> None:
    values = [math.nan, 0.0, 5.0]
    text = against(
        [1, 10, 100, 1000], Line("a", values), [Line("b", values)], x_title="x", y_title="y", label="p", log_x=log, log_y=log
    )
    parsed(text)
    assert "nan" not in text
    assert "inf" not in text


def test_names_are_escaped() -> None:
    parsed(against(EDGES, Line("<a & b>", [1, 2, 3]), [Line('"', [1, 2, 3])], x_title="<", y_title="&", label='"<'))


def test_a_logarithmic_axis_has_decades() -> None:
    axis = Axis(1, 1000, 0, 300, log=True)
    assert axis.at(10) == 100
    assert axis.at(0.001) == 0
    assert axis.at(1e9) == 300
    assert axis.ticks() == pytest.approx([1, 10, 100, 1000])


def test_curves_of_any_length_are_drawn() -> None:
    for count in (0, 1, 2, 5000):
        steps = [float(step) for step in range(count)]
        text = curves(steps, [Line("loss", [1e3 / (step + 1) for step in steps])], x_title="step", y_title="loss", label="p")
        parsed(text)
        assert len(text) < 20_000


def test_points_have_numbers_and_a_floor() -> None:
    points = [Point(1, "vae", 0.5, 0.9, 0.01), Point(2, "transformer", 20.0, 0.55, 0.01)]
    root = parsed(scatter(points, floor=0.5, x_title="ms", y_title="AUC", label="p"))
    circles = list(root.iter("circle"))
    assert float(circles[0].get("cx") or 0) < float(circles[1].get("cx") or 0)
    assert float(circles[0].get("cy") or 0) < float(circles[1].get("cy") or 0)
    assert {"1", "2"} <= set(texts(root))
    assert any("floor" in text for text in texts(root))
