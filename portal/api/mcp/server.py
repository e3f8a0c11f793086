"""The protocol for one web process: an ASGI application beside Django's, on the same event loop.

Agents hold a request open for as long as a tool runs; that takes no thread of the pages. A request carries its own token and
stands for itself (the protocol's stateless mode), so that any web process may answer it. The library is imported at
the first request.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.db import close_old_connections

from portal.accounts.models import User
from portal.accounts.services import user_of_token
from portal.api.errors import EXPECTED, translate
from portal.api.mcp import tools

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

PATH = "/mcp"
INSTRUCTIONS = """The ML4EP Portal: ROOT's documentation, an assistant that answers from it with citations, a sandbox with the
real ROOT, and jobs (forests and neural networks to C++, training sets from ROOT files). Search before you claim;
run code before you recommend it."""


def build() -> MCPServer[Any]:
    """The server with all tools."""
    from importlib import metadata

    from mcp.server.mcpserver import MCPServer
    from mcp_types import ToolAnnotations

    server: MCPServer[Any] = MCPServer(
        "ml4ep-portal",
        title="ML4EP Portal",
        instructions=INSTRUCTIONS,
        version=metadata.version("ml4ep-portal"),
        log_level="WARNING",
    )
    for tool in tools.TOOLS:
        notes = ToolAnnotations(read_only_hint=tool in tools.READ_ONLY, destructive_hint=False, open_world_hint=False)
        server.add_tool(_guarded(tool), name=tool.__name__, description=tool.__doc__, annotations=notes)
    return server


def _guarded(tool: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """The tool, with refusals as the protocol's errors, and the thread's database connection given back."""
    from mcp.server.mcpserver.exceptions import ToolError

    @wraps(tool)
    def guarded(*args: Any, **kwargs: Any) -> dict[str, Any]:
        close_old_connections()
        try:
            return tools.plain(tool(*args, **kwargs))
        except Exception as error:
            if not isinstance(error, EXPECTED):
                raise
            problem = translate(error).problem
            parts = [problem.message, problem.hint, *(f"{name}: {text}" for name, text in problem.problems.items())]
            raise ToolError(" ".join(part for part in parts if part)) from None
        finally:
            close_old_connections()

    return guarded


class Application:
    """The ASGI application at `PATH`; it starts with its first request, on that request's event loop."""

    def __init__(self) -> None:
        self._manager: StreamableHTTPSessionManager | None = None
        self._starting = asyncio.Lock()
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        person = await sync_to_async(_person, thread_sensitive=False)(dict(scope["headers"]))
        if person is None:
            await _refuse(send)
            return
        manager = await self._started()
        tools.PERSON.set(person)
        await manager.handle_request(scope, receive, send)

    async def _started(self) -> StreamableHTTPSessionManager:
        async with self._starting:
            if self._manager is None:
                from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

                server = build()
                manager = StreamableHTTPSessionManager(server._lowlevel_server, stateless=True)
                ready = asyncio.Event()

                async def run() -> None:
                    async with manager.run():
                        ready.set()
                        await asyncio.Event().wait()

                self._running = asyncio.create_task(run())
                await ready.wait()
                self._manager = manager
            return self._manager


async def serve_here(person: User) -> None:
    """Serve this machine's portal over stdin and stdout, as one of its people, until stdin ends."""
    from mcp.server.stdio import stdio_server

    tools.PERSON.set(person)
    server = build()._lowlevel_server
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


def _person(headers: dict[bytes, bytes]) -> User | None:
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    try:
        return user_of_token(token.strip()) if scheme.lower() == "bearer" else None
    finally:
        close_old_connections()


async def _refuse(send: Any) -> None:
    message = "This needs “Authorization: Bearer TOKEN”; tokens are made on the account page or by “ml4ep token create”."
    body = json.dumps({"jsonrpc": "2.0", "id": None, "error": {"code": -32001, "message": message}}).encode()
    headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": body})
