"""Figures of a report: histograms of model and truth with their ratio, and the mean profiles along and around the axis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from mlcore.showers.metrics.report import Report
from mlcore.showers.metrics.separation import Comparison
from mlcore.showers.voxels import Showers, Voxels


def draw_comparison(comparison: Comparison, *, truth_name: str = "full simulation", model_name: str = "model") -> Figure:
    """One observable, with errors of counts, and the ratio below."""
    figure = Figure(figsize=(5, 4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    _fill(upper, lower, comparison, truth_name, model_name)
    return figure


def _fill(upper: Axes, lower: Axes, comparison: Comparison, truth_name: str, model_name: str) -> None:
    """The histograms into one pair of axes, their ratio into the other."""
    edges = comparison.edges
    middles = (edges[1:] + edges[:-1]) / 2
    norms = [max(counts.sum(), 1) for counts in (comparison.truth, comparison.model)]
    heights = [counts / norm for counts, norm in zip((comparison.truth, comparison.model), norms, strict=True)]
    upper.stairs(heights[0], edges, fill=True, alpha=0.3, color="0.3", label=truth_name)
    upper.stairs(heights[1], edges, color="C0", label=model_name)
    errors = [np.sqrt(counts) / norm for counts, norm in zip((comparison.truth, comparison.model), norms, strict=True)]
    separation = comparison.separation
    floor = "" if separation.floor is None else f", floor {1e3 * separation.floor:.2f}"
    upper.set_title(f"separation $\\times10^3$ = {1e3 * separation.value:.2f} ± {1e3 * separation.error:.2f}{floor}", fontsize=9)
    upper.set_ylabel("share of the showers")
    upper.legend(fontsize=8)
    filled = (comparison.truth > 0) & (comparison.model > 0)
    ratio = heights[1][filled] / heights[0][filled]
    relative = np.hypot(errors[1][filled] / heights[1][filled], errors[0][filled] / heights[0][filled])
    lower.axhline(1, color="0.5", linewidth=0.8)
    lower.errorbar(middles[filled], ratio, ratio * relative, fmt=".", markersize=3, color="C0", linewidth=0.8)
    lower.set_ylim(0.5, 1.5)
    lower.set_ylabel("ratio")
    lower.set_xlabel(f"{comparison.name} ({comparison.unit})" if comparison.unit else comparison.name)
    if edges[0] > 0 and edges[-1] / edges[0] > 50:
        lower.set_xscale("log")


def draw_profiles(
    truth: Showers, model: Showers, voxels: Voxels, *, truth_name: str = "full simulation", model_name: str = "model"
) -> Figure:
    """Mean energy by layer and density by radius, with errors of the means and ratios."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots(2, 2, sharex="col", height_ratios=[3, 1])
    radii, depths = np.asarray(voxels.radii), np.asarray(voxels.depths)
    areas = np.pi * np.diff(radii**2)
    for column, (edges, label, values) in enumerate(
        (
            (depths, "depth (mm)", [_mean(rows.sum(axis=(2, 3), dtype=np.float64)) for rows in (truth, model)]),
            (radii, "radius (mm)", [_mean(rows.sum(axis=(1, 2), dtype=np.float64) / areas) for rows in (truth, model)]),
        )
    ):
        upper, lower = axes[0, column], axes[1, column]
        middles = (edges[1:] + edges[:-1]) / 2
        upper.stairs(values[0][0], edges, fill=True, alpha=0.3, color="0.3", label=truth_name)
        upper.errorbar(middles, *values[1], fmt=".", markersize=4, color="C0", label=model_name)
        upper.set_yscale("log" if column else "linear")
        upper.set_ylabel("MeV / mm²" if column else "MeV")
        upper.legend(fontsize=8)
        filled = values[0][0] > 0
        ratio = values[1][0][filled] / values[0][0][filled]
        error = np.hypot(values[1][1][filled], ratio * values[0][1][filled]) / values[0][0][filled]
        lower.axhline(1, color="0.5", linewidth=0.8)
        lower.errorbar(middles[filled], ratio, error, fmt=".", markersize=3, color="C0", linewidth=0.8)
        lower.set_ylim(0.5, 1.5)
        lower.set_ylabel("ratio")
        lower.set_xlabel(label)
    return figure


def _mean(rows: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    return rows.mean(axis=0), rows.std(axis=0) / np.sqrt(max(len(rows), 1))


def draw_table(report: Report) -> Figure:
    """The figures of merit, with errors and floors."""
    rows: list[tuple[str, str, str]] = []
    near = report.neighbours
    for name, estimate, scale in (
        ("AUC, voxels", report.auc_low, 1),
        ("AUC, features", report.auc_high, 1),
        ("FPD × 1000", report.fpd, 1e3),
        ("KPD × 1000", report.kpd, 1e3),
        ("precision", near.precision, 1),
        ("recall", near.recall, 1),
        ("density", near.density, 1),
        ("coverage", near.coverage, 1),
    ):
        if estimate is not None:
            floor = "" if estimate.floor is None else f"{estimate.floor * scale:.3f}"
            rows.append((name, f"{estimate.value * scale:.3f} ± {estimate.error * scale:.3f}", floor))
    rows += [(f"separation × 1000, {kind}", f"{value * 1e3:.2f}", "") for kind, value in report.mean_separation.items()]
    if report.memorisation is not None:
        rows.append(("memorisation score", f"{report.memorisation.score:.1f}", "0"))
    if report.parameters is not None:
        rows.append(("parameters", f"{report.parameters:,}", ""))
    rows += [
        (f"ms / shower, batch {timing.batch}", f"{timing.milliseconds:.3g} ± {timing.spread:.1g}", "")
        for timing in report.timings
    ]
    if report.full_simulation_ms is not None:
        rows.append(("ms / shower, full simulation", f"{report.full_simulation_ms:.3g}", ""))
    figure = Figure(figsize=(7, 0.3 * len(rows) + 1), layout="constrained")
    axes = figure.subplots()
    axes.axis("off")
    axes.table(rows, colLabels=("figure", "model", "floor"), loc="center", cellLoc="left")
    return figure


def draw_report(report: Report, *, only: Sequence[str] | None = None) -> Iterator[tuple[str, Figure]]:
    """The table, and every observable or those that are named, each with its name."""
    yield "summary", draw_table(report)
    for comparison in report.comparisons:
        if only is None or comparison.name in only:
            yield comparison.name, draw_comparison(comparison)


def save_pdf(report: Report, path: Path | str) -> None:
    """All figures as the pages of a PDF."""
    with PdfPages(path) as pages:
        for _, figure in draw_report(report):
            pages.savefig(figure)


PER_PAGE = (3, 2)


def save_short_pdf(
    report: Report,
    path: Path | str,
    *,
    only: Sequence[str],
    further: Sequence[Figure] = (),
    truth_name: str = "full simulation",
    model_name: str = "model",
) -> None:
    """The table, further figures, and the observables that are named, six to a page: much faster than a page for each."""
    chosen = [comparison for comparison in report.comparisons if comparison.name in set(only)]
    rows, columns = PER_PAGE
    with PdfPages(path) as pages:
        pages.savefig(draw_table(report))
        for figure in further:
            pages.savefig(figure)
        for start in range(0, len(chosen), rows * columns):
            figure = Figure(figsize=(8.3, 11.7))
            outer = figure.add_gridspec(rows, columns, left=0.09, right=0.97, top=0.96, bottom=0.06, hspace=0.3, wspace=0.25)
            for place, comparison in enumerate(chosen[start : start + rows * columns]):
                inner = outer[place].subgridspec(2, 1, height_ratios=[3, 1], hspace=0.08)
                upper = figure.add_subplot(inner[0])
                _fill(upper, figure.add_subplot(inner[1], sharex=upper), comparison, truth_name, model_name)
                upper.tick_params(labelbottom=False, labelsize=7)
            pages.savefig(figure)
