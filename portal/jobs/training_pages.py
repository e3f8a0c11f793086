"""What the job *training set* shows, and the command line: figures, features, plots, correlations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal.jobs import plots
from portal.jobs.results import Figure, Note, Plot, Result, Series, Table

if TYPE_CHECKING:
    from mlcore.batches.conversion.joining import Manifest
    from mlcore.batches.exploration.exploring import Exploration, Feature

OPEN_PLOTS = 24
"""Further features are drawn folded up."""
MOST_PLOTS = 300
MOST_CORRELATED = 40
"""Features whose correlations are drawn: of more, those that correlate most."""
MOST_ROWS = 500
ALIKE = 0.95


def summary(manifest: Manifest, explored: Exploration) -> Result:
    """The page of a training set."""
    told = explore_result(explored)
    size = sum(shard.bytes for shard in manifest.shards)
    splits, shuffled = manifest.to_json()["splits"], manifest.recipe.shuffle
    kept = f"of {count(manifest.rows_read)}, {100 * manifest.rows / max(1, manifest.rows_read):.3g} % kept"
    figures = (
        Figure("Rows", count(manifest.rows), kept),
        Figure("Features", count(len(explored.features)), f"of {len([c for c in manifest.columns if c['role'] == 'x'])} columns"),
        Figure("Files", count(len(manifest.shards)), f"{size_text(size)}, {manifest.recipe.format}"),
        Figure("Order", "shuffled" if shuffled else "as read", f"seed {manifest.recipe.seed}" if shuffled else ""),
    )
    files = Table(
        "Files",
        ("File", "Split", "Rows", "Size"),
        tuple((shard.name, shard.split, count(shard.rows), size_text(shard.bytes)) for shard in manifest.shards[:MOST_ROWS]),
        numeric=(2, 3),
        note=f"Rows by split: {', '.join(f'{name} {count(rows)}' for name, rows in splits.items())}.",
    )
    return Result(
        notes=(*_left_out(manifest), *told.notes),
        figures=figures,
        plots=told.plots,
        series=told.series,
        tables=(*told.tables, files),
    )


def _left_out(manifest: Manifest) -> tuple[Note, ...]:
    """What could not be read and was skipped."""
    left = manifest.skipped
    if not left:
        return ()
    what = [f"{count(left.rows)} rows"] * bool(left.rows) + [f"{len(left.files)} files"] * bool(left.files)
    text = f"{'. '.join(left.messages[:3])}."
    more = f" And {len(left.messages) - 3} more: see training_set.json." if len(left.messages) > 3 else ""
    return (Note("warn", f"{' and '.join(what)} could not be read and are left out.", text + more),)


def explore_result(explored: Exploration) -> Result:
    """Features alone: notes on what needs a look, plots, a table."""
    sample = "" if explored.sampled == explored.rows else f"{count(explored.sampled)} of {count(explored.rows)} rows. "
    finite = [feature for feature in explored.features if feature.count]
    drawn = [_plot(feature, explored, sample) for feature in finite[:OPEN_PLOTS]]
    folded = tuple(_plot(feature, explored, sample) for feature in finite[OPEN_PLOTS:MOST_PLOTS])
    drawn += _correlation(explored, sample)
    rows = tuple(
        (
            feature.name,
            number(feature.minimum),
            number(feature.median),
            number(feature.mean),
            number(feature.maximum),
            number(feature.deviation),
            count(feature.missing + feature.infinite),
            count(feature.far),
            "—" if feature.separation is None else f"{feature.separation:.3f}",
        )
        for feature in explored.features[:MOST_ROWS]
    )
    note = f"{sample}Far out: more than five widths of the middle half beyond it. Separation: of the first two classes, 0 to 1."
    columns = ("Feature", "Least", "Median", "Mean", "Most", "Deviation", "Not finite", "Far out", "Separation")
    table = Table("Features", columns, rows, numeric=(1, 2, 3, 4, 5, 6, 7, 8), note=note)
    classes = Table(
        "Classes",
        ("Class", "Rows", "Share"),
        tuple((name, count(rows_of), f"{100 * rows_of / max(1, explored.sampled):.3g} %") for name, rows_of in explored.classes),
        numeric=(1, 2),
        note=sample.strip(),
    )
    return Result(
        notes=tuple(_notes(explored)),
        plots=tuple(drawn),
        series=(Series("Further features", folded, OPEN_PLOTS, len(finite) - OPEN_PLOTS),) if folded else (),
        tables=(table, *((classes,) if len(explored.classes) > 1 else ())),
    )


def _correlation(explored: Exploration, sample: str) -> list[Plot]:
    """The matrix of all features, or of those that correlate most."""
    names = [feature.name for feature in explored.features]
    if len(names) < 2:
        return []
    shown = list(range(len(names)))
    if len(names) > MOST_CORRELATED:
        largest = [
            max((abs(value or 0.0) for column, value in enumerate(row) if column != number), default=0.0)
            for number, row in enumerate(explored.correlation)
        ]
        shown = sorted(sorted(shown, key=lambda number: -largest[number])[:MOST_CORRELATED])
    some = "" if len(shown) == len(names) else f"The {len(shown)} of {count(len(names))} features that correlate most. "
    values = [[explored.correlation[row][column] for column in shown] for row in shown]
    svg = plots.matrix([names[number] for number in shown], values, label=f"Correlation of {len(shown)} features with each other")
    return [Plot("Correlation", svg, f"{some}{sample}Linear, over the rows where both are finite.")]


def _plot(feature: Feature, explored: Exploration, sample: str) -> Plot:
    outside = f" {count(feature.below + feature.above)} values lie outside." if feature.below + feature.above else ""
    low, high = plots.number(feature.edges[0]), plots.number(feature.edges[-1])
    label = f"Histogram of {feature.name} from {low} to {high}"
    if len(explored.classes) == 1:
        svg = plots.histogram(feature.edges, feature.counts[0], x_title=feature.name, y_title="Rows", label=label)
        return Plot(feature.name, svg, f"{sample}{count(feature.count)} values.{outside}")
    series = [(name, counts) for (name, _), counts in zip(explored.classes, feature.counts, strict=True)]
    svg = plots.overlay(feature.edges, series, x_title=feature.name, y_title="Share of the class", label=f"{label}, by class")
    separation = "" if feature.separation is None else f" Separation {feature.separation:.3f}."
    return Plot(feature.name, svg, f"{sample}Each class as shares of its own rows.{separation}{outside}")


def _notes(explored: Exploration) -> list[Note]:
    notes = []
    broken = [feature for feature in explored.features if feature.missing + feature.infinite]
    if broken:
        worst = max(broken, key=lambda feature: feature.missing + feature.infinite)
        share = 100 * (worst.missing + worst.infinite) / max(1, explored.sampled)
        text = f"{worst.name} has most, in {share:.3g} % of the rows. A network makes NaN of them: filter, or define a value."
        what = "One feature has" if len(broken) == 1 else f"{len(broken)} features have"
        notes.append(Note("warn", f"{what} values that are not finite.", text))
    constant = [feature.name for feature in explored.features if feature.count and feature.minimum == feature.maximum]
    if constant:
        verb = "changes" if len(constant) == 1 else "change"
        notes.append(Note("warn", f"{listed(constant)} never {verb}.", "Nothing can be learnt from that: leave it out."))
    pairs = [
        (abs(value), explored.features[row].name, explored.features[column].name)
        for row, values in enumerate(explored.correlation)
        for column, value in enumerate(values[:row])
        if value is not None and abs(value) > ALIKE
    ]
    if pairs:
        value, first, second = max(pairs)
        notes.append(
            Note(
                "act",
                f"{len(pairs)} pair{'s' if len(pairs) > 1 else ''} of features say nearly the same.",
                f"{first} and {second} correlate by {value:.3f}.",
            )
        )
    perfect = [feature.name for feature in explored.features if (feature.separation or 0.0) > 0.999]
    if perfect:
        verb = "tells" if len(perfect) == 1 else "tell"
        headline = f"{listed(perfect)} alone {verb} the classes apart."
        notes.append(Note("warn", headline, "It may be the answer itself in disguise."))
    return notes


def listed(names: list[str]) -> str:
    """The first names."""
    return f"{', '.join(names[:4])}{f' and {len(names) - 4} more' if len(names) > 4 else ''}"


def count(value: float) -> str:
    """With thin spaces between thousands."""
    return f"{value:,.0f}".replace(",", "\u2009")


def number(value: float | None) -> str:
    """In few digits; a dash for none."""
    return "—" if value is None else f"{value:.5g}"


def size_text(value: float) -> str:
    """Bytes as people read them."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:.0f} bytes"
