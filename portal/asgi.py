"""The ASGI application that the web server runs."""

import os
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
django.setup(set_prefix=False)

from portal.api.mcp.server import PATH, Application  # noqa: E402  (needs the settings)
from portal.handler import Handler  # noqa: E402

pages = Handler()
agents = Application()


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Agents at `/mcp`, everything else to Django."""
    chosen = agents if scope["type"] == "http" and scope["path"].rstrip("/") == PATH else pages
    await chosen(scope, receive, send)
