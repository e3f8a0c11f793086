"""Calorimeters: layers of slabs along the depth, and the voxels in which their showers are given."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from mlcore.errors import InputError
from mlcore.showers.geometry.crystals import Orientation
from mlcore.showers.geometry.hexagons import Hexagons
from mlcore.showers.geometry.materials import Material
from mlcore.showers.voxels import Voxels


@dataclass(frozen=True)
class Slab:
    """One sheet of a layer.

    Attributes
    ----------
    thickness
        mm.
    sensitive
        Whether energy deposited in it is read out.
    """

    material: Material
    thickness: float
    sensitive: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.thickness) and self.thickness > 0):
            raise InputError(f"a slab of {self.material.name} is {self.thickness} mm thick", hint="Give a thickness above 0.")


Layer = tuple[Slab, ...]
"""Slabs in the order in which a particle meets them."""


@dataclass(frozen=True)
class Calorimeter:
    """A stack of flat layers, wide enough to hold a shower sideways, hit in the middle of its face.

    The particle's direction is (theta, phi) as seen from the centre of a barrel: theta is the angle to the beam, so that
    90 degrees meet the layers at a right angle. Barrels are taken as symmetric: phi turns the calorimeter along with the
    particle. Voxels lie along the particle's direction, their angle 0 in the plane of that direction and the beam.

    Parameters
    ----------
    name
        By which it is known in files and commands.
    title
        What people call it.
    layers
        From the face on.
    voxels
        Their depth counts from the point of entry along the particle's direction.
    threshold
        Energies below are noise to the experiment, MeV in a voxel.
    hexagons
        Cells of a layer, of calorimeters that have hexagonal ones.
    orientation
        Of calorimeters of oriented crystals.
    notes
        Where the figures are from.

    Raises
    ------
    InputError
        There are no layers, or none that is read out.
    """

    name: str
    title: str
    layers: tuple[Layer, ...]
    voxels: Voxels
    threshold: float = 0.0
    hexagons: Hexagons | None = None
    orientation: Orientation | None = None
    notes: str = ""

    def __post_init__(self) -> None:
        if not self.layers or not all(self.layers):
            raise InputError(
                f"calorimeter {self.name!r} has no layers, or one without slabs", hint="Give at least one slab a layer."
            )
        if not any(slab.sensitive for layer in self.layers for slab in layer):
            raise InputError(
                f"calorimeter {self.name!r} has no sensitive slab", hint="Mark the slabs that are read out: sensitive: true."
            )
        if not (math.isfinite(self.threshold) and self.threshold >= 0):
            raise InputError(f"calorimeter {self.name!r} has the threshold {self.threshold}", hint="Give MeV, 0 or more.")

    @cached_property
    def depth(self) -> float:
        """Of all layers, mm."""
        return sum(slab.thickness for layer in self.layers for slab in layer)

    @cached_property
    def slabs(self) -> tuple[Slab, ...]:
        return tuple(slab for layer in self.layers for slab in layer)

    @cached_property
    def medium(self) -> Material:
        """All layers mixed; X0, Moliere radius and critical energy of the calorimeter are its own."""
        return Material.mixed(self.name, [(slab.material, slab.thickness) for slab in self.slabs])

    @property
    def radiation_length(self) -> float:
        """mm."""
        return self.medium.radiation_length

    @property
    def moliere_radius(self) -> float:
        """mm."""
        return self.medium.moliere_radius

    @property
    def critical_energy(self) -> float:
        """MeV."""
        return self.medium.critical_energy

    @property
    def radiation_lengths(self) -> float:
        """The depth in X0."""
        return sum(slab.thickness / slab.material.radiation_length for slab in self.slabs)

    @property
    def homogeneous(self) -> bool:
        """Whether everything is read out and of one material."""
        return all(slab.sensitive and slab.material == self.slabs[0].material for slab in self.slabs)

    @property
    def mip_fraction(self) -> float:
        """Part of its energy that a particle of least ionisation leaves in what is read out."""
        losses = [(slab.material.least_loss * slab.thickness, slab.sensitive) for slab in self.slabs]
        return sum(loss for loss, sensitive in losses if sensitive) / sum(loss for loss, _ in losses)

    @property
    def e_over_mip(self) -> float:
        """``1 / (1 + 0.007 (Z_passive - Z_active))``: hep-ex/0001020, Sec. 4.1."""
        if all(slab.sensitive for slab in self.slabs):
            return 1.0
        active, passive = self._part(sensitive=True), self._part(sensitive=False)
        return 1 / (1 + 0.007 * (passive.z - active.z))

    @property
    def sampling_fraction(self) -> float:
        """Part of an electromagnetic shower's energy that is read out, estimated: the MIP's part times e/mip."""
        return self.mip_fraction * self.e_over_mip

    @property
    def sampling_frequency(self) -> float:
        """Layers in a radiation length."""
        return self.radiation_length * len(self.layers) / self.depth

    def depth_of_maximum(self, energy: float, *, photon: bool = False) -> float:
        """Where a shower of `energy` MeV is expected to be largest, in X0.

        ``ln y - 0.812`` with ``y = E / E_c`` in homogeneous media; sampling calorimeters add ``-0.55 / F_s - 0.69 (1 - e/mip)``:
        hep-ex/0001020, the means of single showers. A photon's shower is about half a radiation length later.
        """
        if not (math.isfinite(energy) and energy > 0):
            raise InputError(f"a particle cannot have {energy} MeV", hint="Give an energy above 0.")
        depth = math.log(energy / self.rossi_energy) - 0.812
        if not self.homogeneous:
            depth += -0.55 / self.sampling_frequency - 0.69 * (1 - self.e_over_mip)
        return depth + (0.5 if photon else 0.0)

    @property
    def rossi_energy(self) -> float:
        """Critical energy in the fit that Grindhammer and Peters use, ``2.66 (X0 Z / A) ** 1.1``, MeV."""
        return float(2.66 * (self.medium.specific_radiation_length * self.medium.z / self.medium.a) ** 1.1)

    def _part(self, *, sensitive: bool) -> Material:
        return Material.mixed("part", [(slab.material, slab.thickness) for slab in self.slabs if slab.sensitive is sensitive])
