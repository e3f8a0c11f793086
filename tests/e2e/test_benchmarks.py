"""A benchmark in a real browser: started from the page, cancelled, resumed, its matrix sorted, compared with another run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.live.portal import Portal

pytestmark = [pytest.mark.e2e, pytest.mark.live]

LONG = 240_000  # milliseconds that a job may take on a busy machine
ENGINES = "onnxruntime_c, onnxruntime_python, torch_eager"


def done(page: Page) -> None:
    expect(page.get_by_text(re.compile(r"^(Done in|Failed)"))).to_be_visible(timeout=LONG)
    expect(page.get_by_text(re.compile("^Done in"))).to_be_visible()


def numbers(page: Page, column: int) -> list[float]:
    """The values of a column of the matrix, from above to below, without empty ones."""
    cells = page.locator(f"#matrix tbody tr > :nth-child({column})")
    values = [cells.nth(row).get_attribute("data-value") or "" for row in range(cells.count())]
    return [float(value) for value in values if value]


def test_a_benchmark_is_started_cancelled_resumed_and_compared(portal: Portal, page: Page, network: Path, forest: Path) -> None:
    page.goto(f"http://127.0.0.1:{portal.port}/benchmarks/")
    page.get_by_role("link", name="Benchmark my model").click()
    expect(page.get_by_role("heading", name="Run benchmarks")).to_be_visible()
    page.get_by_label("Upload files for Your models").set_input_files([network, forest])
    expect(page.locator("#f-files option:checked")).to_have_count(2, timeout=LONG)
    page.get_by_label(re.compile("^Engines")).fill(ENGINES)
    page.get_by_label(re.compile("^Batches")).fill("1, 2, 4, 32")
    page.get_by_label("Yes").check()  # quick
    page.get_by_role("button", name=re.compile("^Start job")).click()
    page.wait_for_url(re.compile(r"/jobs/[0-9a-f-]{36}$"))

    # Once the first cells are kept it is cancelled; what it kept stays.
    expect(page.get_by_role("heading", name="Kept so far")).to_be_visible(timeout=LONG)
    page.get_by_role("button", name="Cancel job").click()
    expect(page.get_by_text("This job was cancelled")).to_be_visible(timeout=LONG)
    kept = page.get_by_text(re.compile(r"^\d+ of 24 cells$"))
    expect(kept).to_be_visible()
    before = int(re.findall(r"\d+", kept.inner_text())[0])
    assert 0 < before < 24

    page.get_by_role("button", name="Resume").click()
    page.wait_for_url(re.compile(r"/jobs/[0-9a-f-]{36}$"))
    done(page)
    expect(page.locator("#log-text")).to_contain_text(f"{before} of 24 cells were measured before")
    expect(page.get_by_text("16 of 24")).to_be_visible()  # PyTorch takes neither

    page.get_by_role("link", name=re.compile("^Matrix")).click()
    expect(page.get_by_role("heading", name="Which engine")).to_be_visible()
    rows = page.locator("#matrix tbody tr")
    expect(rows).to_have_count(2)
    first = page.url
    page.get_by_role("button", name="ONNX Runtime, C API").click()
    rising = numbers(page, 2)
    assert rising == sorted(rising)
    assert len(rising) == 2
    page.get_by_role("button", name="ONNX Runtime, C API").click()
    assert numbers(page, 2) == rising[::-1]
    expect(page.locator('#matrix th[aria-sort="descending"]')).to_have_count(1)

    page.locator("select[name=batch]").select_option("32")
    page.locator("select[name=show]").select_option("Peak memory")
    page.locator("select[name=against]").select_option("ONNX Runtime, Python")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page).to_have_url(re.compile("batch=32.*show=memory.*against=onnxruntime_python"))
    expect(page.locator("#matrix td.ref").first).to_contain_text("MB")
    expect(page.locator("main svg").first).to_be_visible()

    # Another run of the same, held against the first.
    page.get_by_role("link", name="Job", exact=True).click()
    page.get_by_role("link", name="Change and run").click()
    page.get_by_label(re.compile("^Batches")).fill("1, 32")
    page.get_by_role("button", name=re.compile("^Start job")).click()
    page.wait_for_url(re.compile(r"/jobs/[0-9a-f-]{36}$"))
    done(page)
    page.get_by_role("link", name=re.compile("^Matrix")).click()
    page.locator("select[name=since]").select_option(first.rsplit("/", 1)[1])
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_role("heading", name=re.compile("^Changed since"))).to_be_visible()
    expect(page.locator("#changes tbody tr")).to_have_count(8)
