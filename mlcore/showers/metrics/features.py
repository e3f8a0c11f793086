"""The CaloChallenge's high-level features: energies, centres, widths and sparsity of each layer.

References
----------
C. Krause et al., "CaloChallenge 2022: a community challenge for fast calorimeter simulation", arXiv:2410.21611, Sec. 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlcore.showers.voxels import Showers, Voxels, checked_energies

Array = npt.NDArray[np.float64]
_CHUNK = 2048


@dataclass(frozen=True)
class Features:
    """Of a sample of showers; arrays by layer are float64, shape (n_showers, n_layers).

    Attributes
    ----------
    incident
        Energies of the particles, shape (n_showers,), MeV.
    layer_energies
        MeV.
    centre_x, centre_y, width_x, width_y
        Mean and standard deviation of the voxels' positions, weighted by energy, mm; 0 in an empty layer. The CaloChallenge
        names the two directions eta and phi.
    centre_r, width_r
        The same of their radii.
    sparsity
        The share of a layer's voxels with no energy.
    """

    incident: Array
    layer_energies: Array
    centre_x: Array
    centre_y: Array
    width_x: Array
    width_y: Array
    centre_r: Array
    width_r: Array
    sparsity: Array

    @property
    def total(self) -> Array:
        """Energy of all voxels, shape (n_showers,), MeV."""
        total: Array = self.layer_energies.sum(axis=1)
        return total

    def __len__(self) -> int:
        return len(self.incident)

    def table(self) -> Array:
        """The CaloChallenge's input to classifier, FPD and KPD, shape (n_showers, 1 + 5 n_layers).

        log10 of the particle's energy and of the layers' energies (+ 1e-8 MeV), then centres and widths in units of 100 mm.
        """
        lateral = [self.centre_x, self.centre_y, self.width_x, self.width_y]
        energies = np.column_stack([self.incident, self.layer_energies + 1e-8])
        return np.concatenate([np.log10(energies), *(column / 100 for column in lateral)], axis=1)


def features(incident: npt.ArrayLike, showers: npt.NDArray[np.floating], voxels: Voxels, *, threshold: float = 0.0) -> Features:
    """The features of showers whose voxels below the threshold (MeV) count as empty.

    Raises
    ------
    InputError
        Energies or voxels that do not fit together; see `Voxels.checked`.
    """
    checked: Showers = voxels.checked(showers)
    energies = checked_energies(incident, len(checked))
    parts = [_of_chunk(checked[at : at + _CHUNK], voxels, threshold) for at in range(0, len(checked), _CHUNK)]
    layers = voxels.shape[0]
    columns = [np.concatenate([part[i] for part in parts]) if parts else np.empty((0, layers)) for i in range(8)]
    return Features(energies, *columns)


def _of_chunk(showers: Showers, voxels: Voxels, threshold: float) -> tuple[Array, ...]:
    energy = showers.astype(np.float64).reshape(len(showers), voxels.shape[0], -1)
    if threshold > 0:
        energy[energy < threshold] = 0
    sums = energy.sum(axis=2)
    divisor = np.where(sums > 0, sums, 1)

    def moments(position: Array) -> tuple[Array, Array]:
        flat = position.reshape(-1)
        mean = energy @ flat / divisor
        square = energy @ flat**2 / divisor
        variance = square - mean**2
        # One voxel alone has no width; what rounding leaves of it would be the scale of the whole feature.
        return mean, np.sqrt(np.where(variance > 1e-12 * square, variance, 0))

    (x, width_x), (y, width_y), (r, width_r) = (moments(np.asarray(position)) for position in voxels.centres)
    return sums, x, y, width_x, width_y, r, width_r, (energy <= 0).mean(axis=2)
