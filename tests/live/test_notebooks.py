"""The notebooks of the docs, run from their first cell to the last against a whole portal, as a student runs them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from assistant.corpus import SourceEntry
from assistant.index import BuildOptions, build
from tests.live.portal import Portal

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(900)]

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))
PATIENCE_SECONDS = 600
TALKATIVE = ("import ROOT", "torch.onnx.export")  # they warn of themselves
PAGE = """# RDataFrame::Define

The Define of an RDataFrame makes a new column. It takes a C++ function, a lambda or a string of C++ code, for example
`frame.Define("score", "predict(pt, eta)")`. Functions are declared to the interpreter before, by gInterpreter.Declare.
"""


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal that has one page to answer from."""
    folder = tmp_path_factory.mktemp("notebooks")
    pages = folder / "pages"
    pages.mkdir()
    (pages / "define.md").write_text(PAGE)
    entry = SourceEntry("pages", "folder", str(pages), "https://example.org/pages")
    build(BuildOptions(folder / "var" / "index", sources=(entry,), dense=False))
    running = Portal(folder)
    try:
        yield running.start()
    finally:
        running.close()


def html(cell: Any) -> str:
    """What a cell shows as HTML, the last state of what was redrawn."""
    return "".join(output["data"].get("text/html", "") for output in cell.outputs if "data" in output)


def said(cell: Any) -> str:
    """What a cell prints."""
    return "".join(output["text"] for output in cell.outputs if output.output_type == "stream")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path: Path, portal: Portal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    monkeypatch.setenv("ML4EP_REMOTE", f"http://127.0.0.1:{portal.port}")
    monkeypatch.setenv("ML4EP_TOKEN", portal.ask("token"))
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "matplotlib"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    work = tmp_path / "work"  # nothing but the notebook: whatever it needs, it makes or gets
    work.mkdir()
    shutil.copy(path, work)
    book: Any = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(
        book, timeout=PATIENCE_SECONDS, kernel_name="python3", resources={"metadata": {"path": str(work)}}
    ).execute()

    code = [cell for cell in book.cells if cell.cell_type == "code"]
    for cell in code:
        if not any(talkative in cell.source for talkative in TALKATIVE):
            assert not any(output.get("name") == "stderr" for output in cell.outputs), said(cell)
    submitted = [cell for cell in code if cell.source.startswith("%%ml4ep submit")]
    assert submitted
    for cell in submitted:
        assert "<table" in html(cell), "the result is shown"
        assert "done" in html(cell)
        assert 'value="1.0000"' in html(cell), "the bar has reached its end"
    assert any("image/svg+xml" in html(cell) for cell in code), "plots of the portal are pictures"
    assert any("image/png" in output.get("data", {}) for cell in code for output in cell.outputs), "so are its own"
    for cell in code:
        if cell.source.startswith("%%ml4ep ask"):
            assert "https://example.org/pages" in html(cell) or "Passages: 1" in html(cell)
    assert "largest difference" in "".join(map(said, code))
