"""The real `openai` and `mcp` clients against a whole portal: its web server, broker, workers, index, sandbox and ROOT.

Only the language model is the test's own: it says the same of every question, with a macro that the sandbox runs.
"""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from assistant.corpus import SourceEntry
from assistant.index import BuildOptions, build
from mlcore.running.code import root_version
from mlcore.toolchain.sandbox import foreign_isolation
from tests.live import model_server
from tests.live.portal import Portal, wait_for

pytestmark = [pytest.mark.live, pytest.mark.slow]

DATA = Path(__file__).parents[1] / "data" / "forests"
PAGE = """# Fitting a histogram

TH1::Fit fits the histogram with a function, given by its name, for example `gaus`, or as an object of the class TF1.
Option S returns the full result of the fit, a TFitResultPtr, with the parameters, their errors and the covariance matrix.
"""
ANSWER = """TH1::Fit fits the histogram with a function that is given by its name.

```cpp
void fit() {
   TH1D h("h", "h", 50, -4, 4);
   h.FillRandom("gaus", 500);
   printf("status %d\\n", int(h.Fit("gaus", "QS0")));
}
```
"""
QUESTION = "How do I fit a histogram with TH1::Fit and a gaus function?"
MACRO = 'void hello() { TH1D h("h", "", 10, 0, 1); h.Fill(0.5); printf("entries %g\\n", h.GetEntries()); h.DrawCopy(); }'
SEES_NOTHING = """void look() {
   TSocket portal("127.0.0.1", PORT);
   printf("network %s\\n", portal.IsValid() ? "seen" : "none");
   printf("data %s\\n", gSystem->AccessPathName("DATABASE") ? "none" : "seen");
}
"""

runs_root = pytest.mark.skipif(
    not (root_version() and foreign_isolation().fenced),
    reason="needs the root wheel and bubblewrap, with which the portal runs code",
)


@dataclass
class Served:
    """A running portal with an index, a model, and a token for it."""

    portal: Portal
    url: str
    token: str
    model: model_server.Model

    def openai(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.token, max_retries=0, timeout=120)

    @asynccontextmanager
    async def over_http(self) -> AsyncIterator[Client]:
        headers = {"Authorization": f"Bearer {self.token}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=180) as http,
            Client(streamable_http_client(f"{self.url}/mcp", http_client=http)) as client,
        ):
            yield client

    @asynccontextmanager
    async def over_pipes(self, *arguments: str) -> AsyncIterator[Client]:
        """``ml4ep mcp`` as an agent starts it, in the portal's environment; with ``--remote`` its token is in ML4EP_TOKEN."""
        environment = self.portal.environment | {"ML4EP_TOKEN": self.token}
        command = ["-c", "from portal.cli import main; main()", "mcp", *arguments]
        async with Client(stdio_client(StdioServerParameters(command=sys.executable, args=command, env=environment))) as client:
            yield client

    def rest(self, method: str, path: str, data: bytes = b"") -> Any:
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", data=data or None, method=method)  # noqa: S310
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("Content-Type", "application/octet-stream")
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            return json.loads(response.read())


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("clients")
    pages = folder / "pages"
    pages.mkdir()
    (pages / "fit.md").write_text(PAGE)
    entry = SourceEntry("pages", "folder", str(pages), "https://example.org/pages")
    build(BuildOptions(folder / "var" / "index", sources=(entry,), dense=False))
    with model_server.serving(ANSWER) as model:
        portal = Portal(folder, ML4EP_MODEL_URL=model.url, ML4EP_MODEL_NAME=model_server.NAME)
        try:
            portal.start()
            yield Served(portal, f"http://127.0.0.1:{portal.port}", portal.ask("token"), model)
        finally:
            portal.close()


def marked(content: str, notes: list[Any]) -> list[str]:
    """What stands in the text where the annotations say that citations are."""
    places = [note if isinstance(note, dict) else note.model_dump() for note in notes]
    return [content[each["url_citation"]["start_index"] : each["url_citation"]["end_index"]] for each in places]


def run(work: Awaitable[Any]) -> Any:
    async def main() -> Any:
        return await work

    return asyncio.run(main())


# --- openai ---------------------------------------------------------------------------------------------------------------------


def test_openai_lists_the_models(served: Served) -> None:
    with served.openai() as client:
        assert [model.id for model in client.models.list()] == ["ml4ep", "ml4ep-passages"]


def test_openai_gets_an_answer_with_citations(served: Served) -> None:
    with served.openai() as client:
        got = client.chat.completions.create(model="ml4ep", messages=[{"role": "user", "content": QUESTION}])
    message = got.choices[0].message
    content = message.content or ""
    assert "TH1::Fit fits the histogram" in content
    assert "```cpp" in content
    assert "**Sources**" in content
    assert "https://example.org/pages" in content
    assert marked(content, list(message.annotations or []))[0] == "[1]"
    assert (message.annotations or [])[0].url_citation.url.startswith("https://example.org/pages")


def test_openai_streams(served: Served) -> None:
    """The beginning of the answer arrives while the model has not written its end."""
    content, early, notes = "", "", []
    served.model.goes_on.clear()
    with served.openai() as client:
        stream = client.chat.completions.create(
            model="ml4ep", messages=[{"role": "user", "content": QUESTION}], stream=True, stream_options={"include_usage": True}
        )
        for chunk in stream:
            for choice in chunk.choices:
                content += choice.delta.content or ""
                if "function" in content:
                    early = early or content
                    served.model.goes_on.set()
                notes += getattr(choice.delta, "annotations", None) or []
            usage = chunk.usage
    assert "TH1::Fit fits the histogram" in content
    assert "status %d" not in early
    assert "status %d" in content
    assert set(marked(content, notes)) == {"[1]"}
    assert usage is not None


def test_openai_goes_on_with_a_conversation(served: Served) -> None:
    with served.openai() as client:
        first = client.chat.completions.create(model="ml4ep-passages", messages=[{"role": "user", "content": QUESTION}])
        said = first.choices[0].message.content or ""
        talk: Any = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": said}]
        talk.append({"role": "user", "content": "And which option returns the full result of the fit, a TFitResultPtr?"})
        second = client.chat.completions.create(model="ml4ep-passages", messages=talk)
    assert "TFitResultPtr" in (second.choices[0].message.content or "")
    newest = served.rest("GET", "conversations")["items"][0]["id"]
    assert len(served.rest("GET", f"conversations/{newest}")["turns"]) == 2


def test_openai_reads_refusals(served: Served) -> None:
    with served.openai() as client:
        with pytest.raises(openai.NotFoundError, match="no model"):
            client.chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": "Hi"}])
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="ml4ep_wrong").models.list()


@runs_root
def test_the_code_of_an_answer_ran(served: Served) -> None:
    """The model's macro ran by itself, in the sandbox and with the real ROOT, and the turn says so."""
    asked = json.dumps({"question": QUESTION}).encode()
    request = urllib.request.Request(f"{served.url}/api/v1/ask", data=asked, method="POST")  # noqa: S310
    request.add_header("Authorization", f"Bearer {served.token}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
        turn = json.loads(response.read())["id"]

    def checked() -> Any:
        answer = served.rest("GET", f"ask/{turn}")["answer"]
        return answer if answer.get("code", {}).get("state") == "done" else None

    block = wait_for(checked, f"the code was not checked\n{served.portal.report()}")["code"]["blocks"][0]
    job = served.rest("GET", f"jobs/{block['job']}")
    assert job["result"]["facts"]["status"] == "ran", job
    assert any("status 0" in text["text"] for text in job["result"]["texts"])


# --- mcp ------------------------------------------------------------------------------------------------------------------------


Connect = Callable[[Served], Any]
WAYS: dict[str, Connect] = {
    "http": lambda served: served.over_http(),
    "pipes": lambda served: served.over_pipes(),
    "pipes to a portal elsewhere": lambda served: served.over_pipes("--remote", served.url),
}


async def call(client: Client, tool: str, /, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments, read_timeout_seconds=180)
    words = "\n".join(getattr(each, "text", "") for each in result.content)
    assert not result.is_error, f"{tool}: {words}"
    assert isinstance(result.structured_content, dict)
    return result.structured_content


@pytest.fixture(scope="module")
def forest(served: Served) -> str:
    """A file in the library of the token's person, who is the administrator."""
    stored = served.rest("PUT", "files?name=sigmoid.json", (DATA / "treelite" / "sigmoid.json").read_bytes())
    return str(stored["id"])


@pytest.mark.parametrize("way", WAYS)
def test_mcp_tools(served: Served, forest: str, way: str) -> None:
    """Every tool once, by each way in."""

    async def work() -> None:
        async with WAYS[way](served) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            used = set()

            async def use(tool: str, /, **arguments: Any) -> dict[str, Any]:
                used.add(tool)
                return await call(client, tool, **arguments)

            found = await use("search_docs", query="fit a histogram", k=3)
            assert found["passages"][0]["url"].startswith("https://example.org/pages")
            assert (await use("lookup_symbol", name="TH1::Fit"))["known"]
            assert not (await call(client, "lookup_symbol", name="TNoSuchClass"))["known"]
            answer = await use("ask", question=QUESTION)
            assert "TH1::Fit fits the histogram" in answer["answer"]
            assert answer["citations"][0]["n"] == 1
            inspected = await use("inspect_file", file=forest)
            assert inspected["name"] == "sigmoid.json"
            types = {each["slug"] for each in (await use("list_job_types"))["types"]}
            assert {"forest-to-cpp", "run-root-code"} <= types
            job = await use("submit_job", type="forest-to-cpp", params={"model": forest, "rows": 1000}, title="From an agent")
            for _ in range(900):
                state = await use("job_status", job=job["id"])
                if state["state"] not in ("PENDING", "RUNNING"):
                    break
                await asyncio.sleep(0.2)
            assert state["state"] == "SUCCEEDED", state
            header = await use("get_artifact", job=job["id"], name="forest.hpp")
            assert "namespace forest" in header["text"]
            ran = await use("run_root_code", code=MACRO, language="cpp")
            assert ran["status"] in ("ran", "not_run"), ran
            assert used == names

    run(work())


@runs_root
def test_mcp_runs_code_with_the_real_root(served: Served) -> None:
    async def work() -> None:
        async with served.over_http() as client:
            ran = await call(client, "run_root_code", code=MACRO, language="cpp")
            assert ran["status"] == "ran", ran
            assert any("entries 1" in text["text"] for text in ran["result"]["texts"])
            picture = await call(client, "get_artifact", job=ran["id"], name=ran["artifacts"][0]["name"])
            assert (picture["kind"], picture["title"], "text" in picture) == ("picture", "Canvas 1", False)
            broken = await call(client, "run_root_code", code="void f() { int x = ; }", language="cpp")
            assert (broken["status"], "error" in broken["result"]["facts"]["error"]) == ("failed", True)
            database = served.portal.folder / "var" / "db.sqlite3"
            assert database.is_file()
            curious = SEES_NOTHING.replace("PORT", str(served.portal.port)).replace("DATABASE", str(database))
            looked = await call(client, "run_root_code", code=curious)
            said = "".join(text["text"] for text in looked["result"]["texts"])
            assert "network none" in said
            assert "data none" in said
            python = await call(client, "run_root_code", code="import ROOT\nprint(ROOT.TMath.Pi())", language="python")
            assert python["status"] == "ran", python

    run(work())


def test_mcp_needs_a_token(served: Served) -> None:
    async def work() -> None:
        async with httpx2.AsyncClient(headers={"Authorization": "Bearer ml4ep_wrong"}, timeout=30) as http:
            answer = await http.post(f"{served.url}/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
            assert answer.status_code == 401

    run(work())
