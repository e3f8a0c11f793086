"""Measure a model of showers against the full simulation, as the CaloChallenge does: page, PDF and JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from mlcore.toolchain.sandbox import GIB, Limits
from portal.jobs import shower_pages as pages
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType
from portal.jobs.results import Figure, Note, Result, Series, Table
from portal.jobs.shower_inputs import ModelParams, dataset_field, loaded, name_of, origin_of, records_of, simulation_ms

if TYPE_CHECKING:
    from mlcore.showers.catalogue import Loaded
    from mlcore.showers.dataset import Records
    from mlcore.showers.metrics.report import Report
    from mlcore.showers.metrics.timing import Timing

LEAST_FOR_HALVES = 200
LEAST_SHOWERS = 20
FURTHER_PLOTS = 24
PDF_LAYERS = 5
"""Whose observables are in the PDF; the JSON has all."""
FRECHET_LEAST, FRECHET_MOST = 20_000, 50_000
"""Sizes that FPD is extrapolated from, as in the CaloChallenge; smaller samples are extrapolated from their own sizes."""
TIMED_REPEATS = 10


class ShowerEvaluateParams(ModelParams):
    """What is measured against what."""

    first = ("truth", "model", "shipped", "sample")

    truth: list[str] = dataset_field("Simulation", "Showers of the full simulation that the model has not seen")
    sample: list[str] = dataset_field("Or its showers", "Showers of a model, HDF5, instead of the model itself", optional=True)
    second: list[str] = dataset_field(
        "Further simulation",
        "For the floor: what the simulation itself gets in the model's place. Without it, half of the simulation above is taken",
        optional=True,
    )
    training: list[str] = dataset_field(
        "Training showers", "What the model was made from, to see whether it copies them", optional=True
    )
    most: int = Field(20_000, ge=20, le=500_000, title="Showers at most", description="Of each sample, its first ones")
    classifiers: Literal["full", "quick", "none"] = Field(
        "full",
        title="Classifiers",
        description="Networks that try to tell model and simulation apart, for the AUC",
        json_schema_extra={
            "x-titles": {"full": "full, 50 epochs as in the CaloChallenge", "quick": "quick, 10 epochs", "none": "none"}
        },
    )
    threshold: float | None = Field(
        None, ge=0, le=1e4, title="Threshold", description="Voxels below count as empty; the calorimeter's own where left out",
        json_schema_extra={"x-unit": "MeV"},
    )  # fmt: skip
    seed: int = Field(1, ge=0, lt=2**62, title="Seed", description="Of the model's showers and of the measures")

    @property
    def needs_model(self) -> bool:
        """Its showers will do."""
        return False

    @model_validator(mode="after")
    def _one_of_all(self) -> ShowerEvaluateParams:
        if bool(self.model) + bool(self.shipped) + bool(self.sample) != 1:
            raise ValueError("Give either a model or a file of its showers.")
        return self


class ShowerEvaluate(JobType[ShowerEvaluateParams]):
    slug = "shower-evaluate"
    title = "Evaluate a shower model"
    summary = "AUC, FPD, KPD, separation powers, precision and recall, and the time for a shower, each with its floor and error"
    duration = "a minute for 500 showers"
    gives = (
        ("report.pdf", "table and figures, with ratios"),
        ("report.json", "all numbers"),
        ("events.json", "the showers that the page draws side by side"),
    )
    phrases = (
        "evaluate shower",
        "evaluate model shower",
        "measure shower",
        "calochallenge metric",
        "shower quality",
        "fpd shower",
        "auc shower",
        "compare shower geant4",
    )
    versions = ("torch", "numpy", "matplotlib", "h5py")
    limits = Limits(memory_bytes=12 * GIB, cpu_seconds=100_000, wall_seconds=21_600)
    events = True
    Params = ShowerEvaluateParams

    def name_run(self, params: ShowerEvaluateParams, files: Mapping[str, str]) -> str:
        names = list(files.values())
        judged = params.shipped or files.get(params.model or "") or files.get(next(iter(params.sample), ""))
        truth = files.get(params.truth[0])
        return f"{judged} against {truth}" if judged and truth else f"Evaluation of {names[-1] if names else 'a model'}"

    def run(self, context: JobContext, params: ShowerEvaluateParams) -> Result:
        from mlcore.errors import InputError
        from mlcore.showers.geometry import CALORIMETERS
        from mlcore.showers.metrics.classifier import ClassifierConfig
        from mlcore.showers.metrics.report import EvaluationConfig, Sample, evaluate
        from mlcore.showers.overview import Overview, spread

        context.progress(0.01, "Reading the showers")
        truth = records_of(context, params.truth, params, most=params.most)
        second, notes = _second(context, params, truth)
        if second is not None and not params.second:
            truth = truth[: len(truth) - len(second)]
        if len(truth) < LEAST_SHOWERS:
            raise InputError(
                f"{len(truth)} showers of the simulation are too few", hint=f"Give {LEAST_SHOWERS} or more.", code="showers.few"
            )
        known = CALORIMETERS.get(params.calorimeter or truth.geometries[0])
        threshold = params.threshold if params.threshold is not None else known.threshold if known else 0.0
        model = loaded(context, params) if params.model or params.shipped else None
        context.progress(0.05, "Sampling the model")
        made, timings = _made(context, params, truth, model)
        training = records_of(context, params.training, params, most=params.most) if params.training else None

        quick = params.classifiers == "quick"
        fewest = min(len(truth), len(made), *([len(second)] if second is not None else []))
        few = fewest < FRECHET_LEAST
        config = EvaluationConfig(
            threshold=threshold,
            classifiers=params.classifiers != "none",
            classifier=ClassifierConfig(epochs=10 if quick else 50, seed=params.seed),
            frechet_least=max(2, fewest // 3) if few else FRECHET_LEAST,
            frechet_most=fewest if few else FRECHET_MOST,
            kernel_size=min(5_000, fewest),
            seed=params.seed,
        )
        report = evaluate(
            Sample(truth.energy, truth.showers),
            Sample(made.energy, made.showers),
            truth.voxels,
            second_truth=None if second is None else Sample(second.energy, second.showers),
            training=None if training is None else Sample(training.energy, training.showers),
            config=config,
            parameters=None if model is None else model.parameters,
            timings=timings,
            full_simulation_ms=simulation_ms(context, params.truth),
            progress=lambda part, what: context.progress(0.12 + 0.68 * part, what[:1].upper() + what[1:]),
        )
        name = model.slug if model else str(origin_of(context, params.sample).get("model", "model"))
        truth, made = truth.above(threshold), made.above(threshold)
        context.progress(0.82, "Writing the report")
        _written(context, report, truth, made, name)
        context.progress(0.95, "Drawing")
        rows = spread(truth.energy, pages.EVENTS_SHOWN)
        paired = made[rows] if len(made) == len(truth) else made[spread(made.energy, len(rows))]
        view = pages.write_events(
            context,
            [
                ("Geant4" if "simulation" in origin_of(context, params.truth) else "Simulation", truth[rows]),
                (name, paired[: len(rows)]),
            ],
            "Model beside simulation",
        )
        overview, own = Overview.of([truth]), Overview.of([made])
        whole = [one for one in report.comparisons if not one.name.startswith("layer ")]
        layered = [one for one in report.comparisons if one.name.startswith("layer ")]
        worst = sorted(layered, key=lambda one: -one.separation.value)[:FURTHER_PLOTS]
        further = tuple(pages.comparison_plot(one, "simulation", name) for one in worst)
        return Result(
            notes=(*notes, *_copied(report)),
            figures=_figures(report),
            events=(view,),
            plots=(
                *pages.overview_plots(("simulation", overview), (name, own)),
                *(pages.comparison_plot(one, "simulation", name) for one in whole),
            ),
            series=(Series("Layers, by how much they differ", further, 0, len(layered)),) if further else (),
            tables=(pages.report_table(report), _time_table(report)),
            facts=_facts(context, params, report, name, truth),
        )


def _second(context: JobContext, params: ShowerEvaluateParams, truth: Records) -> tuple[Records | None, tuple[Note, ...]]:
    """The simulation in the model's place: further files, or half of the only ones, every other shower of which is taken."""
    if params.second:
        return records_of(context, params.second, params, most=params.most), ()
    if len(truth) < LEAST_FOR_HALVES:
        text = "Give further showers of the simulation to see what it gets itself in the model's place."
        return None, (Note("warn", f"There is no floor: {pages.count(len(truth))} showers are too few to be divided.", text),)
    half = len(truth) // 2
    text = "The model is compared with the first half. Give further showers of the simulation to use all of them."
    return truth[len(truth) - half :], (Note("act", "Half of the simulation's showers give the floor.", text),)


def _made(
    context: JobContext, params: ShowerEvaluateParams, truth: Records, model: Loaded | None
) -> tuple[Records, list[Timing]]:
    """The model's showers, and how long it takes for one: with one thread, in batches of 1 and 100."""
    from mlcore.errors import InputError
    from mlcore.showers.dataset import Records

    if model is None:
        made = records_of(context, params.sample, params, most=len(truth))
        if made.voxels.shape != truth.voxels.shape:
            raise InputError(
                f"the model's showers have {' x '.join(map(str, made.voxels.shape))} voxels, the simulation's "
                f"{' x '.join(map(str, truth.voxels.shape))}",
                hint="Give samples of one calorimeter.", code="showers.voxels",
            )  # fmt: skip
        return made, []
    showers = model.like(truth, seed=params.seed)
    made = Records.of(
        showers, truth.energy, truth.voxels, theta=truth.theta, phi=truth.phi, particle=truth.particle, geometry=truth.geometry,
        geometries=truth.geometries,
    )  # fmt: skip
    context.progress(0.09, "Timing the model")
    return made, _timed(model, truth)


def _timed(model: Loaded, truth: Records) -> list[Timing]:
    import torch

    from mlcore.showers.metrics.timing import time_per_shower

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    first = truth[:1]
    try:
        return time_per_shower(
            lambda energies: model.sample(
                energies, seed=1, theta=first.theta[0], phi=first.phi[0], particle=first.particle[0],
                geometry=None if len(model.geometries) <= 1 else truth.geometries[int(first.geometry[0])],
            ),
            truth.energy[:1000],
            repeats=TIMED_REPEATS,
        )  # fmt: skip
    finally:
        torch.set_num_threads(threads)


def _written(context: JobContext, report: Report, truth: Records, made: Records, name: str) -> None:
    from mlcore.showers.metrics.figures import draw_profiles, save_short_pdf

    json_path, pdf_path = context.folder / "report.json", context.folder / "report.pdf"
    report.save(json_path)
    last = truth.voxels.shape[0] - 1
    layers = {round(last * number / (PDF_LAYERS - 1)) for number in range(PDF_LAYERS)}
    wanted = [one.name for one in report.comparisons if not one.name.startswith("layer ") or int(one.name.split()[1]) in layers]
    profiles = draw_profiles(truth.showers, made.showers, truth.voxels, truth_name="simulation", model_name=name)
    save_short_pdf(report, pdf_path, only=wanted, further=[profiles], truth_name="simulation", model_name=name)
    context.artifact(pdf_path, kind="report", title=f"The figures, with ratios; {len(layers)} of the layers")
    context.artifact(json_path, kind="numbers", title="All numbers, histograms and errors")


def _figures(report: Report) -> tuple[Figure, ...]:
    found = []
    for label, one, scale in (
        ("AUC, voxels", report.auc_low, 1.0), ("AUC, features", report.auc_high, 1.0), ("FPD × 1000", report.fpd, 1e3),
        ("KPD × 1000", report.kpd, 1e3),
    ):  # fmt: skip
        if one is not None:
            floor = "no floor" if one.floor is None else f"floor {pages.short(one.floor * scale)}"
            found.append(Figure(label, f"{pages.short(one.value * scale)} ± {pages.short(one.error * scale, 2)}", floor))
    best = min(report.timings, key=lambda one: one.milliseconds, default=None)
    if best is not None:
        faster = ""
        if report.full_simulation_ms:
            faster = f", {pages.short(report.full_simulation_ms / best.milliseconds)} × faster than the simulation"
        found.append(
            Figure("Time", f"{pages.short(best.milliseconds)} ms", f"for a shower, batch {best.batch}, one core{faster}")
        )
    return tuple(found)


def _copied(report: Report) -> tuple[Note, ...]:
    found = report.memorisation
    if found is None or found.score < 3:
        return ()
    return (
        Note("warn", "The model's showers lie nearer to its training showers than new ones do.",
             f"By {pages.short(found.score)} standard deviations: it may copy them."),
    )  # fmt: skip


def _time_table(report: Report) -> Table:
    rows = [
        (f"Model, batch {one.batch}", pages.short(one.milliseconds), pages.short(one.spread, 2), "one thread")
        for one in report.timings
    ]
    if report.full_simulation_ms is not None:
        rows.append(("Full simulation", pages.short(report.full_simulation_ms), "—", "CPU time on one core, where it was made"))
    if report.parameters is not None:
        rows.append(("Parameters of the model", pages.count(report.parameters), "—", ""))
    if not rows:
        rows.append(("Nothing was timed", "—", "—", "a file of showers does not say how they were made"))
    return Table("Time for a shower", ("What", "ms", "Spread [ms]", "How"), tuple(rows), numeric=(1, 2))


def _facts(
    context: JobContext, params: ShowerEvaluateParams, report: Report, name: str, truth: Records
) -> dict[str, str | int | float | bool]:
    """What the leaderboard reads."""
    digest = hashlib.sha256()
    for file in params.truth:
        with context.file(file).open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    found: dict[str, Any] = {
        "model": name,
        "model_file": name_of(context, params)
        if params.model or params.shipped
        else ", ".join(context.name(one) for one in params.sample),
        "dataset": ", ".join(context.name(file) for file in params.truth),
        "dataset_sha256": digest.hexdigest(),
        "calorimeter": ", ".join(truth.geometries),
        "showers": report.truth_showers,
        "classifiers": params.classifiers,
        "fpd": report.fpd.value,
        "fpd_error": report.fpd.error,
        "kpd": report.kpd.value,
        "separation": sum(report.mean_separation.values()) / max(1, len(report.mean_separation)),
    }
    for key, one in (("auc_low", report.auc_low), ("auc_high", report.auc_high), ("fpd", report.fpd)):
        if one is not None:
            found |= {key: one.value, f"{key}_error": one.error}
            if one.floor is not None:
                found[f"{key}_floor"] = one.floor
    found |= {f"ms_{one.batch}": one.milliseconds for one in report.timings}
    if report.full_simulation_ms is not None:
        found["simulation_ms"] = report.full_simulation_ms
    if report.parameters is not None:
        found["parameters"] = report.parameters
    return found
