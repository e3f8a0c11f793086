"""The model store: a folder of model files, each there whole and checked, or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from assistant.errors import ModelStoreError
from assistant.models.manifest import Manifest, Model, default_manifest
from assistant.models.sources import CancelledError, Request, SourceError

Progress = Callable[[float, str], None]

_CHUNK = 1 << 22
_HEADROOM = 256 << 20  # bytes of disk left free for everybody else
_REPORT_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class ModelState:
    """A model of the manifest and how much of it is in a store.

    Attributes
    ----------
    state
        ``"ready"``, ``"partial"`` (a download that broke off or goes on) or ``"absent"``.
    present
        Bytes on disk.
    """

    model: Model
    state: str
    present: int
    path: Path


class ModelStore:
    """Models in a folder, fetched and checked as the manifest says.

    A file stands under its own name only once its sha256 was found right; until then it is ``<file>.partial``.

    Parameters
    ----------
    root
        The folder; made where it is missing.
    manifest
        The models to know; the manifest that comes with the assistant by default.
    """

    def __init__(self, root: Path, manifest: Manifest | None = None) -> None:
        self.root = root
        self.manifest = manifest or default_manifest()

    def list(self) -> tuple[ModelState, ...]:
        """Every model of the manifest, with what is there of it."""
        return tuple(self._state(model) for model in self.manifest.models)

    def path(self, name: str) -> Path:
        """The file of a model that is there.

        Raises
        ------
        ModelStoreError
            For a model that is unknown or not there.
        """
        state = self._state(self.manifest.model(name))
        if state.state != "ready":
            raise ModelStoreError(
                f"The model {name} is not there yet.", hint=f"Fetch it: ml4ep models pull {name}", code="models.absent"
            )
        return state.path

    def target(self, name: str) -> Path:
        """Where the file of a model stands, or will stand once it is fetched."""
        return self.root / self.manifest.model(name).file

    def verify(self, name: str, progress: Progress | None = None) -> Path:
        """Read a model's file again and check it; a wrong one is removed.

        Raises
        ------
        ModelStoreError
            For a model that is unknown, not there, or not what the manifest says.
        """
        model = self.manifest.model(name)
        path = self.path(name)
        report = progress or _silent
        digest = _sha256(path, lambda done: report(done / model.size, f"Checking {model.file}"))
        if digest != model.sha256:
            path.unlink()
            raise ModelStoreError(
                f"{model.file} is not the file of the manifest (sha256 {digest}, should be {model.sha256}); it was removed.",
                hint=f"Fetch it again: ml4ep models pull {name}",
                code="models.wrong-hash",
            )
        return path

    def pull(self, name: str, progress: Progress | None = None, cancelled: Callable[[], bool] | None = None) -> Path:
        """Fetch a model, going on where an earlier try broke off; returns at once where it is there.

        Parameters
        ----------
        progress
            Called a few times a second with the fraction done and a text; an exception it raises ends the download.
        cancelled
            Asked as often; the download ends where it says True.

        Returns
        -------
        Path
            The file, its sha256 checked.

        Raises
        ------
        ModelStoreError
            For an unknown model, too little disk, a second download of the same model at the same time, or where no source
            gave the right bytes (the message says what was wrong with each).
        """
        model = self.manifest.model(name)
        self.root.mkdir(parents=True, exist_ok=True)
        with self._only_one(model):
            if (state := self._state(model)).state == "ready":
                return state.path
            return self._pull(model, progress or _silent, cancelled or _never)

    def _pull(self, model: Model, progress: Progress, cancelled: Callable[[], bool]) -> Path:
        scratch = self.root / f".{model.file}.scratch"
        shutil.rmtree(scratch, ignore_errors=True)  # left behind by a download that was killed
        scratch.mkdir()
        failures: list[str] = []
        try:
            for source in model.sources:
                request = Request(model.size, model.sha256, scratch, _ticker(model, source.label, progress, cancelled))
                # A wrong hash after continuing another source's bytes says nothing about this one: once more, from zero.
                for _ in range(2):
                    with self._partial(model).open("ab") as file:
                        start = file.tell()
                        try:
                            if start < model.size:
                                self._check_disk(model.size - start + source.overhead)
                                source.fetch(file, request)
                            file.flush()
                            os.fsync(file.fileno())
                        except SourceError as error:
                            failures.append(error.message)
                            break
                    digest = _sha256(self._partial(model), lambda _: progress(1.0, f"Checking {model.file}"))
                    if digest == model.sha256:
                        return self._partial(model).rename(self.root / model.file)
                    self._partial(model).unlink()
                    failures.append(f"{source.label}: wrong bytes (sha256 {digest[:12]}..., should be {model.sha256[:12]}...)")
                    if start == 0:
                        break
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        raise ModelStoreError(
            f"The model {model.name} could not be fetched. " + "; ".join(failures),
            hint=f"Check the network and try again, or put the file yourself: {self.root / model.file}",
            code="models.no-source",
        )

    def _partial(self, model: Model) -> Path:
        return self.root / f"{model.file}.partial"

    def _state(self, model: Model) -> ModelState:
        path = self.root / model.file
        if _size(path) == model.size:
            return ModelState(model, "ready", model.size, path)
        present = _size(self._partial(model))
        return ModelState(model, "partial" if present else "absent", present, path)

    def _check_disk(self, needed: int) -> None:
        free = shutil.disk_usage(self.root).free
        if free < needed + _HEADROOM:
            raise ModelStoreError(
                f"{_megabytes(needed + _HEADROOM)} of disk are needed in {self.root}, {_megabytes(free)} are free.",
                hint="Make room, or move the model store to a larger disk.",
                code="models.disk-full",
            )

    @contextlib.contextmanager
    def _only_one(self, model: Model) -> Iterator[None]:
        """Hold the model's lock; the kernel lets it go when this process ends, however it ends."""
        with (self.root / f".{model.file}.lock").open("wb") as lock:
            _lock(lock, model)
            yield


def default_model(memory_bytes: int, cores: int, manifest: Manifest | None = None) -> str:
    """The name of the most able model that a machine of that size runs at a bearable speed.

    Parameters
    ----------
    memory_bytes
        The machine's memory.
    cores
        CPU cores that may be used.

    Returns
    -------
    str
        A name of the manifest; the smallest model where the machine is too small for any.
    """
    models = (manifest or default_manifest()).models
    fitting = (m for m in models if memory_bytes >= m.minimum_memory and cores >= m.minimum_cores)
    return next(fitting, min(models, key=lambda model: model.size)).name


def _lock(file: BinaryIO, model: Model) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ModelStoreError(
            f"The model {model.name} is being downloaded by another process.", hint="Wait for that one.", code="models.busy"
        ) from None


def _ticker(model: Model, label: str, progress: Progress, cancelled: Callable[[], bool]) -> Callable[[int], None]:
    last = -_REPORT_SECONDS

    def tick(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _REPORT_SECONDS:
            return
        last = now
        if cancelled():
            raise CancelledError(f"The download of {model.name} was cancelled at {_megabytes(done)}.")
        progress(done / model.size, f"{_megabytes(done)} of {_megabytes(model.size)} from {label}")

    return tick


def _sha256(path: Path, tick: Callable[[int], None]) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            tick(file.tell())
    return digest.hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"


def _silent(fraction: float, text: str) -> None:
    pass


def _never() -> bool:
    return False
