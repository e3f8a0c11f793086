"""``ml4ep up`` and ``ml4ep sign-in-link``: the portal of this machine."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from portal.cli import console
from portal.cli.errors import CommandError


def up() -> None:
    """Start the portal on this machine.

    It runs until Ctrl-C: broker, workers, model server and web server under one supervisor. Prints the address and, for the first
    visit, a link that signs the administrator in. Settings come from ML4EP_… variables and the file .env, see .env.example.

    \b
    Examples:
      ml4ep up
      ML4EP_PORT=8010 ml4ep up
    """
    from portal.supervisor import up as start

    raise typer.Exit(start())


def sign_in_link(
    user: Annotated[str, typer.Option("--user", metavar="NAME", help="Whom the link signs in.")] = "admin",
) -> None:
    """Print a link that signs somebody in.

    It works once, for a week; links that were made before and not used stop working.

    \b
    Example:
      ml4ep sign-in-link
    """
    from portal.cli.here import set_up

    set_up()
    from portal.accounts.services import create_sign_in_link

    console.say(create_sign_in_link(find_user(user)))


def find_user(name: str) -> Any:
    """The person called so; the local administrator is made where it is missing.

    Raises
    ------
    CommandError
        There is nobody of that name.
    """
    from portal.accounts.models import User
    from portal.accounts.services import ADMINISTRATOR, local_administrator

    if name == ADMINISTRATOR:
        return local_administrator()
    user = User.objects.filter(username=name, is_active=True).first()
    if user is None:
        names = ", ".join(User.objects.filter(is_active=True).order_by("username").values_list("username", flat=True)[:10])
        raise CommandError(f"There is nobody called {name!r}.", hint=f"There are: {names}." if names else "")
    return user
