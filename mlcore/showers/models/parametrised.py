"""A parametrised model in the manner of FastCaloSimV2: principal components of the layers' energies, and histograms of shapes.

In each of several bins of the particle's energy, the response and the layers' shares of it are made normal by their own
distributions. Their first principal component divides the showers by depth into classes; within a class the normal values are
drawn with their covariance and turned back. A layer's energy goes to the voxels in hits of equal energy, drawn from the mean
shape of its class; as many as give the voxels' fluctuations. Between the middles of two energy bins one or the other is taken by
chance, so that averages are interpolated.

References
----------
ATLAS Collaboration, "AtlFast3: the next generation of fast simulation in ATLAS", arXiv:2109.02551, Sec. 4.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from mlcore.errors import InputError
from mlcore.showers.dataset import Records
from mlcore.showers.voxels import Showers, Voxels, checked_energies

Array = npt.NDArray[np.float64]
_MOST_HITS = 1 << 20


@dataclass(frozen=True)
class ParametrisedConfig:
    """How finely showers are divided.

    Attributes
    ----------
    energy_bins
        Of as many showers each.
    classes
        Of depth, in each energy bin.
    knots
        Of each table of quantiles.
    least_showers
        In a class; energy bins and classes become fewer where there are not as many.
    """

    energy_bins: int = 12
    classes: int = 5
    knots: int = 65
    least_showers: int = 30

    def __post_init__(self) -> None:
        if min(self.energy_bins, self.classes) < 1 or self.knots < 3 or self.least_showers < 3:
            raise InputError(
                "a parametrisation needs at least 1 energy bin, 1 class, 3 knots and 3 showers in a class",
                hint="Keep the defaults.",
            )


class Parametrised:
    """Fitted to records by `fit`; samples electrons' or photons' showers, whichever it was fitted to.

    Arrays, of shapes that begin with (energy bins, classes): `nodes` the mean of ln E of a bin; `quantiles` of response and
    shares, by variable and knot; `factors` whose product with their transpose is the covariance of the normal values; `shapes`
    the mean shares of a layer's voxels; `hits` how many hits a layer has at the mean energy. `limits`,
    shape (2,), are the lowest and the highest energy that it was fitted to, MeV.
    """

    slug = "parametrised"
    _arrays = ("nodes", "quantiles", "factors", "shapes", "hits", "limits")

    def __init__(self, config: ParametrisedConfig, voxels: Voxels, arrays: dict[str, npt.NDArray[np.float32]]) -> None:
        self.config = config
        self.voxels = voxels
        self.arrays = arrays
        self._check()

    @property
    def parameters(self) -> int:
        """How many numbers were fitted."""
        return sum(array.size for array in self.arrays.values())

    @classmethod
    def fit(
        cls,
        records: Records,
        config: ParametrisedConfig | None = None,
        *,
        seed: int = 1,
        progress: Callable[[float], None] | None = None,
    ) -> Self:
        """Fit to showers that meet the calorimeter in one direction.

        Raises
        ------
        InputError
            Too few showers, or several directions, particles or geometries.
        """
        config = config or ParametrisedConfig()
        for name, values in (("theta", records.theta), ("particle", records.particle), ("geometry", records.geometry)):
            if len(values) and (values != values[0]).any():
                raise InputError(
                    f"the parametrised model takes showers of one {name}, these have several",
                    hint="Choose one of them, or train a model that has it as a condition.",
                    code="showers.conditions",
                )
        count = len(records)
        if count < config.least_showers:
            raise InputError(
                f"{count} showers are too few to fit", hint=f"Give at least {config.least_showers}.", code="showers.few"
            )
        classes = min(config.classes, count // config.least_showers)
        bins = max(min(config.energy_bins, count // (classes * config.least_showers)), 1)
        rng = np.random.default_rng(seed)
        order = np.argsort(records.energy, kind="stable")
        fitted = []
        for number, rows in enumerate(np.array_split(order, bins)):
            fitted.append(_fit_bin(records[rows], classes, config.knots, rng))
            if progress:
                progress((number + 1) / bins)
        arrays = {name: np.stack([part[name] for part in fitted]).astype(np.float32) for name in cls._arrays[:-1]}
        arrays["limits"] = np.array([records.energy.min(), records.energy.max()], np.float32)
        return cls(config, records.voxels, arrays)

    def sample(self, energies: npt.ArrayLike, *, seed: int) -> Showers:
        """Showers of particles of these energies, MeV; float32, shape (n_showers, n_layers, n_angles, n_radii).

        Raises
        ------
        InputError
            An energy below half the lowest or above twice the highest that was fitted.
        """
        numbers = checked_energies(energies)
        self._check_range(numbers)
        rng = np.random.default_rng(seed)
        bins = self._bins(np.log(numbers), rng)
        classes = rng.integers(0, self.arrays["hits"].shape[1], len(numbers))
        layers, angles, rings = self.voxels.shape
        result = np.zeros((len(numbers), layers, angles * rings), np.float32)
        for b in np.unique(bins):
            for c in np.unique(classes[bins == b]):
                rows = np.flatnonzero((bins == b) & (classes == c))
                result[rows] = self._of_class(b, c, numbers[rows], rng)
        return result.reshape(len(numbers), layers, angles, rings)

    def _of_class(self, b: int, c: int, energies: Array, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        factor, table = (self.arrays[name][b, c].astype(np.float64) for name in ("factors", "quantiles"))
        share = ndtr(rng.standard_normal((len(energies), len(table))) @ factor.T)
        knots = np.linspace(0, 1, table.shape[1])
        values = np.column_stack([np.interp(share[:, i], knots, table[i]) for i in range(len(table))])
        shares = np.clip(values[:, 1:], 0, None)
        sums = shares.sum(axis=1, keepdims=True)
        shares = np.divide(shares, sums, out=np.zeros_like(shares), where=sums > 0)
        deposits = np.clip(values[:, :1], 0, None) * energies[:, None] * shares
        # Fluctuations fall as the root of the energy: hits grow in proportion to it.
        scale = energies / np.exp(float(self.arrays["nodes"][b, c]))
        shapes = self.arrays["shapes"][b, c].reshape(shares.shape[1], -1).astype(np.float64)
        showers = np.zeros((len(energies), *shapes.shape), np.float32)
        for layer, shape in enumerate(shapes):
            total = shape.sum()
            if total <= 0:
                continue
            hits = np.clip(np.round(self.arrays["hits"][b, c, layer] * scale), 1, _MOST_HITS).astype(np.int64)
            counts = rng.multinomial(hits, shape / total)
            showers[:, layer] = counts * (deposits[:, layer] / hits)[:, None]
        return showers

    def _bins(self, logs: Array, rng: np.random.Generator) -> npt.NDArray[np.intp]:
        """One of the two nearest energy bins, by chance in proportion to the nearness in ln E."""
        nodes = self.arrays["nodes"][:, 0].astype(np.float64)
        position = np.interp(logs, nodes, np.arange(len(nodes)))
        low = np.floor(position).astype(np.intp)
        return np.minimum(low + (rng.random(len(logs)) < position - low), len(nodes) - 1)

    def _check_range(self, energies: Array) -> None:
        low, high = map(float, self.arrays["limits"])
        outside = (energies < low / 2) | (energies > high * 2)
        if outside.any():
            raise InputError(
                f"a particle of {energies[outside][0] / 1000:.4g} GeV is outside of what the model was fitted to, "
                f"{low / 1000:.3g} to {high / 1000:.3g} GeV",
                hint="Sample energies within this range, or fit a model to others.",
                code="showers.range",
            )

    def save(self, path: Path | str) -> None:
        """All arrays and the configuration as an ``.npz`` file."""
        description = {"model": self.slug, "config": asdict(self.config), "voxels": asdict(self.voxels)}
        text = np.frombuffer(json.dumps(description).encode(), np.uint8)
        with Path(path).open("wb") as file:
            np.savez_compressed(file, description=text, **self.arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """A model that `save` has written; nothing of the file is run.

        Raises
        ------
        InputError
            The file is not one.
        """
        try:
            with np.load(path, allow_pickle=False) as found:
                description = json.loads(found["description"].tobytes())
                arrays = {name: found[name].astype(np.float32) for name in cls._arrays}
            if description["model"] != cls.slug:
                raise InputError(f"{path} holds another model", hint="Load it with that model's class.")
            grid = description["voxels"]
            voxels = Voxels(tuple(map(float, grid["depths"])), int(grid["angles"]), tuple(map(float, grid["radii"])))
            return cls(ParametrisedConfig(**description["config"]), voxels, arrays)
        except InputError:
            raise
        except (OSError, KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} is no parametrised model: {error}", hint="Save one with Parametrised.save.") from error

    def _check(self) -> None:
        bins, classes = self.arrays["nodes"].shape if self.arrays["nodes"].ndim == 2 else (0, 0)
        layers, angles, rings = self.voxels.shape
        shapes = {
            "nodes": (),
            "quantiles": (layers + 1, self.arrays["quantiles"].shape[-1]),
            "factors": (layers + 1, layers + 1),
            "shapes": (layers, angles, rings),
            "hits": (layers,),
        }
        for name, shape in shapes.items():
            array = self.arrays[name]
            if bins < 1 or array.shape != (bins, classes, *shape) or not np.isfinite(array).all():
                raise InputError(f"the model's {name} do not fit its voxels, or are not finite", hint="Fit it again.")
        limits = self.arrays["limits"]
        if limits.shape != (2,) or not 0 < limits[0] <= limits[1] < np.inf:
            raise InputError("the model's limits are no range of energies", hint="Fit it again.")


def _fit_bin(records: Records, classes: int, knots: int, rng: np.random.Generator) -> dict[str, npt.NDArray[np.floating]]:
    """One energy bin: arrays that begin with (classes,)."""
    layers, angles, rings = records.voxels.shape
    deposits = records.showers.sum(axis=(2, 3), dtype=np.float64)
    total = deposits.sum(axis=1)
    shares = np.divide(deposits, total[:, None], out=np.zeros_like(deposits), where=total[:, None] > 0)
    values = np.column_stack([total / records.energy, shares])
    # Where showers are deep or shallow: the first principal component of the normal values of the shares.
    normal = _normal(values[:, 1:], rng)
    _, vectors = np.linalg.eigh(np.cov(normal, rowvar=False).reshape(layers, layers))
    depth = normal @ vectors[:, -1]
    result: dict[str, list[npt.NDArray[np.floating]]] = {name: [] for name in ("nodes", "quantiles", "factors", "shapes", "hits")}
    for rows in np.array_split(np.argsort(depth, kind="stable"), classes):
        these = values[rows]
        result["nodes"].append(np.array(np.log(records.energy).mean()))
        result["quantiles"].append(np.quantile(these, np.linspace(0, 1, knots), axis=0).T)
        result["factors"].append(_factor(_normal(these, rng)))
        voxels = records.showers[rows].reshape(len(rows), layers, -1).astype(np.float64)
        sums = voxels.sum(axis=2)
        shape = voxels.sum(axis=0)
        weight = shape.sum(axis=1, keepdims=True)
        shape = np.divide(shape, weight, out=np.zeros_like(shape), where=weight > 0)
        result["shapes"].append(shape.reshape(layers, angles, rings))
        result["hits"].append(_hits(voxels, sums, shape))
    return {name: np.stack(parts) for name, parts in result.items()}


def _normal(values: Array, rng: np.random.Generator) -> Array:
    """Each column by its ranks as a normal variable; equal values are put in order by chance."""
    order = np.lexsort((rng.random(values.shape), values), axis=0)
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(len(values))[:, None], axis=0)
    result: Array = ndtri((ranks + 0.5) / len(values))
    return result


def _factor(normal: Array) -> Array:
    """A root of the correlation matrix, by its principal components."""
    correlation = np.atleast_2d(np.corrcoef(normal, rowvar=False))
    values, vectors = np.linalg.eigh(correlation)
    root: Array = vectors * np.sqrt(np.clip(values, 0, None))
    # Few showers have fewer components than variables; every variable still has width 1.
    normed: Array = root / np.sqrt((root**2).sum(axis=1, keepdims=True))
    return normed


def _hits(voxels: Array, sums: Array, shape: Array) -> Array:
    """How many hits of equal energy have the variance of the voxels' shares: ``sum p (1 - p) / sum var``, by layer."""
    filled = sums > 0
    shares = np.divide(voxels, sums[:, :, None], out=np.zeros_like(voxels), where=filled[:, :, None])
    squares = ((shares - shape) ** 2).sum(axis=2)
    squares = np.where(filled, squares, 0).sum(axis=0) / np.maximum(filled.sum(axis=0), 1)
    expected = (shape * (1 - shape)).sum(axis=1)
    hits: Array = np.divide(expected, squares, out=np.ones_like(expected), where=squares > 0)
    return np.clip(hits, 1, _MOST_HITS)
