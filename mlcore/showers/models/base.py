"""What every model of showers offers, whatever it is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, Self

import numpy.typing as npt

from mlcore.showers.voxels import Showers


class ShowerModel(Protocol):
    """Makes showers of given particles; the same seed makes the same showers."""

    slug: str

    def sample(self, energies: npt.ArrayLike, *, seed: int) -> Showers:
        """Showers of particles of these energies (MeV): float32, shape (n_showers, n_layers, n_angles, n_radii), MeV."""

    def save(self, path: Path | str) -> None:
        """Everything that `load` needs in one file, without code in it."""

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """A model that `save` has written; InputError for another file."""
