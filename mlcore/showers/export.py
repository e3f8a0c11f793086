"""A trained network as ONNX, and as C++ for a detector simulation: sampler included, noise an input.

Public names: `Sampler` (the network as a function of energy, conditions and noise), `save_onnx`, `save_cpp`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mlcore.errors import InputError
from mlcore.networks import CompileReport, compile_model
from mlcore.networks.build import FAST
from mlcore.networks.emit.project import archive
from mlcore.networks.frontends import as_onnx
from mlcore.showers.geometry import CALORIMETERS, Calorimeter
from mlcore.showers.models.neural import NeuralModel


class Sampler(nn.Module):
    """A model as a function, in the form in which it is exported."""

    def __init__(self, model: NeuralModel) -> None:
        super().__init__()
        self.model = model
        self.eval()

    def forward(self, energy: Tensor, conditions: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """Showers of energies, shape (n,), MeV; conditions, (n, n_conditions); and normal noise, (n, noise_size)."""
        return {"showers": self.model.from_noise(energy, conditions, noise)}

    def example(self, count: int = 1) -> tuple[Tensor, Tensor, Tensor]:
        """Arguments: particles at a right angle, their energies spread over the model's range."""
        config = self.model.config
        level = torch.linspace(-0.9, 0.9, count) if count > 1 else torch.zeros(1)
        middle, half = np.log(config.lowest * config.highest) / 2, np.log(config.highest / config.lowest) / 2
        conditions = torch.zeros(count, config.conditions)
        conditions[:, 0], conditions[:, 2], conditions[:, 3], conditions[:, 6] = level, 1, 1, 1
        noise = torch.randn(count, self.model.noise_size, generator=torch.Generator().manual_seed(1))
        return torch.exp(middle + half * level).float(), conditions, noise


def save_onnx(model: NeuralModel, path: Path | str, *, at_once: int | None = None) -> None:
    """Write a model as ONNX, with inputs ``energy``, ``conditions`` and ``noise``, and the output ``showers`` (`Sampler`).

    Parameters
    ----------
    at_once
        Showers of each call; left open where it is not given.

    Raises
    ------
    InputError
        PyTorch cannot export the model.
    """
    sampler = Sampler(_on_cpu(model))
    Path(path).write_bytes(as_onnx(sampler, **_arguments(sampler, at_once)).SerializeToString())


@dataclass(frozen=True)
class ShowerCode:
    """C++ of a model.

    Attributes
    ----------
    report
        Of the network: how well it agrees with ONNX Runtime, its time where it was asked for.
    folder, archive
        The project, with the header ``NAME_showers.hpp`` beside the network's, an example, and a model for Geant4.
    """

    report: CompileReport
    folder: Path
    archive: Path


def save_cpp(
    model: NeuralModel,
    directory: Path,
    *,
    name: str = "showers",
    calorimeter: Calorimeter | None = None,
    particles: Sequence[int] = (11, -11),
    flags: tuple[str, ...] = FAST,
    timed: bool = False,
    progress: Callable[[float, str], None] = lambda fraction, text: None,
    log: Callable[[str], None] = lambda text: None,
    cancelled: Callable[[], bool] | None = None,
) -> ShowerCode:
    """Write a model as a standalone C++ project that makes one shower in a call, verified.

    ``NAME_showers.hpp`` takes a particle and a seed or noise, and gives energies in voxels and hits in space;
    ``geant4/FastShowers.hh`` is a fast-simulation model of Geant4 made of it.

    Parameters
    ----------
    directory
        An existing folder; the project goes to a folder and a zip in it, both called `name`.
    calorimeter
        Whose calibration the showers have; by default the shipped one of the model's first geometry, if it is one.
    particles
        PDG codes of the particles that the model was trained on, which it takes from Geant4.
    flags, timed, progress, log, cancelled
        As of `mlcore.networks.compile_model`.

    Raises
    ------
    InputError
        A name that C++ cannot have, a calorimeter with other voxels, or no particles.
    ToolchainError, VerificationError
        As of `mlcore.networks.compile_model`.
    """
    calorimeter = calorimeter or CALORIMETERS.get(model.config.geometries[0])
    if calorimeter is not None and calorimeter.voxels.shape != model.config.voxels.shape:
        raise InputError(
            f"{calorimeter.name} has {calorimeter.voxels.shape} voxels, the model {model.config.voxels.shape}",
            hint="Choose the calorimeter that the model was trained on.",
            code="showers.voxels",
        )
    if not particles:
        raise InputError("a model of no particles is of no use to Geant4", hint="Give at least one PDG code.")
    sampler = Sampler(_on_cpu(model))
    inputs = ("energy", "conditions", "noise")
    report = compile_model(
        sampler,
        directory,
        name=name,
        origin=f"{model.slug} of showers",
        **_arguments(sampler, 1),
        samples={key: value.numpy() for key, value in zip(inputs, sampler.example(), strict=True)},
        flags=flags,
        timed=timed,
        progress=progress,
        log=log,
        cancelled=cancelled,
    )
    values = _values(model, name, calorimeter) | {"applicable": " || ".join(f"code == {int(code)}" for code in particles)}
    made = {
        f"{name}_showers.hpp": _filled("showers.hpp.in", values),
        "example.cpp": _filled("example.cpp.in", values),
        "geant4/FastShowers.hh": _filled("geant4.hh.in", values),
    }
    (report.folder / "geant4").mkdir()
    for key, text in made.items():
        (report.folder / key).write_text(text, encoding="utf-8")
    contents = {str(path.relative_to(report.folder)): path.read_bytes() for path in report.folder.rglob("*") if path.is_file()}
    report.archive.write_bytes(archive(contents, name))
    return ShowerCode(report, report.folder, report.archive)


def _on_cpu(model: NeuralModel) -> NeuralModel:
    return model.cpu() if next(model.parameters()).device.type != "cpu" else model


def _arguments(sampler: Sampler, at_once: int | None) -> dict[str, Any]:
    """Arguments `shapes` and `example` of the networks' frontends."""
    names = ("energy", "conditions", "noise")
    if at_once is not None:
        return {"example": sampler.example(at_once)}
    example = sampler.example(2)
    return {"example": example, "shapes": {key: ("n", *value.shape[1:]) for key, value in zip(names, example, strict=True)}}


def _values(model: NeuralModel, name: str, calorimeter: Calorimeter | None) -> dict[str, str]:
    config = model.config
    layers, angles, rings = config.voxels.shape
    calibration = calorimeter.calibration if calorimeter is not None else 1.0
    return {
        "name": name,
        "model": f"{model.slug} of {', '.join(config.geometries)}, {model.parameters_count} parameters",
        "geometries": ", ".join(f"{number}: {known}" for number, known in enumerate(config.geometries)),
        "geometry_count": str(len(config.geometries) + config.spare),
        "layers": str(layers),
        "angles": str(angles),
        "rings": str(rings),
        "conditions": str(config.conditions),
        "noise": str(model.noise_size),
        "lowest": repr(float(config.lowest)),
        "highest": repr(float(config.highest)),
        "depths": ", ".join(repr(float(edge)) for edge in config.voxels.depths),
        "radii": ", ".join(repr(float(edge)) for edge in config.voxels.radii),
        "seen": repr(1 / calibration),
        "example_energy": repr(float(np.sqrt(config.lowest * config.highest))),
    }


def _filled(template: str, values: dict[str, str]) -> str:
    return Template(files("mlcore.showers").joinpath("templates", template).read_text(encoding="utf-8")).substitute(values)
