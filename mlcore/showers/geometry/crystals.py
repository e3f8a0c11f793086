"""Oriented crystals, whose showers are shorter along an axis of their lattice.

The field of a row of atoms, met at small angles, makes electrons radiate and photons convert more often, the more the higher
their energy: the effective radiation length shrinks. What is measured are single points. They are joined here by a form that has
the right limits, which is this project's own: logarithmic growth above the energy where the field begins to matter, and a
Lorentzian of the angle whose width is that of the strong field, V0 / m.

References
----------
L. Bandiera et al., "Strong reduction of the effective radiation length in an axially oriented scintillator crystal",
Phys. Rev. Lett. 121 (2018) 021603: five times shorter in PbWO4 along [001] for electrons of 120 GeV.
M. Soldani et al., "Strong enhancement of electromagnetic shower development induced by high-energy photons in a thick oriented
tungsten crystal", Eur. Phys. J. C 83 (2023) 101, arXiv:2203.07163: above twice the energy in 1 cm of W <111> at 100 GeV.
M. Soldani et al., arXiv:2404.12016: PbWO4 above a few GeV, up to three times the energy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mlcore.errors import InputError


@dataclass(frozen=True)
class Orientation:
    """How a crystal's lattice shortens showers.

    Attributes
    ----------
    axis
        The axis that points along the depth.
    onset
        Energy where the strong field begins to matter, GeV.
    anchor
        Energy at which the factor is known, GeV.
    factor
        Amorphous over effective radiation length there, at angle 0.
    width
        Angle at which half the effect is left, mrad.
    """

    axis: str
    onset: float
    anchor: float
    factor: float
    width: float

    def __post_init__(self) -> None:
        numbers = self.onset, self.anchor, self.factor, self.width
        if not all(map(math.isfinite, numbers)) or not (0 < self.onset < self.anchor and self.factor >= 1 and self.width > 0):
            raise InputError(
                "an orientation needs 0 < onset < anchor (GeV), a factor of 1 or more and a width above 0 (mrad)",
                hint=f"It was given {numbers}.",
            )

    def shortening(self, energy: float, angle: float = 0.0) -> float:
        """By which the radiation length is divided.

        Parameters
        ----------
        energy
            Of the particle, GeV.
        angle
            To the axis, mrad.

        Examples
        --------
        >>> round(PWO.shortening(120), 3), round(PWO.shortening(120, PWO.width), 3), PWO.shortening(1)
        (5.0, 3.0, 1.0)
        """
        if not energy > 0:
            raise InputError(f"a particle cannot have {energy} GeV", hint="Give an energy above 0.")
        growth = max(0.0, math.log(energy / self.onset)) / math.log(self.anchor / self.onset)
        return 1 + (self.factor - 1) * growth / (1 + (angle / self.width) ** 2)


# Widths are V0 / m with the depth of the axis' potential, about 0.5 keV in PbWO4 and 0.9 keV in W: the angle of the strong field.
PWO = Orientation("[001]", onset=3.0, anchor=120.0, factor=5.0, width=1.0)
TUNGSTEN = Orientation("<111>", onset=10.0, anchor=100.0, factor=2.5, width=1.7)
