"""``ml4ep models``: language models of this machine's model store."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from portal.cli import console
from portal.cli.group import new

app = new("Language models: list, fetch, check.")

Name = Annotated[str, typer.Argument(metavar="[NAME]", help="The model; default: the one that suits this machine.")]


def _store() -> Any:
    from assistant.models import ModelStore
    from portal import settings

    return ModelStore(settings.MODELS_DIR)


def _default() -> str:
    import os

    import psutil

    from assistant.models import default_model

    return default_model(psutil.virtual_memory().total, os.cpu_count() or 1)


@app.command("list")
def list_models(as_json: console.AsJson = False) -> None:
    """List the models, and which of them are here."""
    default = _default()
    states = _store().list()
    if as_json:
        console.say_json(
            [
                {"name": each.model.name, "title": each.model.title, "size": each.model.size, "licence": each.model.licence}
                | {"sha256": each.model.sha256, "state": each.state, "present": each.present, "path": str(each.path)}
                | {"default": each.model.name == default}
                for each in states
            ]
        )
        return
    rows = [
        (
            each.model.name + (" *" if each.model.name == default else ""),
            {"ready": "here", "partial": f"{100 * each.present / each.model.size:.0f} %", "absent": "not here"}[each.state],
            console.size(each.model.size),
            each.model.licence,
            each.model.title,
        )
        for each in states
    ]
    console.table(("Model", "State", "Size", "Licence", "What"), rows, numeric=(2,))
    console.note("* suits this machine")


@app.command()
def pull(name: Name = "") -> None:
    """Fetch a model and check it. A download that broke off goes on.

    \b
    Examples:
      ml4ep models pull
      ml4ep models pull qwen2.5-coder-0.5b
    """
    with console.Bar() as bar:
        path = _store().pull(name or _default(), bar)
    console.say(str(path))


@app.command()
def verify(name: Name = "") -> None:
    """Read a model's file again and check its sha256; a wrong one is removed."""
    name = name or _default()
    with console.Bar() as bar:
        path = _store().verify(name, bar)
    console.say(f"{name} is right: {path}")
