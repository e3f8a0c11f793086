"""Any model of showers by its file: which one it is, and one way to use them all.

Public names: `load` a model's file as a `Loaded`; `model_types` are the classes of `mlcore.showers.models`, found by themselves.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.errors import InputError
from mlcore.showers.dataset import ELECTRON, NORMAL, Records
from mlcore.showers.models.base import ShowerModel
from mlcore.showers.voxels import Showers, Voxels

JSON_START, SAFETENSORS_LENGTH = b"{", 8
MOST_DESCRIPTION = 1 << 24


@dataclass(frozen=True)
class Loaded:
    """A model of showers, whatever it is made of.

    Attributes
    ----------
    slug
        Which one, such as ``"vae"``.
    voxels
        Of its showers.
    geometries
        Names of the calorimeters that it tells apart; empty where it knows one alone and not by name.
    parameters
        How many numbers were fitted or trained.
    """

    model: ShowerModel
    slug: str
    voxels: Voxels
    geometries: tuple[str, ...]
    parameters: int

    @property
    def conditional(self) -> bool:
        """Whether direction, particle and calorimeter are conditions of it; others make one kind of shower."""
        return "theta" in inspect.signature(self.model.sample).parameters

    def sample(
        self,
        energies: npt.ArrayLike,
        *,
        seed: int,
        theta: npt.ArrayLike = NORMAL,
        phi: npt.ArrayLike = 0.0,
        particle: npt.ArrayLike = ELECTRON,
        geometry: str | None = None,
    ) -> Showers:
        """Showers of particles of these energies (MeV): float32, shape (n_showers, n_layers, n_angles, n_radii), MeV.

        Directions (radians) and PDG codes, one or one for each shower, reach the models that have them as conditions.

        Raises
        ------
        InputError
            Energies that the model was not made for.
        DataError
            A calorimeter that it does not know.
        """
        if not self.conditional:
            return self.model.sample(energies, seed=seed)
        conditions: dict[str, Any] = {"theta": theta, "phi": phi, "particle": particle, "geometry": geometry}
        return self.model.sample(energies, seed=seed, **conditions)

    def like(self, records: Records, *, seed: int) -> Showers:
        """A shower for each particle of some records.

        Raises
        ------
        InputError
            The records have other voxels than the model.
        """
        if records.voxels.shape != self.voxels.shape:
            raise InputError(
                f"the model makes showers of {_times(self.voxels)} voxels, the dataset has {_times(records.voxels)}",
                hint="Choose a dataset of the calorimeter that the model was made for, or adapt the model to this one.",
                code="showers.voxels",
            )
        result = np.zeros(records.showers.shape, np.float32)
        for number, name in enumerate(records.geometries):
            rows = np.flatnonzero(records.geometry == number)
            if len(rows):
                result[rows] = self.sample(
                    records.energy[rows],
                    seed=seed + number,
                    theta=records.theta[rows],
                    phi=records.phi[rows],
                    particle=records.particle[rows],
                    geometry=self._known(name),
                )
        return result

    def _known(self, name: str) -> str | None:
        """A dataset that does not say its calorimeter is taken for the model's, where that has only one."""
        return None if len(self.geometries) <= 1 and "unknown" in (name, *self.geometries) else name


def load(path: Path) -> Loaded:
    """The model in a file; nothing of the file is run.

    Raises
    ------
    InputError
        The file holds no model of showers, or one that this version does not know.
    """
    slug = _slug(path)
    # The module of that name first: the others would bring PyTorch along, which tables and formulas do without.
    known = _types_in(slug) or model_types()
    if slug not in known:
        raise InputError(
            f"{path.name} holds a model {slug!r}, which is not known", hint=f"Known are {', '.join(sorted(known))}.",
            code="showers.model",
        )  # fmt: skip
    model = known[slug].load(path)
    config: Any = getattr(model, "config", None)
    voxels = getattr(model, "voxels", None) or config.voxels
    geometries = tuple(getattr(config, "geometries", ()))
    count: Any = getattr(model, "parameters_count", None)
    if count is None:
        count = getattr(model, "parameters", 0)
    return Loaded(model, slug, voxels, geometries, int(count))


@cache
def model_types() -> Mapping[str, type[ShowerModel]]:
    """Every class of `mlcore.showers.models` that can be saved and loaded, by its slug."""
    found: dict[str, type[ShowerModel]] = {}
    for name in _modules():
        for slug, value in _types_in(name).items():
            if slug in found:
                raise RuntimeError(f"two models of showers are called {slug!r}")
            found[slug] = value
    return found


def _modules() -> list[str]:
    from mlcore.showers import models

    return sorted(info.name for info in pkgutil.iter_modules(models.__path__))


def _types_in(name: str) -> dict[str, type[ShowerModel]]:
    """The models of one module; none where there is no such module."""
    if name not in _modules():
        return {}
    module = importlib.import_module(f"mlcore.showers.models.{name}")
    return {
        slug: value
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__ == module.__name__ and not inspect.isabstract(value)
        if isinstance(slug := vars(value).get("slug"), str)
    }


def _slug(path: Path) -> str:
    """The name of the model in a file, by what the file says of itself."""
    try:
        with path.open("rb") as file:
            head = file.read(SAFETENSORS_LENGTH + 1)
            if head.startswith(JSON_START):
                found = json.loads(path.read_text(encoding="utf-8"))["model"]
            elif head.startswith(b"PK"):
                file.seek(0)
                with np.load(file, allow_pickle=False) as arrays:
                    found = json.loads(arrays["description"].tobytes())["model"]
            else:
                length = int.from_bytes(head[:SAFETENSORS_LENGTH], "little")
                if head[SAFETENSORS_LENGTH:] != JSON_START or not 2 <= length <= MOST_DESCRIPTION:
                    raise ValueError("it has no description")
                file.seek(SAFETENSORS_LENGTH)
                found = json.loads(file.read(length))["__metadata__"]["model"]
    except (OSError, KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path.name} holds no model of showers: {error}",
            hint="Give a file that a training or a fit of this project saved.",
            code="showers.model",
        ) from error
    return str(found)


def _times(voxels: Voxels) -> str:
    return " x ".join(map(str, voxels.shape))
