"""Inspect a file: what is in an uploaded ROOT file, model or table. The library starts it for every upload of a known kind."""

from __future__ import annotations

from mlcore.toolchain.sandbox import GIB, Limits
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType, Params, file_field
from portal.jobs.results import Figure, Plot, Result, Table

KINDS = ("root", "onnx", "xgboost-json", "xgboost-ubj", "lightgbm-text", "hdf5", "parquet")
ROW_LIMIT = 2000  # rows of one table kept for the page


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
            figures=tuple(Figure(label, value) for label, value in found.facts),
            plots=(Plot("Graph", found.graph),) if found.graph else (),
            tables=tuple(
                Table(table.title, tuple(table.columns), tuple(tuple(row) for row in table.rows[:ROW_LIMIT]))
                for table in found.tables
            ),
        )
