"""The first ten minutes of a new user, in a real browser against a real portal: ask, upload, convert, download, look around."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.live.portal import Portal

pytestmark = [pytest.mark.e2e, pytest.mark.live]

LONG = 60_000  # milliseconds that a job may take on a busy machine


def address(portal: Portal, path: str = "/") -> str:
    return f"http://127.0.0.1:{portal.port}{path}"


def ask(page: Page, portal: Portal, question: str) -> None:
    page.goto(address(portal))
    page.get_by_role("textbox").first.fill(question)
    page.get_by_role("button", name=re.compile("^Ask")).click()
    page.wait_for_url(re.compile(r"/ask/[0-9a-f-]{36}"))


def test_the_link_works_once(portal: Portal, signed_in: BrowserContext, page: Page) -> None:
    link = next(line.split()[-1] for line in portal.lines if "/welcome/" in line)
    stranger = signed_in.browser
    assert stranger is not None
    other = stranger.new_context()
    tab = other.new_page()
    tab.goto(link)
    expect(tab.get_by_role("heading", name="This link does not work any more")).to_be_visible()
    tab.goto(address(portal, "/jobs/"))
    expect(tab).to_have_url(re.compile("/accounts/login"))
    other.close()


def test_a_question_is_answered_with_citations_that_open(portal: Portal, page: Page) -> None:
    ask(page, portal, "How do I fill a TH1D histogram?")
    expect(page.locator("article.turn[aria-busy]")).to_have_count(0, timeout=LONG)
    prose = page.locator("article.turn .prose")
    expect(prose).to_contain_text("Fill")
    citation = prose.locator("a.cite").first
    expect(citation).to_be_visible()
    target = citation.get_attribute("href")
    assert target is not None
    passage = page.locator(f"details[id='{target.lstrip('#')}']")
    expect(passage).to_have_count(1)
    citation.click()
    expect(passage).to_have_attribute("open", "")
    expect(passage).to_contain_text("TH1D")

    passage.get_by_role("link").first.click()
    expect(page.get_by_role("main")).to_contain_text("Call TH1D::Fill once for each value")


def test_every_citation_names_a_passage_and_the_answer_survives_a_reload(portal: Portal, page: Page) -> None:
    ask(page, portal, "How does RDataFrame read a TTree with Filter and Define?")
    expect(page.locator("article.turn[aria-busy]")).to_have_count(0, timeout=LONG)
    before = page.locator("article.turn .prose").inner_text()
    targets = page.locator("a.cite").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert targets
    for target in targets:
        assert page.locator(f"[id='{target.lstrip('#')}']").count() == 1
    page.reload()
    assert page.locator("article.turn .prose").inner_text() == before


def test_what_the_documentation_does_not_know_is_not_answered(portal: Portal, page: Page) -> None:
    ask(page, portal, "Zwiebelkuchen quiche onion recipe oven temperature")
    expect(page.locator("article.turn[aria-busy]")).to_have_count(0, timeout=LONG)
    expect(page.locator("article.turn a.cite")).to_have_count(0)
    expect(page.get_by_text("No answer")).to_be_visible()


def test_feedback_is_kept(portal: Portal, page: Page) -> None:
    ask(page, portal, "How do I fit a histogram with gaus?")
    expect(page.locator("article.turn[aria-busy]")).to_have_count(0, timeout=LONG)
    page.get_by_role("button", name="Useful", exact=True).click()
    expect(page.get_by_role("button", name="Useful", exact=True)).to_have_attribute("aria-pressed", "true")
    page.reload()
    expect(page.get_by_role("button", name="Useful", exact=True)).to_have_attribute("aria-pressed", "true")


def test_a_forest_is_uploaded_converted_downloaded_and_passes_its_self_test(
    portal: Portal, page: Page, model: Path, tmp_path: Path
) -> None:
    page.goto(address(portal, "/library/"))
    page.locator("input[type=file]").set_input_files(model)
    page.wait_for_url(re.compile(r"/library/[0-9a-f-]{36}"), timeout=LONG)
    expect(page.get_by_role("heading", name="higgs.json")).to_be_visible()
    expect(page.locator("#inspection")).to_contain_text("5", timeout=LONG)

    page.get_by_role("link", name=re.compile("Forest to C")).click()
    expect(page.locator("select[name=model] option:checked")).to_contain_text("higgs.json")
    page.locator("input[name=name]").fill("higgs")
    page.locator("input[name=rows]").fill("1000")
    page.get_by_role("button", name=re.compile("^Start job")).click()
    page.wait_for_url(re.compile(r"/jobs/[0-9a-f-]{36}"))
    expect(page.get_by_text("The C++ agrees with")).to_be_visible(timeout=2 * LONG)
    expect(page.get_by_text("Identical margins")).to_be_visible()

    with page.expect_download() as waiting:
        page.locator("table a[aria-label='Download higgs.zip'], tr:has-text('higgs.zip') a").last.click()
    waiting.value.save_as(tmp_path / "higgs.zip")
    with zipfile.ZipFile(tmp_path / "higgs.zip") as archive:
        archive.extractall(tmp_path)
    folder = tmp_path / "higgs"
    subprocess.run(["g++", "-std=c++17", "selftest.cpp", "-o", "selftest"], cwd=folder, check=True)
    assert subprocess.run(["./selftest"], cwd=folder, check=False).returncode == 0

    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download all").click()
    waiting.value.save_as(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert {"higgs.hpp", "higgs.zip"} <= {Path(name).name for name in archive.namelist()}


def fits_and_has_contrast(page: Page) -> None:
    """The page as it is: text and plots against what is behind them in both looks, no wider than a phone."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert page.evaluate(CONTRAST) == []
        assert page.evaluate(PLOT_CONTRAST) == []
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1280, "height": 800})


def test_a_network_is_uploaded_checked_converted_and_passes_its_self_test(
    portal: Portal, page: Page, network: Path, tmp_path: Path
) -> None:
    page.goto(address(portal, "/library/"))
    page.locator("input[type=file]").set_input_files(network)
    page.wait_for_url(re.compile(r"/library/[0-9a-f-]{36}"), timeout=LONG)
    expect(page.locator("#inspection svg[role=img]")).to_be_visible(timeout=LONG)
    uploaded = page.url
    fits_and_has_contrast(page)

    page.get_by_role("link", name=re.compile("Check a network")).click()
    expect(page.locator("select[name=model] option:checked")).to_contain_text("tagger.onnx")
    page.get_by_role("button", name=re.compile("^Start job")).click()
    page.wait_for_url(re.compile(r"/jobs/[0-9a-f-]{36}"))
    expect(page.get_by_text("This network can be compiled.")).to_be_visible(timeout=LONG)
    for picture in ("Graph of test after all passes", "Memory"):
        expect(page.locator(f"figure.plot svg[role=img][aria-label^='{picture}']")).to_be_visible()
    fits_and_has_contrast(page)

    page.goto(uploaded)
    page.get_by_role("link", name=re.compile("Network to C")).click()
    expect(page.locator("select[name=model] option:checked")).to_contain_text("tagger.onnx")
    page.locator("input[name=name]").fill("tagger")
    page.locator("textarea[name=shapes]").fill("x: events, 8")
    page.get_by_role("button", name=re.compile("^Start job")).click()
    page.wait_for_url(re.compile(r"/jobs/[0-9a-f-]{36}"))
    expect(page.get_by_text("The C++ agrees with onnxruntime")).to_be_visible(timeout=2 * LONG)
    for picture in ("Memory", "Time by operator"):
        expect(page.locator(f"figure.plot svg[role=img][aria-label^='{picture}']")).to_be_visible()
    fits_and_has_contrast(page)

    with page.expect_download() as waiting:
        page.locator("tr:has-text('tagger.zip') a").last.click()
    waiting.value.save_as(tmp_path / "tagger.zip")
    with zipfile.ZipFile(tmp_path / "tagger.zip") as archive:
        archive.extractall(tmp_path)
    folder = tmp_path / "tagger"
    assert "events" in (folder / "tagger.hpp").read_text()
    subprocess.run(["g++", "-std=c++17", "selftest.cpp", "-o", "selftest"], cwd=folder, check=True)
    assert subprocess.run(["./selftest"], cwd=folder, check=False).returncode == 0


def upload_and_open(page: Page, portal: Portal, model: Path) -> str:
    """Upload a model and wait for its page; returns the page's address."""
    page.goto(address(portal, "/library/"))
    page.locator("input[type=file]").set_input_files(model)
    page.wait_for_url(re.compile(r"/library/[0-9a-f-]{36}"), timeout=LONG)
    expect(page.locator("#tree svg[role=img]")).to_be_visible(timeout=LONG)
    return page.url


def test_a_models_page_shows_plots_and_one_tree_after_the_other(portal: Portal, page: Page, forest: Path) -> None:
    upload_and_open(page, portal, forest)
    for heading in ("Importance of the features", "Leaves by depth", "Values of the leaves", "Which engine runs here, and why"):
        expect(page.get_by_role("heading", name=heading)).to_be_visible()
    expect(page.locator("#h-tree")).to_have_text("Tree 0 of 20")
    page.locator("#tree-next").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#h-tree")).to_have_text("Tree 1 of 20")
    expect(page.locator("#tree-next")).to_be_focused()
    page.locator("#tree-number").fill("18")  # one that the inspection did not draw
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#h-tree")).to_have_text("Tree 18 of 20")
    expect(page.locator("#tree svg[aria-label^='Tree 18:']")).to_be_visible(timeout=LONG)
    page.get_by_role("link", name="Previous").click()
    expect(page.locator("#tree svg[aria-label^='Tree 17:']")).to_be_visible(timeout=LONG)


def test_a_forest_is_benchmarked_from_its_page(portal: Portal, page: Page, forest: Path) -> None:
    upload_and_open(page, portal, forest)
    page.get_by_role("link", name=re.compile("Benchmark a forest")).click()
    expect(page.locator("select[name=model] option:checked")).to_contain_text("signal.ubj")
    page.locator("input[name=batches]").fill("1, 256")
    page.locator("input[name=seconds]").fill("2")
    page.get_by_role("button", name=re.compile("^Start job")).click()
    page.wait_for_url(re.compile(r"/jobs/[0-9a-f-]{36}"))
    chart = page.locator("figure.plot svg[aria-label^='Time of a prediction relative to XGBoost']")
    expect(chart).to_be_visible(timeout=2 * LONG)
    expect(chart).to_contain_text("Single rows")
    expect(chart).to_contain_text("ML4EP")
    expect(page.get_by_role("heading", name="Not measured")).to_be_visible()
    expect(page.get_by_text("All answers agree.")).to_be_visible()
    fits_and_has_contrast(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_models_page_has_contrast_and_fits_a_phone(portal: Portal, page: Page, forest: Path, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    upload_and_open(page, portal, forest)
    assert page.evaluate(CONTRAST) == []
    assert page.evaluate(PLOT_CONTRAST) == []
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_chat_request_offers_the_form_and_submitting_needs_a_click(portal: Portal, page: Page, model: Path) -> None:
    page.goto(address(portal, "/library/"))
    page.locator("input[type=file]").set_input_files(model)
    page.wait_for_url(re.compile(r"/library/[0-9a-f-]{36}"), timeout=LONG)
    page.goto(address(portal, "/jobs/?mine=1"))
    jobs_before = page.locator("table tbody tr").count()

    ask(page, portal, "Turn my xgboost model higgs.json into C++")
    offer = page.get_by_role("region", name="Job offered")
    expect(offer).to_contain_text("higgs.json")
    page.goto(address(portal, "/jobs/?mine=1"))
    assert page.locator("table tbody tr").count() == jobs_before
    page.go_back()
    page.get_by_role("region", name="Job offered").get_by_role("link", name=re.compile("filled-in form")).click()
    expect(page.locator("select[name=model] option:checked")).to_contain_text("higgs.json")


def test_a_job_can_be_cancelled_from_its_page(portal: Portal, page: Page) -> None:
    page.goto(address(portal, "/jobs/new/worker-check"))
    page.locator("input[name=seconds]").fill("120")
    page.get_by_role("button", name=re.compile("^Start job")).click()
    expect(page.get_by_text("Counting").first).to_be_visible(timeout=LONG)
    page.get_by_role("button", name=re.compile("^Cancel")).click()
    expect(page.get_by_text("Cancelled").first).to_be_visible(timeout=LONG)


def test_a_refused_form_keeps_what_was_typed(portal: Portal, page: Page) -> None:
    page.goto(address(portal, "/jobs/new/forest-to-cpp"))
    page.locator("input[name=name]").fill("not a name")
    page.get_by_role("button", name=re.compile("^Start job")).click()
    expect(page.get_by_role("alert").first).to_be_visible()
    assert page.locator("input[name=name]").input_value() == "not a name"


def test_a_pickle_is_refused_on_the_page(portal: Portal, page: Page, tmp_path: Path) -> None:
    import pickle

    (tmp_path / "model.pkl").write_bytes(pickle.dumps({"weights": [1, 2, 3]}))
    page.goto(address(portal, "/library/"))
    page.locator("input[type=file]").set_input_files(tmp_path / "model.pkl")
    expect(page.locator(".files")).to_contain_text("pickle", ignore_case=True, timeout=LONG)


PLACES = [
    "/",
    "/ask/",
    "/jobs/",
    "/jobs/new",
    "/jobs/new/forest-to-cpp",
    "/jobs/new/forest-benchmark",
    "/jobs/new/network-check",
    "/jobs/new/network-to-cpp",
    "/jobs/new/shower-train",
    "/library/",
    "/showers/",
    "/status",
    "/account/",
    "/api/v1/",
]


@pytest.mark.parametrize("path", PLACES)
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390)])
def test_pages_fit_their_window_in_both_themes(
    portal: Portal, signed_in: BrowserContext, page: Page, path: str, scheme: str, width: int
) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 800})
    response = page.goto(address(portal, path))
    assert response is not None
    assert response.status == 200
    assert response.headers["content-security-policy"].startswith("default-src 'none'")
    expect(page.get_by_role("main")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.title().endswith("ML4EP Portal")


CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = rgb(getComputedStyle(e).backgroundColor);
      if (colour[3] > 250) return colour;
    }
    return [255, 255, 255, 255];
  };
  const poor = [];
  for (const element of document.querySelectorAll("main *, header *, footer *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    const box = element.getBoundingClientRect();
    if (!own || !box.width || !box.height || element.closest("[disabled], svg, .sr, .skip, option")) continue;
    const a = light(rgb(getComputedStyle(element).color)), b = light(behind(element));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const text = element.textContent.trim().slice(0, 40);
    if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${element.tagName}.${element.className}: ${text}`);
  }
  return poor;
}"""


# Text in plots stands on the page; marks and bars need 3:1 against it.
PLOT_CONTRAST = (
    CONTRAST.replace('document.querySelectorAll("main *, header *, footer *")', 'document.querySelectorAll("main svg text")')
    .replace(", svg, .sr", ", .sr")
    .replace("getComputedStyle(element).color", "getComputedStyle(element).fill")
)


@pytest.mark.parametrize("path", PLACES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_of_wcag_aa(portal: Portal, page: Page, path: str, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(address(portal, path))
    assert page.evaluate(CONTRAST) == []


def test_the_same_through_rest(portal: Portal, model: Path, tmp_path: Path) -> None:
    token = subprocess.run(
        [Path(sys.executable).parent / "ml4ep", "token", "create", "--user", "admin"],
        env=portal.environment, capture_output=True, text=True, check=True,
    ).stdout.split()[-1]  # fmt: skip
    bearer = f"Authorization: Bearer {token}"

    def curl(*arguments: str) -> bytes:
        return subprocess.run(
            ["curl", "-sS", "--fail-with-body", "-H", bearer, *arguments], capture_output=True, check=True
        ).stdout

    file = json.loads(curl("-T", str(model), address(portal, "/api/v1/files?name=higgs.json")))
    body = json.dumps({"type": "forest-to-cpp", "params": {"model": file["id"], "rows": 1000}})
    job = json.loads(curl("-H", "Content-Type: application/json", "-d", body, address(portal, "/api/v1/jobs")))
    for _ in range(240):
        job = json.loads(curl(address(portal, f"/api/v1/jobs/{job['id']}")))
        if job["state"] not in ("PENDING", "RUNNING"):
            break
        subprocess.run(["sleep", "0.5"], check=True)
    assert job["state"] == "SUCCEEDED", job
    (tmp_path / "all.zip").write_bytes(curl(address(portal, f"/api/v1/jobs/{job['id']}/zip")))
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert "forest.hpp" in {Path(name).name for name in archive.namelist()}

    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(address(portal, "/api/v1/jobs"))  # noqa: S310  (our own address)
    assert refused.value.code == 401
    refused.value.close()
