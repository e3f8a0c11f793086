"""What a running job type is handed: its files, its folder, and the ways to say how it goes."""

from __future__ import annotations

import base64
import json
import os
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

from portal.jobs.results import Plot

Message = dict[str, Any]

SENT_BYTES = 8 * 2**20  # of an artefact that comes through the pipe
SENT_ARTIFACTS = 20


class JobContext:
    """One run, seen from inside the child process (or, for the command line without a server, from the same process).

    Parameters
    ----------
    folder
        An empty folder that the run may write to; artefacts are made here.
    files
        Where the uploaded files named in the parameters lie: file id (or path, on the command line) -> local path.
    send
        Takes each message about the run; see `portal.jobs.engine` for the other end.
    places
        The deployment's folders, ``index`` and ``models``; a job type writes to those that it lists in `JobType.writable`.
    names
        What the files are called in the library, by file id; by default as on disk.
    parts
        The artefacts of the job's parts, in the order of `JobType.parts` and of their names; the files are not there then.
    kept
        What an earlier run of the same job kept by `keep`, by name: this run may go on from it.
    send_files
        Whether artefacts go through ``send`` with all their bytes, because ``folder`` is seen by nobody outside.
    """

    def __init__(
        self,
        folder: Path,
        files: Mapping[str, Path],
        send: Callable[[Message], None],
        places: Mapping[str, Path] = MappingProxyType({}),
        names: Mapping[str, str] = MappingProxyType({}),
        parts: Sequence[Sequence[Path]] = (),
        kept: Mapping[str, Path] = MappingProxyType({}),
        send_files: bool = False,
    ) -> None:
        self.folder = folder
        self._files = files
        self._send = send
        self._places = places
        self._names = names
        self.parts = tuple(tuple(paths) for paths in parts)
        self.kept = dict(kept)
        self._send_files = send_files
        self._kept_count = 0

    def file(self, reference: str) -> Path:
        """The local path of a file parameter's value."""
        return self._files[reference]

    def name(self, reference: str) -> str:
        """The name that its owner gave a file parameter's value: text to show, never a path."""
        return self._names.get(reference) or self._files[reference].name

    @property
    def places(self) -> Mapping[str, Path]:
        """The deployment's folders that there are."""
        return self._places

    def place(self, name: str) -> Path:
        """A folder of the deployment: ``index`` or ``models``."""
        return self._places[name]

    def progress(self, fraction: float, text: str) -> None:
        """Say how far the run is: ``fraction`` 0 to 1, ``text`` the step now in progress."""
        self._send({"progress": min(max(fraction, 0.0), 1.0), "text": text[:200]})

    def log(self, text: str) -> None:
        """Add a line to the job's log."""
        self._send({"log": text.rstrip("\n") + "\n"})

    def show(self, *plots: Plot) -> None:
        """Show plots on the job's page while it runs; one of the same title takes the place of the one before."""
        self._send({"show": [asdict(plot) for plot in plots]})

    def keep(self, path: Path, *, note: str = "") -> None:
        """Keep a file as it is now, whatever becomes of the run: another run of the job finds it in `kept` under its name.

        Once the job has ended well it is dropped. ``note`` says how far the run was.
        """
        if self._send_files:
            raise ValueError("a run of foreign code keeps no files")
        # The run goes on writing the file: what is stored is a copy of this moment.
        self._kept_count += 1
        copy = self.folder / ".kept" / str(self._kept_count) / path.name
        copy.parent.mkdir(parents=True)
        shutil.copyfile(path, copy)
        relative = str(copy.relative_to(self.folder))
        self._send({"keep": {"path": relative, "name": path.name, "note": note[:200]}})

    def artifact(self, path: Path, *, kind: str, title: str = "") -> None:
        """Keep ``path``, a file inside `folder`, as a result. It is stored when the run succeeds."""
        relative = path.resolve().relative_to(self.folder.resolve())
        message = {"path": str(relative), "name": relative.name, "kind": kind, "title": title}
        if self._send_files:
            message["data"] = base64.b64encode(path.read_bytes()).decode()
        self._send({"artifact": message})


def receive(artifact: dict[str, str], folder: Path, received: int) -> dict[str, str]:
    """An artefact's message without its bytes, which are put into ``folder``.

    Parameters
    ----------
    received
        How many artefacts the run has sent before.

    Raises
    ------
    ValueError
        Its name is none for a file, it is too large, or one too many. The sender shares its walls with foreign code.
    """
    data = base64.b64decode(artifact["data"])
    name = artifact["name"]
    if name != Path(name).name or name.startswith(".") or len(data) > SENT_BYTES or received >= SENT_ARTIFACTS:
        raise ValueError(f"the job sent an artefact that cannot be kept: {name!r}")
    with (folder / name).open("xb") as file:
        file.write(data)
    return {key: artifact[key] for key in ("name", "kind", "title")} | {"path": name}


class PipeSender:
    """Writes messages as JSON lines to a file descriptor; safe from several threads."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "w", encoding="utf-8")
        self._lock = threading.Lock()

    def __call__(self, message: Message) -> None:
        line = json.dumps(message)
        with self._lock:
            self._file.write(line + "\n")
            self._file.flush()
