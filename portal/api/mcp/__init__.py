"""The Model Context Protocol: the portal's doors for agents, at ``/mcp`` over HTTP and by ``ml4ep mcp`` over stdin and stdout.

`tools` says what an agent can do, `server` speaks the protocol for one web process, `bridge` carries stdin and
stdout to a portal.
"""
