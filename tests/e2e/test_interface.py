"""How the pages behave in a real browser: keys, live updates, copying, folding, looks, and all of it without the script."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.live.portal import Portal

pytestmark = [pytest.mark.e2e, pytest.mark.live]

LONG = 60_000  # milliseconds that a job may take on a busy machine


def address(portal: Portal, path: str = "/") -> str:
    return f"http://127.0.0.1:{portal.port}{path}"


def start_check(page: Page, portal: Portal, seconds: str) -> None:
    """Start a job of this length through its form."""
    page.goto(address(portal, "/jobs/new/worker-check"))
    page.locator("#f-seconds").fill(seconds)
    page.get_by_role("button", name=re.compile("^Start job")).click()
    page.wait_for_url(re.compile(r"/jobs/[0-9a-f-]{36}$"))


def test_keys_lead_to_the_places(portal: Portal, page: Page) -> None:
    page.goto(address(portal))
    for keys, path in (("gj", "/jobs/"), ("gl", "/library/"), ("n", "/jobs/new"), ("ga", "/ask/"), ("gh", "/")):
        page.locator("body").evaluate("document.activeElement.blur()")
        for key in keys:
            page.keyboard.press(key)
        page.wait_for_url(address(portal, path))
    page.locator("body").evaluate("document.activeElement.blur()")
    page.keyboard.press("/")
    expect(page.locator("#question")).to_be_focused()
    page.keyboard.type("gj?")  # letters again, not keys
    expect(page.locator("#question")).to_have_value("gj?")
    page.locator("#question").blur()
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_have_attribute("open", "")


def test_the_skip_link_is_the_first_stop(portal: Portal, page: Page) -> None:
    page.goto(address(portal, "/jobs/"))
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()


def test_live_updates_keep_the_focus_and_stop_at_the_end(portal: Portal, page: Page) -> None:
    start_check(page, portal, "6")
    expect(page.locator("#job-status")).to_contain_text("Counting", timeout=LONG)
    page.locator("#job-cancel").focus()
    before = page.locator("#job-status progress").get_attribute("value")
    expect(page.locator("#job-status progress")).not_to_have_attribute("value", before or "", timeout=LONG)
    expect(page.locator("#job-cancel")).to_be_focused()
    expect(page.locator("#job-status")).to_contain_text("left")
    expect(page.locator("#job-status")).to_contain_text("Done in", timeout=LONG)
    expect(page.locator("#say")).to_have_text(re.compile("Done"))
    expect(page.locator("#artefacts")).to_contain_text("report.json")
    expect(page.locator("#log-text")).to_have_text(re.compile(r"^process \d+ runs for 6 s\s*$"))
    assert page.locator("#job-status[hx-get]").count() == 0
    assert page.title() == "Worker check, 6 s · ML4EP Portal"


def test_a_wrong_value_is_told_on_leaving_and_mended_by_a_button(portal: Portal, page: Page) -> None:
    page.goto(address(portal, "/jobs/new/worker-check"))
    page.locator("#f-seconds").fill("99999")
    page.locator("#f-memory_mb").focus()
    expect(page.locator(".field.err .msg")).to_be_visible()
    page.locator("#f-seconds").focus()
    page.keyboard.press("Control+Enter")
    expect(page.locator("#summary")).to_be_focused()
    expect(page.locator("#summary")).to_contain_text("99999 is outside the range")
    page.get_by_role("button", name="Use 3600").click()
    expect(page.locator("#f-seconds")).to_have_value("3600")
    assert page.locator(".field.err").count() == 0
    page.get_by_role("button", name="Check only").click()
    expect(page.get_by_text("Nothing to fix.")).to_be_visible()


def test_code_is_copied_whole(portal: Portal, page: Page) -> None:
    page.goto(address(portal, "/jobs/new/forest-to-cpp"))
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("#say")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()").startswith("ml4ep run forest-to-cpp")


def test_a_look_shows_at_once_and_is_kept(portal: Portal, page: Page) -> None:
    page.goto(address(portal, "/account/"))
    page.get_by_label("Dark").check()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.get_by_role("button", name="Keep this look").click()
    page.goto(address(portal))
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 20, 22)"
    page.goto(address(portal, "/account/"))
    page.get_by_label("As the system").check()
    page.get_by_role("button", name="Keep this look").click()
    expect(page.locator("html")).not_to_have_attribute("data-theme", "dark")


@pytest.mark.parametrize("path", ["/ask/", "/jobs/", "/library/", "/status", "/account/"])
def test_a_phone_shows_where_one_is(portal: Portal, page: Page, path: str) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    page.goto(address(portal, path))
    box = page.locator("header.top a[aria-current=page]").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 320
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


@pytest.fixture
def plain(portal: Portal, signed_in: BrowserContext) -> Iterator[Page]:
    """A tab of the same person in a browser that runs no script."""
    browser = signed_in.browser
    assert browser is not None
    context = browser.new_context(storage_state=signed_in.storage_state(), java_script_enabled=False)
    yield context.new_page()
    context.close()


def test_everything_works_without_the_script(portal: Portal, plain: Page) -> None:
    start_check(plain, portal, "0")
    for _ in range(60):
        if plain.get_by_text("Done in").count():
            break
        plain.wait_for_timeout(1000)
        plain.reload()
    expect(plain.locator("#artefacts")).to_contain_text("report.json")
    plain.get_by_text("Delete", exact=True).click()
    plain.get_by_role("button", name="Delete for good").click()
    expect(plain.get_by_text("and its artefacts are deleted")).to_be_visible()
