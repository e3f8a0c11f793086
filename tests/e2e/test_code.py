"""Code in the chat, in a real browser and a real sandbox: run by its button, with what it drew beside what it wrote."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from mlcore.toolchain import sandbox
from tests.e2e.conftest import CORPUS
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


WRONG = """Call `TH1D::Fill` once for each value to fill the histogram [1].

```cpp
TH1D h("h", "", 100, 0, 200);
h.FillOnce(91.2);
h.Draw();
```
"""
RIGHT = """```cpp
TH1D h("h", "", 100, 0, 200);
h.Fill(91.2);
h.Draw();
```
"""


class Model(BaseHTTPRequestHandler):
    """An OpenAI-compatible server whose model first invents a method, and knows better once it is told."""

    told: str = ""

    def log_message(self, *_: Any) -> None:
        """Be quiet."""

    def do_POST(self) -> None:
        messages = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"]
        mending = "You mend short programs" in messages[0]["content"]
        if mending:
            Model.told = messages[-1]["content"]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for delta, finish in (({"role": "assistant", "content": RIGHT if mending else WRONG}, None), ({}, "stop")):
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
            self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        self.wfile.write(b"data: [DONE]\n\n")


@pytest.fixture
def portal_with_model(tmp_path: Path) -> Iterator[Portal]:
    from assistant.corpus.config import add_source
    from assistant.index import BuildOptions, build

    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "histograms.md").write_text(CORPUS["histograms.md"])
    index = tmp_path / "var" / "index"
    index.mkdir(parents=True)
    build(
        BuildOptions(index_dir=index, sources=(add_source(index, "folder", str(tmp_path / "pages"), name="pages"),), dense=False)
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}/v1"
    running = Portal(tmp_path, ML4EP_MODEL_URL=address, ML4EP_MODEL_NAME="m")
    try:
        yield running.start()
    finally:
        running.close()
        server.shutdown()
        server.server_close()


def test_code_of_an_answer_is_run_and_mended_by_itself(portal_with_model: Portal, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(next(line.split()[-1] for line in portal_with_model.lines if "/welcome/" in line))
    page.wait_for_selector("text=Ask about ROOT")
    page.goto(f"http://127.0.0.1:{portal_with_model.port}/ask/?q=How+do+I+fill+a+histogram%3F")
    page.get_by_role("button", name="Ask").click()
    block = page.locator(".ran")
    expect(block.locator(".badge").first).to_contain_text("failed after", timeout=LONG)
    expect(block.locator(".out").first).to_contain_text("no member named 'FillOnce'")
    expect(block).to_contain_text("Mended by the model", timeout=LONG)
    expect(block.locator(".badge").nth(1)).to_contain_text("ran in", timeout=LONG)
    expect(block.locator("code").nth(1)).to_contain_text("h.Fill(91.2);")
    expect(block.locator("img")).to_be_visible()
    expect(page.locator(".ran[hx-get]")).to_have_count(0)
    assert "no member named 'FillOnce'" in Model.told
    context.close()
