"""``ml4ep token``: tokens for the REST API, made on the portal's own machine."""

from __future__ import annotations

from typing import Annotated

import typer

from portal.cli import console
from portal.cli.errors import CommandError
from portal.cli.group import new

app = new("Tokens for this machine's REST API.")

User = Annotated[str, typer.Option("--user", metavar="NAME", help="Whose token.")]


@app.command()
def create(
    user: User = "admin",
    name: Annotated[str, typer.Option("--name", metavar="TEXT", help="What it is for.")] = "command line",
) -> None:
    """Make a token and print it. It is shown this once.

    \b
    Examples:
      ml4ep token create
      export ML4EP_TOKEN=$(ml4ep token create --user ada --name laptop)
    """
    from portal.cli.here import set_up

    set_up()
    from portal.accounts.services import create_token
    from portal.cli.portal_here import find_user

    console.say(create_token(find_user(user), name))
    console.note("This token is shown once. Send it as “Authorization: Bearer …”, or put it into ML4EP_TOKEN.")


@app.command("list")
def list_tokens(
    user: Annotated[str, typer.Option("--user", metavar="NAME", help="Only this person's.")] = "",
    as_json: console.AsJson = False,
) -> None:
    """List tokens by their first characters."""
    from portal.cli.here import set_up

    set_up()
    from portal.accounts.models import ApiToken

    tokens = ApiToken.objects.select_related("user")
    if user:
        tokens = tokens.filter(user__username=user)
    if as_json:
        fields = ("hint", "name", "created_at", "last_used_at")
        console.say_json([{"user": each.user.username} | {name: getattr(each, name) for name in fields} for each in tokens])
        return
    rows = [
        (
            f"{each.hint}…",
            each.user.username,
            each.name,
            f"{each.created_at:%Y-%m-%d}",
            f"{each.last_used_at:%Y-%m-%d %H:%M}" if each.last_used_at else "never",
        )
        for each in tokens
    ]
    if rows:
        console.table(("Token", "Whose", "Name", "Made", "Last used"), rows)
    else:
        console.note("There are no tokens. Make one: ml4ep token create")


@app.command()
def revoke(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="The token, or its first characters as in the list.")],
    user: Annotated[str, typer.Option("--user", metavar="NAME", help="Whose token, where several people's begin so.")] = "",
) -> None:
    """Make a token useless, at once.

    \b
    Example:
      ml4ep token revoke ml4ep_Ab3x
    """
    from portal.cli.here import set_up

    set_up()
    from portal.accounts.models import ApiToken
    from portal.accounts.services import digest

    found = ApiToken.objects.select_related("user")
    if user:
        found = found.filter(user__username=user)
    given = token.rstrip("…")
    matching = list(found.filter(digest=digest(given))) or list(found.filter(hint=given))
    if not matching:
        raise CommandError("There is no such token.", hint="List them: ml4ep token list")
    if len(matching) > 1:
        raise CommandError(f"{len(matching)} tokens begin so.", hint="Name the person with --user, or give the whole token.")
    matching[0].delete()
    console.say(f"Revoked: {matching[0].name} of {matching[0].user.username}.")
