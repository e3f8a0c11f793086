"""The protocol over stdin and stdout for agents that start their tools: every call goes to a portal's ``/mcp``."""

from __future__ import annotations

from importlib import metadata
from typing import Any


async def serve(url: str, token: str) -> None:
    """Carry calls between stdin and stdout and the portal at ``url`` until stdin ends.

    Parameters
    ----------
    url
        The portal's address.
    token
        An API token of the portal.
    """
    import httpx2
    import mcp_types as types
    from mcp.client.client import Client
    from mcp.client.streamable_http import streamable_http_client
    from mcp.server import Server
    from mcp.server.stdio import stdio_server

    timeout = httpx2.Timeout(30, read=600)
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=timeout) as http:
        transport = streamable_http_client(f"{url.rstrip('/')}/mcp", http_client=http)
        async with Client(transport) as portal:

            async def list_tools(_: Any, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
                return await portal.list_tools(cursor=params.cursor if params else None)

            async def call_tool(_: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
                return await portal.call_tool(params.name, params.arguments)

            server: Server[Any] = Server(
                "ml4ep-portal",
                title="ML4EP Portal",
                version=metadata.version("ml4ep-portal"),
                instructions=portal.instructions,
                on_list_tools=list_tools,
                on_call_tool=call_tool,
            )
            async with stdio_server() as (reading, writing):
                await server.run(reading, writing, server.create_initialization_options())
