"""The tools for agents, as the real `mcp` client uses them over HTTP and over stdin and stdout, against a served portal."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import httpx2
import pytest
import uvicorn
from django.utils import timezone
from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from portal.accounts.models import User
from portal.accounts.services import create_token
from portal.api.mcp import tools
from portal.chat import services
from portal.chat.models import Turn
from portal.jobs import registry
from portal.jobs.models import Job, JobState
from tests.portal.api.test_ask import PASSAGE
from tests.portal.api.test_completions import RECORD, TEXT, runs_code, worker

NAMES = {
    "search_docs", "lookup_symbol", "ask", "run_root_code", "inspect_file", "list_job_types", "submit_job", "job_status",
    "get_artifact",
}  # fmt: skip


@dataclass
class Served:
    """A portal behind the real web server, and a person's token."""

    url: str
    token: str
    person: User

    def use(self, what: Callable[[Client], Awaitable[Any]], token: str = "") -> Any:
        """Whatever ``what`` does with a connected client."""

        async def run() -> Any:
            headers = {"Authorization": f"Bearer {token or self.token}"}
            async with (
                httpx2.AsyncClient(headers=headers, timeout=30) as http,
                Client(streamable_http_client(f"{self.url}/mcp", http_client=http)) as client,
            ):
                return await what(client)

        return asyncio.run(run())

    def call(self, tool: str, /, token: str = "", **arguments: Any) -> Any:
        """A tool's result; `AssertionError` with its words where it refuses."""
        result = self.use(lambda client: client.call_tool(tool, arguments), token)
        assert not result.is_error, words(result)
        return result.structured_content

    def refusal(self, tool: str, /, **arguments: Any) -> str:
        """The words with which a tool refuses."""
        result = self.use(lambda client: client.call_tool(tool, arguments))
        assert result.is_error
        return words(result)


def words(result: Any) -> str:
    return "\n".join(each.text for each in result.content)


@pytest.fixture
def served(transactional_db: None) -> Iterator[Served]:
    from portal.api.mcp.server import Application

    person = User.objects.create_user("ada")
    with serving(Application()) as url:
        yield Served(url, create_token(person, "agent"), person)


@contextmanager
def serving(agents: Any) -> Iterator[str]:
    """A web server in a thread, with an application of its own: each belongs to one event loop."""
    import portal.asgi

    before, portal.asgi.agents = portal.asgi.agents, agents
    server = uvicorn.Server(uvicorn.Config(portal.asgi.application, lifespan="off", log_config=None, timeout_graceful_shutdown=1))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
            portal.asgi.agents = before


def ended_job(served: Served) -> Job:
    return Job.objects.create(
        type="forest-to-cpp", title="Mine", owner=served.person, state=JobState.SUCCEEDED, queued_at=timezone.now()
    )


def found(turn: Turn) -> None:
    services.write_passages(turn, [PASSAGE], {})
    services.finish(turn, "", {})


def test_the_tools_say_what_they_take(served: Served) -> None:
    listed = {tool.name: tool for tool in served.use(lambda client: client.list_tools()).tools}
    assert set(listed) == NAMES
    for tool in listed.values():
        assert tool.description
        assert all(each.get("description") for each in tool.input_schema["properties"].values()), tool.name
    assert listed["search_docs"].annotations.read_only_hint
    assert not listed["submit_job"].annotations.read_only_hint


@pytest.mark.parametrize("header", [None, "Bearer ml4ep_wrong", "Basic eA=="])
def test_only_a_token_opens(served: Served, header: str | None) -> None:
    headers = {"Accept": "application/json, text/event-stream"} | ({"Authorization": header} if header else {})
    answer = httpx.post(f"{served.url}/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert "ml4ep token create" in answer.json()["error"]["message"]


def test_everything_else_is_the_pages(served: Served) -> None:
    assert httpx.get(f"{served.url}/api/v1/openapi.json").json()["openapi"].startswith("3.")


def test_search(served: Served) -> None:
    with worker(found):
        got = served.call("search_docs", query="fit a histogram", k=3)
    assert [(each["source"], each["url"]) for each in got["passages"]] == [(PASSAGE["source"], PASSAGE["url"])]
    turn = Turn.objects.get()
    assert (turn.owner, turn.options) == (served.person, {"retrieve_only": True, "k": 3})


def test_a_symbol_is_known_by_its_whole_name(served: Served) -> None:
    source = str(PASSAGE["source"])
    with worker(found):
        known = served.call("lookup_symbol", name=source)
    assert known["known"]
    assert known["passages"][0]["source"] == source
    part = source[:-1]
    with worker(found):
        assert served.call("lookup_symbol", name=part) == {"name": part, "known": False, "passages": []}


def test_ask(served: Served) -> None:
    with worker():
        got = served.call("ask", question="How do I fit a TH1?")
    assert (got["answer"], got["abstained"]) == (TEXT, False)
    assert [each["n"] for each in got["citations"]] == RECORD["citations"]
    assert got["conversation"] == str(Turn.objects.get().conversation_id)


def test_an_answer_says_what_came_of_its_code(served: Served) -> None:
    with worker(runs_code):
        got = served.call("ask", question="How do I fit a TH1?")
    assert got["code"] == ["*This code ran in a sandbox with ROOT 6.40.00.*"]


def test_an_assistant_that_gives_no_answer(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "ANSWER_SECONDS", 0.1)
    assert "no answer within 0.1 s" in served.refusal("ask", question="Why?")
    assert not Turn.objects.get().open


def test_jobs(served: Served) -> None:
    types = {each["slug"]: each for each in served.call("list_job_types")["types"]}
    assert "forest-to-cpp" in types
    assert "no-such" in served.refusal("submit_job", type="no-such", params={})
    assert "model" in served.refusal("submit_job", type="forest-to-cpp", params={})
    assert "no such job" in served.refusal("job_status", job=str(uuid.uuid4()))
    assert "no such job" in served.refusal("job_status", job="mine")


def test_each_sees_only_their_own(served: Served) -> None:
    job = ended_job(served)
    assert served.call("job_status", job=str(job.pk))["title"] == "Mine"
    eve = create_token(User.objects.create_user("eve"), "agent")
    with pytest.raises(AssertionError, match="no such job"):
        served.call("job_status", token=eve, job=str(job.pk))
    assert "This job has none" in served.refusal("get_artifact", job=str(job.pk), name="x.hxx")


def test_artefacts_come_as_text_where_they_are_text(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.core.files.base import ContentFile
    from django.core.files.storage import default_storage

    monkeypatch.setattr(tools, "TEXT_LIMIT", 6)
    job = ended_job(served)
    for name, data in (("a.hxx", "// häu und mehr".encode()), ("b.png", b"\x89PNG\0\xff")):
        path = default_storage.save(f"tests/{job.pk}/{name}", ContentFile(data))
        job.artifacts.create(name=name, kind="file", path=path, size=len(data), sha256="0" * 64)
    text = served.call("get_artifact", job=str(job.pk), name="a.hxx")
    assert (text["text"], text["cut"], text["size"]) == ("// häu", True, 16)
    picture = served.call("get_artifact", job=str(job.pk), name="b.png")
    assert "text" not in picture
    assert picture["url"].startswith(f"/api/v1/jobs/{job.pk}/artifacts/")
    assert "a.hxx, b.png" in served.refusal("get_artifact", job=str(job.pk), name="c")


def test_files_are_found_by_name(served: Served) -> None:
    from portal.library import services as library

    assert "library is empty" in served.refusal("inspect_file", file="x.onnx")
    stored = library.store_upload(served.person, "notes.txt", iter([b"hello"]), 5)
    assert served.call("inspect_file", file="notes.txt")["id"] == str(stored.pk)
    assert served.call("inspect_file", file=str(stored.pk))["name"] == "notes.txt"
    assert "notes.txt" in served.refusal("inspect_file", file="other.root")


def test_code_is_not_run_where_there_is_no_sandbox(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {slug: each for slug, each in registry.all_types().items() if slug != tools.RUNNER}
    monkeypatch.setattr(registry, "all_types", lambda: known)
    got = served.call("run_root_code", code="void f() {}")
    assert got["status"] == "not_run"
    assert "nothing was run" in got["hint"]
    assert not Job.objects.exists()


def test_over_stdin_and_stdout(served: Served) -> None:
    command = "from portal.cli import main; main()"
    arguments = ["-c", command, "mcp", "--remote", served.url]
    environment = dict(os.environ) | {"ML4EP_TOKEN": served.token}

    async def run() -> Any:
        parameters = StdioServerParameters(command=sys.executable, args=arguments, env=environment)
        async with Client(stdio_client(parameters)) as client:
            listed = await client.list_tools()
            answer = await client.call_tool("search_docs", {"query": "fit"})
            refused = await client.call_tool("job_status", {"job": "mine"})
            return {tool.name for tool in listed.tools}, answer.structured_content, refused

    with worker(found):
        names, answer, refused = asyncio.run(run())
    assert names == NAMES
    assert answer["passages"][0]["source"] == PASSAGE["source"]
    assert refused.is_error
    assert "no such job" in words(refused)
    assert Turn.objects.get().owner == served.person
