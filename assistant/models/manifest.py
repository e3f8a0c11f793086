"""The manifest: which models there are, what their bytes are, and where those bytes can be had."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from assistant.errors import ModelStoreError
from assistant.models.sources import HubSource, PackageSource, Source

_DEFAULT = Path(__file__).with_name("manifest.toml")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Model:
    """One model of the manifest.

    Attributes
    ----------
    file
        The name of its file in a model store.
    sha256, size
        Digest and length in bytes of that file.
    context
        Tokens that the model can read at most.
    minimum_memory, minimum_cores
        The smallest machine it is chosen for by default: bytes, CPU cores.
    """

    name: str
    title: str
    file: str
    sha256: str
    size: int
    licence: str
    homepage: str
    context: int
    minimum_memory: int
    minimum_cores: int
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """All models, the most able first."""

    models: tuple[Model, ...]

    def model(self, name: str) -> Model:
        """The model called `name`.

        Raises
        ------
        ModelStoreError
            Where there is none; the hint lists those there are.
        """
        for model in self.models:
            if model.name == name:
                return model
        known = ", ".join(model.name for model in self.models)
        raise ModelStoreError(f"There is no model called {name!r}.", hint=f"Models: {known}.", code="models.unknown")


@cache
def default_manifest() -> Manifest:
    """The manifest that comes with the assistant."""
    return read_manifest(_DEFAULT)


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest file.

    Raises
    ------
    ModelStoreError
        For a file that cannot be read or an entry that is incomplete or contradicts itself.
    """
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("model", [])
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelStoreError(f"The model manifest {path} cannot be read: {error}", code="models.manifest") from error
    models = tuple(_model(entry, where=f"{path}, model {number}") for number, entry in enumerate(entries, 1))
    if not models or len({model.name for model in models}) < len(models):
        raise ModelStoreError(f"The model manifest {path} must list at least one model, each once.", code="models.manifest")
    return Manifest(models)


def _model(entry: Mapping[str, Any], *, where: str) -> Model:
    try:
        fields = {key: value for key, value in entry.items() if key != "source"}
        model = Model(**fields, sources=tuple(_source(source) for source in entry["source"]))
    except (KeyError, TypeError) as error:
        raise ModelStoreError(f"{where}: {error}", code="models.manifest") from error
    faults = {
        "name": not _NAME.fullmatch(model.name),
        "file": Path(model.file).name != model.file or not model.file,
        "sha256": not re.fullmatch(r"[0-9a-f]{64}", model.sha256),
        "size": model.size <= 0,
        "source": not model.sources or any(isinstance(s, PackageSource) and not s.covers(model.size) for s in model.sources),
    }
    wrong = [key for key, fault in faults.items() if fault]
    if wrong:
        raise ModelStoreError(f"{where}: no usable {', '.join(wrong)}.", code="models.manifest")
    return model


def _source(entry: Mapping[str, Any]) -> Source:
    kinds = {"hub": HubSource, "packages": PackageSource}
    fields = dict(entry)
    kind = fields.pop("kind")
    if kind not in kinds:
        raise TypeError(f"unknown kind of source {kind!r}")
    source: Source = kinds[kind](**fields)
    return source
