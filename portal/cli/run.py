"""``ml4ep run TYPE``: the options of each job type come from its schema, the same that makes the form and the API."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from portal.cli import console
from portal.cli.connection import Remote, Token
from portal.cli.errors import CommandError, Commands
from portal.cli.group import HELP, new

OUT = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FOLDER", help="Where the results go; default: a folder named like the type."),
]
FORCE = Annotated[bool, typer.Option("--force", help="Use the folder even if it has files in it.")]
VERBOSE = Annotated[bool, typer.Option("--verbose", "-v", help="Show the log of the run.")]
TITLE = Annotated[str, typer.Option("--title", help="With --remote: a name for the job.")]
UNFINISHED = ".unfinished"  # as of portal.cli.local: what an interrupted run left is no reason to refuse a folder
RESERVED = {"out", "force", "verbose", "title", "json", "remote", "token", "help"}

PLAIN = {"integer": int, "number": float, "string": str, "boolean": bool}


class JobTypeCommands(Commands):
    """A group with one command for each job type, made when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        from portal.jobs import registry

        return sorted(slug for slug, each in registry.all_types().items() if each.listed)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        from portal.jobs import registry

        job_type = registry.all_types().get(cmd_name)
        return command(job_type) if job_type else None


types = new(
    "Run a job type on this machine.\n\nNo server is needed. With --remote it runs on a portal, and the results come back.",
    cls=JobTypeCommands,
)


@types.callback()
def _types() -> None:
    """Makes this a group, although its commands come later."""


def command(job_type: Any) -> Any:
    """The command that runs a job type."""
    schema = job_type.schema()
    fields: Mapping[str, Any] = schema.get("properties", {})
    if clash := RESERVED & {name.replace("_", "-") for name in fields}:
        raise RuntimeError(f"{job_type.slug}: parameters may not be called {', '.join(sorted(clash))}")
    options = {name: _option(name, field, schema) for name, field in fields.items()}

    def run(**given: Any) -> None:
        own = {name: given.pop(name) for name in fields}
        _run(job_type, {name: value for name, value in own.items() if value not in (None, [])}, **given)

    common = {
        "out": (OUT, None),
        "force": (FORCE, False),
        "verbose": (VERBOSE, False),
        "title": (TITLE, ""),
        "as_json": (console.AsJson, False),
        "remote": (Remote, ""),
        "token": (Token, ""),
    }
    every = options | common
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for name, (kind, default) in every.items()
        ]
    )
    run.__annotations__ = {name: kind for name, (kind, _) in every.items()}
    required = " ".join(
        f"--{name.replace('_', '-')} {_metavar(fields[name], schema) or name.upper()}" for name in schema.get("required", ())
    )
    app = typer.Typer(rich_markup_mode=None, add_completion=False, context_settings=HELP)
    gives = "\n\n".join(
        ["\b\nGives:\n" + "\n".join(f"  {name}: {what}" for name, what in job_type.gives)] if job_type.gives else []
    )
    example = f"\b\nExample:\n  ml4ep run {job_type.slug} {required}".rstrip() + f" --out {job_type.slug}"
    app.command(job_type.slug, help=f"{job_type.summary}.\n\nTakes {job_type.duration}.\n\n{gives}", epilog=example)(run)
    made = typer.main.get_command(app)
    made.short_help = job_type.summary
    return made


def _option(name: str, field: Mapping[str, Any], schema: Mapping[str, Any]) -> tuple[Any, Any]:
    """Annotation and default of one parameter. What is not given stays None, so that the schema's own default holds."""
    resolved = _resolved(field, schema)
    kind: Any
    if resolved.get("format") == "library-file":
        kind = Path
    elif resolved.get("format") == "library-files":
        kind = list[Path]
    elif "enum" in resolved:
        kind = Literal[tuple(str(each) for each in resolved["enum"])]
    elif resolved.get("type") == "array":
        kind = list[PLAIN.get(_resolved(resolved.get("items", {}), schema).get("type", ""), str)]  # type: ignore[misc]
    else:
        kind = PLAIN.get(str(resolved.get("type")), str)
    words = [str(field.get("description", resolved.get("description", ""))).rstrip(".")]
    if unit := field.get("x-unit"):
        words.append(f"in {unit}")
    low, high = (resolved.get(key, resolved.get(f"exclusiveM{key[1:]}")) for key in ("minimum", "maximum"))
    if low is not None or high is not None:
        words.append(f"{'' if low is None else low} to {'' if high is None else high}".strip())
    default = field.get("default")
    if default not in (None, "", [], ()):
        words.append(f"default: {str(default).lower() if isinstance(default, bool) else default}")
    text = "; ".join(word for word in words if word) + "."
    flag = name.replace("_", "-")
    declarations = [f"--{flag}/--no-{flag}"] if kind is bool else [f"--{flag}"]
    required = name in schema.get("required", ())
    option = typer.Option(*declarations, help=text, metavar=_metavar(field, schema), show_default=False)
    return Annotated[kind if required else kind | None, option], inspect.Parameter.empty if required else None


def _metavar(field: Mapping[str, Any], schema: Mapping[str, Any]) -> str | None:
    """What stands for the value in the help; None where the choices themselves do."""
    resolved = _resolved(field, schema)
    if "enum" in resolved or resolved.get("type") == "boolean":
        return None
    if resolved.get("format") in ("library-file", "library-files"):
        return "FILE"
    return {"integer": "N", "number": "X"}.get(str(resolved.get("type")), "TEXT")


def _resolved(field: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The field behind a reference, and behind “or nothing”."""
    choices = [each for each in field.get("anyOf", ()) if each.get("type") != "null"]
    if len(choices) == 1:
        # What stands beside the choice is said of it too, such as that it is a file.
        return {**_resolved(choices[0], schema), **{name: value for name, value in field.items() if name != "anyOf"}}
    if reference := field.get("$ref"):
        found: Mapping[str, Any] = schema["$defs"][reference.rsplit("/", 1)[-1]]
        return found
    return field


def _run(
    job_type: Any,
    given: dict[str, Any],
    *,
    out: Path | None,
    force: bool,
    verbose: bool,
    title: str,
    as_json: bool,
    remote: str,
    token: str,
) -> None:
    out = out or Path(job_type.slug)
    if out.exists() and not out.is_dir():
        raise CommandError(f"{out} is a file.", hint="Give another folder with --out.")
    if out.is_dir() and any(path.name != UNFINISHED for path in out.iterdir()) and not force:
        raise CommandError(
            f"The folder {out} has files in it.", hint="Give another one with --out, or use it as it is with --force."
        )
    paths: dict[str, Path | list[Path]] = {}
    for name in job_type.file_kinds():
        value = given.get(name)
        if isinstance(value, list):
            paths[name] = [_checked_file(job_type, name, path) for path in value]
        elif value:
            paths[name] = _checked_file(job_type, name, value)
    if remote:
        from portal.cli.remote_run import run_remote

        run_remote(job_type.slug, given, paths, out, title=title, as_json=as_json, verbose=verbose, remote=remote, token=token)
    else:
        _run_here(job_type, given | {name: _texts(path) for name, path in paths.items()}, out, as_json, verbose)


def _texts(path: Path | list[Path]) -> str | list[str]:
    return [str(one) for one in path] if isinstance(path, list) else str(path)


def _checked_file(job_type: Any, name: str, path: Path) -> Path:
    """The file of a parameter, of a kind that it takes."""
    from mlcore import filetypes

    flag, kinds = f"--{name.replace('_', '-')}", job_type.file_kinds()[name]
    if not path.is_file():
        raise CommandError(f"{flag}: there is no file {path}.", hint="Give the path of a file.")
    filetypes.refuse(path)
    found = filetypes.detect(path)
    if found.kind not in kinds:
        raise CommandError(f"{flag}: {path} is {found.title}; this needs {' or '.join(kinds)}.")
    return path.resolve()


def _run_here(job_type: Any, given: dict[str, Any], out: Path, as_json: bool, verbose: bool) -> None:
    from portal.cli import local
    from portal.cli.results import show_result
    from portal.jobs.registry import ParamsError

    try:
        params = job_type.parse(given).model_dump(mode="json")
    except ParamsError as error:
        problems = {f"--{name.replace('_', '-')}": problem for name, problem in error.problems.items()}
        raise CommandError("The options cannot be used as they are.", problems=problems) from error
    with console.Bar() as bar:

        def log(text: str) -> None:
            if verbose:
                bar.clear()
                console.note(text.rstrip("\n"))

        done = local.run(job_type, params, out, progress=bar, log=log)
    if as_json:
        artifacts = [
            {"path": str(each.path), "kind": each.kind, "title": each.title, "size": each.size, "sha256": each.sha256}
            for each in done.artifacts
        ]
        console.say_json(
            {"type": job_type.slug, "state": "SUCCEEDED", "seconds": round(done.seconds, 3)}
            | {"result": done.result, "artifacts": artifacts, "manifest": done.manifest}
        )
        return
    show_result(done.result)
    console.say()
    names = ", ".join(each.path.name for each in done.artifacts) or "no files"
    console.paragraph(f"Done in {console.seconds(done.seconds)}. In {out}: {names}, manifest.json.")
