"""What is made of figures: files, words, drawings, and the comparison of two runs."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from scipy import stats

from mlcore.benchmarks.advice import advice
from mlcore.benchmarks.cells import Samples
from mlcore.benchmarks.comparing import compare, holm
from mlcore.benchmarks.comparing import to_markdown as compared_markdown
from mlcore.benchmarks.figures import draw
from mlcore.benchmarks.ranks import MOST_EXACT, mann_whitney
from mlcore.benchmarks.report import SCHEMA, Report, bytes_, rate, reasons, reference_of, seconds, to_csv, to_markdown
from mlcore.errors import InputError
from tests.mlcore.benchmarks.reports import measured, report, small


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = small()
    found.save(tmp_path / "benchmark.json")
    assert Report.load(tmp_path / "benchmark.json") == found
    data = json.loads((tmp_path / "benchmark.json").read_text())
    assert data["schema"] == SCHEMA
    wrong = next(cell for cell in data["cells"] if cell["status"] == "wrong")
    assert "wall" not in wrong
    assert "throughput" not in wrong


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kind": "something"}, "no report"),
        ({"schema": SCHEMA + 1}, f"this version reads {SCHEMA}"),
        ({"cells": [{"model": "x"}]}, "damaged"),
        ({"machine": None}, "damaged"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, change: dict[str, object], told: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({**small().to_json(), **change}))
    with pytest.raises(InputError, match=told):
        Report.load(path)
    path.write_bytes(b"\xff{")
    with pytest.raises(InputError, match="cannot be read"):
        Report.load(path)


def test_numbers_have_three_digits_and_a_unit_that_suits_them() -> None:
    assert [seconds(x) for x in (None, 2.5, 0.0123, 4.5678e-6, 3.12e-7, 9.9e-10)] == [
        "–", "2.50 s", "12.3 ms", "4.57 µs", "312 ns", "0.990 ns",
    ]  # fmt: skip
    assert [bytes_(x) for x in (None, 0, 512, 1234, 5_600_000, 2.5e9)] == ["–", "0 B", "512 B", "1.23 kB", "5.60 MB", "2.50 GB"]
    assert [rate(x) for x in (None, 12.5, 4321, 5.85e6)] == ["–", "12.5 /s", "4.32 k/s", "5.85 M/s"]


def test_throughput_counts_the_events_of_all_users() -> None:
    cell = measured("mlp", "own", 2, batch=64, threads=2)
    assert cell.throughput == pytest.approx(64 / 2e-6)
    assert replace(cell, users=2).throughput == pytest.approx(128 / 2e-6)
    assert replace(cell, users=2).per_event == pytest.approx(2e-6 / 128)


def test_the_csv_has_a_line_for_each_cell() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(small()))))
    assert len(rows) == len(small().cells)
    first = rows[0]
    assert (first["model"], first["engine"], first["status"]) == ("mlp", "own", "measured")
    assert float(first["seconds_per_event"]) == pytest.approx(0.3e-6, rel=1e-3)
    wrong = next(row for row in rows if row["status"] == "wrong")
    assert wrong["wall_median_s"] == ""
    assert "off by 0.1" in wrong["reason"]


def test_the_markdown_has_every_cell_or_its_reason() -> None:
    text = to_markdown(small(), against="onnxruntime_c")
    assert "| MLP | 300 ns (0.08 ×) | 3.90 µs | not here |" in text
    assert "| CNN | 50.0 µs | wrong | not here |" in text
    assert "100 µs (2.50 ×) ~" in text  # 6400 µs for 64 events, noisy
    assert "Xla, all models: not installed: pip install jax" in text
    assert reasons(small())[0] == ("Xla", "all models", "not installed: pip install jax")
    assert reference_of(small()) == "onnxruntime_c"


def test_advice_follows_from_the_figures() -> None:
    mlp, cnn = advice(small())
    assert "Own is the quickest for one event, 300 ns, 13.0 times faster than Onnxruntime_c." in mlp
    assert "Own gives the most events, 10.0 M/s, in batches of 64." in mlp
    assert "Least memory: Own, 200 kB" in mlp
    assert "no other engine gave a figure" in cnn
    assert "Own" in cnn.split("gave a figure")[0]
    assert "Onnxruntime_c gives the most events, 25.0 k/s, in batches of 64" in cnn
    close = report([measured("m", "a", 1.0), measured("m", "b", 1.02)])
    assert "A and B are equally quick" in advice(close)[0]
    noisy = report([measured("m", "a", 1.0, notes=("spread",)), measured("m", "b", 2)])
    assert "noisy" in advice(noisy)[0]


def test_figures_are_drawn(tmp_path: Path) -> None:
    files = draw(small(), tmp_path, against="onnxruntime_c")
    assert [path.name for path in files] == ["matrix.svg", "memory.svg", "scaling.svg"]
    texts = {path.stem: "".join(ET.parse(path).getroot().itertext()) for path in files}  # noqa: S314 - just written
    assert "300 ns" in texts["matrix"]
    assert "peak memory" in texts["memory"]
    assert "CNN" in texts["scaling"]
    assert draw(report([]), tmp_path) == ()


def test_two_runs_differ_where_more_than_chance_says_so() -> None:
    before = report([measured("m", "a", 10), measured("m", "b", 10), measured("m", "c", 10), measured("m", "d", 10)])
    after = report(
        [measured("m", "a", 8), measured("m", "b", 12), measured("m", "c", 10.001), measured("m", "d", 8, notes=("drift",))],
        machine={"processor": "Two", "cores": "2"},
    )  # fmt: skip
    found = {change.key.engine: change for change in compare(before, after).changes}
    assert {name: change.verdict for name, change in found.items()} == {"a": "faster", "b": "slower", "c": "same", "d": "noisy"}
    assert found["a"].ratio == pytest.approx(0.8)
    assert found["a"].lower <= 0.8 <= found["a"].upper < 0.82
    assert found["a"].probability < 0.01 < found["c"].probability
    assert compare(before, after).differences == ("processor: One, then Two",)
    assert "1 faster, 1 slower, 1 changed but noisy, 0 unclear" in compared_markdown(compare(before, after), after)
    assert all(change.verdict == "same" for change in compare(before, before).changes)


def test_few_samples_prove_nothing() -> None:
    few = replace(measured("m", "a", 10), wall=Samples((1e-5, 1.01e-5, 1.02e-5)))
    less = replace(measured("m", "a", 5), wall=Samples((5e-6, 5.1e-6, 5.2e-6)))
    assert compare(report([few]), report([less])).changes[0].verdict == "unclear"


def test_cells_that_came_and_went_are_told() -> None:
    before = report([measured("m", "a", 10), measured("m", "b", 10)])
    after = report([measured("m", "b", 10), measured("n", "b", 10)])
    found = compare(before, after)
    assert [key.engine for key in found.lost] == ["a"]
    assert [key.model for key in found.gained] == ["n"]


def test_many_tests_are_corrected_for() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    assert max(holm([0.5, 0.9])) == 1.0


@pytest.mark.parametrize("sizes", [(1, 1), (3, 5), (9, 9), (12, 7), (50, 45)])
def test_probabilities_are_those_of_scipy(sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(4)
    for shift in (0.0, 0.5, 3.0):
        one, other = rng.normal(size=sizes[0]), rng.normal(shift, size=sizes[1])
        method = "exact" if max(sizes) <= MOST_EXACT else "asymptotic"
        wanted = stats.mannwhitneyu(one, other, alternative="two-sided", method=method).pvalue
        assert mann_whitney(one.tolist(), other.tolist()) == pytest.approx(wanted, rel=1e-9)
    one, other = rng.integers(0, 4, sizes[0]), rng.integers(1, 5, sizes[1])
    if sizes != (1, 1):
        wanted = stats.mannwhitneyu(one, other, alternative="two-sided", method="asymptotic").pvalue
        assert mann_whitney(one.tolist(), other.tolist()) == pytest.approx(wanted, rel=1e-9)


def test_equal_samples_tell_nothing() -> None:
    assert mann_whitney([1, 1, 1], [1, 1, 1]) == 1.0
    assert mann_whitney([], [1, 2]) == 1.0
