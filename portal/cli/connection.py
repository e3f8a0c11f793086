"""Which portal a command speaks to: one elsewhere through its REST API, or this machine's own, the same API in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from portal.cli.errors import CommandError

if TYPE_CHECKING:
    from portal.client import Portal

Remote = Annotated[
    str,
    typer.Option(
        "--remote",
        metavar="URL",
        envvar="ML4EP_REMOTE",
        help="Use the portal at this address.",
        show_envvar=True,
        show_default=False,
    ),
]
Token = Annotated[
    str,
    typer.Option(
        "--token", metavar="TOKEN", envvar="ML4EP_TOKEN", help="Your token there.", show_envvar=True, show_default=False
    ),
]
HERE = "http://localhost"


@contextmanager
def portal(remote: str, token: str) -> Iterator[Portal]:
    """The portal that ``--remote`` names; without it this machine's, as its administrator.

    Raises
    ------
    CommandError
        There is no token for a portal elsewhere.
    """
    from portal.client import Portal

    if remote:
        if not token:
            raise CommandError(
                "A portal elsewhere wants a token.",
                hint="Make one on its account page; give it by --token or, better, in the variable ML4EP_TOKEN.",
            )
        with Portal(remote, token) as there:
            yield there
        return
    from portal.cli.here import temporary_token, transport

    with temporary_token() as own, Portal(HERE, own, transport=transport()) as here:
        yield here
