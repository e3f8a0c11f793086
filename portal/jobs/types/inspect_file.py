"""Inspect a file: what is in an uploaded ROOT file, model or table. The library starts it for every upload of a known kind."""

from __future__ import annotations

from mlcore.toolchain.sandbox import GIB, Limits
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType, Params, file_field
from portal.jobs.results import Figure, Plot, Result, Table

KINDS = ("root", "onnx", "xgboost-json", "xgboost-ubj", "lightgbm-text", "hdf5", "parquet")


class InspectFileParams(Params):
    """Which file."""

    file: str = file_field(title="File", description="A file of the library", kinds=KINDS)


class InspectFile(JobType[InspectFileParams]):
    slug = "inspect-file"
    title = "Inspect a file"
    summary = "What is in a ROOT file, an ONNX model, a forest, an HDF5 or a Parquet file"
    duration = "a few seconds"
    limits = Limits(memory_bytes=3 * GIB, cpu_seconds=120, wall_seconds=180)
    versions = ("uproot", "onnx", "h5py", "pyarrow")
    listed = False
    Params = InspectFileParams

    def run(self, context: JobContext, params: InspectFileParams) -> Result:
        from mlcore import filetypes, inspection

        path = context.file(params.file)
        context.progress(0.1, "Reading")
        found = inspection.inspect(path, filetypes.detect(path).kind)
        return Result(
            # The size stands on the file's page already.
            figures=tuple(Figure(label, _text(value)) for label, value in found.facts if label != "Size"),
            plots=(Plot("Graph", found.graph),) if found.graph else (),
            tables=tuple(
                Table(
                    table.title,
                    table.columns,
                    tuple(tuple(_text(value) for value in row) for row in table.rows),
                    numeric=_numeric(table.rows),
                    note=table.note,
                )
                for table in found.tables
            ),
        )


def _text(value: str | int | float | bool | None) -> str:
    """A value as people read it: thin spaces in thousands, a dash for what does not apply."""
    match value:
        case None:
            return "—"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}".replace(",", "\u2009")
        case float():
            return f"{value:.6g}"
        case _:
            return value


def _numeric(rows: tuple[tuple[str | int | float | bool | None, ...], ...]) -> tuple[int, ...]:
    """The columns of numbers."""
    columns = range(len(rows[0]) if rows else 0)
    return tuple(i for i in columns if all(type(row[i]) in (int, float) for row in rows))
