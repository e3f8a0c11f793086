"""Plots: well-formed SVG without styles, whatever the numbers."""

from __future__ import annotations

import math
from xml.etree import ElementTree as ET

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
