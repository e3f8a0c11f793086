"""Profile a file: how its tables are stored, how fast they are read, and what would make that faster."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from mlcore.toolchain.sandbox import GIB, Limits
from portal.jobs import plots
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType, Params, file_field
from portal.jobs.results import Figure, Note, Plot, Result, Table
from portal.jobs.training_pages import count, listed, size_text

if TYPE_CHECKING:
    from mlcore.batches.exploration.profile import Profile, TableProfile

MOST_ROWS = 1000
MOST_TABLES = 20
MOST_BARS = 12


class ProfileFileParams(Params):
    """Which file."""

    file: str = file_field(title="File", description="A ROOT, Parquet or HDF5 file", kinds=("root", "parquet", "hdf5"))


class ProfileFile(JobType[ProfileFileParams]):
    slug = "profile-file"
    title = "Profile a file"
    summary = "Compression, baskets, clusters and reading speed of a ROOT, Parquet or HDF5 file, with advice"
    duration = "a few seconds"
    gives = (("profile.json", "everything on the page, of every column"),)
    phrases = (
        "profile root file",
        "profile file",
        "basket size",
        "reading speed file",
        "slow root file",
        "compression root file",
    )
    versions = ("uproot", "pyarrow", "h5py")
    limits = Limits(memory_bytes=4 * GIB, cpu_seconds=300, wall_seconds=300)
    Params = ProfileFileParams

    def name_run(self, params: ProfileFileParams, files: Mapping[str, str]) -> str:
        return f"Profile of {next(iter(files.values()), 'a file')}"

    def run(self, context: JobContext, params: ProfileFileParams) -> Result:
        from mlcore.batches.exploration.profile import profile

        found = replace(profile(context.file(params.file), progress=context.progress), name=context.name(params.file))
        report = context.folder / "profile.json"
        report.write_text(json.dumps(found.to_json(), indent=1) + "\n", encoding="utf-8")
        context.artifact(report, kind="report", title="Everything on this page, of every column")
        return summary(found)


def summary(found: Profile) -> Result:
    """What the job shows, and the command line."""
    tables = found.tables[:MOST_TABLES]
    several = len(tables) > 1

    def prefixed(table: TableProfile, headline: str) -> str:
        return f"{table.stored.name}: {headline}" if several else headline

    notes = [
        Note(
            "warn" if entry.weight == "much" else "act",
            f"{table.stored.name}: {entry.headline}" if several else entry.headline,
            entry.text,
        )
        for table in tables
        for entry in table.advice
    ]
    if tables and not notes:
        notes.append(Note("ok", "Nothing about this file makes it slow to read.", ""))
    if not tables:
        notes.append(Note("warn", "There is no table in this file.", "It holds no TTree, RNTuple or array."))
    parts = [(f"{table.stored.name}: " if several else "", table) for table in tables]
    return Result(
        notes=tuple(notes),
        figures=tuple(figure for prefix, table in parts for figure in _figures(prefix, table))[:10],
        plots=tuple(plot for prefix, table in parts for plot in _plots(prefix, table))[:10],
        tables=tuple(table for _, table_of in parts for table in _tables(table_of)),
    )


def _figures(prefix: str, table: TableProfile) -> Iterator[Figure]:
    stored = table.stored
    packed, unpacked = (sum(getattr(column, name) for column in stored.columns) for name in ("compressed", "uncompressed"))
    yield Figure(f"{prefix}Rows", count(stored.rows), f"{stored.kind}, {len(stored.columns)} columns")
    ratio = f"{unpacked / packed:.3g} times smaller" if packed else "empty"
    algorithms = sorted({column.compression for column in stored.columns})
    yield Figure(f"{prefix}On disk", size_text(packed), f"{ratio}, {listed(algorithms)}")
    if table.speed is not None:
        speed = table.speed
        condition = f"{speed.columns} columns, 1 thread, {'natively' if speed.native else 'partly by uproot'}"
        yield Figure(f"{prefix}Read at", f"{size_text(speed.bytes_per_second)}/s", condition)
        yield Figure(f"{prefix}Rows a second", count(speed.rows_per_second), f"{count(speed.rows)} rows in {speed.seconds:.2g} s")
    if stored.clusters:
        name = "Row groups" if stored.kind == "Parquet" else "Clusters"
        mean = sum(stored.clusters) / len(stored.clusters)
        yield Figure(f"{prefix}{name}", count(len(stored.clusters)), f"{count(mean)} rows on average")


def _plots(prefix: str, table: TableProfile) -> Iterator[Plot]:
    largest = sorted(table.stored.columns, key=lambda column: -column.compressed)[:MOST_BARS]
    if not largest or not largest[0].compressed:
        return
    unit, factor = ("MB", 1e6) if largest[0].compressed >= 1e6 else ("kB", 1e3)
    series = [
        ("on disk", [column.compressed / factor for column in largest]),
        ("unpacked", [column.uncompressed / factor for column in largest]),
    ]
    label = f"The largest columns of {table.stored.name}: {listed([column.name for column in largest])}"
    svg = plots.bars([column.name for column in largest], series, x_title=f"Size [{unit}]", label=label)
    yield Plot(f"{prefix}Largest columns", svg)


def _tables(table: TableProfile) -> Iterator[Table]:
    stored = table.stored
    rows = tuple(
        (
            column.name,
            column.typename,
            size_text(column.compressed),
            size_text(column.uncompressed),
            "—" if column.ratio is None else f"{column.ratio:.3g}",
            column.compression,
            count(column.units),
            size_text(column.unit_bytes),
        )
        for column in stored.columns[:MOST_ROWS]
    )
    heads = (
        "Column",
        "Type",
        "On disk",
        "Unpacked",
        "Ratio",
        "Compression",
        f"{stored.unit.capitalize()}s",
        f"Mean {stored.unit}",
    )
    note = f"The first {count(MOST_ROWS)} of {count(len(stored.columns))}. " if len(stored.columns) > MOST_ROWS else ""
    if table.unread:
        note += f"It was not read: {table.unread}."
    yield Table(f"{stored.kind} {stored.name}", heads, rows, numeric=(2, 3, 4, 6, 7), note=note.strip())
    if table.unusable:
        some = tuple(table.unusable.items())[:MOST_ROWS]
        yield Table(f"Of {stored.name}, can be no features", ("Column", "Why"), some)
