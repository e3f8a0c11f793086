"""Statistics of one feature in one pass over blocks.

Values that are not finite are left out of all of them.

References
----------
T. F. Chan, G. H. Golub, R. J. LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979),
equations 1.5 a and b, here with weights.
"""

from __future__ import annotations

from functools import cached_property
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from mlcore.batches.blocks import Array
from mlcore.errors import InputError

SAMPLE_SIZE = 100_000
_NORMAL = NormalDist()
_SALT = np.uint64(0x9E3779B97F4A7C15)


class Statistics:
    """What the steps of a feature ask of its values.

    Parameters
    ----------
    name
        The feature's, for messages.
    what
        ``"moments"``, ``"range"``, ``"sample"`` or ``"categories"``.
    sample_size
        Of the sample.
    """

    def __init__(self, name: str, what: str, sample_size: int = SAMPLE_SIZE) -> None:
        self.name = name
        self.what = what
        self.total = 0.0
        self.mean = 0.0
        self.mean_rest = 0.0  # what rounding leaves out of the mean, which a narrow peak far from 0 would feel
        self.squares = 0.0
        self.low = np.inf
        self.high = -np.inf
        self.n_values = 0
        self.seen: npt.NDArray[np.float64] = np.zeros(0)
        self.sample = Sample(sample_size)

    def add(self, values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64] | None) -> None:
        """Take in a block.

        Parameters
        ----------
        values
            float64, shape (n_rows,).
        weights
            float64, shape (n_rows,), 0 or more; None where all are 1.
        """
        if self.what == "sample":  # which goes by the numbers of rows, so it sees all of them
            self.sample.add(values, weights)
        good = np.isfinite(values)
        if not good.all():
            values = values[good]
            weights = None if weights is None else weights[good]
        self.n_values += len(values)
        if not len(values):
            return
        if self.what == "moments":
            self._merge(values, weights)
        elif self.what == "range":
            self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        elif self.what == "categories":
            self._categories(values)

    def _merge(self, values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64] | None) -> None:
        total = float(len(values)) if weights is None else float(weights.sum())
        if total == 0:
            return
        with np.errstate(over="ignore", invalid="ignore"):  # `check` says so
            # Around a value of the block, so that the sum of large values close to each other keeps its digits.
            pivot = float(values[0])
            away = values - pivot
            shift = float((away if weights is None else weights * away).sum()) / total
            away -= shift
            squares = float((away * away if weights is None else weights * away * away).sum())
        if not self.total:
            self.mean = pivot
        distance = (pivot - self.mean) + (shift - self.mean_rest)
        together = self.total + total
        rest = self.mean_rest + distance * (total / together)
        moved = self.mean + rest
        self.mean, self.mean_rest = moved, rest - (moved - self.mean)
        self.squares += squares + distance * distance * (self.total * (total / together))
        self.total = together

    def _categories(self, values: npt.NDArray[np.float64]) -> None:
        found = np.unique(values)
        if (found != np.floor(found)).any():
            value = found[found != np.floor(found)][0]
            raise InputError(
                f"the column {self.name!r} holds {value}, and categories are whole numbers",
                hint="Take Standardize or Quantile for it.",
                code="batches.transform",
            )
        self.seen = np.union1d(self.seen, found)[: 1 << 16]

    def check(self) -> None:
        """Whether there was anything.

        Raises
        ------
        InputError
            No value was finite, or all weights were 0.
        """
        if not self.n_values or (self.what == "moments" and not self.total > 0):
            why = "no finite value" if not self.n_values else "no weight above 0"
            raise InputError(
                f"the column {self.name!r} has {why} to fit to",
                hint="Leave it out, or look at the filter.",
                code="batches.transform",
            )
        if self.what == "moments" and not np.isfinite(self.squares):
            raise InputError(
                f"the values of the column {self.name!r} are too large for a variance",
                hint="Take Log first.",
                code="batches.transform",
            )

    @property
    def std(self) -> float:
        """The root of the mean squared distance from the mean."""
        return float(np.sqrt(max(self.squares, 0.0) / self.total))

    def quantiles(self, shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Values below which these shares of the sample's weight lie, by lines between the middles of its rows."""
        values, middles = self._sorted
        return np.interp(shares, middles, values)

    @cached_property
    def _sorted(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The sample, once all blocks are in."""
        return self.sample.sorted(self.name)

    def curve(self, n_knots: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Knots and heights of the curve to a normal distribution, as `Quantile` says.

        Equal knots are one, at the middle of the share of rows that has that value.
        """
        _, middles = self._sorted
        # Heights out to where half a row of the sample lies beyond; very small weights stop at 8 standard deviations.
        end = min(8.0, -_NORMAL.inv_cdf(max(min(float(middles[0]), 1 - float(middles[-1])), 1e-15)))
        heights = np.linspace(-end, end, n_knots)
        knots = self.quantiles(np.array([_NORMAL.cdf(height) for height in heights]))
        distinct, first, counts = np.unique(knots, return_index=True, return_counts=True)
        lowest, highest = heights[first], heights[first + counts - 1]
        joined = [
            low if low == high else _NORMAL.inv_cdf((_NORMAL.cdf(low) + _NORMAL.cdf(high)) / 2)
            for low, high in zip(lowest.tolist(), highest.tolist(), strict=True)
        ]
        return distinct, np.array(joined)

    def categories(self, most: int) -> tuple[float, ...]:
        """The different values, ascending.

        Raises
        ------
        InputError
            There are more than ``most``.
        """
        if len(self.seen) > most:
            raise InputError(
                f"the column {self.name!r} has {len(self.seen)} different values, and at most {most} become columns",
                hint="Give OneHot the categories that matter, or a larger `most`.",
                code="batches.transform",
            )
        return tuple(self.seen.tolist())


class Sample:
    """The rows whose numbers have the smallest hashes: a uniform one, the same however the rows are cut into blocks.

    Parameters
    ----------
    size
        How many rows at most.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.n_rows = 0
        self.n_held = 0
        self.limit = np.uint64(2**64 - 1)
        self.held: list[tuple[npt.NDArray[np.uint64], Array, Array | None]] = []

    def add(self, values: Array, weights: Array | None) -> None:
        """Take in a block's values and weights, both float64, shape (n_rows,)."""
        hashes = hashed(np.arange(self.n_rows, self.n_rows + len(values), dtype=np.uint64))
        self.n_rows += len(values)
        chosen = np.flatnonzero(hashes <= self.limit)
        self.held.append((hashes[chosen], values[chosen], None if weights is None else weights[chosen]))
        self.n_held += len(chosen)
        if self.n_held > self.size + self.size // 2:
            self._shrink()

    def _joined(self) -> tuple[npt.NDArray[np.uint64], Array, Array | None]:
        hashes, values, weights = zip(*self.held, strict=True)
        given = [weight for weight in weights if weight is not None]
        return np.concatenate(hashes), np.concatenate(values), np.concatenate(given) if given else None

    def _shrink(self) -> None:
        """Leave out what can no longer be among the smallest."""
        hashes, values, weights = self._joined()
        kept = np.argpartition(hashes, self.size - 1)[: self.size]
        self.held = [(hashes[kept], values[kept], None if weights is None else weights[kept])]
        self.n_held = self.size
        self.limit = hashes[kept].max()

    def sorted(self, name: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The finite values ascending, and the share of the weight up to the middle of each.

        Raises
        ------
        InputError
            No row of the sample has a finite value and a weight above 0.
        """
        if self.n_held > self.size:
            self._shrink()
        _, values, given = self._joined()
        if given is None:
            values, weights = np.sort(values), np.ones(len(values))
        else:  # by weight among equals, so that sums do not depend on the order of the rows
            order = np.lexsort((given, values))
            values, weights = values[order], given[order]
        good = np.isfinite(values) & (weights > 0)
        if not good.any():
            raise InputError(
                f"the column {name!r} has no finite value with a weight to fit to", hint="Leave it out.", code="batches.transform"
            )
        values, weights = values[good], weights[good]
        ends = np.cumsum(weights)
        return values, (ends - weights / 2) / ends[-1]


def hashed(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finalizer of SplitMix64, a bijection of 64 bits that looks random."""
    mixed = (numbers + np.uint64(1)) * _SALT
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))
