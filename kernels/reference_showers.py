"""The oracle of electromagnetic showers in plain NumPy, written to be read rather than to be fast.

References
----------
G. Grindhammer and S. Peters, hep-ex/0001020. Numbers A.x.y name the appendix that a formula stands in.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.reference_rows import mixed

Array = npt.NDArray[np.float64]
GOLDEN = 0x9E3779B97F4A7C15
_WORD = 2**64


@dataclass(frozen=True)
class Medium:
    """The arguments of `kernels.GFlash`."""

    z: float
    radiation_length: float
    moliere_radius: float
    critical_energy: float
    frequency: float = 0.0
    e_over_mip: float = 1.0
    resolution: float = 0.0


class Stream:
    """Numbers from a seed, a shower and a stream of it (SplitMix64)."""

    def __init__(self, seed: int, shower: int, stream: int) -> None:
        key = _mixed((seed + GOLDEN) % _WORD)
        key = _mixed((key + shower) % _WORD)
        self.key = _mixed((key + stream) % _WORD)
        self.next = 0

    def bits(self, index: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        return mixed(np.uint64(self.key) + np.uint64(GOLDEN) * (index + np.uint64(1)))

    def uniform(self) -> float:
        word = int(self.bits(np.array([self.next], np.uint64))[0])
        self.next += 1
        return ((word >> 12) + 0.5) * 2.0**-52

    def normal(self) -> float:
        radius = math.sqrt(-2 * math.log(self.uniform()))
        return radius * math.cos(2 * math.pi * self.uniform())

    def gamma(self, shape: float) -> float:
        """Of mean and variance `shape` (Marsaglia and Tsang, ACM TOMS 26 (2000) 363)."""
        if shape < 1:
            boost: float = self.uniform() ** (1 / shape)
            return boost * self.gamma(shape + 1)
        d = shape - 1 / 3
        c = 1 / math.sqrt(9 * d)
        while True:
            x = self.normal()
            v = 1 + c * x
            if v <= 0:
                continue
            cube = v**3
            if math.log(self.uniform()) < 0.5 * x * x + d - d * cube + d * math.log(cube):
                return d * cube


def _mixed(word: int) -> int:
    return int(mixed(np.array([word], np.uint64))[0])


def gamma_share(a: float, x: float) -> float:
    """The share of a gamma distribution of shape `a` below `x`, by its power series: all terms are positive."""
    if x <= 0:
        return 0.0
    if x > a + 60 * math.sqrt(a) + 200:
        return 1.0
    term = total = 1 / a
    n = a + 1
    while term > 1e-18 * total or n < x:
        term *= x / n
        total += term
        n += 1
    return min(total * math.exp(a * math.log(x) - x - math.lgamma(a)), 1.0)


@dataclass(frozen=True)
class Longitudinal:
    """Averages and widths of ln T and ln alpha."""

    log_t: float
    log_alpha: float
    sigma_log_t: float
    sigma_log_alpha: float
    rho: float


def longitudinal(medium: Medium, energy: float) -> Longitudinal:
    """A.1.1, A.1.2 and A.2.1, A.2.2; T >= 0.1, alpha >= 1.1 and widths <= 0.5 where the formulas have no value."""
    log_y = math.log(energy / medium.critical_energy)

    def width(a: float, b: float) -> float:
        return 1 / max(a + b * log_y, 2)

    t = max(log_y - 0.812, 0.1)
    alpha = max(0.81 + (0.458 + 2.26 / medium.z) * log_y, 1.1)
    if medium.frequency <= 0:
        rho = 0.705 - 0.023 * log_y
        return Longitudinal(math.log(t), math.log(alpha), width(-1.4, 1.26), width(-0.58, 0.86), max(-1.0, min(rho, 1.0)))
    t = max(t - 0.55 / medium.frequency - 0.69 * (1 - medium.e_over_mip), 0.1)
    alpha = max(alpha - 0.476 / medium.frequency, 1.1)
    rho = 0.784 - 0.023 * log_y
    return Longitudinal(math.log(t), math.log(alpha), width(-2.5, 1.25), width(-0.82, 0.79), max(-1.0, min(rho, 1.0)))


def radial(medium: Medium, energy: float, tau: float) -> tuple[float, float, float]:
    """Core and tail in units of R_M and the core's weight: A.1.3 and A.2.3."""
    log_e, z = math.log(energy / 1000), medium.z
    core = 0.0251 + 0.00319 * log_e + (0.1162 - 0.000381 * z) * tau
    k1, k2, k3, k4 = 0.659 - 0.00309 * z, 0.645, -2.59, 0.3585 + 0.0412 * log_e
    tail = k1 * (math.exp(k3 * (tau - k2)) + math.exp(k4 * (tau - k2)))
    p1, p2, p3 = 2.632 - 0.00094 * z, 0.401 + 0.00187 * z, 1.313 - 0.0686 * log_e
    weight = p1 * math.exp((p2 - tau) / p3 - math.exp((p2 - tau) / p3))
    if medium.frequency > 0:
        missing = 1 - medium.e_over_mip
        core += -0.0203 * missing + 0.0397 / medium.frequency * math.exp(-tau)
        tail += -0.14 * missing - 0.495 / medium.frequency * math.exp(-tau)
        weight += missing * (0.348 - 0.642 / medium.frequency * math.exp(-((tau - 1) ** 2)))
    core = max(core, 1e-3)
    return core, max(tail, core), max(0.0, min(weight, 1.0))


def place(
    near: float, far: float, core: float, tail: float, weight: float, stream: Stream, count: int
) -> tuple[Array, Array, Array, Array, Array]:
    """x, y, z, radius and turn of a layer's spots, each of shape (count,)."""
    index = np.arange(count, dtype=np.uint64)
    first, second = stream.bits(np.uint64(2) * index), stream.bits(np.uint64(2) * index + np.uint64(1))

    def low(bits: npt.NDArray[np.uint64]) -> Array:
        values: Array = ((bits & np.uint64(0x7FFFFFFF)).astype(np.float64) + 0.5) * 2.0**-31
        return values

    def high(bits: npt.NDArray[np.uint64]) -> Array:
        return low(bits >> np.uint64(33))

    choice, where, turn, along = low(first), high(first), low(second), high(second)
    radius = np.where(choice < weight, core, tail) * np.sqrt(where / (1 - where))
    angle = 2 * math.pi * turn - math.pi
    return radius * np.cos(angle), radius * np.sin(angle), near + (far - near) * along, radius, turn


@dataclass(frozen=True)
class Layer:
    """Of a shower: its energy (MeV) and its spots' positions."""

    energy: float
    x: Array
    y: Array
    z: Array
    radius: Array
    turn: Array


def layers(
    medium: Medium, energy: float, start: float, depths: Array, *, seed: int, shower: int, fluctuate: bool = True
) -> list[Layer]:
    """One shower."""
    stream = Stream(seed, shower, 0)
    mean = longitudinal(medium, energy)
    first, second = (stream.normal(), stream.normal()) if fluctuate else (0.0, 0.0)
    plus, minus = math.sqrt((1 + mean.rho) / 2) * first, math.sqrt((1 - mean.rho) / 2) * second
    t = math.exp(mean.log_t + mean.sigma_log_t * (plus + minus))
    alpha = max(math.exp(mean.log_alpha + mean.sigma_log_alpha * (plus - minus)), 1.1)
    gev, z, sampling = energy / 1000, medium.z, medium.frequency > 0
    if sampling:  # A.2.4
        spot_t, spot_alpha = t * (0.813 + 0.0019 * z), alpha * (0.844 + 0.0026 * z)
        spots = 10.3 / medium.resolution * gev**0.959
    else:  # A.1.4
        spot_t, spot_alpha = t * (0.698 + 0.00212 * z), alpha * (0.639 + 0.00334 * z)
        spots = 93 * math.log(z) * gev**0.876
    spot_alpha = max(spot_alpha, 1.1)
    beta, spot_beta = (alpha - 1) / t, (spot_alpha - 1) / spot_t
    mean_alpha = math.exp(mean.log_alpha)
    tau_scale = (alpha - 1) / (alpha * t) * mean_alpha / (mean_alpha - 1)

    result = []
    for i, (low, high) in enumerate(itertools.pairwise(depths)):
        near, far = max(low, min(start, high)), high
        ends = [max(edge - start, 0) / medium.radiation_length for edge in (low, high)]
        share = gamma_share(alpha, beta * ends[1]) - gamma_share(alpha, beta * ends[0])
        spot_share = gamma_share(spot_alpha, spot_beta * ends[1]) - gamma_share(spot_alpha, spot_beta * ends[0])
        deposit = energy * share if share > 1e-9 else 0.0
        if sampling and fluctuate and deposit > 0:
            unit = medium.resolution**2 * 1000
            deposit = unit * Stream(seed, shower, 2 * i + 1).gamma(deposit / unit)
            deposit = deposit if deposit > 1e-9 * energy else 0.0
        middle = 0.5 * sum(max(edge - start, 0) / medium.radiation_length for edge in (near, far))
        core, tail, weight = radial(medium, energy, tau_scale * middle)
        count = max(math.floor(spots * max(spot_share, 0) + 0.5), 1) if deposit > 0 else 0
        moliere = medium.moliere_radius
        placed = place(near, far, core * moliere, tail * moliere, weight, Stream(seed, shower, 2 * i + 2), count)
        result.append(Layer(deposit, *placed))
    return result
