"""The magics in the kernel of a notebook, where bars move and answers grow in the cell's output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest

from portal.client import Portal
from portal.jobs.models import Job
from tests.portal.client.test_client import portal

__all__ = ["portal"]  # the fixture

nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")


def test_a_notebook(portal: Portal, run_now: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from portal.chat import services
    from portal.chat.models import Turn

    real = services.ask

    def answered(*args: Any, **kwargs: Any) -> Turn:
        turn = real(*args, **kwargs)
        passage = {"n": 1, "title": "TH1", "source": "docs", "score": 0.5, "text": "<b>Fits.</b>", "url": "https://root.cern"}
        Turn.objects.filter(pk=turn.pk).update(state="DONE", passages=[passage], text="Because <i>so</i> [1].", answer={})
        return turn

    monkeypatch.setattr(services, "ask", answered)
    job = portal.submit("worker-check", seconds=0, title="<b>mine</b>")
    run_now(Job.objects.get(pk=job.id))
    token = portal._connection.wire.http.headers["Authorization"].removeprefix("Bearer ")  # type: ignore[attr-defined]
    monkeypatch.setenv("ML4EP_REMOTE", portal.url)
    monkeypatch.setenv("ML4EP_TOKEN", token)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    sources = (
        "%load_ext portal.client", "%ml4ep connect --output there", "%%ml4ep ask\nWhy?", f"%ml4ep job {job.id} --out got",
        "there.job_types()[0]", "%ml4ep nonsense",
    )  # fmt: skip
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    client = nbclient.NotebookClient(
        book, timeout=120, kernel_name="python3", allow_errors=True, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    _, connected, asked, shown, kind, wrong = (cell.outputs for cell in book.cells)
    assert connected[0]["text"] == f"Connected to {portal.url} as admin.\n"
    assert len(asked) == 1, "the answer was redrawn in its place"
    page = asked[0]["data"]["text/html"]
    assert "Because &lt;i&gt;so&lt;/i&gt; <a href" in page
    assert "&lt;b&gt;Fits.&lt;/b&gt;" in page
    bars = [output["data"]["text/html"] for output in shown if "<progress" in output["data"].get("text/html", "")]
    assert len(bars) == 2, "one of the job, one of the download"
    assert all('value="1.0000"' in bar for bar in bars)
    (result,) = (output["data"]["text/html"] for output in shown if output.output_type == "execute_result")
    assert "&lt;b&gt;mine&lt;/b&gt;" in result
    assert f'href="{portal.url}/jobs/{job.id}"' in result
    assert (tmp_path / "got" / "report.json").is_file()
    assert "<table" in kind[0]["data"]["text/html"]
    assert "invalid choice" in "".join(output.get("text", "") + output.get("evalue", "") for output in wrong)
    assert token not in nbformat.writes(book)
