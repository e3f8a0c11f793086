"""Materials with the quantities that describe showers in them, computed from their composition.

References
----------
Particle Data Group, Review of Particle Physics, "Passage of particles through matter" (2024): radiation length after Tsai with
his radiation logarithms, critical energy in Rossi's definition by the fits for solids and gases, Moliere radius of compounds;
least energy losses from its "Atomic and nuclear properties of materials".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from mlcore.errors import DataError, InputError

SCALE_ENERGY = 21.2052
"""E_s = sqrt(4 pi / alpha) m_e, MeV."""
ALPHA = 1 / 137.035999
# 4 alpha r_e^2 N_A is 1 / 716.408 cm2/mol.
TSAI = 716.408


@dataclass(frozen=True)
class Element:
    """A chemical element.

    Attributes
    ----------
    z, a
        Atomic number and mass (g/mol).
    least_loss
        Energy that a particle of least ionisation loses, MeV cm2/g.
    gas
        Whether the critical energy is that of a gas.
    """

    symbol: str
    z: int
    a: float
    least_loss: float
    gas: bool = False

    @cached_property
    def radiation_length(self) -> float:
        """g/cm2."""
        if self.z <= 4:
            logs = {1: (5.31, 6.144), 2: (4.79, 5.621), 3: (4.74, 5.805), 4: (4.71, 5.924)}[self.z]
        else:
            logs = math.log(184.15 * self.z ** (-1 / 3)), math.log(1194 * self.z ** (-2 / 3))
        x = (ALPHA * self.z) ** 2
        coulomb = x * (1 / (1 + x) + 0.20206 - 0.0369 * x + 0.0083 * x**2 - 0.002 * x**3)
        return TSAI * self.a / (self.z**2 * (logs[0] - coulomb) + self.z * logs[1])

    @cached_property
    def critical_energy(self) -> float:
        """MeV."""
        return 710 / (self.z + 0.92) if self.gas else 610 / (self.z + 1.24)


ELEMENTS = {
    element.symbol: element
    for element in (
        Element("H", 1, 1.008, 4.103, gas=True),
        Element("C", 6, 12.011, 1.742),
        Element("N", 7, 14.007, 1.825, gas=True),
        Element("O", 8, 15.999, 1.801, gas=True),
        Element("Al", 13, 26.982, 1.615),
        Element("Si", 14, 28.085, 1.664),
        Element("Ar", 18, 39.948, 1.508),
        Element("Fe", 26, 55.845, 1.451),
        Element("Ni", 28, 58.693, 1.468),
        Element("Cu", 29, 63.546, 1.403),
        Element("W", 74, 183.84, 1.145),
        Element("Pb", 82, 207.2, 1.122),
    )
}


@dataclass(frozen=True)
class Material:
    """A mixture of elements.

    Parameters
    ----------
    fractions
        Pairs of an element's symbol and its part of the mass; they add up to 1.
    density
        g/cm3.

    Raises
    ------
    InputError
        An element is not known, fractions do not add up to 1, or the density is not above 0.

    Examples
    --------
    >>> tungsten = MATERIALS["W"]
    >>> round(tungsten.radiation_length, 2), round(tungsten.critical_energy, 2), round(tungsten.moliere_radius, 1)
    (3.5, 8.11, 9.2)
    """

    name: str
    fractions: tuple[tuple[str, float], ...]
    density: float

    def __post_init__(self) -> None:
        for symbol, fraction in self.fractions:
            if symbol not in ELEMENTS:
                raise DataError.missing("element", symbol, ELEMENTS, where=f"material {self.name!r}")
            if not (math.isfinite(fraction) and fraction > 0):
                raise InputError(f"material {self.name!r} has a fraction {fraction} of {symbol}", hint="Fractions are above 0.")
        total = sum(fraction for _, fraction in self.fractions)
        if abs(total - 1) > 1e-3:
            raise InputError(
                f"the fractions of material {self.name!r} add up to {total:.4g}", hint="They are parts of the mass: 1."
            )
        if not (math.isfinite(self.density) and self.density > 0):
            raise InputError(f"material {self.name!r} has the density {self.density}", hint="Give g/cm3, above 0.")

    @classmethod
    def of_atoms(cls, name: str, atoms: Mapping[str, float], density: float) -> Material:
        """From the numbers of atoms of a formula."""
        for symbol in atoms:
            if symbol not in ELEMENTS:
                raise DataError.missing("element", symbol, ELEMENTS, where=f"material {name!r}")
        masses = {symbol: number * ELEMENTS[symbol].a for symbol, number in atoms.items()}
        total = sum(masses.values())
        return cls(name, tuple((symbol, mass / total) for symbol, mass in masses.items()), density)

    @classmethod
    def mixed(cls, name: str, parts: list[tuple[Material, float]]) -> Material:
        """Materials that share a volume in the proportion of the lengths given, as the layers of a calorimeter do."""
        volume = sum(length for _, length in parts)
        mass = sum(material.density * length for material, length in parts)
        fractions: dict[str, float] = {}
        for material, length in parts:
            for symbol, fraction in material.fractions:
                fractions[symbol] = fractions.get(symbol, 0.0) + fraction * material.density * length / mass
        return cls(name, tuple(fractions.items()), mass / volume)

    @property
    def z(self) -> float:
        """Atomic number, averaged by mass."""
        return sum(fraction * ELEMENTS[symbol].z for symbol, fraction in self.fractions)

    @property
    def a(self) -> float:
        """Atomic mass, averaged by mass, g/mol."""
        return sum(fraction * ELEMENTS[symbol].a for symbol, fraction in self.fractions)

    @property
    def specific_radiation_length(self) -> float:
        """g/cm2."""
        return 1 / sum(fraction / ELEMENTS[symbol].radiation_length for symbol, fraction in self.fractions)

    @property
    def radiation_length(self) -> float:
        """mm."""
        return 10 * self.specific_radiation_length / self.density

    @property
    def critical_energy(self) -> float:
        """MeV; of a mixture that which its Moliere radius implies, E_s X0 / R_M."""
        return self.specific_radiation_length * sum(
            fraction * ELEMENTS[symbol].critical_energy / ELEMENTS[symbol].radiation_length for symbol, fraction in self.fractions
        )

    @property
    def moliere_radius(self) -> float:
        """mm."""
        return self.radiation_length * SCALE_ENERGY / self.critical_energy

    @property
    def least_loss(self) -> float:
        """Energy that a particle of least ionisation loses, MeV/mm, by Bragg's additivity."""
        return sum(fraction * ELEMENTS[symbol].least_loss for symbol, fraction in self.fractions) * self.density / 10


AIR = Material("air", (("N", 0.755), ("O", 0.232), ("Ar", 0.013)), 1.205e-3)
MATERIALS = {
    material.name: material
    for material in (
        *(
            Material(symbol, ((symbol, 1.0),), density)
            for symbol, density in (
                ("W", 19.30),
                ("Pb", 11.35),
                ("Cu", 8.96),
                ("Fe", 7.874),
                ("Al", 2.699),
                ("Si", 2.329),
            )
        ),
        Material("liquid argon", (("Ar", 1.0),), 1.396),
        Material.of_atoms("polystyrene", {"C": 8, "H": 8}, 1.06),
        Material.of_atoms("PbWO4", {"Pb": 1, "W": 1, "O": 4}, 8.30),
        Material("CuW", (("Cu", 0.25), ("W", 0.75)), 14.979),
        # Glass-fibre laminate, as circuit boards are made of: 60 % quartz, 40 % epoxy by mass.
        Material("G10", (("Si", 0.2805), ("O", 0.3954), ("C", 0.2990), ("H", 0.0251)), 1.85),
        AIR,
    )
}
