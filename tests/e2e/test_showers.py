"""Showers in a real browser: simulated, a model trained, sampled, evaluated and looked at; a training cancelled and resumed."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.live.portal import Portal

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.live,
    pytest.mark.skipif(importlib.util.find_spec("geant4_pybind") is None, reason="Geant4 comes for Linux on x86-64 alone"),
]

LONG = 240_000  # milliseconds that a job may take on a busy machine
SMALL = """
name: small
layers:
  - repeat: 6
    slabs:
      - {material: W, thickness: 20.0}
      - {material: Si, thickness: 5.0, sensitive: true}
voxels: {layers: 6, layer_depth: 25.0, angles: 8, rings: 4, ring_width: 10.0}
calibration: 20
"""


def fill(page: Page, label: str, value: object) -> None:
    page.get_by_label(re.compile(f"^{label}")).first.fill(str(value))


def start(page: Page) -> str:
    """Send the form; the address of the job."""
    page.get_by_role("button", name=re.compile("^Start job")).click()
    page.wait_for_url(re.compile(r"/jobs/[0-9a-f-]{36}$"))
    return page.url


def done(page: Page) -> None:
    expect(page.get_by_text(re.compile(r"^(Done in|Failed)"))).to_be_visible(timeout=LONG)
    expect(page.get_by_text(re.compile("^Done in"))).to_be_visible()


def use(page: Page, name: str, title: str, role: str) -> None:
    """Open the form of a job with a file that this one made."""
    page.get_by_role("link", name=f"Use {name} in a job").click()
    page.get_by_role("button", name=f"{title}, as {role}", exact=True).click()
    page.wait_for_url(re.compile("/jobs/new/"))


def drawn(view: Locator) -> int:
    """How many voxels a view shows."""
    return int(view.get_attribute("data-drawn") or 0)


def looked_at(page: Page, samples: int) -> None:
    """Turn, slice and cut the showers that a job shows."""
    canvases = page.locator("[data-showers] canvas")
    expect(canvases).to_have_count(samples)
    first = canvases.first
    expect(first).to_have_attribute("data-drawn", re.compile("[1-9]"))
    expect(first).to_have_attribute("aria-label", re.compile("voxels drawn"))
    whole, view = drawn(first), first.get_attribute("data-view")
    # Something other than the empty background is painted.
    painted = "canvas => new Set(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data).size"
    assert first.evaluate(painted) > 8
    first.scroll_into_view_if_needed()
    box = first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 80, box["y"] + 80)
    page.mouse.down()
    page.mouse.move(box["x"] + 180, box["y"] + 120, steps=4)
    page.mouse.up()
    expect(first).not_to_have_attribute("data-view", view or "")
    turned = first.get_attribute("data-view") or ""
    expect(canvases.last).to_have_attribute("data-view", turned)  # they turn together
    first.focus()
    page.keyboard.press("ArrowLeft")
    expect(first).not_to_have_attribute("data-view", turned)
    page.get_by_label("First layer").fill("1")
    expect(first).not_to_have_attribute("data-drawn", str(whole))
    assert 0 < drawn(first) < whole
    page.get_by_label("First layer").fill("0")
    expect(first).to_have_attribute("data-drawn", str(whole))
    page.get_by_label("Cut open").check()
    expect(first).not_to_have_attribute("data-drawn", str(whole))
    page.get_by_label("Cut open").uncheck()
    page.get_by_label("Least energy of a voxel").fill("60")
    expect(first).not_to_have_attribute("data-drawn", str(whole))
    page.get_by_role("button", name="Reset view").click()
    expect(first).to_have_attribute("data-view", view or "")
    page.get_by_label("Shower", exact=True).select_option("0")


def simulated(page: Page, portal: Portal, geometry: Path, count: int) -> None:
    page.goto(f"http://127.0.0.1:{portal.port}/showers/")
    page.get_by_role("link", name=re.compile("^Simulate showers")).last.click()
    expect(page.get_by_role("heading", name="Simulate showers")).to_be_visible()
    page.get_by_label("Upload a file for Geometry file").set_input_files(geometry)
    expect(page.locator("#f-geometry option:checked")).to_contain_text("small.yaml", timeout=LONG)
    fill(page, "Showers", count)
    fill(page, "Lowest energy", 1)
    fill(page, "Highest energy", 4)
    start(page)
    done(page)


def a_whole_study(page: Page, portal: Portal, folder: Path, count: int) -> None:
    geometry = folder / "small.yaml"
    geometry.write_text(SMALL)
    simulated(page, portal, geometry, count)
    expect(page.get_by_text("Geant4 ran without its data sets.")).to_be_visible()
    looked_at(page, 1)

    use(page, "showers.h5", "Train a shower model", "Showers")
    expect(page.locator("#f-files option:checked")).to_contain_text("showers.h5")
    trained = start(page)
    done(page)
    expect(page.get_by_role("heading", name="Model beside simulation")).to_be_visible()
    looked_at(page, 2)

    use(page, "parametrised.npz", "Sample showers", "Model")
    fill(page, "Showers", 60)
    fill(page, "Lowest energy", 1.5)
    fill(page, "Highest energy", 3)
    start(page)
    done(page)
    looked_at(page, 1)

    page.goto(trained)
    use(page, "test.h5", "Evaluate a shower model", "Simulation")
    page.locator("#f-model").select_option(label="parametrised.npz, Model of showers")
    page.locator("#f-classifiers").select_option("quick")
    evaluated = start(page)
    done(page)
    looked_at(page, 2)
    for heading in ("Along the axis", "Across the axis", "Energies of voxels", "Figures of merit"):
        expect(page.get_by_role("heading", name=heading, exact=True)).to_be_visible()
    for name in ("report.pdf", "report.json"):
        with page.expect_download() as download:
            page.get_by_role("link", name=f"Download {name}").click()
        assert Path(download.value.path()).stat().st_size > 1000

    page.goto(f"http://127.0.0.1:{portal.port}/showers/")
    board = page.get_by_role("table").first
    expect(board).to_contain_text("parametrised, parametrised.npz")
    expect(page.get_by_role("img", name=re.compile("against the time for a shower")).first).to_be_visible()
    board.get_by_role("link").first.click()
    expect(page).to_have_url(evaluated)


def test_showers_from_the_simulation_to_the_leaderboard(portal: Portal, page: Page, tmp_path: Path) -> None:
    a_whole_study(page, portal, tmp_path, 120)


@pytest.mark.slow
def test_five_hundred_showers_from_the_simulation_to_the_leaderboard(portal: Portal, page: Page, tmp_path: Path) -> None:
    a_whole_study(page, portal, tmp_path, 500)


def test_a_training_is_cancelled_and_resumed(portal: Portal, page: Page, tmp_path: Path) -> None:
    from tests.portal.jobs.types.test_showers import showers

    file = showers(tmp_path / "showers.h5", count=200)
    page.goto(f"http://127.0.0.1:{portal.port}/jobs/new/shower-train")
    page.get_by_label("Upload files for Showers").set_input_files(file)
    expect(page.locator("#f-files option:checked")).to_have_count(1, timeout=LONG)
    page.locator("#f-model").select_option("vae")
    page.locator("#f-size").select_option("small")
    fill(page, "Steps", 3000)
    fill(page, "Batch", 2)
    first = start(page)
    # The curves grow while it runs, and something is kept.
    expect(page.get_by_role("img", name="Loss over the steps of the training", exact=True)).to_be_visible(timeout=LONG)
    expect(page.get_by_role("heading", name="Kept so far")).to_be_visible(timeout=LONG)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download curves.csv").click()
    assert Path(download.value.path()).read_text().startswith("step,loss")
    page.get_by_role("button", name="Cancel job").click()
    expect(page.get_by_text(re.compile("^Cancelled after"))).to_be_visible(timeout=LONG)
    expect(page.get_by_text("“Resume” goes on from there.")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    page.wait_for_url(lambda url: url != first)
    expect(page.locator("#log-text")).to_contain_text("Going on with the training that was kept.", timeout=LONG)
    expect(page.locator("#log-text")).to_contain_text(re.compile(r"step \d+: loss"), timeout=LONG)
    log = page.locator("#log-text").inner_text()
    begun = re.search(r"step (\d+): loss", log)
    assert begun is not None
    assert int(begun[1]) > 150, "it goes on behind the checkpoint"
    page.get_by_role("button", name="Cancel job").click()
    expect(page.get_by_text(re.compile("^Cancelled after"))).to_be_visible(timeout=LONG)


def test_a_file_of_no_showers_is_told(portal: Portal, page: Page, tmp_path: Path) -> None:
    import h5py
    import numpy as np

    path = tmp_path / "broken.h5"
    with h5py.File(path, "w") as file:
        file["incident_energies"] = np.ones((3, 1))
        file["showers"] = -np.ones((3, 6480), np.float32)
    page.goto(f"http://127.0.0.1:{portal.port}/jobs/new/shower-inspect")
    page.get_by_label("Upload files for Files").set_input_files(path)
    expect(page.locator("#f-files option:checked")).to_have_count(1, timeout=LONG)
    page.locator("#f-calorimeter").select_option("dataset2")
    start(page)
    expect(page.get_by_role("alert")).to_contain_text("showers hold negative energies, first in shower 0", timeout=LONG)
    expect(page.get_by_role("alert")).to_contain_text("Energies are deposits in MeV, 0 or more.")
