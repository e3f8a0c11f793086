"""``ml4ep run TYPE --remote URL``: the files go to the portal, the job runs there, its artefacts come back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from portal.cli import console
from portal.cli.connection import portal
from portal.cli.results import show_result


def run_remote(
    slug: str,
    given: Mapping[str, Any],
    files: Mapping[str, Path | list[Path]],
    out: Path,
    *,
    title: str,
    as_json: bool,
    verbose: bool,
    remote: str,
    token: str,
) -> None:
    """Upload, submit, wait, download, show. Ctrl-C cancels the job there."""
    with portal(remote, token) as there, console.Bar() as bar:
        uploaded = {
            name: [there.files.upload(one, progress=bar).id for one in path]
            if isinstance(path, list)
            else there.files.upload(path, progress=bar).id
            for name, path in files.items()
        }
        job = there.jobs.submit(slug, {**given, **uploaded}, title=title)

        def log(text: str) -> None:
            bar.clear()
            console.note(text.rstrip("\n"))

        try:
            done = there.jobs.wait(job, progress=bar, log=log if verbose else None)
        except KeyboardInterrupt:
            there.jobs.cancel(job)
            raise
        paths = there.jobs.download(done, out, progress=bar)
    if as_json:
        console.say_json(asdict(done) | {"paths": [str(path) for path in paths]})
        return
    show_result(done.result or {})
    console.say()
    names = ", ".join(path.name for path in paths) or "no files"
    console.paragraph(f"Done in {console.seconds(done.run_seconds)}. In {out}: {names}. The job: {remote.rstrip('/')}{done.url}")
