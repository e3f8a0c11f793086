"""A reviewer's round trip in Chromium: a topic of a forum on this machine, its draft, an edit, the post; and a share link."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.assistant.discourse_server import BOT, KEY, FakeDiscourse, serving
from tests.e2e.conftest import CORPUS
from tests.live.portal import Portal, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.live]

LONG = 60_000  # milliseconds


@pytest.fixture(scope="module")
def discourse() -> Iterator[FakeDiscourse]:
    with serving() as made:
        yield made


@pytest.fixture(scope="module")
def reviewing(discourse: FakeDiscourse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal whose bot reads that forum."""
    from assistant.corpus.config import add_source
    from assistant.index import BuildOptions, build

    folder = tmp_path_factory.mktemp("reviewer")
    pages = folder / "pages"
    pages.mkdir()
    for name, text in CORPUS.items():
        (pages / name).write_text(text)
    index = folder / "var" / "index"
    index.mkdir(parents=True)
    entry = add_source(index, "folder", str(pages), name="pages")
    build(BuildOptions(index_dir=index, sources=(entry,), dense=False))
    running = Portal(folder, ML4EP_FORUM_URL=discourse.url, ML4EP_FORUM_USER=BOT, ML4EP_FORUM_KEY=KEY)
    try:
        yield running.start()
    finally:
        running.close()


@pytest.fixture
def context(reviewing: Portal, browser: Browser) -> Iterator[BrowserContext]:
    command = [Path(sys.executable).parent / "ml4ep", "sign-in-link"]
    answer = subprocess.run(command, env=reviewing.environment, capture_output=True, text=True, check=True)
    made = browser.new_context()
    made.new_page().goto(next(word for word in answer.stdout.split() if "/welcome/" in word))
    yield made
    made.close()


def address(portal: Portal, path: str) -> str:
    return f"http://127.0.0.1:{portal.port}{path}"


def switch_on(page: Page, portal: Portal) -> None:
    """The administrator's part: which category the bot reads, and that it may."""
    page.goto(address(portal, "/forum/"))  # makes the row of rules, where the bot has not yet
    page.get_by_role("link", name="Its rules").click()
    page.get_by_role("link", name="Rules of the forum bot").last.click()
    page.locator("#id_categories").fill("[1]")
    page.locator("#id_wait_minutes").fill("0")
    page.locator("#id_enabled").check()
    page.locator("input[name=_save]").click()
    expect(page.locator(".messagelist .success")).to_be_visible()


def test_a_draft_is_reviewed_edited_and_posted(reviewing: Portal, context: BrowserContext, discourse: FakeDiscourse) -> None:
    page = context.pages[0]
    first = discourse.add_topic("How do I fill a histogram?", "I want to fill a TH1D with weights. <script>x</script> @everyone")
    second = discourse.add_topic("How do I fit a histogram?", "With gaus, please: TH1::Fit and a TFitResultPtr.")
    switch_on(page, reviewing)
    page.goto(address(reviewing, "/forum/"))
    for title in ("How do I fill a histogram?", "How do I fit a histogram?"):

        def listed(wanted: str = title) -> bool:
            page.reload()
            return bool(page.get_by_role("link", name=wanted).count())

        wait_for(listed, f"no draft for {title}", pause=1.0)
    page.get_by_role("link", name="How do I fill a histogram?").click()
    expect(page.locator(".review .prose.document")).to_contain_text("<script>x</script>")
    assert discourse.by_bot(first) == []

    page.keyboard.press("e")
    expect(page.locator("#text")).to_be_focused()
    page.locator("#text").fill("Call `TH1D::Fill(x, w)` [1], as @everyone knows.")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("#preview")).to_contain_text("TH1D::Fill(x, w)")
    page.get_by_role("button", name=re.compile("^Approve and post")).click()
    expect(page.get_by_text("Approved. It is posted within a minute.")).to_be_visible()
    posts = wait_for(lambda: discourse.by_bot(first), "nothing was posted")
    assert "TH1D::Fill(x, w)" in posts[0]["raw"]
    assert "@\u200beveryone" in posts[0]["raw"]
    assert "reviewed by a person" in posts[0]["raw"]

    page.goto(address(reviewing, "/forum/"))
    expect(page.get_by_role("link", name="How do I fill a histogram?")).to_have_count(0)
    page.get_by_role("link", name="How do I fit a histogram?").click()
    page.get_by_label("incomplete").check()
    page.locator("#words").fill("It names no option.")
    page.get_by_role("button", name=re.compile("^Reject")).click()
    expect(page.get_by_text("Rejected.")).to_be_visible()
    page.goto(address(reviewing, "/forum/?show=posted"))
    expect(page.get_by_role("link", name="How do I fill a histogram?")).to_be_visible()
    with page.expect_download() as waiting:
        page.get_by_role("link", name="What reviewers changed").click()
    rows = Path(waiting.value.path()).read_text()
    assert rows.count("\n") == 2
    assert "It names no option." in rows
    assert discourse.by_bot(second) == []
    assert len(discourse.by_bot(first)) == 1


def test_a_conversation_is_searched_exported_and_shared(reviewing: Portal, context: BrowserContext, browser: Browser) -> None:
    page = context.pages[0]
    page.goto(address(reviewing, "/ask/"))
    page.locator("#question").fill("How do I fill a histogram with weights, TH1D?")
    page.keyboard.press("Enter")
    expect(page.locator("article.turn[aria-busy]")).to_have_count(0, timeout=LONG)
    conversation = page.url.split("#")[0]
    page.locator("#rail-q").fill('"fill a histogram"')
    page.keyboard.press("Enter")
    expect(page.locator(".found mark").first).to_be_visible()
    page.locator(".found a").first.click()
    page.wait_for_url(re.compile(re.escape(conversation)))
    page.get_by_text("Rename, export, share or delete").click()
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Notebook").click()
    assert waiting.value.suggested_filename.endswith(".ipynb")
    page.get_by_role("button", name="Make a share link").click()
    link = page.locator("#share a[href*='/ask/shared/']").get_attribute("href") or ""
    stranger = browser.new_context().new_page()
    stranger.goto(link)
    expect(stranger.get_by_role("heading", level=1)).to_contain_text("How do I fill a histogram")
    expect(stranger.get_by_text("Sign in")).to_be_visible()
    expect(stranger.locator("form")).to_have_count(0)
    page.get_by_role("button", name="End the link").click()
    expect(page.get_by_text("The link does not work any more.")).to_be_visible()
    assert (stranger.goto(link)).status == 404  # type: ignore[union-attr]
    stranger.context.close()
    page.goto(address(reviewing, "/ask/use"))
    expect(page.get_by_role("heading", name="Use of the assistant")).to_be_visible()
    expect(page.locator("figure.plot svg").first).to_be_visible()
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
