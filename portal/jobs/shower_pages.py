"""What the jobs about showers show: profiles, response, spectra, showers in space. Numbers come from `mlcore.showers`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portal.jobs import comparisons
from portal.jobs.comparisons import Line
from portal.jobs.context import JobContext
from portal.jobs.results import Events, Figure, Note, Plot, Table

if TYPE_CHECKING:
    from mlcore.showers.dataset import Records
    from mlcore.showers.metrics.estimate import Estimate
    from mlcore.showers.metrics.report import Report
    from mlcore.showers.metrics.separation import Comparison
    from mlcore.showers.overview import Overview

EVENTS_FILE = "events.json"
EVENTS_SHOWN = 9
THIN = "\u2009"
PARTICLES = {
    11: "electrons", -11: "positrons", 22: "photons", 211: "π⁺", -211: "π⁻", 2212: "protons",
}  # fmt: skip


def count(value: float) -> str:
    """With thin spaces between thousands."""
    return f"{value:,.0f}".replace(",", THIN)


def short(value: float | None, digits: int = 3) -> str:
    """In few digits; a dash for none."""
    return "—" if value is None or not math.isfinite(value) else f"{value:.{digits}g}"


def energy_range(overview: Overview) -> str:
    """Of the particles."""
    low, high = float(overview.energy.min()) / 1e3, float(overview.energy.max()) / 1e3
    return f"{short(low)} GeV" if high < low * 1.0005 else f"{short(low)} to {short(high)} GeV"


def figures(overview: Overview) -> tuple[Figure, ...]:
    """The numbers of one sample that say most."""
    names = ", ".join(
        f"{count(number)} {PARTICLES.get(code, f'of PDG code {code}')}" if len(overview.particles) > 1 else
        PARTICLES.get(code, f"PDG code {code}")
        for code, number in overview.particles.items()
    )  # fmt: skip
    filled, voxels = float(overview.filled.mean()), overview.voxels
    return (
        Figure("Showers", count(len(overview)), names),
        Figure("Energy of the particles", energy_range(overview), direction(overview)),
        Figure(
            "Response",
            short(float(overview.response.mean()), 4),
            f"voxels' sum over the energy, σ {short(float(overview.response.std()))}",
        ),
        Figure("Voxels hit", f"{short(100 * filled)} %", f"of {count(voxels.count)}, {' × '.join(map(str, voxels.shape))}"),
    )


def direction(overview: Overview) -> str:
    """Of the particles, in degrees."""
    low, high = (math.degrees(value) for value in overview.theta)
    return f"θ = {low:.4g}°" if high - low < 0.01 else f"θ from {low:.3g}° to {high:.3g}°"


def overview_plots(reference: tuple[str, Overview], *models: tuple[str, Overview]) -> tuple[Plot, ...]:
    """Profiles along and across the axis, spectrum of voxels and response; of models, with the ratio to the reference."""
    import numpy as np

    from mlcore.showers.overview import SPECTRUM

    name, first = reference
    samples = [reference, *models]
    beside = f" of {' and '.join(one for one, _ in models)} beside {name}" if models else f" of {name}"

    def plot(
        title: str,
        edges: Any,
        lines: list[Line],
        x_title: str,
        y_title: str,
        caption: str,
        *,
        log_x: bool = False,
        log_y: bool = False,
    ) -> Plot | None:
        if not any(math.isfinite(value) for value in lines[0].values):
            return None
        svg = comparisons.against(
            edges, lines[0], lines[1:], x_title=x_title, y_title=y_title, label=f"{title}{beside}", log_x=log_x, log_y=log_y
        )
        return Plot(title, svg, caption)

    shown = "Mean of the showers. Error bars and band: of the mean."
    energies = np.geomspace(*_ends(first), 9)
    found = [
        plot(
            "Along the axis", first.voxels.depths, [Line(n, o.layers, o.layers_error) for n, o in samples],
            "depth [mm]", "Energy in a layer [MeV]", shown,
        ),
        plot(
            "Across the axis", first.voxels.radii, [Line(n, o.rings, o.rings_error) for n, o in samples],
            "radius [mm]", "Energy by area [MeV/mm²]", shown, log_y=True,
        ),
        _spectrum(plot, samples, SPECTRUM),
        plot(
            "Response", energies / 1e3, [Line(n, *_response(o, energies)) for n, o in samples],
            "energy of the particle [GeV]", "Voxels' sum / energy", shown, log_x=True,
        ),
        plot(
            "Resolution", energies / 1e3, [Line(n, *_resolution(o, energies)) for n, o in samples],
            "energy of the particle [GeV]", "σ / mean of the response", "In bins of the energy that have ten showers or more.",
            log_x=True,
        ),
    ]  # fmt: skip
    return tuple(one for one in found if one is not None)


def _ends(overview: Overview) -> tuple[float, float]:
    low, high = float(overview.energy.min()), float(overview.energy.max())
    return (low * 0.999, high * 1.001) if high > 1.01 * low else (low * 0.9, high * 1.1)


def _binned(overview: Overview, edges: Any) -> list[Any]:
    import numpy as np

    place = np.digitize(overview.energy, edges) - 1
    return [overview.response[place == at] for at in range(len(edges) - 1)]


def _response(overview: Overview, edges: Any) -> tuple[list[float], list[float]]:
    bins = _binned(overview, edges)
    return (
        [float(values.mean()) if len(values) >= 2 else math.nan for values in bins],
        [float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) >= 2 else 0.0 for values in bins],
    )


def _resolution(overview: Overview, edges: Any) -> tuple[list[float], list[float]]:
    widths, errors = [], []
    for values in _binned(overview, edges):
        mean = float(values.mean()) if len(values) >= 10 else 0.0
        widths.append(float(values.std(ddof=1)) / mean if mean > 0 else math.nan)
        errors.append(widths[-1] / math.sqrt(2 * (len(values) - 1)) if mean > 0 else 0.0)
    return widths, errors


def _spectrum(plot: Any, samples: Sequence[tuple[str, Overview]], edges: Any) -> Plot | None:
    """The energies of voxels, per shower and bin, where there are any."""
    import numpy as np

    used = np.flatnonzero(sum(o.spectrum for _, o in samples))
    rows = slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 1)
    lines = [Line(name, o.spectrum[rows] / len(o), np.sqrt(o.spectrum[rows]) / len(o)) for name, o in samples]
    made: Plot | None = plot(
        "Energies of voxels", edges[rows.start : rows.stop + 1], lines, "energy of a voxel [MeV]", "Voxels of a shower in a bin",
        "Error bars and band: of the number of voxels, as if these were independent.", log_x=True, log_y=True,
    )  # fmt: skip
    return made


# --- showers in space -----------------------------------------------------------------------------------------------------------


def write_events(context: JobContext, samples: Sequence[tuple[str, Records]], title: str) -> Events:
    """Hand out some showers for the page to draw: ``samples`` have as many each, shown side by side."""
    from mlcore.showers.overview import events

    path = context.folder / EVENTS_FILE
    path.write_text(json.dumps(events(samples), separators=(",", ":")), encoding="utf-8")
    context.artifact(path, kind="events", title="Voxels of the showers that are drawn")
    return Events(
        title,
        EVENTS_FILE,
        "Drag or use the arrow keys to turn, + and - for the size. Colours: a voxel's energy by its logarithm, one scale.",
    )


# --- measures -------------------------------------------------------------------------------------------------------------------


def comparison_plot(found: Comparison, truth_name: str, model_name: str) -> Plot:
    """One observable of truth and model, as shares of the showers."""
    import numpy as np

    unit = f" [{found.unit}]" if found.unit else ""
    lines = []
    for name, counts in ((truth_name, found.truth), (model_name, found.model)):
        total = max(float(counts.sum()), 1.0)
        lines.append(Line(name, counts / total, np.sqrt(counts) / total))
    log_x = bool(found.edges[0] > 0 and found.edges[-1] / found.edges[0] > 50)
    title = found.name[:1].upper() + found.name[1:]
    svg = comparisons.against(
        found.edges, lines[0], lines[1:], x_title=f"{found.name}{unit}", y_title="Share of the sample",
        label=f"{title} of {model_name} beside {truth_name}", log_x=log_x, log_y=found.name == "voxel energy",
    )  # fmt: skip
    return Plot(title, svg, f"Separation power × 1000: {estimate_text(found.separation, 1e3)}.")


def estimate_text(found: Estimate, scale: float = 1.0) -> str:
    """A figure with its error, and its floor where there is one."""
    floor = "" if found.floor is None else f", floor {short(found.floor * scale)}"
    return f"{short(found.value * scale)} ± {short(found.error * scale, 2)}{floor}"


def report_table(report: Report) -> Table:
    """Every figure of merit with its error and floor."""
    near = report.neighbours
    rows = []
    for name, found, scale, best in (
        ("AUC, voxels", report.auc_low, 1.0, "0.5"),
        ("AUC, features", report.auc_high, 1.0, "0.5"),
        ("FPD × 1000", report.fpd, 1e3, "0"),
        ("KPD × 1000", report.kpd, 1e3, "0"),
        ("Precision", near.precision, 1.0, "1"),
        ("Recall", near.recall, 1.0, "1"),
        ("Density", near.density, 1.0, "1"),
        ("Coverage", near.coverage, 1.0, "1"),
    ):
        if found is None:
            continue
        floor = "—" if found.floor is None else short(found.floor * scale)
        rows.append((name, short(found.value * scale, 4), short(found.error * scale, 2), floor, best))
    if report.memorisation is not None:
        rows.append(("Memorisation score, σ", short(report.memorisation.score), "1", "0", "0 or less"))
    for kind, value in report.mean_separation.items():
        rows.append((f"Separation × 1000, {kind}", short(1e3 * value), "—", "—", "0"))
    note = (
        f"{count(report.truth_showers)} showers of the simulation, {count(report.model_showers)} of the model"
        + (
            f", {count(report.second_truth_showers)} further ones of the simulation for the floor"
            if report.second_truth_showers
            else ""
        )
        + ". The floor is the same figure with the simulation in the model's place."
    )
    return Table("Figures of merit", ("Figure", "Value", "Error", "Floor", "Best"), tuple(rows), numeric=(1, 2, 3), note=note)


def training_plots(steps: Sequence[float], curves: dict[str, list[float]]) -> tuple[Plot, ...]:
    """The loss and its parts over the steps of a training, as far as it is."""
    if not steps:
        return ()
    last = f"Step {count(steps[-1])}."
    losses = [Line(name, curves[name]) for name in ("loss", "validation") if curves.get(name)]
    parts = [
        Line(name, values) for name, values in curves.items() if name not in ("loss", "validation", "gradient", "rate") and values
    ]
    rates = [Line(name, curves[name]) for name in ("gradient",) if curves.get(name)]
    found = []
    for title, lines in (("Loss", losses), ("Parts of the loss", parts), ("Gradient's norm", rates)):
        if lines:
            told = ", ".join(f"{line.name} {short(line.values[-1], 4)}" for line in lines)
            svg = comparisons.curves(steps, lines, x_title="step", y_title=title, label=f"{title} over the steps of the training")
            found.append(Plot(title, svg, f"{last} Now: {told}."))
    return tuple(found)


def read_curves(path: Path) -> tuple[list[float], dict[str, list[float]]]:
    """Steps and columns of a training's ``curves.csv``."""
    import csv

    if not path.exists():
        return [], {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in (rows[0] if rows else {}) if name != "step"]
    return [float(row["step"]) for row in rows], {name: [_number(row[name]) for row in rows] for name in names}


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def layers_table(overview: Overview) -> Table:
    """Each layer's depth and mean energy."""
    edges = overview.voxels.depths
    total = float(overview.layers.sum()) or 1.0
    rows = tuple(
        (
            str(at),
            f"{short(edges[at], 4)} to {short(edges[at + 1], 4)}",
            short(value),
            short(error, 2),
            short(100 * value / total),
        )
        for at, (value, error) in enumerate(zip(overview.layers, overview.layers_error, strict=True))
    )
    return Table("Layers", ("Layer", "Depth [mm]", "Mean [MeV]", "Error [MeV]", "Share [%]"), rows, numeric=(0, 1, 2, 3, 4))


def origin_table(origin: dict[str, Any], overview: Overview) -> Table:
    """What a file says of itself."""
    rows = [
        ("Calorimeters", ", ".join(f"{name} ({count(number)})" for name, number in overview.geometries.items())),
        ("Layers, angles, rings", " × ".join(map(str, overview.voxels.shape))),
        ("Depth of the voxels", f"{short(overview.voxels.depths[-1], 4)} mm"),
        ("Outer radius", f"{short(overview.voxels.radii[-1], 4)} mm"),
        *((str(key).replace("_", " ").capitalize(), str(value)) for key, value in origin.items()),
    ]
    return Table("What the file says", ("What", "Is"), tuple(rows))


def sample_notes(overview: Overview, *, named: bool = True) -> tuple[Note, ...]:
    """What needs a look in a sample; ``named`` where it should say its calorimeter."""
    notes = []
    empty = int((overview.response <= 0).sum())
    if empty:
        notes.append(
            Note(
                "warn", f"{count(empty)} showers are empty.", "Their voxels hold no energy at all; leave them out of a training."
            )
        )
    large = int((overview.response > 2).sum())
    if large:
        notes.append(
            Note(
                "warn",
                f"{count(large)} showers hold more than twice the energy of their particle.",
                "Check the units: MeV for both.",
            )
        )
    if named and "unknown" in overview.geometries:
        notes.append(
            Note(
                "act",
                "The file does not say which calorimeter it is of.",
                "Choose it in the form, so that the name goes into what is made of it.",
            )
        )
    return tuple(notes)


def energy_plot(overview: Overview) -> Plot:
    """How the particles' energies are distributed."""
    import numpy as np

    low, high = _ends(overview)
    edges = np.geomspace(low, high, 33)
    counts = np.histogram(overview.energy, edges)[0]
    line = Line("showers", counts.astype(float), np.sqrt(counts))
    svg = comparisons.against(
        edges / 1e3,
        line,
        x_title="energy of the particle [GeV]",
        y_title="Showers in a bin",
        label="Distribution of the particles' energies",
        log_x=True,
    )
    return Plot(
        "Energies of the particles",
        svg,
        f"{energy_range(overview)}.",
    )
