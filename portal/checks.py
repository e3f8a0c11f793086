"""Django system checks of a deployment: settings that are allowed each by itself, and dangerous or useless together.

The supervisor says them at every start; ``manage.py check`` knows them too.
"""

from __future__ import annotations

import ipaddress
import shutil
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, register

TAG = "deployment"


@register(TAG)
def exposure(**_kwargs: Any) -> list[CheckMessage]:
    """What must not be reachable from elsewhere, or not without HTTPS."""
    env = settings.ENV
    public = urlsplit(settings.PUBLIC_URL)
    if is_local(public.hostname or "") and is_local(env.host):
        return []
    found: list[CheckMessage] = []
    if env.debug:
        found.append(
            checks.Error(
                "ML4EP_DEBUG shows settings and code to everybody, and this portal is reachable from other machines.",
                hint="Remove ML4EP_DEBUG, or let the portal listen on 127.0.0.1.",
                id="portal.E001",
            )
        )
    if public.scheme != "https":
        found.append(
            checks.Warning(
                "The portal is reachable from other machines without HTTPS: passwords and tokens can be read on the way.",
                hint="Put a reverse proxy with HTTPS before it and set ML4EP_PUBLIC_URL=https://...",
                id="portal.W001",
            )
        )
    return found


@register(TAG)
def compiler(**_kwargs: Any) -> list[CheckMessage]:
    """Whether generated C++ can be compiled."""
    if any(shutil.which(name) for name in ("g++", "c++", "clang++")):
        return []
    return [
        checks.Warning(
            "There is no C++ compiler: jobs that make C++ will fail.",
            hint="Install one, for example with `apt install g++`.",
            id="portal.W002",
        )
    ]


def is_local(host: str) -> bool:
    """Whether an address leads to this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
