"""The inspector of datasets: every shower of some files read and checked, what they are like, some of them in space."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from mlcore.toolchain.sandbox import GIB, Limits
from portal.jobs import shower_pages as pages
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType
from portal.jobs.results import Result
from portal.jobs.shower_inputs import GridParams, dataset_field, origin_of, streamed

if TYPE_CHECKING:
    from mlcore.showers.dataset import Records

KEPT_FOR_VIEWS = 4096


class ShowerInspectParams(GridParams):
    """Which files."""

    files: list[str] = dataset_field("Files", "HDF5 in the layout of the CaloChallenge or of LEMURS, of one calorimeter")
    view: int = Field(
        9, ge=1, le=24, title="Showers to draw", description="Spread over the energies of the first ones",
        json_schema_extra={"x-unit": "showers"},
    )  # fmt: skip


class ShowerInspect(JobType[ShowerInspectParams]):
    slug = "shower-inspect"
    title = "Inspect showers"
    summary = "Every shower of a dataset checked: energies, profiles, response, spectrum, and some of them in 3-D"
    duration = "about 10 s for 10 000 showers"
    gives = (("report.json", "the numbers behind the plots"), ("events.json", "the showers that the page draws"))
    phrases = ("inspect shower", "shower dataset", "look shower", "calochallenge dataset", "check shower")
    versions = ("h5py", "numpy")
    limits = Limits(memory_bytes=4 * GIB, cpu_seconds=3600, wall_seconds=3600)
    events = True
    Params = ShowerInspectParams

    def name_run(self, params: ShowerInspectParams, files: Mapping[str, str]) -> str:
        return f"Showers of {next(iter(files.values()), 'a file')}"

    def run(self, context: JobContext, params: ShowerInspectParams) -> Result:
        from mlcore.showers.dataset import Records
        from mlcore.showers.overview import SPECTRUM, Overview, spread

        first: list[Records] = []

        def parts() -> Iterator[Records]:
            done = 0
            for part in streamed(context, params.files, params):
                if sum(map(len, first)) < KEPT_FOR_VIEWS:
                    first.append(part)
                done += len(part)
                context.progress(min(0.9, done / (done + 4096)), "Reading every shower")
                yield part

        overview = Overview.of(parts())
        context.progress(0.92, "Drawing")
        known = Records.joined(first)
        view = pages.write_events(context, [("Dataset", known[spread(known.energy, params.view)])], "Showers in space")
        origin = origin_of(context, params.files)
        report = {
            "showers": len(overview),
            "particles": overview.particles,
            "geometries": overview.geometries,
            "origin": origin,
            "voxels": {"depths": overview.voxels.depths, "angles": overview.voxels.angles, "radii": overview.voxels.radii},
            "energy_mev": [float(overview.energy.min()), float(overview.energy.max())],
            "response": {"mean": float(overview.response.mean()), "deviation": float(overview.response.std())},
            "stochastic": overview.stochastic,
            "voxels_hit": float(overview.filled.mean()),
            "layers_mev": overview.layers.tolist(),
            "rings_mev_per_mm2": overview.rings.tolist(),
            "spectrum": {"edges_mev": SPECTRUM.tolist(), "voxels": overview.spectrum.tolist()},
        }
        path = context.folder / "report.json"
        path.write_text(json.dumps(report, indent=1), encoding="utf-8")
        context.artifact(path, kind="numbers", title="The numbers behind the plots")
        return Result(
            notes=pages.sample_notes(overview),
            figures=pages.figures(overview),
            events=(view,),
            plots=(*pages.overview_plots(("dataset", overview)), pages.energy_plot(overview)),
            tables=(pages.layers_table(overview), pages.origin_table(origin, overview)),
            facts={"showers": len(overview)},
        )
