"""A training set in a real browser: files chosen, a filter counted while it is typed, shards and code that trains on them."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.live.portal import Portal

pytestmark = [pytest.mark.e2e, pytest.mark.live]

LONG = 90_000  # milliseconds that a job may take on a busy machine
ROWS = 4000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    import uproot

    folder = tmp_path_factory.mktemp("events")
    found = []
    for number, name in enumerate(("background", "signal")):
        rng = np.random.default_rng(number)
        with uproot.recreate(folder / f"{name}.root") as root:
            root.mktree("Events", {"pt": "float32", "eta": "float32", "mass": "float32"}).extend(
                {
                    "pt": rng.exponential(30, ROWS).astype(np.float32),
                    "eta": rng.standard_normal(ROWS).astype(np.float32),
                    "mass": rng.normal(80 + 20 * number, 10, ROWS).astype(np.float32),
                }
            )
        found.append(folder / f"{name}.root")
    return found


def test_a_training_set_from_two_files(portal: Portal, page: Page, files: list[Path], tmp_path: Path) -> None:
    page.goto(f"http://127.0.0.1:{portal.port}/jobs/new/training-set")
    expect(page.get_by_role("heading", name="Training set from ROOT files")).to_be_visible()
    page.get_by_label("Upload files for Files").set_input_files(files[1])
    expect(page.locator("#f-files option:checked")).to_have_count(1, timeout=LONG)
    page.get_by_label("Upload files for Background files").set_input_files(files[0])
    expect(page.locator("#f-background option:checked")).to_have_count(1, timeout=LONG)

    preview = page.locator("#preview")
    page.get_by_label(re.compile("^Filter")).fill("pt > 20 &&")
    expect(preview).to_contain_text("^", timeout=LONG)
    page.get_by_label(re.compile("^Filter")).fill("pt > 20 && abs(eta) < 1")
    expect(preview).to_contain_text("Rows kept", timeout=LONG)
    expect(preview).to_contain_text("of 8\u2009000")
    expect(preview.locator("svg")).to_be_visible()

    page.get_by_label(re.compile("^Rows of a file")).fill("1000")
    page.get_by_role("button", name=re.compile("^Start job")).click()
    page.wait_for_url(re.compile(r"/jobs/[0-9a-f-]{36}"))
    expect(page.get_by_text(re.compile("Done in"))).to_be_visible(timeout=LONG)
    expect(page.get_by_role("heading", name="mass", exact=True)).to_be_visible()
    expect(page.get_by_role("heading", name="Correlation")).to_be_visible()

    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("zip|Download all", re.IGNORECASE)).first.click()
    with zipfile.ZipFile(download.value.path()) as archive:
        archive.extractall(tmp_path)
    done = subprocess.run([sys.executable, tmp_path / "train_torch.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "epoch 1" in done.stdout


def test_a_file_is_profiled(portal: Portal, page: Page, files: list[Path]) -> None:
    page.goto(f"http://127.0.0.1:{portal.port}/jobs/new/profile-file")
    page.get_by_label("Upload a file for File").set_input_files(files[0])
    expect(page.locator("#f-file option:checked")).to_contain_text("background.root", timeout=LONG)
    page.get_by_role("button", name=re.compile("^Start job")).click()
    expect(page.get_by_text(re.compile("Done in"))).to_be_visible(timeout=LONG)
    expect(page.get_by_text("Read at")).to_be_visible()
