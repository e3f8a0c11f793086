"""A whole running portal with a small corpus, and a real Chromium that has come in by the first-visit link."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.live.portal import Portal

CORPUS = {
    "histograms.md": """# Filling histograms

A one-dimensional histogram is a `TH1D`. Call `TH1D::Fill` once for each value to fill the histogram,
with a weight as second argument where events have weights.

```cpp
TH1D h("h", "Mass;m [GeV];Events", 100, 0, 200);
h.Fill(91.2);
h.Draw();
```
""",
    "trees.md": """# Reading trees

`RDataFrame` reads a `TTree` column by column. Give the name of the tree and of the file, define
columns with `Define`, keep rows with `Filter`, and book a histogram with `Histo1D`. Nothing is read before a result is asked for.
""",
    "fits.md": """# Fitting

Fit a histogram with `TH1::Fit`, which takes the name of a function such as `gaus` or a `TF1` of
your own, and returns a `TFitResultPtr` where option `S` is given.
""",
}


@pytest.fixture(scope="session")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal that has indexed three pages about ROOT and runs without a language model."""
    from assistant.corpus.config import add_source
    from assistant.index import BuildOptions, build

    folder = tmp_path_factory.mktemp("e2e")
    pages = folder / "pages"
    pages.mkdir()
    for name, text in CORPUS.items():
        (pages / name).write_text(text)
    index = folder / "var" / "index"
    index.mkdir(parents=True)
    entry = add_source(index, "folder", str(pages), name="pages")
    build(BuildOptions(index_dir=index, sources=(entry,), dense=False))
    running = Portal(folder)
    try:
        yield running.start()
    finally:
        running.close()


# By module, because Playwright holds an event loop while it lives, and tests elsewhere need their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is not installed; .ci/run installs it")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def signed_in(portal: Portal, browser: Browser) -> Iterator[BrowserContext]:
    """A browser whose person came in by the link that the portal printed, or by a new one where that is used up."""
    link = next(line.split()[-1] for line in portal.lines if "/welcome/" in line)
    context = browser.new_context(accept_downloads=True, permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(link)
    if page.get_by_text("This link does not work any more").count():
        command = [Path(sys.executable).parent / "ml4ep", "sign-in-link"]
        answer = subprocess.run(command, env=portal.environment, capture_output=True, text=True, check=True)
        page.goto(next(word for word in answer.stdout.split() if "/welcome/" in word))
    page.wait_for_selector("text=Ask about ROOT")
    page.close()
    yield context
    context.close()


@pytest.fixture
def page(signed_in: BrowserContext) -> Iterator[Page]:
    """A fresh tab; what its console reports as an error fails the test, an answer 4xx to bad input apart."""
    tab = signed_in.new_page()
    complaints: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type == "error" and "responded with a status of 4" not in message.text:
            complaints.append(message.text)

    tab.on("console", listen)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    yield tab
    tab.close()
    assert complaints == []


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small XGBoost model as JSON."""
    import xgboost

    path = tmp_path_factory.mktemp("model") / "higgs.json"
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(400, 4)).astype(np.float32)
    target = (rows[:, 0] > rows[:, 1]).astype(np.int32)
    xgboost.train({"objective": "binary:logistic", "max_depth": 3}, xgboost.DMatrix(rows, target), 5).save_model(path)
    return path


@pytest.fixture(scope="session")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An XGBoost model of 20 trees with named features and missing values, as UBJSON."""
    import xgboost

    path = tmp_path_factory.mktemp("forest") / "signal.ubj"
    rng = np.random.default_rng(6)
    rows = rng.normal(size=(2000, 6)).astype(np.float32)
    target = (rows[:, 0] * rows[:, 1] + rows[:, 2] > 0.2).astype(np.int32)
    rows[rng.random(rows.shape) < 0.05] = np.nan
    data = xgboost.DMatrix(rows, target, feature_names=["lepton_pt", "lepton_eta", "met", "jet1_pt", "jet1_btag", "m_bb"])
    xgboost.train({"objective": "binary:logistic", "max_depth": 4, "nthread": 1}, data, 20).save_model(path)
    return path


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dense layers as an ONNX file, any number of rows."""
    from tests.mlcore.networks.models import mlp

    path = tmp_path_factory.mktemp("network") / "tagger.onnx"
    path.write_bytes(mlp().SerializeToString())
    return path
