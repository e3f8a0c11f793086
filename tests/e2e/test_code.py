"""Code in the chat, in a real browser and a real sandbox: run by its button, with what it drew beside what it wrote."""

from __future__ import annotations

import importlib.util

import pytest
from playwright.sync_api import Page, expect

from mlcore.toolchain import sandbox
from tests.live.portal import Portal

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.live,
    pytest.mark.skipif(not sandbox.foreign_isolation().fenced, reason=sandbox.foreign_isolation().detail),
    pytest.mark.skipif(not importlib.util.find_spec("ROOT"), reason="the root wheel is for Linux only"),
]

LONG = 60_000  # milliseconds that a run may take on a busy machine


def test_a_block_of_an_answer_is_run_and_shows_its_canvas(portal: Portal, page: Page) -> None:
    page.goto(f"http://127.0.0.1:{portal.port}/ask/?q=How+do+I+fill+a+histogram+TH1D%3F")
    page.get_by_role("button", name="Ask").click()
    block = page.locator(".ran").first
    expect(block.locator(".badge")).to_have_text("not run", timeout=LONG)
    expect(block.locator("code").first).to_contain_text("h.Draw();")
    block.get_by_role("button", name="Run").click()
    expect(block.locator(".badge")).to_contain_text("ran in", timeout=LONG)
    drawn = block.locator("img")
    expect(drawn).to_be_visible()
    assert drawn.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    page.reload()
    expect(page.locator(".ran .badge").first).to_contain_text("ran in")
    page.get_by_role("link", name="Edit and run").first.click()
    expect(page.locator("#f-code")).to_have_value('TH1D h("h", "Mass;m [GeV];Events", 100, 0, 200);\nh.Fill(91.2);\nh.Draw();')
    page.locator("#f-code").fill("std::cout << 6 * 7 << std::endl; nonsense();")
    page.get_by_role("button", name="Start job").click()
    expect(page.locator("#job-body")).to_contain_text("undeclared identifier 'nonsense'", timeout=LONG)
