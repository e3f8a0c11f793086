"""What the neural models share: conditions as numbers, a loss to train on, checkpoints without pickle."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mlcore.errors import DataError, InputError
from mlcore.showers.dataset import NORMAL, PHOTON, Records
from mlcore.showers.voxels import Showers, Voxels, checked_energies


@dataclass(frozen=True)
class NeuralConfig:
    """What every neural model knows of its showers.

    Attributes
    ----------
    voxels
        The grid of all showers.
    lowest, highest
        Energies of particles that it is trained on, MeV.
    geometries
        Names of the calorimeters that it is trained on.
    spare
        Places for calorimeters to be adapted to.
    threshold
        Voxels below it are empty, MeV.
    """

    voxels: Voxels
    lowest: float
    highest: float
    geometries: tuple[str, ...] = ("unknown",)
    spare: int = 1
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.lowest < self.highest < math.inf):
            raise InputError(
                f"energies from {self.lowest} to {self.highest} MeV are no range", hint="Give two that ascend from above 0."
            )
        if not self.geometries or self.spare < 0 or not self.threshold >= 0:
            raise InputError("a model needs a geometry, and a threshold and spare places of 0 or more", hint="Keep the defaults.")

    @property
    def conditions(self) -> int:
        """How many numbers describe a particle: energy, four of the angles, kind, and one for each geometry or spare place."""
        return 6 + len(self.geometries) + self.spare

    @classmethod
    def from_mapping(cls, found: Mapping[str, Any]) -> Self:
        """From what `asdict` and JSON made of it."""
        values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
        grid = values.pop("voxels")
        voxels = Voxels(tuple(map(float, grid["depths"])), int(grid["angles"]), tuple(map(float, grid["radii"])))
        return cls(voxels=voxels, **values)


@dataclass(frozen=True, eq=False)
class Batch:
    """Showers to train on.

    Attributes
    ----------
    showers
        float32, shape (n_showers, n_layers, n_angles, n_radii), MeV.
    energy
        float32, shape (n_showers,), MeV.
    conditions
        float32, shape (n_showers, n_conditions).
    """

    showers: Tensor
    energy: Tensor
    conditions: Tensor

    def __len__(self) -> int:
        return len(self.energy)

    def __getitem__(self, rows: Tensor | slice) -> Batch:
        return Batch(self.showers[rows], self.energy[rows], self.conditions[rows])

    def to(self, device: torch.device | str) -> Batch:
        """The same on another device."""
        return Batch(self.showers.to(device), self.energy.to(device), self.conditions.to(device))


class NeuralModel(nn.Module, ABC):
    """A network that makes showers. A model is a file with its config, `loss` and `from_noise`; all else is here."""

    slug: ClassVar[str]
    config_type: ClassVar[type[NeuralConfig]]

    def __init__(self, config: NeuralConfig) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Parts of the loss, each a mean over showers; their sum is minimised."""

    @property
    @abstractmethod
    def noise_size(self) -> int:
        """How many normal random numbers a shower is made of."""

    @abstractmethod
    def from_noise(self, energy: Tensor, conditions: Tensor, noise: Tensor) -> Tensor:
        """Showers, float32, shape (n_showers, n_layers, n_angles, n_radii), MeV: a function of these alone, to be exported.

        Parameters
        ----------
        energy
            Shape (n_showers,), MeV.
        conditions
            Shape (n_showers, n_conditions).
        noise
            Normal random numbers, shape (n_showers, noise_size).
        """

    def prepare(self, batch: Batch) -> None:
        """Called once with the showers that are to be trained on, before the first step: to take scales from them."""

    def training_batch(self, batch: Batch) -> Batch:
        """What is trained on, made once of the showers that are given; the same in each call."""
        return batch

    def generate(self, energy: Tensor, conditions: Tensor, generator: torch.Generator) -> Tensor:
        """Showers, float32, shape (n_showers, n_layers, n_angles, n_radii), MeV, of energies (MeV) and conditions."""
        noise = torch.randn(len(energy), self.noise_size, generator=generator, device=energy.device)
        return self.from_noise(energy, conditions, noise)

    @property
    def parameters_count(self) -> int:
        """Numbers that a training may change."""
        return sum(parameter.numel() for parameter in self.parameters())

    def batch(self, records: Records) -> Batch:
        """Records as tensors.

        Raises
        ------
        InputError
            Another grid, an unknown geometry, or energies outside of the model's range.
        """
        if records.voxels != self.config.voxels:
            raise InputError(
                f"the showers have {records.voxels.shape} voxels of other sizes than the model's {self.config.voxels.shape}",
                hint="Choose the geometry that the model was made for, or adapt it to the new one.",
                code="showers.voxels",
            )
        places = np.array([self._place(name) for name in records.geometries])
        conditions = self._conditions(records.energy, records.theta, records.phi, records.particle, places[records.geometry])
        showers = records.above(self.config.threshold).showers if self.config.threshold > 0 else records.showers
        return Batch(
            torch.from_numpy(np.require(showers, np.float32, ["C", "W"])),
            torch.from_numpy(records.energy.astype(np.float32)),
            conditions,
        )

    def sample(
        self,
        energies: npt.ArrayLike,
        *,
        seed: int,
        theta: npt.ArrayLike = NORMAL,
        phi: npt.ArrayLike = 0.0,
        particle: npt.ArrayLike = 11,
        geometry: str | None = None,
        batch: int = 100,
    ) -> Showers:
        """Showers of particles of these energies (MeV): float32, shape (n_showers, n_layers, n_angles, n_radii), MeV.

        Parameters
        ----------
        theta, phi, particle
            Directions (radians) and PDG codes, one or one for each shower.
        geometry
            Name of a calorimeter; the first if left out.
        batch
            How many are made at once.

        Raises
        ------
        InputError
            Energies outside of the trained range, or a geometry that the model does not know.
        """
        energy = checked_energies(energies)
        count = len(energy)
        place = np.full(count, self._place(self.config.geometries[0] if geometry is None else geometry))
        polar, azimuth = (np.broadcast_to(np.asarray(values, np.float64), (count,)) for values in (theta, phi))
        conditions = self._conditions(energy, polar, azimuth, np.broadcast_to(np.asarray(particle), (count,)), place)
        device = next(self.parameters()).device
        generator = torch.Generator(device).manual_seed(seed)
        numbers = torch.from_numpy(energy.astype(np.float32)).to(device)
        training = self.training
        self.eval()
        try:
            with torch.no_grad():
                parts = [
                    self.generate(numbers[at : at + batch], conditions[at : at + batch].to(device), generator).cpu()
                    for at in range(0, count, batch)
                ]
        finally:
            self.train(training)
        if not parts:
            return np.zeros((0, *self.config.voxels.shape), np.float32)
        showers: Showers = torch.cat(parts).numpy()
        showers[showers < self.config.threshold] = 0
        return showers

    def _place(self, geometry: str) -> int:
        if geometry not in self.config.geometries:
            raise DataError.missing("geometry", geometry, self.config.geometries, where="the model")
        return self.config.geometries.index(geometry)

    def _conditions(
        self,
        energy: npt.NDArray[np.float64],
        theta: npt.NDArray[np.float64],
        phi: npt.NDArray[np.float64],
        particle: npt.NDArray[Any],
        place: npt.NDArray[np.integer],
    ) -> Tensor:
        low, high = self.config.lowest, self.config.highest
        outside = (energy < low * (1 - 1e-6)) | (energy > high * (1 + 1e-6))
        if outside.any():
            raise InputError(
                f"a particle of {energy[outside][0] / 1000:.4g} GeV is outside of the model's range, "
                f"{low / 1000:.4g} to {high / 1000:.4g} GeV",
                hint="Choose energies within it, or train a model on others.",
                code="showers.range",
            )
        middle, half = (math.log(high) + math.log(low)) / 2, (math.log(high) - math.log(low)) / 2
        columns = [
            (np.log(energy) - middle) / half,
            np.cos(theta),
            np.sin(theta),
            np.cos(phi),
            np.sin(phi),
            (np.abs(particle) == PHOTON).astype(np.float64),
        ]
        slots = np.eye(len(self.config.geometries) + self.config.spare)[place]
        return torch.from_numpy(np.column_stack([*columns, slots]).astype(np.float32))

    def save(self, path: Path | str) -> None:
        """Weights and configuration as a safetensors file."""
        description = {"model": self.slug, "config": json.dumps(asdict(self.config))}
        save_file({name: value.contiguous() for name, value in self.state_dict().items()}, path, metadata=description)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """A model that `save` has written.

        Raises
        ------
        InputError
            The file is not one, or of another model.
        """
        tensors, description = read_tensors(path)
        return cls.from_parts(description, tensors, path)

    @classmethod
    def from_parts(cls, description: Mapping[str, str], tensors: Mapping[str, Tensor], path: Path | str) -> Self:
        """A model of a file's description and weights."""
        if description.get("model") != cls.slug:
            raise InputError(
                f"{path} holds {description.get('model', 'no model')}, not {cls.slug}", hint="Load it with its own class."
            )
        try:
            model = cls(cls.config_type.from_mapping(json.loads(description["config"])))
            model.load_state_dict(dict(tensors))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{path} is no {cls.slug} model: {error}", hint="Save it again.") from error
        return model


def turns(batch: Batch, generator: torch.Generator) -> Tensor:
    """For each shower that meets the layers at a right angle, a turn around its axis and a mirror, by chance.

    Nothing tells such showers apart, so that a sample stands for as many more.

    Returns
    -------
    Tensor
        Which angle comes to each angle's place, int64, shape (n_showers, n_angles).
    """
    count, angles = len(batch), batch.showers.shape[2]
    device = batch.showers.device
    turn = torch.randint(angles, (count, 1), generator=generator, device=device)
    mirror = torch.randint(2, (count, 1), generator=generator, device=device) * 2 - 1
    straight = batch.conditions[:, 1:2].abs() < 1e-6
    places = torch.arange(angles, device=device)
    return torch.where(straight, (mirror * places + turn) % angles, places)


def turned(voxels: Tensor, places: Tensor) -> Tensor:
    """Voxels, shape (n_showers, n_layers, n_angles, n_radii), with the angles of `turns`."""
    return voxels.take_along_dim(places[:, None, :, None], dim=2)


def above(showers: Tensor, threshold: float) -> Tensor:
    """Voxels below the threshold emptied."""
    return torch.where(showers >= threshold, showers, torch.zeros_like(showers))


def read_tensors(path: Path | str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and description of a safetensors file; InputError where it is none."""
    try:
        with safe_open(str(path), framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path} is no safetensors file: {error}", hint="Give a file that a model or a training saved."
        ) from error
