"""``ml4ep mcp``: the portal as tools of an agent on this machine."""

from __future__ import annotations

import asyncio

from portal.cli.connection import Remote, Token
from portal.cli.errors import CommandError


def mcp(remote: Remote = "", token: Token = "") -> None:
    """Serve agents by MCP on stdin and stdout.

    Speaks the Model Context Protocol, for agents that start their tools as commands. With --remote every call goes to the
    portal there; without, to this machine's database and workers, as its administrator.

    \b
    Examples:
      ml4ep mcp                                            this machine's portal, as its administrator
      ml4ep mcp --remote https://portal.example.org        another one; the token in ML4EP_TOKEN
    """
    if remote:
        if not token:
            raise CommandError(
                "A portal elsewhere wants a token.",
                hint="Make one on its account page; give it by --token or, better, in the variable ML4EP_TOKEN.",
            )
        from portal.api.mcp.bridge import serve

        asyncio.run(serve(remote, token))
        return
    from portal.cli.here import set_up

    set_up()
    from portal.accounts.services import local_administrator
    from portal.api.mcp.server import serve_here

    asyncio.run(serve_here(local_administrator()))
