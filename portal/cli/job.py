"""``ml4ep job``: jobs of this machine's portal, or with ``--remote`` of another."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from portal.cli import console
from portal.cli.connection import Remote, Token, portal
from portal.cli.errors import CommandError
from portal.cli.group import new
from portal.cli.run import types as run_types

if TYPE_CHECKING:
    from portal.client import Job

app = new("Jobs of a portal.\n\nOf this machine's own, or with --remote of another.")
app.add_typer(run_types, name="run")

Id = Annotated[str, typer.Argument(metavar="JOB", help="The job's id, or its first characters.")]
STATES = {"PENDING": "waiting", "RUNNING": "running", "SUCCEEDED": "done", "FAILED": "failed", "CANCELLED": "cancelled"}


@app.command()
def types(as_json: console.AsJson = False, remote: Remote = "", token: Token = "") -> None:
    """List the kinds of job.

    Without --remote those of this machine, for “ml4ep run”.
    """
    if remote:
        with portal(remote, token) as there:
            found: list[Any] = there.jobs.types()
    else:
        from portal.jobs import registry

        found = [each for _, each in sorted(registry.all_types().items()) if each.listed]
    if as_json:
        shown = ("slug", "title", "summary", "duration")
        schemas = {each.slug: each.params if remote else each.schema() for each in found}
        console.say_json([{name: getattr(each, name) for name in shown} | {"params": schemas[each.slug]} for each in found])
        return
    console.table(("Type", "Takes", "What"), [(each.slug, each.duration, each.summary) for each in found])


@app.command()
def submit(
    type: Annotated[str, typer.Argument(metavar="TYPE", help="The kind of job, see “ml4ep job types”.")],  # noqa: A002
    params: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="NAME=VALUE", help="A parameter; a file is @PATH, which is uploaded."),
    ] = None,
    title: Annotated[str, typer.Option("--title", metavar="TEXT", help="A name for the job.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended.")] = False,
    as_json: console.AsJson = False,
    remote: Remote = "",
    token: Token = "",
) -> None:
    """Submit a job and print its id.

    \b
    Examples:
      ml4ep job submit forest-to-cpp -p model=@model.json -p name=higgs
      ml4ep job submit worker-check -p seconds=5 --wait
    """
    with portal(remote, token) as there:
        values: dict[str, Any] = {}
        with console.Bar() as bar:
            for each in params or ():
                name, equals, value = each.partition("=")
                if not equals:
                    raise CommandError(f"{each!r} is no parameter.", hint="Write NAME=VALUE.")
                values[name.replace("-", "_")] = (
                    there.files.upload(value[1:], progress=bar).id if value[:1] == "@" else _value(value)
                )
            job = there.jobs.submit(type, values, title=title)
            if wait:
                job = there.jobs.wait(job, progress=bar)
    if as_json:
        console.say_json(asdict(job))
    elif wait:
        _show(job)
    else:
        console.say(job.id)


@app.command("list")
def list_jobs(
    state: Annotated[str, typer.Option("--state", metavar="STATE", help=f"Only these: {', '.join(STATES.values())}.")] = "",
    type: Annotated[str, typer.Option("--type", metavar="TYPE", help="Only of this kind.")] = "",  # noqa: A002
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, metavar="N", help="How many at most; default: 20.", show_default=False)
    ] = 20,
    as_json: console.AsJson = False,
    remote: Remote = "",
    token: Token = "",
) -> None:
    """List jobs, newest first."""
    from itertools import islice

    words = {word: name for name, word in STATES.items()} | {name.lower(): name for name in STATES}
    if state and state.lower() not in words:
        raise CommandError(f"{state!r} is no state.", hint=f"States: {', '.join(STATES.values())}.")
    with portal(remote, token) as there:
        jobs = list(islice(there.jobs.list(state=words.get(state.lower()), type=type or None), limit))
    if as_json:
        console.say_json([asdict(job) for job in jobs])
        return
    if not jobs:
        console.note("There are no jobs. Start one: ml4ep job submit TYPE, or ml4ep run TYPE without a portal")
        return
    rows = [(job.id[:8], _state(job), job.type, job.title, job.created_at[:16].replace("T", " ")) for job in jobs]
    console.table(("Job", "State", "Type", "Title", "Made"), rows)


@app.command()
def show(job: Id, as_json: console.AsJson = False, remote: Remote = "", token: Token = "") -> None:
    """Show a job with its result."""
    with portal(remote, token) as there:
        found = there.jobs.get(_full(there, job))
    if as_json:
        console.say_json(asdict(found))
    else:
        _show(found)


@app.command()
def log(
    job: Id,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    remote: Remote = "",
    token: Token = "",
) -> None:
    """Print a job's log."""
    with portal(remote, token) as there:
        for text in there.jobs.log(_full(there, job), follow=follow):
            print(text, end="", flush=True)


@app.command()
def cancel(job: Id, remote: Remote = "", token: Token = "") -> None:
    """Cancel a job that waits or runs."""
    with portal(remote, token) as there:
        found = there.jobs.cancel(_full(there, job))
    console.say("Cancelled." if found.state == "CANCELLED" else "It is being cancelled.")


@app.command()
def retry(job: Id, remote: Remote = "", token: Token = "") -> None:
    """Run a job again, as a new job that goes on with what the earlier one kept."""
    with portal(remote, token) as there:
        console.say(there.jobs.retry(_full(there, job)).id)


@app.command()
def keep(
    job: Id,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the artefact.", show_default=False)],
    remote: Remote = "",
    token: Token = "",
) -> None:
    """Put what a job made into the library, for other jobs; prints the file's id."""
    with portal(remote, token) as there:
        whole = _full(there, job)
        found = {each.name: each for each in there.jobs.artifacts(whole)}
        if name not in found:
            raise CommandError(f"The job made no file {name}.", hint=f"It made {', '.join(found) or 'none'}.")
        console.say(there.jobs.keep(whole, found[name]).id)


@app.command()
def delete(job: Id, remote: Remote = "", token: Token = "") -> None:
    """Remove an ended job with its artefacts."""
    with portal(remote, token) as there:
        there.jobs.delete(_full(there, job))
    console.say("Deleted.")


@app.command()
def download(
    job: Id,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where to; default: this folder.", show_default=False)
    ] = Path(),
    remote: Remote = "",
    token: Token = "",
) -> None:
    """Download a job's artefacts.

    Each is checked by its sha256; a download that broke off goes on.

    \b
    Example:
      ml4ep job download 5f3a91c2 --out higgs --remote https://portal.example.org
    """
    with portal(remote, token) as there, console.Bar() as bar:
        paths = there.jobs.download(_full(there, job), out, progress=bar)
    if not paths:
        raise CommandError("This job has no artefacts.", hint="Only a job that succeeded has, until the retention time is over.")
    for path in paths:
        console.say(str(path))


def _value(text: str) -> Any:
    """A parameter's value: JSON where it is, else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _full(there: Any, job: str) -> str:
    """The whole id of a job that is named by its first characters."""
    if len(job) >= 32:
        return job
    found = [each for each in there.jobs.list() if each.id.startswith(job.lower())]
    if not found:
        raise CommandError(f"No job's id begins with {job!r}.", hint="List them: ml4ep job list")
    if len(found) > 1:
        raise CommandError(f"{len(found)} jobs' ids begin with {job!r}.", hint="Give more of the id.")
    return str(found[0].id)


def _state(job: Job) -> str:
    if job.state == "RUNNING":
        return "cancelling" if job.cancel_requested else f"{100 * job.progress['fraction']:.0f} %"
    return STATES.get(job.state, job.state)


def _show(job: Job) -> None:
    from portal.cli.results import show_result

    console.say(f"{job.title}: {_state(job)}")
    console.pairs(
        {
            "Job": job.id,
            "Type": job.type,
            "Waited": console.seconds(job.queue_seconds) or "-",
            "Ran": console.seconds(job.run_seconds) or "-",
        }
    )
    if job.error:
        console.say()
        console.paragraph(f"{job.error['message']} {job.error['hint']}".rstrip())
    if job.result:
        console.say()
        show_result(job.result)
    if job.artifacts:
        console.say()
        rows = [(each.name, console.size(each.size), each.title or each.kind) for each in job.artifacts]
        console.table(("Artefact", "Size", "What"), rows, numeric=(1,))
