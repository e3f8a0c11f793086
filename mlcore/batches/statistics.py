"""Statistics of everything that batches are made of, in one pass by blocks and threads.

Sums are of distances from a pivot, the mean of some thousand rows from all over the source, so that no digits are lost; they are
added up in the order of the source, so the result does not depend on the threads. Quantiles come from a uniform sample of rows,
those whose numbers have the smallest hashes. Edges of histograms come from the rows that give the pivot.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

SHARES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""Of which there are quantiles."""

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ColumnStatistics:
    """Of one column of x, y or w.

    Values that are not finite are counted, and are part of nothing else.

    Attributes
    ----------
    name
        Of the column, with an index where a row has several values.
    role
        ``"feature"``, ``"target"`` or ``"weight"``.
    count, missing, infinite
        How many rows have a finite value, NaN, or an infinite one.
    minimum, maximum, mean, standard_deviation
        The last is the root of the mean squared distance from the mean. NaN where nothing is finite.
    quantiles
        By share: values below which these shares of the sample lie, by lines between the middles of its rows.
    edges
        Of the histogram: equal bins, shape (n_bins + 1,).
    counts
        Rows, or their weight, in each bin, shape (n_bins,); the last one has its upper edge as well.
    below, above
        Rows, or their weight, outside of the histogram.
    """

    name: str
    role: Literal["feature", "target", "weight"]
    count: int
    missing: int
    infinite: int
    minimum: float
    maximum: float
    mean: float
    standard_deviation: float
    quantiles: dict[float, float]
    edges: Matrix
    counts: Matrix
    below: float
    above: float

    def to_dict(self) -> dict[str, Any]:
        """Of plain numbers, lists and texts."""
        plain = {name: value for name, value in vars(self).items() if name not in ("quantiles", "edges", "counts")}
        return {
            **plain,
            "quantiles": {f"{share:g}": value for share, value in self.quantiles.items()},
            "edges": self.edges.tolist(),
            "counts": self.counts.tolist(),
        }


@dataclass(frozen=True)
class ClassStatistics:
    """Of the rows of one class.

    Attributes
    ----------
    value
        Of the target; NaN for rows where it is.
    name
        Of the samples with this label; empty where there are none.
    rows
        Their number.
    weight
        The sum of their weights, or their number.
    columns
        As of `Statistics`, with the same edges.
    """

    value: float
    name: str
    rows: int
    weight: float
    columns: tuple[ColumnStatistics, ...]


@dataclass(frozen=True)
class Statistics:
    """Of the rows that a loader keeps, before they are balanced.

    Attributes
    ----------
    rows
        Their number.
    weight
        The sum of their weights, or their number.
    weighted
        Whether means, deviations, quantiles, histograms and correlations count rows by their weight.
    sample_rows
        The rows that quantiles come from: exact where they are all.
    columns
        One for each column of x, y and w.
    feature_names
        The columns of x.
    correlation
        Of each pair of features, over the rows where both are finite, shape (n_features, n_features); NaN where one is constant.
    class_column
        The target that classes are of; empty where it has too many values, or there is none or several.
    classes
        By the target, in ascending order.
    """

    rows: int
    weight: float
    weighted: bool
    sample_rows: int
    columns: tuple[ColumnStatistics, ...]
    feature_names: tuple[str, ...]
    correlation: Matrix
    class_column: str = ""
    classes: tuple[ClassStatistics, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Of plain numbers, lists and texts."""
        return {
            **{name: getattr(self, name) for name in ("rows", "weight", "weighted", "sample_rows", "class_column")},
            "columns": [column.to_dict() for column in self.columns],
            "feature_names": list(self.feature_names),
            "correlation": self.correlation.tolist(),
            "classes": [{**vars(entry), "columns": [column.to_dict() for column in entry.columns]} for entry in self.classes],
        }

    def to_json(self) -> str:
        """The same as a text, with null for what is no finite number."""
        return json.dumps(_finite(self.to_dict()), allow_nan=False)

    def table(self) -> str:
        """The columns and their numbers, for reading; of the classes as well."""
        parts = [f"{self.rows} rows\n{_table(self.columns)}"]
        for entry in self.classes:
            name = f" ({entry.name})" if entry.name else ""
            parts.append(f"{self.class_column} = {entry.value:g}{name}: {entry.rows} rows\n{_table(entry.columns)}")
        return "\n\n".join(parts)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _table(columns: Sequence[ColumnStatistics]) -> str:
    shown = (0.05, 0.5, 0.95)
    lines = [
        ["column", "finite", "missing", "infinite", "mean", "deviation", "least", *(f"{share:.0%}" for share in shown), "most"]
    ]
    for column in columns:
        numbers = [
            column.mean,
            column.standard_deviation,
            column.minimum,
            *(column.quantiles[share] for share in shown),
            column.maximum,
        ]
        counts = [column.count, column.missing, column.infinite]
        lines.append([column.name, *map(str, counts), *(f"{number:.5g}" for number in numbers)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )


@dataclass(frozen=True)
class Binning:
    """Equal bins of each column; with a place below them and one above.

    Attributes
    ----------
    bins
        Their number, int64, shape (n_columns,).
    edges
        Shape (n_columns, most bins + 1); filled up with infinity.
    pivot
        What sums are of distances from, shape (n_columns,).
    """

    bins: npt.NDArray[np.int64]
    edges: Matrix
    pivot: Matrix

    @classmethod
    def of(cls, values: Matrix, bins: int) -> Binning:
        """From some rows, shape (n_rows, n_columns).

        Whole numbers of a narrow range have a bin each; others `bins` of them over nearly all values, whatever the tails are.
        """
        found, pivots = [], []
        for column in values.T:
            good = column[np.isfinite(column)]
            found.append(_edges(good, bins))
            pivots.append(good.mean() if len(good) else 0.0)
        edges = np.full((len(found), max(map(len, found))), np.inf)
        for row, of_column in zip(edges, found, strict=True):
            row[: len(of_column)] = of_column
        return cls(np.array([len(each) - 1 for each in found]), edges, np.array(pivots))

    @property
    def size(self) -> int:
        """Places of each column in a histogram."""
        return int(self.edges.shape[1]) + 1

    def places(self, values: Matrix) -> npt.NDArray[np.int64]:
        """Where values lie, shape of `values`: 0 below, then the bins, then above; finite ones."""
        places = np.empty(values.shape, np.int64, order="F")
        for i, bins in enumerate(self.bins.tolist()):
            column = np.ascontiguousarray(values[:, i])
            edges = self.edges[i, : bins + 1].copy()
            edges[-1] = np.nextafter(edges[-1], np.inf)  # which itself is in the last bin
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                scale = bins / (edges[-1] - edges[0])
                guess = (column - edges[0]) * scale
            if not (np.isfinite(scale) and scale > 0):
                places[:, i] = np.searchsorted(edges, column, side="right")
                continue
            place = np.clip(guess, 0, bins - 1).astype(np.int64)
            # Rounding may miss by one; edges decide.
            place -= column < edges[place]
            place += column >= edges[place + 1]
            places[:, i] = place + 1
        return places


def _edges(values: Matrix, bins: int) -> Matrix:
    if not len(values):
        return np.linspace(0, 1, bins + 1)
    least, most = float(values.min()), float(values.max())
    if most - least < 2 * bins and (values == np.floor(values)).all() and max(abs(least), abs(most)) < 2**52:
        return np.arange(least - 0.5, most + 1)
    low, high = np.quantile(values, (0.005, 0.995)).tolist()
    if low == high:
        low, high = least, most
    margin = 0.1 * (high - low)
    low, high = max(low - margin, least - 0.01 * (high - low)), min(high + margin, most + 0.01 * (high - low))
    if not math.isfinite(high - low):
        share = np.linspace(0, 1, bins + 1)
        return least * (1 - share) + most * share  # weighted, since the difference of the ends overflows
    if not high - low > 1e-12 * max(abs(low), abs(high)):
        low, high = least - 0.5 * (abs(least) or 1), least + 0.5 * (abs(least) or 1)
    return np.linspace(low, high, bins + 1)


class Sums:
    """What is added up of rows.

    Parameters
    ----------
    binning
        Of all columns.
    """

    def __init__(self, binning: Binning) -> None:
        self.binning = binning
        columns = len(binning.bins)
        self.rows, self.weight = 0, 0.0
        self.missing, self.infinite = np.zeros(columns, np.int64), np.zeros(columns, np.int64)
        self.least, self.most = np.full(columns, np.inf), np.full(columns, -np.inf)
        self.histogram = np.zeros((columns, binning.size))
        # Over the rows where columns i and j are finite: the weight, and the sums of x_i, of its square, and of x_i x_j.
        self.weights, self.sums, self.squares, self.products = (np.zeros((columns, columns)) for _ in range(4))

    def add(self, values: Matrix, weights: Matrix | None) -> None:
        """Add rows: float64, shapes (n_rows, n_columns) and (n_rows,)."""
        if not len(values):
            return
        self.rows += len(values)
        total = float(len(values)) if weights is None else float(weights.sum())
        self.weight += total
        good = np.isfinite(values)
        whole = bool(good.all())
        if not whole:
            missing = np.isnan(values)
            self.missing += missing.sum(axis=0)
            self.infinite += (~good & ~missing).sum(axis=0)
        with np.errstate(over="ignore", invalid="ignore"):
            away = values - self.binning.pivot if whole else np.where(good, values - self.binning.pivot, 0.0)
            if whole:
                np.minimum(self.least, values.min(axis=0), out=self.least)
                np.maximum(self.most, values.max(axis=0), out=self.most)
            else:
                np.minimum(self.least, np.where(good, values, np.inf).min(axis=0), out=self.least)
                np.maximum(self.most, np.where(good, values, -np.inf).max(axis=0), out=self.most)
            weighed = away if weights is None else away * weights[:, None]
            self.products += weighed.T @ away
            if whole:
                self.weights += total
                self.sums += weighed.sum(axis=0)[:, None]
                self.squares += (weighed * away).sum(axis=0)[:, None]
            else:
                there = good.astype(np.float64)
                self.weights += (there if weights is None else there * weights[:, None]).T @ there
                self.sums += weighed.T @ there
                self.squares += (weighed * away).T @ there
        places = self.binning.places(values if whole else np.where(good, values, 0.0))
        places += np.arange(len(self.binning.bins)) * self.binning.size
        by_place = None if weights is None else np.tile(weights, values.shape[1])
        flat = places.T.reshape(-1)
        if not whole:
            finite = good.T.reshape(-1)
            flat, by_place = flat[finite], None if by_place is None else by_place[finite]
        self.histogram += np.bincount(flat, by_place, self.histogram.size).reshape(self.histogram.shape)

    def merge(self, other: Sums) -> None:
        """Add what another one has."""
        self.rows += other.rows
        self.weight += other.weight
        for name in ("missing", "infinite", "histogram", "weights", "sums", "squares", "products"):
            getattr(self, name).__iadd__(getattr(other, name))
        np.minimum(self.least, other.least, out=self.least)
        np.maximum(self.most, other.most, out=self.most)

    def correlation(self, columns: int) -> Matrix:
        """Of the first columns, shape (columns, columns)."""
        weights, sums, squares, products = (
            array[:columns, :columns] for array in (self.weights, self.sums, self.squares, self.products)
        )
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            covariance = products - sums * sums.T / weights
            own = squares - sums * sums / weights
            own[own <= 1e-13 * squares] = np.nan  # what rounding leaves of a constant
            found = covariance / np.sqrt(own * own.T)
        return np.clip(found, -1, 1)

    def columns(
        self, names: Sequence[tuple[str, Literal["feature", "target", "weight"]]], quantiles: Matrix
    ) -> tuple[ColumnStatistics, ...]:
        """With quantiles of shape (n_columns, n_shares)."""
        weights, sums, squares = (np.diagonal(array) for array in (self.weights, self.sums, self.squares))
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            means = sums / weights
            deviations = np.sqrt(np.maximum(squares / weights - means * means, 0))
        found = []
        for i, (name, role) in enumerate(names):
            finite = self.rows - int(self.missing[i] + self.infinite[i])
            bins = int(self.binning.bins[i])
            found.append(
                ColumnStatistics(
                    name=name,
                    role=role,
                    count=finite,
                    missing=int(self.missing[i]),
                    infinite=int(self.infinite[i]),
                    minimum=float(self.least[i]) if finite else math.nan,
                    maximum=float(self.most[i]) if finite else math.nan,
                    mean=float(means[i] + self.binning.pivot[i]),
                    standard_deviation=float(deviations[i]),
                    quantiles=dict(zip(SHARES, quantiles[i].tolist(), strict=True)),
                    edges=self.binning.edges[i, : bins + 1].copy(),
                    counts=self.histogram[i, 1 : bins + 1].copy(),
                    below=float(self.histogram[i, 0]),
                    above=float(self.histogram[i, bins + 1]),
                )
            )
        return tuple(found)


def quantiles_of(values: Matrix, weights: Matrix | None) -> Matrix:
    """Of each column, shape (n_columns, n_shares), over finite values of rows with a weight above 0; NaN where there are none."""
    found = np.full((values.shape[1], len(SHARES)), np.nan)
    for i, column in enumerate(values.T):
        good = np.isfinite(column) if weights is None else np.isfinite(column) & (weights > 0)
        if not good.any():
            continue
        order = np.argsort(column[good], kind="stable")
        shares = np.ones(len(order)) if weights is None else weights[good][order]
        ends = np.cumsum(shares)
        found[i] = np.interp(SHARES, (ends - shares / 2) / ends[-1], column[good][order])
    return found
